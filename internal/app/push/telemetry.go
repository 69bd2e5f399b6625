package push

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	providers "github.com/duplex-go/duplex/internal/app/telemetry"
	"github.com/duplex-go/duplex/internal/telemetry"
)

// observation is what the program tells Prometheus and OpenTelemetry of its
// consumer.
type observation struct {
	*providers.Providers

	handlers *telemetry.Consumer // nil when nobody wants to know
	of       atomic.Pointer[consumer.Consumer]
}

func (o *options) observe(ctx context.Context) (*observation, error) {
	p, err := providers.Start(ctx, providers.Config{Service: "duplex-consumer", Environ: o.environ, Scrape: o.admin != ""})
	if err != nil {
		return nil, err
	}
	n := &observation{Providers: p}
	n.handlers, err = telemetry.NewConsumer(p.Traces, p.Metrics, o.group, n.status)
	return n, err
}

// status may be asked before there is a consumer.
func (n *observation) status() duplex.Status {
	c := n.of.Load()
	if c == nil {
		return duplex.Status{}
	}
	return c.Status()
}

// end sends the last of it. A backend that is down is no reason for the program to
// fail: its work is done and committed.
func (n *observation) end(stderr io.Writer) {
	if err := n.Close(); err != nil {
		fmt.Fprintln(stderr, "consumer:", err)
	}
	_ = n.handlers.Close() // its provider has ended
}
