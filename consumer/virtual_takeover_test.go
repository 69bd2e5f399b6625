//go:build synctests

package consumer_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

// attempt is one run of a record.
type attempt struct {
	value  string
	number int
	at     time.Time
}

// A record that failed keeps its attempts, and the rest of its wait, whoever has
// its partition: after a graceful stop, and after a crash.
func TestVirtualAttemptsAndWaitsSurviveATakeover(t *testing.T) {
	for _, crash := range []bool{false, true} {
		name := map[bool]string{false: "stop", true: "crash"}[crash]
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, func(t *testing.T, w *world) {
				var mu sync.Mutex
				var runs []attempt
				of := func(value string) (found []attempt) {
					mu.Lock()
					defer mu.Unlock()
					for _, a := range runs {
						if a.value == value {
							found = append(found, a)
						}
					}
					return found
				}
				handlers := handle(func(ctx context.Context, r *kgo.Record) error {
					mu.Lock()
					defer mu.Unlock()
					d := consumer.FromContext(ctx)
					runs = append(runs, attempt{string(r.Value), d.Attempt, time.Now()})
					switch {
					case string(r.Value) != "10":
						return nil
					case d.Attempt < 3:
						return duplex.RetryAfter(time.Second, errors.New("not yet"))
					case d.Attempt == 3:
						return duplex.RetryAfter(10*time.Minute, errors.New("in a while"))
					}
					return nil
				})
				a := w.start(consumer.Config{Ordering: consumer.ByPartition, Handlers: handlers})
				w.publish(0, 0, 20)
				eventually(t, time.Minute, "three attempts", func() bool { return len(of("10")) == 3 })
				time.Sleep(3 * time.Second) // a commit
				if crash {
					a.crash()
				}
				require.NoError(t, a.halt())
				require.Equal(t, int64(10), w.committed(0))

				b := w.start(consumer.Config{Ordering: consumer.ByPartition, Handlers: handlers})
				eventually(t, time.Minute, "the partition", func() bool {
					st := b.c.Status()
					return len(st.Partitions) == 1 && st.Partitions[0].Attempt == 4
				})
				require.Equal(t, duplex.StatusRetrying, b.c.Status().Code)
				eventually(t, 11*time.Minute, "everything", func() bool { return w.committed(0) == 20 })
				tenth := of("10")
				require.Len(t, tenth, 4)
				require.Equal(t, 4, tenth[3].number)
				waited := tenth[3].at.Sub(tenth[2].at)
				require.GreaterOrEqual(t, waited, 10*time.Minute-time.Millisecond, "it ran early")
				require.Less(t, waited, 10*time.Minute+time.Second)
				for _, v := range []string{"9", "11", "19"} {
					require.Len(t, of(v), 1, v)
				}
				require.NoError(t, b.halt())
			})
		})
	}
}

// What a batch finished above a record that failed is not run again by the next
// owner, and the failed ones go on together.
func TestVirtualWhatIsFinishedAboveTheWatermarkIsNotRunAgain(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		var mu sync.Mutex
		var got, attempts, sizes []int
		broken := true
		handlers := []consumer.Handler{
			consumer.HandleBatch(duplex.Topic[int]{Name: "orders"}, func(ctx context.Context, values []int) error {
				mu.Lock()
				defer mu.Unlock()
				attempts, sizes = append(attempts, consumer.FromContext(ctx).Attempt), append(sizes, len(values))
				var failed consumer.BatchError
				for i, v := range values {
					if v%40 == 10 && broken {
						failed.Fail(i, duplex.RetryAfter(time.Hour, errors.New("this one")))
						continue
					}
					got = append(got, v)
				}
				return failed.Err()
			}),
		}
		a := w.start(consumer.Config{Ordering: consumer.ByPartition, MaxBatch: 100, BatchWait: 2 * time.Second, Handlers: handlers})
		eventually(t, time.Minute, "membership", func() bool { return len(a.c.Status().Partitions) == 1 })
		w.publish(0, 0, 100)
		eventually(t, time.Minute, "the batch", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(got) == 97
		})
		time.Sleep(3 * time.Second) // a commit
		a.crash()
		require.NoError(t, a.halt())
		require.Equal(t, int64(10), w.committed(0), "10, 50 and 90 failed")

		mu.Lock()
		broken = false
		mu.Unlock()
		w.publish(0, 100, 5)
		b := w.start(consumer.Config{Ordering: consumer.ByPartition, MaxBatch: 100, Handlers: handlers})
		time.Sleep(59 * time.Minute)
		eventually(t, 2*time.Hour, "everything", func() bool { return w.committed(0) == 105 })
		require.Len(t, got, 105, "something was run again")
		require.Equal(t, []int{10, 50, 90, 100, 101, 102, 103, 104}, got[97:])
		require.Equal(t, []int{1, 2, 1}, attempts)
		require.Equal(t, []int{100, 3, 5}, sizes, "what failed together runs together")
		slices.Sort(got)
		require.Equal(t, upTo(105), got)
		require.NoError(t, b.halt())
		w.requireMonotonic()
	})
}

