package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/telemetry"
)

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// lab collects what is told.
type lab struct {
	spans  *tracetest.SpanRecorder
	tracer *sdktrace.TracerProvider
	reader *sdkmetric.ManualReader
	meter  *sdkmetric.MeterProvider
}

func newLab() *lab {
	l := &lab{spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	l.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(l.spans))
	l.meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(l.reader), sdkmetric.WithCardinalityLimit(0))
	return l
}

func (l *lab) consumer(t *testing.T, status duplex.Status) *telemetry.Consumer {
	t.Helper()
	c, err := telemetry.NewConsumer(l.tracer, l.meter, "g", func() duplex.Status { return status })
	require.NoError(t, err)
	return c
}

func (l *lab) metrics(t *testing.T) map[string]metricdata.Aggregation {
	t.Helper()
	var all metricdata.ResourceMetrics
	require.NoError(t, l.reader.Collect(t.Context(), &all))
	byName := map[string]metricdata.Aggregation{}
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			byName[m.Name] = m.Data
		}
	}
	return byName
}

func attributes(s sdktrace.ReadOnlySpan) map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes() {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

func value(set attribute.Set, key string) string {
	v, _ := set.Value(attribute.Key(key))
	return v.String()
}

func record(headers ...string) *kgo.Record {
	r := &kgo.Record{Topic: "orders", Partition: 3, Offset: 42, Key: []byte("k"), Value: []byte("v")}
	for i := 0; i < len(headers); i += 2 {
		duplex.AddHeader(r, headers[i], headers[i+1])
	}
	return r
}

func TestOffWithoutProviders(t *testing.T) {
	t.Parallel()
	c, err := telemetry.NewConsumer(nil, nil, "g", nil)
	require.NoError(t, err)
	require.Nil(t, c)
	p, err := telemetry.NewProducer(nil, nil)
	require.NoError(t, err)
	require.Nil(t, p)
}

func TestOneProviderIsEnough(t *testing.T) {
	t.Parallel()
	l := newLab()
	status := func() duplex.Status { return duplex.Status{} }
	handle := func(context.Context, *kgo.Record) error { return nil }

	traced, err := telemetry.NewConsumer(l.tracer, nil, "g", status)
	require.NoError(t, err)
	require.NoError(t, traced.Wrap("orders", handle)(t.Context(), record()))
	require.Len(t, l.spans.Ended(), 1)
	require.NotContains(t, l.metrics(t), "messaging.process.duration")
	require.NoError(t, traced.Close())

	measured, err := telemetry.NewConsumer(nil, l.meter, "g", status)
	require.NoError(t, err)
	require.NoError(t, measured.Wrap("orders", handle)(t.Context(), record()))
	require.Len(t, l.spans.Ended(), 1)
	require.Contains(t, l.metrics(t), "messaging.process.duration")
	require.NoError(t, measured.Close())
}

func TestSpanOfARecord(t *testing.T) {
	t.Parallel()
	l := newLab()
	var inside trace.SpanContext
	next := l.consumer(t, duplex.Status{}).Wrap("orders", func(ctx context.Context, _ *kgo.Record) error {
		inside = trace.SpanContextFromContext(ctx)
		return nil
	})
	require.NoError(t, next(t.Context(), record("traceparent", parent, "tracestate", "a=b")))
	span := l.spans.Ended()[0]
	require.Equal(t, "process orders", span.Name())
	require.Equal(t, trace.SpanKindConsumer, span.SpanKind())
	require.Equal(t, span.SpanContext().SpanID(), inside.SpanID(), "the handler's context has the span")
	require.Equal(t, map[string]string{
		"messaging.system": "kafka", "messaging.operation.name": "process", "messaging.operation.type": "process",
		"messaging.destination.name": "orders", "messaging.destination.partition.id": "3", "messaging.consumer.group.name": "g",
		"messaging.kafka.offset": "42", "messaging.kafka.message.key": "k",
	}, attributes(span))
	require.Len(t, span.Links(), 1)
	require.Equal(t, "b7ad6b7169203331", span.Links()[0].SpanContext.SpanID().String())
	require.Equal(t, "a=b", span.Links()[0].SpanContext.TraceState().String())
	consumed := l.metrics(t)["messaging.client.consumed.messages"].(metricdata.Sum[int64])
	require.EqualValues(t, 1, consumed.DataPoints[0].Value)
}

func TestHostileRecords(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*kgo.Record{
		"words":     record("traceparent", "let me in"),
		"zeros":     record("traceparent", "00-00000000000000000000000000000000-0000000000000000-00"),
		"binary":    record("traceparent", "\x00\xff"),
		"long":      record("traceparent", parent+strings.Repeat("-x", 1<<20)),
		"the last":  record("traceparent", parent, "traceparent", ""),
		"only half": record("tracestate", "a=b"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab()
			c := l.consumer(t, duplex.Status{})
			r.Key = []byte("\xff")
			require.NoError(t, c.Wrap("orders", func(context.Context, *kgo.Record) error { return nil })(t.Context(), r))
			require.Empty(t, l.spans.Ended()[0].Links())
			require.NotContains(t, attributes(l.spans.Ended()[0]), "messaging.kafka.message.key", "it is not UTF-8")
		})
	}
	l := newLab()
	long := record("traceparent", parent, "tracestate", strings.Repeat("a=b,", 1<<18))
	long.Key = []byte("x" + strings.Repeat("é", 1000))
	require.NoError(t, l.consumer(t, duplex.Status{}).Wrap("orders", func(context.Context, *kgo.Record) error { return nil })(t.Context(), long))
	require.Equal(t, "x"+strings.Repeat("é", 39), attributes(l.spans.Ended()[0])["messaging.kafka.message.key"])
	require.Empty(t, l.spans.Ended()[0].Links()[0].SpanContext.TraceState().String())
}

