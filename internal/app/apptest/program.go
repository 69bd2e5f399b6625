package apptest

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/internal/command"
)

// patience is how long a program may take to end.
const patience = 30 * time.Second

// Program is one that runs beside the test, or has run.
type Program struct {
	// Stdout is what it wrote there, unless Start was given a writer.
	Stdout Output
	// Stderr is what it wrote there.
	Stderr Output
	// Code gets the exit code, once.
	Code <-chan int

	t      *testing.T
	signal context.CancelCauseFunc
}

// IO is what a program reads and writes.
type IO struct {
	// Environ is the environment. Defaults to none.
	Environ []string
	// Stdin defaults to empty.
	Stdin io.Reader
	// Stdout gets what is written instead of Program.Stdout.
	Stdout io.Writer
}

// Start runs a program, given what makes its command. What still runs when the test ends is
// cancelled.
func Start(t *testing.T, program func(environ []string) (*cobra.Command, error), with IO, args ...string) *Program {
	t.Helper()
	code := make(chan int, 1)
	p := &Program{t: t, Code: code}
	root, err := program(with.Environ)
	require.NoError(t, err)
	if with.Stdin == nil {
		with.Stdin = strings.NewReader("")
	}
	if with.Stdout == nil {
		with.Stdout = &p.Stdout
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	t.Cleanup(func() { cancel(nil) })
	p.signal = cancel
	go func() {
		code <- command.Run(ctx, root, command.Process{
			Args: args, Environ: with.Environ, Stdin: with.Stdin, Stdout: with.Stdout, Stderr: &p.Stderr,
		})
	}()
	return p
}

// Signal does what a signal does: command.ErrInterrupted or command.ErrTerminated.
func (p *Program) Signal(cause error) { p.signal(cause) }

// Wait waits for the end and returns the exit code.
func (p *Program) Wait() int {
	p.t.Helper()
	select {
	case code := <-p.Code:
		return code
	case <-time.After(patience):
		require.Fail(p.t, "the program does not end", p.Stderr.String())
		return -1
	}
}

// Output collects what is written to it and may be read at the same time.
type Output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (o *Output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

// String is everything so far.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Lines are the lines so far, without their ends; nil if there are none.
func (o *Output) Lines() []string {
	text := o.String()
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}
