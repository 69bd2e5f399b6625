package consumer_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/producer"
)

// One trace goes from the publisher through every attempt of the handler, and the
// figures of both are there.
func TestTelemetryFromPublishToHandler(t *testing.T) {
	t.Parallel()
	cluster := duplextest.Cluster(t)
	topic := duplextest.NewTopic(t, cluster, "traced", 1, nil)
	spans := tracetest.NewInMemoryExporter()
	traces := trace.NewTracerProvider(trace.WithSyncer(spans))
	reader := metric.NewManualReader()
	meters := metric.NewMeterProvider(metric.WithReader(reader))

	p, err := producer.New(producer.Config{Cluster: cluster, TracerProvider: traces, MeterProvider: meters})
	require.NoError(t, err)
	_, err = p.Publish(t.Context(), &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte("v")})
	require.NoError(t, err)
	for _, r := range p.PublishBatch(t.Context(), &kgo.Record{Topic: topic}, &kgo.Record{Topic: topic}) {
		require.NoError(t, r.Err)
	}
	acked := make(chan error, 2)
	p.PublishAsync(t.Context(), &kgo.Record{Topic: topic}, func(_ duplex.Position, err error) { acked <- err })
	require.NoError(t, p.TryPublish(&kgo.Record{Topic: topic}, func(_ duplex.Position, err error) { acked <- err }))
	require.NoError(t, errors.Join(<-acked, <-acked))
	require.NoError(t, p.Close())

	ctx, stop := context.WithCancel(t.Context())
	var mu sync.Mutex
	handled := 0
	var during metricdata.ResourceMetrics
	c, err := consumer.New(consumer.Config{
		Cluster: cluster, Group: duplextest.Unique("traced"), TracerProvider: traces, MeterProvider: meters, RetryMin: time.Millisecond,
		Handlers: []consumer.Handler{consumer.HandleRecord(topic, func(ctx context.Context, r *kgo.Record) error {
			if r.Offset == 0 && consumer.FromContext(ctx).Attempt == 1 {
				return errors.New("once")
			}
			mu.Lock()
			defer mu.Unlock()
			handled++
			if handled == 5 {
				require.NoError(t, reader.Collect(context.WithoutCancel(ctx), &during))
				stop()
			}
			return nil
		})},
	})
	require.NoError(t, err)
	require.NoError(t, c.Run(ctx))

	byTrace := map[string][]string{}
	for _, s := range spans.GetSpans() {
		id := s.SpanContext.TraceID().String()
		byTrace[id] = append(byTrace[id], s.Name)
	}
	require.Len(t, byTrace, 5, "a trace for each record")
	attempts := 0
	for _, names := range byTrace {
		require.Contains(t, names, "send "+topic)
		require.Contains(t, names, "process "+topic)
		attempts += len(names) - 1
	}
	require.Equal(t, 6, attempts)

	var names []string
	for _, scope := range during.ScopeMetrics {
		for _, m := range scope.Metrics {
			names = append(names, m.Name)
		}
	}
	require.Subset(t, names, []string{
		"messaging.process.duration", "messaging.client.consumed.messages", "messaging.client.sent.messages",
		"messaging.client.operation.duration", "duplex.consumer.handled", "duplex.consumer.lag", "duplex.consumer.lanes",
	})
	var after metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &after))
	for _, scope := range after.ScopeMetrics {
		for _, m := range scope.Metrics {
			require.NotEqual(t, "duplex.consumer.lag", m.Name, "a consumer that has ended is still observed")
		}
	}
}
