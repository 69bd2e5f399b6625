package push

import (
	"context"
	"fmt"
	"io"

	"github.com/duplex-go/duplex/internal/app/telemetry"
)

// observe makes what the program tells Prometheus and OpenTelemetry with.
func (o *options) observe(ctx context.Context) (*telemetry.Providers, error) {
	return telemetry.Start(ctx, telemetry.Config{Service: "duplex-consumer", Environ: o.environ, Scrape: o.admin != ""})
}

// endObservation sends the last of it. A backend that is down is no reason for the
// program to fail: its work is done and committed.
func endObservation(p *telemetry.Providers, program string, stderr io.Writer) {
	if err := p.Close(); err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", program, err)
	}
}
