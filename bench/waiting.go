package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
)

const (
	waitingMost = 1_000_000 // records in the retry topic
	waitingLive = 1_000_000 // records handled beside them
)

// waitingRun is one consumer beside so many waiting records.
type waitingRun struct {
	records int
	loaded  int
	heap    float64
	result  result
}

// measureWaiting reports the memory of a consumer whose retry topic has no, many and
// very many records that are not due, while it handles others.
func measureWaiting(ctx context.Context, o options, out, talk io.Writer) error {
	c, err := connect(ctx, o.Brokers)
	if err != nil {
		return err
	}
	defer c.close()
	b := bench{options: o, cluster: c, talk: talk, id: strconv.FormatInt(time.Now().UnixMilli(), 36), run: inChild}
	var runs waitingReport
	for _, n := range []int{0, waitingMost / 10, waitingMost} {
		n = int(float64(n) * o.Scale)
		fmt.Fprintf(talk, "waiting, %s records\n", thousands(float64(n)))
		r, err := b.waiting(ctx, n)
		if err != nil {
			return fmt.Errorf("%d waiting records: %w", n, err)
		}
		runs = append(runs, r)
	}
	if _, err := io.WriteString(out, runs.markdown()); err != nil {
		return err
	}
	return runs.verdict()
}

// waiting has a first consumer put n records into the retry topic, and measures the
// next one of the group.
func (b *bench) waiting(ctx context.Context, n int) (run waitingRun, err error) {
	w := workload{Name: "waiting", Kind: hops, Bytes: 100, Keys: keys, Records: n, Delay: time.Hour}
	s := b.spec(w, share(armDuplex, 100))
	s.Group = s.Topic
	if err := b.cluster.create(ctx, s.Topic, b.Partitions); err != nil {
		return run, err
	}
	defer b.cluster.remove(ctx, s.Topic)
	defer b.cluster.removeBeside(ctx, s)
	if n > 0 {
		if err := b.hopAll(ctx, s); err != nil {
			return run, fmt.Errorf("having them wait: %w", err)
		}
	}
	s.Workload.Kind, s.Workload.Records = waiting, max(int(waitingLive*b.Scale), 100)
	if err := b.cluster.fill(ctx, s.Topic, s.Workload); err != nil {
		return run, fmt.Errorf("filling the topic: %w", err)
	}
	r, err := b.measure(ctx, s)
	if err != nil {
		return run, err
	}
	if r.Tally.Count != int64(s.Workload.Records) {
		return run, fmt.Errorf("%d records were handled, want %d", r.Tally.Count, s.Workload.Records)
	}
	return waitingRun{n, r.Footprints[0].N, r.Footprints[0].Heap, r}, nil
}

// hopAll has every record of the topic fail and wait for an hour.
func (b *bench) hopAll(ctx context.Context, s spec) (err error) {
	if err := b.cluster.fill(ctx, s.Topic, s.Workload); err != nil {
		return fmt.Errorf("filling the topic: %w", err)
	}
	if s.Ends, err = b.cluster.ends(ctx, s.Topic, b.Partitions); err != nil {
		return err
	}
	if _, err := b.run(ctx, s); err != nil {
		return err
	}
	found, err := b.cluster.ends(ctx, dlq.RetryTopic(s.Group, s.Topic, 1), b.Partitions)
	if err != nil {
		return err
	}
	total := int64(0)
	for _, end := range found {
		total += end
	}
	if total != int64(s.Workload.Records) {
		return fmt.Errorf("%d records are in the retry topic, want %d", total, s.Workload.Records)
	}
	return b.cluster.committed(ctx, s.Group, s.Topic, s.Ends)
}

