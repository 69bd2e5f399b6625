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
	"github.com/twmb/franz-go/pkg/kgo"

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
