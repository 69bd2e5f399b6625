package suite

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/producer"
)

func consuming() []Scenario {
	return []Scenario{
		{"everything is handled once, in order, and committed", []string{"C1", "C2", "C3", "C4", "C6", "C7"}, everythingIsHandled},
		{"another member goes on where one stopped", []string{"C1", "C5", "C7"}, anotherMemberGoesOn},
		{"a batch has records of one partition in order", []string{"C4", "C7"}, batchesAreInOrder},
		{"a new group begins where it is told to", []string{"C7"}, newGroupBeginsWhereTold},
		{"an added partition is read from its beginning", []string{"C7"}, addedPartitionStartsAtItsBeginning},
		{"memory is bounded while a handler blocks", []string{"C8", "C9"}, memoryIsBounded},
		{"stopping is bounded and leaves what is not finished", []string{"C1", "C5", "C10"}, stoppingIsBounded},
		{"middleware and delivery see each run", []string{"C2"}, middlewareSeesEachRun},
	}
}

func everythingIsHandled(t *testing.T, k Kafka) {
	g := newGroup(t, k, 3)
	for p := range int32(3) {
		g.publish(p, 700)
	}
	m := g.join(consumer.Config{Handlers: g.handle(nothing)})
	g.awaitAll()
	for p := range int32(3) {
		duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, p, 700) // while it goes on
	}
	g.publish(1, 50)
	g.awaitAll()
	require.Equal(t, duplex.StatusOK, m.Status().Code)
	m.stop()
	g.requireOnce()
	require.Equal(t, int64(2150), m.Status().Counts["handled"])
	require.Equal(t, duplex.StatusClosed, m.Status().Code)
}

func anotherMemberGoesOn(t *testing.T, k Kafka) {
	g := newGroup(t, k, 2)
	g.publish(0, 1000)
	g.publish(1, 1000)
	slow := func(context.Context, *kgo.Record) error {
		<-time.After(time.Millisecond) // so that it stops in the middle
		return nil
	}
	first := g.join(consumer.Config{CommitInterval: time.Hour, Handlers: g.handle(slow)})
	eventually(t, "some records", func() bool { return g.count() > 100 })
	first.stop()
	handled := g.count()
	require.Less(t, handled, 2000, "it was to stop in the middle")
	second := g.join(consumer.Config{Handlers: g.handle(nothing)})
	g.awaitAll()
	second.stop()
	g.requireOnce()
	require.Equal(t, int64(2000-handled), second.Status().Counts["handled"])
}

func batchesAreInOrder(t *testing.T, k Kafka) {
	const most = 40
	g := newGroup(t, k, 2)
	g.publish(0, 300)
	g.publish(1, 300)
	var largest atomic.Int64
	var mixed atomic.Bool
	m := g.join(consumer.Config{MaxBatch: most, BatchWait: 20 * time.Millisecond, Handlers: []consumer.Handler{
		consumer.HandleRecordBatch(g.topic, func(_ context.Context, rs []*kgo.Record) error {
			g.mu.Lock()
			defer g.mu.Unlock()
			for _, r := range rs {
				mixed.Store(mixed.Load() || r.Partition != rs[0].Partition)
				g.finish(r)
			}
			largest.Store(max(largest.Load(), int64(len(rs))))
			return nil
		}),
	}})
	g.awaitAll()
	m.stop()
	g.requireOnce()
	require.Equal(t, int64(most), largest.Load())
	require.False(t, mixed.Load(), "a batch had records of two partitions")
}

func newGroupBeginsWhereTold(t *testing.T, k Kafka) {
	topic := duplextest.NewTopic(t, k.Cluster, "suite", 1, nil)
	began := time.UnixMilli(time.Now().UnixMilli())
	cl := kafkaClient(t, k)
	for i := range 10 {
		r := &kgo.Record{Topic: topic, Value: []byte{byte(i)}, Timestamp: began.Add(time.Duration(i) * time.Second)}
		require.NoError(t, cl.ProduceSync(t.Context(), r).FirstErr())
	}
	for name, test := range map[string]struct {
		start consumer.StartOffset
		first int64
	}{
		"start":     {consumer.StartEarliest(), 0},
		"a time":    {consumer.StartAt(began.Add(6 * time.Second)), 6},
		"too late":  {consumer.StartAt(began.Add(time.Hour)), 10},
		"the end":   {consumer.StartLatest(), 10},
		"too early": {consumer.StartAt(began.Add(-time.Hour)), 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			group := duplextest.Unique("suite")
			var got collected[int64]
			m := start(t, consumer.Config{
				Cluster: k.Cluster, Group: group, StartOffset: test.start, SessionTimeout: k.Session, CommitInterval: 50 * time.Millisecond,
				Ordering: consumer.ByPartition,
				Handlers: []consumer.Handler{consumer.HandleRecord(topic, func(ctx context.Context, r *kgo.Record) error { return got.one(ctx, r.Offset) })},
			})
			// The start is committed before there is anything to handle, so that the
			// group has begun, whatever happens.
			duplextest.RequireCommitted(t, k.Cluster, group, topic, 0, 10)
			m.stop()
			require.Len(t, got.values, int(10-test.first))
			if len(got.values) > 0 {
				require.Equal(t, test.first, got.values[0])
			}
		})
	}
}

