//go:build synctests

package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
)

// What a policy of package dlq does, in virtual time.

// letters reads dead letters: how many copies there are, by ID.
func (w *world) letters() map[string]int {
	copies := map[string]int{}
	cl := w.client(kgo.ConsumeTopics(dlq.DeadTopic("boards", "orders")), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(10*time.Millisecond))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			id, _ := duplex.Header(r, dlq.HeaderID)
			copies[id]++
		})
	}
	return copies
}

// late is by how much a run may be later than it is due: the goroutines take no time
// here, so that is what it takes to publish and to fetch.
const late = 250 * time.Millisecond

// R3: each attempt comes when its delay has passed, and not before.
func TestVirtualChainDelays(t *testing.T) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		w.publish(0, 0, 50)
		w.publish(1, 50, 50)
		rs := newRuns()
		var mu sync.Mutex
		at := map[int][]time.Duration{}
		m := w.start(consumer.Config{Failures: dlq.Policy{}, Handlers: handle(func(ctx context.Context, r *kgo.Record) error {
			rs.note(ctx, r)
			v := value(r)
			mu.Lock()
			at[v] = append(at[v], time.Since(rs.start))
			mu.Unlock()
			if v%10 == 0 && consumer.FromContext(ctx).Attempt <= v/10 {
				return errors.New("not yet")
			}
			return nil
		})})
		eventually(t, 10*time.Second, "the source is done with", func() bool { return w.committed(0) == 50 && w.committed(1) == 50 })
		time.Sleep(20 * time.Minute)
		require.Equal(t, duplex.StatusOK, m.c.Status().Code)
		require.NoError(t, m.halt())
		for v, times := range at {
			want := []time.Duration{0, 5 * time.Second, time.Minute, 10 * time.Minute}[:1+min(v/10, 3)]
			if v%10 != 0 {
				want = want[:1]
			}
			require.Len(t, times, len(want), "record %d ran at %v", v, times)
			for i := 1; i < len(times); i++ {
				gap := times[i] - times[i-1]
				require.GreaterOrEqual(t, gap, want[i], "record %d, attempt %d", v, i+1)
				require.Less(t, gap, want[i]+late, "record %d, attempt %d", v, i+1)
			}
		}
		require.Len(t, w.letters(), 6, "40, 50, … 90 fail more often than they may")
	})
}

// R3: a wait of any length, through a stop and a crash.
func TestVirtualChainKeepsLongWaits(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 3)
		waits := []time.Duration{65*time.Minute + 3*time.Second, 30 * time.Second, 2 * time.Second}
		start := time.Now()
		var mu sync.Mutex
		again := map[int]time.Duration{}
		cfg := consumer.Config{Failures: dlq.Policy{}, Handlers: handle(func(ctx context.Context, r *kgo.Record) error {
			if consumer.FromContext(ctx).Attempt == 1 {
				return duplex.RetryAfter(waits[value(r)], errors.New("later"))
			}
			mu.Lock()
			defer mu.Unlock()
			again[value(r)] = time.Since(start)
			return nil
		})}
		a := w.start(cfg)
		time.Sleep(15 * time.Minute)
		require.NoError(t, a.halt())
		b := w.start(cfg)
		time.Sleep(25 * time.Minute)
		b.crash()
		require.NoError(t, b.halt())
		c := w.start(cfg)
		eventually(t, time.Hour, "all have run again", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(again) == 3
		})
		require.NoError(t, c.halt())
		for v, wait := range waits {
			require.GreaterOrEqual(t, again[v], wait)
			require.Less(t, again[v], wait+time.Minute, "a takeover takes its time")
		}
	})
}

// R1: however many records fail, each is handled or a dead letter in the end, once,
// while members come and go; a crash may have some twice.
func TestVirtualChainConserves(t *testing.T) {
	for _, percent := range []uint32{0, 1, 10, 50, 100} {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d %%, crash %v", percent, crash), func(t *testing.T) {
				inWorld(t, 4, func(t *testing.T, w *world) { conserve(t, w, percent, crash) })
			})
		}
	}
}

