package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/internal/telemetry"
)

const (
	// badData is the exit code of a command for a record that no retry can help:
	// EX_DATAERR of sysexits.h.
	badData = 65
	// killAfter is how long a command that was told to stop may take, and what it
	// left behind.
	killAfter = 2 * time.Second
)

// runner runs a command for each record; its handle is the handler of --exec.
type runner struct {
	command string
	environ []string // of each command, without what its record adds
	out     *outlet
	stderr  io.Writer
	quota   *quota
	stop    context.CancelCauseFunc
}

// handle is the handler.
func (e *runner) handle(ctx context.Context, r *kgo.Record) error {
	if e.out.err() != nil || !e.quota.take(ctx) {
		return notNow()
	}
	err := e.run(ctx, r)
	if e.quota.give(err == nil) {
		e.stop(errLimit)
	}
	if broken := e.out.err(); broken != nil {
		e.stop(broken)
		if err != nil {
			return notNow()
		}
	}
	return err
}

// err is why nothing more can be written.
func (e *runner) err() error { return e.out.err() }

func (e *runner) run(ctx context.Context, r *kgo.Record) error {
	environ, err := environment(e.environ, r, consumer.FromContext(ctx).Attempt)
	if err != nil {
		return err
	}
	environ = append(environ, telemetry.Environment(ctx)...)
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(running, "sh", "-c", e.command) //nolint:gosec // the operator's own command; nothing of a record is in it
	cmd.Env, cmd.WaitDelay = environ, killAfter
	inGroup(cmd)
	var told time.Time
	tell := cmd.Cancel
	cmd.Cancel = func() error {
		told = time.Now()
		return tell()
	}
	s, err := openStreams(cmd)
	if err != nil {
		return startError(err)
	}
	defer s.close()
	if err := cmd.Start(); err != nil {
		return startError(err)
	}
	out := &piece{outlet: e.out, ctx: running}
	words := &lineWriter{to: e.stderr, prefix: fmt.Sprintf("%s/%d@%d: ", r.Topic, r.Partition, r.Offset)}
	copied := s.copy(r.Value, out, words, cancel)
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
	writeErr := errors.Join(s.outErr, out.end())
	last := words.end()
	if cmd.ProcessState != nil && cmd.ProcessState.Success() {
		return writeErr // what it did is done, however it came to its end
	}
	return verdict(ctx, cmd, waitErr, last)
}

func startError(err error) error {
	if errors.Is(err, syscall.E2BIG) {
		return tooLarge("starting the command: %w", err)
	}
	return fmt.Errorf("starting the command: %w", err)
}

// verdict says what the end of a command means for its record.
func verdict(ctx context.Context, cmd *exec.Cmd, waitErr error, last string) error {
	var err error
	switch {
	case ctx.Err() != nil:
		err = fmt.Errorf("the command was told to stop: %w", ctx.Err())
	case cmd.ProcessState != nil:
		err = fmt.Errorf("the command ended with %s", cmd.ProcessState)
	default:
		err = fmt.Errorf("waiting for the command: %w", waitErr)
	}
	if last != "" {
		err = fmt.Errorf("%w: %s", err, last)
	}
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == badData {
		return duplex.Permanent(err)
	}
	return err
}
