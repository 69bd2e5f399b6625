package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// compare runs the workloads of the command and prints the report.
func compare(ctx context.Context, o options, command string, out, talk io.Writer) error {
	c, err := connect(ctx, o.Brokers)
	if err != nil {
		return err
	}
	defer c.close()
	r := report{Began: time.Now().UTC(), Settings: settings(), Partitions: o.Partitions, Rounds: o.Rounds}
	b := bench{options: o, cluster: c, talk: talk, id: strconv.FormatInt(time.Now().UnixMilli(), 36), run: inChild}
	for _, w := range workloads() {
		group := "produce"
		if w.reads() {
			group = "consume"
		}
		if command != "all" && command != group || !o.only.MatchString(w.Name) {
			continue
		}
		if command == "all" && o.only.String() == "" {
			w.Rounds = w.roundsInAll()
		}
		runs, err := b.workload(ctx, w.scaled(o.Scale))
		if err != nil {
			return fmt.Errorf("%s: %w", w.Name, err)
		}
		r.Workloads = append(r.Workloads, runs)
	}
	return o.print(r, out, talk)
}

// measureAll runs those of workloads that the options choose.
func measureAll(ctx context.Context, o options, talk io.Writer, workloads []workload) (all []measured, err error) {
	c, err := connect(ctx, o.Brokers)
	if err != nil {
		return nil, err
	}
	defer c.close()
	b := bench{options: o, cluster: c, talk: talk, id: strconv.FormatInt(time.Now().UnixMilli(), 36), run: inChild}
	for _, w := range workloads {
		if !o.only.MatchString(w.Name) {
			continue
		}
		runs, err := b.workload(ctx, w.scaled(o.Scale))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.Name, err)
		}
		all = append(all, runs)
	}
	return all, nil
}

// bench is one comparison at work.
type bench struct {
	options

	cluster *cluster
	talk    io.Writer
	id      string // makes the names of topics and groups unique
	run     func(context.Context, spec) (result, error)
	runs    int
}

// order is who runs when: in every second round backwards, so that a drift of the
// machine meets all arms alike. Round 0 does not count.
func order(w workload, round int) []arm {
	arms := w.arms()
	if round%2 == 1 {
		slices.Reverse(arms)
	}
	return arms
}

func (b *bench) workload(ctx context.Context, w workload) (measured, error) {
	m := measured{Workload: w, Runs: map[arm][]result{}}
	prepared, err := b.prepare(ctx, w)
	if err != nil {
		return m, err
	}
	defer prepared.done()
	rounds := b.Rounds
	if w.Rounds > 0 {
		rounds = min(rounds, w.Rounds)
	}
	for round := range rounds + 1 {
		for _, a := range order(w, round) {
			r, err := prepared.run(ctx, a, round == 0)
			if err != nil {
				return m, fmt.Errorf("round %d, %s: this comparison is void: %w", round, a, err)
			}
			note := ""
			if round == 0 {
				note = " (not counted)"
			} else {
				m.Runs[a] = append(m.Runs[a], r)
			}
			fmt.Fprintf(b.talk, "%-20s round %d/%d %-19s %11s/s %7.2f CPU s/M%s\n",
				w.Name, round, rounds, a, thousands(float64(w.Records)/r.Seconds), r.CPUSeconds/float64(w.Records)*1e6, note)
		}
	}
	return m, nil
}

// prepared is a workload with all that its runs share.
type prepared struct {
	run  func(ctx context.Context, a arm, verify bool) (result, error)
	done func()
}

