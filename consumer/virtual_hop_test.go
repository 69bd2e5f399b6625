//go:build synctests

package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
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
	"github.com/duplex-go/duplex/internal/failure"
)

// testPolicy has failed records wait a minute in a retry topic, twice, and then
// moves them to dead; what comes back through a retry topic leaves an outcome.
type testPolicy struct {
	again, ordered bool
	// mixed has some of them move on from the retry topic once, and others leave no
	// outcome.
	mixed bool
}

const retryDelay = time.Minute

func (p testPolicy) Chain(_ context.Context, env failure.Env) (failure.Chain, error) {
	if env.Group != "boards" || len(env.Topics) != 1 {
		return nil, errors.New("not as told")
	}
	return p, nil
}

func (testPolicy) Topics() map[string]string { return map[string]string{"retry": "orders"} }

func (testPolicy) Arrived(r *kgo.Record) failure.Arrival {
	n, _ := strconv.Atoi(string(r.Headers[0].Value))
	return failure.Arrival{Due: r.Timestamp.Add(retryDelay), Attempts: n, Moves: r.Headers[0].Key == "moves"}
}

func (testPolicy) MaxBytes(string) int32                             { return 0 }
func (testPolicy) Follow(context.Context, *kgo.Client) (bool, error) { return false, nil }
func (testPolicy) Answers(string) bool                               { return false }
func (testPolicy) Handled(string, int)                               {}
func (testPolicy) Recovered(*kgo.Record)                             {}
func (p testPolicy) KeepsOrder(string) bool                          { return p.ordered }
func (testPolicy) Displaces(string) bool                             { return false }
func (testPolicy) Displace(failure.Waiting) failure.Step             { return failure.Step{} }
func (testPolicy) Published(*failure.Hop)                            {}
func (testPolicy) Problems() []duplex.Problem                        { return nil }

func (testPolicy) Refused(*failure.Hop) *failure.Hop { return nil }

func (testPolicy) Move(r *kgo.Record) failure.Step {
	return failure.PublishFirst(&failure.Hop{Record: &kgo.Record{Topic: "retry", Partition: r.Partition, Key: r.Key, Value: r.Value,
		Headers: []kgo.RecordHeader{{Key: "attempts", Value: r.Headers[0].Value}}}})
}

func (p testPolicy) moves(r *kgo.Record) bool { return p.mixed && value(r)%8 == 5 }

func (p testPolicy) Failed(f failure.Failure) failure.Step {
	if f.Verdict.Kind == duplex.VerdictSnooze {
		return failure.Step{}
	}
	if p.again && f.Attempt == 1 {
		return failure.RunAgain(f.At.Add(5 * time.Second))
	}
	r := &kgo.Record{Topic: "retry", Partition: f.Record.Partition, Key: f.Record.Key, Value: f.Record.Value,
		Headers: []kgo.RecordHeader{{Key: "attempts", Value: fmt.Append(nil, f.Attempt)}}}
	switch {
	case f.Attempt == 3:
		r.Topic = "dead"
	case f.Attempt == 1 && p.moves(r):
		r.Headers[0].Key = "moves"
	}
	return failure.PublishFirst(&failure.Hop{Record: r, Ordered: p.ordered})
}

func (p testPolicy) Finished(r *kgo.Record) *failure.Hop {
	if p.mixed && value(r)%8 == 2 {
		return nil
	}
	return &failure.Hop{Record: &kgo.Record{Topic: "outcomes", Partition: r.Partition, Value: r.Value}}
}

// inHopWorld is inWorld with the policy's topics.
func inHopWorld(t *testing.T, fn func(t *testing.T, w *world)) {
	inWorld(t, 2, func(t *testing.T, w *world) {
		cl := w.client()
		resps, err := kadm.NewClient(cl).CreateTopics(t.Context(), 2, 1, nil, "retry", "dead", "outcomes")
		require.NoError(t, err)
		require.NoError(t, resps.Error())
		cl.Close()
		fn(t, w)
	})
}

// contents reads what is in a topic.
func (w *world) contents(topic string) (values []int) {
	cl := w.client(kgo.ConsumeTopics(topic), kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(10*time.Millisecond))
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) { values = append(values, value(r)) })
	}
	return values
}

type run struct {
	topic   string
	attempt int
	at      time.Duration
}

// runs notes what a handler was given, by value.
type runs struct {
	mu    sync.Mutex
	start time.Time
	of    map[int][]run
}

