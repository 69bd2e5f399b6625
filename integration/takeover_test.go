package integration

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/duplextest"
)

// A member that takes over from one whose first record waited while a million
// others were finished runs none of them again, and is at new ones within seconds.
func TestTakeoverWithAMillionFinishedAboveTheWatermark(t *testing.T) {
	t.Parallel()
	const n = 1_000_000
	c := cluster(t)
	topic, group := duplextest.NewTopic(t, c, "takeover", 1, nil), duplextest.Unique("takeover")
	cl := rawClient(t, c)
	defer cl.Close()
	var failed atomic.Pointer[error]
	for i := range n {
		key := []byte{byte(i), byte(i >> 8)}
		if i == 0 {
			key = []byte("the one that waits")
		}
		cl.Produce(t.Context(), &kgo.Record{Topic: topic, Key: key, Value: []byte("departure")}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	require.NoError(t, cl.Flush(t.Context()))
	require.Nil(t, failed.Load())

	var handled atomic.Int64
	stop := runMember(t, c, group, topic, func(_ context.Context, r *kgo.Record) error {
		if r.Offset == 0 {
			return duplex.RetryAfter(time.Hour, context.DeadlineExceeded)
		}
		handled.Add(1)
		return nil
	})
	require.Eventually(t, func() bool { return handled.Load() == n-1 }, 2*time.Minute, 10*time.Millisecond)
	stop()

	require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Key: []byte("new"), Value: []byte("new")}).FirstErr())
	var again atomic.Int64
	first := make(chan time.Time, 1)
	began := time.Now()
	stop = runMember(t, c, group, topic, func(_ context.Context, r *kgo.Record) error {
		if r.Offset < n {
			again.Add(1)
			return nil
		}
		first <- time.Now()
		return nil
	})
	select {
	case at := <-first:
		t.Logf("the first new record was handled %s after the start, joining included", at.Sub(began).Round(time.Millisecond))
		if !raceEnabled {
			require.Less(t, at.Sub(began), 10*time.Second, "five from the first fetch on, and a join")
		}
	case <-time.After(time.Minute):
		require.Fail(t, "no new record was handled")
	}
	stop()
	require.Zero(t, again.Load(), "what was finished, or waits, ran again")
}

// runMember runs a consumer until the function that it returns is called.
func runMember(t *testing.T, c duplex.Cluster, group, topic string, handle func(context.Context, *kgo.Record) error) (stop func()) {
	t.Helper()
	_, halt := running(t, consumer.Config{Cluster: c, Group: group, MaxSpan: 10_000_000, Handlers: []consumer.Handler{consumer.HandleRecord(topic, handle)}})
	return func() { require.NoError(t, halt()) }
}
