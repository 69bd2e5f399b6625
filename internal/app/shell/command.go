// Package shell runs a command for one record: "sh -c", the record's value on its
// standard input, and its end when the record's time is over.
package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// killAfter is how long a command that was told to stop may take, and what it left
// behind.
const killAfter = 2 * time.Second

// Command is one run of a command.
type Command struct {
	// Line is what "sh -c" gets. Required.
	Line string
	// Environ is the environment.
	Environ []string
	// Stdin is what the command may read.
	Stdin []byte
	// Stdout gets what it writes, in pieces. Required.
	Stdout io.Writer
	// Stderr gets what it writes there. Required.
	Stderr *Lines
}

// Check says why a command cannot be run at all.
func Check(line string) error {
	if strings.TrimSpace(line) == "" || strings.Contains(line, "\x00") {
		return fmt.Errorf("%q: want a command that sh -c can run", line)
	}
	if _, err := exec.LookPath("sh"); err != nil {
		return fmt.Errorf("%q: there is no shell to run it: %w", line, err)
	}
	return nil
}

// Ended is how a command came to its end.
type Ended struct {
	// State is nil where nobody knows.
	State *os.ProcessState
	// Err is what waiting for it gave, OutErr why Stdout did not get all.
	Err, OutErr error
}

// OK reports whether the command ended with exit code 0.
func (e Ended) OK() bool { return e.State != nil && e.State.Success() }

// Code is the exit code, −1 where a signal ended it or nobody knows.
func (e Ended) Code() int {
	if e.State == nil {
		return -1
	}
	return e.State.ExitCode()
}

// Problem says in words how a command ended that failed; ctx is that of its record, and
// last is what it said last.
func (e Ended) Problem(ctx context.Context, last string) error {
	var err error
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("the command was told to stop: %w", ctx.Err())
	case e.State != nil:
		err = fmt.Errorf("the command ended with %s", e.State)
	default:
		err = fmt.Errorf("waiting for the command: %w", e.Err)
	}
	if last != "" {
		err = fmt.Errorf("%w: %s", err, last)
	}
	return err
}

// Run runs the command and waits for its end. When ctx ends, the command and all that it
// started get SIGTERM, and 2 s later SIGKILL. What it leaves behind in its process group
// gets 2 s too. Run calls stop, which is to end ctx, where Stdout takes no more. The error
// is that of a command that could not be started.
func (c Command) Run(ctx context.Context, stop context.CancelFunc) (Ended, error) {
	cmd := exec.CommandContext(ctx, "sh", "-c", c.Line) //nolint:gosec // the operator's own command; nothing of a record is in it
	cmd.Env, cmd.WaitDelay = c.Environ, killAfter
	inGroup(cmd)
	var told time.Time
	tell := cmd.Cancel
	cmd.Cancel = func() error {
		told = time.Now()
		return tell()
	}
	s, err := openStreams(cmd)
	if err != nil {
		return Ended{}, startError(err)
	}
	defer s.close()
	if err := cmd.Start(); err != nil {
		return Ended{}, startError(err)
	}
	copied := s.copy(c.Stdin, c.Stdout, c.Stderr, stop)
	waitErr := cmd.Wait()
	if told.IsZero() {
		told = time.Now()
	}
	select {
	case <-copied:
	case <-time.After(time.Until(told.Add(killAfter))): // something of it is left, and holds on to its output
	}
	killGroup(cmd)
	s.hurry()
	<-copied
	return Ended{State: cmd.ProcessState, Err: waitErr, OutErr: s.outErr}, nil
}

func startError(err error) error {
	if errors.Is(err, syscall.E2BIG) {
		return tooLarge("starting the command: %w", err)
	}
	return fmt.Errorf("starting the command: %w", err)
}
