package dlq

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/offsets"
)

// wired is a job in the middle: 12 letters of two partitions, one of them left, one a copy.
func wired() (*Job, map[int32]offsets.Set, map[int32]offsets.Set) {
	at := time.UnixMilli(1700000000000).UTC()
	var first, second, copies, left offsets.Set
	first.AddRun(300, 310)
	second.AddRun(2, 3)
	second.AddRun(7, 8)
	copies.AddRun(311, 312)
	left.AddRun(305, 306)
	plan := Plan{
		ID: "p0123456789ab", Kind: KindRedrive, Queue: "dlq.billing.orders", QueueID: "AQIDBAUGBwgJCgsMDQ4PEA", Filter: "reason=exhausted", Limit: 12, Edited: true,
		By: "ann@ops-1", Reason: "payments is back", Made: at, Records: 12, Bytes: 4096, Scanned: 20,
		Partitions: []PlanPartition{{Partition: 0, Start: 290, End: 312, Records: 10}, {Partition: 1, End: 8, Records: 2}},
		Causes:     []PlanCause{{Fingerprint: "v1:0123456789abcdef", Records: 12, Message: "connection refused"}},
		To:         []PlanTopic{{Topic: "redrive.billing.orders", Partitions: 2, Records: 12, Receivers: []Receiver{{Group: "billing", State: "Stable", Members: 3}}}},
		Blocked:    map[Blocked]int64{BlockedLoop: 1}, Samples: []PlanSample{{Offset: 300, ID: "orders/0/42@billing#AQIDBA", Message: "connection refused", To: "redrive.billing.orders"}},
	}
	j := &Job{
		ID: "rabcdefghi", Plan: plan, Began: at, Owner: "ops-1/4711/abcdefghij", State: JobRunning, Heartbeat: at.Add(time.Second), Moved: 9, Bytes: 3072, seq: 3,
		checkpoint: map[int32]int64{0: 310, 1: 0}, left: map[int32]offsets.Set{0: left},
	}
	return j, map[int32]offsets.Set{0: first, 1: second}, map[int32]offsets.Set{0: copies}
}

// stateEntries are one of each kind, as they stand in the state topic.
func stateEntries(t *testing.T) (all []*kgo.Record) {
	t.Helper()
	j, selected, copies := wired()
	topic := StateTopicOf(j.Plan.Queue)
	add := func(key string, value any) {
		e, err := entry(topic, key, value)
		require.NoError(t, err)
		all = append(all, e)
	}
	add(jobPrefix+j.ID, jobEntry{Version: stateVersion, Seq: j.seq, Began: j.Began.UnixMilli(), Plan: j.Plan})
	for _, partition := range []int32{0, 1} {
		all = append(all, selectionEntries(topic, j.ID, setSelected, map[int32]offsets.Set{partition: selected[partition]})...)
	}
	all = append(all, selectionEntries(topic, j.ID, setCopies, copies)...)
	add(progressPrefix+j.ID, j.progress())
	add(controlPrefix+j.ID, control{Version: stateVersion, Want: wantRun, Rate: 50, By: "bob@ops-2", Why: "slower", At: 1700000002000})
	c := &chain{}
	c.env.Group = "billing"
	handled := c.outcome(journey{id: "orders/0/42@billing#AQIDBA", generation: 1, redriveID: j.ID}, OutcomeHandled).Record
	handled.Value = atOnce(handled.Value)
	return append(all, handled)
}

// auditEntries are one about a job, and one about a trim.
func auditEntries() []*kgo.Record {
	j, _, _ := wired()
	moved := j.audit("moved")
	moved.At, moved.Records, moved.Offsets = j.Began, 9, map[int32][][2]int64{0: {{300, 304}, {306, 309}}}
	trim := Audit{At: j.Began, Event: "trimming", Queue: j.Plan.Queue, By: "ann@ops-1", Owner: "ops-1", Records: 10, Offsets: map[int32][][2]int64{0: {{290, 299}}}}
	return []*kgo.Record{moved.record(), trim.record()}
}

