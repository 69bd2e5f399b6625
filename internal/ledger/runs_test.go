package ledger

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Whatever was read and finished, the next owner of the partition knows of each
// offset whether it is finished.
func TestRunsTellTheNextOwner(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(0, 1000).Draw(t, "start")
		l, open := New(start), map[int64]uint64{}
		for range rapid.IntRange(0, 30).Draw(t, "slices") {
			offset := l.Frontier() + rapid.SampledFrom([]int64{0, 0, 0, 1, 5, 200}).Draw(t, "gap")
			n := rapid.SampledFrom([]int{1, 2, 63, 64, 65, 130}).Draw(t, "n")
			seq, _ := l.Add(offset, n)
			for i := range n {
				open[offset+int64(i)] = seq + uint64(i)
			}
			for _, o := range some(t, open) {
				l.Finish(open[o], 1)
				delete(open, o)
			}
		}
		runs := slices.Collect(l.Runs())
		next := Restore(l.Watermark(), runs)
		require.Equal(t, l.Watermark(), next.Watermark())
		highest := int64(-1)
		for o := start; o < l.Frontier(); o++ {
			if _, unfinished := open[o]; !unfinished {
				highest = o
			}
		}
		require.Equal(t, max(l.Watermark(), highest+1), next.Frontier(), "it ends with the highest finished one")
		unfinished := 0
		for o := start; o < next.Frontier(); o++ {
			_, want := open[o]
			_, got := next.Find(o)
			require.Equal(t, want, got, "offset %d", o)
			if want {
				unfinished++
			}
		}
		require.Equal(t, unfinished, next.Unfinished())
		for i, r := range runs {
			require.Positive(t, r.N)
			require.Equal(t, i%2 == 1, r.Finished, "they alternate, from an unfinished one on")
		}
		finishRestored(t, next, open)
	})
}

func finishRestored(t *rapid.T, l *Ledger, open map[int64]uint64) {
	for o := l.Watermark(); o < l.Frontier(); o++ {
		if _, unfinished := open[o]; !unfinished {
			continue
		}
		require.LessOrEqual(t, l.Watermark(), o)
		seq, ok := l.Find(o)
		require.True(t, ok)
		l.Finish(seq, 1)
	}
	require.Equal(t, l.Frontier(), l.Watermark())
	require.Zero(t, l.Unfinished())
	require.Empty(t, slices.Collect(l.Runs()))
}

// some draws a few of the offsets, in an order that depends on the draw alone.
func some(t *rapid.T, open map[int64]uint64) (picked []int64) {
	percent := rapid.SampledFrom([]int{0, 5, 50, 95}).Draw(t, "percent")
	offsets := make([]int64, 0, len(open))
	for o := range open {
		offsets = append(offsets, o)
	}
	slices.Sort(offsets)
	mix := rapid.Uint64().Draw(t, "mix") | 1
	for _, o := range offsets {
		if int((uint64(o)*mix>>7)%100) < percent {
			picked = append(picked, o)
		}
	}
	return picked
}

// An account of a million offsets is restored in a moment, at a bit for each.
func TestRestoreOfAMillionOffsets(t *testing.T) {
	t.Parallel()
	l := Restore(7, []Run{{N: 1}, {Finished: true, N: 1_000_000}})
	require.Equal(t, int64(7), l.Watermark())
	require.Equal(t, int64(1_000_008), l.Frontier())
	require.Equal(t, 1, l.Unfinished())
	require.LessOrEqual(t, len(l.done)*8, 1<<18)
	seq, open := l.Find(7)
	require.True(t, open)
	l.Finish(seq, 1)
	require.Equal(t, int64(1_000_008), l.Watermark())
}
