package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"
)

// TestMain is also the child that the tests start.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "child" {
		if err := child(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// Under the race detector a process sleeps for a second when it ends, unless told
	// otherwise; a hundred children would take minutes.
	if err := os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

func fake(t *testing.T) []string {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c.ListenAddrs()
}

// The figures mean nothing on the embedded broker; that all arms run, are
// verified and reported does.
func TestEveryWorkloadIsVerifiedAndReported(t *testing.T) {
	var out, talk bytes.Buffer
	args := []string{"all", "-brokers", strings.Join(fake(t), ","), "-rounds", "1", "-scale", "0.0001", "-json"}
	require.NoError(t, run(t.Context(), args, strings.NewReader(""), &out, &talk), talk.String())
	var r report
	require.NoError(t, json.Unmarshal(out.Bytes(), &r))
	require.Len(t, r.Workloads, len(workloads()))
	for _, m := range r.Workloads {
		for _, a := range m.Workload.arms() {
			require.Len(t, m.Runs[a], 1, "%s, %s", m.Workload.Name, a)
			require.Positive(t, m.Runs[a][0].Seconds)
			require.Positive(t, m.Runs[a][0].PeakRSS)
		}
	}
	summary, table, found := strings.Cut(talk.String(), "| workload |")
	require.True(t, found)
	_, summary, found = strings.Cut(summary, "| Duplex ÷ raw franz-go |")
	require.True(t, found)
	require.Contains(t, summary, "| handlers that wait × at once |")
	summary, targets, found := strings.Cut(summary, "| asked for |")
	require.True(t, found)
	require.Equal(t, 3+len(workloads()), strings.Count(summary, "\n|"), summary)
	arms, asked := 0, 0
	for _, w := range workloads() {
		arms += len(w.arms())
		asked += len(w.targets())
	}
	require.Equal(t, 1+asked, strings.Count(targets, "\n|"), targets)
	require.Equal(t, 2+arms, strings.Count(table, "\n|")+1, table)
}

func TestMemoryIsWatched(t *testing.T) {
	var out bytes.Buffer
	args := []string{"memory", "-brokers", strings.Join(fake(t), ","), "-scale", "0.01"}
	err := run(t.Context(), args, strings.NewReader(""), &out, io.Discard)
	if err != nil {
		require.ErrorContains(t, err, "memory of", "so short a run may look as if memory grew")
	}
	require.Equal(t, 4, strings.Count(out.String(), "| 100.0 k |"), out.String())
}

func TestTakeoverIsMeasured(t *testing.T) {
	var out, talk bytes.Buffer
	args := []string{"takeover", "-brokers", strings.Join(fake(t), ","), "-scale", "0.01", "-rounds", "1"}
	require.NoError(t, run(t.Context(), args, strings.NewReader(""), &out, &talk), talk.String())
	require.Regexp(t, `\| kgo \| 10\.0 k \| [\d.]+ \(.*\| 10001 \|`, out.String())
	require.Regexp(t, `\| duplex \| 10\.0 k \| [\d.]+ \(.*\| 5 \|.*\| 0 \|`, out.String())
}

// What things cost is asked of full runs; so few of them cost more each.
func TestFootprintsAreMeasured(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"footprint", "-scale", "0.01"}, strings.NewReader(""), &out, io.Discard))
	each := func(what string) (heap, stack float64) {
		_, row, found := strings.Cut(out.String(), "| "+what)
		require.True(t, found, out.String())
		cells := strings.Split(row, "|")
		heap, err := strconv.ParseFloat(strings.TrimSpace(cells[2]), 64)
		require.NoError(t, err)
		stack, err = strconv.ParseFloat(strings.TrimSpace(cells[4]), 64)
		require.NoError(t, err)
		return heap, stack
	}
	heap, stack := each("key at work")
	require.InDelta(t, 1500, heap, 1400, "a goroutine, a context and a lane")
	require.Greater(t, stack, 1000.0, "a goroutine each")
	heap, _ = each("key that failed and waits")
	require.InDelta(t, 1000, heap, 950, "a lane")
	heap, _ = each("key that was at work and is idle")
	require.Less(t, heap, 500.0)
	heap, _ = each("partition of Duplex")
	require.Positive(t, heap)
}

