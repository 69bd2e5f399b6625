package main

import (
	"context"
	"errors"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/components/cqrs"
	"github.com/ThreeDotsLabs/watermill/components/requestreply"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/gochannel"
)

// command is what is called with Watermill.
type command struct{ value []byte }

// waterParts are Watermill's: what is published with, what is subscribed to, what runs
// the handler.
type waterParts struct {
	publisher *kafka.Publisher
	requests  *kafka.Subscriber
	replies   *kafka.Subscriber
	fan       *gochannel.FanOut
	router    *message.Router
}

// echoWatermill has Watermill's component requestreply. One subscriber reads the replies
// for all calls, through Watermill's FanOut; by itself the component subscribes anew for
// each call, which takes connections and a look for offsets.
func echoWatermill(ctx context.Context, s spec, n *served) (echo, error) {
	parts, err := newWaterParts(s)
	if err != nil {
		return echo{}, err
	}
	backend, err := requestreply.NewPubSubBackend(requestreply.PubSubBackendConfig{
		Publisher: parts.publisher,
		SubscriberConstructor: func(requestreply.PubSubBackendSubscribeParams) (message.Subscriber, error) {
			return cached{parts.fan}, nil
		},
		GeneratePublishTopic:   func(requestreply.PubSubBackendPublishParams) (string, error) { return s.replyTopic(), nil },
		GenerateSubscribeTopic: func(requestreply.PubSubBackendSubscribeParams) (string, error) { return s.replyTopic(), nil },
	}, replyBytes{})
	if err != nil {
		return echo{}, err
	}
	bus, err := cqrs.NewCommandBusWithConfig(parts.publisher, cqrs.CommandBusConfig{
		GeneratePublishTopic: func(cqrs.CommandBusGeneratePublishTopicParams) (string, error) { return s.requestTopic(), nil },
		Marshaler:            commandBytes{},
	})
	if err != nil {
		return echo{}, err
	}
	processor, err := cqrs.NewCommandProcessorWithConfig(parts.router, cqrs.CommandProcessorConfig{
		GenerateSubscribeTopic: func(cqrs.CommandProcessorGenerateSubscribeTopicParams) (string, error) { return s.requestTopic(), nil },
		SubscriberConstructor: func(cqrs.CommandProcessorSubscriberConstructorParams) (message.Subscriber, error) {
			return parts.requests, nil
		},
		Marshaler: commandBytes{},
	})
	if err != nil {
		return echo{}, err
	}
	err = processor.AddHandlers(requestreply.NewCommandHandlerWithResult("echo", backend,
		func(_ context.Context, c *command) ([]byte, error) { return n.answer(c.value), nil }))
	if err != nil {
		return echo{}, err
	}
	ended := make(chan error, 2)
	go func() { ended <- parts.fan.Run(context.WithoutCancel(ctx)) }()
	<-parts.fan.Running()
	go func() { ended <- parts.router.Run(context.WithoutCancel(ctx)) }()
	<-parts.router.Running()
	return echo{
		call: func(ctx context.Context, value []byte) ([]byte, error) {
			reply, err := requestreply.SendWithReply(ctx, bus, backend, &command{value})
			if err != nil {
				return nil, err
			}
			return reply.HandlerResult, reply.Error
		},
		stop: func() error { return errors.Join(parts.close(), <-ended, <-ended) },
	}, nil
}

func newWaterParts(s spec) (p waterParts, err error) {
	consume, produce := saramaConfigs()
	if p.publisher, err = kafka.NewPublisher(kafka.PublisherConfig{Brokers: s.Brokers, Marshaler: kafka.DefaultMarshaler{}, OverwriteSaramaConfig: produce}, nil); err != nil {
		return p, err
	}
	of := func(group string) (*kafka.Subscriber, error) {
		return kafka.NewSubscriber(kafka.SubscriberConfig{
			Brokers: s.Brokers, Unmarshaler: kafka.DefaultMarshaler{}, ConsumerGroup: group, OverwriteSaramaConfig: consume,
		}, nil)
	}
	if p.requests, err = of(s.servers()); err != nil {
		return p, err
	}
	if p.replies, err = of(""); err != nil { // without a group: all of the topic
		return p, err
	}
	if p.fan, err = gochannel.NewFanOut(p.replies, watermill.NopLogger{}); err != nil {
		return p, err
	}
	p.fan.AddSubscription(s.replyTopic())
	p.router, err = message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	return p, err
}

func (p waterParts) close() error {
	return errors.Join(p.router.Close(), p.fan.Close(), p.requests.Close(), p.replies.Close(), p.publisher.Close())
}

// cached is the one subscriber, which no call may close.
type cached struct{ fan *gochannel.FanOut }

func (c cached) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	return c.fan.Subscribe(ctx, topic)
}

func (cached) Close() error { return nil }

// commandBytes has commands be their bytes.
type commandBytes struct{}

func (commandBytes) Marshal(v any) (*message.Message, error) {
	c, ok := v.(*command)
	if !ok {
		return nil, errors.New("a command is not a *command")
	}
	m := message.NewMessage(watermill.NewUUID(), c.value)
	m.Metadata.Set("name", "echo")
	return m, nil
}

func (commandBytes) Unmarshal(m *message.Message, v any) error {
	c, ok := v.(*command)
	if !ok {
		return errors.New("a command is not to be a *command")
	}
	c.value = m.Payload
	return nil
}

func (commandBytes) Name(any) string { return "echo" }

func (commandBytes) NameFromMessage(m *message.Message) string { return m.Metadata.Get("name") }

// replyBytes has results be their bytes.
type replyBytes struct{}

func (replyBytes) MarshalReply(p requestreply.BackendOnCommandProcessedParams[[]byte]) (*message.Message, error) {
	m := message.NewMessage(watermill.NewUUID(), p.HandlerResult)
	if p.HandleErr != nil {
		m.Metadata.Set(requestreply.ErrorMetadataKey, p.HandleErr.Error())
	}
	return m, nil
}

func (replyBytes) UnmarshalReply(m *message.Message) (r requestreply.Reply[[]byte], err error) {
	r.HandlerResult = m.Payload
	if text := m.Metadata.Get(requestreply.ErrorMetadataKey); text != "" {
		r.Error = errors.New(text)
	}
	return r, nil
}
