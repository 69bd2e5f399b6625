package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

// handled is what the handlers of all arms do with a record beside waiting, and
// knows when everything was handled. Unlike reader it may be called by many at
// once.
type handled struct {
	spec    spec
	tallies []sharedTally // by partition
	left    atomic.Int64
	began   atomic.Pointer[usage]
	ended   usage
	stop    context.CancelFunc

	// keys are what is known of each key, and wrong how often a record began out of
	// order, or while another of its key was at work; nil in rounds that count.
	keys  []keyState
	wrong atomic.Int64
}

type keyState struct {
	next atomic.Int64 // one above the highest offset that began
	busy atomic.Bool
}

type sharedTally struct {
	count atomic.Int64
	sum   atomic.Uint64
	_     [112]byte
}

func newHandled(s spec, stop context.CancelFunc) *handled {
	h := &handled{spec: s, tallies: make([]sharedTally, len(s.Ends)), stop: stop}
	for _, end := range s.Ends {
		h.left.Add(end)
	}
	if s.Verify {
		h.keys = make([]keyState, s.Workload.Keys)
	}
	return h
}

func (h *handled) handle(rec *kgo.Record) {
	if h.began.Load() == nil {
		now := usageNow()
		h.began.CompareAndSwap(nil, &now)
	}
	if h.keys != nil {
		defer h.enter(rec)()
	}
	if h.spec.Workload.Work > 0 {
		time.Sleep(h.spec.Workload.Work) //nolint:forbidigo // this is the work: waiting for an answer
	}
	t := &h.tallies[rec.Partition]
	t.sum.Add(binary.LittleEndian.Uint64(rec.Value))
	if t.count.Add(1) == h.spec.Ends[rec.Partition] && h.left.Add(-h.spec.Ends[rec.Partition]) == 0 {
		h.ended = usageNow()
		h.stop()
	}
}

// enter notes a record that begins before one of its key that is ahead of it, or
// together with one; what it returns ends the record.
func (h *handled) enter(rec *kgo.Record) (leave func()) {
	n, err := strconv.Atoi(string(rec.Key[len("key-"):]))
	if err != nil {
		h.wrong.Add(1)
		return func() {}
	}
	key := &h.keys[n]
	if key.busy.Swap(true) {
		h.wrong.Add(1)
	}
	if key.next.Swap(rec.Offset+1) > rec.Offset {
		h.wrong.Add(1)
	}
	return func() { key.busy.Store(false) }
}

func (h *handled) result() (result, error) {
	began := h.began.Load()
	if began == nil || h.left.Load() != 0 {
		return result{}, errors.New("ended before everything was handled")
	}
	if n := h.wrong.Load(); n > 0 {
		return result{}, fmt.Errorf("%d times a record began out of the order of its key, or together with another of it", n)
	}
	var res result
	res.measure(*began, h.ended)
	for i := range h.tallies {
		res.Tally.Count += h.tallies[i].count.Load()
		res.Tally.Sum += h.tallies[i].sum.Load()
	}
	return res, nil
}

// runKeyed measures from the first record to the last one, joining not included.
func runKeyed(ctx context.Context, s spec) (result, error) {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	h := newHandled(s, stop)
	var err error
	switch s.Arm {
	case armDuplex:
		err = keyedDuplex(reading, s, h, consumer.ByKey)
	case armByPartition:
		err = keyedDuplex(reading, s, h, consumer.ByPartition)
	case armQueues:
		q := newQueues(s.Workload.Flight, h)
		err = pollRaw(ctx, reading, s, q.push)
		q.workers.Wait()
	case armHash:
		p := newHashed(s.Workload.Flight, h)
		err = pollRaw(ctx, reading, s, p.push)
		p.close()
	default:
		err = pollRaw(ctx, reading, s, h.handle)
	}
	if err != nil {
		return result{}, err
	}
	return h.result()
}

func keyedDuplex(ctx context.Context, s spec, h *handled, ordering consumer.Ordering) error {
	c, err := consumer.New(consumer.Config{
		Cluster: duplex.Cluster{Brokers: s.Brokers}, Group: s.Group,
		Handlers: []consumer.Handler{consumer.HandleRecord(s.Topic, func(_ context.Context, rec *kgo.Record) error {
			h.handle(rec)
			return nil
		})},
		Ordering: ordering, Concurrency: s.Workload.Flight, CommitInterval: commitEvery, FetchMaxBytes: fetchMax,
	})
	if err != nil {
		return err
	}
	return c.Run(ctx)
}

// queues is what one writes by hand to have keys run at once: a queue for each key
// that has something to do, and a worker for it, at most so many at a time. It
// keeps no account of what is finished: offsets are committed as they are polled.
type queues struct {
	h       *handled
	slots   chan struct{}
	workers sync.WaitGroup

	mu    sync.Mutex
	byKey map[string][]*kgo.Record
}

func newQueues(flight int, h *handled) *queues {
	return &queues{h: h, slots: make(chan struct{}, flight), byKey: map[string][]*kgo.Record{}}
}

func (q *queues) push(r *kgo.Record) {
	q.mu.Lock()
	waiting, active := q.byKey[string(r.Key)]
	if active {
		q.byKey[string(r.Key)] = append(waiting, r)
		q.mu.Unlock()
		return
	}
	q.byKey[string(r.Key)] = nil
	q.mu.Unlock()
	q.slots <- struct{}{}
	q.workers.Go(func() { q.work(r) })
}

func (q *queues) work(r *kgo.Record) {
	for r != nil {
		q.h.handle(r)
		r = q.next(r)
	}
	<-q.slots
}

func (q *queues) next(r *kgo.Record) *kgo.Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := q.byKey[string(r.Key)]
	if len(waiting) == 0 {
		delete(q.byKey, string(r.Key))
		return nil
	}
	q.byKey[string(r.Key)] = waiting[1:]
	return waiting[0]
}

// hashed is the other thing one writes by hand: as many goroutines as may run at
// once, each with a channel, and keys spread over them.
type hashed struct {
	channels []chan *kgo.Record
	workers  sync.WaitGroup
}

func newHashed(flight int, h *handled) *hashed {
	p := &hashed{channels: make([]chan *kgo.Record, flight)}
	for i := range p.channels {
		c := make(chan *kgo.Record, 16)
		p.channels[i] = c
		p.workers.Go(func() {
			for r := range c {
				h.handle(r)
			}
		})
	}
	return p
}

func (p *hashed) push(r *kgo.Record) {
	hash := uint32(2166136261)
	for _, b := range r.Key {
		hash = (hash ^ uint32(b)) * 16777619
	}
	p.channels[hash%uint32(len(p.channels))] <- r
}

func (p *hashed) close() {
	for _, c := range p.channels {
		close(c)
	}
	p.workers.Wait()
}
