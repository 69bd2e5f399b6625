package main

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
)

// failWatermill has Watermill's router handle the records, with its Retry middleware
// for those that fail, which waits with the partition standing still, or with its poison
// queue where they are dead at once. It runs one record of a partition at a time, and
// publishes each one that fails by itself.
func failWatermill(ctx context.Context, s spec, f *failing) (err error) {
	f.remember()
	consume, produce := saramaConfigs()
	publisher, err := kafka.NewPublisher(kafka.PublisherConfig{Brokers: s.Brokers, Marshaler: kafka.DefaultMarshaler{}, OverwriteSaramaConfig: produce}, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, publisher.Close()) }()
	subscriber, err := kafka.NewSubscriber(kafka.SubscriberConfig{
		Brokers: s.Brokers, Unmarshaler: kafka.DefaultMarshaler{}, ConsumerGroup: s.Group, OverwriteSaramaConfig: consume,
	}, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, subscriber.Close()) }()
	poison, err := middleware.PoisonQueue(publisher, s.Beside)
	if err != nil {
		return err
	}
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	var moved atomic.Int64
	if s.Workload.Dead {
		router.AddMiddleware(poisoned(&moved), poison)
	} else {
		router.AddMiddleware(middleware.Retry{MaxRetries: 1, InitialInterval: s.Workload.Delay}.Middleware)
	}
	router.AddConsumerHandler("bench", s.Topic, subscriber, func(m *message.Message) error { //nolint:contextcheck // it has its own, m.Context()
		partition, at := kafka.MessagePartitionFromCtx(m.Context())
		offset, there := kafka.MessagePartitionOffsetFromCtx(m.Context())
		if !at || !there {
			return errors.New("a message without partition or offset")
		}
		if m.Metadata.Get(triedKey) != "" {
			f.retry(partition, m.Payload)
			moved.Add(1)
			return nil
		}
		m.Metadata.Set(triedKey, "yes")
		return f.first(partition, offset, m.Payload)
	})
	reading, stop := context.WithCancel(ctx)
	followed := make(chan struct{})
	go func() {
		defer close(followed)
		f.follow(reading, moved.Load, stop)
	}()
	ran := make(chan error, 1)
	go func() { ran <- router.Run(context.WithoutCancel(ctx)) }()
	select {
	case <-reading.Done():
	case err = <-ran:
		ran <- nil
	}
	stop()
	<-followed
	return errors.Join(err, router.Close(), <-ran)
}

// triedKey tells the second run of a message, which the middleware hands out again, from
// the first.
const triedKey = "bench-tried"

// poisoned counts the records that the poison queue inside of it has taken: their
// handler failed, and its error is gone.
func poisoned(n *atomic.Int64) message.HandlerMiddleware {
	return func(h message.HandlerFunc) message.HandlerFunc {
		return func(m *message.Message) ([]*message.Message, error) {
			out, err := h(m)
			if err == nil && m.Metadata.Get(middleware.ReasonForPoisonedKey) != "" {
				n.Add(1)
			}
			return out, err
		}
	}
}

// saramaConfigs are Watermill's, with what the other arms have: from the beginning,
// read_committed; acks=all, idempotent.
func saramaConfigs() (consume, produce *sarama.Config) {
	consume = kafka.DefaultSaramaSubscriberConfig()
	consume.Version = sarama.V4_0_0_0
	consume.Consumer.Offsets.Initial = sarama.OffsetOldest
	consume.Consumer.IsolationLevel = sarama.ReadCommitted
	consume.Consumer.Fetch.Max = fetchMax
	produce = kafka.DefaultSaramaSyncPublisherConfig()
	produce.Version = sarama.V4_0_0_0
	produce.Producer.RequiredAcks = sarama.WaitForAll
	produce.Producer.Idempotent = true
	produce.Net.MaxOpenRequests = 1 // or it is not idempotent
	return consume, produce
}
