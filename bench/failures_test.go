package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// As for the other workloads, the figures mean nothing here.
func TestFailuresAreMeasuredAndReported(t *testing.T) {
	var out, talk bytes.Buffer
	args := []string{"failures", "-brokers", strings.Join(fake(t), ","), "-rounds", "1", "-scale", "0.001", "-partitions", "2", "-json"}
	require.NoError(t, run(t.Context(), args, strings.NewReader(""), &out, &talk), talk.String())
	var r failureReport
	require.NoError(t, json.Unmarshal(out.Bytes(), &r))
	require.Len(t, r.Workloads, len(failureWorkloads()))
	arms, asked := 0, 0
	for _, m := range r.Workloads {
		want := wantedOf(m.Workload)
		for _, a := range m.Workload.arms() {
			arms++
			require.Len(t, m.Runs[a], 1, "%s, %s", m.Workload.Name, a)
			by, percent := a.share()
			o := m.Runs[a][0].Outcome
			require.Equal(t, want.failed[percent].Count, o.Failed-o.Again, "%s, %s", m.Workload.Name, a)
			if m.Workload.retries() {
				require.Equal(t, o.Failed, o.Retried)
			}
			if by != armWatermill {
				require.Zero(t, o.Lost+o.Again+o.Uncommitted)
			}
		}
		asked += len(m.Workload.targets())
	}
	_, table, found := strings.Cut(talk.String(), "| asked for |")
	require.True(t, found)
	targets, table, found := strings.Cut(table, "| workload |")
	require.True(t, found)
	require.Equal(t, 1+asked, strings.Count(targets, "\n|"), targets)
	require.Equal(t, 1+arms, strings.Count(table, "\n|"), table)
	require.Contains(t, targets, "| failing: duplex, 1 % | duplex, 0 % | 0.95 |")
	require.Contains(t, targets, "| hops to a retry topic: duplex, 100 % | kgo, 100 % | 0.70 |")
}

func TestMemoryBesideWaitingRecordsIsMeasured(t *testing.T) {
	var out bytes.Buffer
	args := []string{"waiting", "-brokers", strings.Join(fake(t), ","), "-scale", "0.001", "-partitions", "2"}
	require.NoError(t, run(t.Context(), args, strings.NewReader(""), &out, io.Discard))
	for _, row := range []string{"\n| 0 | 0 | 1.0 k |", "\n| 100 | 100 | 1.0 k |", "\n| 1.0 k | 1.0 k | 1.0 k |"} {
		require.Contains(t, out.String(), row)
	}
}

func TestRecordsThatDoNotWaitVoidTheMeasurement(t *testing.T) {
	c, err := connect(t.Context(), fake(t))
	require.NoError(t, err)
	t.Cleanup(c.close)
	b := bench{cluster: c, options: options{Partitions: 1}, run: func(context.Context, spec) (result, error) { return result{}, nil }}
	s := spec{Topic: "source", Group: "group", Workload: workload{Bytes: 100, Records: 10, Keys: keys, Delay: time.Hour}}
	require.NoError(t, c.create(t.Context(), s.Topic, 1))
	require.NoError(t, c.create(t.Context(), besideOf(s), 1))
	require.ErrorContains(t, b.hopAll(t.Context(), s), "0 records are in the retry topic, want 10")
}

func TestMemoryThatGrowsWithWhatWaitsIsFound(t *testing.T) {
	t.Parallel()
	of := func(heap, peak int64) waitingRun {
		return waitingRun{heap: float64(heap << 20), result: result{PeakRSS: peak << 20}}
	}
	require.NoError(t, waitingReport{of(1, 20), of(50, 100), of(60, 117)}.verdict())
	require.ErrorContains(t, waitingReport{of(1, 20), of(50, 100), of(64, 100)}.verdict(), "memory grew")
	require.ErrorContains(t, waitingReport{of(1, 20), of(50, 100), of(50, 119)}.verdict(), "memory grew")
}

func TestSharesOfArms(t *testing.T) {
	t.Parallel()
	by, percent := share(armNoPolicy, 10).share()
	require.Equal(t, armNoPolicy, by)
	require.Equal(t, 10, percent)
	by, percent = armDuplex.share()
	require.Equal(t, armDuplex, by)
	require.Zero(t, percent)
}

func TestAsManyFailAsAreSaidTo(t *testing.T) {
	t.Parallel()
	w := workload{Kind: failed, Bytes: 100, Records: 200_000, Keys: keys}
	want := wantedOf(w)
	require.Equal(t, []int{0, 1, 10}, slices.Sorted(maps.Keys(want.failed)))
	require.Zero(t, want.failed[0].Count)
	require.InDelta(t, 2000, want.failed[1].Count, 200)
	require.InDelta(t, 20_000, want.failed[10].Count, 1000)
	w.Kind = hops
	require.EqualValues(t, w.Records, wantedOf(w).failed[100].Count)
}

func TestTargetsOfAnArmOfItsOwn(t *testing.T) {
	t.Parallel()
	r := report{Workloads: []measured{{
		Workload: workload{Name: "w", Kind: failed, Records: 1000},
		Runs: map[arm][]result{
			share(armDuplex, 0): {{Seconds: 1}}, share(armDuplex, 1): {{Seconds: 1.02}}, share(armDuplex, 10): {{Seconds: 2}},
		},
	}}}
	require.Contains(t, r.targets(), "| w: duplex, 1 % | duplex, 0 % | 0.95 | 0.98 | yes |")
	require.Contains(t, r.targets(), "| w: duplex, 10 % | duplex, 0 % | 0.70 | 0.50 | no |")
}

