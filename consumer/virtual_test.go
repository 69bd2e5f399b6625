//go:build synctests

package consumer_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

func TestVirtualHandlesEverythingInOrderAndCommits(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		for p := range int32(3) {
			w.publish(p, 0, 1000)
		}
		s := newSeen()
		m := w.start(consumer.Config{Ordering: consumer.ByPartition, Handlers: s.collect(0)})
		eventually(t, time.Minute, "3000 records", func() bool { return s.count() == 3000 })
		eventually(t, 3*time.Second, "commits", func() bool { return w.committed(0) == 1000 && w.committed(1) == 1000 && w.committed(2) == 1000 })
		require.Equal(t, duplex.StatusOK, m.c.Status().Code)
		require.NoError(t, m.halt())
		for p := range int32(3) {
			require.Equal(t, upTo(1000), s.of(p))
		}
		require.False(t, s.overlap)
		w.requireMonotonic()
		require.Equal(t, duplex.StatusClosed, m.c.Status().Code)
	})
}

func TestVirtualFailedRecordWaitsInPlace(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.publish(0, 0, 100)
		w.publish(1, 0, 100)
		s := newSeen()
		var attempts []time.Time
		m := w.start(consumer.Config{Ordering: consumer.ByPartition, RetryMin: time.Second, RetryMax: 8 * time.Second, Handlers: handle(func(ctx context.Context, r *kgo.Record) error {
			if r.Partition == 0 && string(r.Value) == "50" {
				d := consumer.FromContext(ctx)
				attempts = append(attempts, time.Now())
				require.Equal(t, len(attempts), d.Attempt)
				require.Same(t, r, d.Record)
				if len(attempts) < 6 {
					return errors.New("not yet")
				}
			}
			s.add(r)
			return nil
		})})
		eventually(t, time.Minute, "the other partition flows", func() bool { return len(s.of(1)) == 100 })
		require.Len(t, s.of(0), 50, "nothing is skipped")
		eventually(t, 2*time.Second, "its watermark", func() bool { return w.committed(0) == 50 })
		st := m.c.Status()
		require.Equal(t, duplex.StatusRetrying, st.Code)
		require.Equal(t, "not yet", st.Partitions[0].LastError)
		eventually(t, 2*time.Minute, "everything", func() bool { return s.count() == 200 })
		require.Len(t, attempts, 6)
		for i, ms := range []int{800, 1600, 3200, 6400, 6400} {
			least := time.Duration(ms) * time.Millisecond
			gap := attempts[i+1].Sub(attempts[i])
			require.GreaterOrEqual(t, gap, least)
			require.LessOrEqual(t, gap, least*5/4+50*time.Millisecond)
		}
		require.NoError(t, m.halt())
		require.Equal(t, upTo(100), s.of(0))
		require.Equal(t, int64(100), w.committed(0))
	})
}

func TestVirtualVerdictsPanicsAndUndecodableRecords(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 6)
		cl := w.client()
		require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Value: []byte("{bad")}).FirstErr())
		cl.Close()
		numbers := duplex.Topic[int]{Name: "orders"}
		var ran []int
		var snoozed time.Time
		m := w.start(consumer.Config{Ordering: consumer.ByPartition, RetryMin: time.Second, Handlers: []consumer.Handler{consumer.Handle(numbers, func(ctx context.Context, n int) error {
			ran = append(ran, n)
			attempt := consumer.FromContext(ctx).Attempt
			switch {
			case n == 0:
				return duplex.Drop("not ours")
			case n == 1 && snoozed.IsZero():
				snoozed = time.Now()
				return duplex.Snooze(7 * time.Second)
			case n == 1:
				require.Equal(t, 1, attempt, "a snooze costs no attempt")
				require.Equal(t, 7*time.Second, time.Since(snoozed))
			case n == 2 && attempt == 1:
				panic("boom")
			case n == 3 && attempt == 1:
				return duplex.RetryAfter(90*time.Second, errors.New("busy"))
			case n == 4 && attempt < 3:
				return duplex.Permanent(errors.New("bad"))
			}
			return nil
		})}})
		eventually(t, 5*time.Minute, "the undecodable record is reached", func() bool { return w.committed(0) == 6 })
		time.Sleep(time.Minute)
		require.Equal(t, []int{0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 5}, ran)
		st := m.c.Status()
		require.Equal(t, duplex.StatusRetrying, st.Code)
		require.Contains(t, st.Partitions[0].LastError, "undecodable")
		require.Contains(t, st.Partitions[0].LastError, "orders/0 offset 6")
		require.Equal(t, int64(1), st.Counts["dropped"])
		require.Equal(t, int64(5), st.Counts["handled"])
		require.NoError(t, m.halt())
		require.Equal(t, int64(6), w.committed(0), "the commit never passes what is not finished")
	})
}

