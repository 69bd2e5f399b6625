//go:build synctests

package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
)

// What becomes of retry topics while a consumer runs, in virtual time.

func (w *world) admin(t *testing.T) (admin *kadm.Client) {
	cl := w.client()
	t.Cleanup(cl.Close)
	return kadm.NewClient(cl)
}

// What is due in a retry topic has its share of the workers, however much there is to
// do in the source.
func TestVirtualDueRetriesAreNotStarved(t *testing.T) {
	inWorld(t, 6, func(t *testing.T, w *world) {
		var mu sync.Mutex
		late := time.Duration(0)
		retried, handled := 0, 0
		cfg := consumer.Config{
			Concurrency: 12, Failures: dlq.Policy{Delays: []time.Duration{2 * time.Second}},
			Handlers: handle(func(ctx context.Context, r *kgo.Record) error {
				time.Sleep(10 * time.Millisecond)
				d := consumer.FromContext(ctx)
				mu.Lock()
				defer mu.Unlock()
				handled++
				if d.Attempt == 1 && value(r)%100 == 7 {
					return errors.New("not yet")
				}
				if d.Attempt > 1 {
					retried++
					late = max(late, time.Since(r.Timestamp)-2*time.Second)
				}
				return nil
			}),
		}
		const each = 20_000 // 1,200 a second are handled: a minute and a half of work
		for p := range int32(6) {
			w.publish(p, int(p)*each, each)
		}
		m := w.start(cfg)
		eventually(t, 10*time.Minute, "all is handled", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return handled == 6*each+6*each/100
		})
		require.NoError(t, m.halt())
		require.Equal(t, 6*each/100, retried)
		require.Less(t, late, time.Second, "those that were due waited for those that were new")
	})
}

// A partition that is full of waiting records stands still, or goes on with the retry
// topics; none is lost in either.
func TestVirtualOnFull(t *testing.T) {
	for _, full := range []dlq.OnFull{dlq.Pause, dlq.UseChain} {
		t.Run(fmt.Sprint(full), func(t *testing.T) {
			inWorld(t, 1, func(t *testing.T, w *world) {
				cl := w.client()
				defer cl.Close()
				const n = 1000
				for i := range n { // a key of its own for each
					require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Key: fmt.Append(nil, i), Value: fmt.Append(nil, i)}).FirstErr())
				}
				start := time.Now()
				var mu sync.Mutex
				runs, handled := map[int]int{}, map[int]int{}
				policy := dlq.Policy{Delays: []time.Duration{10 * time.Minute}, KeepOrder: true, OnFull: full, MaxAttempts: 100}
				m := w.start(consumer.Config{Concurrency: 10, Failures: policy, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
					time.Sleep(time.Millisecond)
					mu.Lock()
					defer mu.Unlock()
					runs[value(r)]++
					if time.Since(start) < 5*time.Minute {
						return errors.New("down")
					}
					handled[value(r)]++
					return nil
				})})
				time.Sleep(4 * time.Minute)
				mu.Lock()
				ran := len(runs)
				mu.Unlock()
				if full == dlq.Pause {
					require.Less(t, ran, 200, "the partition is full")
				} else {
					require.Equal(t, n, ran, "all were tried")
				}
				eventually(t, time.Hour, "all are handled", func() bool {
					mu.Lock()
					defer mu.Unlock()
					return len(handled) == n
				})
				eventually(t, time.Minute, "and committed", func() bool { return w.committed(0) == n })
				require.Equal(t, duplex.StatusOK, m.c.Status().Code)
				require.NoError(t, m.halt())
				for v, times := range handled {
					require.Equal(t, 1, times, v)
				}
			})
		})
	}
}

