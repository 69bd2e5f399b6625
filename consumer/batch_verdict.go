package consumer

import (
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/failure"
)

// judgeBatch decides what becomes of the records of a batch: those that are handled
// are finished, those that failed wait in lanes of their keys, and run again
// together. The mutex is held.
func (e *engine) judgeBatch(a *assignment, w *worker) {
	t := &w.turn
	b := batchResult{engine: e, assignment: a, turn: t, worker: w, gaveUp: a.ctx.Err() != nil}
	b.decide()
	if len(t.lanes) > 0 {
		b.finishLanes()
	} else {
		b.finishChunk()
	}
	a.moved = e.clock()
	a.relieve()
	if len(b.again) > 0 {
		e.logFailure(b.again[0], b.failed, b.counted)
	}
}

// batchResult is what came of a batch.
type batchResult struct {
	engine     *engine
	assignment *assignment
	turn       *turn
	worker     *worker

	at      time.Time      // when those that run again do so: together
	counted duplex.Verdict // of the first that failed, rather than was snoozed
	last    error
	failed  int
	again   []*lane
	// gaveUp is set when the handler had been told to: what it did not handle has
	// not failed then.
	gaveUp bool
}

// decide looks at all that failed and run again.
func (b *batchResult) decide() {
	for i := range b.turn.size {
		err, failed := b.turn.failed[i]
		v, step := duplex.VerdictOf(err), b.turn.step(i)
		if !failed || v.Kind == duplex.VerdictDrop || step.Kind() == failure.Publish || step.Kind() == failure.Finish {
			continue
		}
		b.failed++
		if b.last == nil || b.counted.Kind == duplex.VerdictSnooze {
			b.counted, b.last = v, err
		}
		if at := b.engine.runAt(b.turn.attempt(i), step, v); at.After(b.at) {
			b.at = at
		}
	}
}

// over deals with a record that does not run again, and reports false of one that
// does.
func (b *batchResult) over(i int, it item) bool {
	a, e := b.assignment, b.engine
	err, failed := b.turn.failed[i]
	v, publish := duplex.VerdictOf(err), b.turn.publish(i)
	switch step := b.turn.step(i); {
	case !failed:
		e.handled(b.turn.attempt(i))
	case v.Kind == duplex.VerdictDrop:
		e.dropped(a, it.record, v)
	case b.gaveUp:
		return false
	case step.Kind() == failure.Finish, step.Kind() == failure.Publish:
		e.countFailed(v, 1)
		if publish = step.Hop(); publish != nil {
			e.logMoved(a, it.record, b.turn.attempt(i), publish, err)
		}
	default:
		return false
	}
	if publish == nil {
		a.finishedOne(it)
		return true
	}
	b.worker.flights = append(b.worker.flights, a.fly(it, b.turn.attempt(i), publish, err))
	return true
}

func (b *batchResult) finishLanes() {
	i := 0
	for _, l := range b.turn.lanes {
		head, n := *l, int(l.together)
		var again []item
		more := true
		for range n {
			var it item
			it, more = l.pop()
			if !b.over(i, it) {
				again = append(again, it)
			}
			i++
		}
		l.putBack(again, more)
		switch {
		case len(again) > 0:
			l.attempt, l.together, l.due, l.lastErr = head.attempt, int32(len(again)), head.due, head.lastErr
			b.retry(l)
		case more: // those behind are as new, and run together
			l.together = int32(min(l.len(), b.engine.cfg.MaxBatch))
			b.assignment.ready.push(l)
		default:
			b.assignment.lanes.remove(l)
			b.worker.spare = l
		}
	}
}

func (b *batchResult) finishChunk() {
	a := b.assignment
	byKey := map[uint64]*lane{}
	var lanes []*lane
	for i := range b.turn.size {
		it := b.turn.queue.popOne()
		if b.over(i, it) {
			continue
		}
		key, keyed := a.ordering.keyOf(it.record)
		if l := byKey[key]; keyed && l != nil {
			l.push(it)
			l.together++
			continue
		}
		l := a.newLane(b.worker, it, key, keyed)
		if keyed {
			byKey[key] = l
		}
		lanes = append(lanes, l)
	}
	for _, l := range lanes {
		b.retry(l)
	}
}

func (b *batchResult) retry(l *lane) {
	if b.gaveUp {
		b.assignment.ready.push(l)
		return
	}
	b.engine.tryAgain(l, b.at, b.counted, b.last)
	b.again = append(b.again, l)
}
