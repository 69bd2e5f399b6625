package consumer

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/failure"
)

// Delivery is one run of a handler on a record.
type Delivery struct {
	// Record is the record as it came from Kafka; for a batch handler the first
	// of the batch. Nil outside of a handler.
	Record *kgo.Record
	// Attempt is 1 for the first run, one more after each failure, wherever that
	// was: it goes on when another member takes the partition over. For a batch
	// it is that of the first record.
	Attempt int
	// Generation is the group's generation in which the partition was assigned
	// to this member. It rises with every change of ownership, so that a store
	// which remembers the highest one it saw can refuse a former owner that was
	// frozen: a fencing token.
	Generation int32
	// Deadline is when the run must have ended, by HandlerTimeout or by an
	// earlier deadline of the context; zero without one.
	Deadline time.Time
}

// FromContext gives the delivery that a handler's context, or one made from it,
// belongs to; the zero Delivery for any other context.
func FromContext(ctx context.Context) Delivery {
	source, ok := ctx.Value(deliveryKey{}).(deliverer)
	if !ok {
		return Delivery{}
	}
	d := source.delivery()
	if at, ok := ctx.Deadline(); ok && d.Deadline.IsZero() {
		d.Deadline = at
	}
	return d
}

// NewContext returns a context as a handler would get it, for the unit tests of
// handlers.
func NewContext(ctx context.Context, d Delivery) context.Context {
	return context.WithValue(ctx, deliveryKey{}, given(d))
}

type deliveryKey struct{}

type deliverer interface{ delivery() Delivery }

type given Delivery

func (d given) delivery() Delivery { return Delivery(d) }

// recordContext is the context of one run of a handler. Contexts are allocated
// many at a time, and small, because there is one per record.
type recordContext struct {
	assignment *assignment
	record     *kgo.Record
	attempt    int32
}

var _ context.Context = (*recordContext)(nil)

func (c *recordContext) Deadline() (time.Time, bool) { return c.assignment.ctx.Deadline() }
func (c *recordContext) Done() <-chan struct{}       { return c.assignment.ctx.Done() }
func (c *recordContext) Err() error                  { return c.assignment.ctx.Err() }

func (c *recordContext) Value(key any) any {
	switch key.(type) {
	case deliveryKey:
		return c
	case failure.BegunKey:
		return c.record.Offset < c.assignment.begun
	}
	return c.assignment.ctx.Value(key)
}

func (c *recordContext) delivery() Delivery {
	return Delivery{Record: c.record, Attempt: int(c.attempt), Generation: c.assignment.generation}
}
