package producer

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/telemetry"
)

// begin tells telemetry, if there is any, that r is to be published.
func (p *Producer) begin(ctx context.Context, r *kgo.Record) telemetry.Send {
	if p.telemetry == nil || r == nil {
		return telemetry.Send{}
	}
	return p.telemetry.Start(ctx, r)
}

// traced has telemetry told of the result of r before done is.
func (p *Producer) traced(send telemetry.Send, r *kgo.Record, done func(duplex.Position, error)) func(duplex.Position, error) {
	if p.telemetry == nil || r == nil {
		return done
	}
	return func(at duplex.Position, err error) {
		send.End(r, err)
		switch {
		case done != nil:
			done(at, err)
		case err != nil:
			p.logFailure(r.Topic, err)
		}
	}
}
