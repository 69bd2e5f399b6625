package consumer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/failure"
)

// Ordering says which records wait for which.
type Ordering uint8

const (
	// ByKey runs the records of one key one at a time, in log order, and those of
	// different keys concurrently. A record that fails holds up those of its key
	// until it succeeds, and no others. A record without a key (nil, not empty)
	// orders with nothing. It is the default.
	ByKey Ordering = iota
	// ByPartition runs the records of one partition one at a time, in log order.
	// A record that fails holds up its partition.
	ByPartition
	// Unordered runs records in any order, as many at once as there may be. A
	// record that fails holds up nothing.
	Unordered
)

// String gives the name as it is written in configuration: "by-key",
// "by-partition" or "unordered".
func (o Ordering) String() string {
	switch o {
	case ByKey:
		return "by-key"
	case ByPartition:
		return "by-partition"
	case Unordered:
		return "unordered"
	default:
		return fmt.Sprintf("Ordering(%d)", uint8(o))
	}
}

// Protocol is how the members of a group agree on who has which partition.
type Protocol uint8

const (
	// Classic is the protocol of all Kafka versions, in which a member decides.
	// Duplex offers cooperative-sticky: members keep what they have and go on
	// with it while the rest moves. Members of other clients with that balancer
	// may be in the same group. It is the default.
	Classic Protocol = iota
	// KIP848 is the protocol of Kafka 4.0 and later, in which the broker decides,
	// for each member apart: nobody waits for the slowest. 4.3 or later is
	// recommended. A group is upgraded and downgraded by its members, one after
	// the other. The broker's group.consumer.session.timeout.ms takes the place of
	// SessionTimeout, which then only says how long this member goes on without an
	// answer: it must not be longer.
	KIP848
)

// String gives the name as it is written in configuration: "classic" or "kip848".
func (p Protocol) String() string {
	switch p {
	case Classic:
		return "classic"
	case KIP848:
		return "kip848"
	default:
		return fmt.Sprintf("Protocol(%d)", uint8(p))
	}
}

// Defaults of Config.
const (
	DefaultConcurrency      = 64
	DefaultMaxBatch         = 500
	DefaultMaxLoadedBytes   = 64 << 20
	DefaultMaxSpan          = 1_000_000
	DefaultCommitInterval   = time.Second
	DefaultRetryMin         = 100 * time.Millisecond
	DefaultRetryMax         = 30 * time.Second
	DefaultRevokeGrace      = 10 * time.Second
	DefaultDrainTimeout     = 30 * time.Second
	DefaultStartTimeout     = 30 * time.Second
	DefaultStallAfter       = 30 * time.Second
	DefaultSessionTimeout   = 20 * time.Second
	DefaultRebalanceTimeout = 60 * time.Second
	DefaultFetchMaxBytes    = 16 << 20
)

