//go:build synctests

package consumer_test

import (
	"context"
	"errors"
	"sync/atomic"
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

func TestVirtualPauseAndResume(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		s := newSeen()
		m := w.start(consumer.Config{Handlers: s.collect(0)})
		m.c.Pause(consumer.Partitions{Topic: "orders", Numbers: []int32{1}}) // before or after it is assigned
		for p := range int32(3) {
			w.publish(p, 0, 100)
		}
		eventually(t, time.Minute, "the others", func() bool { return s.count() == 200 })
		time.Sleep(5 * time.Minute)
		require.Empty(t, s.of(1))
		st := m.c.Status()
		require.Equal(t, duplex.StatusPausedByOperator, st.Code)
		require.Equal(t, "orders/1", st.Problems[0].Subject)
		require.True(t, st.Code.Healthy())

		m.c.Pause()
		w.publish(0, 100, 100)
		time.Sleep(time.Minute)
		require.Len(t, s.of(0), 100)
		m.c.Resume(consumer.Partitions{Topic: "orders", Numbers: []int32{0}})
		eventually(t, time.Minute, "that one", func() bool { return len(s.of(0)) == 200 })
		require.Empty(t, s.of(1))

		hook := w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID, Count: 1})
		require.NoError(t, hook.Wait(t.Context(), 1)) // assigned again, and still paused
		time.Sleep(time.Minute)
		require.Empty(t, s.of(1))
		m.c.Resume()
		eventually(t, time.Minute, "all", func() bool { return len(s.of(1)) == 100 })
		eventually(t, time.Minute, "no problem", func() bool { return m.c.Status().Code == duplex.StatusOK })
		require.NoError(t, m.halt())
	})
}

func TestVirtualSeek(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		s := newSeen()
		c, err := consumer.New(consumer.Config{Cluster: w.cluster, Group: "boards", Handlers: s.collect(0)})
		require.NoError(t, err)
		require.ErrorIs(t, c.Seek(t.Context(), "orders", 0, 0), duplex.ErrClosed)

		w.publish(0, 0, 100)
		time.Sleep(time.Hour)
		noon := time.Now()
		w.publish(0, 100, 50)
		w.publish(1, 0, 10)
		m := w.start(consumer.Config{Handlers: s.collect(0)})
		eventually(t, time.Minute, "everything", func() bool { return w.committed(0) == 150 && w.committed(1) == 10 })

		require.NoError(t, m.c.Seek(t.Context(), "orders", 0, 40))
		require.LessOrEqual(t, int64(40), w.committed(0))
		eventually(t, time.Minute, "again from there", func() bool { return len(s.of(0)) == 150+110 })
		require.NoError(t, m.c.SeekTime(t.Context(), noon))
		eventually(t, time.Minute, "again from noon", func() bool { return len(s.of(0)) == 150+110+50 && len(s.of(1)) == 20 })
		require.NoError(t, m.c.SeekTime(t.Context(), time.Now().Add(time.Hour), consumer.Partitions{Topic: "orders", Numbers: []int32{1}}))
		eventually(t, time.Minute, "its end", func() bool { return w.committed(0) == 150 && w.committed(1) == 10 })

		require.ErrorContains(t, m.c.Seek(t.Context(), "orders", 0, 151), "orders/0 has offsets 0 to 150, not 151")
		require.ErrorIs(t, m.c.Seek(t.Context(), "orders", 7, 0), consumer.ErrNotOwned)
		require.NoError(t, m.halt())
		require.ErrorIs(t, m.c.Seek(t.Context(), "orders", 0, 0), duplex.ErrClosed)
	})
}

// A seek while handlers run, records wait and fetching is paused: nothing of before
// runs beside it, and nothing of before is committed after it.
func TestVirtualSeekInTheMiddleOfWork(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publishKeys(0, 20_000, modulo(10))
		k := newKeyed()
		var down atomic.Bool
		down.Store(true)
		m := w.start(consumer.Config{MaxLoaded: 1000, RetryMin: time.Hour, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			return k.run(r, func() error {
				time.Sleep(10 * time.Millisecond)
				if down.Load() && value(r)%100 == 3 {
					return errors.New("down")
				}
				return nil
			})
		})})
		eventually(t, time.Minute, "a start", func() bool { return k.count() > 300 })
		down.Store(false)
		require.NoError(t, m.c.Seek(t.Context(), "orders", 0, 15_000))
		eventually(t, 5*time.Minute, "the rest", func() bool { return w.committed(0) == 20_000 })
		require.Less(t, k.count(), 8000)
		k.requireOrder(t)
		require.NoError(t, m.halt())
	})
}

