package producer

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/telemetry"
)

// Result is what became of one record of a batch.
type Result struct {
	// Position is where the record is stored; zero with an error.
	Position duplex.Position
	// Err is nil for a record that is stored.
	Err error
}

// batch are records that are sent together and waited for.
type batch struct {
	producer *Producer
	results  []Result
	pendings []pending // none for those that were not admitted
	calls    []*call
	sends    []telemetry.Send // with telemetry, as is
	records  []*kgo.Record
}

func (p *Producer) newBatch(n int) *batch {
	b := &batch{producer: p, results: make([]Result, n), pendings: make([]pending, n), calls: make([]*call, n)}
	if p.telemetry != nil {
		b.sends, b.records = make([]telemetry.Send, n), make([]*kgo.Record, n)
	}
	return b
}

// admit takes over the i-th record.
func (b *batch) admit(ctx context.Context, i int, r *kgo.Record) {
	if b.producer.telemetry != nil {
		b.sends[i], b.records[i] = b.producer.begin(ctx, r), r
	}
	c := b.producer.newCall()
	b.calls[i] = c
	b.pendings[i], b.results[i].Err = b.producer.admit(ctx, r, mayWait|more, c, nil)
}

// await sends off what was admitted and waits for it.
func (b *batch) await(ctx context.Context) []Result {
	p := b.producer
	p.queue.wakeFeeder()
	for i, pd := range b.pendings {
		switch {
		case pd.cohort != nil:
			b.results[i].Position, b.results[i].Err = p.await(ctx, pd, b.calls[i])
		case b.calls[i] != nil:
			p.calls.Put(b.calls[i])
		}
	}
	for i, send := range b.sends {
		if b.records[i] != nil {
			send.End(b.records[i], b.results[i].Err) //nolint:contextcheck // the span began with it
		}
	}
	return b.results
}