// Config describes a consumer. Cluster, Group and Handlers are required; the
// zero value of every other field works.
type Config struct {
	// Cluster is the Kafka to read from.
	Cluster duplex.Cluster

	// Group is the consumer group: its members share the partitions, and its
	// committed offsets say what is finished. Required.
	Group string

	// Handlers say which topics to read and what to do with their records, one
	// handler a topic. Required.
	Handlers []Handler

	// Middleware wraps every record handler, the first one outermost. Batch
	// handlers are not wrapped: what wraps one record cannot wrap many.
	// Defaults to none.
	Middleware []duplex.Middleware

	// Ordering says which records wait for which. Defaults to ByKey.
	Ordering Ordering

	// Concurrency is how many handlers run at once in this consumer, over all
	// partitions and whatever their number; from 1 to 100,000. Handlers that
	// return within microseconds run one after the other while that is cheaper
	// than running them at once. Defaults to 64.
	Concurrency int

	// MaxBatch is the most records that a batch handler gets at once. Defaults
	// to 500.
	MaxBatch int

	// BatchWait is how long the first record of a batch may wait for others.
	// Defaults to 0: a batch is what is there.
	BatchWait time.Duration

	// StartOffset is where a group begins that never committed an offset for a
	// topic. A partition that is added to the topic later is always read from
	// its beginning, and so is a partition without an offset in a group whose
	// other offsets another client committed. Defaults to StartEarliest.
	StartOffset StartOffset

	// Failures is the policy for records that fail, such as dlq.Policy. Defaults
	// to none: a failed record is tried again in its place for as long as it
	// takes, its key waits, everything else goes on.
	Failures Failures

	// HandlerTimeout cancels the context of a handler that takes longer, with
	// cause ErrHandlerTimeout; its error then counts as a failure. Defaults to
	// none.
	HandlerTimeout time.Duration

	// RetryMin and RetryMax bound the wait before a failed record is tried
	// again: RetryMin after the first attempt, doubled with each further one up
	// to RetryMax, with jitter. Default to 100 ms and 30 s.
	RetryMin, RetryMax time.Duration

	// MaxLoaded is how many unfinished records may be in memory, over all
	// partitions; each partition may hold its share, at least 64, and what one
	// poll brings at once, which is no more than another share. Beyond that its
	// fetching pauses. Each costs about 200 bytes beside its own; fast handlers
	// want many, so that they wait for nobody.
	// Defaults to 4 × Concurrency, at least 65,536.
	MaxLoaded int

	// MaxLoadedBytes bounds the keys, values and headers of the same records in
	// the same way. Defaults to 64 MiB.
	MaxLoadedBytes int64

	// MaxSpan is how many offsets of a partition may be between its oldest
	// unfinished record and a record that starts: a key that waits holds up no
	// other until they are that far ahead. It is less where what is finished out
	// of order could not be described in the 4 KB that Kafka takes beside an
	// offset; that is never with 12,000 offsets or less, nor with 400 unfinished
	// records or less. Defaults to 1,000,000.
	MaxSpan int64

	// FetchMaxBytes is the most that one broker may answer at a time, in bytes
	// as they are on the wire. Defaults to 16 MiB.
	FetchMaxBytes int32

	// CommitInterval is how often finished work is committed; it bounds what a
	// crash repeats. Defaults to 1 s.
	CommitInterval time.Duration

	// RevokeGrace is how long running handlers may go on after their partition
	// was given to another member; their work is committed. Then their context is
	// cancelled, and the partition is let go once they have returned, a second
	// later at the latest. Must be at most half of RebalanceTimeout. Defaults to
	// 10 s.
	RevokeGrace time.Duration

	// DrainTimeout is how long running handlers may go on after Run's context
	// was cancelled. Defaults to 30 s.
	DrainTimeout time.Duration

	// StartTimeout is how long Run tries to reach the cluster before it gives
	// up. Defaults to 30 s.
	StartTimeout time.Duration

	// StallAfter is how long a partition may stand still, with records to handle
	// and nobody who paused it, before Status says so. Defaults to 30 s.
	StallAfter time.Duration

	// Protocol is how the group shares out its partitions. Defaults to Classic.
	Protocol Protocol

	// InstanceID makes this a static member: its partitions wait for it, for
	// SessionTimeout, when it goes away, and are not given to others before; a
	// member of the same InstanceID gets them back without a rebalance, and throws
	// out one that is still there ([duplex.ErrFenced]). It must be unique in the
	// group and the same after a restart, such as the name of a StatefulSet's pod.
	// Defaults to none: what a member leaves goes to the others at once.
	InstanceID string

	// SessionTimeout is how long the group waits for a silent member before it
	// gives its partitions to others. Defaults to 20 s.
	SessionTimeout time.Duration

	// RebalanceTimeout is how long the group waits for its members in a
	// rebalance. Defaults to 60 s.
	RebalanceTimeout time.Duration

	// TracerProvider and MeterProvider get spans and metrics, as OpenTelemetry's
	// conventions for messaging have them; the span of a record goes on with the
	// trace of its publisher. They also get the figures of Status.
	// Default to none, which costs nothing.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider

	// Logger gets what the consumer has to say: rebalances, failures it retries,
	// records it drops. Defaults to none.
	Logger *zap.Logger
}

// Failures is a policy for records that fail. The types that Duplex has for it
// implement it; it is not for others.
type Failures interface {
	// Chain makes the policy for one consumer.
	Chain(ctx context.Context, env failure.Env) (failure.Chain, error)
}

const (
	maxConcurrency = 100_000
	leastLoaded    = 65_536
	leastShare     = 64
)

