package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"
)

// arm is who does the work.
type arm string

const (
	armKgo     arm = "kgo"
	armControl arm = "kgo control" // the same as armKgo: the difference is noise
	armDuplex  arm = "duplex"
	// Of keyed workloads.
	armByPartition arm = "duplex by partition"
	armQueues      arm = "queue per key"
	armHash        arm = "hash to workers"
	// Of workloads with failures, see share.
	armNoPolicy  arm = "duplex without policy"
	armWatermill arm = "watermill"
	// armWriting is armKgo with headers that say of each record what Duplex's do.
	armWriting arm = "kgo writing headers"
	// Of calls.
	armGRPC arm = "gRPC"
	armHTTP arm = "HTTP"
	// armSpring is a JVM, with Spring for Apache Kafka.
	armSpring arm = "spring"
)

// spec is one run, handed to a child process.
type spec struct {
	Arm      arm           `json:"arm"`
	Workload workload      `json:"workload"`
	Brokers  []string      `json:"brokers"`
	Topic    string        `json:"topic"`
	Group    string        `json:"group,omitempty"`
	Ends     []int64       `json:"ends,omitempty"`   // consume: the end offset of each partition
	Beside   string        `json:"beside,omitempty"` // the topic that failed records go to
	Every    time.Duration `json:"every"`            // between samples
	// Partitions are those that the topic of requests gets.
	Partitions int    `json:"partitions,omitempty"`
	Verify     bool   `json:"verify,omitempty"` // the order of keys, in a round that does not count
	Profile    string `json:"profile,omitempty"`
	Spring     string `json:"spring,omitempty"` // where its program is
}

// result is what a run measured.
type result struct {
	Seconds    float64  `json:"seconds"`
	CPUSeconds float64  `json:"cpuSeconds"`
	Allocs     uint64   `json:"allocs"`
	AllocBytes uint64   `json:"allocBytes"`
	PeakRSS    int64    `json:"peakRSS"`
	Goroutines int      `json:"goroutines"` // the most that were seen
	Latency    *latency `json:"latency,omitempty"`
	Tally      tally    `json:"tally"`             // of what a consumer handled, or a producer got acknowledged
	Samples    []sample `json:"samples,omitempty"` // taken while it was measured
	// Footprints are what things cost, where that was asked.
	Footprints []footprint `json:"footprints,omitempty"`
	// Outcome is what became of failed records, where some were.
	Outcome *outcome `json:"outcome,omitempty"`
	// Answers are what became of calls, where some were made.
	Answers *answers `json:"answers,omitempty"`
	// BrokerCPU is filled in by the parent.
	BrokerCPU float64 `json:"brokerCPUSeconds,omitempty"`

	from, to time.Time
}

// latency is in microseconds.
type latency struct {
	P50  int64 `json:"p50"`
	P99  int64 `json:"p99"`
	P999 int64 `json:"p999"`
	Max  int64 `json:"max"`
}

// child runs one arm and reports on out.
func child(ctx context.Context, in io.Reader, out io.Writer) error {
	var s spec
	if err := json.NewDecoder(in).Decode(&s); err != nil {
		return fmt.Errorf("reading the spec: %w", err)
	}
	r, err := s.run(ctx)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", s.Workload.Name, s.Arm, err)
	}
	return json.NewEncoder(out).Encode(r)
}

// runners are what runs a workload, by its kind.
func runners() map[kind]func(context.Context, spec) (result, error) {
	return map[kind]func(context.Context, spec) (result, error){
		async:              runAsync,
		blocked:            runSync,
		consume:            runConsume,
		keyed:              runKeyed,
		failed:             runFailing,
		hops:               runFailing,
		waiting:            runWaiting,
		groupLetters:       runGroupLetters,
		redriveLetters:     runRedrive,
		calls:              runCalls,
		inFlight:           runInFlight,
		takeover:           runTakeover,
		footprintWork:      runFootprintWork,
		footprintWait:      runFootprintWait,
		footprintPartition: runFootprintPartition,
	}
}

func (s spec) run(ctx context.Context) (r result, err error) {
	if s.Profile != "" {
		stop, err := profile(s.Profile)
		if err != nil {
			return r, err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	work, known := runners()[s.Workload.Kind]
	if !known {
		return r, fmt.Errorf("unknown kind %q", s.Workload.Kind)
	}
	watch := startSampler(ctx, s.Every)
	r, err = work(ctx, s)
	if r.PeakRSS == 0 { // or it is that of another process
		r.PeakRSS = peakRSS()
	}
	for _, seen := range watch.end() {
		if seen.At.After(r.from) && seen.At.Before(r.to) {
			r.Samples = append(r.Samples, seen)
			r.Goroutines = max(r.Goroutines, seen.Goroutines)
		}
	}
	return r, err
}

func (r *result) measure(from, to usage) {
	r.from, r.to = from.at, to.at
	r.Seconds = to.at.Sub(from.at).Seconds()
	r.CPUSeconds = (to.cpu - from.cpu).Seconds()
	r.Allocs, r.AllocBytes = to.mallocs-from.mallocs, to.allBytes-from.allBytes
}

func profile(path string) (stop func() error, err error) {
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}
