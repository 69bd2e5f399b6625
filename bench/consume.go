package main

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

// reader is the handler of all arms: it does next to nothing, and knows when
// everything was read. Only one goroutine at a time works on a partition, so the
// tallies need no lock; they stand apart, so that they share no cache line.
type reader struct {
	ends    []int64
	tallies []paddedTally
	open    atomic.Int64 // partitions that are not read to their end
	began   atomic.Pointer[usage]
	ended   usage
	stop    context.CancelFunc
}

type paddedTally struct {
	tally
	_ [112]byte
}

func newReader(ends []int64, stop context.CancelFunc) *reader {
	r := &reader{ends: ends, tallies: make([]paddedTally, len(ends)), stop: stop}
	for _, end := range ends {
		if end > 0 {
			r.open.Add(1)
		}
	}
	return r
}

func (r *reader) handle(rec *kgo.Record) {
	t := &r.tallies[rec.Partition]
	if t.Count == 0 && r.began.Load() == nil {
		now := usageNow()
		r.began.CompareAndSwap(nil, &now)
	}
	t.add(rec)
	if rec.Offset == r.ends[rec.Partition]-1 && r.open.Add(-1) == 0 {
		r.ended = usageNow()
		r.stop()
	}
}

func (r *reader) result() (result, error) {
	began := r.began.Load()
	if began == nil || r.open.Load() != 0 {
		return result{}, errors.New("ended before everything was read")
	}
	var res result
	res.measure(*began, r.ended)
	for i := range r.tallies {
		res.Tally.Count += r.tallies[i].Count
		res.Tally.Sum += r.tallies[i].Sum
	}
	return res, nil
}

// runConsume measures from the first record to the last one, joining the group
// not included.
func runConsume(ctx context.Context, s spec) (result, error) {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	r := newReader(s.Ends, stop)
	var err error
	if s.Arm == armDuplex {
		err = consumeDuplex(reading, s, r)
	} else {
		err = pollRaw(ctx, reading, s, r.handle)
	}
	if err != nil {
		return result{}, err
	}
	return r.result()
}

func consumeDuplex(ctx context.Context, s spec, r *reader) error {
	c, err := consumer.New(consumer.Config{
		Cluster: duplex.Cluster{Brokers: s.Brokers}, Group: s.Group,
		Handlers: []consumer.Handler{consumer.HandleRecord(s.Topic, func(_ context.Context, rec *kgo.Record) error {
			r.handle(rec)
			return nil
		})},
		Ordering: consumer.ByPartition, CommitInterval: commitEvery, FetchMaxBytes: fetchMax,
	})
	if err != nil {
		return err
	}
	return c.Run(ctx)
}

// pollRaw polls with raw kgo until reading ends, and commits what was polled.
func pollRaw(ctx, reading context.Context, s spec, handle func(*kgo.Record)) error {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(s.Brokers...), kgo.ConsumerGroup(s.Group), kgo.ConsumeTopics(s.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.AutoCommitInterval(commitEvery), kgo.FetchMaxBytes(fetchMax),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	for reading.Err() == nil {
		fetches := cl.PollFetches(reading)
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.Canceled) {
				return e.Err
			}
		}
		fetches.EachRecord(handle)
	}
	return cl.CommitUncommittedOffsets(ctx)
}
