package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

const memoryRecords = 10_000_000

// flat is how much memory may grow from the second to the last quarter of a run:
// a tenth, and what a garbage collector's whims come to.
const (
	flatFactor = 1.10
	flatSlack  = 8 << 20
)

// watchMemory sends records through producer and consumer and reports how memory
// and goroutines develop, with few and with many partitions.
func watchMemory(ctx context.Context, o options, out, talk io.Writer) error {
	c, err := connect(ctx, o.Brokers)
	if err != nil {
		return err
	}
	defer c.close()
	w := workload{Bytes: 100, Records: memoryRecords}.scaled(o.Scale)
	var m memoryReport
	for _, partitions := range []int{100, 1000} {
		o.Partitions = partitions
		b := bench{options: o, cluster: c, talk: talk, id: strconv.FormatInt(time.Now().UnixMilli(), 36), run: inChild}
		runs, err := b.memory(ctx, w)
		if err != nil {
			return fmt.Errorf("memory with %d partitions: %w", partitions, err)
		}
		m = append(m, runs...)
	}
	if _, err := io.WriteString(out, m.markdown()); err != nil {
		return err
	}
	return m.verdict()
}

func (b *bench) memory(ctx context.Context, w workload) (memoryReport, error) {
	topic := b.name("memory")
	if err := b.cluster.create(ctx, topic, b.Partitions); err != nil {
		return nil, err
	}
	defer b.cluster.remove(ctx, topic)
	var runs memoryReport
	for _, k := range []kind{async, consume} {
		w.Kind, w.Name = k, map[kind]string{async: "producer", consume: "consumer"}[k]
		s := b.spec(w, armDuplex)
		s.Topic, s.Group, s.Every = topic, s.Topic, 20*time.Millisecond
		var err error
		if s.Ends, err = b.cluster.ends(ctx, topic, b.Partitions); err != nil {
			return nil, err
		}
		fmt.Fprintf(b.talk, "%s, %d partitions, %s records\n", w.Name, b.Partitions, thousands(float64(w.Records)))
		r, err := b.run(ctx, s)
		if err != nil {
			return nil, err
		}
		if r.Tally.Count != int64(w.Records) {
			return nil, fmt.Errorf("%s: %d records, want %d", w.Name, r.Tally.Count, w.Records)
		}
		runs = append(runs, memoryRun{w.Name, b.Partitions, w.Records, r})
	}
	return runs, nil
}

// memoryRun is one side of one run.
type memoryRun struct {
	side       string
	partitions int
	records    int
	result     result
}

type memoryReport []memoryRun

// quarter is the median RSS and the most goroutines in the i-th quarter of the
// samples.
func (m memoryRun) quarter(i int) (rss int64, goroutines int) {
	all := m.result.Samples
	part := all[len(all)*i/4 : len(all)*(i+1)/4]
	if len(part) == 0 {
		return 0, 0
	}
	var sizes []int64
	for _, s := range part {
		sizes, goroutines = append(sizes, s.RSS), max(goroutines, s.Goroutines)
	}
	slices.Sort(sizes)
	return sizes[len(sizes)/2], goroutines
}

func (m memoryRun) flat() bool {
	second, _ := m.quarter(1)
	last, _ := m.quarter(3)
	return float64(last) <= float64(second)*flatFactor+flatSlack
}

func (r memoryReport) markdown() string {
	var b strings.Builder
	b.WriteString("| side | partitions | records | records/s | RSS MB by quarter | peak RSS MB | goroutines by quarter | flat |\n|---|---|---|---|---|---|---|---|\n")
	for _, m := range r {
		var sizes, goroutines []string
		for i := range 4 {
			rss, n := m.quarter(i)
			sizes = append(sizes, strconv.FormatInt(rss>>20, 10))
			goroutines = append(goroutines, strconv.Itoa(n))
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %d | %s | %t |\n", m.side, m.partitions, thousands(float64(m.records)),
			thousands(float64(m.records)/m.result.Seconds), strings.Join(sizes, " "), m.result.PeakRSS>>20, strings.Join(goroutines, " "), m.flat())
	}
	return b.String()
}

// verdict is an error where memory grew, or goroutines with the partitions.
func (r memoryReport) verdict() error {
	var errs []error
	least := map[string]memoryRun{}
	for _, m := range r {
		if !m.flat() {
			errs = append(errs, fmt.Errorf("memory of the %s with %d partitions grew", m.side, m.partitions))
		}
		first, seen := least[m.side]
		if !seen {
			least[m.side] = m
			continue
		}
		// A few come and go with requests; one per partition would be hundreds.
		const whims = 10
		if m.result.Goroutines > first.result.Goroutines+whims {
			errs = append(errs, fmt.Errorf("the %s had %d goroutines with %d partitions and %d with %d",
				m.side, first.result.Goroutines, first.partitions, m.result.Goroutines, m.partitions))
		}
	}
	return errors.Join(errs...)
}
