package producer

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
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
}

func (p *Producer) newBatch(n int) *batch {
	return &batch{producer: p, results: make([]Result, n), pendings: make([]pending, n), calls: make([]*call, n)}
}

// admit takes over the i-th record.
func (b *batch) admit(ctx context.Context, i int, r *kgo.Record) {
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
	return b.results
}
