package telemetry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/duplex-go/duplex"
)

// Calls is the telemetry of one side of calls, as OpenTelemetry's conventions for RPC have
// it. A nil *Calls does nothing. Its methods are safe for concurrent use.
type Calls struct {
	tracer       trace.Tracer // nil without traces
	kind         trace.SpanKind
	duration     metric.Float64Histogram // nil without metrics
	registration metric.Registration
}

const (
	keyRPCSystem = attribute.Key("rpc.system.name")
	keyRPCMethod = attribute.Key("rpc.method")
	keyRPCStatus = attribute.Key("rpc.response.status_code")
	keyOrphan    = attribute.Key("duplex.rpc.orphan")
	rpcSystem    = "duplex"
)

// orphans are the kinds of replies that belong to no call, as the status has them.
func orphans() []string { return []string{"late", "duplicate", "stale", "foreign", "unknown"} }

// NewCalls makes the telemetry of a client or, with server set, of a server; status is
// asked each time metrics are collected. Without any provider it returns nil.
func NewCalls(tp trace.TracerProvider, mp metric.MeterProvider, server bool, status func() duplex.Status) (*Calls, error) {
	if tp == nil && mp == nil {
		return nil, nil //nolint:nilnil // a nil *Calls is one that does nothing
	}
	c, side := &Calls{kind: trace.SpanKindClient}, "client"
	if server {
		c.kind, side = trace.SpanKindServer, "server"
	}
	if tp != nil {
		c.tracer = tp.Tracer(scope)
	}
	if mp == nil {
		return c, nil
	}
	meter := mp.Meter(scope)
	var errs [2]error
	c.duration, errs[0] = meter.Float64Histogram("rpc."+side+".call.duration", metric.WithUnit("s"),
		metric.WithDescription("How long a call took, as the "+side+" saw it."), metric.WithExplicitBucketBoundaries(durations()...))
	if !server {
		c.registration, errs[1] = watchCalls(meter, status)
	}
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("telemetry: making instruments: %w", err)
	}
	return c, nil
}

// watchCalls has status read whenever metrics are collected.
func watchCalls(meter metric.Meter, status func() duplex.Status) (metric.Registration, error) {
	pending, err := meter.Int64ObservableGauge("duplex.rpc.client.pending", metric.WithUnit("{call}"),
		metric.WithDescription("Calls under way."))
	if err != nil {
		return nil, err
	}
	orphaned, err := meter.Int64ObservableCounter("duplex.rpc.client.orphans", metric.WithUnit("{reply}"),
		metric.WithDescription("Replies that belonged to no call, by what they were."))
	if err != nil {
		return nil, err
	}
	return meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := status()
		o.ObserveInt64(pending, s.Counts["pending"])
		for _, kind := range orphans() {
			o.ObserveInt64(orphaned, s.Counts[kind], metric.WithAttributes(keyOrphan.String(kind)))
		}
		return nil
	}, pending, orphaned)
}

// Close ends what is asked when metrics are collected.
func (c *Calls) Close() error {
	if c == nil || c.registration == nil {
		return nil
	}
	return c.registration.Unregister()
}

// Start begins the span of a call of a method ("service/Name"). What it returns ends it,
// with the code of the error, "" for none.
func (c *Calls) Start(ctx context.Context, method string) (_ context.Context, end func(code string, err error)) {
	if c == nil {
		return ctx, func(string, error) {}
	}
	began := time.Now()
	var span trace.Span
	if c.tracer != nil {
		ctx, span = c.tracer.Start(ctx, method, trace.WithSpanKind(c.kind), trace.WithAttributes(keyRPCSystem.String(rpcSystem), keyRPCMethod.String(method)))
	}
	return ctx, func(code string, err error) {
		status := code
		if err == nil {
			status = "ok"
		}
		if c.duration != nil {
			c.duration.Record(ctx, time.Since(began).Seconds(), metric.WithAttributes(
				keyRPCSystem.String(rpcSystem), keyRPCMethod.String(strings.ToValidUTF8(method, "")), keyRPCStatus.String(status)))
		}
		if span == nil {
			return
		}
		span.SetAttributes(keyRPCStatus.String(status))
		if err != nil && span.IsRecording() {
			fail(span, code, err)
		}
		span.End()
	}
}

// Inject puts the context of the span that ctx is of into a request's headers.
func (c *Calls) Inject(ctx context.Context, r *kgo.Record) {
	if c != nil && c.tracer != nil {
		inject(ctx, r)
	}
}

// Headers are those that Inject would write, for a reply.
func (c *Calls) Headers(ctx context.Context) []kgo.RecordHeader {
	if c == nil || c.tracer == nil {
		return nil
	}
	var r kgo.Record
	inject(ctx, &r)
	return r.Headers
}