func (rs *runs) note(ctx context.Context, r *kgo.Record) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.of[value(r)] = append(rs.of[value(r)], run{r.Topic, consumer.FromContext(ctx).Attempt, time.Since(rs.start).Round(time.Second)})
}

func (rs *runs) count() int {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return len(rs.of)
}

func (rs *runs) all(v int) []run {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return append([]run(nil), rs.of[v]...)
}

func newRuns() *runs { return &runs{start: time.Now(), of: map[int][]run{}} }

// failing is a handler whose records 10, 20, … fail until they ran so often as
// their tens say.
func (rs *runs) failing() []consumer.Handler {
	return handle(func(ctx context.Context, r *kgo.Record) error {
		rs.note(ctx, r)
		if v := value(r); v%10 == 0 && consumer.FromContext(ctx).Attempt <= v/10 {
			return errors.New("not yet")
		}
		return nil
	})
}

func TestVirtualHops(t *testing.T) {
	for _, ordering := range []consumer.Ordering{consumer.ByKey, consumer.ByPartition, consumer.Unordered} {
		t.Run(ordering.String(), func(t *testing.T) {
			inHopWorld(t, func(t *testing.T, w *world) {
				w.publish(0, 0, 50)
				rs := newRuns()
				m := w.start(consumer.Config{Ordering: ordering, Failures: testPolicy{}, Handlers: rs.failing()})
				eventually(t, 10*time.Second, "the source is done with", func() bool { return w.committed(0) == 50 })
				require.Less(t, time.Since(rs.start), 10*time.Second, "nothing waits in the source")
				eventually(t, 5*time.Minute, "all have ended", func() bool { return len(rs.all(40)) == 3 && len(rs.all(30)) == 3 })
				time.Sleep(5 * time.Minute)
				took := rs.all(10)[0].at
				require.Equal(t, []run{{"orders", 1, took}, {"retry", 2, took + retryDelay}}, rs.all(10))
				require.Equal(t, []run{{"orders", 1, took}, {"retry", 2, took + retryDelay}, {"retry", 3, took + 2*retryDelay}}, rs.all(20))
				require.Len(t, rs.all(40), 3)
				require.ElementsMatch(t, []int{30, 40}, w.contents("dead"))
				require.ElementsMatch(t, []int{10, 20}, w.contents("outcomes"))
				require.ElementsMatch(t, []int{10, 20, 20, 30, 30, 40, 40}, w.contents("retry"))
				st := m.c.Status()
				require.Equal(t, int64(9), st.Counts["moved"]-2, "seven to retry, two to dead, and two outcomes")
				require.Equal(t, duplex.StatusOK, st.Code)
				require.NoError(t, m.halt())
			})
		})
	}
}

// Many records that are due at once run in place, like those of the source: each in its
// attempt and not before it is due, and those that fail again leave the chunk, and so do
// outcomes.
func TestVirtualHopsInPlace(t *testing.T) {
	for _, ordering := range []consumer.Ordering{consumer.ByKey, consumer.ByPartition, consumer.Unordered} {
		t.Run(ordering.String(), func(t *testing.T) { inHopWorld(t, func(t *testing.T, w *world) { testHopsInPlace(t, w, ordering) }) })
	}
}

func testHopsInPlace(t *testing.T, w *world, ordering consumer.Ordering) {
	const n, first = 1000, 400 // as many first, the others when these fail again
	policy, rs := testPolicy{mixed: true}, newRuns()
	m := w.start(consumer.Config{Ordering: ordering, Failures: policy, Handlers: handle(func(ctx context.Context, r *kgo.Record) error {
		rs.note(ctx, r)
		if consumer.FromContext(ctx).Attempt <= value(r)%4 {
			return errors.New("not yet")
		}
		return nil
	})})
	w.publish(0, 0, first)
	time.Sleep(20 * time.Second)
	w.publish(0, first, n-first)
	time.Sleep(5 * time.Minute)
	var outcomes, dead []int
	var failed, moved, recovered int
	for v := range n {
		fails, all := v%4, rs.all(v)
		require.Len(t, all, min(fails, 2)+1)
		for i, run := range all {
			require.Equal(t, i+1, run.attempt)
			require.Equal(t, i > 0, run.topic == "retry")
			if i == 0 {
				continue
			}
			wait := retryDelay
			if v%8 == 5 {
				wait, moved = 2*retryDelay, moved+1
			}
			require.InDelta(t, wait, run.at-all[i-1].at, float64(time.Second))
		}
		switch failed += fails; {
		case fails == 3:
			dead = append(dead, v)
		case fails > 0:
			recovered++
			if v%8 != 2 {
				outcomes = append(outcomes, v)
			}
		}
	}
	require.ElementsMatch(t, dead, w.contents("dead"))
	require.ElementsMatch(t, outcomes, w.contents("outcomes"))
	counts := m.c.Status().Counts
	require.EqualValues(t, recovered, counts["recovered"])
	require.EqualValues(t, n-len(dead), counts["handled"])
	require.EqualValues(t, failed, counts["failed"])
	require.EqualValues(t, failed+moved+len(outcomes), counts["moved"])
	require.NoError(t, m.halt())
	commits := w.kafka.GroupInfo("boards").Commits
	require.EqualValues(t, n, commits["orders"][0].Offset)
	require.EqualValues(t, failed-len(dead)+moved, commits["retry"][0].Offset)
}

