package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/dlq"
)

// Of workloads with dead letters.
const (
	groupLetters   kind = "group letters"
	redriveLetters kind = "redrive"

	// armCommand is the program duplex, as somebody starts it.
	armCommand arm = "duplex dlq groups"

	letterCauses = 400
	// inTransaction is how many records a transaction has, of both arms.
	inTransaction = 4000
)

func letterWorkloads() []workload {
	return []workload{
		{Name: "group dead letters", Kind: groupLetters, Bytes: 100, Records: 1_000_000, Keys: keys},
		{Name: "redrive", Kind: redriveLetters, Bytes: 100, Records: 1_000_000, Keys: keys},
		{Name: "redrive 1 KiB", Kind: redriveLetters, Bytes: 1024, Records: 200_000, Keys: keys},
	}
}

// aboutLetters reports whether the workload is about dead letters.
func (w workload) aboutLetters() bool { return w.Kind == groupLetters || w.Kind == redriveLetters }

func (w workload) letterArms() []arm {
	if w.Kind == groupLetters {
		return []arm{armKgo, armDuplex, armCommand, armControl}
	}
	return []arm{armKgo, armDuplex, armControl}
}

func (w workload) letterTargets() []target {
	if w.Kind == groupLetters {
		return []target{{against: armKgo, least: 0.70}, {of: armCommand, against: armDuplex, least: 1 / 1.5}}
	}
	return []target{{against: armKgo, least: 0.70}}
}

// letterSettings are printed with every result.
func letterSettings() []string {
	return []string{
		"letters as Duplex writes them, of " + strconv.Itoa(letterCauses) + " causes, with " + strconv.Itoa(len(letterHeaders(0, 0))) + " headers; compressed by kgo's default (snappy)",
		"group: kgo reads all records of the topic, read_committed, by partitions, fetches as large as ours, and counts them by the header with the fingerprint; duplex: Inspector.Causes; " +
			armCommand.what() + ": the program from its start to its end, which asks for topics and settings, too",
		"redrive: kgo reads the topic and writes to another, with the headers that we write, transactions of " + strconv.Itoa(inTransaction) +
			" records, one after the other, without an account of what it did; duplex: Redriver.Apply of a plan, with its checkpoints and audit; both have one partition of the target for each of the source, acks=all",
	}
}

func (a arm) what() string { return string(a) }

// compareLetters runs the workloads with dead letters and prints their report.
func compareLetters(ctx context.Context, o options, out, talk io.Writer) error {
	r := report{Began: time.Now().UTC(), Settings: letterSettings(), Partitions: o.Partitions, Rounds: o.Rounds}
	var err error
	if r.Workloads, err = measureAll(ctx, o, talk, letterWorkloads()); err != nil {
		return err
	}
	return o.print(r, out, talk)
}