func TestVirtualRevokeWithinGraceRepeatsNothing(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		for p := range int32(4) {
			w.publish(p, 0, 60)
		}
		s := newSeen()
		cfg := consumer.Config{Ordering: consumer.ByPartition, Handlers: s.collect(700 * time.Millisecond)}
		a := w.start(cfg)
		eventually(t, time.Minute, "some work", func() bool { return s.count() > 20 })
		b := w.start(cfg)
		c := w.start(cfg)
		eventually(t, 5*time.Minute, "everything", func() bool { return s.count() >= 240 })
		time.Sleep(5 * time.Second)
		require.Equal(t, 240, s.count(), "a rebalance repeated records")
		for p := range int32(4) {
			require.Equal(t, upTo(60), s.of(p))
			require.Equal(t, int64(60), w.committed(p))
		}
		require.False(t, s.overlap)
		w.requireMonotonic()
		for _, m := range []*member{a, b, c} {
			require.NoError(t, m.halt())
		}
	})
}

// A handler that heeds its context is never at work together with the next
// owner's, even where it needs more than the grace.
func TestVirtualNextOwnerWaitsForAHandlerThatWasCancelled(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.publish(0, 0, 3)
		w.publish(1, 0, 3)
		var mu sync.Mutex
		returned := map[int32]time.Time{}
		a := w.start(consumer.Config{Ordering: consumer.ByPartition, RevokeGrace: 3 * time.Second, Handlers: handle(func(ctx context.Context, r *kgo.Record) error {
			<-ctx.Done()
			time.Sleep(900 * time.Millisecond) // it puts things in order
			mu.Lock()
			defer mu.Unlock()
			returned[r.Partition] = time.Now()
			return context.Cause(ctx)
		})})
		eventually(t, time.Minute, "both handlers", func() bool { return a.running() == 2 })
		var began time.Time
		var moved int32
		var once sync.Once
		s := newSeen()
		b := w.start(consumer.Config{Ordering: consumer.ByPartition, SessionTimeout: time.Second, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			once.Do(func() { began, moved = time.Now(), r.Partition })
			s.add(r)
			return nil
		})})
		eventually(t, time.Minute, "the partition that moved", func() bool { return s.count() == 3 })
		mu.Lock()
		require.NotZero(t, returned[moved])
		require.False(t, began.Before(returned[moved]), "the next owner began at %s, the handler returned at %s", began, returned[moved])
		mu.Unlock()
		require.Zero(t, a.c.Status().Counts["failed"], "giving up when told to is no failure")
		_ = a.halt() // its other handler returns an error when the drain ends
		require.NoError(t, b.halt())
	})
}

func TestVirtualLateCompletionMovesNothing(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.publish(0, 0, 10)
		w.publish(1, 0, 10)
		causes := make(chan error, 2)
		release := make(chan struct{})
		var stubborn atomic.Int32
		a := w.start(consumer.Config{Ordering: consumer.ByPartition, RevokeGrace: 3 * time.Second, Handlers: handle(func(ctx context.Context, r *kgo.Record) error {
			if string(r.Value) != "3" {
				return nil
			}
			stubborn.Add(1)
			<-ctx.Done()
			causes <- context.Cause(ctx)
			<-release
			return nil // too late
		})})
		eventually(t, time.Minute, "both partitions are stuck", func() bool { return stubborn.Load() == 2 })
		s := newSeen()
		b := w.start(consumer.Config{Ordering: consumer.ByPartition, Handlers: s.collect(0)})
		eventually(t, time.Minute, "the other member's work is committed", func() bool { return w.committed(0) == 10 || w.committed(1) == 10 })
		require.ErrorIs(t, <-causes, consumer.ErrRevoked)
		require.Equal(t, 7, s.count(), "records 3 to 9 of the partition that moved")
		before := len(w.commits)
		close(release)
		time.Sleep(10 * time.Second)
		w.requireMonotonic()
		require.Equal(t, int64(1), a.c.Status().Counts["late_completions"])
		moved := int32(0)
		if len(s.of(1)) > 0 {
			moved = 1
		}
		for _, c := range w.commits[before:] {
			require.NotEqual(t, moved, c.partition, "a late completion was committed")
		}
		require.NoError(t, b.halt())
		_ = a.halt()
	})
}

