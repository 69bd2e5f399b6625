package consumer

import (
	"time"

	"github.com/duplex-go/duplex"
)

// judgeBatch decides what becomes of the records of a batch: those that are handled
// are finished, those that failed wait in lanes of their keys, and run again
// together. The mutex is held.
func (e *engine) judgeBatch(a *assignment, w *worker) {
	t := &w.turn
	b := batchResult{engine: e, assignment: a, turn: t, gaveUp: a.ctx.Err() != nil}
	b.decide()
	if len(t.lanes) > 0 {
		b.finishLanes(w)
	} else {
		b.finishChunk(w)
	}
	a.moved = e.clock()
	a.relieve()
	if len(b.again) > 0 {
		e.logFailure(a, b.again[0], b.failed, b.counted, b.last)
	}
}

// batchResult is what came of a batch.
type batchResult struct {
	engine     *engine
	assignment *assignment
	turn       *turn

	wait    time.Duration  // until those that failed run again: together
	counted duplex.Verdict // of the first that failed, rather than was snoozed
	last    error
	failed  int
	again   []*lane
	// gaveUp is set when the handler had been told to: what it did not handle has
	// not failed then.
	gaveUp bool
}

// decide looks at all that failed.
func (b *batchResult) decide() {
	for i := range b.turn.size {
		err, failed := b.turn.failed[i]
		v := duplex.VerdictOf(err)
		if !failed || v.Kind == duplex.VerdictDrop {
			continue
		}
		if b.failed++; b.last == nil || b.counted.Kind == duplex.VerdictSnooze {
			b.counted, b.last = v, err
		}
		b.wait = max(b.wait, b.engine.wait(b.turn.attempt, v))
	}
}

// over enters a record as finished unless it failed.
func (b *batchResult) over(i int, it item) bool {
	err, failed := b.turn.failed[i]
	v := duplex.VerdictOf(err)
	switch {
	case !failed:
		b.engine.counts.handled.Add(1)
	case v.Kind == duplex.VerdictDrop:
		b.engine.dropped(b.assignment, it.record, v)
	default:
		return false
	}
	b.assignment.finishedOne(it)
	return true
}

func (b *batchResult) finishLanes(w *worker) {
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
			w.spare = l
		}
	}
}

func (b *batchResult) finishChunk(w *worker) {
	a := b.assignment
	byKey := map[uint64]*lane{}
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
		l := a.newLane(w, it, key, keyed)
		if keyed {
			byKey[key] = l
		}
		b.again = append(b.again, l)
	}
	lanes := b.again
	b.again = nil
	for _, l := range lanes {
		b.retry(l)
	}
}

func (b *batchResult) retry(l *lane) {
	if b.gaveUp {
		b.assignment.ready.push(l)
		return
	}
	b.engine.tryAgain(b.assignment, l, b.wait, b.counted, b.last)
	b.again = append(b.again, l)
}
