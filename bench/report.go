package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is the outcome, with every run.
type report struct {
	Began      time.Time  `json:"began"`
	Settings   []string   `json:"settings"`
	Partitions int        `json:"partitions"`
	Rounds     int        `json:"rounds"`
	Workloads  []measured `json:"workloads"`
}

// measured is one workload with the runs of each arm.
type measured struct {
	Workload workload         `json:"workload"`
	Runs     map[arm][]result `json:"runs"`
}

// spread is the median of a few figures, with the least and the most.
type spread struct{ median, least, most float64 }

func spreadOf(runs []result, figure func(result) float64) spread {
	figures := make([]float64, len(runs))
	for i, r := range runs {
		figures[i] = figure(r)
	}
	slices.Sort(figures)
	n := len(figures)
	if n == 0 {
		return spread{}
	}
	return spread{(figures[(n-1)/2] + figures[n/2]) / 2, figures[0], figures[n-1]}
}

// markdown is a summary and the table, with the settings below them.
func (r report) markdown() string {
	var b strings.Builder
	for _, part := range []string{r.summary(), r.targets()} {
		if part != "" {
			b.WriteString(part + "\n")
		}
	}
	b.WriteString("| workload | arm | records/s (min–max) | × first | CPU s/M | × first | allocs/rec | RSS MB | goroutines | p50/p99 µs | broker CPU s/M |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, m := range r.Workloads {
		m.rows(&b)
	}
	fmt.Fprintf(&b, "\n%d rounds after one that does not count, arms by turns (A B C, C B A, …), each run a process of its own; medians. "+
		"× first is the ratio of medians to the first arm in the same run; kgo control is raw kgo again and shows the noise.%s\n"+
		"%d partitions, GOMAXPROCS %d, %s, %s.\n", r.Rounds, r.fewer(), r.Partitions, runtime.GOMAXPROCS(0), runtime.Version(), r.Began.Format(time.DateOnly))
	for _, s := range r.Settings {
		fmt.Fprintf(&b, "- %s\n", s)
	}
	return b.String()
}

// fewer names the workloads that had fewer rounds than the others.
func (r report) fewer() string {
	var names []string
	for _, m := range r.Workloads {
		if n := m.Workload.Rounds; n > 0 && n < r.Rounds {
			names = append(names, fmt.Sprintf("%s: %d", m.Workload.Name, n))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return " Fewer rounds: " + strings.Join(names, "; ") + "."
}

// summary has the ratios of Duplex to raw kgo alone, and those of kgo to itself;
// for handlers that wait, those to what one writes by hand on raw kgo.
func (r report) summary() string {
	var fast, waiting strings.Builder
	for _, m := range r.Workloads {
		if m.Workload.Work > 0 {
			m.waitingSummary(&waiting)
		} else {
			m.fastSummary(&fast)
		}
	}
	var b strings.Builder
	if fast.Len() > 0 {
		b.WriteString("| Duplex ÷ raw franz-go | records/s | noise | CPU | noise | p50 latency | more allocations a record |\n" +
			"|---|---|---|---|---|---|---|\n" + fast.String())
	}
	if waiting.Len() > 0 {
		if b.Len() > 0 {
			b.WriteString("\n")
		}
		b.WriteString("| handlers that wait × at once | Duplex records/s | of what is possible | ÷ queue per key | ÷ hash to workers | CPU ÷ queue per key |\n" +
			"|---|---|---|---|---|---|\n" + waiting.String())
	}
	return b.String()
}

func (m measured) fastSummary(b *strings.Builder) {
	records := float64(m.Workload.Records)
	base := m.Workload.arms()[0]
	times := func(a arm, figure func(result) float64) float64 { return m.median(a, figure) / m.median(base, figure) }
	allocs := func(r result) float64 { return float64(r.Allocs) / records }
	latency := "–"
	if runs := m.Runs[armDuplex]; len(runs) > 0 && runs[0].Latency != nil {
		latency = fmt.Sprintf("%.2f", times(armDuplex, func(r result) float64 { return float64(r.Latency.P50) }))
	}
	fmt.Fprintf(b, "| %s | %.2f | %.2f | %.2f | %.2f | %s | %+.2f |\n", m.Workload.Name, times(armDuplex, m.rate), times(armControl, m.rate),
		times(armDuplex, cpuSeconds), times(armControl, cpuSeconds), latency, m.median(armDuplex, allocs)-m.median(base, allocs))
}

func (m measured) waitingSummary(b *strings.Builder) {
	possible := m.Workload.possible()
	rate := m.median(armDuplex, m.rate)
	fmt.Fprintf(b, "| %s | %s | %.2f | %.2f | %.2f | %.2f |\n", m.Workload.Name, thousands(rate), rate/possible, rate/m.median(armQueues, m.rate),
		rate/m.median(armHash, m.rate), m.median(armDuplex, cpuSeconds)/m.median(armQueues, cpuSeconds))
}

func (m measured) median(a arm, figure func(result) float64) float64 {
	return spreadOf(m.Runs[a], figure).median
}

func (m measured) rate(r result) float64 { return float64(m.Workload.Records) / r.Seconds }

func cpuSeconds(r result) float64 { return r.CPUSeconds }

func (m measured) rows(b *strings.Builder) {
	records := float64(m.Workload.Records)
	rate := func(r result) float64 { return records / r.Seconds }
	cpu := func(r result) float64 { return r.CPUSeconds / records * 1e6 }
	base := m.Workload.arms()[0]
	baseRate, baseCPU := spreadOf(m.Runs[base], rate), spreadOf(m.Runs[base], cpu)
	for _, a := range m.Workload.arms() {
		runs := m.Runs[a]
		if len(runs) == 0 {
			continue
		}
		of := func(figure func(result) float64) float64 { return spreadOf(runs, figure).median }
		rates, cpus := spreadOf(runs, rate), spreadOf(runs, cpu)
		latencies, broker := "–", "–"
		if runs[0].Latency != nil {
			latencies = fmt.Sprintf("%.0f/%.0f", of(func(r result) float64 { return float64(r.Latency.P50) }),
				of(func(r result) float64 { return float64(r.Latency.P99) }))
		}
		if runs[0].BrokerCPU > 0 {
			broker = fmt.Sprintf("%.2f", of(func(r result) float64 { return r.BrokerCPU / records * 1e6 }))
		}
		fmt.Fprintf(b, "| %s | %s | %s (%s–%s) | %.2f | %.2f | %.2f | %.2f | %.0f | %.0f | %s | %s |\n",
			m.Workload.Name, a, thousands(rates.median), thousands(rates.least), thousands(rates.most), rates.median/baseRate.median,
			cpus.median, cpus.median/baseCPU.median,
			of(func(r result) float64 { return float64(r.Allocs) / records }),
			of(func(r result) float64 { return float64(r.PeakRSS) / (1 << 20) }),
			of(func(r result) float64 { return float64(r.Goroutines) }), latencies, broker)
	}
}

// thousands writes 1234567 as 1.23 M, 12345 as 12.3 k, 123 as 123.
func thousands(v float64) string {
	switch {
	case v >= 1e6:
		return fmt.Sprintf("%.2f M", v/1e6)
	case v >= 1e3:
		return fmt.Sprintf("%.1f k", v/1e3)
	default:
		return fmt.Sprintf("%.0f", v)
	}
}
