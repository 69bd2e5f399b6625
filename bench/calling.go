package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/rpc"
)

// echo is one arm: a server that answers with what it gets, and what calls it, both in
// this process.
type echo struct {
	call func(ctx context.Context, value []byte) ([]byte, error)
	// stop ends the server, once it has answered and committed everything, and then the
	// caller.
	stop func() error
	// extra are the answers that belonged to no call, when all is stopped; nil where a
	// protocol has none.
	extra func() int64
}

// served counts the requests that a server has answered.
type served struct{ atomic.Int64 }

// answer is the handler of all arms.
func (s *served) answer(value []byte) []byte {
	s.Add(1)
	return value
}

// startEcho starts an arm.
func startEcho(ctx context.Context, s spec, n *served) (echo, error) {
	switch s.Arm {
	case armDuplex:
		return echoDuplex(ctx, s, n)
	case armGRPC:
		return echoGRPC(ctx, n)
	case armHTTP:
		return echoHTTP(ctx, s, n)
	case armWatermill:
		return echoWatermill(ctx, s, n)
	default:
		return echoByHand(ctx, s, n)
	}
}

// runCalls measures from the first call after warming up to the last answer.
func runCalls(ctx context.Context, s spec) (r result, err error) {
	ctx, cancel := context.WithTimeout(ctx, failLimit)
	defer cancel()
	if s.Arm == armSpring {
		return runSpring(ctx, s)
	}
	var n served
	e, err := startEcho(ctx, s, &n)
	if err != nil {
		return r, err
	}
	r, err = e.measure(ctx, s)
	if err = errors.Join(err, e.stop()); err != nil {
		return r, err
	}
	r.Answers.Handled = n.Load()
	if e.extra != nil {
		r.Answers.Extra = e.extra()
	}
	return r, nil
}

// measure has all callers make their calls.
func (e echo) measure(ctx context.Context, s spec) (r result, err error) {
	from := newSource("", s.Workload)
	many := s.Workload.Callers
	warm := newCallers(many)
	if err := warm.run(ctx, e, from, s.warm()); err != nil {
		return r, fmt.Errorf("warming up: %w", err)
	}
	all := newCallers(many)
	began := usageNow()
	if err := all.run(ctx, e, from, s.Workload.Records); err != nil {
		return r, err
	}
	r.measure(began, usageNow())
	all.report(&r)
	return r, nil
}

// callers call at once, each one call after the other.
type callers []caller

type caller struct {
	times *hdrhistogram.Histogram
	tally tally
	wrong int64
}

func newCallers(n int) callers {
	all := make(callers, n)
	for i := range all {
		all[i].times = newHistogram()
	}
	return all
}

// run shares so many calls among the callers.
func (all callers) run(ctx context.Context, e echo, from *source, n int) error {
	errs := make([]error, len(all))
	var done sync.WaitGroup
	for c := range all {
		done.Go(func() {
			for i := c; i < n && errs[c] == nil; i += len(all) {
				errs[c] = all[c].one(ctx, e, from.value(i))
			}
		})
	}
	done.Wait()
	return errors.Join(errs...)
}

// one makes a call and looks at every byte of its answer.
func (c *caller) one(ctx context.Context, e echo, value []byte) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	began := time.Now()
	got, err := e.call(ctx, value)
	took := time.Since(began)
	if err != nil {
		return fmt.Errorf("an answer is lost: %w", err)
	}
	if !bytes.Equal(got, value) {
		c.wrong++
	}
	c.tally.addAnswer(got)
	return c.times.RecordValue(max(1, took.Microseconds()))
}

func (all callers) report(r *result) {
	total := newHistogram()
	r.Answers = &answers{}
	for i := range all {
		total.Merge(all[i].times)
		r.Tally.Count += all[i].tally.Count
		r.Tally.Sum += all[i].tally.Sum
		r.Answers.Wrong += all[i].wrong
	}
	r.Latency = &latency{total.ValueAtQuantile(50), total.ValueAtQuantile(99), total.ValueAtQuantile(99.9), total.Max()}
}

// echoMethod is what is called with Duplex.
func (s spec) echoMethod() rpc.Method[[]byte, []byte] {
	return rpc.Method[[]byte, []byte]{Service: s.Topic, Name: "Echo", Codec: duplex.Bytes}
}

// echoDuplex has package rpc as it is.
func echoDuplex(ctx context.Context, s spec, n *served) (echo, error) {
	method, cluster := s.echoMethod(), duplex.Cluster{Brokers: s.Brokers}
	server, err := rpc.NewServer(rpc.ServerConfig{
		Cluster: cluster, Partitions: int32(s.Partitions),
		Handlers: []rpc.Handler{rpc.Handle(method, func(_ context.Context, value []byte) ([]byte, error) { return n.answer(value), nil })},
	})
	if err != nil {
		return echo{}, err
	}
	client, err := rpc.NewClient(rpc.ClientConfig{Cluster: cluster, Service: s.caller(), WaitForServer: true})
	if err != nil {
		return echo{}, err
	}
	serving, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- server.Run(serving) }()
	return echo{
		call: func(ctx context.Context, value []byte) ([]byte, error) { return rpc.Call(ctx, client, method, value) },
		stop: func() error {
			stop()
			return errors.Join(<-ended, client.Close())
		},
		extra: func() int64 {
			counts := client.Status().Counts
			return counts["late"] + counts["duplicate"] + counts["stale"] + counts["foreign"] + counts["unknown"]
		},
	}, nil
}
