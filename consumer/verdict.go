package consumer

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/backoff"
	"github.com/duplex-go/duplex/internal/failure"
)

// judgeChunk enters what a chunk finished, and gives the record that failed, if one
// did, a lane to wait in. The assignment's mutex is held in all of this.
func (e *engine) judgeChunk(a *assignment, w *worker) {
	t := &w.turn
	a.settleTo(t, t.ended)
	e.counts.handled.Add(int64(t.ended - t.flown))
	if t.err != nil {
		it := t.queue.popOne()
		key, keyed := a.ordering.keyOf(it.record)
		e.judge(w, a.newLane(w, it, key, keyed))
	}
	a.queue.putBack(&t.queue)
}

// judge decides what becomes of a lane whose head the worker's turn ended with.
func (e *engine) judge(w *worker, l *lane) {
	a, t := l.assignment, &w.turn
	v := duplex.VerdictOf(t.err)
	switch {
	case t.err == nil:
		e.handled(l.attempt)
		a.done(w, l, t.publish(0))
	case v.Kind == duplex.VerdictDrop:
		e.dropped(a, l.head.record, v)
		a.done(w, l, t.publish(0))
	case a.ctx.Err() != nil:
		a.ready.push(l) // it was told to give up: no failure of the record
		a.gaveUp = true
	default:
		e.failed(w, l, t.step(0), v)
	}
}

// done has the head of a lane, which is done with, counted as finished, once what
// there is to publish for it is.
func (a *assignment) done(w *worker, l *lane, publish *failure.Hop) {
	if publish != nil {
		a.depart(w, l, l.attempt, publish, nil)
	} else if a.advance(l) {
		w.spare = l
	}
}

// failed does what the policy says with the head of a lane, which failed.
func (e *engine) failed(w *worker, l *lane, step failure.Step, v duplex.Verdict) {
	a, err := l.assignment, w.turn.err
	switch step.Kind() {
	case failure.Finish:
		e.counts.failed.Add(1)
		a.done(w, l, nil)
	case failure.Publish:
		e.countFailed(v, 1)
		e.logMoved(a, l.head.record, l.attempt, step.Hop(), err)
		if step.Hop().Ordered {
			l.attempt, l.lastErr = l.attempt+1, err
			a.hop(w, l, step.Hop())
			return
		}
		a.depart(w, l, l.attempt, step.Hop(), err)
	default:
		e.tryAgain(l, e.runAt(l.attempt, step, v), v, err)
		e.logFailure(l, 1, v)
	}
}

// runAt is when a record runs again after so many attempts, a step and a verdict.
func (e *engine) runAt(attempt int32, step failure.Step, v duplex.Verdict) time.Time {
	switch {
	case step.Kind() == failure.Again:
		return step.At()
	case v.Kind == duplex.VerdictSnooze || v.After > 0:
		return time.Now().Add(v.After)
	default:
		return time.Now().Add(backoff.Exponential(int(attempt), e.cfg.RetryMin, e.cfg.RetryMax))
	}
}

// tryAgain has the head of a lane, or those that stand there together, run again.
func (e *engine) tryAgain(l *lane, at time.Time, v duplex.Verdict, err error) {
	l.due, l.lastErr = at.UnixNano(), err
	e.countFailed(v, l.together)
	if v.Kind != duplex.VerdictSnooze {
		e.counts.retried.Add(int64(l.together))
		l.attempt++
	}
	l.assignment.putOff(l)
}

// handled counts a record that was, in so many attempts.
func (e *engine) handled(attempt int32) {
	e.counts.handled.Add(1)
	if attempt > 1 {
		e.counts.recovered.Add(1)
	}
}

// countFailed counts n records whose handler returned an error that means v.
func (e *engine) countFailed(v duplex.Verdict, n int32) {
	if v.Kind == duplex.VerdictSnooze {
		e.counts.snoozed.Add(int64(n))
	} else {
		e.counts.failed.Add(int64(n))
	}
}

// logFailure is called after tryAgain, for n records that the head of l stands for.
func (e *engine) logFailure(l *lane, n int, v duplex.Verdict) {
	level, text := zap.WarnLevel, "handling a record failed, it waits for its next attempt"
	if v.Kind == duplex.VerdictSnooze {
		level, text = zap.DebugLevel, "a record is snoozed"
	}
	entry := e.log.Check(level, text)
	if entry == nil {
		return
	}
	a := l.assignment
	entry.Write(zap.String("topic", a.topic), zap.Int32("partition", a.partition), zap.Int64("offset", l.head.record.Offset),
		zap.String("group", e.cfg.Group), zap.ByteString("key", cut(l.head.record.Key)), zap.Int32("attempt", l.attempt), zap.Time("due", l.retryAt()),
		zap.Int("records", n), zap.String("code", string(duplex.CodeOf(l.lastErr))), zap.Error(l.lastErr))
}

// logMoved says that a record failed, and where the policy has it go.
func (e *engine) logMoved(a *assignment, r *kgo.Record, attempt int32, to *failure.Hop, err error) {
	entry := e.log.Check(zap.WarnLevel, "handling a record failed, the policy has it go to another topic")
	if entry == nil {
		return
	}
	entry.Write(zap.String("topic", a.topic), zap.Int32("partition", a.partition), zap.Int64("offset", r.Offset), zap.String("group", e.cfg.Group),
		zap.ByteString("key", cut(r.Key)), zap.Int32("attempt", attempt), zap.String("to", to.Record.Topic), zap.String("code", string(duplex.CodeOf(err))), zap.Error(err))
}

func (e *engine) dropped(a *assignment, head *kgo.Record, v duplex.Verdict) {
	e.counts.dropped.Add(1)
	e.log.Info("a handler dropped a record",
		zap.String("topic", a.topic), zap.Int32("partition", a.partition), zap.Int64("offset", head.Offset),
		zap.String("group", e.cfg.Group), zap.ByteString("key", head.Key), zap.String("reason", v.Reason))
}

// countLate counts what a turn handled whose assignment had been closed meanwhile.
func (e *engine) countLate(t *turn) {
	late := 0
	switch {
	case t.lane != nil && t.lane.moves: // it did not run
	case t.assignment.handler.batch != nil:
		late = t.size - len(t.failed)
	case t.lane == nil:
		late = t.ended - t.settled
	case t.err == nil:
		late = 1
	}
	e.counts.late.Add(int64(late))
}
