package compare

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/producer"
)

// What a program has to say to have its work done as events. The lines of this file are
// counted (lines.go).

func departures(names Names) duplex.Topic[Trip] {
	return duplex.Topic[Trip]{Name: names.Topic}
}

func failures() dlq.Policy {
	return dlq.Policy{Delays: []time.Duration{300 * time.Millisecond, time.Second}}
}

func newConsumer(cluster duplex.Cluster, names Names, d *desk) (*consumer.Consumer, error) {
	return consumer.New(consumer.Config{
		Cluster:        cluster,
		Group:          names.Group,
		Concurrency:    workers,
		SessionTimeout: sessionTimeout,
		DrainTimeout:   drainTimeout,
		Failures:       failures(),
		Handlers: []consumer.Handler{consumer.Handle(departures(names), func(ctx context.Context, t Trip) error {
			_, err := d.rebook(ctx, t) // again for one that is booked: it gives the same booking
			return err
		})},
	})
}

func newInbox(cluster duplex.Cluster, names Names, read func(context.Context, *kgo.Record) error) (*consumer.Consumer, error) {
	return consumer.New(consumer.Config{
		Cluster:        cluster,
		Group:          names.Inbox,
		SessionTimeout: sessionTimeout,
		Handlers:       []consumer.Handler{consumer.HandleRecord(dlq.DeadTopic(names.Group, names.Topic), read)},
	})
}

func newProducer(cluster duplex.Cluster) (*producer.Producer, error) {
	return producer.New(producer.Config{Cluster: cluster, Timeout: publishTimeout})
}

func publish(ctx context.Context, p *producer.Producer, names Names, t Trip) (duplex.Position, error) {
	return producer.Publish(ctx, p, departures(names), t)
}
