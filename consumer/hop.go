package consumer

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/backoff"
	"github.com/duplex-go/duplex/internal/failure"
	"github.com/duplex-go/duplex/internal/kafka"
)

// A hop is what a policy has published before a record counts as finished: the
// record on its way to a retry topic or a dead-letter queue, or the outcome of one
// that came back from there. Most are flights, which nobody waits for (flight.go). The
// others are here: where order is kept, the lane of the record waits until its hop is
// acknowledged, and a flight that was refused gets a lane. A hop that fails is tried
// again, for as long as it takes, without running the handler again; nothing is
// skipped.

// arrival is what a policy said of a record.
type arrival struct {
	record *kgo.Record
	failure.Arrival
}

// arrived asks the policy about a record of one of its topics. The mutex is held.
func (a *assignment) arrived(r *kgo.Record) failure.Arrival {
	if a.arrival.record != r {
		a.arrival = arrival{r, a.engine.chain.Arrived(r)}
	}
	return a.arrival.Arrival
}

// firstAttempt is the number of the run that a record of one of the policy's topics
// has next, if it did not run since it was read.
func (a *assignment) firstAttempt(r *kgo.Record) int32 {
	return int32(min(max(a.arrived(r).Attempts, 0), maxAttempts) + 1)
}

// maxAttempts bounds what is believed of how often a record ran.
const maxAttempts = 1 << 30

// consult asks the policy what to do with the records of a turn. No lock is held.
func (e *engine) consult(t *turn) {
	a := t.assignment
	switch {
	case t.lane != nil && t.lane.moves:
		t.decided(0, e.chain.Move(t.lane.head.record))
	case a.handler.batch != nil:
		e.consultOnBatch(t)
	case t.inPlace:
		if handled := t.ended - t.flown; handled > 0 {
			e.chain.Handled(a.handler.source, handled)
		}
		if t.err != nil && !t.consulted {
			e.consultOn(t, 0, t.at(t.ended), t.attempt(t.ended), t.err)
		}
	case t.err == nil:
		e.consultOn(t, 0, t.lane.head.record, t.lane.attempt, nil)
		e.chain.Handled(a.handler.source, 1)
	default:
		before := e.clock()
		e.consultOn(t, 0, t.lane.head.record, t.lane.attempt, t.err)
		t.began += e.clock() - before // the handler is not slow because it fails: see pace
	}
}

// consults reports whether the policy is asked about records that were handled.
func (a *assignment) consults() bool { return a.chained || a.handler.answers }

// goOn asks the policy about the record that a chunk is at, which failed, or was read
// from one of the policy's topics. It reports whether the chunk goes on behind it.
func (e *engine) goOn(t *turn, r *kgo.Record, attempt int32) bool {
	v := duplex.VerdictOf(t.err)
	if e.chain == nil || v.Kind == duplex.VerdictDrop {
		return false
	}
	e.consultOn(t, 0, r, attempt, t.err)
	t.consulted = true
	hop := t.publish(0)
	switch step := t.step(0); {
	case t.err == nil && hop == nil:
		t.ended++
	case t.err == nil:
		if !e.flyOn(t, attempt, hop) {
			return false
		}
		e.chain.Handled(t.assignment.handler.source, 1)
		e.handled(attempt)
	case step.Kind() != failure.Publish || step.Hop().Ordered || !e.flyOn(t, attempt, step.Hop()):
		return false
	default:
		e.countFailed(v, 1)
	}
	t.undecided()
	t.err, t.consulted = nil, false
	return true
}

// flyOn takes the record that a chunk is at out of it, and publishes what there is to
// publish for it.
func (e *engine) flyOn(t *turn, attempt int32, h *failure.Hop) bool {
	a := t.assignment
	f := a.detach(t, attempt, h)
	if f == nil {
		return false
	}
	if t.err != nil {
		e.logMoved(a, f.item.record, attempt, h, t.err)
	}
	e.launch(f)
	return true
}

func (e *engine) consultOnBatch(t *turn) {
	i := 0
	for _, piece := range t.pieces {
		for _, r := range piece {
			e.consultOn(t, i, r, t.attempt(i), t.failed[i])
			i++
		}
	}
	if handled := t.size - len(t.failed); handled > 0 {
		e.chain.Handled(t.assignment.handler.source, handled)
	}
}

