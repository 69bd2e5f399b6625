package consumer

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/backoff"
)

// judgeChunk enters what a chunk finished, and gives the record that failed, if one
// did, a lane to wait in. The assignment's mutex is held in all of this.
func (e *engine) judgeChunk(a *assignment, w *worker) {
	t := &w.turn
	a.settleTo(t, t.ended)
	e.counts.handled.Add(int64(t.ended))
	if t.err != nil {
		it := t.queue.popOne()
		key, keyed := a.ordering.keyOf(it.record)
		e.judge(a, w, a.newLane(w, it, key, keyed), t.err)
	}
	a.queue.putBack(&t.queue)
}

// judge decides what becomes of a lane whose head ran and ended with err.
func (e *engine) judge(a *assignment, w *worker, l *lane, err error) {
	if err == nil {
		e.counts.handled.Add(1)
		a.advance(w, l, e.clock())
		return
	}
	switch v := duplex.VerdictOf(err); {
	case v.Kind == duplex.VerdictDrop:
		e.dropped(a, l.head.record, v)
		a.advance(w, l, e.clock())
	case a.ctx.Err() != nil:
		a.ready.push(l) // it was told to give up: no failure of the record
	default:
		e.tryAgain(a, l, e.wait(l.attempt, v), v, err)
		e.logFailure(a, l, 1, v, err)
	}
}

// wait is how long a record waits after so many attempts and verdict v.
func (e *engine) wait(attempt int32, v duplex.Verdict) time.Duration {
	if v.Kind == duplex.VerdictSnooze || v.After > 0 {
		return v.After
	}
	return backoff.Exponential(int(attempt), e.cfg.RetryMin, e.cfg.RetryMax)
}

// tryAgain has the head of a lane, or those that stand there together, run again.
func (e *engine) tryAgain(a *assignment, l *lane, wait time.Duration, v duplex.Verdict, err error) {
	l.due, l.lastErr = time.Now().Add(wait), err
	if v.Kind == duplex.VerdictSnooze {
		e.counts.snoozed.Add(int64(l.together))
	} else {
		e.counts.failed.Add(int64(l.together))
		l.attempt++
	}
	a.putOff(l)
}

// logFailure is called after tryAgain, for n records that the head of l stands for.
func (e *engine) logFailure(a *assignment, l *lane, n int, v duplex.Verdict, err error) {
	level, text := zap.WarnLevel, "handling a record failed, it waits for its next attempt"
	if v.Kind == duplex.VerdictSnooze {
		level, text = zap.DebugLevel, "a record is snoozed"
	}
	entry := e.log.Check(level, text)
	if entry == nil {
		return
	}
	entry.Write(zap.String("topic", a.topic), zap.Int32("partition", a.partition), zap.Int64("offset", l.head.record.Offset),
		zap.String("group", e.cfg.Group), zap.ByteString("key", cut(l.head.record.Key)), zap.Int32("attempt", l.attempt), zap.Time("due", l.due),
		zap.Int("records", n), zap.String("code", string(duplex.CodeOf(err))), zap.Error(err))
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
	case t.assignment.handler.batch != nil:
		late = t.size - len(t.failed)
	case t.lane == nil:
		late = t.ended - t.settled
	case t.err == nil:
		late = 1
	}
	e.counts.late.Add(int64(late))
}
