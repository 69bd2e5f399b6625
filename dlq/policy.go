package dlq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/duplex-go/duplex/internal/failure"
)

// Policy says what becomes of records whose handler fails; it is a
// consumer.Config's Failures. The zero value works: three more attempts, after 5 s,
// 1 m and 10 m, then the dead-letter queue.
type Policy struct {
	// Delays are how long a record waits before each further attempt, in rising
	// order; each has a retry topic of its own, retry.<group>.<topic>.<n>. Defaults
	// to 5 s, 1 m, 10 m. An empty slice that is not nil has no retry topics: see
	// NoRetry. Records that are in the topics of delays which are no longer listed
	// are still handled.
	Delays []time.Duration

	// MaxAttempts is how often a record is tried at most, the first time included.
	// Beyond the last of Delays, that one is used again. Defaults to one more than
	// there are Delays and Immediate attempts.
	MaxAttempts int

	// Immediate is how many of the further attempts come at once, in the record's
	// place, 100 ms after the first, and twice as long each time. Defaults to none.
	Immediate int

	// MaxAge is the age, by its timestamp, from which a record that fails is not
	// tried again. Defaults to no limit.
	MaxAge time.Duration

	// KeepOrder has a failed record wait in its place, and those of its key behind
	// it, instead of going through retry topics; other keys go on. Records that
	// order with nothing, without a key or of a consumer that is Unordered, go
	// through the topics all the same.
	KeepOrder bool

	// OnFull says what KeepOrder does when a partition holds as many waiting records
	// as it may, 128 or consumer.Config's MaxSpan. Defaults to Pause.
	OnFull OnFull

	// PerTopic are the policies of topics for which this one does not hold. Each
	// takes its place as a whole: what it leaves out has its default, not the value
	// that stands here.
	PerTopic map[string]Policy

	// Classify says what an error means, before the verdict of
	// [duplex.Permanent] and its like is looked at. Nil, and ClassDefault, leave it
	// to those: undecodable records, panics and Permanent errors become dead letters
	// at once, everything else is tried again.
	Classify func(error) Class

	// OnDead is called for each dead letter before it is published, by many
	// goroutines at once: for an alert, or a count. It must not wait for anything,
	// nor call the consumer.
	OnDead func(Failure)

	// MaxDeadRatio is how large a part of the last 1,000 records, at least 100, may
	// become dead letters because they failed too often or are too old. When it is
	// more, as when what the handlers call is down, such records wait in their places
	// instead, the partitions stand still, Status says dead-letter-flood, and one
	// record a second is tried until one succeeds. Defaults to 0.5; 1 lets all become
	// dead letters.
	MaxDeadRatio float64

	// Fingerprinter groups failures of one cause. Defaults to [FingerprintV1].
	Fingerprinter Fingerprinter

	// Retention is how long dead letters are kept, in topics that are made here.
	// Defaults to 14 days.
	Retention time.Duration

	// CheckOnly has missing topics reported and not made. By default they are made,
	// with the partitions and replicas of their source, when the consumer starts.
	CheckOnly bool
}

// NoRetry has failed records become dead letters at once.
//
//nolint:gochecknoglobals // a value to copy
var NoRetry = Policy{Delays: []time.Duration{}}

// Defaults of Policy.
const (
	DefaultRetention    = 14 * 24 * time.Hour
	DefaultMaxDeadRatio = 0.5
	// immediateMin is how long the first immediate attempt is put off.
	immediateMin = 100 * time.Millisecond
	immediateMax = 5 * time.Second
)

// DefaultDelays are the Delays of a Policy without any.
func DefaultDelays() []time.Duration {
	return []time.Duration{5 * time.Second, time.Minute, 10 * time.Minute}
}

// OnFull is what KeepOrder does at its limit.
type OnFull uint8

const (
	// Pause has nothing new start in the partition until one of those that wait is
	// handled or dead: the order of all keys holds.
	Pause OnFull = iota
	// UseChain has the older half of those that wait do so in the retry topics: the
	// partition goes on, and those of their keys behind them may run before them.
	// Records that failed together in a batch stay.
	UseChain
)

// Class is what an error means for the record.
type Class uint8

// The classes.
const (
	ClassDefault   Class = iota // as the error itself says
	ClassRetry                  // try again
	ClassPermanent              // no attempt can help: a dead letter at once
)

// Bounds of Policy.
const (
	maxDelays   = 16
	longestWait = 365 * 24 * time.Hour
)