// redrivenRecords are letters on their way back: as they are, edited, and to their origin.
func redrivenRecords(t *testing.T) (all []*kgo.Record) {
	t.Helper()
	first := func(file string) *Letter {
		text, err := os.ReadFile("testdata/letters/" + file + ".ndjson")
		require.NoError(t, err)
		line, _, _ := bytes.Cut(text, []byte("\n"))
		read, err := ParseLine(line)
		require.NoError(t, err)
		var l Letter
		newDecoder().decode(&l, read.Record)
		return l.Clone()
	}
	ours, theirs := first("duplex"), first("spring")
	return []*kgo.Record{Target{}.redriven(ours, "rabcdefghi", false), Target{}.redriven(ours, "rabcdefghi", true), Target{Origin: true}.redriven(theirs, "rabcdefghi", false)}
}

// atOnce puts a time that is not that of the clock into an outcome.
func atOnce(value []byte) []byte {
	before, _, _ := bytes.Cut(value, []byte(`"at":`))
	return append(bytes.Clone(before), `"at":1700000003000}`...)
}

// What other programs can see of redrives, byte by byte: docs/wire-format.md.
func TestWireOfRedrives(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	for _, r := range append(append(stateEntries(t), auditEntries()...), redrivenRecords(t)...) {
		fmt.Fprintf(&b, "%s\n  key   %q\n", r.Topic, r.Key)
		for _, h := range r.Headers {
			fmt.Fprintf(&b, "  header %s: %q\n", h.Key, h.Value)
		}
		fmt.Fprintf(&b, "  value %q\n", r.Value)
	}
	const golden = "testdata/wire.txt"
	if *update {
		require.NoError(t, os.WriteFile(golden, b.Bytes(), 0o600))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String())
}

// What is written of a job says the same when it is read.
func TestWireOfRedrivesIsRead(t *testing.T) {
	t.Parallel()
	s := newStates("dlq.billing.orders", "AQIDBAUGBwgJCgsMDQ4PEA")
	for _, r := range stateEntries(t) {
		require.NoError(t, s.apply(r))
	}
	want, selected, copies := wired()
	require.Zero(t, s.ignored)
	require.Len(t, s.jobs, 1)
	got := s.jobs[0]
	require.Equal(t, want.Plan, got.Plan)
	require.Equal(t, selected, got.selected)
	require.Equal(t, copies, got.copies)
	require.Equal(t, []any{want.State, want.Owner, want.Moved, int64(1), int64(1), want.checkpoint, want.left}, []any{got.State, got.Owner, got.Moved, got.Left, got.Handled, got.checkpoint, got.left})
	require.Equal(t, control{Version: stateVersion, Want: wantRun, Rate: 50, By: "bob@ops-2", Why: "slower", At: 1700000002000}, got.wants)
	letter := func(partition int32, offset int64, id string) *Letter {
		return &Letter{Partition: partition, Offset: offset, Failure: Failure{ID: id}}
	}
	for _, of := range []struct {
		l    *Letter
		want State
	}{
		{letter(0, 299, "a"), StateOpen}, {letter(0, 300, "orders/0/42@billing#AQIDBA"), StateHandled}, {letter(0, 301, "b"), StateRedriven},
		{letter(0, 305, "c"), StateOpen}, {letter(1, 2, "d"), StateSelected}, {letter(1, 3, "e"), StateOpen},
	} {
		require.Equal(t, of.want, s.of(of.l), "%d/%d", of.l.Partition, of.l.Offset)
	}
	for _, r := range auditEntries() {
		a, err := ParseAudit(r.Value)
		require.NoError(t, err)
		require.Equal(t, r.Value, a.record().Value)
	}
}

// The states of letters are drawn twice, the same.
func TestStatesAreDrawnInTheDocumentation(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("letter.go")
	require.NoError(t, err)
	page, err := os.ReadFile("../docs/failures.md")
	require.NoError(t, err)
	_, drawn, found := bytes.Cut(source, []byte("// State is how far a dead letter is.\n//\n"))
	require.True(t, found)
	drawn, _, _ = bytes.Cut(drawn, []byte("type State"))
	require.Contains(t, string(page), "```\n"+string(bytes.ReplaceAll(drawn, []byte("//\t"), nil))+"```\n")
}
