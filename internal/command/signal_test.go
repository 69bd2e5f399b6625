package command_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is this binary, running as a program.
type process struct {
	*exec.Cmd

	stdin  io.WriteCloser
	stdout io.ReadCloser
	lines  *bufio.Scanner
	stderr bytes.Buffer
}

func startProcess(t *testing.T, body string) *process {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	p := &process{Cmd: exec.CommandContext(ctx, binary)}
	p.Env = append(os.Environ(), asProgram+"="+body)
	p.Stderr = &p.stderr
	p.stdin, err = p.StdinPipe()
	require.NoError(t, err)
	p.stdout, err = p.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.Start())
	p.lines = bufio.NewScanner(p.stdout)
	p.says(t, "ready")
	return p
}

func (p *process) says(t *testing.T, want string) {
	t.Helper()
	require.True(t, p.lines.Scan(), "it ended instead of saying %q", want)
	require.Equal(t, want, p.lines.Text())
}

// ends waits for the program and gives its exit code, −1 if a signal ended it.
func (p *process) ends(t *testing.T) int {
	t.Helper()
	_ = p.Wait() // the exit code tells more
	return p.ProcessState.ExitCode()
}

func TestSignals(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body   string
		signal os.Signal
		code   int
		stderr string
	}{
		{"until", syscall.SIGINT, 130, ""},
		{"until", syscall.SIGTERM, 1, "post: terminated\n"},
		{"drain", syscall.SIGTERM, 0, ""},
	} {
		p := startProcess(t, c.body)
		require.NoError(t, p.Process.Signal(c.signal))
		require.Equal(t, c.code, p.ends(t))
		require.Equal(t, c.stderr, p.stderr.String())
	}
}

func TestSecondSignalEndsTheProgramAtOnce(t *testing.T) {
	t.Parallel()
	p := startProcess(t, "hang")
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	p.says(t, "asked")
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.Equal(t, 130, p.ends(t))
	require.Equal(t, "a second signal: ending at once\n", p.stderr.String())
}

func TestClosedOutputIsAnErrorAndNoSignal(t *testing.T) {
	t.Parallel()
	p := startProcess(t, "write")
	require.NoError(t, p.stdout.Close())
	require.NoError(t, p.stdin.Close())
	require.Equal(t, 1, p.ends(t))
	require.Contains(t, p.stderr.String(), "broken pipe")
}

func TestCommandsThatAreStartedDieOfClosedPipes(t *testing.T) {
	t.Parallel()
	p := startProcess(t, "pipe")
	require.Zero(t, p.ends(t), p.stderr.String())
	require.NotContains(t, p.stderr.String(), "roken pipe", "they got SIGPIPE as if a shell had started them")
}