func TestVirtualDrainLongerThanTheSession(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.publish(0, 0, 4)
		w.publish(1, 0, 4)
		s := newSeen()
		cfg := consumer.Config{Ordering: consumer.ByPartition, SessionTimeout: 10 * time.Second, DrainTimeout: time.Minute, Handlers: s.collect(30 * time.Second)}
		a := w.start(cfg)
		time.Sleep(10 * time.Second) // both partitions are at their first record
		began := time.Now()
		b := w.start(consumer.Config{Ordering: consumer.ByPartition, SessionTimeout: 10 * time.Second, RevokeGrace: 30 * time.Second, Handlers: s.collect(time.Millisecond)})
		require.NoError(t, a.halt())
		require.Greater(t, time.Since(began), 15*time.Second)
		eventually(t, time.Minute, "everything", func() bool { return s.count() >= 8 })
		time.Sleep(time.Minute)
		require.Equal(t, 8, s.count(), "a graceful stop repeated records")
		require.Equal(t, upTo(4), s.of(0))
		require.Equal(t, upTo(4), s.of(1))
		w.requireMonotonic()
		require.NoError(t, b.halt())
	})
}

func TestVirtualStopIsBounded(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 3)
		release := make(chan struct{})
		m := w.start(consumer.Config{Ordering: consumer.ByPartition, DrainTimeout: 5 * time.Second, Handlers: handle(func(context.Context, *kgo.Record) error {
			<-release // deaf
			return nil
		})})
		eventually(t, time.Minute, "the handler", func() bool {
			st := m.c.Status()
			return len(st.Partitions) == 1 && st.Partitions[0].Running == 1
		})
		began := time.Now()
		require.ErrorContains(t, m.halt(), "1 handlers did not return within 5s, nor when their context was cancelled: orders/0 offset 0")
		require.LessOrEqual(t, time.Since(began), 7*time.Second)
		close(release)
	})
}

func TestVirtualRollingRestartRepeatsNothing(t *testing.T) {
	inWorld(t, 6, func(t *testing.T, w *world) {
		s := newSeen()
		cfg := consumer.Config{Ordering: consumer.ByPartition, Handlers: s.collect(3 * time.Millisecond), CommitInterval: 5 * time.Second}
		members := []*member{w.start(cfg), w.start(cfg), w.start(cfg)}
		stop := make(chan struct{})
		published := make(chan int)
		go func() {
			n := 0
			for ; ; n += 20 {
				select {
				case <-stop:
					published <- n
					return
				case <-time.After(200 * time.Millisecond):
				}
				for p := range int32(6) {
					w.publish(p, n, 20)
				}
			}
		}()
		time.Sleep(10 * time.Second)
		for i := range members {
			require.NoError(t, members[i].halt())
			time.Sleep(3 * time.Second)
			members[i] = w.start(cfg)
			time.Sleep(10 * time.Second)
		}
		close(stop)
		n := <-published
		eventually(t, time.Minute, "everything", func() bool { return s.count() >= 6*n })
		time.Sleep(10 * time.Second)
		for p := range int32(6) {
			require.Equal(t, upTo(n), s.of(p), "lost, repeated or out of order in partition %d", p)
		}
		require.False(t, s.overlap)
		w.requireMonotonic()
		for _, m := range members {
			require.NoError(t, m.halt())
		}
	})
}

// A member that is cut off from the network does not know that its partitions
// have a new owner. It must stop by itself before that.
func TestVirtualCutOffMemberStopsBeforeTheNextOwnerStarts(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		for p := range int32(3) {
			w.publish(p, 0, 2000)
		}
		mine, theirs := newSeen(), newSeen()
		a := w.start(consumer.Config{Ordering: consumer.ByPartition, Handlers: mine.collect(20 * time.Millisecond)})
		eventually(t, time.Minute, "some work", func() bool { return mine.count() > 300 })
		a.crash()
		cut := time.Now()
		var last, first time.Time
		var once sync.Once
		b := w.start(consumer.Config{Ordering: consumer.ByPartition, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			once.Do(func() { first = time.Now() })
			theirs.add(r)
			return nil
		})})
		for n := mine.count(); time.Since(cut) < time.Minute; time.Sleep(time.Millisecond) {
			if mine.count() != n {
				n, last = mine.count(), time.Now()
			}
		}
		require.Greater(t, mine.count(), 2000, "a member that the group still counts on goes on")
		require.Less(t, mine.count(), 6000)
		require.True(t, last.Before(first), "the member that was cut off ran a record at %s, the next owner began at %s", last, first)
		require.Equal(t, duplex.StatusDisconnected, a.c.Status().Code)
		eventually(t, time.Minute, "everything", func() bool { return w.committed(0) == 2000 && w.committed(1) == 2000 && w.committed(2) == 2000 })
		w.requireMonotonic()
		require.NoError(t, b.halt())
		_ = a.halt() // with or without an error: it has nothing to commit, or cannot
	})
}