func TestFailures(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"code":      {fmt.Errorf("asking: %w", duplex.ErrTimeout), "timeout"},
		"type":      {fmt.Errorf("asking: %w", &fs.PathError{Err: errors.New("no")}), "*fs.PathError"},
		"permanent": {duplex.Permanent(&fs.PathError{Err: errors.New("no")}), "*fs.PathError"},
		"long":      {duplex.Code(strings.Repeat("x", 1000)), strings.Repeat("x", 80)},
		"snooze":    {duplex.Snooze(time.Second), ""},
		"drop":      {duplex.Drop("old"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab()
			err := l.consumer(t, duplex.Status{}).Wrap("orders", func(context.Context, *kgo.Record) error { return test.err })(t.Context(), record())
			require.Equal(t, test.err, err)
			span := l.spans.Ended()[0]
			require.Equal(t, test.want, attributes(span)["error.type"])
			require.Equal(t, test.want != "", span.Status().Code == codes.Error)
			took := l.metrics(t)["messaging.process.duration"].(metricdata.Histogram[float64])
			require.Len(t, took.DataPoints, 1)
			require.Equal(t, test.want != "", took.DataPoints[0].Attributes.HasValue("error.type"))
		})
	}
}

func TestPanicGoesOn(t *testing.T) {
	t.Parallel()
	l := newLab()
	next := l.consumer(t, duplex.Status{}).Wrap("orders", func(context.Context, *kgo.Record) error { panic("mine") })
	require.PanicsWithValue(t, "mine", func() { _ = next(t.Context(), record()) })
	require.Equal(t, "panic", attributes(l.spans.Ended()[0])["error.type"])
}

