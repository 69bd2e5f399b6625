package push

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/internal/app/shell"
	"github.com/duplex-go/duplex/internal/telemetry"
)

// badData is the exit code of a command for a record that no retry can help:
// EX_DATAERR of sysexits.h.
const badData = 65

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
	out := &piece{outlet: e.out, ctx: running}
	words := shell.NewLines(e.stderr, fmt.Sprintf("%s/%d@%d: ", r.Topic, r.Partition, r.Offset))
	ended, err := shell.Command{Line: e.command, Environ: environ, Stdin: r.Value, Stdout: out, Stderr: words}.Run(running, cancel)
	if err != nil {
		return err
	}
	writeErr := errors.Join(ended.OutErr, out.end())
	last := words.End()
	switch {
	case ended.OK():
		return writeErr // what it did is done, however it came to its end
	case ended.Code() == badData:
		return duplex.Permanent(ended.Problem(ctx, last))
	default:
		return ended.Problem(ctx, last)
	}
}
