package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

const (
	footprintKeys       = 100_000
	footprintPartitions = 10_000
	// A partition runs at most so far ahead of its oldest unfinished record that
	// what it has finished can be described, so many keys need many partitions.
	keysAtWork     = 6000 // of a partition
	keysThatWait   = 100
	footprintLimit = 3 * time.Minute
	footprintTurns = 4 // of keys at work, with other keys each; even
)

// footprint is what one thing costs, in bytes.
type footprint struct {
	What  string  `json:"what"`
	N     int     `json:"n"`
	Heap  float64 `json:"heap"`  // of each
	Stack float64 `json:"stack"` // of each
	Limit float64 `json:"limit,omitempty"`
}

// measureFootprints reports the memory of keys and partitions. It runs on an
// embedded broker in this process: what a consumer keeps in memory is the same
// whatever broker it reads from.
func measureFootprints(ctx context.Context, o options, out, talk io.Writer) error {
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		return fmt.Errorf("starting the embedded broker: %w", err)
	}
	defer fake.Close()
	o.Brokers = fake.ListenAddrs()
	c, err := connect(ctx, o.Brokers)
	if err != nil {
		return err
	}
	defer c.close()
	n, partitions := max(int(footprintKeys*o.Scale), 100), max(int(footprintPartitions*o.Scale), 10)
	b := bench{options: o, cluster: c, talk: talk, id: strconv.FormatInt(time.Now().UnixMilli(), 36), run: inChild}
	var all []footprint
	for _, f := range []struct {
		kind       kind
		arm        arm
		n          int
		partitions int
	}{
		{footprintWork, armControl, n, 1},
		{footprintWork, armDuplex, n, n/keysAtWork + 1},
		{footprintWait, armDuplex, n, n/keysThatWait + 1},
		{footprintPartition, armKgo, partitions, partitions},
		{footprintPartition, armDuplex, partitions, partitions},
	} {
		w := workload{Name: string(f.kind), Kind: f.kind, Bytes: 100, Records: f.n}
		s := b.spec(w, f.arm)
		s.Group, s.Ends = s.Topic, make([]int64, f.partitions)
		fmt.Fprintf(talk, "%s, %s, %d\n", w.Name, f.arm, f.n)
		if err := c.create(ctx, s.Topic, f.partitions); err != nil {
			return err
		}
		r, err := b.run(ctx, s)
		if err != nil {
			return fmt.Errorf("%s, %s: %w", w.Name, f.arm, err)
		}
		c.remove(ctx, s.Topic)
		all = append(all, r.Footprints...)
	}
	if raw, ours := all[len(all)-2], all[len(all)-1]; ours.N == raw.N {
		all = append(all, footprint{What: "partition, Duplex less raw kgo", N: ours.N, Heap: ours.Heap - raw.Heap, Stack: ours.Stack - raw.Stack, Limit: 10_000})
	}
	_, err = io.WriteString(out, footprintTable(all))
	return err
}

func footprintTable(all []footprint) string {
	var b strings.Builder
	b.WriteString("| what | how many | bytes of heap each | at most | bytes of stack each |\n|---|---|---|---|---|\n")
	for _, f := range all {
		most := "–"
		if f.Limit > 0 {
			most = fmt.Sprintf("%.0f", f.Limit)
		}
		fmt.Fprintf(&b, "| %s | %d | %.0f | %s | %.0f |\n", f.What, f.N, f.Heap, most, f.Stack)
	}
	b.WriteString("\nHeap in use after a collection, less what it was before; the records themselves not included. On the embedded broker: these are " +
		"figures of the client's memory, not of Kafka. " + runtime.Version() + ".\n")
	return b.String()
}

// heap is what is in use after a collection: of the heap, and of stacks.
func heap() (inUse, stacks float64) {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc), float64(m.StackInuse)
}

// subject is a consumer whose memory is looked at.
type subject struct {
	spec  spec
	c     *consumer.Consumer
	stop  context.CancelFunc
	ended chan error
}

