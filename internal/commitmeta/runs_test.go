package commitmeta

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// finished gives each offset of runs by itself.
func finished(runs []Run) (offsets []bool) {
	for _, r := range runs {
		for range r.N {
			offsets = append(offsets, r.Finished)
		}
	}
	return offsets
}

// requireNothingIsLost allows got to know less than want, and nothing else.
func requireNothingIsLost(t require.TestingT, want, got Meta) {
	known := finished(want.Runs)
	left := finished(got.Runs)
	require.LessOrEqual(t, len(left), len(known), "there are more offsets than there were")
	for i, done := range left {
		if done && !known[i] { // there may be millions
			require.Fail(t, "an unfinished record was written as finished", "offset %d", i)
		}
	}
	require.LessOrEqual(t, len(got.Heads), len(want.Heads))
	for i, h := range got.Heads {
		require.Equal(t, want.Heads[i], h)
	}
}

// draw gives runs as a ledger does: from an unfinished one to a finished one.
func draw(t *rapid.T, pairs int, lengths ...int64) (runs []Run) {
	for range rapid.IntRange(0, pairs).Draw(t, "pairs") {
		runs = append(runs, Run{N: rapid.SampledFrom(lengths).Draw(t, "open")}, Run{Finished: true, N: rapid.SampledFrom(lengths).Draw(t, "done")})
	}
	return runs
}

func TestRunsAndHeadsComeBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := Meta{Partitions: 6, Runs: draw(t, 150, 1, 1, 1, 2, 3, 5, 63, 64, 65, 500, 40_000)}
		offset, due := int64(0), time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
		for range rapid.IntRange(0, 100).Draw(t, "heads") {
			offset += rapid.Int64Range(1, 5000).Draw(t, "step")
			want.Heads = append(want.Heads, Head{
				Offset: offset, Attempt: rapid.IntRange(1, 1000).Draw(t, "attempt"),
				Due: rapid.SampledFrom([]int64{0, due, due + 1, due + 3_600_000}).Draw(t, "due"),
			})
		}
		text := Encode(want)
		require.LessOrEqual(t, len(text), MaxSize)
		got, err := Decode(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

// Whatever happened to any 10,000 offsets, all of it is written, in 1.7 KB.
func TestTenThousandOffsetsAlwaysFit(t *testing.T) {
	t.Parallel()
	for percent := range 100 {
		random := rand.New(rand.NewPCG(uint64(percent), 1))
		offsets := make([]bool, 10_000)
		for i := range offsets {
			offsets[i] = random.IntN(100) < percent
		}
		offsets[len(offsets)-1] = true
		want := Meta{Runs: runsOf(offsets)}
		text := Encode(want)
		require.LessOrEqual(t, len(text), 1700, "%d %% finished", percent)
		got, err := Decode(text)
		require.NoError(t, err)
		require.Equal(t, want, got, "%d %% finished", percent)
	}
}

func runsOf(offsets []bool) (runs []Run) {
	for _, done := range offsets {
		if k := len(runs); k > 0 && runs[k-1].Finished == done {
			runs[k-1].N++
			continue
		}
		runs = append(runs, Run{Finished: done, N: 1})
	}
	return runs
}

// What does not fit makes work to be done again, and loses none.
func TestTooMuchIsCutFromTheEnd(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		want := Meta{Partitions: 1 << 30, Runs: draw(t, 4000, 1, 1, 2, 3, 70, 1_000)}
		for i := range rapid.IntRange(0, 1000).Draw(t, "heads") {
			want.Heads = append(want.Heads, Head{int64(i) * 1000, 1_000_000, maxDue - int64(i)})
		}
		text := Encode(want)
		require.LessOrEqual(t, len(text), MaxSize)
		got, err := Decode(text)
		require.NoError(t, err)
		requireNothingIsLost(t, want, got)
		if len(want.Runs) > 3000 {
			require.Greater(t, len(finished(got.Runs)), 1000, "most of it fits")
		}
	})
}

// Compaction leaves gaps of any size, and a map that reaches too far for its reader
// must not cost what else stands beside the offset.
func TestWhatReachesTooFarIsCut(t *testing.T) {
	t.Parallel()
	near := []Run{{N: 1}, {Finished: true, N: 7}}
	want := Meta{Partitions: 6, Runs: append(near, Run{N: 1}, Run{Finished: true, N: maxSpan}), Heads: []Head{{5, 1, 0}}}
	got, err := Decode(Encode(want))
	require.NoError(t, err)
	require.Equal(t, Meta{Partitions: 6, Runs: near, Heads: want.Heads}, got)
}

func TestBytesOfRunsAndHeads(t *testing.T) {
	t.Parallel()
	// One unfinished, 90 finished: a token each. Then ten alternating: bits.
	runs := []Run{{N: 1}, {Finished: true, N: 90}}
	for range 5 {
		runs = append(runs, Run{N: 1}, Run{Finished: true, N: 1})
	}
	require.Equal(t, []byte{1 << 2, 0xe9, 0x02, 10<<2 | tokenBits, 0x55, 0x01}, appendRuns(nil, runs, maxRuns))
	require.Equal(t, []byte{7, 2, 10, 3, 1, 9}, appendHeads(nil, []Head{{7, 2, 5}, {10, 1, 0}}, maxHeads))
}

func TestReadingRefusesWhatIsOutOfRange(t *testing.T) {
	t.Parallel()
	for _, bad := range [][]byte{{0x80}, {0}, {3 | 1<<2}, {10<<2 | tokenBits, 0x55}, {0x84, 0x80, 0x80, 0x80, 0x08}} {
		_, err := readRuns(bad)
		require.ErrorIs(t, err, errRuns, "% x", bad)
	}
	for _, bad := range [][]byte{{7}, {7, 1}, {7, 1, 0x80}, {7, 1, 9}, {7, 1, 2, 0, 1, 0}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1, 0}} {
		_, err := readHeads(bad)
		require.ErrorIs(t, err, errHeads, "% x", bad)
	}
}
