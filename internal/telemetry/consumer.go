package telemetry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/duplex-go/duplex"
)

// maxLinks bounds the links of a batch's span; the SDK keeps no more either.
const maxLinks = 128

// Consumer is the telemetry of one consumer. A nil *Consumer does nothing. Its
// methods are safe for concurrent use.
type Consumer struct {
	tracer   trace.Tracer // nil without traces
	process  []attribute.KeyValue
	attempts *sets // nil without metrics, as are the instruments
	settled  *sets

	duration, operations metric.Float64Histogram
	consumed             metric.Int64Counter
	registration         metric.Registration
	group                attribute.KeyValue
	failures             failures
}

// NewConsumer makes the telemetry of a consumer of the group; status is asked each
// time metrics are collected, and may be nil. Without any provider it returns nil.
func NewConsumer(tp trace.TracerProvider, mp metric.MeterProvider, group string, status func() duplex.Status) (*Consumer, error) {
	if tp == nil && mp == nil {
		return nil, nil //nolint:nilnil // a nil *Consumer is one that does nothing
	}
	c := &Consumer{process: append(operation("process", "process"), keyGroup.String(group)), group: keyGroup.String(group)}
	if tp != nil {
		c.tracer = tp.Tracer(scope)
	}
	if mp == nil {
		return c, nil
	}
	meter := mp.Meter(scope)
	c.attempts = newSets(c.process...)
	c.settled = newSets(append(operation("commit", "settle"), keyGroup.String(group))...)
	var errs [5]error
	c.duration, errs[0] = meter.Float64Histogram("messaging.process.duration", metric.WithUnit("s"),
		metric.WithDescription("How long a handler took."), metric.WithExplicitBucketBoundaries(durations()...))
	c.consumed, errs[1] = meter.Int64Counter("messaging.client.consumed.messages", metric.WithUnit("{message}"),
		metric.WithDescription("Records given to handlers, each run counted."))
	c.operations, errs[2] = operationDuration(meter)
	errs[4] = c.failures.make(meter)
	if status != nil {
		c.registration, errs[3] = watch(meter, group, status)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("telemetry: making instruments: %w", err)
	}
	return c, nil
}

func operationDuration(meter metric.Meter) (metric.Float64Histogram, error) {
	return meter.Float64Histogram("messaging.client.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("How long publishing or committing took."), metric.WithExplicitBucketBoundaries(durations()...))
}

// Close ends the observation of the status.
func (c *Consumer) Close() error {
	if c == nil || c.registration == nil {
		return nil
	}
	return c.registration.Unregister()
}

// Commit tells of an OffsetCommit that took d.
func (c *Consumer) Commit(d time.Duration, err error) {
	if c == nil || c.operations == nil {
		return
	}
	c.operations.Record(context.Background(), d.Seconds(), c.settled.of("", errorType(err)))
}

// Wrap is next within a span. The handler's context carries it.
func (c *Consumer) Wrap(topic string, next duplex.Next) duplex.Next {
	if c == nil {
		return next
	}
	name := "process " + topic
	return func(ctx context.Context, r *kgo.Record) error {
		run := c.begin(topic, 1)
		if c.tracer != nil {
			from := origin(r) //nolint:contextcheck // only what the headers say: not a span of ours
			ctx, run.span = c.start(ctx, name, r.Topic, from)
			run.describe(r)
		}
		defer func() { run.end(ctx) }() // also when next panics: who recovers is further out
		run.err = next(ctx, r)
		run.returned = true
		return run.err
	}
}

// WrapBatch is next within one span for all of its records.
func (c *Consumer) WrapBatch(topic string, next func(context.Context, []*kgo.Record) error) func(context.Context, []*kgo.Record) error {
	if c == nil {
		return next
	}
	name := "process " + topic
	return func(ctx context.Context, rs []*kgo.Record) error {
		if len(rs) == 0 {
			return next(ctx, rs)
		}
		run := c.begin(topic, len(rs))
		if c.tracer != nil {
			ctx, run.span = c.start(ctx, name, topic, publishers(rs)...) //nolint:contextcheck // only what the headers say: not a span of ours
			run.describeBatch(rs)
		}
		defer func() { run.end(ctx) }()
		run.err = next(ctx, rs)
		run.returned = true
		return run.err
	}
}

// publishers are the distinct span contexts of a batch's records.
func publishers(rs []*kgo.Record) []trace.SpanContext {
	var all []trace.SpanContext
	seen := map[trace.SpanID]bool{}
	for _, r := range rs {
		from := origin(r)
		if !from.IsValid() || seen[from.SpanID()] {
			continue
		}
		seen[from.SpanID()] = true
		if all = append(all, from); len(all) == maxLinks {
			break
		}
	}
	return all
}

// start begins a span. With a single publisher, and no span around it, the span is
// the publisher's child, so that a record has one trace wherever it goes.
func (c *Consumer) start(ctx context.Context, name, topic string, from ...trace.SpanContext) (context.Context, trace.Span) {
	options := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(c.process...), trace.WithAttributes(keyTopic.String(topic)),
	}
	var links []trace.Link
	for _, p := range from {
		if p.IsValid() {
			links = append(links, trace.Link{SpanContext: p})
		}
	}
	if len(links) > 0 {
		options = append(options, trace.WithLinks(links...))
	}
	if len(links) == 1 && !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = trace.ContextWithRemoteSpanContext(ctx, links[0].SpanContext)
	}
	return c.tracer.Start(ctx, name, options...)
}

// run is one run of a handler.
type run struct {
	consumer *Consumer
	topic    string
	records  int
	began    time.Time
	span     trace.Span // nil without traces
	err      error
	returned bool
}

func (c *Consumer) begin(topic string, records int) *run {
	return &run{consumer: c, topic: topic, records: records, began: time.Now()}
}

func (n *run) describe(r *kgo.Record) {
	if n.span.IsRecording() {
		n.span.SetAttributes(recordAttributes([]attribute.KeyValue{partition(r.Partition), keyOffset.Int64(r.Offset)}, r)...)
	}
}

// describeBatch tells where a batch begins: all of it is of one partition.
func (n *run) describeBatch(rs []*kgo.Record) {
	if n.span.IsRecording() {
		n.span.SetAttributes(keyBatchCount.Int(len(rs)), partition(rs[0].Partition), keyOffset.Int64(rs[0].Offset))
	}
}

func (n *run) end(ctx context.Context) {
	problem := errorPanic
	if n.returned {
		problem = errorType(n.err)
	}
	if c := n.consumer; c.duration != nil {
		// The context has the span in it, for exemplars.
		with := c.attempts.of(n.topic, problem)
		c.duration.Record(ctx, time.Since(n.began).Seconds(), with)
		c.consumed.Add(ctx, int64(n.records), with)
	}
	if n.span == nil {
		return
	}
	if problem != "" && n.span.IsRecording() {
		fail(n.span, problem, n.err)
	}
	n.span.End()
}
