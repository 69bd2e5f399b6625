//go:build synctests

package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

// A partition whose record never succeeds holds a bounded number of records,
// and the others go on.
func TestVirtualBlockedPartitionIsBoundedAndOthersFlow(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		for p := range int32(3) {
			w.publish(p, 0, 20_000)
		}
		s := newSeen()
		m := w.start(consumer.Config{Ordering: consumer.ByPartition, MaxLoaded: 3000, RetryMax: time.Second, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			if r.Partition == 0 {
				return errors.New("down")
			}
			s.add(r)
			return nil
		})})
		most := 0
		eventually(t, 5*time.Minute, "the others", func() bool {
			loaded := 0
			for _, p := range m.c.Status().Partitions {
				loaded += p.Loaded
			}
			most = max(most, loaded)
			return s.count() == 40_000
		})
		require.LessOrEqual(t, most, 3000+3*1500, "loaded more than MaxLoaded and the rest of a poll")
		time.Sleep(time.Minute)
		st := m.c.Status()
		require.Equal(t, duplex.StatusHeadOfLineBlocked, st.Code)
		require.Contains(t, fmt.Sprint(st.Problems), `orders/0: offset 0, key "k0", waits for attempt `)
		require.True(t, st.Partitions[0].Paused)
		require.LessOrEqual(t, st.Partitions[0].Loaded, 2500)
		require.Equal(t, int64(0), w.committed(0))
		require.NoError(t, m.halt())
	})
}

// Pauses do not outlive an assignment: the partition flows with its next owner,
// and again with this member when it comes back.
func TestVirtualPauseEndsWithTheAssignment(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 5000)
		var down, lost = true, make(chan struct{})
		var mu sync.Mutex
		s := newSeen()
		m := w.start(consumer.Config{Ordering: consumer.ByPartition, MaxLoaded: 500, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			mu.Lock()
			defer mu.Unlock()
			if down {
				return errors.New("down")
			}
			s.add(r)
			return nil
		})})
		eventually(t, time.Minute, "the pause", func() bool {
			st := m.c.Status()
			return len(st.Partitions) == 1 && st.Partitions[0].Paused
		})
		hook := w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID, Count: 1})
		require.NoError(t, hook.Wait(t.Context(), 1))
		close(lost)
		mu.Lock()
		down = false
		mu.Unlock()
		eventually(t, 2*time.Minute, "everything", func() bool { return w.committed(0) == 5000 })
		require.Equal(t, upTo(5000), s.of(0))
		require.NoError(t, m.halt())
	})
}

// A slice that was polled before its partition was lost and assigned again must
// not run in the new assignment beside what is fetched for it.
func TestVirtualLostAndAssignedRunsNothingTwiceAtOnce(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		s := newSeen()
		m := w.start(consumer.Config{Ordering: consumer.ByPartition, CommitInterval: 100 * time.Millisecond, Handlers: s.collect(time.Millisecond)})
		eventually(t, time.Minute, "membership", func() bool { return len(m.c.Status().Partitions) == 2 })
		for round := range 20 {
			w.publish(0, round*200, 200)
			w.publish(1, round*200, 200)
			hook := w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID, Count: 1})
			require.NoError(t, hook.Wait(t.Context(), 1))
			time.Sleep(time.Duration(round) * 7 * time.Millisecond)
		}
		eventually(t, 5*time.Minute, "everything", func() bool { return w.committed(0) == 4000 && w.committed(1) == 4000 })
		require.False(t, s.overlap, "two executions at once on one partition")
		for p := range int32(2) {
			seen := map[int]bool{}
			for _, v := range s.of(p) {
				seen[v] = true
			}
			require.Len(t, seen, 4000)
		}
		w.requireMonotonic()
		require.NoError(t, m.halt())
	})
}

func TestVirtualBatches(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		numbers := duplex.Topic[int]{Name: "orders"}
		var mu sync.Mutex
		var sizes, got []int
		failures := 2
		batches := func() int {
			mu.Lock()
			defer mu.Unlock()
			return len(sizes)
		}
		m := w.start(consumer.Config{Ordering: consumer.ByPartition, MaxBatch: 100, BatchWait: 2 * time.Second, RetryMin: time.Second, Handlers: []consumer.Handler{
			consumer.HandleBatch(numbers, func(_ context.Context, values []int) error {
				mu.Lock()
				defer mu.Unlock()
				sizes = append(sizes, len(values))
				var failed consumer.BatchError
				for i, v := range values {
					if v%50 == 49 && failures > 0 {
						failures--
						failed.Fail(i, errors.New("this one"))
						continue
					}
					got = append(got, v)
				}
				return failed.Err()
			}),
		}})
		eventually(t, time.Minute, "membership", func() bool { return len(m.c.Status().Partitions) == 1 })
		began := time.Now()
		w.publish(0, 0, 100)
		eventually(t, time.Minute, "a full batch does not wait", func() bool { return batches() > 0 })
		require.Less(t, time.Since(began), time.Second)
		eventually(t, time.Minute, "the two that failed", func() bool { return w.committed(0) == 100 })
		require.Equal(t, []int{100, 2}, sizes)
		began = time.Now()
		w.publish(0, 100, 3)
		eventually(t, time.Minute, "a small batch waits", func() bool { return batches() == 3 })
		require.GreaterOrEqual(t, time.Since(began), 2*time.Second)
		require.Equal(t, 3, sizes[2])
		eventually(t, time.Minute, "its commit", func() bool { return w.committed(0) == 103 })
		require.Len(t, got, 103)
		require.NoError(t, m.halt())
	})
}