func (p Policy) withDefaults() Policy {
	if p.Delays == nil {
		p.Delays = DefaultDelays()
	}
	if p.MaxAttempts == 0 {
		p.MaxAttempts = len(p.Delays) + p.Immediate + 1
	}
	if p.Retention == 0 {
		p.Retention = DefaultRetention
	}
	if p.MaxDeadRatio == 0 {
		p.MaxDeadRatio = DefaultMaxDeadRatio
	}
	if p.Fingerprinter == nil {
		p.Fingerprinter = FingerprintV1{}
	}
	return p
}

// Validate reports every problem of p at once, each naming its field, value and
// rule. The consumer calls it when it starts.
func (p Policy) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(p.Delays) > maxDelays {
		bad("Delays: %d of them: want at most %d, each is a topic", len(p.Delays), maxDelays)
	}
	for i, d := range p.Delays {
		if d <= 0 || d > longestWait {
			bad("Delays[%d] = %s: want more than 0, at most %s", i, d, longestWait)
		}
	}
	if !slices.IsSorted(p.Delays) {
		bad("Delays = %v: want them in rising order", p.Delays)
	}
	if p.MaxAttempts < 0 {
		bad("MaxAttempts = %d: must not be negative", p.MaxAttempts)
	}
	if p.Immediate < 0 {
		bad("Immediate = %d: must not be negative", p.Immediate)
	}
	if p.MaxAge < 0 {
		bad("MaxAge = %s: must not be negative", p.MaxAge)
	}
	if !(p.MaxDeadRatio >= 0 && p.MaxDeadRatio <= 1) { // NaN too
		bad("MaxDeadRatio = %v: want 0 to 1", p.MaxDeadRatio)
	}
	if p.Retention < 0 {
		bad("Retention = %s: must not be negative", p.Retention)
	}
	if p.OnFull > UseChain {
		bad("OnFull = %d: want Pause or UseChain", p.OnFull)
	}
	if p.OnFull == UseChain && !p.KeepOrder {
		bad("OnFull = UseChain: is of use with KeepOrder only")
	}
	if p.OnFull == UseChain && p.Delays != nil && len(p.Delays) == 0 {
		bad("OnFull = UseChain: without Delays there are no retry topics to use")
	}
	for _, topic := range slices.Sorted(maps.Keys(p.PerTopic)) {
		of := p.PerTopic[topic]
		if of.PerTopic != nil {
			bad("PerTopic[%q].PerTopic: must not be set", topic)
			continue
		}
		if err := of.Validate(); err != nil {
			bad("PerTopic[%q]: %w", topic, err)
		}
	}
	if most := p.withDefaults(); most.MaxAttempts > most.Immediate+1 && len(most.Delays) == 0 && !p.KeepOrder {
		bad("MaxAttempts = %d: without Delays there is nothing to wait in: list some, or set KeepOrder or Immediate", p.MaxAttempts)
	}
	return errors.Join(errs...)
}

// horizon is how long a record may be on its way.
func (p Policy) horizon() (sum time.Duration) {
	for _, d := range p.Delays {
		sum += d
	}
	if more := p.MaxAttempts - p.Immediate - 1 - len(p.Delays); more > 0 && len(p.Delays) > 0 {
		sum += time.Duration(more) * p.Delays[len(p.Delays)-1]
	}
	return sum
}

// of is the policy of a topic, with its defaults.
func (p Policy) of(topic string) Policy {
	if own, ok := p.PerTopic[topic]; ok {
		return own.withDefaults()
	}
	return p.withDefaults()
}

// Chain makes the policy ready for a consumer, which calls it when it starts.
func (p Policy) Chain(ctx context.Context, env failure.Env) (failure.Chain, error) {
	if err := p.Validate(); err != nil {
		return nil, fmt.Errorf("dlq: checking Policy: %w", err)
	}
	for topic := range p.PerTopic {
		if !slices.Contains(env.Topics, topic) {
			return nil, fmt.Errorf("dlq: checking Policy: PerTopic[%q]: the consumer has no handler for that topic, only for %s", topic, strings.Join(env.Topics, ", "))
		}
	}
	c := newChain(env)
	for _, topic := range env.Topics {
		of := c.add(topic, p).policy
		if err := checkNames(env.Group, topic, max(len(of.Delays), 1)); err != nil {
			return nil, fmt.Errorf("dlq: naming topics: %w", err)
		}
		env.Logger.Debug("failed records go through retry topics to a dead-letter queue", zap.String("topic", topic), zap.Durations("delays", of.Delays))
	}
	if err := c.prepareTopics(ctx); err != nil {
		return nil, err
	}
	return c, nil
}