func TestSpanOfABatch(t *testing.T) {
	t.Parallel()
	l := newLab()
	next := l.consumer(t, duplex.Status{}).WrapBatch("orders", func(context.Context, []*kgo.Record) error { return nil })
	batch := []*kgo.Record{record("traceparent", parent), record("traceparent", parent), record()}
	for i := range 1000 {
		batch = append(batch, record("traceparent", fmt.Sprintf("00-0af7651916cd43dd8448eb211c80319c-%016x-01", i+1)))
	}
	require.NoError(t, next(t.Context(), batch))
	require.NoError(t, next(t.Context(), nil), "nothing to tell of")
	require.Len(t, l.spans.Ended(), 1)
	require.Equal(t, "1003", attributes(l.spans.Ended()[0])["messaging.batch.message_count"])
	require.Len(t, l.spans.Ended()[0].Links(), 128)
	consumed := l.metrics(t)["messaging.client.consumed.messages"].(metricdata.Sum[int64])
	require.EqualValues(t, 1003, consumed.DataPoints[0].Value)
}

func TestStatusAsMetrics(t *testing.T) {
	t.Parallel()
	l := newLab()
	status := duplex.Status{Counts: map[string]int64{"handled": 7, "late_completions": 2, "moved": 3}, Problems: []duplex.Problem{
		{Code: duplex.StatusStalled, Subject: "orders/1"}, {Code: duplex.StatusRetrying, Subject: "orders/2"}, {Code: duplex.StatusStalled, Subject: "orders/3"},
	}}
	for i := range int32(1003) {
		status.Partitions = append(status.Partitions, duplex.PartitionStatus{
			Topic: "orders", Partition: i, Watermark: 10, Frontier: 15, End: 30, Lag: 20, Lanes: 4, Waiting: 2, OldestRunning: time.Second,
		})
	}
	status.Partitions[0].End = -1
	c := l.consumer(t, status)
	metrics := l.metrics(t)
	require.EqualValues(t, 7, metrics["duplex.consumer.handled"].(metricdata.Sum[int64]).DataPoints[0].Value)
	require.EqualValues(t, 2, metrics["duplex.consumer.late_completions"].(metricdata.Sum[int64]).DataPoints[0].Value)
	require.EqualValues(t, 3, metrics["duplex.consumer.moved"].(metricdata.Sum[int64]).DataPoints[0].Value)
	codes := map[string]int64{}
	for _, p := range metrics["duplex.consumer.problems"].(metricdata.Gauge[int64]).DataPoints {
		codes[value(p.Attributes, "duplex.status.code")] = p.Value
	}
	require.Equal(t, map[string]int64{"stalled": 2, "retrying": 1}, codes)
	require.Equal(t, map[string]int64{"1": 20, "999": 20, "other": 60}, points(metrics, "lag"), "that of 0 is not known")
	require.Equal(t, map[string]int64{"0": 5, "1": 5, "999": 5, "other": 15}, points(metrics, "span"))
	require.Equal(t, map[string]int64{"0": 2, "1": 2, "999": 2, "other": 6}, points(metrics, "waiting"))
	oldest := metrics["duplex.consumer.oldest_running"].(metricdata.Gauge[float64])
	require.Len(t, oldest.DataPoints, 1001)
	for _, p := range oldest.DataPoints {
		require.InDelta(t, 1.0, p.Value, 0)
	}
	require.NoError(t, c.Close())
	require.NotContains(t, l.metrics(t), "duplex.consumer.lag", "a closed one is not asked")
}

// points are some of a gauge's values, by partition.
func points(metrics map[string]metricdata.Aggregation, name string) map[string]int64 {
	some := map[string]int64{}
	for _, p := range metrics["duplex.consumer."+name].(metricdata.Gauge[int64]).DataPoints {
		switch id := value(p.Attributes, "messaging.destination.partition.id"); id {
		case "0", "1", "999", "1000", "other":
			some[id] = p.Value
		}
	}
	return some
}

