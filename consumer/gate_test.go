package consumer

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/commitmeta"
)

// However many records run at once, in whatever order they are finished and
// whichever hang: what stands beside the committed offset has all of it, and fits.
func TestGateKeepsTheAccountShort(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		atOnce int
		hang   func(offset int64) bool
		far    int64 // it must be possible to run ahead so far
	}{
		"a few at once":                 {100, func(int64) bool { return false }, 0},
		"very many at once":             {50_000, func(int64) bool { return false }, 11_000},
		"one hangs":                     {300, func(o int64) bool { return o == 10 }, 290_000},
		"one hangs, many at once":       {3000, func(o int64) bool { return o == 10 }, 290_000},
		"one in a thousand hangs":       {400, func(o int64) bool { return o%1000 == 10 }, 250_000},
		"one in ten of a stretch hangs": {2000, func(o int64) bool { return o%10 == 0 && o < 3000 }, 30_000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			random := rand.New(rand.NewPCG(seed, 1))
			a := opened(Config{Ordering: Unordered}, commitmeta.Meta{Partitions: 1})
			next := int64(10)
			var w worker
			var running []*lane
			furthest := int64(0)
			for round := 0; next < 300_000 && round < 3500; round++ {
				for len(running) < c.atOnce {
					if a.queue.len() == 0 {
						rs := make([]*kgo.Record, 1000)
						for i := range rs {
							rs[i] = &kgo.Record{Topic: "orders", Offset: next + int64(i)}
						}
						a.load(rs)
						next += 1000
					}
					if !a.mayTake() {
						break
					}
					if l := a.takeOne(&w); l != nil && !c.hang(l.head.record.Offset) {
						running = append(running, l)
						a.running++
						furthest = max(furthest, l.head.record.Offset-a.ledger.Watermark())
					}
				}
				for range 1 + len(running)/3 {
					if len(running) == 0 {
						break
					}
					i := random.IntN(len(running))
					a.running--
					if a.advance(running[i]) {
						w.spare = running[i]
					}
					running[i] = running[len(running)-1]
					running = running[:len(running)-1]
				}
				meta := a.meta()
				text := commitmeta.Encode(meta)
				require.LessOrEqual(t, len(text), 4096)
				decoded, err := commitmeta.Decode(text)
				require.NoError(t, err)
				require.Equal(t, meta, decoded, "round %d: something was left out", round)
			}
			require.GreaterOrEqual(t, furthest, c.far)
		})
	}
}

func TestGateLetsOutWhatAFormerOwnerHadRead(t *testing.T) {
	t.Parallel()
	runs := []commitmeta.Run{{N: 1}, {Finished: true, N: 50}, {N: 30}, {Finished: true, N: 1}}
	a := opened(Config{Ordering: Unordered, MaxSpan: 40}, commitmeta.Meta{Partitions: 1, Runs: runs})
	offsets := make([]int64, 0, 100)
	for o := range int64(100) {
		offsets = append(offsets, 10+o)
	}
	a.load(records(offsets...))
	var w worker
	var got []int64
	for l := a.takeOne(&w); l != nil; l = a.takeOne(&w) {
		got = append(got, l.head.record.Offset)
	}
	require.Len(t, got, 31, "all that was not finished, and nothing beyond it")
}

func TestGateHoldsWhileManyWait(t *testing.T) {
	t.Parallel()
	a := opened(Config{Ordering: Unordered}, commitmeta.Meta{Partitions: 1})
	a.load(records(10, 11))
	a.waiting = maxWaiting
	require.False(t, a.mayTake())
	a.waiting--
	require.True(t, a.mayTake())
}