func newSubject(ctx context.Context, s spec, concurrency int, handle func(context.Context, *kgo.Record) error) (*subject, error) {
	c, err := consumer.New(consumer.Config{
		Cluster: duplex.Cluster{Brokers: s.Brokers}, Group: s.Group, Handlers: []consumer.Handler{consumer.HandleRecord(s.Topic, handle)},
		Concurrency: concurrency, MaxLoaded: 8 * max(s.Workload.Records, len(s.Ends)), MaxLoadedBytes: 1 << 30, FetchMaxBytes: fetchMax,
		RetryMin: time.Hour, RetryMax: time.Hour,
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	v := &subject{spec: s, c: c, stop: stop, ended: make(chan error, 1)}
	c.Pause()
	go func() { v.ended <- c.Run(ctx) }()
	return v, nil
}

func (v *subject) close() error {
	v.stop()
	return <-v.ended
}

// sum adds a figure of all partitions.
func (v *subject) sum(figure func(duplex.PartitionStatus) int) (n int) {
	for _, p := range v.c.Status().Partitions {
		n += figure(p)
	}
	return n
}

// load publishes one record for each of so many new keys, evenly over the
// partitions, and waits until the consumer has them all in memory.
func (v *subject) load(ctx context.Context, pass string) error {
	if err := publishKeys(ctx, v.spec, pass); err != nil {
		return err
	}
	return v.wait(ctx, "loaded records", func() int { return v.sum(func(p duplex.PartitionStatus) int { return p.Loaded }) }, v.spec.Workload.Records)
}

// wait returns when a figure is as wanted.
func (v *subject) wait(ctx context.Context, what string, figure func() int, want int) error {
	ctx, cancel := context.WithTimeout(ctx, footprintLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		got := figure()
		if got == want {
			return nil
		}
		select {
		case <-tick.C:
		case err := <-v.ended:
			v.ended <- nil
			return errors.Join(errors.New("the consumer ended"), err)
		case <-ctx.Done():
			return fmt.Errorf("%s: %d, want %d: %w", what, got, want, ctx.Err())
		}
	}
}

func publishKeys(ctx context.Context, s spec, pass string) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(buffered))
	if err != nil {
		return err
	}
	defer cl.Close()
	c, value := cluster{client: cl}, make([]byte, s.Workload.Bytes)
	return c.publish(ctx, s.Workload.Records, func(i int) *kgo.Record {
		return &kgo.Record{Topic: s.Topic, Partition: int32(i % len(s.Ends)), Key: strconv.AppendInt([]byte(pass), int64(i), 10), Value: value}
	})
}

// runFootprintWork has a handler at work for every key at once, a few times with
// other keys: the first time is the one that shows what they cost, and what the
// last leaves more than the first is what idle keys keep.
func runFootprintWork(ctx context.Context, s spec) (res result, err error) {
	if s.Arm == armControl {
		return runFootprintGoroutines(s)
	}
	var held holder
	v, err := newSubject(ctx, s, s.Workload.Records, held.handle)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	var turns [footprintTurns]holding
	idlers := runtime.NumGoroutine()
	for i := range turns {
		if turns[i], err = held.turn(ctx, v, i, idlers); err != nil {
			return res, err
		}
	}
	// The client holds on to what it last fetched, now more, now less: the lesser of
	// two turns each.
	const half = footprintTurns / 2
	left := min(turns[half].idle, turns[half+1].idle) - min(turns[0].idle, turns[1].idle)
	n := float64(s.Workload.Records)
	res.Footprints = []footprint{
		{What: "key at work, its handler's goroutine and context included", N: s.Workload.Records, Heap: turns[0].heap / n, Stack: turns[0].stack / n},
		{What: "key that was at work and is idle", N: s.Workload.Records * half, Heap: left / n / half},
	}
	return res, nil
}

// runFootprintGoroutines has as many goroutines wait, and does nothing else.
func runFootprintGoroutines(s spec) (res result, err error) {
	n := s.Workload.Records
	gate := make(chan struct{})
	var started, ended sync.WaitGroup
	before, stacks := heap()
	started.Add(n)
	for range n {
		ended.Go(func() {
			started.Done()
			<-gate
		})
	}
	started.Wait()
	inUse, inStacks := heap()
	close(gate)
	ended.Wait()
	res.Footprints = []footprint{{What: "goroutine that waits, beside nothing", N: n, Heap: (inUse - before) / float64(n), Stack: (inStacks - stacks) / float64(n)}}
	return res, nil
}

