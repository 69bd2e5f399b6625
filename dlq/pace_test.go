package dlq_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/duplex-go/duplex/dlq"
)

// goFor has records go for so long, looking again when it is told to.
func goFor(p *dlq.Pace, from time.Time, d time.Duration, moved int64) (after int64) {
	for now := from; now.Sub(from) < d; {
		n, wait := p.Go(now, moved, moved, 0)
		moved += n
		if n == 0 {
			now = now.Add(wait)
		}
	}
	return moved
}

func TestPaceKeepsTheRate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(1, 5000).Draw(t, "rate")
		seconds := rapid.IntRange(5, 30).Draw(t, "seconds")
		start := time.Unix(1700000000, 0)
		p := dlq.NewPace(dlq.ApplyConfig{Rate: rate}, start)
		got := float64(goFor(p, start, time.Duration(seconds)*time.Second, 0))
		want := rate * float64(seconds)
		require.LessOrEqual(t, got, want, "faster than the rate")
		require.GreaterOrEqual(t, got, want-rate*0.35-1, "slower than the rate")
	})
}

func TestPaceRamps(t *testing.T) {
	t.Parallel()
	start := time.Unix(1700000000, 0)
	p := dlq.NewPace(dlq.ApplyConfig{Rate: 100, Ramp: 10 * time.Second}, start)
	first := goFor(p, start, time.Second, 0)
	require.InDelta(t, 14, first, 5, "a tenth at first")
	ten := goFor(p, start.Add(time.Second), 9*time.Second, first)
	require.InDelta(t, 550, ten, 15, "half of it on the average")
	then := goFor(p, start.Add(10*time.Second), 10*time.Second, ten)
	require.InDelta(t, 1000, then-ten, 15, "all of it then")
}

func TestPaceWaitsForOutcomes(t *testing.T) {
	t.Parallel()
	now := time.Unix(1700000000, 0)
	p := dlq.NewPace(dlq.ApplyConfig{Canary: 10, MaxPending: 50}, now)
	go1 := func(moved, handled, dead int64) int64 { n, _ := p.Go(now, moved, handled, dead); return n }
	require.Equal(t, int64(10), go1(0, 0, 0), "the canary")
	require.Equal(t, int64(6), go1(4, 0, 0), "the rest of it")
	require.Zero(t, go1(10, 9, 0), "one of it is not known")
	require.Equal(t, int64(50), go1(10, 8, 2), "all of it is known")
	require.Equal(t, int64(20), go1(60, 25, 5), "30 are pending")
	require.Zero(t, go1(100, 50, 0))
}

// TestPaceDoesNotMakeUpForAPause: the rate holds for those who get the records, whatever the
// job waited for before.
func TestPaceDoesNotMakeUpForAPause(t *testing.T) {
	t.Parallel()
	start := time.Unix(1700000000, 0)
	for _, cfg := range []dlq.ApplyConfig{{Rate: 10}, {Rate: 10, Ramp: time.Minute}, {Rate: 0.5}} {
		p := dlq.NewPace(cfg, start)
		moved := goFor(p, start, 2*time.Minute, 0)
		later := start.Add(time.Hour)
		after := goFor(p, later, 10*time.Second, moved)
		require.LessOrEqual(t, float64(after-moved), cfg.Rate*11+1, "%+v", cfg)
		require.GreaterOrEqual(t, float64(after-moved), cfg.Rate*9, "%+v", cfg)
	}
}
