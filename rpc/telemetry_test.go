package rpc_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	api "go.opentelemetry.io/otel/trace"

	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/rpc"
)

// One trace goes from the caller through the topics to the handler, and on to what that
// calls; and the metrics are those of the conventions.
func TestTelemetryOfCalls(t *testing.T) {
	cluster, inner, outer := duplextest.Cluster(t), add(service(t)), add(service(t))
	spans := tracetest.NewInMemoryExporter()
	traces := trace.NewTracerProvider(trace.WithSyncer(spans))
	reader := metric.NewManualReader()
	meters := metric.NewMeterProvider(metric.WithReader(reader))
	c := client(t, rpc.ClientConfig{Cluster: cluster, WaitForServer: true, TracerProvider: traces, MeterProvider: meters})
	serve(t, rpc.ServerConfig{Cluster: cluster, TracerProvider: traces, MeterProvider: meters, Handlers: []rpc.Handler{
		rpc.Handle(inner, func(_ context.Context, s sum) (int, error) { return 0, rpc.Errorf(rpc.OutOfRange, "%d", s.A) }),
	}})
	serve(t, rpc.ServerConfig{Cluster: cluster, TracerProvider: traces, Handlers: []rpc.Handler{
		rpc.Handle(outer, func(ctx context.Context, s sum) (int, error) { return rpc.Call(ctx, c, inner, s) }),
	}})
	_, err := rpc.Call(within(t, 20*time.Second), c, outer, sum{1, 2})
	require.ErrorIs(t, err, rpc.OutOfRange)

	name := func(m rpc.Method[sum, int]) string { return m.Service + "/Add" }
	find := func(what string, kind api.SpanKind) (found tracetest.SpanStub) {
		require.Eventually(t, func() bool {
			for _, s := range spans.GetSpans() {
				if s.Name == what && s.SpanKind == kind {
					found = s
					return true
				}
			}
			return false
		}, 20*time.Second, 5*time.Millisecond, what)
		return found
	}
	root := find(name(outer), api.SpanKindClient)
	require.False(t, root.Parent.IsValid())
	served, called := find(name(outer), api.SpanKindServer), find(name(inner), api.SpanKindClient)
	ended, sent := find(name(inner), api.SpanKindServer), find("send "+rpc.ReplyTopic("desk"), api.SpanKindProducer)
	for _, s := range []tracetest.SpanStub{served, called, ended, sent} {
		require.Equal(t, root.SpanContext.TraceID(), s.SpanContext.TraceID(), s.Name)
	}
	require.Equal(t, served.SpanContext.SpanID(), called.Parent.SpanID())
	require.Contains(t, ended.Attributes, attribute.String("rpc.response.status_code", "out_of_range"))
	require.Contains(t, ended.Attributes, attribute.String("rpc.system.name", "duplex"))

	var got metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &got))
	names := map[string]bool{}
	for _, scope := range got.ScopeMetrics {
		for _, m := range scope.Metrics {
			names[m.Name] = true
		}
	}
	for _, want := range []string{"rpc.client.call.duration", "rpc.server.call.duration", "duplex.rpc.client.pending", "duplex.rpc.client.orphans"} {
		require.True(t, names[want], want)
	}
}