// wrongRun is a run with failures that did all of its work, and what the test makes
// of it.
type wrongRun struct {
	beside    func([]*kgo.Record) []*kgo.Record
	result    func(*result)
	committed int64
	want      string
	behind    int64 // retried records that are not committed
}

func TestRunsWithFailuresAreVoidedByWhatTheyDidWrong(t *testing.T) {
	c, err := connect(t.Context(), fake(t))
	require.NoError(t, err)
	t.Cleanup(c.close)
	w := workload{Kind: failed, Bytes: 100, Records: 1000, Keys: keys, Delay: time.Second}
	want, from := wantedOf(w), newSource("source", w)
	require.NoError(t, c.create(t.Context(), "source", 1))
	require.NoError(t, c.fill(t.Context(), "source", w))
	same := func(rs []*kgo.Record) []*kgo.Record { return rs }
	for name, test := range map[string]wrongRun{
		"nothing":                       {same, func(*result) {}, 1000, "", 0},
		"a record that was not handled": {same, func(r *result) { r.Tally.Count-- }, 1000, "handled", 0},
		"another record handled":        {same, func(r *result) { r.Tally.Sum++ }, 1000, "handled", 0},
		"a failure too many":            {same, func(r *result) { r.Outcome.Failed++ }, 1000, "handled", 0},
		"a failed record lost":          {func(rs []*kgo.Record) []*kgo.Record { return rs[1:] }, func(*result) {}, 1000, "the topic of failed records has", 0},
		"a failed record twice": {func(rs []*kgo.Record) []*kgo.Record {
			again := *rs[0]
			return append(rs, &again)
		}, func(*result) {}, 1000, "the topic of failed records has", 0},
		"a key lost": {func(rs []*kgo.Record) []*kgo.Record { rs[3].Key = nil; return rs }, func(*result) {}, 1000, "the topic of failed records has", 0},
		"fewer headers": {func(rs []*kgo.Record) []*kgo.Record {
			for _, r := range rs {
				r.Headers = r.Headers[1:]
			}
			return rs
		}, func(*result) {}, 1000, "bytes of headers", 0},
		"a record uncommitted":         {same, func(*result) {}, 999, "the committed offset is 999, want 1000", 0},
		"a retried record uncommitted": {same, func(*result) {}, 1000, "the committed offset is", 1},
	} {
		t.Run(name, func(t *testing.T) {
			group := strings.ReplaceAll(name, " ", "-")
			s := spec{Arm: share(armKgo, 10), Workload: w, Topic: "source", Group: group, Beside: group + "-beside", Ends: []int64{1000}}
			require.NoError(t, c.create(t.Context(), s.Beside, 1))
			var records []*kgo.Record
			for i := range w.Records {
				if r := from.record(i); fails(r.Value, 10) {
					records = append(records, &kgo.Record{Topic: s.Beside, Key: r.Key, Value: r.Value, Headers: headersByHand(s)})
				}
			}
			records = test.beside(records)
			require.NoError(t, c.publish(t.Context(), len(records), func(i int) *kgo.Record { return records[i] }))
			for g, at := range map[string]int64{group: test.committed, retryGroup(group): int64(len(records)) - test.behind} {
				var offsets kadm.Offsets
				offsets.AddOffset(map[string]string{group: s.Topic, retryGroup(group): s.Beside}[g], 0, at, -1)
				require.NoError(t, c.admin.CommitAllOffsets(t.Context(), g, offsets))
			}
			r := result{Tally: want.all, Outcome: &outcome{Failed: want.failed[10].Count}}
			test.result(&r)
			err := c.judge(t.Context(), s, &r, want)
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}

// Of a peer it is counted.
func TestWhatAPeerLosesAndRepeatsIsCounted(t *testing.T) {
	c, err := connect(t.Context(), fake(t))
	require.NoError(t, err)
	t.Cleanup(c.close)
	w := workload{Kind: failed, Bytes: 100, Records: 1000, Keys: keys, Dead: true}
	want, from := wantedOf(w), newSource("beside", w)
	failed := want.failed[10].Count
	require.NoError(t, c.create(t.Context(), "beside", 1))
	require.NoError(t, c.create(t.Context(), "source", 1))
	written := 0
	for i := range w.Records { // all but the first that fails, and the second twice
		r := from.record(i)
		if !fails(r.Value, 10) {
			continue
		}
		for range []int{0, 2, 1}[min(written, 2)] {
			require.NoError(t, c.client.ProduceSync(t.Context(), from.record(i)).FirstErr())
		}
		written++
	}
	var at kadm.Offsets
	at.AddOffset("source", 0, 990, -1)
	require.NoError(t, c.admin.CommitAllOffsets(t.Context(), "group", at))
	r := result{Tally: tally{Count: 1000 - failed - 3}, Outcome: &outcome{Failed: failed, Again: 4}}
	s := spec{Arm: share(armWatermill, 10), Workload: w, Topic: "source", Group: "group", Beside: "beside", Ends: []int64{1000}}
	require.NoError(t, c.judge(t.Context(), s, &r, want))
	require.Equal(t, outcome{Failed: failed, Lost: 4, Again: 5, Uncommitted: 10}, *r.Outcome)
}

func TestRecordsThatComeAgainCountOnceWhereThatIsExpected(t *testing.T) {
	t.Parallel()
	f := newFailing(spec{Arm: share(armWatermill, 0), Ends: []int64{40}})
	f.remember()
	value := []byte("12345678")
	for offset := range int64(40) {
		require.NoError(t, f.first(0, offset, value))
		require.NoError(t, f.first(0, offset, value))
	}
	<-f.ran
	require.Equal(t, int64(40), f.again.Load())
	require.Equal(t, int64(40), f.tallies[0].ran.Load())
}