// runWaiting handles what is in the source, and looks at the heap when that is done
// and no more waiting records are loaded than before.
func runWaiting(ctx context.Context, s spec) (res result, err error) {
	ctx, cancel := context.WithTimeout(ctx, failLimit)
	defer cancel()
	var handled, early atomic.Int64
	var began atomic.Pointer[usage]
	c, err := consumer.New(consumer.Config{
		Cluster: duplex.Cluster{Brokers: s.Brokers}, Group: s.Group, Failures: s.Workload.policy(),
		Handlers: []consumer.Handler{consumer.HandleRecord(s.Topic, func(_ context.Context, r *kgo.Record) error {
			if r.Topic != s.Topic {
				early.Add(1)
			}
			if handled.Add(1) == 1 {
				now := usageNow()
				began.Store(&now)
			}
			return nil
		})},
		CommitInterval: commitEvery, FetchMaxBytes: fetchMax,
	})
	if err != nil {
		return res, err
	}
	reading, stop := context.WithCancel(ctx)
	v := &subject{spec: s, c: c, stop: stop, ended: make(chan error, 1)}
	go func() { v.ended <- c.Run(reading) }()
	defer func() { err = errors.Join(err, v.close()) }()
	if err := v.wait(ctx, "records not handled", func() int { return s.Workload.Records - int(handled.Load()) }, 0); err != nil {
		return res, err
	}
	ended := usageNow()
	loaded, err := v.steady(ctx)
	if err != nil {
		return res, err
	}
	inUse, stacks := heap()
	if n := early.Load(); n > 0 {
		return res, fmt.Errorf("%d records of the retry topic ran, which are not due", n)
	}
	res.measure(*began.Load(), ended)
	res.Tally.Count = handled.Load()
	res.Footprints = []footprint{{What: "loaded", N: loaded, Heap: inUse, Stack: stacks}}
	return res, nil
}

// steady waits until as many records are loaded as a second before.
func (v *subject) steady(ctx context.Context) (loaded int, err error) {
	const looks = 50 // of 20 ms
	same := 0
	err = v.wait(ctx, "changes of what is loaded", func() int {
		n := v.sum(func(p duplex.PartitionStatus) int { return p.Loaded })
		same++
		if n != loaded {
			loaded, same = n, 0
		}
		return max(0, looks-same)
	}, 0)
	return loaded, err
}

type waitingReport []waitingRun

func (r waitingReport) markdown() string {
	var b strings.Builder
	b.WriteString("| waiting in the retry topic | of them loaded | handled beside them | records/s | heap in use MB | peak RSS MB | goroutines | flat |\n|---|---|---|---|---|---|---|---|\n")
	for i, run := range r {
		flat := "–"
		if i > 1 {
			flat = strconv.FormatBool(r.flat(i))
		}
		n := float64(run.result.Tally.Count)
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.1f | %d | %d | %s |\n", thousands(float64(run.records)), thousands(float64(run.loaded)), thousands(n),
			thousands(n/run.result.Seconds), run.heap/(1<<20), run.result.PeakRSS>>20, run.result.Goroutines, flat)
	}
	b.WriteString("\nOne consumer with a retry topic of an hour: the heap after a collection, when all else is handled; the most memory it ever had. " +
		"Flat: with ten times as many, at most a tenth and 8 MiB more. " + runtime.Version() + ".\n")
	return b.String()
}

// flat reports whether the i-th run, with ten times as many records, has not more
// memory than the one before it.
func (r waitingReport) flat(i int) bool {
	before, now := r[i-1], r[i]
	return now.heap <= before.heap*flatFactor+flatSlack && float64(now.result.PeakRSS) <= float64(before.result.PeakRSS)*flatFactor+flatSlack
}

// verdict is an error where memory grew with what waits.
func (r waitingReport) verdict() error {
	if last := len(r) - 1; !r.flat(last) {
		return fmt.Errorf("memory grew with the records that wait: heap %.0f and peak %d MB with %d, %.0f and %d MB with %d", r[last-1].heap/(1<<20), r[last-1].result.PeakRSS>>20,
			r[last-1].records, r[last].heap/(1<<20), r[last].result.PeakRSS>>20, r[last].records)
	}
	return nil
}
