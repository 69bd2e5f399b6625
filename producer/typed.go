package producer

import (
	"context"

	"github.com/duplex-go/duplex"
)

// Publish encodes v for t and publishes it; see [Producer.Publish]. It adds the
// errors of [duplex.Topic.Record]: ErrEncode and ErrEmptyKey.
func Publish[T any](ctx context.Context, p *Producer, t duplex.Topic[T], v T) (duplex.Position, error) {
	r, err := t.Record(v)
	if err != nil {
		return duplex.Position{}, err
	}
	return p.Publish(ctx, r)
}

// PublishAsync encodes v for t and publishes it in the background; see
// [Producer.PublishAsync]. What cannot be encoded is reported to done too.
func PublishAsync[T any](ctx context.Context, p *Producer, t duplex.Topic[T], v T, done func(duplex.Position, error)) {
	r, err := t.Record(v)
	if err != nil {
		p.refuse(nil, err, done)
		return
	}
	p.PublishAsync(ctx, r, done)
}

// TryPublish encodes v for t and publishes it without waiting; see
// [Producer.TryPublish].
func TryPublish[T any](p *Producer, t duplex.Topic[T], v T, done func(duplex.Position, error)) error {
	r, err := t.Record(v)
	if err != nil {
		return err
	}
	return p.TryPublish(r, done)
}

// PublishBatch encodes the values for t and publishes them together; see
// [Producer.PublishBatch]. A value that cannot be encoded fails alone.
func PublishBatch[T any](ctx context.Context, p *Producer, t duplex.Topic[T], vs ...T) []Result {
	b := p.newBatch(len(vs))
	for i, v := range vs {
		r, err := t.Record(v)
		if err != nil {
			b.results[i].Err = err
			continue
		}
		b.admit(ctx, i, r)
	}
	return b.await(ctx)
}
