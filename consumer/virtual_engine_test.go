//go:build synctests

package consumer_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

// Tests of docs/engine-rules.md.

// Rule 2: no goroutine for each partition.
func TestVirtualGoroutinesDoNotGrowWithPartitions(t *testing.T) {
	running := func(partitions int32) (n int) {
		inWorld(t, partitions, func(t *testing.T, w *world) {
			m := w.start(consumer.Config{Ordering: consumer.ByPartition, Handlers: newSeen().collect(0)})
			eventually(t, time.Minute, "all partitions", func() bool { return len(m.c.Status().Partitions) == int(partitions) })
			time.Sleep(time.Minute)
			n = runtime.NumGoroutine()
			require.NoError(t, m.halt())
		})
		return n
	}
	few := running(3)
	require.LessOrEqual(t, running(500), few)
}

// Rule 6: a partition that is resumed is read at once, even while a long poll of
// idle partitions is under way.
func TestVirtualResumedPartitionIsReadAtOnce(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.publish(0, 0, 1000)
		var mu sync.Mutex
		var times []time.Time
		release := make(chan struct{})
		m := w.start(consumer.Config{Ordering: consumer.ByPartition, MaxLoaded: 128, Handlers: handle(func(context.Context, *kgo.Record) error {
			<-release
			mu.Lock()
			defer mu.Unlock()
			times = append(times, time.Now())
			return nil
		})})
		eventually(t, time.Minute, "a pause", func() bool { return m.c.Status().Counts["pauses"] > 0 })
		time.Sleep(61_234 * time.Millisecond) // in the middle of a poll
		close(release)
		eventually(t, time.Minute, "everything", func() bool { return w.committed(0) == 1000 })
		mu.Lock()
		defer mu.Unlock()
		for i := 1; i < len(times); i++ {
			require.Less(t, times[i].Sub(times[i-1]), time.Second, "record %d", i)
		}
		require.NoError(t, m.halt())
	})
}

// Rule 7: what nobody but an operator can change ends Run, with a code.
func TestVirtualGroupThatRefusesUsEndsRun(t *testing.T) {
	for refusal, code := range map[*kerr.Error]duplex.Code{
		kerr.GroupAuthorizationFailed: duplex.ErrUnauthorized,
		kerr.FencedInstanceID:         duplex.ErrFenced,
	} {
		t.Run(refusal.Message, func(t *testing.T) {
			inWorld(t, 1, func(t *testing.T, w *world) {
				w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: refusal})
				m := w.start(consumer.Config{Ordering: consumer.ByPartition, Handlers: newSeen().collect(0)})
				select {
				case <-m.done:
				case <-time.After(time.Minute):
					require.Fail(t, "Run did not end")
				}
				require.ErrorIs(t, m.err, code)
			})
		})
	}
}

// Rule 16: a commit that is refused while the group is rebalanced is sent again.
func TestVirtualLastCommitIsRepeatedUntilItIsAcknowledged(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 10)
		s := newSeen()
		m := w.start(consumer.Config{Ordering: consumer.ByPartition, CommitInterval: time.Hour, Handlers: s.collect(0)})
		eventually(t, time.Minute, "everything", func() bool { return s.count() == 10 })
		w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.RebalanceInProgress, Count: 3})
		require.NoError(t, m.halt())
		require.Equal(t, int64(10), w.committed(0))
	})
}

// Rule 20: groups of members that are not ours can be joined, and left to them.
func TestVirtualSharesAGroupWithOtherClients(t *testing.T) {
	for name, balancers := range map[string][]kgo.GroupBalancer{
		"as kgo does it":  {kgo.CooperativeStickyBalancer()},
		"as Java does it": {kgo.RangeBalancer(), kgo.CooperativeStickyBalancer()},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 4, func(t *testing.T, w *world) {
				other := w.client(kgo.ConsumerGroup("boards"), kgo.ConsumeTopics("orders"), kgo.Balancers(balancers...),
					kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
				s := newSeen()
				var polling sync.WaitGroup
				ctx, stop := context.WithCancel(t.Context())
				polling.Go(func() {
					for ctx.Err() == nil {
						other.PollFetches(ctx).EachRecord(s.add)
					}
				})
				time.Sleep(10 * time.Second)
				m := w.start(consumer.Config{Ordering: consumer.ByPartition, Handlers: s.collect(0)})
				eventually(t, time.Minute, "a fair share", func() bool { return len(m.c.Status().Partitions) == 2 })
				for p := range int32(4) {
					w.publish(p, 0, 10)
				}
				eventually(t, time.Minute, "everything", func() bool { return s.count() == 40 })
				stop()
				polling.Wait()
				other.CloseAllowingRebalance()
				eventually(t, time.Minute, "all partitions", func() bool { return len(m.c.Status().Partitions) == 4 })
				for p := range int32(4) {
					w.publish(p, 10, 10)
				}
				eventually(t, time.Minute, "the rest", func() bool { return s.count() == 80 })
				for p := range int32(4) {
					require.Equal(t, upTo(20), s.of(p))
				}
				require.NoError(t, m.halt())
			})
		})
	}
}