func TestVirtualWatchdog(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 20)
		hang := make(chan struct{})
		m := w.start(consumer.Config{Ordering: consumer.ByPartition, StallAfter: 20 * time.Second, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			if value(r) == 5 {
				<-hang
			}
			return nil
		})})
		time.Sleep(15 * time.Second)
		require.Equal(t, duplex.StatusOK, m.c.Status().Code)
		time.Sleep(15 * time.Second)
		st := m.c.Status()
		require.Equal(t, duplex.StatusStalled, st.Code)
		require.False(t, st.Code.Healthy())
		require.Regexp(t, "orders/0: nothing was finished for (29|30)s, 15 records behind; 15 loaded, 1 handlers at work, the oldest for", st.Problems[0].Detail)
		require.Equal(t, int64(15), st.Partitions[0].Lag)
		require.InDelta(t, 30, st.Partitions[0].OldestRunning.Seconds(), 2)
		close(hang)
		eventually(t, time.Minute, "no problem", func() bool { return m.c.Status().Code == duplex.StatusOK && w.committed(0) == 20 })
		require.NoError(t, m.halt())
	})
}

// A handler that ignores its timeout keeps its slot, and is named.
func TestVirtualHandlerIgnoresItsTimeout(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 20)
		hang := make(chan struct{})
		m := w.start(consumer.Config{HandlerTimeout: 5 * time.Second, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			if value(r) == 5 {
				<-hang
			}
			return nil
		})})
		time.Sleep(15 * time.Second)
		st := m.c.Status()
		require.Equal(t, duplex.StatusHandlerStuck, st.Code)
		require.Contains(t, st.Problems[0].Detail, "does not return, its context has been cancelled for")
		require.Equal(t, int64(5), w.committed(0))
		close(hang)
		eventually(t, time.Minute, "all", func() bool { return w.committed(0) == 20 })
		require.NoError(t, m.halt())
	})
}

func TestVirtualBrokersLagIsKnownWhileNothingIsRead(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		m := w.start(consumer.Config{StallAfter: 20 * time.Second, Handlers: newSeen().collect(0)})
		eventually(t, time.Minute, "membership", func() bool { return len(m.c.Status().Partitions) == 1 })
		refused := w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.KafkaStorageError, Count: -1})
		w.publish(0, 0, 30)
		time.Sleep(time.Minute)
		st := m.c.Status()
		require.Equal(t, int64(30), st.Partitions[0].Lag)
		require.False(t, st.Code.Healthy())
		refused.Remove()
		eventually(t, time.Minute, "all", func() bool { return w.committed(0) == 30 })
		require.NoError(t, m.halt())
	})
}

func TestVirtualKIP848(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		s := newSeen()
		for p := range int32(4) {
			w.publish(p, 0, 100)
		}
		cfg := consumer.Config{Protocol: consumer.KIP848, Handlers: s.collect(0)}
		a := w.start(cfg)
		eventually(t, time.Minute, "everything", func() bool { return s.count() == 400 })
		b := w.start(cfg)
		eventually(t, time.Minute, "a share", func() bool { return len(a.c.Status().Partitions) == 2 && len(b.c.Status().Partitions) == 2 })
		for p := range int32(4) {
			w.publish(p, 100, 100)
		}
		eventually(t, time.Minute, "everything", func() bool { return s.count() == 800 })
		require.NoError(t, a.halt())
		eventually(t, time.Minute, "all", func() bool { return len(b.c.Status().Partitions) == 4 })
		for p := range int32(4) {
			w.publish(p, 200, 100)
		}
		eventually(t, time.Minute, "everything", func() bool { return s.count() == 1200 })
		for p := range int32(4) {
			require.Len(t, s.of(p), 300, "nothing was repeated")
		}
		w.requireMonotonic()
		require.NoError(t, b.halt())
	})
}

// A static member that comes back in time gets its partitions, and no rebalance.
func TestVirtualStaticMember(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		s := newSeen()
		cfg := func(id string) consumer.Config { return consumer.Config{InstanceID: id, Handlers: s.collect(0)} }
		a, b := w.start(cfg("one")), w.start(cfg("two"))
		eventually(t, time.Minute, "a share", func() bool { return len(a.c.Status().Partitions) == 2 && len(b.c.Status().Partitions) == 2 })
		before := b.c.Status().Counts["rebalances"]
		require.NoError(t, a.halt())
		time.Sleep(5 * time.Second)
		for p := range int32(4) {
			w.publish(p, 0, 10)
		}
		again := w.start(cfg("one"))
		eventually(t, time.Minute, "everything", func() bool { return s.count() == 40 })
		require.Equal(t, before, b.c.Status().Counts["rebalances"])
		third := w.start(cfg("one"))
		select {
		case <-again.done:
		case <-time.After(time.Minute):
			require.Fail(t, "the one that was replaced goes on")
		}
		require.ErrorIs(t, again.err, duplex.ErrFenced)
		require.NoError(t, third.halt())
		require.NoError(t, b.halt())
	})
}