func TestVirtualBatchWithUndecodableRecord(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 2)
		cl := w.client()
		require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Value: []byte("x")}).FirstErr())
		cl.Close()
		w.publish(0, 3, 2)
		var mu sync.Mutex
		var got []int
		m := w.start(consumer.Config{Ordering: consumer.ByPartition, RetryMax: time.Second, Handlers: []consumer.Handler{
			consumer.HandleBatch(duplex.Topic[int]{Name: "orders"}, func(_ context.Context, values []int) error {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, values...)
				return nil
			}),
		}})
		eventually(t, time.Minute, "the good ones before it are committed", func() bool { return w.committed(0) == 2 })
		time.Sleep(time.Minute)
		require.Equal(t, []int{0, 1, 3, 4}, got, "its neighbours in the batch are handled once")
		require.Equal(t, int64(2), w.committed(0), "and it is not passed")
		require.Contains(t, m.c.Status().Partitions[0].LastError, "undecodable")
		require.NoError(t, m.halt())
	})
}

func TestVirtualMiddlewareAndTimeout(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 2)
		var calls []string
		named := func(name string) duplex.Middleware {
			return func(next duplex.Next) duplex.Next {
				return func(ctx context.Context, r *kgo.Record) error {
					calls = append(calls, name)
					return next(ctx, r)
				}
			}
		}
		m := w.start(consumer.Config{Ordering: consumer.ByPartition,
			HandlerTimeout: 5 * time.Second, Middleware: []duplex.Middleware{named("outer"), named("inner")},
			Handlers: handle(func(ctx context.Context, r *kgo.Record) error {
				d := consumer.FromContext(ctx)
				if string(r.Value) == "0" && d.Attempt == 1 {
					require.Equal(t, time.Now().Add(5*time.Second), d.Deadline)
					<-ctx.Done()
					require.ErrorIs(t, context.Cause(ctx), consumer.ErrHandlerTimeout)
					return ctx.Err()
				}
				calls = append(calls, "handler")
				return nil
			}),
		})
		eventually(t, time.Minute, "the timeout", func() bool {
			st := m.c.Status()
			return len(st.Partitions) == 1 && strings.Contains(st.Partitions[0].LastError, "handler-timeout")
		})
		eventually(t, time.Minute, "both", func() bool { return w.committed(0) == 2 })
		require.Equal(t, "outer inner outer inner handler outer inner handler", strings.Join(calls, " "))
		require.NoError(t, m.halt())
	})
}

// A member whose only partition is blocked still hears what is wrong with the group.
func TestVirtualBlockedMemberHearsOfTheGroup(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 20_000)
		hang := make(chan struct{})
		m := w.start(consumer.Config{MaxLoaded: 1000, DrainTimeout: time.Second, Handlers: handle(func(context.Context, *kgo.Record) error {
			<-hang
			return nil
		})})
		eventually(t, time.Minute, "a full share", func() bool {
			st := m.c.Status()
			return len(st.Partitions) == 1 && st.Partitions[0].Paused
		})
		w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat, kmsg.JoinGroup}, Err: kerr.GroupAuthorizationFailed, Count: -1})
		select {
		case <-m.done:
		case <-time.After(5 * time.Minute):
			require.Fail(t, "Run did not end", "%+v", m.c.Status())
		}
		require.ErrorIs(t, m.err, duplex.ErrUnauthorized)
		close(hang)
	})
}

// A partition whose loaded records all wait goes on reading for its other keys, also
// when another partition comes to hold as many records as it may.
func TestVirtualPartitionWhoseRecordsWaitIsReadOn(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.publish(1, 0, 3) // keys k0, k1, k2
		s := newSeen()
		m := w.start(consumer.Config{MaxLoaded: 1000, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			if r.Partition == 0 || value(r) < 3 {
				return duplex.RetryAfter(time.Hour, errors.New("down"))
			}
			s.add(r)
			return nil
		})})
		partition := func(n int) duplex.PartitionStatus {
			if st := m.c.Status().Partitions; len(st) == 2 {
				return st[n]
			}
			return duplex.PartitionStatus{}
		}
		eventually(t, time.Minute, "three that wait", func() bool { return partition(1).Waiting == 3 })
		w.publish(0, 0, 5000)
		eventually(t, time.Minute, "a full share", func() bool { return partition(0).Paused })
		w.publish(1, 5, 1) // key k5
		eventually(t, 5*time.Second, "a key that does not wait", func() bool { return len(s.of(1)) == 1 })
		require.Equal(t, int64(0), w.committed(1))
		require.NoError(t, m.halt())
	})
}
