package rpc

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBucketsHoldTheirDurations(t *testing.T) {
	t.Parallel()
	last := -1
	for us := 1; us < 1<<30; us += max(us/37, 1) {
		d := time.Duration(us) * time.Microsecond
		b := bucketOf(d)
		require.GreaterOrEqual(t, b, last)
		last = b
		require.GreaterOrEqual(t, upTo(b), d)
		if us > 8 {
			require.LessOrEqual(t, float64(upTo(b)), 1.26*float64(d))
		}
	}
	require.Equal(t, perOctave*40-1, bucketOf(math.MaxInt64))
	require.Zero(t, bucketOf(-1))
}

func TestMostCallsEndWithinTheirP95(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	var d durations
	took := func(median float64) time.Duration {
		return time.Duration(median * math.Exp(r.NormFloat64()) * float64(time.Millisecond))
	}
	require.False(t, d.tooLong(0), "nothing is known")
	for range 5000 {
		d.add(took(10), time.Now())
	}
	want := 10 * math.Exp(1.645) * float64(time.Millisecond)
	require.InEpsilon(t, want, float64(d.p95), 0.3)
	require.True(t, d.tooLong(d.p95/2))
	require.False(t, d.tooLong(2*d.p95))
	for range 5000 {
		d.add(took(1), time.Now())
	}
	require.InEpsilon(t, want/10, float64(d.p95), 0.3, "it forgets")
}
