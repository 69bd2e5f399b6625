package telemetry

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/duplex-go/duplex"
)

// Words of ours for what becomes of records that fail: the conventions have none.
const (
	keyHop         = attribute.Key("duplex.dlq.hop")
	keyReason      = attribute.Key("duplex.dlq.reason")
	keyFingerprint = attribute.Key("duplex.dlq.fingerprint")
)

// maxFingerprints bounds the fingerprints that metrics tell apart; the others are
// one, otherFingerprints.
const (
	maxFingerprints   = 50
	otherFingerprints = "other"
)

// failures are the instruments for hops: what the policy for failures publishes.
type failures struct {
	hops    metric.Float64Histogram // nil without metrics
	letters metric.Int64Counter

	mu   sync.Mutex
	seen map[string]bool // fingerprints
}

func (f *failures) make(meter metric.Meter) error {
	var errs [2]error
	f.hops, errs[0] = meter.Float64Histogram("duplex.dlq.hop.duration", metric.WithUnit("s"),
		metric.WithDescription("From the failure of a record to the acknowledgement of the retry topic or dead-letter queue that it goes to."),
		metric.WithExplicitBucketBoundaries(durations()...))
	f.letters, errs[1] = meter.Int64Counter("duplex.dlq.dead_letters", metric.WithUnit("{record}"),
		metric.WithDescription("Dead letters that were acknowledged, by reason and fingerprint."))
	return errors.Join(errs[:]...)
}

// class is a fingerprint as metrics have it.
func (f *failures) class(fingerprint string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen[fingerprint] {
		return fingerprint
	}
	if len(f.seen) == maxFingerprints {
		return otherFingerprints
	}
	if f.seen == nil {
		f.seen = map[string]bool{}
	}
	f.seen[fingerprint] = true
	return fingerprint
}

// Hop begins the span of a record that the policy for failures publishes, as a child
// of its publisher's: a record has one trace wherever it goes. It returns what ends
// the span.
func (c *Consumer) Hop(r *kgo.Record) (end func(err error)) {
	if c == nil || c.tracer == nil {
		return func(error) {}
	}
	ctx := context.Background()
	if from := origin(r); from.IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, from)
	}
	_, span := c.tracer.Start(ctx, "send "+r.Topic, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(append(operation("send", "send"), keyTopic.String(r.Topic), partition(r.Partition))...))
	return func(err error) {
		if err != nil && span.IsRecording() {
			fail(span, typeOf(err), err)
		}
		span.End()
	}
}

// Hopped tells of a hop that was acknowledged after d. Reason and fingerprint are
// those of a dead letter, "" otherwise.
func (c *Consumer) Hopped(kind, topic, reason, fingerprint string, d time.Duration) {
	if c == nil || c.failures.hops == nil {
		return
	}
	ctx := context.Background()
	c.failures.hops.Record(ctx, d.Seconds(), metric.WithAttributes(c.group, keyHop.String(kind), keyTopic.String(topic)))
	if reason != "" {
		c.failures.letters.Add(ctx, 1, metric.WithAttributes(c.group, keyTopic.String(topic), keyReason.String(reason),
			keyFingerprint.String(strings.ToValidUTF8(c.failures.class(fingerprint), ""))))
	}
}

// tiers are the gauges of retry topics, over the partitions that this member has.
type tiers struct {
	waiting metric.Int64ObservableGauge
	overdue metric.Float64ObservableGauge
	group   attribute.KeyValue
}

func (t *tiers) make(meter metric.Meter) ([]metric.Observable, error) {
	var errs [2]error
	t.waiting, errs[0] = meter.Int64ObservableGauge("duplex.dlq.waiting", metric.WithUnit("{record}"),
		metric.WithDescription("Records in a retry topic that are not finished."))
	t.overdue, errs[1] = meter.Float64ObservableGauge("duplex.dlq.oldest_due", metric.WithUnit("s"),
		metric.WithDescription("For how long the first record of a retry topic has been due and not started; 0 if none is."))
	return []metric.Observable{t.waiting, t.overdue}, errors.Join(errs[:]...)
}

// observe tells of each topic that is read beside a source.
func (t *tiers) observe(o metric.Observer, partitions []duplex.PartitionStatus, now time.Time) {
	type tier struct {
		waiting int64
		overdue time.Duration
	}
	all := map[string]tier{}
	for i := range partitions {
		p := &partitions[i]
		if p.Source == "" || p.Source == p.Topic {
			continue
		}
		of := all[p.Topic]
		of.waiting += p.Lag
		if !p.NextDue.IsZero() {
			of.overdue = max(of.overdue, now.Sub(p.NextDue))
		}
		all[p.Topic] = of
	}
	for topic, of := range all {
		with := metric.WithAttributes(keyTopic.String(topic), t.group)
		o.ObserveInt64(t.waiting, of.waiting, with)
		o.ObserveFloat64(t.overdue, of.overdue.Seconds(), with)
	}
}