func (e *engine) consultOn(t *turn, i int, r *kgo.Record, attempt int32, err error) {
	a, v := t.assignment, duplex.VerdictOf(err)
	switch {
	case err == nil || v.Kind == duplex.VerdictDrop:
		if err == nil && attempt > 1 {
			e.chain.Recovered(r)
		}
		if !a.consults() {
			return
		}
		if publish := e.chain.Finished(r); publish != nil {
			t.after = extended(t.after, i)
			t.after[i] = publish
		}
	case a.ctx.Err() == nil:
		t.decided(i, e.chain.Failed(failure.Failure{
			Record: r, Source: a.handler.source, Attempt: int(attempt), Err: err, Verdict: v, At: time.Now(), Ordered: a.orders(r),
		}))
	}
}

// decided notes what the policy says of the i-th record.
func (t *turn) decided(i int, step failure.Step) {
	t.steps = extended(t.steps, i)
	t.steps[i] = step
}

// undecided forgets what the policy said.
func (t *turn) undecided() {
	clear(t.steps)
	clear(t.after)
	t.steps, t.after = t.steps[:0], t.after[:0]
}

// step is what the policy says of the i-th record, publish what there is to publish for
// it although it did not fail.
func (t *turn) step(i int) (step failure.Step) {
	if i < len(t.steps) {
		step = t.steps[i]
	}
	return step
}

func (t *turn) publish(i int) (h *failure.Hop) {
	if i < len(t.after) {
		h = t.after[i]
	}
	return h
}

// extended has at least an i-th element.
func extended[S any](s []S, i int) []S {
	if n := i + 1 - len(s); n > 0 {
		s = append(s, make([]S, n)...)
	}
	return s
}

// attempt is the number of the run of the i-th record of a chunk.
func (t *turn) attempt(i int) int32 {
	if i < len(t.attempts) {
		return t.attempts[i]
	}
	return 1
}

// again counts the records of a chunk from one to another that had run before.
func (t *turn) again(from, to int) (n int64) {
	for i := from; i < to && i < len(t.attempts); i++ {
		if t.attempts[i] > 1 {
			n++
		}
	}
	return n
}

// orders reports whether later records wait for r while it waits in its place.
func (a *assignment) orders(r *kgo.Record) bool {
	_, keyed := a.ordering.keyOf(r)
	return keyed && !a.chained
}

// movedOn does with the head of a lane that did not run what the policy says.
func (a *assignment) movedOn(w *worker, l *lane, step failure.Step) {
	l.moves = false
	switch step.Kind() {
	case failure.Publish:
		a.depart(w, l, l.attempt-1, step.Hop(), nil)
	case failure.Again:
		l.due = step.At().UnixNano()
		a.putOff(l)
	default: // runs now
		a.ready.push(l)
	}
}

// at is the i-th record of a chunk.
func (t *turn) at(i int) *kgo.Record {
	for _, piece := range t.pieces {
		if i < len(piece) {
			return piece[i]
		}
		i -= len(piece)
	}
	return nil
}

// hop has h published for the head of a lane, by the worker, once the assignment is
// unlocked.
func (a *assignment) hop(w *worker, l *lane, h *failure.Hop) {
	l.publish = h
	a.publishes(l)
	w.publish = append(w.publish, l)
}

func (a *assignment) publishes(l *lane) {
	if l.state = lanePublishing; l.tries == 0 {
		l.began = a.engine.clock()
	}
	a.waiting++
	a.hops++
}

// send publishes what a worker has to. No lock is held.
func (e *engine) send(w *worker) {
	if len(w.publish) > 0 {
		publish := w.publish
		w.publish = nil
		e.publish(publish)
	}
	if len(w.flights) > 0 {
		e.launch(w.flights...)
		clear(w.flights)
		w.flights = w.flights[:0]
	}
}

// publish hands what lanes have to publish to the client. No lock is held.
func (e *engine) publish(lanes []*lane) {
	for _, l := range lanes {
		// The client writes into the record, so each try has its own.
		r, end := *l.publish.Record, e.telemetry.Hop(l.publish.Record)
		e.deliver(l.publish, &r, func(err error) {
			end(err)
			l.assignment.published(l, err)
		})
	}
}

// deliver hands a hop to the client, as r, and tells done what became of it. No lock is
// held.
func (e *engine) deliver(h *failure.Hop, r *kgo.Record, done func(error)) {
	told := done
	if h.Forgone || h.Then != nil {
		told = func(err error) {
			switch {
			case err != nil && h.Forgone:
				e.forgone(h, err)
				err = nil
			case err == nil && h.Then != nil:
				e.deliver(h.Then, h.Then.Record, done)
				return
			}
			done(err)
		}
	}
	if h.Publish != nil {
		h.Publish(told)
		return
	}
	e.produce(r, func(_ *kgo.Record, err error) { told(err) })
}

// unsaid counts the hops that were forgone, and knows when that was logged.
type unsaid struct {
	n  atomic.Int64
	at atomic.Int64 // as the engine's clock has it
}

