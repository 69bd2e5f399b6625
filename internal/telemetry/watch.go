package telemetry

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/duplex-go/duplex"
)

const (
	// maxPartitions bounds the partitions that metrics tell apart; the others
	// are one, otherPartitions.
	maxPartitions   = 1000
	otherPartitions = "other"
)

func counts() []string {
	return []string{"handled", "failed", "retried", "recovered", "dead", "snoozed", "dropped", "moved", "late_completions", "rebalances", "commits", "pauses"}
}

// gauges are what is told of each partition.
type gauges struct {
	lag, loaded, running, lanes, waiting, span metric.Int64ObservableGauge
	oldest                                     metric.Float64ObservableGauge
	problems                                   metric.Int64ObservableGauge
	group                                      attribute.KeyValue
}

// watch has status read whenever metrics are collected.
func watch(meter metric.Meter, group string, status func() duplex.Status) (metric.Registration, error) {
	g := &gauges{group: keyGroup.String(group)}
	var errs []error
	var all []metric.Observable
	for _, gauge := range []struct {
		to                      *metric.Int64ObservableGauge
		name, unit, description string
	}{
		{&g.lag, "lag", "{record}", "Offsets from the first unfinished record to the end of the partition."},
		{&g.loaded, "loaded", "{record}", "Records in memory that are not finished."},
		{&g.running, "running", "{record}", "Handlers at work."},
		{&g.lanes, "lanes", "{key}", "Keys that have a record at work or waiting."},
		{&g.waiting, "waiting", "{record}", "Records that failed and wait for their next attempt."},
		{&g.span, "span", "{record}", "Offsets from the first unfinished record to the last one read."},
		{&g.problems, "problems", "{problem}", "What is not as it should be, by the code that the status has for it; none when all is well."},
	} {
		made, err := meter.Int64ObservableGauge("duplex.consumer."+gauge.name, metric.WithUnit(gauge.unit), metric.WithDescription(gauge.description))
		*gauge.to = made
		errs, all = append(errs, err), append(all, made)
	}
	oldest, err := meter.Float64ObservableGauge("duplex.consumer.oldest_running", metric.WithUnit("s"),
		metric.WithDescription("How long the handler that began first has been at work."))
	g.oldest = oldest
	errs, all = append(errs, err), append(all, oldest)
	beside := &tiers{group: g.group}
	besides, err := beside.make(meter)
	errs, all = append(errs, err), append(all, besides...)
	counters := map[string]metric.Int64ObservableCounter{}
	for _, name := range counts() {
		made, err := meter.Int64ObservableCounter("duplex.consumer."+name, metric.WithDescription("The count of that name in the consumer's status."))
		counters[name] = made
		errs, all = append(errs, err), append(all, made)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	with := metric.WithAttributes(g.group)
	return meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := status()
		for name, counter := range counters {
			o.ObserveInt64(counter, s.Counts[name], with)
		}
		g.observeProblems(o, s.Problems)
		g.observe(o, s.Partitions)
		beside.observe(o, s.Partitions, time.Now())
		return nil
	}, all...)
}

func (g *gauges) observeProblems(o metric.Observer, problems []duplex.Problem) {
	n := map[duplex.StatusCode]int64{}
	for _, p := range problems {
		n[p.Code]++
	}
	for code, n := range n {
		o.ObserveInt64(g.problems, n, metric.WithAttributes(keyStatus.String(string(code)), g.group))
	}
}

func (g *gauges) observe(o metric.Observer, partitions []duplex.PartitionStatus) {
	told := min(len(partitions), maxPartitions)
	for i := range partitions[:told] {
		p := &partitions[i]
		g.observeOne(o, p, keyTopic.String(p.Topic), partition(p.Partition))
	}
	if told == len(partitions) {
		return
	}
	rest := duplex.PartitionStatus{End: -1}
	for i := range partitions[told:] {
		add(&rest, &partitions[told+i])
	}
	g.observeOne(o, &rest, keyPartition.String(otherPartitions))
}

func add(to, p *duplex.PartitionStatus) {
	to.End, to.Lag = max(to.End, p.End), to.Lag+p.Lag
	to.Loaded, to.Running, to.Lanes, to.Waiting = to.Loaded+p.Loaded, to.Running+p.Running, to.Lanes+p.Lanes, to.Waiting+p.Waiting
	to.Frontier += p.Frontier - p.Watermark
	to.OldestRunning = max(to.OldestRunning, p.OldestRunning)
}

func (g *gauges) observeOne(o metric.Observer, p *duplex.PartitionStatus, of ...attribute.KeyValue) {
	with := metric.WithAttributes(append(of, g.group)...)
	if p.End >= 0 {
		o.ObserveInt64(g.lag, p.Lag, with)
	}
	o.ObserveInt64(g.loaded, int64(p.Loaded), with)
	o.ObserveInt64(g.running, int64(p.Running), with)
	o.ObserveInt64(g.lanes, int64(p.Lanes), with)
	o.ObserveInt64(g.waiting, int64(p.Waiting), with)
	o.ObserveInt64(g.span, p.Frontier-p.Watermark, with)
	o.ObserveFloat64(g.oldest, p.OldestRunning.Seconds(), with)
}
