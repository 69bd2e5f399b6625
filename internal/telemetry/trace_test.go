package telemetry_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/telemetry"
)

func handled(context.Context, *kgo.Record) error { return nil }

func TestARecordHasOneTraceWhereverItGoes(t *testing.T) {
	t.Parallel()
	l := newLab()
	p, err := telemetry.NewProducer(l.tracer, nil)
	require.NoError(t, err)
	r := record()
	p.Start(t.Context(), r).End(r, nil)
	c := l.consumer(t, duplex.Status{})
	require.NoError(t, c.Wrap("orders", handled)(t.Context(), r))
	send, process := l.spans.Ended()[0], l.spans.Ended()[1]
	require.Equal(t, send.SpanContext().TraceID(), process.SpanContext().TraceID())
	require.Equal(t, send.SpanContext().SpanID(), process.Parent().SpanID())
	require.True(t, process.Parent().IsRemote())
	require.Equal(t, send.SpanContext().SpanID(), process.Links()[0].SpanContext.SpanID())

	ctx, around := l.tracer.Tracer("mine").Start(t.Context(), "around")
	require.NoError(t, c.Wrap("orders", handled)(ctx, r))
	around.End()
	process = l.spans.Ended()[2]
	require.Equal(t, around.SpanContext().SpanID(), process.Parent().SpanID(), "a span that is there already has the say")
	require.Len(t, process.Links(), 1)
}

func TestABatchHasNoParent(t *testing.T) {
	t.Parallel()
	l := newLab()
	c := l.consumer(t, duplex.Status{})
	batch := []*kgo.Record{record("traceparent", parent), record("traceparent", "00-0af7651916cd43dd8448eb211c80319c-00000000000000aa-01")}
	require.NoError(t, c.WrapBatch("orders", func(context.Context, []*kgo.Record) error { return nil })(t.Context(), batch))
	require.False(t, l.spans.Ended()[0].Parent().IsValid())
	require.Len(t, l.spans.Ended()[0].Links(), 2)
}

func TestNilDoesNothing(t *testing.T) {
	t.Parallel()
	var c *telemetry.Consumer
	require.NoError(t, c.Wrap("orders", handled)(t.Context(), record()))
	require.NoError(t, c.WrapBatch("orders", func(context.Context, []*kgo.Record) error { return nil })(t.Context(), nil))
	c.Commit(time.Second, nil)
	require.NoError(t, c.Close())
	var p *telemetry.Producer
	r := record()
	p.Start(t.Context(), r).End(r, nil)
	require.Empty(t, r.Headers)
}

func TestHeadersOfOthersStayAsTheyAre(t *testing.T) {
	t.Parallel()
	l := newLab()
	p, err := telemetry.NewProducer(l.tracer, nil)
	require.NoError(t, err)
	shared := make([]kgo.RecordHeader, 1, 8) // with space for what two records add
	shared[0] = kgo.RecordHeader{Key: "mine", Value: []byte("1")}
	one, two := &kgo.Record{Topic: "a", Headers: shared}, &kgo.Record{Topic: "b", Headers: shared}
	p.Start(t.Context(), one).End(one, nil)
	before, _ := duplex.Header(one, "traceparent")
	p.Start(t.Context(), two).End(two, nil)
	after, _ := duplex.Header(one, "traceparent")
	require.Equal(t, before, after)
	require.Equal(t, "mine", one.Headers[0].Key)
	require.Empty(t, shared[:2][1].Key, "nothing was written behind the slice")
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	l := newLab()
	c := l.consumer(t, duplex.Status{})
	p, err := telemetry.NewProducer(l.tracer, l.meter)
	require.NoError(t, err)
	next := c.Wrap("orders", handled)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				r := record()
				send := p.Start(t.Context(), r)
				_ = next(t.Context(), r)
				send.End(r, nil)
			}
		})
	}
	all.Wait()
	require.Len(t, l.spans.Ended(), 1600)
	sent := l.metrics(t)["messaging.client.sent.messages"].(metricdata.Sum[int64])
	require.EqualValues(t, 800, sent.DataPoints[0].Value)
}

func FuzzHeaders(f *testing.F) {
	f.Add("traceparent", []byte(parent), "tracestate", []byte("a=b"))
	f.Add("traceparent", []byte("ff-"+parent[3:]), "traceparent", []byte{})
	f.Add("tracestate", []byte("=,=,a=b,a=b"), "traceparent", []byte(parent+"-more"))
	tracer := sdktrace.NewTracerProvider() // that keeps nothing
	c, err := telemetry.NewConsumer(tracer, nil, "g", nil)
	require.NoError(f, err)
	p, err := telemetry.NewProducer(tracer, nil)
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, name1 string, value1 []byte, name2 string, value2 []byte) {
		r := &kgo.Record{Topic: "t", Headers: []kgo.RecordHeader{{Key: name1, Value: value1}, {Key: name2, Value: value2}}}
		had := len(duplex.HeaderValues(r, "traceparent"))
		require.NoError(t, c.Wrap("t", handled)(t.Context(), r))
		p.Start(t.Context(), r).End(r, nil)
		require.Len(t, duplex.HeaderValues(r, "traceparent"), max(had, 1), "added where there was none, never twice")
	})
}

func TestEnvironmentOfAProcess(t *testing.T) {
	t.Parallel()
	require.Empty(t, telemetry.Environment(t.Context()))
	l := newLab()
	c := l.consumer(t, duplex.Status{})
	var got []string
	require.NoError(t, c.Wrap("orders", func(ctx context.Context, _ *kgo.Record) error {
		got = telemetry.Environment(ctx)
		return nil
	})(t.Context(), record("traceparent", parent, "tracestate", "a=b")))
	sc := l.spans.Ended()[0].SpanContext()
	require.ElementsMatch(t, []string{"TRACEPARENT=00-" + sc.TraceID().String() + "-" + sc.SpanID().String() + "-01", "TRACESTATE=a=b"}, got)
}

func TestWhatIsReadOfHeadersIsBounded(t *testing.T) {
	t.Parallel()
	l := newLab()
	limits := sdktrace.NewSpanLimits()
	limits.LinkCountLimit = -1 // so that nobody else bounds them
	l.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(l.spans), sdktrace.WithRawSpanLimits(limits))
	c := l.consumer(t, duplex.Status{})
	var batch []*kgo.Record
	for i := range 1000 {
		batch = append(batch, record("traceparent", fmt.Sprintf("00-0af7651916cd43dd8448eb211c80319c-%016x-01", i+1)))
	}
	require.NoError(t, c.WrapBatch("orders", func(context.Context, []*kgo.Record) error { return nil })(t.Context(), batch))
	require.Len(t, l.spans.Ended()[0].Links(), 128)

	var members []string
	for i := range 20 {
		members = append(members, fmt.Sprintf("k%d=%s", i, strings.Repeat("x", 200)))
	}
	long := record("traceparent", parent, "tracestate", strings.Join(members, ","))
	require.NoError(t, c.Wrap("orders", handled)(t.Context(), long))
	require.Zero(t, l.spans.Ended()[1].Links()[0].SpanContext.TraceState().Len(), "OpenTelemetry would have taken it")
	fits := record("traceparent", parent, "tracestate", strings.Join(members[:5], ","))
	require.NoError(t, c.Wrap("orders", handled)(t.Context(), fits))
	require.Equal(t, 5, l.spans.Ended()[2].Links()[0].SpanContext.TraceState().Len())
}
