//go:build synctests

package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

// publishKeys writes n records to partition 0 whose keys are given by their number.
func (w *world) publishKeys(from, n int, key func(i int) []byte) {
	w.t.Helper()
	cl := w.client()
	defer cl.Close()
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{Topic: "orders", Key: key(from + i), Value: fmt.Append(nil, from+i)}
	}
	require.NoError(w.t, cl.ProduceSync(context.Background(), records...).FirstErr())
}

func modulo(n int) func(i int) []byte {
	return func(i int) []byte { return fmt.Append(nil, "key ", i%n) }
}

// keyed notes what handlers of keys do.
type keyed struct {
	mu      sync.Mutex
	order   map[string][]int
	running map[string]bool
	overlap []string
	now     int
	most    int
	times   map[int]time.Duration // since the start, by value
	start   time.Time
}

func newKeyed() *keyed {
	return &keyed{order: map[string][]int{}, running: map[string]bool{}, times: map[int]time.Duration{}, start: time.Now()}
}

func value(r *kgo.Record) int {
	n, _ := strconv.Atoi(string(r.Value))
	return n
}

// run brackets what a handler does with a record; a nil error notes it as handled.
func (k *keyed) run(r *kgo.Record, work func() error) error {
	key := string(r.Key)
	k.mu.Lock()
	if k.running[key] && r.Key != nil {
		k.overlap = append(k.overlap, key)
	}
	k.running[key] = true
	k.now++
	k.most = max(k.most, k.now)
	k.mu.Unlock()
	err := work()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.running[key] = false
	k.now--
	if err == nil {
		if r.Key != nil {
			k.order[key] = append(k.order[key], value(r))
		}
		k.times[value(r)] = time.Since(k.start)
	}
	return err
}

func (k *keyed) count() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.times)
}

func (k *keyed) at(v int) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.times[v]
}

// requireOrder checks that each key's records were handled once each, in order.
func (k *keyed) requireOrder(t *testing.T) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	require.Empty(t, k.overlap, "two executions at once of one key")
	for key, values := range k.order {
		for i := 1; i < len(values); i++ {
			require.Less(t, values[i-1], values[i], "%s", key)
		}
	}
}

// Handlers that wait run as many at once as Concurrency says, on one partition.
func TestVirtualKeysRunConcurrently(t *testing.T) {
	for name, c := range map[string]struct {
		ordering consumer.Ordering
		key      func(int) []byte
		batches  time.Duration // 1,000 records of 1 s each
		most     int
	}{
		"by key":                       {consumer.ByKey, modulo(1000), 10 * time.Second, 100},
		"by key, ten of them":          {consumer.ByKey, modulo(10), 100 * time.Second, 10},
		"by key, without one":          {consumer.ByKey, func(int) []byte { return nil }, 10 * time.Second, 100},
		"by key, an empty one":         {consumer.ByKey, func(int) []byte { return []byte{} }, 1000 * time.Second, 1},
		"by partition":                 {consumer.ByPartition, modulo(1000), 1000 * time.Second, 1},
		"unordered, all of one key":    {consumer.Unordered, modulo(1), 10 * time.Second, 100},
		"by key, nine of ten of a hot": {consumer.ByKey, func(i int) []byte { return fmt.Append(nil, max(0, i%10-8)*i) }, 900 * time.Second, 100},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, func(t *testing.T, w *world) {
				w.publishKeys(0, 1000, c.key)
				k := newKeyed()
				m := w.start(consumer.Config{Ordering: c.ordering, Concurrency: 100, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
					return k.run(r, func() error { time.Sleep(time.Second); return nil })
				})})
				eventually(t, 2*c.batches, "everything", func() bool { return k.count() == 1000 })
				last := time.Duration(0)
				for v := range 1000 {
					last = max(last, k.at(v))
				}
				require.InDelta(t, c.batches.Seconds(), last.Seconds(), 0.03*c.batches.Seconds()+0.5)
				require.LessOrEqual(t, k.most, 100)
				require.GreaterOrEqual(t, k.most, c.most)
				if c.ordering != consumer.Unordered {
					k.requireOrder(t)
				}
				eventually(t, time.Minute, "its commit", func() bool { return w.committed(0) == 1000 })
				require.Zero(t, m.c.Status().Partitions[0].Lanes)
				require.Zero(t, m.c.Status().Partitions[0].Loaded)
				require.NoError(t, m.halt())
			})
		})
	}
}