// A source that is given more partitions while the consumer runs has its retry topics
// grow with it; what fails meanwhile is not lost.
func TestVirtualSourceGrows(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		admin := w.admin(t)
		rs := newRuns()
		cfg := consumer.Config{Failures: dlq.Policy{Delays: []time.Duration{time.Second}}, Handlers: handle(func(ctx context.Context, r *kgo.Record) error {
			rs.note(ctx, r)
			if value(r)%2 == 0 || consumer.FromContext(ctx).Attempt == 1 {
				return errors.New("no")
			}
			return nil
		})}
		a, b := w.start(cfg), w.start(cfg)
		w.publish(0, 0, 10)
		eventually(t, time.Minute, "both are at work", func() bool {
			return w.committed(0) == 10 && a.c.Status().Code == duplex.StatusOK && b.c.Status().Code == duplex.StatusOK
		})
		_, err := admin.UpdatePartitions(t.Context(), 3, "orders")
		require.NoError(t, err)
		w.publish(1, 10, 10)
		w.publish(2, 20, 10)
		eventually(t, 20*time.Minute, "each ran twice", func() bool {
			for v := range 30 {
				if len(rs.all(v)) < 2 {
					return false
				}
			}
			return true
		})
		topics, err := admin.ListTopics(t.Context(), dlq.RetryTopic("boards", "orders", 1), dlq.DeadTopic("boards", "orders"), dlq.RedriveTopic("boards", "orders"))
		require.NoError(t, err)
		for _, topic := range topics {
			require.Len(t, topic.Partitions, 3, topic.Topic)
		}
		eventually(t, time.Minute, "half are dead letters", func() bool { return len(w.letters()) == 15 })
		w.publish(2, 30, 2) // now that it has grown, the second attempt is a matter of its delay
		began := time.Now()
		eventually(t, 5*time.Second, "they ran twice", func() bool { return len(rs.all(31)) == 2 })
		require.Less(t, time.Since(began), 2*time.Second)
		require.Equal(t, rs.all(31)[1].topic, dlq.RetryTopic("boards", "orders", 1))
		require.NoError(t, a.halt())
		require.NoError(t, b.halt())
	})
}

// What the broker deletes from a retry topic before it ran is said, and counted.
func TestVirtualTrimmedRetryTopicIsSaid(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 10)
		retry := dlq.RetryTopic("boards", "orders", 1)
		cfg := consumer.Config{Failures: dlq.Policy{Delays: []time.Duration{time.Hour}}, Handlers: handle(func(context.Context, *kgo.Record) error {
			return errors.New("no")
		})}
		m := w.start(cfg)
		eventually(t, time.Minute, "all have failed", func() bool { return w.committed(0) == 10 })
		require.NoError(t, m.halt())
		trim := kadm.Offsets{}
		trim.AddOffset(retry, 0, 7, -1)
		resps, err := w.admin(t).DeleteRecords(t.Context(), trim)
		require.NoError(t, err)
		require.NoError(t, resps.Error())
		m = w.start(cfg)
		eventually(t, time.Minute, "it is said", func() bool { return m.c.Status().Code == duplex.StatusRetryDataLost })
		var said string
		for _, p := range m.c.Status().Problems {
			said += p.Subject + ": " + p.Detail
		}
		require.Contains(t, said, retry+"/0: the broker deleted 7 records, offsets 0 to 6, before they were read")
		time.Sleep(time.Hour)
		require.Len(t, w.letters(), 3, "the rest")
		require.NoError(t, m.halt())
	})
}

// A record of a retry topic whose timestamp lies in the future waits for the topic's
// delay, and not for ever.
func TestVirtualFutureDoesNotWaitForEver(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		rs := newRuns()
		m := w.start(consumer.Config{Failures: dlq.Policy{Delays: []time.Duration{time.Minute}}, Handlers: handle(func(ctx context.Context, r *kgo.Record) error {
			rs.note(ctx, r)
			if consumer.FromContext(ctx).Attempt == 1 {
				return errors.New("once")
			}
			return nil
		})})
		w.publish(0, 1, 1)
		retry := dlq.RetryTopic("boards", "orders", 1)
		eventually(t, time.Minute, "it failed", func() bool { return w.committed(0) == 1 })
		var waits *kgo.Record
		reader := w.client(kgo.ConsumeTopics(retry), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()))
		reader.PollFetches(t.Context()).EachRecord(func(r *kgo.Record) { waits = r })
		reader.Close()
		cl := w.client()
		defer cl.Close()
		forged := &kgo.Record{Topic: retry, Key: waits.Key, Value: []byte("2"), Headers: waits.Headers, Timestamp: time.Now().Add(100 * 365 * 24 * time.Hour)}
		require.NoError(t, cl.ProduceSync(t.Context(), forged).FirstErr())
		eventually(t, 2*time.Minute, "both ran", func() bool { return len(rs.all(1)) == 2 && len(rs.all(2)) == 1 })
		require.GreaterOrEqual(t, rs.all(2)[0].at, time.Minute)
		require.NoError(t, m.halt())
	})
}