// addedPartitionStartsAtItsBeginning: what is published to a new partition before
// the group notices it is not skipped, although the group began at the end.
func addedPartitionStartsAtItsBeginning(t *testing.T, k Kafka) {
	g := newGroup(t, k, 1)
	g.publish(0, 5)
	clear(g.published) // the group is to begin behind them
	cfg := consumer.Config{StartOffset: consumer.StartLatest(), Handlers: g.handle(nothing)}
	first := g.join(cfg)
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, 5)
	first.stop() // or it might notice the new partitions while they are empty

	admin := kadm.NewClient(kafkaClient(t, k))
	_, err := admin.UpdatePartitions(t.Context(), 3, g.topic)
	require.NoError(t, err)
	eventually(t, "the new partitions are there", func() bool {
		ends, err := admin.ListEndOffsets(t.Context(), g.topic)
		return err == nil && ends.Error() == nil && len(ends[g.topic]) == 3
	})
	g.partitions = 3
	g.p = newProducer(t, producer.Config{Cluster: k.Cluster}) // knows of them
	g.publish(1, 2)
	g.publish(2, 1)
	second := g.join(cfg)
	g.awaitAll()
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 1, 2)
	second.stop()
	require.Empty(t, g.finishedOn(0), "the group was to begin at the end")
	require.Equal(t, []int64{0, 1}, g.finishedOn(1))
	require.Equal(t, []int64{0}, g.finishedOn(2))
	g.requireHistory()
}

func memoryIsBounded(t *testing.T, k Kafka) {
	const loaded, n = 200, 4000
	g := newGroup(t, k, 2)
	g.publish(0, n)
	g.publish(1, n)
	release := make(chan struct{})
	m := g.join(consumer.Config{MaxLoaded: loaded, FetchMaxBytes: 20_000, Handlers: g.handle(func(ctx context.Context, r *kgo.Record) error {
		if r.Partition == 0 && r.Offset == 10 {
			select {
			case <-release:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})})
	var most int
	eventually(t, "the other partition is done", func() bool {
		most = max(most, m.partition(0).Loaded)
		return len(g.finishedOn(1)) == n
	})
	eventually(t, "the blocked partition is paused", func() bool { return m.partition(0).Paused })
	// A partition may hold its share and the rest of one poll.
	require.LessOrEqual(t, max(most, m.partition(0).Loaded), loaded/2+max(loaded/2, 64))
	require.Len(t, g.finishedOn(0), 10)
	close(release)
	g.awaitAll()
	m.stop()
	g.requireOnce()
}

func stoppingIsBounded(t *testing.T, k Kafka) {
	const drain = 500 * time.Millisecond
	g := newGroup(t, k, 1)
	g.publish(0, 10)
	causes := make(chan error, 1)
	first := g.join(consumer.Config{DrainTimeout: drain, Handlers: g.handle(func(ctx context.Context, r *kgo.Record) error {
		if r.Offset < 4 {
			return nil
		}
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return context.Cause(ctx)
	})})
	eventually(t, "a handler that does not end", func() bool { return first.partition(0).Watermark == 4 && first.partition(0).Running == 1 })
	began := time.Now()
	first.stop()
	require.Less(t, time.Since(began), drain+10*time.Second, "its deadline, and the times to commit and to leave")
	require.GreaterOrEqual(t, time.Since(began), drain)
	require.ErrorIs(t, receive(t, causes, "the handler is told"), consumer.ErrStopping)
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, 4)
	second := g.join(consumer.Config{Handlers: g.handle(nothing)})
	g.awaitAll()
	second.stop()
	g.requireOnce()
}

func middlewareSeesEachRun(t *testing.T, k Kafka) {
	g := newGroup(t, k, 1)
	g.publish(0, 3)
	var mu sync.Mutex
	var order []string
	note := func(what string) duplex.Middleware {
		return func(next duplex.Next) duplex.Next {
			return func(ctx context.Context, r *kgo.Record) error {
				mu.Lock()
				order = append(order, what)
				mu.Unlock()
				return next(ctx, r)
			}
		}
	}
	var wrong atomic.Bool
	m := g.join(consumer.Config{RetryMin: 10 * time.Millisecond, Middleware: []duplex.Middleware{note("outer"), note("inner")},
		Handlers: g.handle(func(ctx context.Context, r *kgo.Record) error {
			d := consumer.FromContext(ctx)
			if d.Record != r || d.Generation < 1 || d.Attempt < 1 {
				wrong.Store(true)
			}
			if r.Offset == 1 && d.Attempt == 1 {
				return errBusy
			}
			return nil
		})})
	g.awaitAll()
	m.stop()
	g.requireOnce()
	require.False(t, wrong.Load(), "a handler was not told its record, attempt and generation")
	require.Equal(t, slices.Repeat([]string{"outer", "inner"}, 4), order)
}
