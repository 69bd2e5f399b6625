package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/dlq"
)

// failureWorkloads have handlers that fail.
func failureWorkloads() []workload {
	const delay = 250 * time.Millisecond
	return []workload{
		{Name: "failing", Kind: failed, Bytes: 100, Records: 3_000_000, Keys: keys, Delay: delay},
		{Name: "failing, work 1 ms × 64", Kind: failed, Bytes: 100, Records: 300_000, Keys: keys, Work: time.Millisecond, Flight: 64, Delay: delay, Rounds: 3},
		{Name: "hops to a retry topic", Kind: hops, Bytes: 100, Records: 500_000, Keys: keys, Delay: time.Hour},
		{Name: "hops to the dead-letter queue", Kind: hops, Bytes: 100, Records: 500_000, Keys: keys, Dead: true},
		{Name: "retries beside Watermill", Kind: failed, Bytes: 100, Records: 60_000, Keys: keys, Delay: delay, Peer: armWatermill, Rounds: 2},
		{Name: "dead letters", Kind: failed, Bytes: 100, Records: 600_000, Keys: keys, Dead: true, Rounds: 2},
	}
}

// failureArms take part in a workload with failures.
func (w workload) failureArms() []arm {
	switch {
	case w.Kind == hops:
		return []arm{share(armKgo, 100), share(armDuplex, 100), share(armWriting, 100), share(armControl, 100)}
	case w.Dead:
		return []arm{
			share(armDuplex, 0), share(armWatermill, 0), share(armDuplex, 1), share(armWatermill, 1), share(armDuplex, 10), share(armWatermill, 10),
		}
	case w.Peer != "":
		return []arm{share(armDuplex, 0), share(w.Peer, 0), share(armDuplex, 1), share(w.Peer, 1)}
	case w.Work > 0:
		return []arm{share(armDuplex, 0), share(armNoPolicy, 0), share(armDuplex, 1), share(armDuplex, 10)}
	default:
		return []arm{
			share(armDuplex, 0), share(armKgo, 0), share(armDuplex, 1), share(armKgo, 1), share(armDuplex, 10), share(armKgo, 10),
			share(armNoPolicy, 0), share(armControl, 0),
		}
	}
}

// failureTargets are what is asked of them.
func (w workload) failureTargets() []target {
	switch {
	case w.Kind == hops:
		return []target{
			{of: share(armDuplex, 100), against: share(armKgo, 100), least: 0.70},
			{of: share(armDuplex, 100), against: share(armWriting, 100), least: 0.70},
		}
	case w.Dead, w.Peer != "":
		return nil
	default:
		return []target{
			{of: share(armDuplex, 1), against: share(armDuplex, 0), least: 0.95},
			{of: share(armDuplex, 10), against: share(armDuplex, 0), least: 0.70},
		}
	}
}

// failsSome reports whether handlers fail in the workload.
func (w workload) failsSome() bool { return w.Kind == failed || w.Kind == hops }

// retries reports whether failed records are handled again while it runs.
func (w workload) retries() bool { return w.Kind == failed && !w.Dead }

// compareFailures runs the workloads with failures and prints their report.
func compareFailures(ctx context.Context, o options, out, talk io.Writer) error {
	r := failureReport{Began: time.Now().UTC(), Settings: failureSettings(), Partitions: o.Partitions, Rounds: o.Rounds}
	var err error
	if r.Workloads, err = measureAll(ctx, o, talk, failureWorkloads()); err != nil {
		return err
	}
	return o.print(r, out, talk)
}

// wanted is what the records of a topic come to: all of them, as the cheap tally of
// handlers has it, and those that fail, by how many of a hundred do.
type wanted struct {
	all    tally
	failed map[int]tally // with keys
}

func wantedOf(w workload) wanted {
	want := wanted{failed: map[int]tally{}}
	for _, a := range w.failureArms() {
		_, percent := a.share()
		want.failed[percent] = tally{}
	}
	from := newSource("", w)
	for i := range w.Records {
		r := from.record(i)
		want.all.add(r)
		for percent, t := range want.failed {
			if fails(r.Value, percent) {
				t.addAll(r)
				want.failed[percent] = t
			}
		}
	}
	return want
}

