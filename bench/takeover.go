package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

const (
	takeoverRecords = 1_000_000 // finished above the one that waits
	takeoverNew     = 1000      // published after the first owner has gone
	takeoverLimit   = 5.0       // seconds
	takeoverSpan    = 100 * takeoverRecords
)

// measureTakeover reports how long it takes a member that takes over a partition to
// come to the first new record, where the oldest one waits and a million above it
// are finished.
func measureTakeover(ctx context.Context, o options, out, talk io.Writer) error {
	c, err := connect(ctx, o.Brokers)
	if err != nil {
		return err
	}
	defer c.close()
	o.Partitions = 1
	b := bench{options: o, cluster: c, talk: talk, id: strconv.FormatInt(time.Now().UnixMilli(), 36), run: inChild}
	m, err := b.workload(ctx, workload{Name: "takeover", Kind: takeover, Bytes: 100, Keys: keys, Records: takeoverRecords}.scaled(o.Scale))
	if err != nil {
		return fmt.Errorf("takeover: %w", err)
	}
	_, err = io.WriteString(out, m.takeover())
	return err
}

// prepareTakeover has a first member finish all records but the oldest, and copies
// what it committed for the group of each run.
func (b *bench) prepareTakeover(ctx context.Context, w workload) (prepared, error) {
	topic := b.name("takeover")
	if err := b.cluster.create(ctx, topic, 1); err != nil {
		return prepared{}, err
	}
	from := newSource(topic, w)
	err := b.cluster.publish(ctx, w.Records+1, func(i int) *kgo.Record {
		r := from.record(i)
		if i == 0 {
			r.Key = []byte("the one that waits")
		}
		return r
	})
	if err != nil {
		return prepared{}, fmt.Errorf("filling the topic: %w", err)
	}
	left, err := b.firstOwner(ctx, w, topic)
	if err != nil {
		return prepared{}, fmt.Errorf("the first owner: %w", err)
	}
	if err := b.cluster.publish(ctx, takeoverNew, from.record); err != nil {
		return prepared{}, fmt.Errorf("publishing new records: %w", err)
	}
	return prepared{done: func() { b.cluster.remove(ctx, topic) }, run: func(ctx context.Context, a arm, _ bool) (result, error) {
		s := b.spec(w, a)
		s.Topic, s.Group, s.Ends = topic, s.Topic, []int64{int64(w.Records) + 1}
		if err := b.cluster.admin.CommitAllOffsets(ctx, s.Group, left); err != nil {
			return result{}, fmt.Errorf("committing for the group: %w", err)
		}
		r, err := b.measure(ctx, s)
		if err != nil {
			return r, err
		}
		want := map[arm]int64{armKgo: s.Ends[0]}[a] // Duplex runs none of them again
		if r.Tally.Count != want {
			return r, fmt.Errorf("%d old records were handled, want %d", r.Tally.Count, want)
		}
		return r, nil
	}}, nil
}

// firstOwner returns what a member leaves behind that has finished all records of
// the topic but the first, which waits for an hour.
func (b *bench) firstOwner(ctx context.Context, w workload, topic string) (kadm.Offsets, error) {
	ctx, stop := context.WithTimeout(ctx, 3*time.Minute)
	defer stop()
	var left atomic.Int64
	left.Store(int64(w.Records))
	group := topic + "-first"
	reading, finish := context.WithCancel(ctx)
	defer finish()
	err := consumeTakeover(reading, spec{Brokers: b.Brokers, Topic: topic, Group: group}, func(r *kgo.Record) error {
		if r.Offset == 0 {
			return duplex.RetryAfter(time.Hour, errors.New("the benchmark wants it to wait"))
		}
		if left.Add(-1) == 0 {
			finish()
		}
		return nil
	})
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	committed, err := b.cluster.admin.FetchOffsetsForTopics(ctx, group, topic)
	if err != nil {
		return nil, fmt.Errorf("asking for the committed offset: %w", err)
	}
	if at, _ := committed.Lookup(topic, 0); at.At != 0 || at.Metadata == "" {
		return nil, fmt.Errorf("the committed offset is %d beside %q, want 0 and what is finished above it", at.At, at.Metadata)
	}
	return committed.Offsets(), nil
}

func consumeTakeover(ctx context.Context, s spec, handle func(*kgo.Record) error) error {
	c, err := consumer.New(consumer.Config{
		Cluster: duplex.Cluster{Brokers: s.Brokers}, Group: s.Group,
		Handlers: []consumer.Handler{consumer.HandleRecord(s.Topic, func(_ context.Context, r *kgo.Record) error { return handle(r) })},
		MaxSpan:  takeoverSpan, FetchMaxBytes: fetchMax,
	})
	if err != nil {
		return err
	}
	return c.Run(ctx)
}

// runTakeover measures from the start of a member, joining included, to its first
// new record; the tally has the old ones that it handled before.
func runTakeover(ctx context.Context, s spec) (res result, err error) {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	var again atomic.Int64
	var ended atomic.Pointer[usage]
	handle := func(r *kgo.Record) {
		switch {
		case r.Offset < s.Ends[0]:
			again.Add(1)
		case ended.Load() == nil:
			now := usageNow()
			ended.CompareAndSwap(nil, &now)
			stop()
		}
	}
	began := usageNow()
	if s.Arm == armDuplex {
		err = consumeTakeover(reading, s, func(r *kgo.Record) error { handle(r); return nil })
	} else {
		err = pollRaw(ctx, reading, s, handle)
	}
	if err != nil {
		return res, err
	}
	if ended.Load() == nil {
		return res, errors.New("ended before a new record was handled")
	}
	res.measure(began, *ended.Load())
	res.Tally.Count = again.Load()
	return res, nil
}

// takeover is the report of runs of that name.
func (m measured) takeover() string {
	var b strings.Builder
	b.WriteString("| takeover | offsets from watermark to frontier | s to the first new record (min–max) | at most | CPU s | peak RSS MB | old records handled |\n" +
		"|---|---|---|---|---|---|---|\n")
	for _, a := range m.Workload.arms() {
		took := spreadOf(m.Runs[a], func(r result) float64 { return r.Seconds })
		most := "–"
		if a == armDuplex {
			most = fmt.Sprintf("%.0f", takeoverLimit)
		}
		fmt.Fprintf(&b, "| %s | %s | %.2f (%.2f–%.2f) | %s | %.2f | %.0f | %.0f |\n", a, thousands(float64(m.Workload.Records)), took.median, took.least, took.most,
			most, m.median(a, cpuSeconds), m.median(a, func(r result) float64 { return float64(r.PeakRSS) / (1 << 20) }),
			m.median(a, func(r result) float64 { return float64(r.Tally.Count) }))
	}
	fmt.Fprintf(&b, "\n%d rounds after one that does not count, from the start of the second member, joining the group included. "+
		"The oldest record waits, all above it are finished; raw kgo begins with the committed offset again.\n", len(m.Runs[armDuplex]))
	return b.String()
}