func TestCommit(t *testing.T) {
	t.Parallel()
	l := newLab()
	c := l.consumer(t, duplex.Status{})
	c.Commit(time.Second, nil)
	c.Commit(time.Second, duplex.ErrUnauthorized)
	took := l.metrics(t)["messaging.client.operation.duration"].(metricdata.Histogram[float64])
	require.Len(t, took.DataPoints, 2)
	require.ElementsMatch(t, []string{"", "unauthorized"},
		[]string{errorOf(took.DataPoints[0].Attributes), errorOf(took.DataPoints[1].Attributes)})
}

func errorOf(set attribute.Set) string {
	if !set.HasValue("error.type") {
		return ""
	}
	return value(set, "error.type")
}

func TestSend(t *testing.T) {
	t.Parallel()
	l := newLab()
	p, err := telemetry.NewProducer(l.tracer, l.meter)
	require.NoError(t, err)
	r := record("tracestate", "stale=1", "mine", "1")
	send := p.Start(t.Context(), r)
	send.End(r, nil)
	failed := record("traceparent", parent)
	p.Start(t.Context(), failed).End(failed, fmt.Errorf("sending: %w", duplex.ErrOutcomeUnknown))

	spans := l.spans.Ended()
	require.Equal(t, "send orders", spans[0].Name())
	require.Equal(t, trace.SpanKindProducer, spans[0].SpanKind())
	require.Equal(t, "42", attributes(spans[0])["messaging.kafka.offset"])
	require.Len(t, r.Headers, 2, "a state of no trace is gone")
	header, _ := duplex.Header(r, "traceparent")
	sc := spans[0].SpanContext()
	require.Equal(t, fmt.Sprintf("00-%s-%s-01", sc.TraceID(), sc.SpanID()), header)

	require.Equal(t, [][]byte{[]byte(parent)}, duplex.HeaderValues(failed, "traceparent"), "one that is there stays")
	require.Len(t, spans[1].Links(), 1)
	require.Equal(t, "outcome-unknown", attributes(spans[1])["error.type"])
	require.NotContains(t, attributes(spans[1]), "messaging.kafka.offset")
	require.Len(t, l.metrics(t)["messaging.client.sent.messages"].(metricdata.Sum[int64]).DataPoints, 2)
}

// What waits in retry topics is told by topic, and the fingerprints of dead letters
// are bounded.
func TestWhatBecomesOfFailedRecords(t *testing.T) {
	t.Parallel()
	l := newLab()
	c := l.consumer(t, duplex.Status{Partitions: []duplex.PartitionStatus{
		{Topic: "orders", Source: "orders", Lag: 7, End: 10},
		{Topic: "retry.g.orders.1", Source: "orders", Lag: 5, End: 10, NextDue: time.Now().Add(-time.Minute)},
		{Topic: "retry.g.orders.1", Partition: 1, Source: "orders", Lag: 6, End: 10, NextDue: time.Now().Add(time.Hour)},
	}})
	for i := range 100 {
		c.Hopped("dead-letter", "dlq.g.orders", "permanent", fmt.Sprint("v1:", i), time.Second)
		c.Hopped("retry", "retry.g.orders.1", "", "", time.Second)
	}
	found := l.metrics(t)
	waiting := found["duplex.dlq.waiting"].(metricdata.Gauge[int64]).DataPoints
	require.Len(t, waiting, 1)
	require.Equal(t, int64(11), waiting[0].Value)
	overdue := found["duplex.dlq.oldest_due"].(metricdata.Gauge[float64]).DataPoints
	require.InDelta(t, 60, overdue[0].Value, 10)
	letters := found["duplex.dlq.dead_letters"].(metricdata.Sum[int64]).DataPoints
	require.Len(t, letters, 51)
	for _, point := range letters {
		if value(point.Attributes, "duplex.dlq.fingerprint") == "other" {
			require.Equal(t, int64(50), point.Value)
		}
	}
	require.NoError(t, c.Close())
	(*telemetry.Consumer)(nil).Hopped("retry", "t", "", "", 0)
	(*telemetry.Consumer)(nil).Hop(record())(nil)
}
