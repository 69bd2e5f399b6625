package consumer

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// A turn is one visit of a worker to a lane: it runs the head and then those
// behind it, until one fails, the lane is stopped, or others have waited long
// enough.
type turn struct {
	//nolint:containedctx // the parent of the contexts of its records
	ctx     context.Context
	lane    *lane
	attempt int
	began   time.Time
	// done counts what is finished from the head on; the worker writes it, the
	// committer reads it, so that a commit is exact while a turn is under way.
	done atomic.Int32
	// settled is how many of those are in the ledger; under the assignment's
	// mutex.
	settled int

	// size is how many records it has. The result of a single handler is why the
	// record behind the done ones failed, that of a batch handler which ones did.
	size   int
	err    error
	failed map[int]error
}

const (
	// turnSize bounds the records of a turn, and so what is allocated for it.
	turnSize = 256
	// turnTime is how long a turn may last while other lanes wait.
	turnTime = 2 * time.Millisecond
)

// route is what to do with the records of a topic.
type route struct {
	single duplex.Next
	batch  func(context.Context, []*kgo.Record) error
}

// errGoexit is for handlers that end their goroutine, as testing's FailNow does.
var errGoexit = &duplex.Error{
	Op: "consumer: handling a record", Codes: []duplex.Code{duplex.ErrPanic},
	Hint: "the handler called runtime.Goexit; in a test, FailNow must not be called from a handler",
}

// runLane is what a worker does with a lane.
func (e *engine) runLane(w *worker, l *lane) {
	a := l.assignment
	t := a.begin(w)
	if t == nil {
		return
	}
	defer func() {
		clear(w.pieces)
		if a.finish(t) {
			e.laid(a)
		}
	}()
	if a.handler.batch != nil {
		e.runBatch(t, w.pieces)
		return
	}
	e.runSingle(t, w.pieces)
}

func (e *engine) runSingle(t *turn, pieces [][]*kgo.Record) {
	contexts := make([]recordContext, t.size)
	returned := false
	defer func() {
		if p := recover(); p != nil {
			t.err = panicked(p)
		} else if !returned {
			t.err = errGoexit
		}
	}()
	for _, piece := range pieces {
		if !e.runPiece(t, piece, contexts[t.done.Load():]) {
			break
		}
	}
	returned = true
}

// runPiece reports whether the turn may go on.
func (e *engine) runPiece(t *turn, records []*kgo.Record, contexts []recordContext) bool {
	a, before := t.lane.assignment, t.done.Load()
	for i, r := range records {
		done := before + int32(i)
		if a.halted() || (done > 0 && e.pool.contended() && time.Since(t.began) > turnTime) {
			return false
		}
		contexts[i] = recordContext{turn: t, record: r}
		if err := e.call(&contexts[i], a.handler.single); err != nil {
			t.err = err
			return false
		}
		t.done.Store(done + 1)
	}
	return true
}

func (e *engine) call(ctx *recordContext, handle duplex.Next) error {
	if e.cfg.HandlerTimeout == 0 {
		return handle(ctx, ctx.record)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, e.cfg.HandlerTimeout, ErrHandlerTimeout)
	defer cancel()
	err := handle(bounded, ctx.record)
	return orTimeout(bounded, err)
}

// orTimeout adds the cause to an error that the timeout brought about.
func orTimeout(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), ErrHandlerTimeout) && errors.Is(err, context.DeadlineExceeded) {
		return &duplex.Error{Op: "consumer: handling a record", Codes: []duplex.Code{ErrHandlerTimeout}, Err: err}
	}
	return err
}

func (e *engine) runBatch(t *turn, pieces [][]*kgo.Record) {
	records := slices.Concat(pieces...) // the handler may keep it
	returned := false
	defer func() {
		if p := recover(); p != nil {
			t.allFailed(panicked(p))
		} else if !returned {
			t.allFailed(errGoexit)
		}
	}()
	err := e.callBatch(&recordContext{turn: t, record: records[0]}, t.lane.assignment.handler.batch, records)
	returned = true
	if be, ok := errors.AsType[*BatchError](err); ok {
		t.someFailed(be)
		return
	}
	if err != nil {
		t.allFailed(err)
	}
}

func (e *engine) callBatch(ctx *recordContext, handle func(context.Context, []*kgo.Record) error, rs []*kgo.Record) error {
	if e.cfg.HandlerTimeout == 0 {
		return handle(ctx, rs)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, e.cfg.HandlerTimeout, ErrHandlerTimeout)
	defer cancel()
	return orTimeout(bounded, handle(bounded, rs))
}

func (t *turn) allFailed(err error) {
	t.failed = make(map[int]error, t.size)
	for i := range t.size {
		t.failed[i] = err
	}
}

func (t *turn) someFailed(be *BatchError) {
	for i := range be.failed {
		if i < 0 || i >= t.size {
			t.allFailed(fmt.Errorf("consumer: handling a batch: BatchError names index %d of %d records", i, t.size))
			return
		}
	}
	t.failed = be.failed
}

func panicked(p any) error {
	e := &duplex.Error{Op: "consumer: handling a record", Codes: []duplex.Code{duplex.ErrPanic}}
	if err, ok := p.(error); ok {
		e.Err = fmt.Errorf("%w\n%s", err, debug.Stack())
	} else {
		e.Err = fmt.Errorf("%v\n%s", p, debug.Stack())
	}
	return e
}
