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
	"github.com/duplex-go/duplex/internal/failure"
)

// A turn is what a worker has of an assignment: a chunk of its queue, which runs
// in place, or the head of a lane, or, for a batch handler, the heads of several.
// Every worker has one, and uses it again and again; what is not atomic is the
// worker's while it runs handlers, and under the assignment's mutex otherwise.
type turn struct {
	assignment *assignment
	inPlace    bool
	visit      int64 // when the worker came
	began      int64 // as the engine's clock has it

	lane  *lane   // one record; of a chunk that was cut, the record it was at
	lanes []*lane // a batch of records that failed before

	queue  queue           // a chunk
	pieces [][]*kgo.Record // the same records, or those of the lanes, for the worker
	// word says how far a chunk is: see claim. settled of its records are entered
	// into the ledger; ended is how many are finished, once the worker knows.
	word    atomic.Uint64
	settled int
	ended   int
	// flown of those that ended failed, and left the chunk.
	flown int
	// consulted is set when the policy was asked about err.
	consulted bool
	// seen is the word at the last look, seenAt when it was first so.
	seen   uint64
	seenAt int64

	size     int           // of a chunk or a batch
	attempts []int32       // of each record of a batch, or of a chunk of the policy's topics
	err      error         // of the record that the turn ended with
	failed   map[int]error // of a batch: which, and why
	// What the policy says: to do with a record that failed, and to publish for
	// one that did not. By index, which is 0 for the only one of a lane or the
	// last one of a chunk; see step and publish.
	steps []failure.Step
	after []*failure.Hop
}

// reset makes a turn ready for an assignment.
func (t *turn) reset(a *assignment) {
	t.assignment, t.lane, t.err, t.failed = a, nil, nil, nil
	t.lanes, t.attempts = t.lanes[:0], t.attempts[:0]
	t.undecided()
	t.settled, t.ended, t.flown, t.size, t.consulted = 0, 0, 0, 0, false
}

// found reports whether it has anything to run.
func (t *turn) found() bool { return t.lane != nil || len(t.lanes) > 0 || t.queue.len() > 0 }

// The word of a turn counts the chunks that it had (32 bits), so that no two are
// taken for each other, and says how many records may be claimed (16) and were
// claimed (16). All that were claimed are finished, but for the last one.
const (
	wordChunk = 32
	wordLimit = 16
	wordField = 1<<16 - 1
)

// open lets the first n records be claimed.
func (t *turn) open(n int) {
	t.word.Store((t.word.Load()>>wordChunk+1)<<wordChunk | uint64(n)<<wordLimit)
}

// claim reports whether the next record may run.
func (t *turn) claim() bool {
	w := t.word.Add(1)
	return w&wordField <= w>>wordLimit&wordField
}

// done counts the finished records of a chunk that is at work.
func (t *turn) done() int {
	w := t.word.Load()
	return max(0, int(w&wordField)-1)
}

// cut keeps the records behind the one that is at work from being claimed. It
// reports false if the turn is not as seen any more, or no record is at work.
func (t *turn) cut(seen uint64) bool {
	claimed, limit := seen&wordField, seen>>wordLimit&wordField
	if claimed == 0 || claimed > limit {
		return false
	}
	return t.word.CompareAndSwap(seen, seen>>wordChunk<<wordChunk|claimed<<wordLimit|claimed)
}

// route is what to do with the records of a topic: a source, or one that the policy
// for failures has beside it.
type route struct {
	source string
	single duplex.Next
	batch  func(context.Context, []*kgo.Record) error
	// unordered is set when the policy has no record wait for those before it that
	// failed.
	unordered bool
	// displaces is set when the policy has records wait elsewhere than in a partition
	// that is full of them, answers when it may publish something for those that were
	// handled.
	displaces, answers bool
}

// errGoexit is for handlers that end their goroutine, as testing's FailNow does.
var errGoexit = &duplex.Error{
	Op: "consumer: handling a record", Codes: []duplex.Code{duplex.ErrPanic},
	Hint: "the handler called runtime.Goexit; in a test, FailNow must not be called from a handler",
}

// visit is what a worker does with an assignment: turn after turn, until there is
// nothing more to do or others have waited long enough.
func (e *engine) visit(w *worker, a *assignment) {
	atWork := a.enter(w)
	defer func() {
		if atWork { // a handler ended the goroutine
			a.leave(w)
		}
	}()
	for atWork {
		e.execute(w)
		if e.chain != nil {
			e.consult(&w.turn)
		}
		atWork = a.next(w)
	}
}

// execute runs the handlers of a turn.
func (e *engine) execute(w *worker) {
	t, returned := &w.turn, false
	defer func() {
		if p := recover(); p != nil {
			t.endedBy(panicked(p))
		} else if !returned {
			t.endedBy(errGoexit)
		}
	}()
	switch {
	case t.lane != nil && t.lane.moves: // not to be run
	case t.assignment.handler.batch != nil:
		e.runBatch(t)
	case t.inPlace:
		e.runChunk(w)
	default:
		t.err = e.call(w.context(t.lane), t.assignment.handler.single)
	}
	returned = true
}

// endedBy notes that a handler did not return as it should.
func (t *turn) endedBy(err error) {
	if t.assignment.handler.batch != nil {
		t.allFailed(err)
		return
	}
	t.err = err
}

func (e *engine) runChunk(w *worker) {
	t := &w.turn
	contexts := make([]recordContext, t.size)
	for _, piece := range t.pieces {
		if !e.runPiece(t, piece, contexts[t.ended:]) {
			return
		}
	}
}

// runPiece reports whether the turn may go on.
func (e *engine) runPiece(t *turn, records []*kgo.Record, contexts []recordContext) bool {
	a := t.assignment
	for i, r := range records {
		if a.halted() || !t.claim() {
			return false
		}
		contexts[i] = recordContext{assignment: a, record: r, attempt: t.attempt(t.ended)}
		if t.err = e.call(&contexts[i], a.handler.single); t.err != nil || a.consults() {
			if !e.goOn(t, r, contexts[i].attempt) {
				return false
			}
			continue
		}
		t.ended++
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

func (e *engine) runBatch(t *turn) {
	records := slices.Concat(t.pieces...) // the handler may keep it
	ctx := &recordContext{assignment: t.assignment, record: records[0], attempt: t.attempt(0)}
	err := e.callBatch(ctx, t.assignment.handler.batch, records)
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

// turnTime is how long a worker may stay with an assignment while others wait.
const turnTime = int64(2 * time.Millisecond)
