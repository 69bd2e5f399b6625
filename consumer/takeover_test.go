package consumer

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

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
func takenOver(heads ...commitmeta.Head) *assignment {
	return newAssignment(&engine{}, opening{topic: "orders", offset: 10, committed: 10, meta: commitmeta.Meta{
		Partitions: 1,
		Runs:       []commitmeta.Run{{N: 1}, {Finished: true, N: 2}, {N: 2}, {Finished: true, N: 3}, {N: 1}, {Finished: true, N: 1}},
		Heads:      heads,
	}})
}

func (a *assignment) waiting() (offsets []int64) {
	for _, piece := range a.lane.queue.front(nil, a.lane.queue.len()) {
		for _, r := range piece {
			offsets = append(offsets, r.Offset)
		}
	}
	return offsets
}

func TestTakeoverRunsWhatWasNotFinished(t *testing.T) {
	t.Parallel()
	a := takenOver()
	a.load(records(10, 11, 12, 13))
	require.Equal(t, int64(14), a.read)
	a.load(records(12, 13, 14, 15, 16)) // a part of it once more
	require.Equal(t, []int64{10, 13, 14}, a.waiting())
	a.load(records(17, 18, 19, 20, 21))
	require.Equal(t, []int64{10, 13, 14, 18, 20, 21}, a.waiting())
	require.Equal(t, int64(22), a.read)
	for _, watermark := range []int64{13, 14, 18, 20, 21, 22} {
		a.finishHeads(1)
		require.Equal(t, watermark, a.ledger.Watermark())
	}
}

// What was compacted away since the former owner read it will never come, and
// must not hold the watermark.
func TestTakeoverOfWhatWasCompactedAway(t *testing.T) {
	t.Parallel()
	a := takenOver()
	a.load(records(11, 14, 19)) // 10, 13 and 18 are gone
	require.Equal(t, []int64{14}, a.waiting())
	require.Equal(t, int64(14), a.ledger.Watermark())
	a.finishHeads(1)
	require.Equal(t, int64(20), a.ledger.Watermark())

	b := takenOver()
	b.load(records(10, 30)) // all behind it
	require.Equal(t, []int64{10, 30}, b.waiting())
	b.finishHeads(1)
	require.Equal(t, int64(30), b.ledger.Watermark())
}

// Until it was read again, what the former owner knew is committed again.
func TestTakeoverHandsOnWhatWasNotReadAgain(t *testing.T) {
	t.Parallel()
	heads := []commitmeta.Head{{Offset: 10, Attempt: 2, Due: 5}, {Offset: 13, Attempt: 2, Due: 5}, {Offset: 18, Attempt: 1}}
	a := takenOver(heads...)
	before := a.meta()
	require.Equal(t, heads, before.Heads)
	a.load(records(10))
	require.Equal(t, before, a.meta())
	require.Equal(t, 3, a.lane.attempt)
	a.load(records(11, 12, 13, 14))
	require.Equal(t, before, a.meta())
	require.Equal(t, 2, a.lane.retry, "those that failed together run together")
	a.load(records(15, 16, 17, 18, 19))
	require.Equal(t, heads[:2], a.meta().Heads, "the third one is not at the head: it begins anew")
	a.finishHeads(2)
	require.Empty(t, a.meta().Heads)
}

// Heads above all that is finished are found too.
func TestTakeoverOfAFailedRecordWithNothingFinishedAbove(t *testing.T) {
	t.Parallel()
	a := newAssignment(&engine{}, opening{topic: "orders", offset: 10, committed: 10, meta: commitmeta.Meta{
		Heads: []commitmeta.Head{{Offset: 11, Attempt: 1}, {Offset: 12, Attempt: 4}}, // 10 and 11 are gone
	}})
	a.load(records(12, 13))
	require.Equal(t, 5, a.lane.attempt)
	require.Equal(t, 1, a.lane.retry)
	require.Equal(t, []int64{12, 13}, a.waiting())
	a.finishHeads(2)
	require.Equal(t, int64(14), a.ledger.Watermark())
}
