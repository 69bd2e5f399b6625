package consumer

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// Handler ties a topic to the function that handles its records. Make one with
// Handle, HandleRecord, HandleBatch or HandleRecordBatch.
//
// Handlers run on the consumer's goroutines, for several partitions at once, so
// they must be safe for concurrent use. What they return decides what becomes of
// the record: nil means handled; [duplex.Permanent], [duplex.RetryAfter],
// [duplex.Snooze] and [duplex.Drop] ask for something particular; any other
// error, and a panic, mean that it is tried again after a while.
//
// Their context carries the [Delivery] and is cancelled, with a cause that says
// why, when the result no longer counts.
type Handler struct {
	topic  string
	single duplex.Next
	batch  func(context.Context, []*kgo.Record) error
}

// Topic is the topic that the handler reads.
func (h Handler) Topic() string { return h.topic }

// Handle runs fn on the value of each record of t. A record that t's codec
// refuses never reaches fn: it is a failure with code [duplex.ErrUndecodable].
func Handle[T any](t duplex.Topic[T], fn func(ctx context.Context, value T) error) Handler {
	if fn == nil {
		return Handler{topic: t.Name}
	}
	return HandleRecord(t.Name, func(ctx context.Context, r *kgo.Record) error {
		v, err := t.Value(r)
		if err != nil {
			return err
		}
		return fn(ctx, v)
	})
}

// HandleRecord runs fn on each record of the topic, as it came from Kafka. The
// record must not be changed; copy what is kept after fn returns, or it keeps
// the whole batch that the record was fetched in.
func HandleRecord(topic string, fn func(ctx context.Context, r *kgo.Record) error) Handler {
	return Handler{topic: topic, single: fn}
}

// HandleBatch runs fn on the values of several records of one partition of t, in
// log order: as many as are there, at most MaxBatch. nil means that all are
// handled, a [*BatchError] that some failed, any other error that all failed.
// Records that t's codec refuses fail by themselves; fn gets the others.
func HandleBatch[T any](t duplex.Topic[T], fn func(ctx context.Context, values []T) error) Handler {
	if fn == nil {
		return Handler{topic: t.Name}
	}
	return HandleRecordBatch(t.Name, func(ctx context.Context, rs []*kgo.Record) error {
		values := make([]T, 0, len(rs))
		at := make([]int, 0, len(rs)) // at[i] is the place in rs of values[i]
		failed := &BatchError{}
		for i, r := range rs {
			v, err := t.Value(r)
			if err != nil {
				failed.Fail(i, err)
				continue
			}
			values, at = append(values, v), append(at, i)
		}
		if len(values) == 0 {
			return failed
		}
		return failed.merge(at, fn(ctx, values))
	})
}

// HandleRecordBatch is HandleBatch for records as they came from Kafka.
func HandleRecordBatch(topic string, fn func(ctx context.Context, rs []*kgo.Record) error) Handler {
	return Handler{topic: topic, batch: fn}
}

func validateHandlers(handlers []Handler) error {
	if len(handlers) == 0 {
		return errors.New("Handlers is empty: name at least one topic and what to do with its records")
	}
	var errs []error
	seen := map[string]int{}
	for i, h := range handlers {
		if err := duplex.ValidateTopicName(h.topic); err != nil {
			errs = append(errs, fmt.Errorf("Handlers[%d]: %w", i, err))
		}
		if h.single == nil && h.batch == nil {
			errs = append(errs, fmt.Errorf("Handlers[%d] for topic %q has no function", i, h.topic))
		}
		if first, twice := seen[h.topic]; twice {
			errs = append(errs, fmt.Errorf("Handlers[%d]: topic %q has a handler already, Handlers[%d]: one handler a topic", i, h.topic, first))
		} else {
			seen[h.topic] = i
		}
	}
	return errors.Join(errs...)
}
