package dlq

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/backoff"
	"github.com/duplex-go/duplex/internal/failure"
)

// chain is a policy at work for one consumer. Nothing in it but the breaker changes
// after it was made, so it may be asked by many at once.
//
//	                 ┌───────── due: handled ─────────┐
//	source ── failed ─► retry 1 ── failed ─► retry 2 … ┴── failed for the last time ─► dead letter
//	   │                                                                                  ▲
//	   └── permanent, undecodable, panic ──────────────────────────────────────────────────┘
type chain struct {
	policy Policy
	env    failure.Env
	tiers  map[string]tier // by topic
	// last is how many retry topics a source has, those of former Delays included.
	last map[string]int
	// partitions of the topics beside a source, which may be fewer than its own
	// until they are grown.
	partitions map[string]int32
	breaker    breaker
}

// tier is one of the topics that are read beside a source.
type tier struct {
	source string
	n      int // of the retry topic, from 1; 0 for the redrive topic
	delay  time.Duration
}

// Topics implements failure.Chain.
func (c *chain) Topics() map[string]string {
	all := make(map[string]string, len(c.tiers))
	for topic, t := range c.tiers {
		all[topic] = t.source
	}
	return all
}

// Arrived implements failure.Chain. A retry topic is first-in first-out: each record
// is due when its delay has passed since it was appended. One that is to wait for
// longer goes to another topic then, or waits for the rest in its place.
func (c *chain) Arrived(r *kgo.Record) failure.Arrival {
	t := c.tiers[r.Topic]
	j, err := parseJourney(r)
	if err != nil {
		return failure.Arrival{Moves: true}
	}
	a := failure.Arrival{Attempts: j.attempts}
	if t.n > 0 {
		a.Due = r.Timestamp.Add(t.delay)
	}
	a.Moves = j.due.After(a.Due)
	return a
}

// Move implements failure.Chain.
func (c *chain) Move(r *kgo.Record) failure.Step {
	t := c.tiers[r.Topic]
	j, err := parseJourney(r)
	if err != nil {
		return c.badControl(r, t, err)
	}
	at := j.due
	j.due = time.Time{}
	return c.wait(r, t.source, j, nil, at, at.Sub(r.Timestamp.Add(t.delay)))
}

// Handled implements failure.Chain.
func (c *chain) Handled(n int) { c.breaker.succeeded(n) }

// Recovered implements failure.Chain.
func (c *chain) Recovered(r *kgo.Record) {
	if c.breaker.recovered(r) {
		c.env.Logger.Info("a record that would have been a dead letter was handled: records that fail become dead letters again")
	}
}

// Problems implements failure.Chain.
func (c *chain) Problems() []duplex.Problem { return c.breaker.problem() }

// hold has a record wait that would be dead, while too many would be.
func (c *chain) hold(r *kgo.Record, now time.Time) (at time.Time, held bool) {
	at, held, opened := c.breaker.hold(r, now)
	if opened {
		c.env.Logger.Error("most records fail for good: they wait in their places instead of becoming dead letters, and one after the other is tried",
			zap.Float64("max_dead_ratio", c.policy.MaxDeadRatio))
	}
	return at, held
}

// Finished implements failure.Chain.
func (c *chain) Finished(*kgo.Record) *kgo.Record { return nil }

// Failed implements failure.Chain.
func (c *chain) Failed(f failure.Failure) failure.Step {
	t, chained := c.tiers[f.Record.Topic]
	j := journey{attempts: f.Attempt}
	if chained {
		read, err := parseJourney(f.Record)
		if err != nil { // it was refused when it arrived: this is for batches
			return c.badControl(f.Record, t, err)
		}
		j = read
		j.attempts, j.due = f.Attempt, time.Time{}
	} else {
		j.origin = originOf(f.Record, c.env.TopicID(f.Record.Topic))
		j.id = idOf(j.origin, c.env.Group)
	}
	if f.Verdict.Kind == duplex.VerdictSnooze {
		j.attempts--
		return c.wait(f.Record, f.Source, j, &f, f.At.Add(f.Verdict.After), f.Verdict.After)
	}
	if j.first.IsZero() {
		j.first = f.At
	}
	reason := c.final(f, j)
	if reason == ReasonExhausted || reason == ReasonTooOld {
		if at, held := c.hold(f.Record, f.At); held {
			return failure.RunAgain(at)
		}
	}
	if reason != "" {
		return failure.PublishFirst(c.dead(f.Record, j, c.describe(f, j, reason)))
	}
	wait := f.Verdict.After
	if wait == 0 {
		retry := f.Attempt - c.policy.Immediate
		if retry < 1 {
			return failure.RunAgain(f.At.Add(backoff.Exponential(f.Attempt, immediateMin, immediateMax)))
		}
		wait = c.delay(retry)
	}
	return c.wait(f.Record, f.Source, j, &f, f.At.Add(wait), wait)
}

