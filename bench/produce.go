package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/producer"
)

// publisher is what the arms have in common. Callbacks are made once and shared
// by all records, as a careful user would.
type publisher struct {
	async func(r *kgo.Record)
	sync  func(r *kgo.Record) error
	flush func(ctx context.Context) error
	close func() error
}

// acks counts the ends of asynchronous records.
type acks struct {
	good   atomic.Int64
	failed atomic.Pointer[error]
}

func (a *acks) done(err error) {
	if err != nil {
		a.failed.CompareAndSwap(nil, &err)
		return
	}
	a.good.Add(1)
}

func newPublisher(ctx context.Context, s spec, a *acks) (publisher, error) {
	if s.Arm == armDuplex {
		return duplexPublisher(ctx, s, a)
	}
	return rawPublisher(ctx, s, a)
}

func duplexPublisher(ctx context.Context, s spec, a *acks) (publisher, error) {
	p, err := producer.New(producer.Config{
		Cluster: duplex.Cluster{Brokers: s.Brokers},
		Linger:  linger, MaxBufferedRecords: buffered, Compression: producer.NoCompression, Timeout: publishLimit,
	})
	if err != nil {
		return publisher{}, err
	}
	done := func(_ duplex.Position, err error) { a.done(err) }
	return publisher{
		async: func(r *kgo.Record) { p.PublishAsync(ctx, r, done) },
		sync:  func(r *kgo.Record) error { _, err := p.Publish(ctx, r); return err },
		flush: p.Flush, close: p.Close,
	}, nil
}

func rawPublisher(ctx context.Context, s spec, a *acks) (publisher, error) {
	wait := linger
	if s.Workload.Kind == blocked {
		wait = 0
	}
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(s.Brokers...), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(wait), kgo.MaxBufferedRecords(buffered), kgo.RecordDeliveryTimeout(publishLimit),
	)
	if err != nil {
		return publisher{}, err
	}
	done := func(_ *kgo.Record, err error) { a.done(err) }
	return publisher{
		async: func(r *kgo.Record) { cl.Produce(ctx, r, done) },
		sync:  func(r *kgo.Record) error { return cl.ProduceSync(ctx, r).FirstErr() },
		flush: cl.Flush,
		close: func() error { cl.Close(); return nil },
	}, nil
}

// warmUp opens connections and loads metadata: some records to a topic of their
// own, which nobody counts.
func (p publisher) warmUp(s spec) error {
	from := newSource(warmTopic(s.Topic), s.Workload)
	for i := range 100 {
		if err := p.sync(from.record(i)); err != nil {
			return fmt.Errorf("warming up: %w", err)
		}
	}
	return nil
}

func warmTopic(topic string) string { return topic + "-warm" }

func runAsync(ctx context.Context, s spec) (r result, err error) {
	var a acks
	p, err := newPublisher(ctx, s, &a)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	from := newSource(s.Topic, s.Workload)
	if err := p.warmUp(s); err != nil {
		return r, err
	}
	began := usageNow()
	for i := range s.Workload.Records {
		p.async(from.record(i))
	}
	if err := p.flush(ctx); err != nil {
		return r, err
	}
	r.measure(began, usageNow())
	if failed := a.failed.Load(); failed != nil {
		return r, *failed
	}
	r.Tally.Count = a.good.Load()
	return r, nil
}

// Latencies are recorded from a microsecond to a minute with three digits.
func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(time.Minute/time.Microsecond), 3)
}

func runSync(ctx context.Context, s spec) (r result, err error) {
	p, err := newPublisher(ctx, s, &acks{})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	from := newSource(s.Topic, s.Workload)
	if err := p.warmUp(s); err != nil {
		return r, err
	}
	callers := s.Workload.Callers
	histograms, errs := make([]*hdrhistogram.Histogram, callers), make([]error, callers)
	for c := range callers {
		histograms[c] = newHistogram()
	}
	began := usageNow()
	var all sync.WaitGroup
	for c := range callers {
		all.Go(func() { errs[c] = call(p, from, c, callers, s.Workload.Records, histograms[c]) })
	}
	all.Wait()
	r.measure(began, usageNow())
	if err := errors.Join(errs...); err != nil {
		return r, err
	}
	total := newHistogram()
	for _, h := range histograms {
		total.Merge(h)
	}
	r.Tally.Count = total.TotalCount()
	r.Latency = &latency{total.ValueAtQuantile(50), total.ValueAtQuantile(99), total.ValueAtQuantile(99.9), total.Max()}
	return r, nil
}

// call publishes every callers-th record, one after the other.
func call(p publisher, from *source, first, callers, records int, h *hdrhistogram.Histogram) error {
	for i := first; i < records; i += callers {
		rec := from.record(i)
		began := time.Now()
		if err := p.sync(rec); err != nil {
			return err
		}
		if err := h.RecordValue(max(1, time.Since(began).Microseconds())); err != nil {
			return err
		}
	}
	return nil
}
