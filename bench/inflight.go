package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/rpc"
)

// measureInFlight has a server in this process that answers nothing but a first call, and
// the calls in a child: its memory is the caller's alone.
func (b *bench) measureInFlight(ctx context.Context, s spec) (r result, err error) {
	server, err := rpc.NewServer(rpc.ServerConfig{
		Cluster: duplex.Cluster{Brokers: s.Brokers}, Partitions: int32(s.Partitions),
		Handlers: []rpc.Handler{
			rpc.Handle(s.firstMethod(), func(_ context.Context, value []byte) ([]byte, error) { return value, nil }),
			rpc.Handle(s.echoMethod(), func(ctx context.Context, _ []byte) ([]byte, error) {
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}),
		},
		DrainTimeout: time.Millisecond, // which is what releases the handlers
	})
	if err != nil {
		return r, err
	}
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- server.Run(serving) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ended)
	}()
	if r, err = b.measure(ctx, s); err != nil {
		return r, err
	}
	return r, judgeInFlight(s, r)
}

// firstMethod is the one that is answered.
func (s spec) firstMethod() rpc.Method[[]byte, []byte] {
	return rpc.Method[[]byte, []byte]{Service: s.Topic, Name: "First", Codec: duplex.Bytes}
}

// judgeInFlight says why a run is void: calls that were not under way, or ended by
// themselves.
func judgeInFlight(s spec, r result) error {
	switch {
	case len(r.Footprints) != 1 || r.Footprints[0].N != s.Workload.Records:
		return fmt.Errorf("the memory of %d calls was not measured: %+v", s.Workload.Records, r.Footprints)
	case r.Tally.Count != int64(s.Workload.Records):
		return fmt.Errorf("%d calls were under way to the end, want %d", r.Tally.Count, s.Workload.Records)
	}
	return nil
}

// runInFlight looks at the heap when all calls are stored and under way, and then ends
// them.
func runInFlight(ctx context.Context, s spec) (r result, err error) {
	ctx, cancel := context.WithTimeout(ctx, failLimit)
	defer cancel()
	log, err := connect(ctx, s.Brokers)
	if err != nil {
		return r, err
	}
	defer log.close()
	n := s.Workload.Records
	client, err := rpc.NewClient(rpc.ClientConfig{
		Cluster: duplex.Cluster{Brokers: s.Brokers}, Service: s.caller(), WaitForServer: true, MaxPending: n,
	})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	// As in a client at work: it has heard from a server.
	if _, err := rpc.Call(ctx, client, s.firstMethod(), nil); err != nil {
		return r, err
	}
	calling, end := context.WithCancel(ctx)
	defer end()
	from, promises, method := newSource("", s.Workload), make([]*rpc.Promise[[]byte], 0, n), s.echoMethod()
	before, stacks := heap()
	idlers, began := runtime.NumGoroutine(), usageNow()
	for i := range n {
		promises = append(promises, rpc.Go(calling, client, method, from.value(i)))
	}
	if err := stored(ctx, client, log, s); err != nil {
		return r, err
	}
	r.measure(began, usageNow())
	inUse, inStacks := heap()
	r.Goroutines = runtime.NumGoroutine() - idlers
	pending := client.Status().Counts["pending"]
	r.Footprints = []footprint{{What: "call under way", N: int(pending), Heap: (inUse - before) / float64(n), Stack: (inStacks - stacks) / float64(n)}}
	end()
	for _, p := range promises {
		if _, err := p.Wait(ctx); errors.Is(err, rpc.Canceled) && rpc.ExecutedOf(err) == rpc.Maybe {
			r.Tally.Count++
		}
	}
	return r, nil
}

// stored waits until the log has all requests.
func stored(ctx context.Context, client *rpc.Client, log *cluster, s spec) error {
	var last, ended int64
	want := int64(s.Workload.Records) + 1 // the first call
	if !wait(ctx, func() bool {
		ends, err := log.allEnds(ctx, s.requestTopic())
		last, ended = sumOf(ends), client.Status().Counts["errors"]
		return err == nil && last == want || ended > 0
	}) {
		return fmt.Errorf("the log has %d requests, want %d: %w", last, want, context.Cause(ctx))
	}
	if ended > 0 {
		return fmt.Errorf("%d calls ended by themselves", ended)
	}
	return nil
}
