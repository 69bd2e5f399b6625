package backoff_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/duplex-go/duplex/internal/backoff"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ceiling is the longest wait after the attempt, by doubling one at a time.
func ceiling(attempt int, least, most time.Duration) time.Duration {
	d := least
	for range attempt - 1 {
		if d >= most-d { // 2d would be as much as most, or more than there is
			return most
		}
		d *= 2
	}
	return min(d, most)
}

func TestWaitsStayWithinTheirBounds(t *testing.T) {
	t.Parallel()
	durations := rapid.OneOf(
		rapid.Int64Range(1, int64(time.Hour)),
		rapid.Int64Range(1, 10),
		rapid.Int64Range(1, math.MaxInt64),
	)
	rapid.Check(t, func(t *rapid.T) {
		least := time.Duration(durations.Draw(t, "least"))
		most := max(least, time.Duration(durations.Draw(t, "most")))
		attempt := rapid.OneOf(rapid.IntRange(1, 70), rapid.IntRange(1, math.MaxInt32)).Draw(t, "attempt")
		d := backoff.Exponential(attempt, least, most)
		top := ceiling(min(attempt, 100), least, most)
		if d > top || d < top-top/5 {
			t.Fatalf("attempt %d of %v to %v: waited %v, want %v to %v", attempt, least, most, d, top-top/5, top)
		}
	})
}

func TestFirstAttempts(t *testing.T) {
	t.Parallel()
	for attempt, want := range map[int]time.Duration{
		-1: time.Second, 0: time.Second, 1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 6: 32 * time.Second, 7: time.Minute, math.MaxInt: time.Minute,
	} {
		d := backoff.Exponential(attempt, time.Second, time.Minute)
		require.LessOrEqual(t, d, want, "attempt %d", attempt)
		require.GreaterOrEqual(t, d, want-want/5, "attempt %d", attempt)
	}
	require.Zero(t, backoff.Exponential(1, 0, 0))
	require.Greater(t, backoff.Exponential(3, 1<<62+1, math.MaxInt64), time.Duration(1<<62), "doubling never goes round")
}

func TestThoseWhoFailedTogetherComeBackApart(t *testing.T) {
	t.Parallel()
	shortest, longest := time.Second, time.Duration(0)
	for range 1000 {
		d := backoff.Exponential(1, time.Second, time.Minute)
		shortest, longest = min(shortest, d), max(longest, d)
	}
	require.Less(t, shortest, 820*time.Millisecond, "all of the last fifth is used")
	require.Greater(t, longest, 980*time.Millisecond)
}
