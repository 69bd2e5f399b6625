package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// failureReport is what the workloads with failures came to.
type failureReport struct {
	Began      time.Time  `json:"began"`
	Settings   []string   `json:"settings"`
	Partitions int        `json:"partitions"`
	Rounds     int        `json:"rounds"`
	Workloads  []measured `json:"workloads"`
}

// failureSettings are printed with every result.
func failureSettings() []string {
	return []string{
		"records/s: records of the source that were handled, or had failed and were acknowledged in their next topic, from the first record to the last",
		"failing: a failed record is handled on its retry; Delay stands in the JSON, and retried in time is how many of the retries were within what is measured",
		"duplex: ByKey, commits every " + commitEvery.String() + ", fetches of at most " + strconv.Itoa(fetchMax>>20) + " MiB; dlq.Policy with one delay, or dlq.NoRetry with MaxDeadRatio 1 for dead letters",
		"kgo: on its poll goroutine; produces what fails, with as many bytes of headers, made once, linger " + linger.String() + ", idempotent, acks=all; " +
			"commits every " + commitEvery.String() + ", after a flush; a second consumer waits for what is due. Both have kgo's own compression for what fails (snappy)",
		"watermill: PoisonQueue around the handler, idempotent, acks=all, read_committed, else as it is; where failed records are tried again, its Retry middleware with one retry, which waits with the partition standing still",
		"kgo writing headers: the same, with headers that are made for each record and say what Duplex's do",
	}
}

// markdown is what was asked for, and the table.
func (r failureReport) markdown() string {
	var b strings.Builder
	if targets := (report{Workloads: r.Workloads}).targets(); targets != "" {
		b.WriteString(targets + "\n")
	}
	b.WriteString("| workload | arm, failing | records/s (min–max) | ÷ with 0 % | ÷ kgo | CPU s/M | allocs/rec | RSS MB | failed | retried in time | lost | twice | uncommitted | broker CPU s/M |\n" +
		"|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, m := range r.Workloads {
		m.failureRows(&b)
	}
	fmt.Fprintf(&b, "\n%d rounds after one that does not count, arms by turns, each run a process of its own; medians. Of kgo and Duplex every run is void that "+
		"loses or repeats a record, or leaves one uncommitted; of Watermill that is counted.%s\n%d partitions, GOMAXPROCS %d, %s, %s.\n",
		r.Rounds, report{Workloads: r.Workloads, Rounds: r.Rounds}.fewer(), r.Partitions, runtime.GOMAXPROCS(0), runtime.Version(), r.Began.Format(time.DateOnly))
	for _, s := range append(r.Settings, peers("github.com/twmb/franz-go", "github.com/ThreeDotsLabs/watermill", "github.com/ThreeDotsLabs/watermill-kafka/v3", "github.com/IBM/sarama")...) {
		fmt.Fprintf(&b, "- %s\n", s)
	}
	return b.String()
}

func (m measured) failureRows(b *strings.Builder) {
	records := float64(m.Workload.Records)
	for _, a := range m.Workload.arms() {
		by, percent := a.share()
		times := func(against arm) string {
			if len(m.Runs[against]) == 0 {
				return "–"
			}
			return fmt.Sprintf("%.2f", m.median(a, m.rate)/m.median(against, m.rate))
		}
		count := func(figure func(*outcome) int64) float64 {
			return m.median(a, func(r result) float64 { return float64(figure(r.Outcome)) })
		}
		rates, broker, retried := spreadOf(m.Runs[a], m.rate), "–", "–"
		if m.median(a, func(r result) float64 { return r.BrokerCPU }) > 0 {
			broker = fmt.Sprintf("%.2f", m.median(a, func(r result) float64 { return r.BrokerCPU / records * 1e6 }))
		}
		if failed := count(func(o *outcome) int64 { return o.Failed }); m.Workload.retries() && failed > 0 {
			retried = fmt.Sprintf("%.0f %%", 100*count(func(o *outcome) int64 { return o.RetriedIn })/failed)
		}
		fmt.Fprintf(b, "| %s | %s | %s (%s–%s) | %s | %s | %.2f | %.2f | %.0f | %s | %s | %.0f | %.0f | %.0f | %s |\n",
			m.Workload.Name, a, thousands(rates.median), thousands(rates.least), thousands(rates.most), times(share(by, 0)), times(share(armKgo, percent)),
			m.median(a, func(r result) float64 { return r.CPUSeconds / records * 1e6 }), m.median(a, func(r result) float64 { return float64(r.Allocs) / records }),
			m.median(a, func(r result) float64 { return float64(r.PeakRSS) / (1 << 20) }), thousands(count(func(o *outcome) int64 { return o.Failed })), retried,
			count(func(o *outcome) int64 { return o.Lost }), count(func(o *outcome) int64 { return o.Again }), count(func(o *outcome) int64 { return o.Uncommitted }), broker)
	}
}

// peers are the versions of what is measured beside Duplex, by the paths of modules.
func peers(paths ...string) []string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil
	}
	var found []string
	for _, m := range info.Deps {
		if slices.Contains(paths, m.Path) {
			found = append(found, m.Path+" "+m.Version)
		}
	}
	return []string{strings.Join(found, ", ")}
}