func TestVirtualHopsOfBatches(t *testing.T) {
	inHopWorld(t, func(t *testing.T, w *world) {
		w.publish(0, 0, 50)
		rs := newRuns()
		m := w.start(consumer.Config{Failures: testPolicy{again: true}, MaxBatch: 7, Handlers: []consumer.Handler{
			consumer.HandleRecordBatch("orders", func(ctx context.Context, records []*kgo.Record) error {
				var failed consumer.BatchError
				for i, r := range records {
					rs.note(ctx, r)
					if v := value(r); v%10 == 0 && v > 0 && len(rs.all(v)) <= v/10 {
						failed.Fail(i, errors.New("not yet"))
					}
				}
				return failed.Err()
			}),
		}})
		eventually(t, 20*time.Second, "the source is done with", func() bool { return w.committed(0) == 50 })
		eventually(t, 5*time.Minute, "all have ended", func() bool { return len(rs.all(40)) == 3 && len(rs.all(30)) == 3 })
		time.Sleep(5 * time.Minute)
		require.Equal(t, 5*time.Second, rs.all(10)[1].at-rs.all(10)[0].at, "in its place")
		require.Len(t, rs.all(10), 2)
		require.Equal(t, retryDelay, rs.all(20)[2].at-rs.all(20)[1].at, "through the topic")
		require.ElementsMatch(t, []int{30, 40}, w.contents("dead"))
		require.ElementsMatch(t, []int{20}, w.contents("outcomes"))
		require.NoError(t, m.halt())
	})
}

// A topic that cannot be written holds what should go there, and nothing else; the
// handler does not run again for it, and attempts do not begin anew.
func TestVirtualHopThatIsRefusedHoldsItsRecord(t *testing.T) {
	for _, ordered := range []bool{true, false} {
		t.Run(fmt.Sprint("ordered ", ordered), func(t *testing.T) { holdRefused(t, ordered) })
	}
}

func holdRefused(t *testing.T, ordered bool) {
	inHopWorld(t, func(t *testing.T, w *world) {
		w.publish(0, 0, 50)
		refused := w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: -1})
		rs := newRuns()
		m := w.start(consumer.Config{Failures: testPolicy{ordered: ordered}, Handlers: rs.failing()})
		behind := 0
		for v := range 50 {
			for _, held := range []int{10, 20, 30, 40} {
				if ordered && v > held && v%7 == held%7 {
					behind++
				}
			}
		}
		eventually(t, 10*time.Second, "the others", func() bool { return rs.count() == 50-behind })
		time.Sleep(time.Minute)
		require.Equal(t, 50-behind, rs.count(), "those of the same keys stand behind, if they have to")
		st := m.c.Status()
		require.Equal(t, duplex.StatusDLQUnavailable, st.Code)
		require.Contains(t, st.Problems[0].Detail, "offset 10 waits for what is published for it to retry, which failed")
		require.Equal(t, int64(10), w.committed(0))
		require.Len(t, rs.all(10), 1)
		refused.Remove()
		eventually(t, time.Minute, "the source is done with", func() bool { return w.committed(0) == 50 })
		eventually(t, 5*time.Minute, "all have ended", func() bool { return len(rs.all(40)) == 3 && len(rs.all(30)) == 3 })
		// The third call of 40 has begun; its dead letter is published after it.
		eventually(t, time.Second, "nothing waits", func() bool { return m.c.Status().Code == duplex.StatusOK })
		require.ElementsMatch(t, []int{30, 40}, w.contents("dead"))
		require.Len(t, rs.all(10), 2)
		require.NoError(t, m.halt())
	})
}

