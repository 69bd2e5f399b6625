package rpc

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex/internal/kafka"
)

// A caller that gives up says so in rpc.cancel.<service>, in the partition of the number
// that its request has. Whoever has the partition of requests reads that, too, by itself
// and from its end on: so it overtakes the backlog. It is a kindness, no more: it may come
// too late, or never.

const (
	// cancelWorth is how much time a call must have left for it to be worth while.
	cancelWorth = 100 * time.Millisecond
	// mostCancels a second are sent by a client.
	mostCancels = 1000
	// mostKept bounds, twice, the cancelled calls that are remembered until they come up.
	mostKept = 5000
	// followEvery is how often a server looks which partitions it has.
	followEvery = 250 * time.Millisecond
)

// cancel tells the servers that nobody waits for a call any more.
func (c *Client) cancel(call *call, deadline time.Time) {
	if !call.partitioned.Load() || time.Until(deadline) < cancelWorth || !c.cancels.allow(time.Now()) {
		return
	}
	w := writer{}
	w.correlationID(c.identity, call.number)
	w.text(HeaderVersion, version)
	w.text(HeaderKind, kindCancel)
	c.client.TryProduce(c.life, &kgo.Record{Topic: cancelTopicOf(call.topic), Partition: call.partition, Headers: w.headers}, nil)
	c.counts.cancelled.Add(1)
}

// cancelTopicOf is the topic of cancels beside a topic of requests.
func cancelTopicOf(requests string) string { return cancelPrefix + requests[len(requestPrefix):] }

// rate bounds what is done in a second.
type rate struct {
	most   int
	mu     sync.Mutex
	second int64
	n      int
}

func (r *rate) allow(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := now.Unix(); s != r.second {
		r.second, r.n = s, 0
	}
	r.n++
	return r.n <= r.most
}

// cancels are the calls of a server that can be cancelled, and those that were before
// their turn came.
type cancels struct {
	server *Server
	seed   maphash.Seed

	mu      sync.Mutex
	running map[uint64]*callContext // by hashes of correlation IDs: see enter
	// early were cancelled before they came up; before are those from earlier.
	early, before map[string]bool
}

func newCancels(s *Server) *cancels { return &cancels{server: s, seed: maphash.MakeSeed()} }

// errCancelled is the cause of a handler's context when its caller has given up.
var errCancelled = errors.New("the caller has given up")

// enter registers a call that is about to run. It reports false if it was cancelled
// already.
//
// Where two have the same hash only the later one can be cancelled, which is a kindness
// anyway.
func (c *cancels) enter(id []byte, call *callContext) bool {
	call.id, call.hash = id, maphash.Bytes(c.seed, id)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.early[string(id)] || c.before[string(id)] {
		return false
	}
	if c.running == nil {
		c.running = map[uint64]*callContext{}
	}
	c.running[call.hash] = call
	return true
}

// leave is called when a handler has returned.
func (c *cancels) leave(call *callContext) {
	c.mu.Lock()
	if c.running[call.hash] == call {
		delete(c.running, call.hash)
	}
	c.mu.Unlock()
	call.end()
}

// arrived is called with a record of the topic of cancels.
func (c *cancels) arrived(r *kgo.Record) {
	p := parser{r: r}
	id := p.correlationID(true)
	if kind, _ := p.text(HeaderKind, maxWord); p.err != nil || kind != kindCancel {
		return
	}
	c.server.counts.cancelled.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if call := c.running[maphash.Bytes(c.seed, id)]; call != nil && bytes.Equal(call.id, id) {
		call.giveUp()
		return
	}
	if len(c.early) >= mostKept { // the oldest are forgotten, many at once
		c.before, c.early = c.early, nil
	}
	if c.early == nil {
		c.early = map[string]bool{}
	}
	c.early[string(id)] = true
}

// run reads the cancels for the partitions of requests that the server has, until ctx
// ends.
func (c *cancels) run(ctx context.Context) {
	var readers sync.WaitGroup
	defer readers.Wait()
	var client *kgo.Client
	has := map[int32]bool{}
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if client != nil {
				client.Close()
			}
			return
		case <-tick.C:
		}
		now := c.server.partitions()
		if same(now, has) {
			continue
		}
		next, err := c.reader(ctx, now)
		if err != nil {
			if ctx.Err() == nil {
				c.server.log.Info("calls that their callers give up are not cancelled for now", zap.Error(err))
			}
			continue
		}
		if client != nil {
			client.Close()
		}
		client, has = next, now
		readers.Go(func() { c.read(ctx, next) })
	}
}

func same(a, b map[int32]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for p := range a {
		if !b[p] {
			return false
		}
	}
	return true
}

// reader reads the given partitions of the topic of cancels from their ends on.
func (c *cancels) reader(ctx context.Context, partitions map[int32]bool) (*kgo.Client, error) {
	bounded, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	topic, via := CancelTopic(c.server.service), c.server.replier.Load().client
	if err := ensureTopic(bounded, via, cancelTopic(c.server.service, c.server.cfg.Partitions)); err != nil {
		return nil, err
	}
	ends, err := kafka.EndOffsets(bounded, via, topic)
	if err != nil {
		return nil, err
	}
	from := map[int32]kgo.Offset{}
	for p := range partitions {
		if end, there := ends[p]; there { // a topic of requests may have grown alone
			from[p] = kgo.NewOffset().At(end)
		}
	}
	return kafka.NewClient(c.server.cfg.Cluster, c.server.cfg.Logger,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchMaxWait(fetchMaxWait))
}

// read hands cancels on until its client is closed.
func (c *cancels) read(ctx context.Context, client *kgo.Client) {
	for {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil || fetches.IsClientClosed() {
			return
		}
		fetches.EachRecord(c.arrived)
	}
}

// partitions are those of the topic of requests that the server has.
func (s *Server) partitions() map[int32]bool {
	has := map[int32]bool{}
	for _, p := range s.consumer.Status().Partitions {
		if p.Topic == s.topic() {
			has[p.Partition] = true
		}
	}
	return has
}
