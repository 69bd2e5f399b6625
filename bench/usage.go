package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// usage is what a process has used up to now.
type usage struct {
	at       time.Time
	cpu      time.Duration
	mallocs  uint64
	allBytes uint64
}

func usageNow() usage {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // only fails on bad arguments
	return usage{
		at: time.Now(), cpu: time.Duration(r.Utime.Nano() + r.Stime.Nano()),
		mallocs: m.Mallocs, allBytes: m.TotalAlloc,
	}
}

// peakRSS is the most memory that this process ever had, in bytes; 0 where the
// system does not say. (ru_maxrss begins with that of the process that started
// this one.)
func peakRSS() int64 { return statusField("VmHWM:") }

// nowRSS is the memory that this process has.
func nowRSS() int64 { return statusField("VmRSS:") }

func statusField(name string) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(status) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == name {
			kib, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			return kib << 10
		}
	}
	return 0
}

// cpuOf is the CPU time that another process has used up to now.
func cpuOf(pid int) (time.Duration, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, fmt.Errorf("reading the CPU time of process %d: %w", pid, err)
	}
	// The name in parentheses may hold spaces; utime and stime are the 12th and
	// 13th field behind it, in ticks of 10 ms.
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	fields := bytes.Fields(rest)
	const utime, stime, tick = 11, 12, 10 * time.Millisecond
	if len(fields) <= stime {
		return 0, fmt.Errorf("reading the CPU time of process %d: %d fields", pid, len(fields))
	}
	user, _ := strconv.ParseInt(string(fields[utime]), 10, 64)
	system, _ := strconv.ParseInt(string(fields[stime]), 10, 64)
	return time.Duration(user+system) * tick, nil
}

// sample is one look at a running process.
type sample struct {
	At         time.Time `json:"at"`
	RSS        int64     `json:"rss"`
	Goroutines int       `json:"goroutines"`
}

// sampler looks at this process every now and then until it is stopped.
type sampler struct {
	stop context.CancelFunc
	done sync.WaitGroup
	seen []sample
}

func startSampler(ctx context.Context, every time.Duration) *sampler {
	ctx, stop := context.WithCancel(ctx)
	s := &sampler{stop: stop}
	s.done.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			s.seen = append(s.seen, sample{time.Now(), nowRSS(), runtime.NumGoroutine()})
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return s
}

func (s *sampler) end() []sample {
	s.stop()
	s.done.Wait()
	return s.seen
}