func (c Config) withDefaults() Config {
	orInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orTime := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	orInt(&c.Concurrency, DefaultConcurrency)
	orInt(&c.MaxBatch, DefaultMaxBatch)
	orInt(&c.MaxLoaded, max(4*c.Concurrency, leastLoaded))
	orTime(&c.RetryMin, DefaultRetryMin)
	orTime(&c.RetryMax, max(DefaultRetryMax, c.RetryMin))
	orTime(&c.CommitInterval, DefaultCommitInterval)
	orTime(&c.RevokeGrace, DefaultRevokeGrace)
	orTime(&c.DrainTimeout, DefaultDrainTimeout)
	orTime(&c.StartTimeout, DefaultStartTimeout)
	orTime(&c.StallAfter, DefaultStallAfter)
	orTime(&c.SessionTimeout, DefaultSessionTimeout)
	orTime(&c.RebalanceTimeout, DefaultRebalanceTimeout)
	if c.MaxLoadedBytes == 0 {
		c.MaxLoadedBytes = DefaultMaxLoadedBytes
	}
	if c.MaxSpan == 0 {
		c.MaxSpan = DefaultMaxSpan
	}
	if c.FetchMaxBytes == 0 {
		c.FetchMaxBytes = DefaultFetchMaxBytes
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	return c
}

// Validate reports every problem of c at once, each naming its field, value and
// rule. New calls it.
func (c Config) Validate() error {
	errs := []error{c.Cluster.Validate()}
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if strings.TrimSpace(c.Group) == "" {
		bad("Group = %q: name the consumer group", c.Group)
	}
	errs = append(errs, validateHandlers(c.Handlers))
	for i, m := range c.Middleware {
		if m == nil {
			bad("Middleware[%d] is nil", i)
		}
	}
	if c.Ordering > Unordered {
		bad("Ordering = %d: want ByKey, ByPartition or Unordered", c.Ordering)
	}
	if c.Protocol > KIP848 {
		bad("Protocol = %d: want Classic or KIP848", c.Protocol)
	}
	if c.Concurrency < 0 || c.Concurrency > maxConcurrency {
		bad("Concurrency = %d: want 1 to %d, or 0 for the default", c.Concurrency, maxConcurrency)
	}
	errs = append(errs, c.StartOffset.validate(), c.validateSizes(), c.validateTimes())
	return errors.Join(errs...)
}

func (c Config) validateSizes() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value int64
	}{
		{"MaxBatch", int64(c.MaxBatch)},
		{"MaxLoaded", int64(c.MaxLoaded)},
		{"MaxLoadedBytes", c.MaxLoadedBytes},
		{"MaxSpan", c.MaxSpan},
		{"FetchMaxBytes", int64(c.FetchMaxBytes)},
	} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("%s = %d: must not be negative", f.name, f.value))
		}
	}
	return errors.Join(errs...)
}

func (c Config) validateTimes() error {
	var errs []error
	for _, f := range []struct {
		name  string
		value time.Duration
	}{
		{"BatchWait", c.BatchWait},
		{"HandlerTimeout", c.HandlerTimeout},
		{"RetryMin", c.RetryMin},
		{"RetryMax", c.RetryMax},
		{"CommitInterval", c.CommitInterval},
		{"RevokeGrace", c.RevokeGrace},
		{"DrainTimeout", c.DrainTimeout},
		{"StartTimeout", c.StartTimeout},
		{"StallAfter", c.StallAfter},
		{"SessionTimeout", c.SessionTimeout},
		{"RebalanceTimeout", c.RebalanceTimeout},
	} {
		if f.value < 0 {
			errs = append(errs, fmt.Errorf("%s = %s: must not be negative", f.name, f.value))
		}
	}
	d := c.withDefaults()
	if d.RetryMax < d.RetryMin {
		errs = append(errs, fmt.Errorf("RetryMax = %s: must not be less than RetryMin = %s", d.RetryMax, d.RetryMin))
	}
	if d.RevokeGrace > d.RebalanceTimeout/2 {
		errs = append(errs, fmt.Errorf("RevokeGrace = %s: must be at most half of RebalanceTimeout = %s, or the group gives up on this member",
			d.RevokeGrace, d.RebalanceTimeout))
	}
	return errors.Join(errs...)
}

// StartOffset is where a new group begins; see Config.StartOffset. Make one with
// StartAt, or use StartEarliest or StartLatest.
type StartOffset struct {
	kind startKind
	at   time.Time
}

type startKind uint8

const (
	startEarliest startKind = iota
	startLatest
	startTime
)

// StartEarliest begins with the oldest record that the broker still has. It is
// the zero value.
func StartEarliest() StartOffset { return StartOffset{} }

// StartLatest begins with the first record that is published after the group's
// first member was assigned the partition.
func StartLatest() StartOffset { return StartOffset{kind: startLatest} }

// StartAt begins with the first record whose timestamp is t or later; where
// there is none, at the end.
func StartAt(t time.Time) StartOffset { return StartOffset{kind: startTime, at: t} }

// String gives "start", "end" or the time in RFC 3339, as it is written in
// configuration.
func (s StartOffset) String() string {
	switch s.kind {
	case startLatest:
		return "end"
	case startTime:
		return s.at.Format(time.RFC3339Nano)
	default:
		return "start"
	}
}

func (s StartOffset) validate() error {
	if s.kind == startTime && s.at.UnixMilli() < 0 {
		return fmt.Errorf("StartOffset = %s: before 1970, Kafka has no such timestamps", s)
	}
	return nil
}
