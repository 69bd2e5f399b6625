package ledger

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// model is the account as one would write it without caring for speed.
type model struct {
	frontier int64
	order    []uint64
	offset   map[uint64]int64
	open     map[uint64]bool
}

func (m *model) watermark() int64 {
	for _, seq := range m.order {
		if m.open[seq] {
			return m.offset[seq]
		}
	}
	return m.frontier
}

func TestLedgerAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.Int64Range(0, 1000).Draw(t, "start")
		l, m := New(start), &model{frontier: start, offset: map[uint64]int64{}, open: map[uint64]bool{}}
		last := start
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(t, "records") {
					offset := m.frontier + rapid.SampledFrom([]int64{0, 0, 0, 0, 1, 7}).Draw(t, "gap")
					n := rapid.SampledFrom([]int{1, 1, 2, 63, 64, 65, 200}).Draw(t, "n")
					seq, ok := l.Add(offset, n)
					require.True(t, ok)
					for i := range n {
						m.order = append(m.order, seq+uint64(i))
						m.offset[seq+uint64(i)], m.open[seq+uint64(i)] = offset+int64(i), true
					}
					m.frontier = offset + int64(n)
				}
			},
			"skip": func(t *rapid.T) {
				to := m.frontier + rapid.Int64Range(-5, 5).Draw(t, "to")
				l.Skip(to)
				m.frontier = max(m.frontier, to)
			},
			"finish": func(t *rapid.T) {
				if len(m.order) == 0 {
					t.Skip("nothing was read yet")
				}
				for range rapid.IntRange(1, 150).Draw(t, "finished") {
					seq := m.order[rapid.IntRange(0, len(m.order)-1).Draw(t, "which")]
					n := rapid.SampledFrom([]int{1, 1, 1, 2, 64, 100}).Draw(t, "n")
					l.Finish(seq, n)
					for i := range n {
						delete(m.open, seq+uint64(i))
					}
				}
			},
			"": func(t *rapid.T) {
				require.Equal(t, m.watermark(), l.Watermark())
				require.Equal(t, m.frontier, l.Frontier())
				require.Equal(t, len(m.open), l.Unfinished())
				require.GreaterOrEqual(t, l.Watermark(), last, "the watermark moved back")
				last = l.Watermark()
			},
		})
	})
}

func TestLedgerRefusesToGoBack(t *testing.T) {
	t.Parallel()
	l := New(10)
	_, ok := l.Add(12, 1)
	require.True(t, ok)
	_, ok = l.Add(12, 1)
	require.False(t, ok)
	require.Equal(t, int64(12), l.Watermark())
}

func TestLedgerForgetsFinishedSequences(t *testing.T) {
	t.Parallel()
	l := New(0)
	first, _ := l.Add(0, 1)
	l.Finish(first, 1)
	second, _ := l.Add(1, 1)
	l.Finish(first, 1) // late, and again
	require.Equal(t, int64(1), l.Watermark())
	l.Finish(second+1, 1) // never given out
	require.Equal(t, 1, l.Unfinished())
}

// An account that is never without records, of a topic with a gap before each,
// does not grow; and a large one that became empty does not stay large.
func TestLedgerStaysSmall(t *testing.T) {
	t.Parallel()
	l := New(0)
	before, _ := l.Add(0, 1)
	for i := range int64(100_000) {
		seq, _ := l.Add(2*(i+1), 1)
		l.Finish(before, 1)
		before = seq
		require.Equal(t, 2*(i+1), l.Watermark())
	}
	require.Less(t, cap(l.runs), 4*keptRuns)
	require.Less(t, len(l.done), 8)

	for i := range int64(10_000) {
		l.Add(1_000_000+2*i, 1)
	}
	for seq := before; seq < l.tail; seq++ {
		l.Finish(seq, 1)
	}
	l.Add(2_000_000, 1)
	require.LessOrEqual(t, cap(l.runs), keptRuns)
}

func BenchmarkInOrder(b *testing.B) {
	l := New(0)
	b.ReportAllocs()
	for i := range b.N {
		seq, _ := l.Add(int64(i), 1)
		l.Finish(seq, 1)
	}
}
