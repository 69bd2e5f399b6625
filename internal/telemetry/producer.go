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
)

// Producer is the telemetry of one producer. A nil *Producer does nothing. Its
// methods are safe for concurrent use.
type Producer struct {
	tracer trace.Tracer // nil without traces
	send   []attribute.KeyValue
	sets   *sets // nil without metrics, as are the instruments

	operations metric.Float64Histogram
	sent       metric.Int64Counter
}

// NewProducer makes the telemetry of a producer. Without any provider it returns
// nil.
func NewProducer(tp trace.TracerProvider, mp metric.MeterProvider) (*Producer, error) {
	if tp == nil && mp == nil {
		return nil, nil //nolint:nilnil // a nil *Producer is one that does nothing
	}
	p := &Producer{send: operation("send", "send")}
	if tp != nil {
		p.tracer = tp.Tracer(scope)
	}
	if mp == nil {
		return p, nil
	}
	meter := mp.Meter(scope)
	p.sets = newSets(p.send...)
	var errs [2]error
	p.sent, errs[0] = meter.Int64Counter("messaging.client.sent.messages", metric.WithUnit("{message}"),
		metric.WithDescription("Records that were to be published."))
	p.operations, errs[1] = operationDuration(meter)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("telemetry: making instruments: %w", err)
	}
	return p, nil
}

// Send is one record on its way. The zero Send does nothing.
type Send struct {
	producer *Producer
	began    time.Time
	span     trace.Span // nil without traces
}

// Start begins the span of a record and puts its context into the record's
// headers; a record that has one already keeps it, and the span is linked to it.
// Nobody else may read or write the record meanwhile.
func (p *Producer) Start(ctx context.Context, r *kgo.Record) Send {
	if p == nil {
		return Send{}
	}
	s := Send{producer: p, began: time.Now()}
	if p.tracer == nil {
		return s
	}
	options := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(p.send...), trace.WithAttributes(keyTopic.String(r.Topic)),
	}
	if from := origin(r); from.IsValid() { //nolint:contextcheck // only what the headers say: not a span of ours
		options = append(options, trace.WithLinks(trace.Link{SpanContext: from}))
	}
	ctx, s.span = p.tracer.Start(ctx, "send "+r.Topic, options...)
	inject(ctx, r)
	return s
}

// End ends what Start began, once r is acknowledged or err says why not. r is the
// record that Start was given, or what the client made of it.
func (s Send) End(r *kgo.Record, err error) {
	if s.producer == nil {
		return
	}
	problem := ""
	if err != nil {
		problem = typeOf(err)
	}
	if p := s.producer; p.sent != nil {
		ctx := context.Background()
		if s.span != nil {
			ctx = trace.ContextWithSpan(ctx, s.span) // for exemplars
		}
		with := p.sets.of(r.Topic, problem)
		p.sent.Add(ctx, 1, with)
		p.operations.Record(ctx, time.Since(s.began).Seconds(), with)
	}
	if s.span == nil {
		return
	}
	if s.span.IsRecording() {
		s.span.SetAttributes(recordAttributes(nil, r)...)
		if err != nil {
			fail(s.span, problem, err)
		} else {
			s.span.SetAttributes(partition(r.Partition), keyOffset.Int64(r.Offset))
		}
	}
	s.span.End()
}
