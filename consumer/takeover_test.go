package consumer

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex/internal/commitmeta"
)

func records(offsets ...int64) (rs []*kgo.Record) {
	for _, o := range offsets {
		rs = append(rs, &kgo.Record{Topic: "orders", Offset: o})
	}
	return rs
}

// takenOver is an assignment of a partition whose former owner had read it up to
// offset 20 and not finished 10, 13, 14 and 18.
func takenOver(o Ordering, heads ...commitmeta.Head) *assignment {
	return opened(Config{Ordering: o}, commitmeta.Meta{
		Partitions: 1,
		Runs:       []commitmeta.Run{{N: 1}, {Finished: true, N: 2}, {N: 2}, {Finished: true, N: 3}, {N: 1}, {Finished: true, N: 1}},
		Heads:      heads,
	})
}

// opened is an assignment from offset 10 on whose workers never come.
func opened(cfg Config, meta commitmeta.Meta) *assignment {
	e := &engine{cfg: cfg.withDefaults(), counts: &counts{}, born: time.Now(), routes: map[string]*route{"orders": {source: "orders"}}, log: zap.NewNop()}
	e.pool = newPool(0, e.visit)
	e.timers.closed = true
	return newAssignment(e, opening{topic: "orders", offset: 10, committed: 10, meta: meta})
}

// toRun is the offsets that wait in the queue.
func (a *assignment) toRun() (offsets []int64) {
	for _, piece := range a.queue.records(nil) {
		for _, r := range piece {
			offsets = append(offsets, r.Offset)
		}
	}
	return offsets
}

// finishQueue finishes the first n records of the queue.
func (a *assignment) finishQueue(n int) {
	for range n {
		a.finishedOne(a.queue.popOne())
	}
}

func TestTakeoverRunsWhatWasNotFinished(t *testing.T) {
	t.Parallel()
	a := takenOver(ByKey)
	a.load(records(10, 11, 12, 13))
	require.Equal(t, int64(14), a.read)
	a.load(records(12, 13, 14, 15, 16)) // a part of it once more
	require.Equal(t, []int64{10, 13, 14}, a.toRun())
	a.load(records(17, 18, 19, 20, 21))
	require.Equal(t, []int64{10, 13, 14, 18, 20, 21}, a.toRun())
	require.Equal(t, int64(22), a.read)
	for _, watermark := range []int64{13, 14, 18, 20, 21, 22} {
		a.finishQueue(1)
		require.Equal(t, watermark, a.ledger.Watermark())
	}
	require.Zero(t, a.loaded)
	require.Zero(t, a.bytes)
}

// What was compacted away since the former owner read it will never come, and
// must not hold the watermark.
func TestTakeoverOfWhatWasCompactedAway(t *testing.T) {
	t.Parallel()
	a := takenOver(ByKey)
	a.load(records(11, 14, 19)) // 10, 13 and 18 are gone
	require.Equal(t, []int64{14}, a.toRun())
	require.Equal(t, int64(14), a.ledger.Watermark())
	a.finishQueue(1)
	require.Equal(t, int64(20), a.ledger.Watermark())

	b := takenOver(ByKey)
	b.load(records(10, 30)) // all behind it
	require.Equal(t, []int64{10, 30}, b.toRun())
	b.finishQueue(1)
	require.Equal(t, int64(30), b.ledger.Watermark())
}

// Until it runs again, what the former owner knew is committed again.
func TestTakeoverHandsOnWhatDidNotRunAgain(t *testing.T) {
	t.Parallel()
	heads := []commitmeta.Head{{Offset: 10, Attempt: 2, Due: 5}, {Offset: 13, Attempt: 7, Due: 6}, {Offset: 18, Attempt: 1}}
	a := takenOver(Unordered, heads...)
	var w worker
	before := a.meta()
	require.Equal(t, heads, before.Heads)
	a.load(records(10, 11, 12, 13))
	require.Equal(t, before, a.meta())
	require.Nil(t, a.takeOne(&w), "both failed: they wait")
	require.Equal(t, before, a.meta())
	require.Equal(t, 2, a.waiting)
	a.load(records(14, 15, 16, 17, 18, 19, 20))
	l := a.takeOne(&w)
	require.Equal(t, int64(14), l.head.record.Offset)
	require.Equal(t, int32(1), l.attempt)
	require.Equal(t, int64(20), a.takeOne(&w).head.record.Offset)
	require.Equal(t, before, a.meta())
	require.Equal(t, 3, a.waiting)
	for l := a.lanes.first; l != nil; l = l.next {
		if l.failed() {
			require.Equal(t, map[int64]int32{10: 3, 13: 8, 18: 2}[l.head.record.Offset], l.attempt)
		}
	}
}

// Records of a key that failed before wait behind it, and those of a batch that
// failed together run together.
func TestTakeoverKeepsTheOrder(t *testing.T) {
	t.Parallel()
	a := takenOver(ByPartition, commitmeta.Head{Offset: 10, Attempt: 2}, commitmeta.Head{Offset: 13, Attempt: 2}, commitmeta.Head{Offset: 18, Attempt: 1})
	a.handler.batch = func(context.Context, []*kgo.Record) error { return nil }
	a.load(records(10, 11, 12, 13, 14, 15, 16, 17, 18))
	var w worker
	a.takeChunk(&w.turn, 10)
	require.Zero(t, w.turn.queue.len(), "all is behind what failed")
	l := a.lanes.first
	require.Equal(t, int32(2), l.together)
	require.Equal(t, int32(3), l.attempt)
	require.Equal(t, 3, l.len()-1+a.queue.len(), "13 beside it, 14 and 18 behind")

	b := takenOver(ByKey, commitmeta.Head{Offset: 13, Attempt: 2})
	rs := records(10, 11, 12, 13, 14)
	for _, r := range rs {
		r.Key = []byte("k")
	}
	b.load(rs)
	b.takeChunk(&w.turn, 10)
	require.Equal(t, 1, w.turn.queue.len(), "10 runs first")
	require.Equal(t, int64(10), w.turn.queue.head().Offset)
	require.Equal(t, 2, b.lanes.first.len(), "14 is behind 13")
}

// A head whose record was compacted away is forgotten.
func TestTakeoverOfAFailedRecordThatIsGone(t *testing.T) {
	t.Parallel()
	a := opened(Config{}, commitmeta.Meta{Heads: []commitmeta.Head{{Offset: 11, Attempt: 1}, {Offset: 12, Attempt: 4}}})
	a.load(records(12, 13))
	var w worker
	l := a.takeOne(&w)
	require.Equal(t, int64(13), l.head.record.Offset)
	require.Equal(t, int32(5), a.lanes.first.next.attempt)
	require.Equal(t, []commitmeta.Head{{Offset: 12, Attempt: 4}}, a.meta().Heads)
}
