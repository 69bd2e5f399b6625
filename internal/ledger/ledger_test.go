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
				for range rapid.IntRange(1, 200).Draw(t, "records") {
					offset := m.frontier + rapid.SampledFrom([]int64{0, 0, 0, 0, 1, 7}).Draw(t, "gap")
					seq, ok := l.Add(offset)
					require.True(t, ok)
					m.order, m.offset[seq], m.open[seq], m.frontier = append(m.order, seq), offset, true, offset+1
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
					l.Finish(seq)
					delete(m.open, seq)
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
	_, ok := l.Add(12)
	require.True(t, ok)
	_, ok = l.Add(12)
	require.False(t, ok)
	require.Equal(t, int64(12), l.Watermark())
}

func TestLedgerForgetsFinishedSequences(t *testing.T) {
	t.Parallel()
	l := New(0)
	first, _ := l.Add(0)
	l.Finish(first)
	second, _ := l.Add(1)
	l.Finish(first) // late, and again
	require.Equal(t, int64(1), l.Watermark())
	l.Finish(second + 1) // never given out
	require.Equal(t, 1, l.Unfinished())
}

func BenchmarkInOrder(b *testing.B) {
	l := New(0)
	b.ReportAllocs()
	for i := range b.N {
		seq, _ := l.Add(int64(i))
		l.Finish(seq)
	}
}
