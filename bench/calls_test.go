package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/rpc"
)

// As for the other workloads, the figures mean nothing here.
func TestCallsAreMeasuredAndReported(t *testing.T) {
	var out, talk bytes.Buffer
	args := []string{"calls", "-brokers", strings.Join(fake(t), ","), "-rounds", "1", "-scale", "0.001", "-partitions", "2", "-json", "-spring", t.TempDir()}
	require.NoError(t, run(t.Context(), args, strings.NewReader(""), &out, &talk), talk.String())
	require.Contains(t, talk.String(), "bench: SKIPPING calls × 1 beside Spring: ")
	var r callReport
	require.NoError(t, json.Unmarshal(out.Bytes(), &r))
	wanted := slices.DeleteFunc(callWorkloads(), func(w workload) bool { return w.Peer == armSpring })
	require.Len(t, r.Workloads, len(wanted))
	arms, asked := 0, 0
	for _, m := range r.Workloads {
		asked += len(m.Workload.callTargets())
		for _, a := range m.Workload.arms() {
			require.Len(t, m.Runs[a], 1, "%s, %s", m.Workload.Name, a)
			one := m.Runs[a][0]
			require.EqualValues(t, m.Workload.Records, one.Tally.Count)
			require.Positive(t, one.PeakRSS)
			if m.Workload.Kind == inFlight {
				require.Equal(t, m.Workload.Records, one.Footprints[0].N)
				continue
			}
			arms++
			require.EqualValues(t, m.Workload.Records+warmCalls*m.Workload.Callers, one.Answers.Handled)
			require.Positive(t, one.Latency.P50)
			require.Positive(t, one.Allocs)
		}
	}
	_, table, found := strings.Cut(talk.String(), "| asked for |")
	require.True(t, found)
	targets, table, found := strings.Cut(table, "| callers |")
	require.True(t, found)
	summary, table, found := strings.Cut(table, "| workload |")
	require.True(t, found)
	echoes, flights, found := strings.Cut(table, "| calls under way |")
	require.True(t, found)
	require.Equal(t, 1+asked, strings.Count(targets, "\n|"), targets)
	require.Equal(t, 1+4, strings.Count(summary, "\n|"), summary)
	require.Equal(t, 1+arms, strings.Count(echoes, "\n|"), echoes)
	require.Equal(t, 2, strings.Count(flights, "\n|"), flights)
	require.Contains(t, targets, "| calls × 1 | p50 | kgo | ≤ 1.15 |")
	require.Contains(t, targets, "| calls × 256 | calls/s | gRPC | ≥ 1.00 |")
}

// So few calls as above are lost in what else comes and goes.
func TestMemoryOfCallsUnderWayIsMeasured(t *testing.T) {
	var out bytes.Buffer
	args := []string{"calls", "-run", "in flight", "-brokers", strings.Join(fake(t), ","), "-scale", "0.02", "-partitions", "2", "-json"}
	require.NoError(t, run(t.Context(), args, strings.NewReader(""), &out, io.Discard))
	var r callReport
	require.NoError(t, json.Unmarshal(out.Bytes(), &r))
	require.Len(t, r.Workloads, 1)
	require.Empty(t, r.targets())
	runs := r.Workloads[0].Runs[armDuplex]
	require.Len(t, runs, 1)
	require.Equal(t, 2000, runs[0].Footprints[0].N)
	require.Greater(t, runs[0].Footprints[0].Heap, 100.0, "a record and its value, at least")
}

// wrongCalls is a run that got all answers, and what the test makes of it.
type wrongCalls struct {
	result    func(*result)
	requests  int // more than there should be
	replies   int
	committed int64
	want      string
}