func TestLossRepeatsAndDamageVoidARun(t *testing.T) {
	c, err := connect(t.Context(), fake(t))
	require.NoError(t, err)
	t.Cleanup(c.close)
	w := workload{Name: "w", Kind: async, Bytes: 100, Records: 1000}
	want := newSource("", w).want(w.Records, (*tally).addAll)
	for name, test := range map[string]struct {
		publish func(p func(i int), s *source, c *cluster)
		want    string
	}{
		"nothing": {func(p func(int), _ *source, _ *cluster) {
			for i := range 1000 {
				p(i)
			}
		}, ""},
		"loss": {func(p func(int), _ *source, _ *cluster) {
			for i := range 999 {
				p(i)
			}
		}, "the log has 999 records, want 1000"},
		"repeat in the place of another": {func(p func(int), _ *source, _ *cluster) {
			for i := range 999 {
				p(i)
			}
			p(0)
		}, "not those that were published"},
	} {
		t.Run(name, func(t *testing.T) {
			topic := strings.ReplaceAll(name, " ", "-")
			require.NoError(t, c.create(t.Context(), topic, 2))
			from := newSource(topic, w)
			test.publish(func(i int) { require.NoError(t, c.client.ProduceSync(t.Context(), from.record(i)).FirstErr()) }, from, c)
			err := c.verify(t.Context(), topic, w, 2, want)
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestUncommittedOffsetsVoidARun(t *testing.T) {
	c, err := connect(t.Context(), fake(t))
	require.NoError(t, err)
	t.Cleanup(c.close)
	require.NoError(t, c.create(t.Context(), "topic", 1))
	require.Error(t, c.committed(t.Context(), "group", "topic", []int64{5}), "there is no such group")
	var at kadm.Offsets
	at.AddOffset("topic", 0, 4, -1)
	require.NoError(t, c.admin.CommitAllOffsets(t.Context(), "group", at))
	require.ErrorContains(t, c.committed(t.Context(), "group", "topic", []int64{5}), "the committed offset is 4, want 5")
	require.NoError(t, c.committed(t.Context(), "group", "topic", []int64{4}))
}

func TestReaderEndsWithTheLastRecord(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	r := newReader([]int64{2, 0, 1}, stop)
	value := []byte("12345678")
	r.handle(&kgo.Record{Partition: 0, Offset: 0, Value: value})
	r.handle(&kgo.Record{Partition: 0, Offset: 1, Value: value})
	_, err := r.result()
	require.Error(t, err)
	require.NoError(t, ctx.Err())
	r.handle(&kgo.Record{Partition: 2, Offset: 0, Value: value})
	require.Error(t, ctx.Err())
	res, err := r.result()
	require.NoError(t, err)
	require.Equal(t, int64(3), res.Tally.Count)
}

func TestOrderOfKeysIsChecked(t *testing.T) {
	t.Parallel()
	record := func(key string, offset int64) *kgo.Record {
		return &kgo.Record{Key: []byte(key), Offset: offset, Value: []byte("12345678")}
	}
	for name, test := range map[string]struct {
		begin func(h *handled)
		wrong int64
	}{
		"in order": {func(h *handled) {
			h.handle(record("key-0", 0))
			h.handle(record("key-1", 2))
			h.handle(record("key-0", 1))
		}, 0},
		"backwards": {func(h *handled) {
			h.handle(record("key-0", 1))
			h.handle(record("key-0", 0))
			h.handle(record("key-1", 2))
		}, 1},
		"twice": {func(h *handled) {
			h.handle(record("key-0", 1))
			h.handle(record("key-0", 1))
			h.handle(record("key-1", 2))
		}, 1},
		"two at once": {func(h *handled) {
			leave := h.enter(record("key-0", 0))
			h.handle(record("key-0", 1))
			leave()
			h.handle(record("key-1", 2))
			h.handle(record("key-1", 3))
		}, 1},
		"a foreign key": {func(h *handled) {
			h.handle(record("key-x", 0))
			h.handle(record("key-0", 1))
			h.handle(record("key-1", 2))
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHandled(spec{Workload: workload{Keys: 2}, Ends: []int64{3}, Verify: true}, func() {})
			test.begin(h)
			require.Equal(t, test.wrong, h.wrong.Load())
			_, err := h.result()
			if test.wrong == 0 {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "out of the order of its key")
		})
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	all := float64(runtime.GOMAXPROCS(0))
	require.Equal(t, "yes", target{against: armKgo, least: 0.4}.reached(0.4, 0))
	require.Equal(t, "no", target{against: armKgo, least: 0.4}.reached(0.39, all))
	require.Equal(t, "no", target{least: 0.9}.reached(0.89, all/2))
	require.Equal(t, "CPU full", target{least: 0.9}.reached(0.5, all))
	runs := func(seconds ...float64) []result {
		var rs []result
		for _, s := range seconds {
			rs = append(rs, result{Seconds: s})
		}
		return rs
	}
	r := report{Rounds: 5, Workloads: []measured{{
		Workload: workload{Name: "w", Kind: keyed, Records: 1000, Work: time.Millisecond, Flight: 1000, Rounds: 3}, // a million a second
		Runs:     map[arm][]result{armDuplex: runs(0.001, 0.002, 0.004), armQueues: runs(0.004), armHash: runs(0.01)},
	}}}
	require.Contains(t, r.targets(), "| w | Concurrency ÷ work | 0.90 | 0.50 | no |")
	require.Contains(t, r.targets(), "| w | queue per key | 1.10 | 2.00 | yes |")
	require.Contains(t, r.markdown(), "Fewer rounds: w: 3.")
	require.Empty(t, report{Workloads: []measured{{Workload: workload{Kind: consume}}}}.targets())
}

func TestRecordsAreTheSameEverywhereAndDiffer(t *testing.T) {
	t.Parallel()
	a, b := newSource("t", workload{Bytes: 100}), newSource("t", workload{Bytes: 100})
	seen := map[string]bool{}
	for i := range 20_000 {
		r := a.record(i)
		require.Equal(t, b.record(i), r)
		require.Len(t, r.Value, 100)
		seen[string(r.Key)+string(r.Value)] = true
	}
	require.Len(t, seen, 20_000)
}

func TestArmsTakeTurns(t *testing.T) {
	t.Parallel()
	require.Equal(t, []arm{armKgo, armDuplex, armControl}, order(workload{}, 0))
	require.Equal(t, []arm{armControl, armDuplex, armKgo}, order(workload{}, 1))
}

func TestSpread(t *testing.T) {
	t.Parallel()
	of := func(seconds ...float64) spread {
		runs := make([]result, len(seconds))
		for i, s := range seconds {
			runs[i].Seconds = s
		}
		return spreadOf(runs, func(r result) float64 { return r.Seconds })
	}
	require.Equal(t, spread{}, of())
	require.Equal(t, spread{3, 3, 3}, of(3))
	require.Equal(t, spread{2, 1, 9}, of(9, 1, 2))
	require.Equal(t, spread{2.5, 1, 9}, of(9, 1, 2, 3))
}

func TestGrowthIsFound(t *testing.T) {
	t.Parallel()
	run := func(partitions, goroutines int, rss ...int64) memoryRun {
		var samples []sample
		for _, mb := range rss {
			samples = append(samples, sample{RSS: mb << 20, Goroutines: goroutines})
		}
		return memoryRun{"producer", partitions, 1, result{Samples: samples, Goroutines: goroutines, Seconds: 1}}
	}
	require.NoError(t, memoryReport{run(100, 20, 50, 100, 110, 115), run(1000, 25, 50, 100, 90, 100)}.verdict())
	require.ErrorContains(t, memoryReport{run(100, 20, 50, 100, 120, 130)}.verdict(), "memory of the producer with 100 partitions grew")
	require.ErrorContains(t, memoryReport{run(100, 20, 1, 1, 1, 1), run(1000, 300, 1, 1, 1, 1)}.verdict(), "300 with 1000")
}

func TestBadFlagsAreNamedTogether(t *testing.T) {
	t.Parallel()
	err := run(t.Context(), []string{"-rounds", "0", "-scale", "-1", "-partitions", "0", "extra"}, nil, io.Discard, io.Discard)
	for _, want := range []string{"-rounds 0", "-scale -1", "-partitions 0", "extra"} {
		require.ErrorContains(t, err, want)
	}
	require.ErrorContains(t, run(t.Context(), []string{"everything"}, nil, io.Discard, io.Discard), `unknown command "everything"`)
}

func TestCPUOfAProcess(t *testing.T) {
	t.Parallel()
	for began := time.Now(); time.Since(began) < 50*time.Millisecond; {
		_ = newSource("t", workload{Bytes: 100})
	}
	used, err := cpuOf(os.Getpid())
	require.NoError(t, err)
	require.Positive(t, used)
	_, err = cpuOf(-1)
	require.Error(t, err)
}
