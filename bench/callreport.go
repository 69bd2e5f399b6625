package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// callReport is what the workloads of calls came to.
type callReport struct {
	Began      time.Time  `json:"began"`
	Settings   []string   `json:"settings"`
	Partitions int        `json:"partitions"`
	Rounds     int        `json:"rounds"`
	Workloads  []measured `json:"workloads"`
}

// callSettings are printed with every result.
func callSettings() []string {
	return []string{
		"server and callers are in one process, in every arm: CPU, allocations and memory are those of both; each call has a context with a deadline of " +
			callLimit.String() + ", and each caller one call at a time",
		fmt.Sprintf("each caller makes %d calls before those that are measured; values differ, and every byte of an answer is compared with what was sent", warmCalls),
		"over Kafka: acks=all, idempotent, no compression, linger 0, read_committed, commits every " + commitEvery.String(),
		"kgo: by hand; one client that calls and one that serves; records by round robin; a correlation ID of as many bytes, 38, in the only header of a record; " +
			"a map of the calls under way with one mutex; one partition of replies, read from a known offset; the server answers on its poll goroutine, without waiting for acknowledgements, " +
			"and commits what it polled, whether that is acknowledged or not",
		"duplex: rpc.Call with duplex.Bytes, otherwise as it is; its headers carry the deadline, the method and who calls as well, and it commits what is answered",
		"gRPC: loopback, one connection, messages are bytes; HTTP: net/http on loopback, HTTP/1.1, connections are kept, one for each caller; nothing of either is stored",
		"watermill: its component requestreply; one subscriber reads the replies for all calls, through its FanOut; messages are bytes; acks=all, idempotent, read_committed, else as it is",
		fmt.Sprintf("spring: a ReplyingKafkaTemplate and a @KafkaListener with @SendTo, in a JVM that measures by itself after %d calls; acks=all, idempotent, linger 0 (its default of 5 ms adds 10 to each call), read_committed, else as it is, its version in integration/spring/pom.xml", springWarm),
		"in flight: rpc.Go, after one call that was answered; the server, which answers no other, is in another process; heap and stacks after a collection when all requests are stored, less what they were before, the promises included",
	}
}

// markdown is what was asked for, and the tables.
func (r callReport) markdown() string {
	var b strings.Builder
	if targets := r.targets(); targets != "" {
		b.WriteString(targets + "\n")
	}
	r.summary(&b)
	r.echoes(&b)
	r.inFlight(&b)
	fmt.Fprintf(&b, "%d rounds after one that does not count, arms by turns, each run a process of its own; medians. ÷ first is the ratio to the first arm "+
		"of the workload. A run is void that has a wrong, a lost or an extra answer, by the account of both sides and by the log.%s\n%d partitions, GOMAXPROCS %d, %s, %s.\n",
		r.Rounds, report{Workloads: r.Workloads, Rounds: r.Rounds}.fewer(), r.Partitions, runtime.GOMAXPROCS(0), runtime.Version(), r.Began.Format(time.DateOnly))
	versions := peers("github.com/twmb/franz-go", "google.golang.org/grpc", "github.com/ThreeDotsLabs/watermill", "github.com/ThreeDotsLabs/watermill-kafka/v3", "github.com/IBM/sarama")
	for _, s := range append(r.Settings, versions...) {
		fmt.Fprintf(&b, "- %s\n", s)
	}
	return b.String()
}

// summary says what the way through a log costs, and what comes of many callers; nothing
// without calls beside all arms.
func (r callReport) summary(b *strings.Builder) {
	var rows strings.Builder
	for _, m := range r.Workloads {
		if m.Workload.Kind != calls || m.Workload.Peer != "" {
			continue
		}
		times := func(a arm) float64 { return m.median(a, m.rate) }
		ms := func(a arm) float64 { return m.median(a, p50) / 1000 }
		fmt.Fprintf(&rows, "| %d | %s | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f | %.2f |\n", m.Workload.Callers, thousands(times(armDuplex)),
			times(armDuplex)/times(armKgo), times(armControl)/times(armKgo), times(armDuplex)/times(armGRPC), times(armDuplex)/times(armHTTP),
			ms(armDuplex), ms(armKgo), ms(armGRPC))
	}
	if rows.Len() > 0 {
		b.WriteString("| callers | calls/s | ÷ raw franz-go | noise | ÷ gRPC | ÷ HTTP | p50 ms | raw franz-go | gRPC |\n|---|---|---|---|---|---|---|---|---|\n" +
			rows.String() + "\n")
	}
}

// echoes is the table of calls that are answered; nothing where none were asked for.
func (r callReport) echoes(b *strings.Builder) {
	var rows strings.Builder
	for _, m := range r.Workloads {
		if m.Workload.Kind == calls {
			m.callRows(&rows)
		}
	}
	if rows.Len() > 0 {
		b.WriteString("| workload | arm | calls/s (min–max) | ÷ first | p50 µs | ÷ first | p99 µs | ÷ first | CPU s/M | allocs/call | RSS MB | goroutines | broker CPU s/M |\n" +
			"|---|---|---|---|---|---|---|---|---|---|---|---|---|\n" + rows.String() + "\n")
	}
}