// unsaidEvery is how often it is logged at most: there may be as many as records.
const unsaidEvery = int64(10 * time.Second)

// forgone says that a hop is not published, and nothing waits for it.
func (e *engine) forgone(h *failure.Hop, err error) {
	if errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	n, at, now := e.unsaid.n.Add(1), e.unsaid.at.Load(), e.clock()
	if (n > 1 && now-at < unsaidEvery) || !e.unsaid.at.CompareAndSwap(at, now) {
		return
	}
	e.log.Warn("what became of records that came back from the dead-letter queue cannot be written: whoever sent them back does not learn it",
		zap.Int64("records", n), zap.String("to", h.Record.Topic), zap.Error(kafka.Explain("consumer: publishing to "+h.Record.Topic, err)))
}

const (
	// hopMin and hopMax bound the wait before a failed publish is tried again.
	hopMin, hopMax = 100 * time.Millisecond, 5 * time.Second
	// slowHop is from when on a publish counts as one that does not succeed.
	slowHop = int64(5 * time.Second)
)

// published is called when a hop was acknowledged, or has failed.
func (a *assignment) published(l *lane, err error) {
	e, h := a.engine, l.publish // nobody else has the lane now
	var smaller *failure.Hop
	switch {
	case err == nil:
		e.chain.Published(h)
	case errors.Is(err, kerr.MessageTooLarge):
		smaller = e.chain.Refused(h)
	}
	a.mu.Lock()
	defer a.unlock()
	a.now = e.clock()
	a.hops--
	a.waiting--
	switch {
	case a.closed: // whoever has the partition now does it again
		if err == nil {
			e.counts.late.Add(1)
		}
	case err == nil:
		e.hopped(h, time.Duration(a.now-l.began))
		a.advance(l)
	case smaller != nil:
		a.logSmaller(l)
		l.publish, l.due = smaller, 0
		a.putOff(l) // due at once
	default:
		a.hopFailed(l, err)
	}
	a.schedule()
}

func (a *assignment) logSmaller(l *lane) {
	a.engine.log.Warn("what has to be published for a failed record is too large for its topic, leaving out some of it",
		zap.String("topic", a.topic), zap.Int32("partition", a.partition), zap.Int64("offset", l.head.record.Offset), zap.String("to", l.publish.Record.Topic))
}

// hopped counts a hop that was acknowledged.
func (e *engine) hopped(h *failure.Hop, took time.Duration) {
	e.counts.moved.Add(1)
	switch h.Kind {
	case failure.HopRetry:
		e.counts.retried.Add(1)
	case failure.HopDead:
		e.counts.dead.Add(1)
	case failure.HopWait, failure.HopOutcome:
	}
	e.telemetry.Hopped(h.Kind.String(), h.Record.Topic, h.Reason, h.Fingerprint, took)
}

func (a *assignment) hopFailed(l *lane, err error) {
	e, to := a.engine, l.publish.Record.Topic
	err = kafka.Explain("consumer: publishing to "+to, err)
	l.lastErr = err
	l.tries = max(l.tries, l.tries+1) // it stays at the most
	l.due = time.Now().Add(backoff.Exponential(int(l.tries), hopMin, hopMax)).UnixNano()
	a.putOff(l)
	if errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	if errors.Is(err, duplex.ErrUnknownTopic) {
		e.followed.gone(to)
	}
	e.log.Warn("what has to be published for a failed record is not acknowledged, trying again",
		zap.String("topic", a.topic), zap.Int32("partition", a.partition), zap.Int64("offset", l.head.record.Offset),
		zap.String("to", to), zap.Uint8("tries", l.tries), zap.Error(err))
}

// stuckHop says what a publish that does not succeed is about, "" if there is none.
// The mutex is held.
func (a *assignment) stuckHop(now int64) string {
	var first *lane
	for l := a.lanes.first; l != nil; l = l.next {
		if l.publish == nil || (l.tries == 0 && now-l.began < slowHop) {
			continue
		}
		if first == nil || l.head.record.Offset < first.head.record.Offset {
			first = l
		}
	}
	says := func(r *kgo.Record, h *failure.Hop) string {
		return fmt.Sprintf("%s/%d: offset %d waits for what is published for it to %s", a.topic, a.partition, r.Offset, h.Record.Topic)
	}
	switch f := a.flights.first; {
	case first != nil && first.tries > 0:
		return fmt.Sprintf("%s, which failed %d times: %v", says(first.head.record, first.publish), first.tries, first.lastErr)
	case first != nil:
		return says(first.head.record, first.publish)
	case f != nil && now-f.began >= slowHop:
		return says(f.item.record, f.hop)
	}
	return ""
}
