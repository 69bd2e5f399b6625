package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
)

// Environment is the span of ctx as variables of a process that goes on with its
// trace, TRACEPARENT and TRACESTATE; none without a span.
func Environment(ctx context.Context) []string {
	c := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, c)
	var all []string
	for name, variable := range map[string]string{"traceparent": "TRACEPARENT", "tracestate": "TRACESTATE"} {
		if value := c[name]; value != "" {
			all = append(all, variable+"="+value)
		}
	}
	return all
}