// prepareFailing fills one topic, which every run reads with a group of its own.
func (b *bench) prepareFailing(ctx context.Context, w workload) (prepared, error) {
	b.runs++
	topic := b.name("failing-" + strconv.Itoa(b.runs))
	if err := b.cluster.create(ctx, topic, b.Partitions); err != nil {
		return prepared{}, err
	}
	if err := b.cluster.fill(ctx, topic, w); err != nil {
		return prepared{}, fmt.Errorf("filling the topic: %w", err)
	}
	ends, err := b.cluster.ends(ctx, topic, b.Partitions)
	if err != nil {
		return prepared{}, err
	}
	want := wantedOf(w)
	return prepared{done: func() { b.cluster.remove(ctx, topic) }, run: func(ctx context.Context, a arm, _ bool) (result, error) {
		s := b.spec(w, a)
		s.Topic, s.Group, s.Ends = topic, s.Topic, ends
		s.Beside = besideOf(s)
		defer b.cluster.removeBeside(ctx, s)
		if by, _ := a.share(); by != armDuplex { // which makes it by itself
			if err := b.cluster.create(ctx, s.Beside, b.Partitions); err != nil {
				return result{}, err
			}
		}
		r, err := b.measure(ctx, s)
		if err != nil {
			return r, err
		}
		err = b.cluster.judge(ctx, s, &r, want)
		return r, err
	}}, nil
}

// besideOf is where failed records go.
func besideOf(s spec) string {
	if s.Workload.Dead {
		return dlq.DeadTopic(s.Group, s.Topic)
	}
	return dlq.RetryTopic(s.Group, s.Topic, 1)
}

func (c *cluster) removeBeside(ctx context.Context, s spec) {
	c.remove(ctx, dlq.RetryTopic(s.Group, s.Topic, 1))
	c.remove(ctx, dlq.DeadTopic(s.Group, s.Topic))
	c.remove(ctx, dlq.RedriveTopic(s.Group, s.Topic))
}

// judge compares what a run did with what it should have done. What others promise
// is less than that: what Watermill loses or repeats is counted.
func (c *cluster) judge(ctx context.Context, s spec, r *result, want wanted) error {
	by, percent := s.Arm.share()
	beside, err := c.inspect(ctx, s.Beside, len(s.Ends))
	if err != nil {
		return fmt.Errorf("reading the topic of failed records: %w", err)
	}
	r.Outcome.HeaderBytes = beside.headers
	if by == armWatermill {
		r.Outcome.Lost = want.all.Count - r.Tally.Count - beside.distinct
		r.Outcome.Again += beside.Count - beside.distinct
		r.Outcome.Uncommitted, err = c.uncommitted(ctx, s.Group, s.Topic, s.Ends)
		return err
	}
	failed := want.failed[percent]
	handled := want.all
	if !s.Workload.retries() {
		handled = tally{Count: want.all.Count - failed.Count, Sum: want.all.Sum - beside.first}
	}
	switch {
	case beside.tally != failed:
		return fmt.Errorf("the topic of failed records has %+v, want %+v", beside.tally, failed)
	case r.Tally != handled || r.Outcome.Failed != failed.Count:
		return fmt.Errorf("handled %+v, and %d failed, want %+v and %d", r.Tally, r.Outcome.Failed, handled, failed.Count)
	}
	if bytes := float64(headerBytes(headersByHand(s))); failed.Count > 0 && (beside.headers < 0.95*bytes || beside.headers > 1.05*bytes) {
		return fmt.Errorf("failed records have %.0f bytes of headers, those by hand %.0f: make them alike", beside.headers, bytes)
	}
	if err := c.committed(ctx, s.Group, s.Topic, s.Ends); err != nil {
		return err
	}
	if !s.Workload.retries() || failed.Count == 0 {
		return nil
	}
	group := s.Group
	if by != armDuplex {
		group = retryGroup(group)
	}
	return c.committed(ctx, group, s.Beside, beside.ends)
}

// inspected is what is in a topic of failed records.
type inspected struct {
	tally
	first    uint64 // the sum of first bytes, as the tally of handlers has it
	distinct int64  // records by their first bytes, which differ up to blockSize records
	headers  float64
	ends     []int64
}

func (c *cluster) inspect(ctx context.Context, topic string, partitions int) (found inspected, err error) {
	if found.ends, err = c.ends(ctx, topic, partitions); err != nil {
		return found, err
	}
	var left int64
	for _, end := range found.ends {
		left += end
	}
	if left == 0 {
		return found, nil
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return found, err
	}
	defer cl.Close()
	seen, bytes := map[uint64]bool{}, 0
	for found.Count < left {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return found, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			found.addAll(r)
			first := binary.LittleEndian.Uint64(r.Value)
			found.first += first
			seen[first] = true
			bytes += headerBytes(r.Headers)
		})
	}
	found.distinct, found.headers = int64(len(seen)), float64(bytes)/float64(found.Count)
	return found, nil
}

// uncommitted counts the records between what a group committed and the ends.
func (c *cluster) uncommitted(ctx context.Context, group, topic string, ends []int64) (n int64, err error) {
	offsets, err := c.admin.FetchOffsetsForTopics(ctx, group, topic)
	if err != nil {
		return 0, fmt.Errorf("asking for the committed offsets: %w", err)
	}
	for p, end := range ends {
		at, _ := offsets.Lookup(topic, int32(p))
		n += end - max(at.At, 0)
	}
	return n, nil
}