func TestRunsOfCallsAreVoidedByWhatTheyDidWrong(t *testing.T) {
	c, err := connect(t.Context(), fake(t))
	require.NoError(t, err)
	t.Cleanup(c.close)
	w := workload{Kind: calls, Bytes: 100, Callers: 2, Records: 100}
	const all = 100 + 2*warmCalls
	want := wantedAnswers(w)
	same := func(*result) {}
	for name, test := range map[string]wrongCalls{
		"nothing":                         {same, 0, 0, all, ""},
		"no account":                      {func(r *result) { r.Answers = nil }, 0, 0, all, "no account of the answers"},
		"a wrong answer":                  {func(r *result) { r.Answers.Wrong = 1 }, 0, 0, all, "1 answers are not what was sent"},
		"a lost answer":                   {func(r *result) { r.Tally.Count-- }, 0, 0, all, "answered"},
		"another answer":                  {func(r *result) { r.Tally.Sum++ }, 0, 0, all, "answered"},
		"an answer too many":              {func(r *result) { r.Answers.Extra = 1 }, 0, 0, all, "1 answers belonged to no call"},
		"a request that did not run":      {func(r *result) { r.Answers.Handled-- }, 0, 0, all, "the server answered 119 requests, want 120"},
		"a request that ran twice":        {func(r *result) { r.Answers.Handled++ }, 0, 0, all, "the server answered 121 requests, want 120"},
		"a request written twice":         {same, 1, 0, all, "the log has 121 requests and 120 replies"},
		"a reply that nobody read":        {same, 0, 1, all, "the log has 120 requests and 121 replies"},
		"a request that is not committed": {same, 0, 0, all - 1, "the committed offset is 119, want 120"},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec{Arm: armKgo, Workload: w, Topic: strings.ReplaceAll(name, " ", "-"), Partitions: 1}
			require.NoError(t, c.createForCalls(t.Context(), s))
			for topic, n := range map[string]int{s.requestTopic(): all + test.requests, s.replyTopic(): all + test.replies} {
				require.NoError(t, c.publish(t.Context(), n, func(int) *kgo.Record { return &kgo.Record{Topic: topic} }))
			}
			var offsets kadm.Offsets
			offsets.AddOffset(s.requestTopic(), 0, test.committed, -1)
			require.NoError(t, c.admin.CommitAllOffsets(t.Context(), s.servers(), offsets))
			r := result{Tally: want, Answers: &answers{Handled: all}}
			test.result(&r)
			err := c.judgeCalls(t.Context(), s, r, want)
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}

// A byte of one answer in the middle, and two answers that are each other's.
func TestWrongAnswersAreSeenByTheirBytes(t *testing.T) {
	t.Parallel()
	w := workload{Kind: calls, Bytes: 100, Callers: 4, Records: 400}
	var n, swapped atomic.Int64
	from := newSource("", w)
	e := echo{call: func(_ context.Context, value []byte) ([]byte, error) {
		answer := bytes.Clone(value)
		switch i := n.Add(1) - warmCalls*4; {
		case i == 50:
			answer[99] ^= 1
		case bytes.Equal(value, from.value(60)) && i > 0:
			swapped.Add(1)
			return from.value(61), nil
		case bytes.Equal(value, from.value(61)) && i > 0:
			swapped.Add(1)
			return from.value(60), nil
		}
		return answer, nil
	}}
	r, err := e.measure(t.Context(), spec{Workload: w})
	require.NoError(t, err)
	require.EqualValues(t, 2, swapped.Load())
	require.EqualValues(t, 3, r.Answers.Wrong)
	require.Equal(t, wantedAnswers(w), r.Tally, "no first byte is another, and all came")
}

func TestLostAnswersEndARun(t *testing.T) {
	t.Parallel()
	lost := errors.New("nothing came")
	e := echo{call: func(context.Context, []byte) ([]byte, error) { return nil, lost }}
	_, err := e.measure(t.Context(), spec{Workload: workload{Bytes: 100, Callers: 2, Records: 10}})
	require.ErrorIs(t, err, lost)
}

// The caller by hand counts what belongs to no call.
func TestExtraRepliesAreCountedByHand(t *testing.T) {
	brokers := fake(t)
	c, err := connect(t.Context(), brokers)
	require.NoError(t, err)
	t.Cleanup(c.close)
	s := spec{Arm: armKgo, Brokers: brokers, Topic: "calls", Partitions: 1}
	require.NoError(t, c.createForCalls(t.Context(), s))
	h, err := newHandCaller(t.Context(), s)
	require.NoError(t, err)
	for _, headers := range [][]kgo.RecordHeader{nil, {{Key: rpc.HeaderCorrelationID, Value: handID(7)}}, {{Key: rpc.HeaderCorrelationID, Value: []byte("short")}}} {
		require.NoError(t, c.client.ProduceSync(t.Context(), &kgo.Record{Topic: s.replyTopic(), Headers: headers}).FirstErr())
	}
	require.True(t, wait(t.Context(), func() bool { return h.extra.Load() == 3 }))
	require.NoError(t, h.close())
}

func TestIDsByHand(t *testing.T) {
	t.Parallel()
	for _, n := range []uint64{0, 1, 1 << 40, 1<<64 - 1} {
		id := handID(n)
		require.Len(t, id, 38, "as many bytes as Duplex's")
		got, ok := handNumber([]kgo.RecordHeader{{Value: id}})
		require.True(t, ok)
		require.Equal(t, n, got)
	}
}

func TestCallsThatAreNotUnderWayVoidTheirMeasurement(t *testing.T) {
	t.Parallel()
	s := spec{Workload: workload{Records: 10}}
	good := result{Tally: tally{Count: 10}, Footprints: []footprint{{N: 10}}}
	require.NoError(t, judgeInFlight(s, good))
	answered := good
	answered.Tally.Count = 9
	require.ErrorContains(t, judgeInFlight(s, answered), "9 calls were under way to the end, want 10")
	few := good
	few.Footprints = []footprint{{N: 9}}
	require.ErrorContains(t, judgeInFlight(s, few), "the memory of 10 calls was not measured")
	require.Error(t, judgeInFlight(s, result{}))
}

func TestTargetsOfCalls(t *testing.T) {
	t.Parallel()
	of := func(seconds float64, p50, p99 int64) result {
		return result{Seconds: seconds, Latency: &latency{P50: p50, P99: p99}}
	}
	three := func(seconds float64, p50, p99 int64) []result {
		return slices.Repeat([]result{of(seconds, p50, p99)}, 3)
	}
	one := measured{Workload: workload{Name: "one", Kind: calls, Callers: 1, Records: 100}, Runs: map[arm][]result{
		armKgo: three(1, 100, 200), armDuplex: three(1, 120, 250), armControl: {of(1, 90, 200), of(1, 121, 200), of(1, 100, 260)},
	}}
	many := measured{Workload: workload{Name: "many", Kind: calls, Callers: 64, Records: 100}, Runs: map[arm][]result{
		armKgo: three(1.2, 100, 200), armDuplex: three(1, 120, 250), armControl: three(1, 100, 200),
	}}
	most := measured{Workload: workload{Name: "most", Kind: calls, Callers: 256, Records: 100}, Runs: map[arm][]result{
		armGRPC: three(1, 100, 200), armDuplex: three(1.01, 120, 250),
	}}
	r := callReport{Workloads: []measured{one, many, most}}
	require.Contains(t, r.targets(), "| one | p50 | kgo | ≤ 1.15 | 1.20 | 1.00 | within noise |")
	require.Contains(t, r.targets(), "| one | p99 | kgo | ≤ 1.25 | 1.25 | 1.00 | yes |")
	require.Contains(t, r.targets(), "| many | calls/s | kgo | ≥ 1.20 | 1.20 | 1.20 | yes |")
	require.Contains(t, r.targets(), "| most | calls/s | gRPC | ≥ 1.00 | 0.99 | – | no |")
	one.Runs[armControl] = three(1, 119, 200)
	one.Runs[armDuplex] = three(1, 120, 251)
	require.Contains(t, r.targets(), "| one | p50 | kgo | ≤ 1.15 | 1.20 | 1.19 | no |")
	require.Contains(t, r.targets(), "| one | p99 | kgo | ≤ 1.25 | 1.25 | 1.00 | no |")
}

func TestWorkloadsBesideAPeerHaveNoTargets(t *testing.T) {
	t.Parallel()
	for _, w := range callWorkloads() {
		if w.Peer != "" {
			require.Empty(t, w.callTargets())
			require.Equal(t, []arm{armDuplex, w.Peer}, w.arms())
		}
	}
}

func TestSpringIsLeftOutWhereItCannotBeBuilt(t *testing.T) {
	t.Parallel()
	require.Error(t, buildSpring(t.Context(), t.TempDir()), "there is no program, or no Java")
	require.Equal(t, springWarm, spec{Arm: armSpring, Workload: workload{Callers: 1}}.warm())
	require.Equal(t, 640, spec{Arm: armDuplex, Workload: workload{Callers: 64}}.warm())
}