// letterHeaders are what stands on the i-th letter.
func letterHeaders(partition int32, i int) []kgo.RecordHeader {
	cause := i % letterCauses
	var headers []kgo.RecordHeader
	for _, h := range [][2]string{
		{"tenant", "acme"}, {dlq.HeaderID, fmt.Sprintf("letters/%d/%d@bench#AQIDBA", partition, i)}, {dlq.HeaderOriginTopic, "letters"},
		{dlq.HeaderOriginTopicID, "AQIDBAUGBwgJCgsMDQ4PEA"}, {dlq.HeaderOriginPartition, strconv.Itoa(int(partition))},
		{dlq.HeaderOriginOffset, strconv.Itoa(i)}, {dlq.HeaderOriginTimestamp, "1700000000000"}, {dlq.HeaderAttempt, "4"},
		{dlq.HeaderFirstFailedAt, "1700000001000"}, {dlq.HeaderGeneration, "0"}, {dlq.HeaderGroup, "bench"}, {dlq.HeaderHandler, "letters"},
		{dlq.HeaderReason, "exhausted"}, {dlq.HeaderErrorType, "*errors.errorString"},
		{dlq.HeaderErrorMessage, fmt.Sprintf("booking %d: service %d answers: no such seat", i, cause)}, {dlq.HeaderLastFailedAt, "1700000002000"},
		{dlq.HeaderFingerprint, fmt.Sprintf("v1:%016x", cause)},
	} {
		headers = append(headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	return headers
}

// fillLetters writes the letters of a workload, each partition's by turns.
func (b *bench) fillLetters(ctx context.Context, queue string, w workload) error {
	from := newSource(queue, w)
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(linger))
	if err != nil {
		return err
	}
	defer client.Close()
	c := cluster{client: client}
	return c.publish(ctx, w.Records, func(i int) *kgo.Record {
		r := from.record(i)
		r.Partition = int32(i % b.Partitions)
		r.Headers = letterHeaders(r.Partition, i)
		return r
	})
}

// prepareLetters fills one queue, which every run reads. What a redrive leaves is removed
// after each run.
func (b *bench) prepareLetters(ctx context.Context, w workload) (prepared, error) {
	b.runs++
	topic := b.name("letters-" + strconv.Itoa(b.runs))
	queue, back, states := dlq.DeadTopic("bench", topic), dlq.RedriveTopic("bench", "letters"), dlq.StateTopic("bench")
	if err := b.cluster.create(ctx, queue, b.Partitions); err != nil {
		return prepared{}, err
	}
	program := ""
	if w.Kind == groupLetters {
		var err error
		if program, err = buildCommand(ctx); err != nil {
			return prepared{}, err
		}
	}
	if err := b.fillLetters(ctx, queue, w); err != nil {
		return prepared{}, fmt.Errorf("filling the queue: %w", err)
	}
	ends, err := b.cluster.ends(ctx, queue, b.Partitions)
	if err != nil {
		return prepared{}, err
	}
	want := newSource("", w).want(w.Records, (*tally).addAll)
	done := func() {
		b.cluster.remove(ctx, queue)
		_ = os.RemoveAll(filepath.Dir(program)) // "." without one: a folder that is in use is not removed
	}
	if program == "" {
		done = func() { b.cluster.remove(ctx, queue) }
	}
	return prepared{done: done, run: func(ctx context.Context, a arm, _ bool) (result, error) {
		s := b.spec(w, a)
		s.Topic, s.Ends, s.Group = queue, ends, program
		if w.Kind == redriveLetters {
			s.Beside = back
			if err := b.cluster.create(ctx, back, b.Partitions); err != nil {
				return result{}, err
			}
			defer b.cluster.remove(ctx, back)
			if a == armDuplex {
				defer b.cluster.remove(ctx, states)
			}
		}
		r, err := b.measure(ctx, s)
		if err != nil {
			return r, err
		}
		if r.Tally.Count != int64(w.Records) {
			return r, fmt.Errorf("%d letters, want %d", r.Tally.Count, w.Records)
		}
		if w.Kind == redriveLetters {
			return r, b.cluster.verifyCommitted(ctx, back, b.Partitions, want)
		}
		return r, nil
	}}, nil
}

// buildCommand builds the program duplex.
func buildCommand(ctx context.Context) (string, error) {
	folder, err := os.MkdirTemp("", "duplex-bench")
	if err != nil {
		return "", err
	}
	program := filepath.Join(folder, "duplex")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/duplex") //nolint:gosec // the folder is ours
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the program duplex: %w: %s", err, out)
	}
	return program, nil
}

// verifyCommitted reads a topic as readers of committed records do, and compares.
func (c *cluster) verifyCommitted(ctx context.Context, topic string, partitions int, want tally) error {
	ends, err := c.ends(ctx, topic, partitions)
	if err != nil {
		return err
	}
	var got tally
	if err := readAll(ctx, c.brokers, topic, ends, got.addAll); err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("the records that came back are not those of the queue: %+v, want %+v", got, want)
	}
	return nil
}

// readAll reads a topic to its end, by its partitions.
func readAll(ctx context.Context, brokers []string, topic string, ends []int64, each func(*kgo.Record)) error {
	from, left := map[int32]kgo.Offset{}, 0
	for p, end := range ends {
		if end > 0 {
			from[int32(p)] = kgo.NewOffset().AtStart()
			left++
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(), kgo.FetchMaxBytes(2<<20), kgo.FetchMaxPartitionBytes(1<<20))
	if err != nil {
		return err
	}
	defer client.Close()
	for left > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset == ends[r.Partition]-1 {
				left--
			}
			if !r.Attrs.IsControl() {
				each(r)
			}
		})
	}
	return nil
}

