package dlq

import (
	"context"
	"errors"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
)

// origins are the topics that pointers point to, as they are now.
type origins map[string]originTopic

// originTopic is one of them; the zero one is not there.
type originTopic struct {
	id     [16]byte
	starts map[int32]int64
}

// there reports whether what a pointer points to is still there, as far as the start of its
// partition says.
func (p *planner) there(ctx context.Context, l *Letter) (bool, error) {
	of, known := p.origins[l.Origin.Topic]
	if !known && len(p.origins) < mostCauses {
		var err error
		if of, err = p.origin(ctx, l.Origin.Topic); err != nil {
			return false, err
		}
		p.origins[l.Origin.Topic] = of
	}
	if l.Origin.TopicID != [16]byte{} && l.Origin.TopicID != of.id {
		return false, nil
	}
	start, ok := of.starts[l.Origin.Partition]
	return ok && l.Origin.Offset >= start, nil
}

func (p *planner) origin(ctx context.Context, topic string) (of originTopic, err error) {
	topics, err := kafka.Topics(ctx, p.client, "dlq", topic)
	if err == nil {
		of.id = topics[0].ID
		of.starts, err = kafka.StartOffsets(ctx, p.client, topic)
	}
	if errors.Is(err, duplex.ErrUnknownTopic) || errors.Is(err, duplex.ErrInvalidTopic) {
		return originTopic{}, nil
	}
	return of, err
}

// fetch gives a pointer the record that it points to. That may be gone, and why is said then.
func (r *Redriver) fetch(ctx context.Context, l *Letter) (gone string, err error) {
	found, err := r.inspector.resolve(ctx, l)
	if err != nil {
		return "", err
	}
	if found.Source == nil {
		return found.Gone, nil
	}
	l.Record = found.Source
	return "", nil
}
