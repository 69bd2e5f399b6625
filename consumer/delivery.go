package consumer

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Delivery is one run of a handler on a record.
type Delivery struct {
	// Record is the record as it came from Kafka; for a batch handler the first
	// of the batch. Nil outside of a handler.
	Record *kgo.Record
	// Attempt is 1 for the first run, one more after each failure. It starts
	// again at 1 when another member takes the partition over.
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

// recordContext is the context of one run of a handler. The contexts of a turn
// are allocated together, and two words each, because there is one per record.
type recordContext struct {
	turn   *turn
	record *kgo.Record
}

var _ context.Context = (*recordContext)(nil)

func (c *recordContext) Deadline() (time.Time, bool) { return c.turn.ctx.Deadline() }
func (c *recordContext) Done() <-chan struct{}       { return c.turn.ctx.Done() }
func (c *recordContext) Err() error                  { return c.turn.ctx.Err() }

func (c *recordContext) Value(key any) any {
	if _, ours := key.(deliveryKey); ours {
		return c
	}
	return c.turn.ctx.Value(key)
}

func (c *recordContext) delivery() Delivery {
	return Delivery{Record: c.record, Attempt: c.turn.attempt, Generation: c.turn.lane.assignment.generation}
}
