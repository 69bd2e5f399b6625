package consumer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/failure"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/telemetry"
)

// Consumer is one member of a consumer group. Make one with New, then Run it.
// All methods are safe for concurrent use.
type Consumer struct {
	cfg    Config
	ran    atomic.Bool
	counts counts
	pauses pauses

	mu     sync.Mutex
	engine *engine // of Run; nil before
	ended  bool
}

// New returns a consumer that Run will start. It validates cfg, reads the files
// that cfg names, and dials nothing. The error names every problem of cfg at
// once.
func New(cfg Config) (*Consumer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, &duplex.Error{Op: "consumer: checking Config", Err: err}
	}
	if err := kafka.Validate(cfg.Cluster); err != nil {
		return nil, &duplex.Error{Op: "consumer: checking Config", Err: err}
	}
	return &Consumer{cfg: cfg.withDefaults()}, nil
}

// Ping reports whether the cluster answers and lets us in. The error's code is
// [duplex.ErrUnreachable], [duplex.ErrUnauthenticated] or [duplex.ErrTimeout].
func (c *Consumer) Ping(ctx context.Context) error {
	client, err := kafka.NewClient(c.cfg.Cluster, c.cfg.Logger)
	if err != nil {
		return err
	}
	defer client.Close()
	return kafka.Ping(ctx, client, "consumer")
}

// Run joins the group and handles records until ctx is cancelled. Then it stops
// gracefully: no handler starts any more, those at work may end (DrainTimeout),
// their work is committed, and the member leaves the group, all while still in
// the group, so that the others take over exactly what is not finished. A
// graceful stop returns nil.
//
// Run returns an error, coded, when it cannot go on: before it joins, when the
// cluster does not answer within StartTimeout ([duplex.ErrUnreachable]) or
// refuses us ([duplex.ErrUnauthenticated], [duplex.ErrUnauthorized]), or a topic
// does not exist ([duplex.ErrUnknownTopic]); later, when the group will not have
// this member ([duplex.ErrFenced], [duplex.ErrUnauthorized]); and at the end,
// when a handler did not return within DrainTimeout, or the last commit was
// refused.
// What fails in between is retried and shown by Status. A Consumer runs once; a
// second Run returns [duplex.ErrClosed].
func (c *Consumer) Run(ctx context.Context) error {
	if c.ran.Swap(true) {
		return &duplex.Error{Op: "consumer: running", Codes: []duplex.Code{duplex.ErrClosed}, Hint: "a Consumer runs once: make another one"}
	}
	defer func() {
		c.mu.Lock()
		c.ended = true
		c.mu.Unlock()
	}()
	found, err := c.check(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil // asked to stop before there was anything to stop
		}
		return err
	}
	told, err := telemetry.NewConsumer(c.cfg.TracerProvider, c.cfg.MeterProvider, c.cfg.Group, c.Status)
	if err != nil {
		return &duplex.Error{Op: "consumer: preparing telemetry", Err: err}
	}
	defer func() { _ = told.Close() }() // it only unregisters
	e, err := newEngine(c.cfg, found, &c.counts, &c.pauses, told)
	if err != nil {
		return err
	}
	c.mu.Lock()
	c.engine = e
	c.mu.Unlock()
	return e.run(ctx)
}

// found is what check finds out.
type found struct {
	ids   *topicIDs
	chain failure.Chain // nil without a policy
}

// check finds out, before the group notices us, whether the group would be any
// use, and has the policy for failures make itself ready.
func (c *Consumer) check(ctx context.Context) (f found, err error) {
	client, err := kafka.NewClient(c.cfg.Cluster, c.cfg.Logger)
	if err != nil {
		return f, err
	}
	defer client.Close()
	if err := kafka.Reach(ctx, client, "consumer", c.cfg.StartTimeout); err != nil {
		return f, err
	}
	topics := make([]string, 0, len(c.cfg.Handlers))
	for _, h := range c.cfg.Handlers {
		topics = append(topics, h.topic)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, c.cfg.StartTimeout, errors.New("StartTimeout has passed"))
	defer cancel()
	if f.ids, err = findTopics(bounded, client, topics); err != nil {
		return f, err
	}
	if c.cfg.Protocol == KIP848 {
		if err := kafka.SupportsKIP848(bounded, client, "consumer"); err != nil {
			return f, err
		}
	}
	if c.cfg.Failures == nil {
		return f, nil
	}
	f.chain, err = c.cfg.Failures.Chain(bounded, failure.Env{
		Group: c.cfg.Group, Topics: topics, Client: client, Logger: c.cfg.Logger.Named("dlq"), TopicID: f.ids.of,
	})
	if err != nil {
		return f, &duplex.Error{Op: "consumer: preparing the policy for failures", Codes: codes(err), Err: err}
	}
	beside, err := awaitTopics(bounded, client, slices.Sorted(maps.Keys(f.chain.Topics())))
	f.ids.merge(beside)
	return f, err
}

// awaitTopics is findTopics for those that were made a moment ago, maybe by another
// member: not all brokers know them at once.
func awaitTopics(ctx context.Context, client *kgo.Client, names []string) (ids *topicIDs, err error) {
	for {
		ids, err = findTopics(ctx, client, names)
		if !errors.Is(err, duplex.ErrUnknownTopic) || ctx.Err() != nil {
			return ids, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// codes are those of err, for an error around it.
func codes(err error) []duplex.Code {
	if code := duplex.CodeOf(err); code != "" {
		return []duplex.Code{code}
	}
	return nil
}

// topicIDs are the IDs of topics, which change when one is created again.
type topicIDs struct {
	mu sync.RWMutex
	is map[string][16]byte
}

func findTopics(ctx context.Context, client *kgo.Client, names []string) (*topicIDs, error) {
	ids := &topicIDs{is: map[string][16]byte{}}
	if len(names) == 0 {
		return ids, nil
	}
	topics, err := kafka.Topics(ctx, client, "consumer", names...)
	for _, t := range topics {
		ids.is[t.Name] = t.ID
	}
	return ids, err
}

func (ids *topicIDs) of(topic string) [16]byte {
	ids.mu.RLock()
	defer ids.mu.RUnlock()
	return ids.is[topic]
}

func (ids *topicIDs) merge(more *topicIDs) {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	maps.Copy(ids.is, more.is)
}
