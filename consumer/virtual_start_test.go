//go:build synctests

package consumer_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

func TestVirtualStartLatestSkipsWhatWasThereBefore(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.publish(0, 0, 10)
		w.publish(1, 0, 10)
		s := newSeen()
		cfg := consumer.Config{Ordering: consumer.ByPartition, StartOffset: consumer.StartLatest(), Handlers: s.collect(0)}
		a := w.start(cfg)
		eventually(t, time.Minute, "the resolved start is committed at once", func() bool { return w.committed(0) == 10 && w.committed(1) == 10 })
		require.NoError(t, a.halt())
		w.publish(0, 10, 5) // while nobody is there: the group has begun, so they are its
		a = w.start(cfg)
		w.publish(1, 10, 5)
		eventually(t, time.Minute, "what came after", func() bool { return s.count() == 10 })
		require.Equal(t, []int{10, 11, 12, 13, 14}, s.of(0))
		require.Equal(t, []int{10, 11, 12, 13, 14}, s.of(1))
		require.NoError(t, a.halt())
	})
}

func TestVirtualStartAtATime(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 10)
		time.Sleep(time.Hour)
		at := time.Now()
		w.publish(0, 10, 10)
		s := newSeen()
		m := w.start(consumer.Config{Ordering: consumer.ByPartition, StartOffset: consumer.StartAt(at), Handlers: s.collect(0)})
		eventually(t, time.Minute, "the records from then on", func() bool { return s.count() == 10 })
		require.Equal(t, 10, s.of(0)[0])
		require.NoError(t, m.halt())
	})
}

// A partition that is added later is read from its beginning, also by a group
// that began at the end, and also when a third one follows.
func TestVirtualAddedPartitionsStartAtTheirBeginning(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.publish(0, 0, 3)
		s := newSeen()
		cfg := consumer.Config{Ordering: consumer.ByPartition, StartOffset: consumer.StartLatest(), Handlers: s.collect(0)}
		w.cluster.KafkaOptions = []kgo.Opt{kgo.MetadataMaxAge(5 * time.Second)}
		a := w.start(cfg)
		eventually(t, time.Minute, "the start is committed", func() bool { return w.committed(0) == 3 && w.committed(1) == 0 })
		for n := 3; n <= 4; n++ {
			cl := w.client()
			_, err := kadm.NewClient(cl).CreatePartitions(t.Context(), 1, "orders")
			require.NoError(t, err)
			cl.Close()
			w.publish(int32(n-1), 0, 7) // before the group knows of the partition
			eventually(t, 2*time.Minute, fmt.Sprint("partition ", n-1), func() bool { return len(s.of(int32(n-1))) == 7 })
		}
		require.NoError(t, a.halt())
	})
}

// Two members of a new group begin at the same time: neither may take the
// other's first commit for a sign that the group is old.
func TestVirtualNewGroupBeginsTogether(t *testing.T) {
	inWorld(t, 8, func(t *testing.T, w *world) {
		for p := range int32(8) {
			w.publish(p, 0, 5)
		}
		s := newSeen()
		cfg := consumer.Config{Ordering: consumer.ByPartition, StartOffset: consumer.StartLatest(), Handlers: s.collect(0)}
		members := []*member{w.start(cfg), w.start(cfg), w.start(cfg)}
		eventually(t, time.Minute, "all starts are committed", func() bool {
			for _, offset := range w.offsets() {
				if offset < 5 {
					return false
				}
			}
			return true
		})
		time.Sleep(10 * time.Second)
		require.Zero(t, s.count(), "records from before the group's beginning were handled")
		for _, m := range members {
			require.NoError(t, m.halt())
		}
	})
}

// In a group that another client began, a partition without an offset is read
// from its beginning: nothing may be skipped that the group might have wanted.
func TestVirtualForeignCommits(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.publish(0, 0, 10)
		w.publish(1, 0, 10)
		cl := w.client()
		offsets := kadm.Offsets{}
		offsets.AddOffset("orders", 0, 4, -1)
		require.NoError(t, kadm.NewClient(cl).CommitAllOffsets(t.Context(), "boards", offsets))
		cl.Close()
		s := newSeen()
		core, lines := observer.New(zap.InfoLevel)
		m := w.start(consumer.Config{
			Ordering: consumer.ByPartition, StartOffset: consumer.StartLatest(), Handlers: s.collect(0), Logger: zap.New(core),
		})
		eventually(t, time.Minute, "everything not committed", func() bool { return s.count() == 16 })
		require.Equal(t, upTo(10)[4:], s.of(0))
		require.Equal(t, upTo(10), s.of(1))
		require.Equal(t, 1, lines.FilterMessageSnippet("another client committed").FilterField(zap.Int("partitions", 1)).Len())
		require.NoError(t, m.halt())
	})
}

func TestVirtualDataDeletedBeforeItWasReadIsReported(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 10)
		s := newSeen()
		cfg := consumer.Config{Ordering: consumer.ByPartition, Handlers: s.collect(0)}
		m := w.start(cfg)
		eventually(t, time.Minute, "ten", func() bool { return s.count() == 10 })
		require.NoError(t, m.halt())
		w.publish(0, 10, 10)
		cl := w.client()
		offsets := kadm.Offsets{}
		offsets.AddOffset("orders", 0, 15, -1)
		_, err := kadm.NewClient(cl).DeleteRecords(t.Context(), offsets)
		require.NoError(t, err)
		cl.Close()
		m = w.start(cfg)
		eventually(t, time.Minute, "the rest", func() bool { return s.count() == 15 })
		st := m.c.Status()
		require.Equal(t, duplex.StatusDataLost, st.Code)
		require.Equal(t, "orders/0: the broker deleted 5 records, offsets 10 to 14, before they were read", st.Problems[0].Detail)
		w.publish(0, 20, 1)
		eventually(t, time.Minute, "one more", func() bool { return s.count() == 16 })
		require.Equal(t, duplex.StatusDataLost, m.c.Status().Code, "it stays known")
		require.NoError(t, m.halt())
	})
}

func TestVirtualMissingTopicAndUnreachableCluster(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		c, err := consumer.New(consumer.Config{Ordering: consumer.ByPartition, Cluster: w.cluster, Group: "g", Handlers: []consumer.Handler{
			consumer.HandleRecord("orders", func(context.Context, *kgo.Record) error { return nil }),
			consumer.HandleRecord("ordesr", func(context.Context, *kgo.Record) error { return nil }),
		}})
		require.NoError(t, err)
		err = c.Run(t.Context())
		require.ErrorIs(t, err, duplex.ErrUnknownTopic)
		require.ErrorContains(t, err, `asking for topic "ordesr"`)
		require.ErrorContains(t, err, "create the topic")
		require.ErrorIs(t, c.Run(t.Context()), duplex.ErrClosed)

		nowhere := w.cluster
		nowhere.Brokers = []string{"127.0.0.1:1"}
		c, err = consumer.New(consumer.Config{Ordering: consumer.ByPartition, Cluster: nowhere, Group: "g", StartTimeout: 5 * time.Second, Handlers: handle(ignore)})
		require.NoError(t, err)
		began := time.Now()
		err = c.Run(t.Context())
		require.ErrorIs(t, err, duplex.ErrUnreachable)
		require.ErrorContains(t, err, "reaching the cluster at 127.0.0.1:1")
		require.InDelta(t, 5, time.Since(began).Seconds(), 0.5)
	})
}

func ignore(context.Context, *kgo.Record) error { return nil }