// A key whose record fails waits, with its worker free; the others flow.
func TestVirtualFailingKeyHoldsNobodyElse(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publishKeys(0, 5000, modulo(50))
		k := newKeyed()
		var attempts []int
		m := w.start(consumer.Config{Concurrency: 2, RetryMin: time.Minute, Handlers: handle(func(ctx context.Context, r *kgo.Record) error {
			return k.run(r, func() error {
				if value(r) != 7 {
					return nil
				}
				attempts = append(attempts, consumer.FromContext(ctx).Attempt)
				if len(attempts) < 4 {
					return duplex.RetryAfter(time.Minute, errors.New("not yet"))
				}
				return nil
			})
		})})
		eventually(t, 10*time.Second, "the others", func() bool { return k.count() == 4900 })
		eventually(t, 10*time.Second, "a commit up to the one that failed", func() bool { return w.committed(0) == 7 })
		st := m.c.Status()
		require.Equal(t, duplex.StatusRetrying, st.Code)
		require.Equal(t, 1, st.Partitions[0].Waiting)
		require.Zero(t, st.Partitions[0].Running)
		require.Equal(t, 100, st.Partitions[0].Loaded)
		eventually(t, 5*time.Minute, "the rest", func() bool { return w.committed(0) == 5000 })
		require.Equal(t, []int{1, 2, 3, 4}, attempts)
		require.InDelta(t, 180, k.at(7).Seconds(), 1)
		require.Less(t, k.at(4957)-k.at(7), 10*time.Second)
		k.requireOrder(t)
		require.NoError(t, m.halt())
	})
}

// A record that turns out to be slow among those that run in place holds up its
// neighbours for a moment only.
func TestVirtualSlowRecordAmongFastOnes(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publishKeys(0, 20_000, modulo(100))
		k := newKeyed()
		m := w.start(consumer.Config{Concurrency: 4, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			return k.run(r, func() error {
				if value(r)%10_000 == 9_000 {
					time.Sleep(time.Hour)
				}
				return nil
			})
		})})
		eventually(t, 10*time.Second, "all but two of a key", func() bool { return k.count() >= 20_000-110 })
		st := m.c.Status().Partitions[0]
		require.Equal(t, 1, st.Running)
		require.Equal(t, 110, st.Loaded)
		require.InDelta(t, 5, st.OldestRunning.Seconds(), 5)
		require.Equal(t, 1, st.Lanes)
		time.Sleep(2*time.Hour - time.Minute) // both are of the same key
		eventually(t, time.Hour, "everything", func() bool { return w.committed(0) == 20_000 })
		k.requireOrder(t)
		require.NoError(t, m.halt())
	})
}

// One partition with much to do does not keep the workers from another.
func TestVirtualHotPartitionStarvesNoOther(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.publish(0, 0, 10_000)
		k := newKeyed()
		m := w.start(consumer.Config{Ordering: consumer.Unordered, Concurrency: 4, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			return k.run(r, func() error { time.Sleep(10 * time.Millisecond); return nil })
		})})
		eventually(t, time.Minute, "a start", func() bool { return k.count() > 1000 })
		began := time.Now()
		w.publish(1, 50_000, 100)
		eventually(t, time.Minute, "the other partition", func() bool { return k.at(50_099) > 0 })
		require.Less(t, time.Since(began), 2*time.Second, "half of the workers, at least, and the fetching")
		require.Less(t, k.count(), 10_000)
		require.NoError(t, m.halt())
	})
}

// A handler that hangs for ever holds its key; the others flow up to the bound,
// status names it, and a stop ends all the same.
func TestVirtualHangingHandlerHoldsItsKey(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publishKeys(0, 30_000, modulo(1000))
		k := newKeyed()
		hang := make(chan struct{})
		m := w.start(consumer.Config{MaxSpan: 20_000, MaxLoaded: 1000, DrainTimeout: 5 * time.Second, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			return k.run(r, func() error {
				if value(r) == 3 {
					<-hang
				}
				return nil
			})
		})})
		eventually(t, time.Minute, "as many as may", func() bool { return k.count() >= 20_003-30 })
		time.Sleep(time.Minute)
		require.LessOrEqual(t, k.count(), 20_003+256)
		st := m.c.Status()
		require.Equal(t, duplex.StatusHeadOfLineBlocked, st.Code)
		require.Contains(t, st.Problems[0].Detail, `offset 3, key "key 3", has been at work for 1m`)
		require.Equal(t, int64(3), w.committed(0))
		require.LessOrEqual(t, st.Partitions[0].Loaded, 4000)
		began := time.Now()
		require.ErrorContains(t, m.halt(), "1 handlers did not return within 5s, nor when their context was cancelled: orders/0 offset 3")
		require.Less(t, time.Since(began), 20*time.Second)
		close(hang)
		k.requireOrder(t)
	})
}