func conserve(t *testing.T, w *world, percent uint32, crash bool) {
	const each = 250
	fails := func(v int, salt string) bool {
		h := fnv.New32a()
		fmt.Fprint(h, salt, v)
		return h.Sum32()%100 < percent
	}
	var mu sync.Mutex
	handled := map[int]int{}
	policy := dlq.Policy{Delays: []time.Duration{time.Second, 5 * time.Second}, MaxDeadRatio: 1} // the breaker is another test's
	cfg := consumer.Config{Failures: policy, Concurrency: 20, Handlers: handle(func(ctx context.Context, r *kgo.Record) error {
		time.Sleep(5 * time.Millisecond)
		v := value(r)
		switch attempt := consumer.FromContext(ctx).Attempt; {
		case fails(v, "always"):
			return errors.New("never")
		case fails(v, "once") && attempt == 1:
			return errors.New("not yet")
		}
		mu.Lock()
		defer mu.Unlock()
		handled[v]++
		return nil
	})}
	a, b := w.start(cfg), w.start(cfg)
	for i := range 4 * each {
		w.publish(int32(i%4), i, 1)
		if i == 2*each {
			if crash {
				a.crash()
			}
			_ = a.halt()
			a = w.start(cfg)
		}
	}
	eventually(t, 10*time.Minute, "the sources are done with", func() bool {
		for p := range int32(4) {
			if w.committed(p) != each {
				return false
			}
		}
		return true
	})
	time.Sleep(time.Minute)
	require.NoError(t, a.halt())
	require.NoError(t, b.halt())
	dead := w.letters()
	lost := 0
	for v := range 4 * each {
		if !fails(v, "always") && handled[v] == 0 {
			lost++
		}
	}
	failing := 0
	for v := range 4 * each {
		if fails(v, "always") {
			failing++
			require.Zero(t, handled[v])
		}
	}
	require.Zero(t, lost)
	require.Len(t, dead, failing)
	if !crash {
		for v, times := range handled {
			require.Equal(t, 1, times, v)
		}
		for id, copies := range dead {
			require.Equal(t, 1, copies, id)
		}
	}
	w.requireMonotonic()
}

// What a topic does not take becomes smaller until it does: nothing is stuck.
func TestVirtualTooLargeEndsSomewhere(t *testing.T) {
	const most = 900 // bytes of a batch: a dead letter without its stack
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 3)
		var refused atomic.Int64
		w.kafka.ControlKey(int16(kmsg.Produce), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			w.kafka.KeepControl()
			req := kreq.(*kmsg.ProduceRequest)
			if len(req.Topics[0].Partitions[0].Records) <= most {
				return nil, nil, false
			}
			refused.Add(1)
			resp := req.ResponseKind().(*kmsg.ProduceResponse)
			topic, partition := kmsg.NewProduceResponseTopic(), kmsg.NewProduceResponseTopicPartition()
			topic.Topic, topic.TopicID = req.Topics[0].Topic, req.Topics[0].TopicID
			partition.Partition, partition.ErrorCode = req.Topics[0].Partitions[0].Partition, kerr.MessageTooLarge.Code
			topic.Partitions = append(topic.Partitions, partition)
			resp.Topics = append(resp.Topics, topic)
			return resp, nil, true
		})
		m := w.start(consumer.Config{Concurrency: 1, Failures: dlq.NoRetry, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			if value(r) == 1 {
				panic("at the wrong time")
			}
			return nil
		})})
		eventually(t, time.Minute, "it has ended", func() bool { return w.committed(0) == 3 })
		require.Equal(t, int64(1), refused.Load(), "it was too large once, with its stack")
		require.Len(t, w.letters(), 1)
		require.NoError(t, m.halt())
	})
}

// A service that is down does not empty a topic into the dead-letter queue: records
// wait, and go on by themselves when it is back. A key that always fails is no reason
// to wait.
func TestVirtualFloodBreaker(t *testing.T) {
	inWorld(t, 4, func(t *testing.T, w *world) {
		const each = 2000
		for p := range int32(4) {
			w.publish(p, int(p)*each, each)
		}
		start := time.Now()
		var mu sync.Mutex
		handled := map[int]int{}
		cfg := consumer.Config{Failures: dlq.NoRetry, Concurrency: 20, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			time.Sleep(10 * time.Millisecond)
			down := time.Since(start) > 2*time.Second && time.Since(start) < 10*time.Minute
			if v := value(r); down || v%50 == 7 {
				return errors.New("the booking service does not answer")
			}
			mu.Lock()
			defer mu.Unlock()
			handled[value(r)]++
			return nil
		})}
		m := w.start(cfg)
		time.Sleep(9 * time.Minute)
		st := m.c.Status()
		require.Equal(t, duplex.StatusDeadLetterFlood, st.Code)
		require.Contains(t, st.Problems[len(st.Problems)-1].Detail+st.Problems[0].Detail, "would be dead letters")
		flood := len(w.letters())
		require.Less(t, flood, 1100, "in two seconds some 80 for good, and then at most as many as tell that it is down")
		eventually(t, time.Hour, "everything has ended", func() bool {
			for p := range int32(4) {
				if w.committed(p) != each {
					return false
				}
			}
			return true
		})
		require.Equal(t, duplex.StatusOK, m.c.Status().Code)
		require.NoError(t, m.halt())
		dead := w.letters()
		require.Equal(t, 4*each, len(handled)+len(dead))
		require.Less(t, len(dead), flood+4*each/50, "after that only those of the keys that always fail")
		w.requireMonotonic()
	})
}

// Without the breaker, all of them are dead.
func TestVirtualFloodWithoutBreaker(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.publish(0, 0, 2000)
		policy := dlq.NoRetry
		policy.MaxDeadRatio = 1
		m := w.start(consumer.Config{Failures: policy, Handlers: handle(func(context.Context, *kgo.Record) error { return errors.New("down") })})
		eventually(t, time.Minute, "all are dead", func() bool { return w.committed(0) == 2000 })
		require.Len(t, w.letters(), 2000)
		require.NoError(t, m.halt())
	})
}