// A stop waits for hops that are under way: they are not repeated. A crash between
// an acknowledgement and the commit repeats them, and loses none.
func TestVirtualHopsSurviveStopAndCrash(t *testing.T) {
	for name, end := range map[string]func(*member){
		"stop":  func(m *member) { _ = m.halt() },
		"crash": func(m *member) { m.crash(); _ = m.halt() },
	} {
		t.Run(name, func(t *testing.T) {
			inHopWorld(t, func(t *testing.T, w *world) {
				w.publish(0, 0, 50)
				rs := newRuns()
				cfg := consumer.Config{Failures: testPolicy{}, CommitInterval: time.Hour, Handlers: rs.failing()}
				w.kafka.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
					w.kafka.KeepControl()
					w.kafka.SleepControl(func() { time.Sleep(500 * time.Millisecond) })
					return nil, nil, false
				})
				a := w.start(cfg)
				eventually(t, 10*time.Second, "the first failure", func() bool { return len(rs.all(40)) == 1 })
				end(a)
				cfg.CommitInterval = time.Second
				b := w.start(cfg)
				time.Sleep(10 * time.Minute)
				require.Equal(t, int64(50), w.committed(0))
				dead, retried := w.contents("dead"), w.contents("retry")
				require.Contains(t, dead, 30)
				require.Contains(t, dead, 40)
				if name == "stop" {
					require.ElementsMatch(t, []int{30, 40}, dead)
					require.ElementsMatch(t, []int{10, 20, 20, 30, 30, 40, 40}, retried)
				}
				require.NoError(t, b.halt())
			})
		})
	}
}

// What waits in a retry topic is never skipped, wherever a new group begins.
func TestVirtualRetryTopicIsReadFromItsBeginning(t *testing.T) {
	inHopWorld(t, func(t *testing.T, w *world) {
		cl := w.client()
		require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{
			Topic: "retry", Value: []byte("20"), Headers: []kgo.RecordHeader{{Key: "attempts", Value: []byte("2")}},
		}).FirstErr())
		cl.Close()
		rs := newRuns()
		m := w.start(consumer.Config{Failures: testPolicy{}, StartOffset: consumer.StartLatest(), Handlers: rs.failing()})
		eventually(t, 2*time.Minute, "it ran", func() bool { return len(rs.all(20)) == 1 })
		require.Equal(t, "retry", rs.all(20)[0].topic)
		require.Equal(t, 3, rs.all(20)[0].attempt)
		require.NoError(t, m.halt())
	})
}

// Nor does a chunk begin early with what is read together with others that are due.
func TestVirtualRetriesReadTogetherRunWhenDue(t *testing.T) {
	inHopWorld(t, func(t *testing.T, w *world) {
		const n = 600
		written := make([]time.Time, n)
		cl := w.client()
		for v := range n {
			if v == n/2 {
				time.Sleep(20 * time.Second)
			}
			written[v] = time.Now()
			require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{
				Topic: "retry", Value: strconv.AppendInt(nil, int64(v), 10), Headers: []kgo.RecordHeader{{Key: "attempts", Value: []byte("1")}},
			}).FirstErr())
		}
		cl.Close()
		var due, early atomic.Int64
		m := w.start(consumer.Config{Failures: testPolicy{}, Handlers: handle(func(_ context.Context, r *kgo.Record) error {
			switch after := time.Since(written[value(r)]); {
			case after < retryDelay:
				early.Add(1)
			case after < retryDelay+time.Second:
				due.Add(1)
			}
			return nil
		})})
		eventually(t, 2*time.Minute, "all ran", func() bool { return due.Load()+early.Load() == n })
		require.Zero(t, early.Load())
		require.NoError(t, m.halt())
	})
}

// A record whose hop was refused when its consumer died goes on counting.
func TestVirtualAttemptsOfARefusedHopSurviveACrash(t *testing.T) {
	inHopWorld(t, func(t *testing.T, w *world) {
		w.publish(0, 0, 11)
		refused := w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: -1})
		rs := newRuns()
		a := w.start(consumer.Config{Failures: testPolicy{}, Handlers: rs.failing()})
		eventually(t, 10*time.Second, "the failure", func() bool { return len(rs.all(10)) == 1 })
		time.Sleep(10 * time.Second) // and a commit
		a.crash()
		_ = a.halt()
		refused.Remove()
		b := w.start(consumer.Config{Failures: testPolicy{}, Handlers: rs.failing()})
		eventually(t, 2*time.Minute, "it ran again", func() bool { return len(rs.all(10)) == 2 })
		require.Equal(t, run{"orders", 2, rs.all(10)[1].at}, rs.all(10)[1])
		require.NoError(t, b.halt())
	})
}