func (b *bench) prepare(ctx context.Context, w workload) (prepared, error) {
	switch {
	case w.Kind == takeover:
		return b.prepareTakeover(ctx, w)
	case w.failsSome():
		return b.prepareFailing(ctx, w)
	case w.aboutCalls():
		return b.prepareCalls(w), nil
	case w.aboutLetters():
		return b.prepareLetters(ctx, w)
	case w.reads():
		return b.prepareConsume(ctx, w)
	}
	want := newSource("", w).want(w.Records, (*tally).addAll)
	return prepared{done: func() {}, run: func(ctx context.Context, a arm, _ bool) (result, error) {
		s := b.spec(w, a)
		if err := b.cluster.create(ctx, s.Topic, b.Partitions); err != nil {
			return result{}, err
		}
		defer b.cluster.remove(ctx, s.Topic)
		r, err := b.measure(ctx, s)
		if err != nil {
			return r, err
		}
		if r.Tally.Count != int64(w.Records) {
			return r, fmt.Errorf("%d records were acknowledged, want %d", r.Tally.Count, w.Records)
		}
		return r, b.cluster.verify(ctx, s.Topic, w, b.Partitions, want)
	}}, nil
}

// prepareConsume fills one topic, which every run reads with a group of its own.
func (b *bench) prepareConsume(ctx context.Context, w workload) (prepared, error) {
	b.runs++
	topic := b.name("consume-" + strconv.Itoa(b.runs)) // a name of its own: a deleted one may not come back at once
	if err := b.cluster.create(ctx, topic, b.Partitions); err != nil {
		return prepared{}, err
	}
	if err := b.cluster.fill(ctx, topic, w); err != nil {
		return prepared{}, fmt.Errorf("filling the topic: %w", err)
	}
	ends, err := b.cluster.ends(ctx, topic, b.Partitions)
	if err != nil {
		return prepared{}, err
	}
	want := newSource("", w).want(w.Records, (*tally).add)
	return prepared{done: func() { b.cluster.remove(ctx, topic) }, run: func(ctx context.Context, a arm, verify bool) (result, error) {
		s := b.spec(w, a)
		s.Topic, s.Group, s.Ends, s.Verify = topic, s.Topic, ends, verify
		r, err := b.measure(ctx, s)
		if err != nil {
			return r, err
		}
		if r.Tally != want {
			return r, fmt.Errorf("handled %+v, want %+v", r.Tally, want)
		}
		return r, b.cluster.committed(ctx, s.Group, topic, ends)
	}}, nil
}

func (b *bench) spec(w workload, a arm) spec {
	b.runs++
	s := spec{Arm: a, Workload: w, Brokers: b.Brokers, Topic: b.name(strconv.Itoa(b.runs)), Every: 20 * time.Millisecond}
	if b.Profiles != "" {
		name := strings.NewReplacer(" ", "-", "×", "x", ",", "", "%", "percent").Replace(fmt.Sprintf("%s-%s-%d.pprof", w.Name, a, b.runs))
		// The child runs in the same folder, but absolute is what a reader expects.
		s.Profile, _ = filepath.Abs(filepath.Join(b.Profiles, name))
	}
	return s
}

func (b *bench) name(what string) string { return "bench-" + b.id + "-" + what }

// measure adds the broker's CPU to a run.
func (b *bench) measure(ctx context.Context, s spec) (result, error) {
	if b.BrokerPID == 0 {
		return b.run(ctx, s)
	}
	before, err := cpuOf(b.BrokerPID)
	if err != nil {
		return result{}, err
	}
	r, err := b.run(ctx, s)
	if err != nil {
		return r, err
	}
	after, err := cpuOf(b.BrokerPID)
	r.BrokerCPU = (after - before).Seconds()
	return r, err
}

// inChild runs a spec in a process of its own.
func inChild(ctx context.Context, s spec) (result, error) {
	self, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	in, err := json.Marshal(s)
	if err != nil {
		return result{}, err
	}
	cmd := exec.CommandContext(ctx, self, "child") //nolint:gosec // this very program
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return result{}, err
	}
	var r result
	if err := json.Unmarshal(out, &r); err != nil {
		return r, fmt.Errorf("reading a child's result: %w", err)
	}
	return r, nil
}