// Failed records of different keys each wait for their own time, and all of it
// survives a crash: attempts, due times, and what is finished above them.
func TestVirtualWaitingKeysSurviveACrash(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publishKeys(0, 2000, modulo(200))
		first, second := newKeyed(), newKeyed()
		fails := func(r *kgo.Record) bool { return value(r) < 50 }
		a := w.start(consumer.Config{CommitInterval: 100 * time.Millisecond, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			return first.run(r, func() error {
				if fails(r) {
					return duplex.RetryAfter(10*time.Minute+time.Duration(value(r))*time.Second, errors.New("down"))
				}
				return nil
			})
		})})
		eventually(t, time.Minute, "the others", func() bool { return first.count() == 1500 })
		failed := time.Now()
		time.Sleep(time.Second) // and their commit
		a.crash()
		attempts := map[int]int{}
		b := w.start(consumer.Config{Handlers: handle(func(ctx context.Context, r *kgo.Record) error {
			return second.run(r, func() error {
				attempts[value(r)] = consumer.FromContext(ctx).Attempt
				return nil
			})
		})})
		second.start = failed
		eventually(t, time.Hour, "the rest", func() bool { return w.committed(0) == 2000 })
		require.Equal(t, 500, second.count(), "nothing that was finished runs again")
		for v := range 50 {
			require.Equal(t, 2, attempts[v])
			require.InDelta(t, 600+float64(v), second.at(v).Seconds(), 0.5, "record %d", v)
			require.Equal(t, 1, attempts[v+200])
			require.InDelta(t, 600+float64(v), second.at(v+200).Seconds(), 1, "and those behind it")
		}
		second.requireOrder(t)
		require.NoError(t, b.halt())
		_ = a.halt()
	})
}

// When all records fail, a few of each partition wait, nothing is moved or
// dropped, and all goes on in order once they succeed.
func TestVirtualEverythingFailsForTenMinutes(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		for p := range int32(2) {
			cl := w.client()
			records := make([]*kgo.Record, 20_000)
			for i := range records {
				records[i] = &kgo.Record{Topic: "orders", Partition: p, Key: fmt.Append(nil, p, " ", i%3000), Value: fmt.Append(nil, int(p)*100_000+i)}
			}
			require.NoError(t, cl.ProduceSync(t.Context(), records...).FirstErr())
			cl.Close()
		}
		k := newKeyed()
		up := time.Now().Add(10 * time.Minute)
		m := w.start(consumer.Config{MaxLoaded: 4000, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			return k.run(r, func() error {
				if time.Now().Before(up) {
					return errors.New("down")
				}
				return nil
			})
		})})
		for time.Now().Before(up) {
			time.Sleep(time.Second)
			for _, p := range m.c.Status().Partitions {
				require.LessOrEqual(t, p.Loaded, 4000+1500)
				require.LessOrEqual(t, p.Waiting, 128+64)
			}
		}
		require.Equal(t, duplex.StatusHeadOfLineBlocked, m.c.Status().Code)
		require.Zero(t, k.count())
		eventually(t, 5*time.Minute, "everything", func() bool { return w.committed(0) == 20_000 && w.committed(1) == 20_000 })
		require.Equal(t, 40_000, k.count())
		k.requireOrder(t)
		require.Zero(t, m.c.Status().Counts["dropped"])
		require.NoError(t, m.halt())
	})
}

// Batches: those of one partition follow each other, records that fail wait with
// their keys, and unordered ones run at once.
func TestVirtualBatchesByKey(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publishKeys(0, 1000, modulo(100))
		k := newKeyed()
		runs := 0
		m := w.start(consumer.Config{MaxBatch: 100, RetryMin: time.Second, Handlers: []consumer.Handler{
			consumer.HandleRecordBatch("orders", func(_ context.Context, rs []*kgo.Record) error {
				runs++
				var failed consumer.BatchError
				for i, r := range rs {
					failed.Fail(i, k.run(r, func() error {
						if v := value(r); (v == 3 || v == 5) && time.Since(k.start) < 30*time.Second {
							return duplex.RetryAfter(10*time.Second, errors.New("down"))
						}
						return nil
					}))
				}
				return failed.Err()
			}),
		}})
		eventually(t, 20*time.Second, "the others", func() bool { return k.count() == 980 })
		require.Equal(t, 2, m.c.Status().Partitions[0].Waiting)
		eventually(t, time.Minute, "all", func() bool { return w.committed(0) == 1000 })
		require.Equal(t, 1000, k.count())
		k.requireOrder(t)
		require.Less(t, runs, 10+5+10, "the two that failed run together")
		require.NoError(t, m.halt())
	})
}

func TestVirtualUnorderedBatchesRunAtOnce(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publishKeys(0, 1000, modulo(1))
		var mu sync.Mutex
		got := 0
		m := w.start(consumer.Config{Ordering: consumer.Unordered, Concurrency: 10, MaxBatch: 100, Handlers: []consumer.Handler{
			consumer.HandleRecordBatch("orders", func(_ context.Context, rs []*kgo.Record) error {
				time.Sleep(10 * time.Second)
				mu.Lock()
				defer mu.Unlock()
				got += len(rs)
				return nil
			}),
		}})
		eventually(t, 15*time.Second, "ten batches at once", func() bool { return w.committed(0) == 1000 })
		require.Equal(t, 1000, got)
		require.NoError(t, m.halt())
	})
}