// A member that is thrown out of the group, with much that it could not commit, and
// gets its partitions back, goes on where it was: nothing is run twice, and failed
// records keep their attempts and their waits.
func TestVirtualMemberThatIsThrownOutGoesOnWhereItWas(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publishKeys(0, 2000, modulo(100))
		k := newKeyed()
		attempts := map[int][]int{}
		start := time.Now()
		m := w.start(consumer.Config{CommitInterval: time.Hour, Handlers: handle(func(ctx context.Context, r *kgo.Record) error {
			return k.run(r, func() error {
				if v := value(r); v < 10 {
					k.mu.Lock()
					attempts[v] = append(attempts[v], consumer.FromContext(ctx).Attempt)
					k.mu.Unlock()
					if len(attempts[v]) == 1 {
						return duplex.RetryAfter(10*time.Minute, errors.New("not yet"))
					}
				}
				return nil
			})
		})})
		eventually(t, time.Minute, "the keys that do not wait", func() bool { return k.count() == 1800 })
		hook := w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID, Count: 1})
		require.NoError(t, hook.Wait(t.Context(), 1))
		eventually(t, 20*time.Minute, "the rest", func() bool { return k.count() == 2000 })
		require.InDelta(t, 600, time.Since(start).Seconds(), 5)
		for v := range 10 {
			require.Equal(t, []int{1, 2}, attempts[v])
		}
		k.requireOrder(t)
		require.NoError(t, m.halt())
		require.Equal(t, int64(2000), w.committed(0))
	})
}

// The same before anything was ever committed: a group that begins at the end goes on
// where it began, and not at what is the end by then.
func TestVirtualMemberThatNeverCommittedGoesOnWhereItWas(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 10)
		refuse := w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.GroupAuthorizationFailed, Count: -1})
		s := newSeen()
		m := w.start(consumer.Config{Ordering: consumer.ByPartition, StartOffset: consumer.StartLatest(), Handlers: s.collect(0)})
		eventually(t, time.Minute, "an assignment", func() bool { return len(m.c.Status().Partitions) == 1 })
		w.publish(0, 10, 10)
		eventually(t, time.Minute, "what came after the start", func() bool { return s.count() == 10 })
		rejoin := w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: kerr.CoordinatorNotAvailable, Count: -1})
		hook := w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID, Count: 1})
		require.NoError(t, hook.Wait(t.Context(), 1))
		eventually(t, time.Minute, "the loss", func() bool { return len(m.c.Status().Partitions) == 0 })
		w.publish(0, 20, 10)
		refuse.Remove()
		rejoin.Remove()
		eventually(t, 5*time.Minute, "a commit of everything", func() bool { return w.committed(0) == 30 })
		require.Equal(t, upTo(30)[10:], s.of(0))
		require.NoError(t, m.halt())
	})
}

// If somebody else had the partition in between, what was committed counts, and
// nothing else.
func TestVirtualMemberForgetsWhenSomebodyElseCommitted(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 100)
		s := newSeen()
		m := w.start(consumer.Config{Ordering: consumer.ByPartition, CommitInterval: time.Hour, Handlers: s.collect(0)})
		eventually(t, time.Minute, "everything", func() bool { return s.count() == 100 })
		cut := w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.JoinGroup}, Err: kerr.CoordinatorNotAvailable, Count: -1})
		hook := w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID, Count: 1})
		require.NoError(t, hook.Wait(t.Context(), 1))
		time.Sleep(30 * time.Second) // the group is empty now
		cl := w.client()
		offsets := kadm.Offsets{}
		offsets.AddOffset("orders", 0, 40, -1)
		require.NoError(t, kadm.NewClient(cl).CommitAllOffsets(t.Context(), "boards", offsets))
		cl.Close()
		cut.Remove()
		eventually(t, time.Minute, "what was asked for again", func() bool { return s.count() == 160 })
		require.Equal(t, append(upTo(100), upTo(100)[40:]...), s.of(0))
		require.NoError(t, m.halt())
	})
}

// Handlers that end soon after their partition was lost have not worked in vain if it
// comes back.
func TestVirtualHandlersAtWorkWhenTheirMemberIsThrownOut(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publishKeys(0, 500, modulo(500))
		k := newKeyed()
		m := w.start(consumer.Config{CommitInterval: time.Hour, Concurrency: 50, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			return k.run(r, func() error { time.Sleep(800 * time.Millisecond); return nil }) // whatever its context says
		})})
		eventually(t, time.Minute, "a start", func() bool { return k.count() >= 50 })
		var ran []int
		hook := w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Heartbeat}, Err: kerr.UnknownMemberID, Count: 1})
		require.NoError(t, hook.Wait(t.Context(), 1))
		eventually(t, time.Minute, "everything", func() bool { return k.count() == 500 })
		k.mu.Lock()
		for _, values := range k.order {
			ran = append(ran, values...)
		}
		k.mu.Unlock()
		require.Len(t, ran, 500, "some ran twice")
		require.NoError(t, m.halt())
	})
}
