package dlq

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/backoff"
	"github.com/duplex-go/duplex/internal/failure"
)

// chain is a policy at work for one consumer. Which topics there are does not change
// after it was made; the rest has locks of its own, so it may be asked by many at
// once.
//
//	                 ┌───────── due: handled ─────────┐
//	source ── failed ─► retry 1 ── failed ─► retry 2 … ┴── failed for the last time ─► dead letter
//	   │                                                                                  ▲
//	   └── permanent, undecodable, panic ──────────────────────────────────────────────────┘
type chain struct {
	env     failure.Env
	sources map[string]*source // by topic
	tiers   map[string]tier    // by topic
	beside  beside
	written written
}

// source is one of the topics that the consumer reads.
type source struct {
	topic   string
	policy  Policy
	breaker breaker
	dead    string   // its topics
	retry   []string // by tier
	// group and name are the values of headers that all of its failures have.
	group, name []byte

	fingerprints fingerprints
}

func newChain(env failure.Env) *chain {
	return &chain{env: env, sources: map[string]*source{}, tiers: map[string]tier{}}
}

// add has the records of a topic fail as p says.
func (c *chain) add(topic string, p Policy) *source {
	s := &source{topic: topic, policy: p.of(topic)}
	s.breaker.ratio = s.policy.MaxDeadRatio
	s.fingerprints.by = s.policy.Fingerprinter
	s.group, s.name = []byte(c.env.Group), []byte(topic)
	s.dead = DeadTopic(c.env.Group, topic)
	for i := range s.policy.Delays {
		s.retry = append(s.retry, RetryTopic(c.env.Group, topic, i+1))
	}
	c.sources[topic] = s
	return s
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
	return c.wait(r, c.sources[t.source], j, nil, at, at.Sub(r.Timestamp.Add(t.delay)))
}

// sourceOf is the source that a record belongs to.
func (c *chain) sourceOf(r *kgo.Record) *source {
	if t, ok := c.tiers[r.Topic]; ok {
		return c.sources[t.source]
	}
	return c.sources[r.Topic]
}

// Handled implements failure.Chain.
func (c *chain) Handled(source string, n int) { c.sources[source].breaker.succeeded(n) }

// Recovered implements failure.Chain.
func (c *chain) Recovered(r *kgo.Record) {
	if s := c.sourceOf(r); s.breaker.recovered(r) {
		c.env.Logger.Info("a record that would have been a dead letter was handled: records that fail become dead letters again", zap.String("topic", s.topic))
	}
}

// Problems implements failure.Chain.
func (c *chain) Problems() (all []duplex.Problem) {
	for _, topic := range c.env.Topics {
		all = append(all, c.sources[topic].breaker.problem(topic)...)
	}
	return append(all, c.written.problems()...)
}

// hold has a record wait that would be dead, while too many would be.
func (c *chain) hold(s *source, r *kgo.Record, now time.Time) (at time.Time, held bool) {
	at, held, opened := s.breaker.hold(r, now)
	if opened {
		c.env.Logger.Error("most records fail for good: they wait in their places instead of becoming dead letters, and one after the other is tried",
			zap.String("topic", s.topic), zap.Float64("max_dead_ratio", s.policy.MaxDeadRatio))
	}
	return at, held
}

// Answers implements failure.Chain.
func (c *chain) Answers(string) bool { return false }

// Published implements failure.Chain.
func (c *chain) Published(h *failure.Hop) {
	if h.Kind == failure.HopDead {
		c.written.add(h.Record.Topic)
	}
}

// Failed implements failure.Chain.
func (c *chain) Failed(f failure.Failure) failure.Step {
	t, chained := c.tiers[f.Record.Topic]
	s := c.sources[f.Source]
	var j journey
	if chained {
		read, err := parseJourney(f.Record)
		if err != nil { // it was refused when it arrived: this is for batches
			return c.badControl(f.Record, t, err)
		}
		j = read
		j.attempts, j.due = f.Attempt, time.Time{}
	} else {
		j = c.begins(f.Record, f.Attempt)
	}
	if f.Verdict.Kind == duplex.VerdictSnooze {
		j.attempts--
		return c.wait(f.Record, s, j, &f, f.At.Add(f.Verdict.After), f.Verdict.After)
	}
	if j.first.IsZero() {
		j.first = f.At
	}
	reason := s.final(f, j)
	if reason == ReasonExhausted || reason == ReasonTooOld {
		if at, held := c.hold(s, f.Record, f.At); held {
			return failure.RunAgain(at)
		}
	}
	if reason != "" {
		h := c.dead(s, f.Record, j, c.describe(f, j, reason))
		h.Ordered = s.policy.KeepOrder && f.Ordered
		return failure.PublishFirst(h)
	}
	wait := f.Verdict.After
	if wait == 0 {
		retry := f.Attempt - s.policy.Immediate
		if retry < 1 {
			return failure.RunAgain(f.At.Add(backoff.Exponential(f.Attempt, immediateMin, immediateMax)))
		}
		wait = s.policy.delay(retry)
	}
	return c.wait(f.Record, s, j, &f, f.At.Add(wait), wait)
}

// begins is the journey of a record of a source that was tried so often.
func (c *chain) begins(r *kgo.Record, attempts int) journey {
	j := journey{attempts: attempts, origin: originOf(r, c.env.TopicID(r.Topic)), generation: claimed(r)}
	j.id = idOf(j.origin, c.env.Group)
	return j
}

// KeepsOrder implements failure.Chain.
func (c *chain) KeepsOrder(source string) bool { return c.sources[source].policy.KeepOrder }

