package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	buildTimeout = 10 * time.Minute
	exitTimeout  = 2 * time.Minute // of a process that should end by itself
	// stacksTimeout is how long one that does not may take to say where it stands.
	stacksTimeout = 10 * time.Second
)

// binaries are the programs of ../cmd, built once in a run.
var binaries builtBinaries

type builtBinaries struct {
	once sync.Once
	dir  string
	err  error
}

// path is the program cmd/<name>.
func (b *builtBinaries) path(t *testing.T, name string) string {
	t.Helper()
	b.once.Do(func() { b.dir, b.err = buildBinaries() })
	require.NoError(t, b.err)
	path := filepath.Join(b.dir, name)
	require.FileExists(t, path, "no program cmd/%s", name)
	return path
}

func (b *builtBinaries) remove() error {
	if b.dir == "" {
		return nil
	}
	return os.RemoveAll(b.dir)
}

func buildBinaries() (dir string, err error) {
	dir, err = os.MkdirTemp("", "duplex-binaries-")
	if err != nil {
		return "", err
	}
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	if raceEnabled {
		args = append(args, "-race")
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildTimeout)
	defer cancel()
	build := exec.CommandContext(ctx, "go", append(args, "./cmd/...")...)
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("building the programs of cmd: %w\n%s", err, out)
	}
	return dir, nil
}

// run drives cmd/<name> to its end.
func run(t *testing.T, name string, args []string, stdin string) (stdout, stderr string, code int) {
	t.Helper()
	return runPath(t, binaries.path(t, name), args, nil, stdin)
}

// start begins cmd/<name> and leaves it running until the test ends.
func start(t *testing.T, name string, args ...string) *process {
	t.Helper()
	return startPath(t, binaries.path(t, name), args, nil)
}

func runPath(t *testing.T, path string, args, env []string, stdin string) (stdout, stderr string, code int) {
	t.Helper()
	p := startPath(t, path, args, env)
	// A program may well end before it has read everything.
	_, _ = io.WriteString(p.Stdin, stdin)
	_ = p.Stdin.Close()
	code = p.wait(t)
	return p.stdout.String(), p.stderr.String(), code
}

// process is a program that runs beside the test. What it printed so far can be
// read at any time.
type process struct {
	Stdin          io.WriteCloser
	stdout, stderr output

	cmd    *exec.Cmd
	exited chan struct{} // closed when code is set
	code   int
}

func startPath(t *testing.T, path string, args, env []string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, args...), exited: make(chan struct{})}
	p.cmd.Dir = t.TempDir()
	p.cmd.Env = append(cleanEnvironment(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	p.cmd.WaitDelay = time.Second
	var err error
	p.Stdin, err = p.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	go func() { // waited for by Cleanup
		defer close(p.exited)
		_ = p.cmd.Wait() // the code says it all
		p.code = p.cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // mostly it has ended before
		<-p.exited
		if t.Failed() {
			t.Logf("%s %q\nstdout:\n%s\nstderr:\n%s", filepath.Base(path), args, p.stdout.tail(), p.stderr.tail())
		}
	})
	return p
}

// cleanEnvironment is the environment without settings that the programs read.
func cleanEnvironment() []string {
	var kept []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "DUPLEX_") {
			kept = append(kept, v)
		}
	}
	return kept
}

// signal sends one signal.
func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); !errors.Is(err, os.ErrProcessDone) {
		require.NoError(t, err)
	}
}

// peakMemory is the most that the process has had in memory so far, in KiB, 0
// where the system does not say. (What wait4 reports counts this process too, as
// it was when it started the other.)
func (p *process) peakMemory() int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kib, _ := strconv.Atoi(strings.TrimSpace(strings.SplitN(after, "kB", 2)[0]))
	return kib
}

// wait returns the exit code, −1 after a signal that the program did not catch. A program
// that does not end says where it stands.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.code
	case <-time.After(exitTimeout):
	}
	p.signal(t, syscall.SIGQUIT) // Go's runtime prints all goroutines, and ends it
	select {
	case <-p.exited:
	case <-time.After(stacksTimeout):
	}
	require.FailNow(t, "the process did not end", "within %s: process %d, %q: %s", exitTimeout, p.cmd.Process.Pid, p.cmd.Args, p.stderr.String())
	return 0
}

// output collects what a process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

// String is everything so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// lines are the complete lines so far.
func (o *output) lines() []string {
	s := o.String()
	end := strings.LastIndexByte(s, '\n')
	if end < 0 {
		return nil
	}
	return strings.Split(s[:end], "\n")
}

// tail keeps a failed test's log readable.
func (o *output) tail() string {
	const most = 8 << 10
	s := o.String()
	return s[max(0, len(s)-most):]
}

// waitLines waits for the first n complete lines.
func (o *output) waitLines(t *testing.T, n int, patience time.Duration) []string {
	t.Helper()
	require.Eventually(t, func() bool { return len(o.lines()) >= n }, patience, 20*time.Millisecond,
		"%d lines did not come within %s", n, patience)
	return o.lines()
}
