package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/rpc"
)

// echoByHand is what one writes on raw kgo: a correlation ID in a header, and a map of
// the calls under way.
func echoByHand(ctx context.Context, s spec, n *served) (echo, error) {
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	h, err := newHandCaller(ctx, s)
	if err != nil {
		stop()
		return echo{}, err
	}
	go func() { ended <- serveByHand(ctx, serving, s, n) }()
	return echo{
		call: h.call,
		stop: func() error {
			stop()
			return errors.Join(<-ended, h.close())
		},
		extra: h.extra.Load,
	}, nil
}

// byHandProducing are the options of those that produce by hand; idempotent they are by
// themselves.
func byHandProducing(s spec) []kgo.Opt {
	return []kgo.Opt{
		kgo.SeedBrokers(s.Brokers...), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(0), kgo.MaxBufferedRecords(buffered),
	}
}

// serveByHand answers each record as it is read, without waiting for that, until serving
// ends, and then commits what it answered.
func serveByHand(ctx, serving context.Context, s spec, n *served) error {
	cl, err := kgo.NewClient(append(byHandProducing(s),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ConsumerGroup(s.servers()), kgo.ConsumeTopics(s.requestTopic()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.AutoCommitInterval(commitEvery), kgo.FetchMaxBytes(fetchMax),
	)...)
	if err != nil {
		return err
	}
	defer cl.Close()
	var a acks
	done := func(_ *kgo.Record, err error) { a.done(err) }
	topic := s.replyTopic()
	for serving.Err() == nil {
		fetches := cl.PollFetches(serving)
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.Canceled) {
				return e.Err
			}
		}
		fetches.EachRecord(func(r *kgo.Record) {
			cl.Produce(ctx, &kgo.Record{Topic: topic, Value: n.answer(r.Value), Headers: r.Headers}, done)
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	if failed := a.failed.Load(); failed != nil {
		return *failed
	}
	return cl.CommitUncommittedOffsets(ctx)
}

// handCaller makes calls by hand.
type handCaller struct {
	client *kgo.Client
	life   context.Context //nolint:containedctx // of what it produces: a call that has ended is not taken back
	topic  string
	stop   context.CancelFunc
	ended  chan error
	extra  atomic.Int64

	mu      sync.Mutex
	last    uint64
	pending map[uint64]chan []byte
}

// newHandCaller reads the replies from the offset at which their partition ends now.
func newHandCaller(ctx context.Context, s spec) (*handCaller, error) {
	c, err := connect(ctx, s.Brokers)
	if err != nil {
		return nil, err
	}
	ends, err := c.ends(ctx, s.replyTopic(), 1)
	c.close()
	if err != nil {
		return nil, fmt.Errorf("asking where the replies end: %w", err)
	}
	cl, err := kgo.NewClient(append(byHandProducing(s),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.replyTopic(): {0: kgo.NewOffset().At(ends[0])}}),
	)...)
	if err != nil {
		return nil, err
	}
	reading, stop := context.WithCancel(ctx)
	h := &handCaller{client: cl, life: ctx, topic: s.requestTopic(), stop: stop, ended: make(chan error, 1), pending: map[uint64]chan []byte{}}
	go func() { h.ended <- h.read(reading) }()
	return h, nil
}

// call makes one call.
func (h *handCaller) call(ctx context.Context, value []byte) ([]byte, error) {
	answer := make(chan []byte, 1)
	h.mu.Lock()
	h.last++
	n := h.last
	h.pending[n] = answer
	h.mu.Unlock()
	r := &kgo.Record{Topic: h.topic, Value: value, Headers: []kgo.RecordHeader{{Key: rpc.HeaderCorrelationID, Value: handID(n)}}}
	failed := make(chan error, 1)
	h.client.Produce(h.life, r, func(_ *kgo.Record, err error) { //nolint:contextcheck // see life
		if err != nil {
			failed <- err
		}
	})
	select {
	case got := <-answer:
		return got, nil
	case err := <-failed:
		h.take(n)
		return nil, err
	case <-ctx.Done():
		h.take(n)
		return nil, context.Cause(ctx)
	}
}

// take takes a call out; nil if it has ended.
func (h *handCaller) take(n uint64) chan []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	answer := h.pending[n]
	delete(h.pending, n)
	return answer
}

// read hands out the replies.
func (h *handCaller) read(ctx context.Context) error {
	for ctx.Err() == nil {
		fetches := h.client.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.Canceled) {
				return fmt.Errorf("reading replies: %w", e.Err)
			}
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var answer chan []byte
			if n, ok := handNumber(r.Headers); ok {
				answer = h.take(n)
			}
			if answer == nil {
				h.extra.Add(1)
				return
			}
			answer <- r.Value
		})
	}
	return nil
}

func (h *handCaller) close() error {
	h.stop()
	err := <-h.ended
	h.client.Close()
	return err
}

// handPrefix fills a correlation ID up to as many bytes as Duplex's have: 38.
const handPrefix = "bench-by-hand-calls..."

// handID is the correlation ID of the n-th call.
func handID(n uint64) []byte {
	const digits = 16
	id := make([]byte, 0, len(handPrefix)+digits)
	id = append(id, handPrefix...)
	for shift := 60; shift >= 0; shift -= 4 {
		id = append(id, "0123456789abcdef"[n>>shift&15])
	}
	return id
}

func handNumber(headers []kgo.RecordHeader) (uint64, bool) {
	if len(headers) != 1 || len(headers[0].Value) <= len(handPrefix) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(headers[0].Value[len(handPrefix):]), 16, 64)
	return n, err == nil
}
