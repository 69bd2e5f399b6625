package rpc

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/backoff"
	"github.com/duplex-go/duplex/internal/kafka"
)

// inbox reads the replies of a client: one partition of its service's reply topic,
// without a group, from an offset that is known before the first request is sent.
//
//	closed ──► choosing a partition ──► its end is known: open ──► replies are routed
//	               ▲                                                   │
//	               └── the topic was deleted, made again or cut off ───┘  calls under way fail
type inbox struct {
	owner *Client

	at atomic.Pointer[address] // nil for as long as it is not open

	mu     sync.Mutex
	open   chan struct{} // closed when address is known
	lastly error         // why it is not open

	topicID [16]byte // of the topic that is read; the reader's own
}

// address is where replies are to go.
type address struct {
	topic     string
	partition int32
}

const (
	// fetchMaxWait bounds how long a broker holds a fetch back when there is nothing.
	fetchMaxWait = 500 * time.Millisecond
	// reopenMin and reopenMax bound the wait before it is tried again.
	reopenMin, reopenMax = 50 * time.Millisecond, 2 * time.Second
	// openTimeout bounds one try.
	openTimeout = 15 * time.Second
	// A topic that a broker does not know may only be new to it: it is gone when
	// goneAsks questions, goneEvery apart, say so.
	goneAsks, goneEvery = 3, 100 * time.Millisecond
)

// await returns where replies are to go, once that is known.
func (i *inbox) await(ctx context.Context) (address, error) {
	for {
		if at := i.at.Load(); at != nil {
			return *at, nil
		}
		i.mu.Lock()
		open, lastly := i.open, i.lastly
		i.mu.Unlock()
		select {
		case <-open:
		case <-ctx.Done():
			return address{}, errors.Join(context.Cause(ctx), lastly)
		case <-i.owner.over:
			return address{}, duplex.ErrClosed
		}
	}
}

// isOpen returns where replies are to go, if that is known.
func (i *inbox) isOpen() (at address, open bool) {
	if at := i.at.Load(); at != nil {
		return *at, true
	}
	return address{}, false
}

// run reads until ctx ends.
func (i *inbox) run(ctx context.Context) {
	for tries := 0; ctx.Err() == nil; {
		began := time.Now()
		err := i.read(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > openTimeout {
			tries = 0
		}
		tries++
		i.owner.log.Warn("replies cannot be read, trying again", zap.String("topic", ReplyTopic(i.owner.cfg.Service)), zap.Error(err))
		i.mu.Lock()
		i.lastly = err
		i.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(backoff.Exponential(tries, reopenMin, reopenMax)):
		}
	}
}

// read opens the inbox, and routes replies until something is wrong.
func (i *inbox) read(ctx context.Context) error {
	client, at, err := i.position(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	i.mu.Lock()
	i.lastly = nil
	i.at.Store(&at)
	close(i.open)
	i.mu.Unlock()
	err = i.route(ctx, client)
	i.mu.Lock()
	i.at.Store(nil)
	i.open = make(chan struct{})
	i.mu.Unlock()
	if ctx.Err() == nil {
		for _, c := range i.owner.pending.all() {
			c.to.end(result{err: inboxLost.error(c.method, err)})
		}
	}
	return err
}

// position chooses a partition and finds out where it ends, so that whatever is written
// to it from now on is read.
func (i *inbox) position(ctx context.Context) (*kgo.Client, address, error) {
	c := i.owner
	bounded, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	topic := replyTopicOf(c.cfg.Service, c.cfg.ReplyPartitions)
	if err := ensureTopic(bounded, c.client, topic); err != nil {
		return nil, address{}, err
	}
	kafka.AwaitEverywhere(bounded, c.client, topic.name) // or a server would refuse the address
	there, err := kafka.Topics(bounded, c.client, "rpc client", topic.name)
	if err != nil {
		return nil, address{}, err
	}
	i.topicID = there[0].ID
	at := address{topic: topic.name, partition: c.claims.choose(bounded, there[0])}
	ends, err := kafka.EndOffsets(bounded, c.client, topic.name)
	if err != nil {
		return nil, address{}, err
	}
	end, known := ends[at.partition]
	if !known {
		return nil, address{}, fmt.Errorf("rpc client: the end of %s/%d is not known", at.topic, at.partition)
	}
	client, err := kafka.NewClient(c.cfg.Cluster, c.cfg.Logger,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{at.topic: {at.partition: kgo.NewOffset().At(end)}}), // engine rule 31
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), // engine rule 13
		kgo.KeepRetryableFetchErrors(),               // or a topic that is gone is looked for a quarter of a minute
		kgo.FetchMinBytes(1), kgo.FetchMaxWait(fetchMaxWait), kgo.MetadataMinAge(100*time.Millisecond), kgo.ConnIdleTimeout(9*time.Minute),
	)
	return client, at, err
}

// route hands out replies until the partition cannot be read any more.
func (i *inbox) route(ctx context.Context, client *kgo.Client) error {
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var broken, missing error
		fetches.EachError(func(topic string, p int32, err error) {
			explained := kafka.Explain(fmt.Sprintf("rpc client: reading replies from %s/%d", topic, p), err)
			switch {
			case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
				missing = explained
			case isMissing(err), errors.Is(err, kerr.OffsetOutOfRange), errors.Is(err, kgo.ErrClientClosed), errors.As(err, new(*kgo.ErrDataLoss)):
				broken = explained
			}
		})
		now := time.Now()
		fetches.EachRecord(func(r *kgo.Record) { i.owner.arrived(r, now) })
		if broken == nil && missing != nil && i.gone(ctx) {
			broken = missing
		}
		if broken != nil {
			return broken
		}
	}
}

// gone reports whether the topic of replies is not there any more, or another one of its
// name is. Whoever leads a partition since a moment may not know it yet.
func (i *inbox) gone(ctx context.Context) bool {
	for range goneAsks {
		bounded, cancel := context.WithTimeout(ctx, presenceTimeout) // no reply is read meanwhile
		there, err := kafka.Topics(bounded, i.owner.client, "rpc client", ReplyTopic(i.owner.cfg.Service))
		cancel()
		switch {
		case err == nil:
			return there[0].ID != i.topicID
		case !errors.Is(err, duplex.ErrUnknownTopic):
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(goneEvery):
		}
	}
	return true
}

// arrived ends the call that a reply belongs to.
func (c *Client) arrived(r *kgo.Record, now time.Time) {
	p := parser{r: r}
	id := p.correlationID(true)
	n, whose := c.identity.parse(id)
	switch whose {
	case mine:
	case former:
		c.counts.stale.Add(1)
		return
	case another:
		c.counts.foreign.Add(1)
		return
	case nobodies:
		c.counts.unknown.Add(1)
		return
	}
	if call := c.pending.take(n, true); call != nil {
		call.to.end(result{reply: r, came: now})
		return
	}
	switch ended, replied := c.pending.had(n); {
	case !ended:
		c.counts.unknown.Add(1)
	case replied:
		c.counts.duplicate.Add(1)
	default:
		c.counts.late.Add(1)
	}
}