// runGroupLetters groups the letters of a queue.
func runGroupLetters(ctx context.Context, s spec) (res result, err error) {
	began := usageNow()
	switch s.Arm {
	case armDuplex:
		res.Tally.Count, err = groupDuplex(ctx, s)
	case armCommand:
		res.Tally.Count, err = int64(s.Workload.Records), groupCommand(ctx, s)
	default:
		causes := map[string]int64{}
		err = readAll(ctx, s.Brokers, s.Topic, s.Ends, func(r *kgo.Record) {
			for i := range r.Headers {
				if r.Headers[i].Key == dlq.HeaderFingerprint {
					causes[string(r.Headers[i].Value)]++
				}
			}
		})
		for _, n := range causes {
			res.Tally.Count += n
		}
	}
	res.measure(began, usageNow())
	return res, err
}

func groupDuplex(ctx context.Context, s spec) (n int64, err error) {
	i, err := dlq.NewInspector(dlq.InspectorConfig{Cluster: duplex.Cluster{Brokers: s.Brokers}})
	if err != nil {
		return 0, err
	}
	defer i.Close()
	causes, err := i.Causes(ctx, s.Topic, dlq.CausesConfig{})
	if len(causes.All) != min(letterCauses, s.Workload.Records) {
		return 0, errors.Join(err, fmt.Errorf("%d causes were found, want %d", len(causes.All), letterCauses))
	}
	for _, c := range causes.All {
		n += c.Count
	}
	return n, err
}

func groupCommand(ctx context.Context, s spec) error {
	program := exec.CommandContext(ctx, s.Group, "dlq", "groups", s.Topic, "--brokers", strings.Join(s.Brokers, ","), "--most", "0") //nolint:gosec // we built it
	out, err := program.Output()
	if err != nil {
		return fmt.Errorf("duplex dlq groups: %w", err)
	}
	if n := strings.Count(string(out), "\n"); n != min(letterCauses, s.Workload.Records)+1 {
		return fmt.Errorf("duplex dlq groups printed %d lines, want %d", n, letterCauses+1)
	}
	return nil
}

// runRedrive brings the letters of a queue back.
func runRedrive(ctx context.Context, s spec) (res result, err error) {
	if s.Arm == armDuplex {
		return redriveDuplex(ctx, s)
	}
	began := usageNow()
	res.Tally.Count, err = copyLetters(ctx, s)
	res.measure(began, usageNow())
	return res, err
}

func redriveDuplex(ctx context.Context, s spec) (res result, err error) {
	r, err := dlq.NewRedriver(dlq.RedriverConfig{Cluster: duplex.Cluster{Brokers: s.Brokers}})
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	plan, err := r.Plan(ctx, s.Topic, dlq.PlanConfig{Force: true, Reason: "nobody reads it"})
	if err != nil {
		return res, err
	}
	began := usageNow()
	job, err := r.Apply(ctx, plan, dlq.ApplyConfig{})
	if err != nil {
		return res, err
	}
	res.measure(began, usageNow())
	res.Tally.Count = job.Moved
	return res, nil
}

// copyLetters reads the queue and writes what comes back, in transactions.
func copyLetters(ctx context.Context, s spec) (n int64, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(s.Brokers...), kgo.TransactionalID(s.Topic+"-"+strconv.FormatInt(time.Now().UnixNano(), 36)),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	var batch []*kgo.Record
	commit := func() error {
		if err := client.BeginTransaction(); err != nil {
			return err
		}
		if err := client.ProduceSync(ctx, batch...).FirstErr(); err != nil {
			return err
		}
		n += int64(len(batch))
		batch = batch[:0]
		return client.EndTransaction(ctx, kgo.TryCommit)
	}
	var failed error
	err = readAll(ctx, s.Brokers, s.Topic, s.Ends, func(r *kgo.Record) {
		batch = append(batch, broughtBack(s.Beside, r))
		if len(batch) == inTransaction && failed == nil {
			failed = commit()
		}
	})
	if len(batch) > 0 && failed == nil {
		failed = commit()
	}
	return n, errors.Join(err, failed)
}

// broughtBack is a letter with the headers that a redrive writes.
func broughtBack(to string, r *kgo.Record) *kgo.Record {
	headers := make([]kgo.RecordHeader, 0, len(r.Headers)+1)
	for _, h := range r.Headers {
		switch h.Key {
		case dlq.HeaderGroup, dlq.HeaderHandler, dlq.HeaderReason, dlq.HeaderErrorType, dlq.HeaderErrorMessage, dlq.HeaderLastFailedAt, dlq.HeaderFingerprint:
		default:
			headers = append(headers, h)
		}
	}
	headers = append(headers, kgo.RecordHeader{Key: dlq.HeaderRedriveID, Value: []byte("r123456789")})
	return &kgo.Record{Topic: to, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: headers}
}
