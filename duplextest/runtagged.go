package duplextest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	tag           = "synctests"
	virtualPrefix = "TestVirtual"

	// endBefore is how much earlier than this process the other one gives up,
	// so that its report is seen.
	endBefore = 10 * time.Second
)

// RunTagged runs the tests of this package whose names begin with TestVirtual
// and whose files need the tag "synctests", in a process of their own:
//
//	go test -tags synctests -run ^TestVirtual .
//
// with the race detector if this process has it, and -short if that is set. Each
// of them becomes a subtest of t with its own result and, where it failed, its
// output. The test fails when the package has no such test, when one of them did
// not run, and when they are not done ten seconds before t's own deadline. Where
// Go's race detector died, and not a test (https://go.dev/issue/78156), what had not
// ended runs again, once, and t says so.
//
// In a process with the tag it does nothing, since the tests run there anyway.
// It needs the go command, and a working directory that is the package's, as
// "go test" provides.
func RunTagged(t *testing.T) {
	t.Helper()
	if tagged {
		t.Logf("this process has the tag %s: its tests run by themselves", tag)
		return
	}
	expected := taggedTests(t, ".")
	require.NotEmpty(t, expected, "no test of this package has a name that begins with %s and a file with //go:build %s", virtualPrefix, tag)
	r := run{t: t, waiting: expected, output: map[string]*bytes.Buffer{}}
	err := r.start(arguments(t, "^"+virtualPrefix))
	if err != nil && detectorDied.Match(r.rest.Bytes()) {
		t.Logf("the race detector died in a bubble (https://go.dev/issue/78156): running again what had not ended, %v", r.waiting)
		r.rest.Reset()
		clear(r.output)
		err = r.start(arguments(t, "^("+strings.Join(r.waiting, "|")+")$"))
	}
	if t.Failed() {
		return
	}
	require.NoError(t, err, "running the tests with the tag:\n%s", r.rest.String())
	require.Empty(t, r.waiting, "these tests did not run:\n%s", r.rest.String())
}

// detectorDied matches what the process says whose race detector died while a timer of a
// bubble of testing/synctest went off: on the scheduler's own stack, where no code of Go's
// users runs. Seen once with Go 1.26.8.
var detectorDied = regexp.MustCompile(`(?m)^SIGSEGV: segmentation violation\nPC=.*\n\ngoroutine 0 .*\[idle, synctest bubble \d+\]`)

func arguments(t *testing.T, which string) []string {
	t.Helper()
	args := []string{"test", "-json", "-tags", tag, "-run", which}
	if raced {
		args = append(args, "-race")
	}
	if testing.Short() {
		args = append(args, "-short")
	}
	if deadline, ok := t.Deadline(); ok {
		left := time.Until(deadline) - endBefore
		require.Positive(t, left, "too little time is left to run the tests with the tag")
		args = append(args, "-timeout", left.String())
	}
	return append(args, ".")
}

// taggedTests finds the names of the tests that are to run. Reading the files
// also tells "go test" that a result it remembers for this process is void when
// they change: it does not compile them here.
func taggedTests(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	require.NoError(t, err)
	var names []string
	for _, file := range files {
		source, err := os.ReadFile(file)
		require.NoError(t, err)
		parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		if !needsTheTag(parsed) {
			continue
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && strings.HasPrefix(f.Name.Name, virtualPrefix) {
				names = append(names, f.Name.Name)
			}
		}
	}
	return names
}

// needsTheTag reports whether a file is compiled with the tag, and not without.
func needsTheTag(file *ast.File) bool {
	for _, group := range file.Comments {
		if group.Pos() > file.Package {
			break
		}
		for _, c := range group.List {
			expr, err := constraint.Parse(c.Text)
			if err != nil {
				continue
			}
			with := expr.Eval(func(string) bool { return true })
			without := expr.Eval(func(name string) bool { return name != tag })
			return with && !without
		}
	}
	return false
}

// run is one run of the other process.
type run struct {
	t       *testing.T
	waiting []string                 // tests that have not ended
	output  map[string]*bytes.Buffer // per test, subtests included
	rest    bytes.Buffer             // what belongs to no test: build errors, panics
}

// event is one line of "go test -json"; "go doc test2json" describes it.
type event struct {
	Action, Test, Output string
}

func (r *run) start(args []string) error {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "go", args...) //nolint:gosec // the arguments are ours
	var stderr bytes.Buffer                                  // its own: it is filled by another goroutine
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	r.read(out)
	err = cmd.Wait()
	r.rest.Write(stderr.Bytes())
	for _, name := range r.waiting { // what they said before the process died
		if said := r.output[name]; said != nil {
			r.rest.Write(said.Bytes())
		}
	}
	return err
}

func (r *run) read(out io.Reader) {
	r.t.Helper()
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) != nil {
			r.rest.Write(line) // not ours, such as a crash of go itself
		} else {
			r.saw(e)
		}
		if err != nil {
			return
		}
	}
}

func (r *run) saw(e event) {
	r.t.Helper()
	top, _, isSub := strings.Cut(e.Test, "/")
	switch {
	case e.Action == "output" && top == "", e.Action == "build-output":
		r.rest.WriteString(e.Output)
	case e.Action == "output":
		if r.output[top] == nil {
			r.output[top] = &bytes.Buffer{}
		}
		r.output[top].WriteString(e.Output)
	case top != "" && !isSub && (e.Action == "pass" || e.Action == "fail" || e.Action == "skip"):
		r.ended(top, e.Action)
	}
}

// ended gives a test that ended over there a place among the tests here.
func (r *run) ended(name, how string) {
	r.t.Helper()
	r.waiting = slices.DeleteFunc(r.waiting, func(waiting string) bool { return waiting == name })
	output := r.output[name]
	delete(r.output, name)
	r.t.Run(name, func(t *testing.T) {
		if how == "pass" && !testing.Verbose() {
			return
		}
		t.Log("in a process with the tag " + tag + ":\n" + output.String())
		switch how {
		case "fail":
			t.Fail()
		case "skip":
			t.SkipNow()
		}
	})
}
