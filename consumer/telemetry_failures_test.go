package consumer_test

import (
	"context"
	"errors"
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
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/producer"
)

// One trace goes from the publisher through the retry topics to the dead-letter queue,
// and the figures say what became of the record.
func TestTelemetryFromPublishToDeadLetter(t *testing.T) {
	t.Parallel()
	cluster := duplextest.Cluster(t)
	topic, group := duplextest.NewTopic(t, cluster, "failing", 1, nil), duplextest.Unique("failing")
	retry, dead := dlq.RetryTopic(group, topic, 1), dlq.DeadTopic(group, topic)
	spans := tracetest.NewInMemoryExporter()
	traces := trace.NewTracerProvider(trace.WithSyncer(spans))
	reader := metric.NewManualReader()
	meters := metric.NewMeterProvider(metric.WithReader(reader))

	p, err := producer.New(producer.Config{Cluster: cluster, TracerProvider: traces})
	require.NoError(t, err)
	_, err = p.Publish(t.Context(), &kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte("v")})
	require.NoError(t, err)
	require.NoError(t, p.Close())

	ctx, stop := context.WithCancel(t.Context())
	c, err := consumer.New(consumer.Config{
		Cluster: cluster, Group: group, TracerProvider: traces, MeterProvider: meters,
		Failures: dlq.Policy{Delays: []time.Duration{100 * time.Millisecond}},
		Handlers: []consumer.Handler{consumer.HandleRecord(topic, func(context.Context, *kgo.Record) error { return errors.New("no such airport") })},
	})
	require.NoError(t, err)
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	letter := firstOf(t, cluster, dead)
	require.Eventually(t, func() bool { return c.Status().Counts["dead"] == 1 }, time.Minute, time.Millisecond)
	counts := c.Status().Counts
	for name, want := range map[string]int64{"failed": 2, "retried": 1, "recovered": 0, "dead": 1, "moved": 2, "handled": 0} {
		require.Equal(t, want, counts[name], name)
	}
	found := collect(t, reader)
	stop()
	require.NoError(t, <-done)

	letters := found["duplex.dlq.dead_letters"].(metricdata.Sum[int64]).DataPoints
	require.Len(t, letters, 1)
	reason, _ := letters[0].Attributes.Value("duplex.dlq.reason")
	require.Equal(t, "exhausted", reason.AsString())
	fingerprint, _ := letters[0].Attributes.Value("duplex.dlq.fingerprint")
	require.Equal(t, header(letter, dlq.HeaderFingerprint), fingerprint.AsString())
	hops := map[string]uint64{}
	for _, point := range found["duplex.dlq.hop.duration"].(metricdata.Histogram[float64]).DataPoints {
		kind, _ := point.Attributes.Value("duplex.dlq.hop")
		to, _ := point.Attributes.Value("messaging.destination.name")
		hops[kind.AsString()+" "+to.AsString()] += point.Count
	}
	require.Equal(t, map[string]uint64{"retry " + retry: 1, "dead-letter " + dead: 1}, hops)
	require.Contains(t, found, "duplex.dlq.waiting")
	require.Contains(t, found, "duplex.dlq.oldest_due")

	var names []string
	traceID := ""
	for _, s := range spans.GetSpans() {
		names = append(names, s.Name)
		if traceID == "" {
			traceID = s.SpanContext.TraceID().String()
		}
		require.Equal(t, traceID, s.SpanContext.TraceID().String(), "%s is of another trace", s.Name)
	}
	require.Equal(t, []string{"send " + topic, "process " + topic, "send " + retry, "process " + topic, "send " + dead}, names)
	require.Contains(t, header(letter, "traceparent"), traceID)
}

// firstOf waits for the first record of a topic that is to be made.
func firstOf(t *testing.T, cluster duplex.Cluster, topic string) (first *kgo.Record) {
	t.Helper()
	cl, err := kafka.NewClient(cluster, nil, kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
	require.NoError(t, err)
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for first == nil && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) { first = r })
	}
	require.NotNil(t, first)
	return first
}

func header(r *kgo.Record, name string) string {
	for _, h := range r.Headers {
		if h.Key == name {
			return string(h.Value)
		}
	}
	return ""
}

// collect reads the metrics, by name.
func collect(t *testing.T, reader *metric.ManualReader) map[string]metricdata.Aggregation {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &all))
	byName := map[string]metricdata.Aggregation{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			byName[m.Name] = m.Data
		}
	}
	return byName
}