func p50(r result) float64 { return float64(r.Latency.P50) }
func p99(r result) float64 { return float64(r.Latency.P99) }

func (m measured) callRows(b *strings.Builder) {
	records := float64(m.Workload.Records)
	base := m.Workload.arms()[0]
	for _, a := range m.Workload.arms() {
		if len(m.Runs[a]) == 0 {
			continue
		}
		times := func(figure func(result) float64) float64 { return m.median(a, figure) / m.median(base, figure) }
		rates, broker := spreadOf(m.Runs[a], m.rate), known("%.2f", m.median(a, func(r result) float64 { return r.BrokerCPU / records * 1e6 }))
		fmt.Fprintf(b, "| %s | %s | %s (%s–%s) | %.2f | %.0f | %.2f | %.0f | %.2f | %.2f | %s | %.0f | %s | %s |\n",
			m.Workload.Name, a, thousands(rates.median), thousands(rates.least), thousands(rates.most), times(m.rate),
			m.median(a, p50), times(p50), m.median(a, p99), times(p99),
			m.median(a, func(r result) float64 { return r.CPUSeconds / records * 1e6 }), known("%.2f", m.median(a, func(r result) float64 { return float64(r.Allocs) / records })),
			m.median(a, func(r result) float64 { return float64(r.PeakRSS) / (1 << 20) }), known("%.0f", m.median(a, func(r result) float64 { return float64(r.Goroutines) })), broker)
	}
}

// known is a figure, or a dash where there is none.
func known(format string, figure float64) string {
	if figure == 0 {
		return "–"
	}
	return fmt.Sprintf(format, figure)
}

// inFlight is the table of calls under way; nothing where none were asked for.
func (r callReport) inFlight(b *strings.Builder) {
	for _, m := range r.Workloads {
		if m.Workload.Kind != inFlight {
			continue
		}
		b.WriteString("| calls under way | arm | bytes of heap each | bytes of stack each | goroutines for them | peak RSS MB |\n|---|---|---|---|---|---|\n")
		for _, a := range m.Workload.arms() {
			fmt.Fprintf(b, "| %d | %s | %.0f | %.0f | %.0f | %.0f |\n", m.Workload.Records, a,
				m.median(a, func(r result) float64 { return r.Footprints[0].Heap }), m.median(a, func(r result) float64 { return r.Footprints[0].Stack }),
				m.median(a, func(r result) float64 { return float64(r.Goroutines) }), m.median(a, func(r result) float64 { return float64(r.PeakRSS) / (1 << 20) }))
		}
		b.WriteString("\n")
	}
}

// callTarget is what is asked of Duplex in a workload of calls: a figure that is so many
// times another arm's at least, or at most.
type callTarget struct {
	what    string
	figure  func(result) float64 // nil: calls/s
	against arm
	least   float64
	most    float64
}

// callTargets are those of a workload.
func (w workload) callTargets() []callTarget {
	switch {
	case w.Kind != calls || w.Peer != "":
		return nil
	case w.Callers == 1:
		return []callTarget{{what: "p50", figure: p50, against: armKgo, most: 1.15}, {what: "p99", figure: p99, against: armKgo, most: 1.25}}
	case w.Callers == 64:
		return []callTarget{{what: "calls/s", against: armKgo, least: 1.20}}
	case w.Callers == 256:
		return []callTarget{{what: "calls/s", against: armGRPC, least: 1.00}}
	default:
		return nil
	}
}

// targets lists what is asked of Duplex beside what was measured; it is empty where
// nothing is.
func (r callReport) targets() string {
	var b strings.Builder
	for _, m := range r.Workloads {
		for _, t := range m.Workload.callTargets() {
			m.callTarget(&b, t)
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return "| asked for | figure | Duplex ÷ | wanted | measured | kgo control | reached |\n|---|---|---|---|---|---|---|\n" + b.String()
}

func (m measured) callTarget(b *strings.Builder, t callTarget) {
	figure := t.figure
	if figure == nil {
		figure = m.rate
	}
	wanted := fmt.Sprintf("≥ %.2f", t.least)
	if t.most > 0 {
		wanted = fmt.Sprintf("≤ %.2f", t.most)
	}
	base := m.median(t.against, figure)
	control := "–"
	if t.against == armKgo {
		control = fmt.Sprintf("%.2f", m.median(armControl, figure)/base)
	}
	fmt.Fprintf(b, "| %s | %s | %s | %s | %.2f | %s | %s |\n", m.Workload.Name, t.what, t.against, wanted, m.median(armDuplex, figure)/base, control, m.met(t, figure))
}

// met says whether a figure is what was asked for. A latency that is above it, but not
// above the most that the control arm had, is within the noise.
func (m measured) met(t callTarget, figure func(result) float64) string {
	ours, base := m.median(armDuplex, figure), m.median(t.against, figure)
	ratio := ours / base
	runs := m.Runs[armControl]
	switch {
	case t.most == 0 && ratio >= t.least, t.most > 0 && ratio <= t.most:
		return "yes"
	case t.most > 0 && slices.ContainsFunc(runs, func(r result) bool { return figure(r) >= ours }):
		return "within noise"
	default:
		return "no"
	}
}