// Brokers that are away behind a proxy are said to be so at once, not when the session
// is over; work goes on when they are back.
func TestVirtualBrokersBehindAProxyAreSaidToBeAway(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.publish(0, 0, 100)
		s := newSeen()
		a := w.start(consumer.Config{Ordering: consumer.ByPartition, SessionTimeout: time.Minute, Handlers: s.collect(0)})
		eventually(t, time.Minute, "some work", func() bool { return w.committed(0) == 100 })
		a.leave()
		eventually(t, 5*time.Second, "what is wrong", func() bool { return a.c.Status().Code == duplex.StatusDisconnected })
		w.publish(1, 0, 100)
		a.comeBack()
		eventually(t, time.Minute, "everything", func() bool { return w.committed(1) == 100 && a.c.Status().Code == duplex.StatusOK })
		require.Equal(t, 200, s.count())
		require.NoError(t, a.halt())
	})
}

// A network that swallows everything gives no error, and kgo waits for its
// heartbeat for longer than the session lasts: the consumer itself must stop.
// Once the network is back, it goes on by itself.
func TestVirtualFence(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.publish(0, 0, 500)
		w.publish(1, 0, 500)
		s := newSeen()
		a := w.start(consumer.Config{Ordering: consumer.ByPartition, SessionTimeout: 6 * time.Second, Handlers: s.collect(50 * time.Millisecond)})
		eventually(t, time.Minute, "some work", func() bool { return s.count() > 50 })
		a.swallow()
		time.Sleep(6*time.Second + 60*time.Millisecond)
		n := s.count()
		time.Sleep(2 * time.Second)
		require.Equal(t, n, s.count(), "a handler started after the session was over")
		require.Equal(t, duplex.StatusDisconnected, a.c.Status().Code)
		a.heal()
		eventually(t, 5*time.Minute, "everything", func() bool { return w.committed(0) == 500 && w.committed(1) == 500 })
		require.Equal(t, duplex.StatusOK, a.c.Status().Code)
		require.NoError(t, a.halt())
		w.requireMonotonic()
	})
}

func TestVirtualCrashRepeatsAtMostWhatWasNotCommitted(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		for p := range int32(3) {
			w.publish(p, 0, 2000)
		}
		s := newSeen()
		a := w.start(consumer.Config{Ordering: consumer.ByPartition, Handlers: s.collectUntilDead(time.Millisecond)})
		eventually(t, time.Minute, "some work", func() bool { return s.count() > 3000 })
		bound := int32(0)
		s.dead.Store(true) // no handler returns any more, as if the process had died
		time.Sleep(3 * time.Millisecond)
		a.crash()
		for p := range int32(3) {
			bound += int32(len(s.of(p))) - int32(w.committed(p))
		}
		before := s.count()
		b := w.start(consumer.Config{Ordering: consumer.ByPartition, Handlers: s.collect(time.Millisecond)})
		eventually(t, 5*time.Minute, "everything", func() bool { return w.committed(0) == 2000 && w.committed(1) == 2000 && w.committed(2) == 2000 })
		require.LessOrEqual(t, s.count()-6000, int(bound), "more was repeated than what was not committed")
		t.Logf("handled %d at the crash, %d in all: %d repeats, bound %d", before, s.count(), s.count()-6000, bound)
		for p := range int32(3) {
			have := map[int]bool{}
			for _, v := range s.of(p) {
				have[v] = true
			}
			require.Len(t, have, 2000, "lost in partition %d", p)
		}
		w.requireMonotonic()
		require.NoError(t, b.halt())
		close(s.revive)
		_ = a.halt()
	})
}
