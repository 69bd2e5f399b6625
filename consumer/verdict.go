package consumer

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/backoff"
)

// judge decides what becomes of the records that a turn did not handle. The
// assignment's mutex is held, and the ledger has what the turn finished.
func (e *engine) judge(a *assignment, t *turn) {
	if a.handler.batch != nil {
		e.judgeBatch(a, t)
		return
	}
	e.counts.handled.Add(int64(t.done.Load()))
	if t.err == nil {
		return
	}
	if a.ctx.Err() != nil {
		return // it was told to give up: no failure of the record
	}
	v := duplex.VerdictOf(t.err)
	if v.Kind == duplex.VerdictDrop {
		e.dropped(a, a.lane.queue.head(), v)
		a.finishHeads(1)
		a.relieve()
		return
	}
	e.tryAgain(a, 1, e.wait(a, v), v, t.err)
}

func (e *engine) judgeBatch(a *assignment, t *turn) {
	if len(t.failed) > 0 && a.ctx.Err() != nil {
		return
	}
	var again []slice
	var wait time.Duration
	var counted duplex.Verdict
	var last error
	for i := range t.size {
		err, failed := t.failed[i]
		v := duplex.VerdictOf(err)
		if failed && v.Kind != duplex.VerdictDrop {
			if last == nil || counted.Kind == duplex.VerdictSnooze {
				counted, last = v, err
			}
			wait = max(wait, e.wait(a, v))
			again = append(again, a.lane.queue.pop(1))
			continue
		}
		if failed {
			e.dropped(a, a.lane.queue.head(), v)
		} else {
			e.counts.handled.Add(1)
		}
		a.finishFirst(1)
	}
	a.moved = time.Now()
	a.lane.queue.putBack(again)
	if len(again) == 0 {
		a.lane.headIsNew()
	} else {
		e.tryAgain(a, len(again), wait, counted, last)
	}
	a.relieve()
}

// wait is how long the head of a's lane waits after verdict v.
func (e *engine) wait(a *assignment, v duplex.Verdict) time.Duration {
	if v.Kind == duplex.VerdictSnooze || v.After > 0 {
		return v.After
	}
	return backoff.Exponential(a.lane.attempt, e.cfg.RetryMin, e.cfg.RetryMax)
}

func (e *engine) tryAgain(a *assignment, n int, wait time.Duration, v duplex.Verdict, err error) {
	l := &a.lane
	l.headFailed(n, time.Now().Add(wait), err)
	head := l.queue.head()
	fields := []zap.Field{
		zap.String("topic", a.topic), zap.Int32("partition", a.partition), zap.Int64("offset", head.Offset),
		zap.String("group", e.cfg.Group), zap.ByteString("key", head.Key), zap.Int("attempt", l.attempt), zap.Duration("wait", wait),
	}
	if v.Kind == duplex.VerdictSnooze {
		e.counts.snoozed.Add(int64(n))
		e.log.Debug("a record is snoozed", fields...)
		return
	}
	e.counts.failed.Add(int64(n))
	e.log.Warn("handling a record failed, it waits for its next attempt",
		append(fields, zap.Int("records", n), zap.String("code", string(duplex.CodeOf(err))), zap.Error(err))...)
	l.attempt++
}

func (e *engine) dropped(a *assignment, head *kgo.Record, v duplex.Verdict) {
	e.counts.dropped.Add(1)
	e.log.Info("a handler dropped a record",
		zap.String("topic", a.topic), zap.Int32("partition", a.partition), zap.Int64("offset", head.Offset),
		zap.String("group", e.cfg.Group), zap.ByteString("key", head.Key), zap.String("reason", v.Reason))
}

func (e *engine) countLate(t *turn) {
	late := int64(t.done.Load())
	if t.lane.assignment.handler.batch != nil {
		late = int64(t.size - len(t.failed))
	}
	if late > int64(t.settled) {
		e.counts.late.Add(late - int64(t.settled))
	}
}