// Displaces implements failure.Chain.
func (c *chain) Displaces(source string) bool { return c.sources[source].policy.OnFull == UseChain }

// Displace implements failure.Chain.
func (c *chain) Displace(w failure.Waiting) failure.Step {
	now := time.Now()
	j := c.begins(w.Record, w.Attempts)
	j.first = now
	last := failure.Failure{Record: w.Record, Source: w.Source, Attempt: w.Attempts, Err: w.Err, At: now}
	s, wait := c.sources[w.Source], w.Due.Sub(now)
	if len(s.policy.Delays) > 0 && wait >= s.policy.Delays[0]/2 {
		wait = max(wait, s.policy.Delays[0]) // a little late, where no retry topic is so short
	}
	return c.hop(w.Record, s, j, &last, w.Due, wait, failure.HopWait)
}

// final says why a failed record is not tried again, "" if it is.
func (s *source) final(f failure.Failure, j journey) Reason {
	class := ClassDefault
	if s.policy.Classify != nil {
		class = s.policy.Classify(f.Err)
	}
	switch code := duplex.CodeOf(f.Err); {
	case class == ClassPermanent:
		return ReasonPermanent
	case class == ClassRetry:
	case code == duplex.ErrUndecodable:
		return ReasonUndecodable
	case code == duplex.ErrPanic:
		return ReasonPanic
	case code == duplex.ErrExpired:
		return ReasonExpired
	case f.Verdict.Kind == duplex.VerdictPermanent:
		return ReasonPermanent
	}
	switch {
	case j.attempts >= s.policy.MaxAttempts:
		return ReasonExhausted
	case s.policy.MaxAge > 0 && f.At.Sub(j.origin.Timestamp) >= s.policy.MaxAge:
		return ReasonTooOld
	}
	return ""
}

// delay is how long the n-th attempt that is not immediate is put off, from 1.
func (p Policy) delay(n int) time.Duration {
	if len(p.Delays) == 0 { // KeepOrder without any
		return backoff.Exponential(n, time.Second, 5*time.Minute)
	}
	return p.Delays[min(n, len(p.Delays))-1]
}

// wait has a record run at the given time, which is so long from now: in its place,
// where order asks for it, or through a retry topic. f is nil for a record that moves
// from one retry topic to another.
func (c *chain) wait(r *kgo.Record, s *source, j journey, f *failure.Failure, at time.Time, wait time.Duration) failure.Step {
	if s.policy.KeepOrder && (f == nil || f.Ordered) {
		return failure.RunAgain(at)
	}
	kind := failure.HopWait
	if f != nil && f.Verdict.Kind != duplex.VerdictSnooze {
		kind = failure.HopRetry
	} else {
		f = nil
	}
	return c.hop(r, s, j, f, at, wait, kind)
}

// hop sends a record through the retry topic with the longest delay that is not too
// long, from where it goes on to wait for the rest; where no retry topic is so short,
// it waits in its place. f is nil for a record that did not fail since it was read.
func (c *chain) hop(r *kgo.Record, s *source, j journey, f *failure.Failure, at time.Time, wait time.Duration, kind failure.HopKind) failure.Step {
	n := s.policy.tierFor(wait)
	if n == 0 {
		return failure.RunAgain(at)
	}
	if s.policy.Delays[n-1] < wait {
		j.due = at
	}
	w := newWriter(r)
	w.journey(j)
	w.word(HeaderGroup, s.group)
	w.word(HeaderHandler, s.name)
	if f != nil {
		w.lastError(c.describe(*f, j, ""))
	} else {
		w.carryError(r.Headers)
	}
	h := c.beside.hop(s.retry[n-1], r, w)
	h.Kind, h.Due = kind, at
	return failure.PublishFirst(h)
}

// tierFor is the number of the retry topic with the longest delay that is not longer
// than wait, 0 if there is none.
func (p Policy) tierFor(wait time.Duration) (n int) {
	for i, d := range p.Delays {
		if d <= wait {
			n = i + 1
		}
	}
	return n
}

// badControl makes a dead letter of a record in one of our topics that says what it
// cannot say.
func (c *chain) badControl(r *kgo.Record, t tier, why error) failure.Step {
	o := originOf(r, c.env.TopicID(r.Topic))
	j := journey{id: idOf(o, c.env.Group), origin: o, first: time.Now()}
	return failure.PublishFirst(c.dead(c.sources[t.source], r, j, Failure{
		Group: c.env.Group, Handler: t.source, Reason: ReasonBadControl, ErrorType: "control header",
		ErrorMessage: why.Error(), Attempts: j.attempts, FirstFailed: j.first, LastFailed: j.first, Origin: o, ID: j.id,
	}))
}

// dead is r on its way to the dead-letter queue.
func (c *chain) dead(s *source, r *kgo.Record, j journey, f Failure) *failure.Hop {
	f.Fingerprint = s.fingerprints.of(f)
	if s.policy.OnDead != nil {
		s.policy.OnDead(f)
	}
	w := newWriter(r)
	j.due = time.Time{}
	w.journey(j)
	w.word(HeaderGroup, s.group)
	w.word(HeaderHandler, s.name)
	w.text(HeaderReason, string(f.Reason))
	w.lastError(f)
	w.text(HeaderFingerprint, f.Fingerprint)
	if f.Stack != "" {
		w.text(HeaderErrorStack, f.Stack)
	}
	h := c.beside.hop(s.dead, r, w)
	h.Kind, h.Reason, h.Fingerprint = failure.HopDead, string(f.Reason), f.Fingerprint
	if j.redriveID != "" {
		h.Then = c.outcome(j, OutcomeDeadAgain)
	}
	return h
}