// holder is a handler that returns when it is let.
type holder struct {
	started atomic.Int64
	gate    atomic.Pointer[chan struct{}]
}

func (h *holder) handle(context.Context, *kgo.Record) error {
	gate := *h.gate.Load()
	h.started.Add(1)
	<-gate
	return nil
}

// holding is what handlers at work add to the heap and to stacks, and the heap when
// all have returned.
type holding struct{ heap, stack, idle float64 }

// turn measures what handlers add to the heap and to stacks, and what the heap is
// when all have returned.
func (h *holder) turn(ctx context.Context, v *subject, turn, idlers int) (holding, error) {
	gate := make(chan struct{})
	h.gate.Store(&gate)
	h.started.Store(0)
	if err := v.load(ctx, "turn-"+strconv.Itoa(turn)+"-"); err != nil {
		return holding{}, err
	}
	inUse, stacks := heap()
	v.c.Resume()
	err := v.wait(ctx, "handlers at work", func() int { return int(h.started.Load()) }, v.spec.Workload.Records)
	atWork, atWorkStacks := heap()
	close(gate)
	if err != nil {
		return holding{}, err
	}
	if err := v.settled(ctx, idlers); err != nil {
		return holding{}, err
	}
	v.c.Pause()
	idle, _ := heap()
	return holding{atWork - inUse, atWorkStacks - stacks, idle}, nil
}

// settled waits until nothing is loaded and the workers of the burst are gone.
func (v *subject) settled(ctx context.Context, idlers int) error {
	err := v.wait(ctx, "loaded records", func() int { return v.sum(func(p duplex.PartitionStatus) int { return p.Loaded }) }, 0)
	if err != nil {
		return err
	}
	const whims = 100 // workers for what comes next, requests
	return v.wait(ctx, "goroutines left", func() int { return max(0, runtime.NumGoroutine()-idlers-whims) }, 0)
}

// runFootprintWait has the record of every key fail once and wait.
func runFootprintWait(ctx context.Context, s spec) (res result, err error) {
	again := errors.New("the benchmark wants it to wait")
	v, err := newSubject(ctx, s, 0, func(context.Context, *kgo.Record) error { return again })
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	if err := v.load(ctx, "key-"); err != nil {
		return res, err
	}
	before, _ := heap()
	v.c.Resume()
	n := s.Workload.Records
	err = v.wait(ctx, "keys that wait", func() int { return v.sum(func(p duplex.PartitionStatus) int { return p.Waiting }) }, n)
	if err != nil {
		return res, err
	}
	inUse, _ := heap()
	res.Footprints = []footprint{{What: "key that failed and waits", N: n, Heap: (inUse - before) / float64(n), Limit: 200}}
	return res, nil
}

// runFootprintPartition reads a record of every partition, with raw kgo or with
// Duplex.
func runFootprintPartition(ctx context.Context, s spec) (res result, err error) {
	if err := publishKeys(ctx, s, "key-"); err != nil {
		return res, err
	}
	n := len(s.Ends)
	before, stacks := heap()
	var left atomic.Int64
	left.Store(int64(n))
	v := &subject{spec: s, ended: make(chan error, 1)}
	what := "partition of raw kgo"
	if s.Arm == armDuplex {
		what = "partition of Duplex, that of its kgo included"
		v, err = newSubject(ctx, s, 0, func(context.Context, *kgo.Record) error { left.Add(-1); return nil })
		if err != nil {
			return res, err
		}
		v.c.Resume()
	} else {
		reading, stop := context.WithCancel(ctx)
		v.stop = stop
		go func() { v.ended <- pollRaw(ctx, reading, s, func(*kgo.Record) { left.Add(-1) }) }()
	}
	defer func() { err = errors.Join(err, v.close()) }()
	if err := v.wait(ctx, "records not handled", func() int { return int(left.Load()) }, 0); err != nil {
		return res, err
	}
	inUse, inStacks := heap()
	res.Footprints = []footprint{{What: what, N: n, Heap: (inUse - before) / float64(n), Stack: (inStacks - stacks) / float64(n)}}
	return res, nil
}
