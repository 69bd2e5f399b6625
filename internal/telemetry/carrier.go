package telemetry

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/duplex-go/duplex"
)

const (
	traceparent = "traceparent"
	// maxTraceHeader bounds what is parsed of a header that anybody may have
	// written; W3C asks for at least 512 bytes of tracestate.
	maxTraceHeader = 2 << 10
)

// carrier is the headers of a record, as the propagator wants them.
type carrier struct{ record *kgo.Record }

// Get returns "" for what is missing, or too long to be true.
func (c carrier) Get(name string) string {
	for i := len(c.record.Headers) - 1; i >= 0; i-- {
		if h := &c.record.Headers[i]; h.Key == name {
			if len(h.Value) > maxTraceHeader {
				return ""
			}
			return string(h.Value)
		}
	}
	return ""
}

// Set never adds a second header of a name.
func (c carrier) Set(name, value string) { duplex.SetHeader(c.record, name, value) }

// Keys is what the interface asks for; the W3C propagator does not call it.
func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c.record.Headers))
	for _, h := range c.record.Headers {
		keys = append(keys, h.Key)
	}
	return keys
}

// origin is the span that a record comes from; not valid if its headers name
// none.
func origin(r *kgo.Record) trace.SpanContext {
	ctx := propagation.TraceContext{}.Extract(context.Background(), carrier{r})
	return trace.SpanContextFromContext(ctx)
}

// inject writes the span in ctx into the headers, unless they name one.
func inject(ctx context.Context, r *kgo.Record) {
	if _, taken := duplex.Header(r, traceparent); taken || !trace.SpanContextFromContext(ctx).IsValid() {
		return
	}
	duplex.DeleteHeader(r, "tracestate") // of no trace
	propagation.TraceContext{}.Inject(ctx, carrier{r})
}