// final says why a failed record is not tried again, "" if it is.
func (c *chain) final(f failure.Failure, j journey) Reason {
	class := ClassDefault
	if c.policy.Classify != nil {
		class = c.policy.Classify(f.Err)
	}
	switch code := duplex.CodeOf(f.Err); {
	case class == ClassPermanent:
		return ReasonPermanent
	case class == ClassRetry:
	case code == duplex.ErrUndecodable:
		return ReasonUndecodable
	case code == duplex.ErrPanic:
		return ReasonPanic
	case f.Verdict.Kind == duplex.VerdictPermanent:
		return ReasonPermanent
	}
	switch {
	case j.attempts >= c.policy.MaxAttempts:
		return ReasonExhausted
	case c.policy.MaxAge > 0 && f.At.Sub(j.origin.Timestamp) >= c.policy.MaxAge:
		return ReasonTooOld
	}
	return ""
}

// delay is how long the n-th attempt that is not immediate is put off, from 1.
func (c *chain) delay(n int) time.Duration {
	if len(c.policy.Delays) == 0 { // KeepOrder without any
		return backoff.Exponential(n, time.Second, 5*time.Minute)
	}
	return c.policy.Delays[min(n, len(c.policy.Delays))-1]
}

// wait has a record run at the given time, which is so long from now: in its place,
// where order asks for it or no retry topic is so short; and else through the retry
// topic with the longest delay that is not too long, from where it goes on to wait
// for the rest.
func (c *chain) wait(r *kgo.Record, source string, j journey, f *failure.Failure, at time.Time, wait time.Duration) failure.Step {
	n := 0
	for i, d := range c.policy.Delays {
		if d <= wait {
			n = i + 1
		}
	}
	if n == 0 || (c.policy.KeepOrder && (f == nil || f.Ordered)) {
		return failure.RunAgain(at)
	}
	if c.policy.Delays[n-1] < wait {
		j.due = at
	}
	to := c.beside(RetryTopic(c.env.Group, source, n), r)
	to.Headers = j.headers(theirs(r.Headers, 20))
	to.Headers = append(to.Headers, text(HeaderGroup, c.env.Group), text(HeaderHandler, source))
	if f != nil && f.Verdict.Kind != duplex.VerdictSnooze {
		to.Headers = c.describe(*f, j, "").headers(to.Headers)
	} else {
		to.Headers = carryError(to.Headers, r.Headers)
	}
	return failure.PublishFirst(to)
}

// beside is r on its way to a topic beside its own: in the partition of the same
// number, as far as there is one.
func (c *chain) beside(topic string, r *kgo.Record) *kgo.Record {
	p := r.Partition
	if n := c.partitions[topic]; n > 0 {
		p %= n
	}
	return &kgo.Record{Topic: topic, Partition: p, Key: r.Key, Value: r.Value}
}

// badControl makes a dead letter of a record in one of our topics that says what it
// cannot say.
func (c *chain) badControl(r *kgo.Record, t tier, why error) failure.Step {
	o := originOf(r, c.env.TopicID(r.Topic))
	j := journey{id: idOf(o, c.env.Group), origin: o, first: time.Now()}
	return failure.PublishFirst(c.dead(r, j, Failure{
		Group: c.env.Group, Handler: t.source, Reason: ReasonBadControl, ErrorType: "control header",
		ErrorMessage: why.Error(), Attempts: j.attempts, FirstFailed: j.first, LastFailed: j.first, Origin: o, ID: j.id,
	}))
}

// dead is r on its way to the dead-letter queue.
func (c *chain) dead(r *kgo.Record, j journey, f Failure) *kgo.Record {
	f.Fingerprint = bounded(c.policy.Fingerprinter.Fingerprint(f), maxFingerprint)
	if c.policy.OnDead != nil {
		c.policy.OnDead(f)
	}
	to := c.beside(DeadTopic(c.env.Group, f.Handler), r)
	j.due = time.Time{}
	to.Headers = j.headers(theirs(r.Headers, 24))
	to.Headers = append(to.Headers, text(HeaderGroup, f.Group), text(HeaderHandler, f.Handler), text(HeaderReason, string(f.Reason)))
	to.Headers = f.headers(to.Headers)
	to.Headers = append(to.Headers, text(HeaderFingerprint, f.Fingerprint))
	if f.Stack != "" {
		to.Headers = append(to.Headers, text(HeaderErrorStack, f.Stack))
	}
	return to
}
