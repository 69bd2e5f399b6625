package main

import (
	"fmt"
	"runtime"
	"strings"
	"time"
)

// target is what Duplex should reach in a workload: so many times the rate of
// another arm, with an arm of its own where of says so, or so much of what the handlers' waiting allows.
type target struct {
	of      arm // empty: armDuplex
	against arm // empty: Concurrency ÷ work
	least   float64
}

// targets are those of workloads with keys, and of those with failures.
func (w workload) targets() []target {
	switch {
	case w.failsSome():
		return w.failureTargets()
	case w.aboutLetters():
		return w.letterTargets()
	case w.Kind != keyed:
		return nil
	case w.Work == time.Millisecond && w.Flight == 1000:
		return []target{{least: 0.90}, {against: armQueues, least: 1.10}}
	case w.Work > 0:
		return []target{{least: 0.90}}
	case w.Keys == 1:
		return []target{{against: armByPartition, least: 0.80}}
	case w.Keys <= 10_000:
		return []target{{against: armKgo, least: 0.40}}
	default:
		return []target{{against: armKgo, least: 0.25}}
	}
}

// possible is the rate at which handlers that only wait take records.
func (w workload) possible() float64 { return float64(w.Flight) / w.Work.Seconds() }

// targets lists what is asked of Duplex beside what was measured; it is empty
// where nothing is.
func (r report) targets() string {
	var b strings.Builder
	for _, m := range r.Workloads {
		for _, t := range m.Workload.targets() {
			m.target(&b, t)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "| asked for | Duplex ÷ | at least | measured | reached | CPUs at work |\n|---|---|---|---|---|---|\n" + b.String()
}

func (m measured) target(b *strings.Builder, t target) {
	name, base := string(t.against), m.median(t.against, m.rate)
	if t.against == "" {
		name, base = "Concurrency ÷ work", m.Workload.possible()
	}
	ours, workload := armDuplex, m.Workload.Name
	if t.of != "" {
		ours, workload = t.of, fmt.Sprintf("%s: %s", m.Workload.Name, t.of)
	}
	times := m.median(ours, m.rate) / base
	busy := m.median(ours, func(r result) float64 { return (r.CPUSeconds + r.BrokerCPU) / r.Seconds })
	fmt.Fprintf(b, "| %s | %s | %.2f | %.2f | %s | %.1f of %d |\n", workload, name, t.least, times, t.reached(times, busy), busy, runtime.GOMAXPROCS(0))
}

// reached says whether a ratio is what was asked for. What is possible is asked
// for until the CPUs are full; those of the broker count where they are known.
func (t target) reached(times, busy float64) string {
	const full = 0.9
	switch {
	case times >= t.least:
		return "yes"
	case t.against == "" && busy >= full*float64(runtime.GOMAXPROCS(0)):
		return "CPU full"
	default:
		return "no"
	}
}
