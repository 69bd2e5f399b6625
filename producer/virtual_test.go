//go:build synctests

package producer_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/producer"
)

func record(value string) *kgo.Record { return &kgo.Record{Topic: "orders", Value: []byte(value)} }

// P5, P2: a hung broker. The publish returns at its deadline, exactly, as
// unknown, and the record is in the log at most once.
func TestVirtualHungBrokerEndsAtTheDeadline(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := w.producer(producer.Config{Timeout: 20 * time.Second})
		_, err := p.Publish(t.Context(), record("warm"))
		require.NoError(t, err)
		w.hang(w.cluster.Brokers[0])

		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		_, err = p.Publish(ctx, record("by-ctx"))
		cancel()
		require.Equal(t, 3*time.Second, time.Since(began))
		require.ErrorIs(t, err, duplex.ErrOutcomeUnknown)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		var wg sync.WaitGroup
		began = time.Now()
		wg.Add(1)
		p.PublishAsync(t.Context(), record("async"), func(_ duplex.Position, err error) {
			defer wg.Done()
			require.Equal(t, 20*time.Second, time.Since(began))
			require.ErrorIs(t, err, duplex.ErrOutcomeUnknown)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
		_, err = p.Publish(t.Context(), record("by-timeout"))
		require.Equal(t, 20*time.Second, time.Since(began))
		require.ErrorIs(t, err, duplex.ErrOutcomeUnknown)
		wg.Wait()

		began = time.Now()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		p.PublishAsync(t.Context(), record("unflushed"), nil)
		require.ErrorContains(t, p.Flush(ctx), "1 records have not ended")
		cancel()
		require.Equal(t, time.Second, time.Since(began))
		w.heal(w.cluster.Brokers[0])
		time.Sleep(time.Minute)
		require.NoError(t, p.Close())
		log := w.log("orders")
		for _, v := range []string{"by-ctx", "by-timeout", "async", "unflushed"} {
			require.LessOrEqual(t, count(log, v), 1, v)
		}
		require.Positive(t, p.Status().Counts["late"], "an answer after the deadline is counted")
	})
}

func TestVirtualCloseIsBounded(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := w.producer(producer.Config{Timeout: 7 * time.Second})
		_, err := p.Publish(t.Context(), record("warm"))
		require.NoError(t, err)
		w.hang(w.cluster.Brokers[0])
		var got error
		p.PublishAsync(t.Context(), record("left"), func(_ duplex.Position, err error) { got = err })
		time.Sleep(time.Second)
		began := time.Now()
		err = p.Close()
		require.LessOrEqual(t, time.Since(began), 7*time.Second)
		require.ErrorIs(t, got, duplex.ErrOutcomeUnknown)
		_, err2 := p.Publish(t.Context(), record("closed"))
		require.ErrorIs(t, err2, duplex.ErrClosed)
		require.ErrorIs(t, p.TryPublish(record("closed"), nil), duplex.ErrClosed)
		require.Equal(t, err, p.Close(), "closing twice is fine")
		require.Equal(t, duplex.StatusClosed, p.Status().Code)
	})
}

// Engine rule 21: the first caller of a batch gives up; its neighbours arrive.
func TestVirtualCancelledCallerHarmsNobody(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := w.producer(producer.Config{})
		_, err := p.Publish(t.Context(), record("warm"))
		require.NoError(t, err)
		w.hang(w.cluster.Brokers[0])
		first, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := p.Publish(first, record("gives-up"))
			require.ErrorIs(t, err, duplex.ErrOutcomeUnknown)
			require.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		for i := range 5 {
			wg.Go(func() {
				_, err := p.Publish(t.Context(), record("stays-"+strconv.Itoa(i)))
				require.NoError(t, err)
			})
		}
		synctest.Wait()
		cancel()
		time.Sleep(2 * time.Second)
		w.heal(w.cluster.Brokers[0])
		wg.Wait()
		require.NoError(t, p.Close())
		log := w.log("orders")
		for i := range 5 {
			require.Equal(t, 1, count(log, "stays-"+strconv.Itoa(i)))
		}
	})
}

// A record that is still held when its caller gives up was never sent: the error
// is definite, and the record is nowhere.
func TestVirtualHeldRecordIsWithdrawn(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := w.producer(producer.Config{Linger: 5 * time.Second})
		_, err := p.Publish(t.Context(), record("warm"))
		require.NoError(t, err)
		w.hang(w.cluster.Brokers[0])
		p.PublishAsync(t.Context(), record("under way"), nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err = p.Publish(ctx, record("held"))
		cancel()
		require.ErrorIs(t, err, duplex.ErrTimeout)
		require.NotErrorIs(t, err, duplex.ErrOutcomeUnknown)
		require.ErrorContains(t, err, "nothing was sent")
		w.heal(w.cluster.Brokers[0])
		require.NoError(t, p.Close())
		require.Zero(t, count(w.log("orders"), "held"))
	})
}

// One hung broker of three: calls to the others go on, held up by the linger at
// most.
func TestVirtualHungBrokerHoldsUpNobodyElse(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		p := w.producer(producer.Config{})
		for i := range 60 { // to know all leaders
			_, err := p.Publish(t.Context(), &kgo.Record{Topic: "orders", Key: []byte(strconv.Itoa(i)), Value: []byte("warm")})
			require.NoError(t, err)
		}
		leader := w.kafka.LeaderFor("orders", 0)
		w.hang(w.cluster.Brokers[leader])
		stop := make(chan struct{})
		var wg sync.WaitGroup
		var healthy atomic.Int64
		var worst atomic.Int64
		for i := range 40 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					began := time.Now()
					pos, err := p.Publish(ctx, &kgo.Record{Topic: "orders", Key: []byte(strconv.Itoa(i)), Value: []byte("v")})
					cancel()
					if err == nil {
						require.NotEqual(t, leader, w.kafka.LeaderFor("orders", pos.Partition))
						healthy.Add(1)
						if d := int64(time.Since(began)); d > worst.Load() {
							worst.Store(d)
						}
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		time.Sleep(3 * time.Second)
		close(stop)
		wg.Wait()
		require.Greater(t, healthy.Load(), int64(1000))
		require.LessOrEqual(t, time.Duration(worst.Load()), 25*time.Millisecond)
		w.heal(w.cluster.Brokers[leader])
		require.NoError(t, p.Close())
	})
}

// Engine rule 28: the answer to an append is lost, and the second try is refused.
// kgo reports the refusal; the record is in the log.
func TestVirtualRefusedAfterALostAnswerIsUnknown(t *testing.T) {
	for _, second := range []*kerr.Error{kerr.NotLeaderForPartition, kerr.TopicAuthorizationFailed, kerr.UnknownTopicOrPartition} {
		t.Run(second.Message, func(t *testing.T) {
			inWorld(t, 1, func(t *testing.T, w *world) {
				p := w.producer(producer.Config{Timeout: 15 * time.Second})
				_, err := p.Publish(t.Context(), &kgo.Record{Topic: "single", Value: []byte("warm")})
				require.NoError(t, err)
				tries := 0
				w.kafka.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
					w.kafka.KeepControl()
					tries++
					if tries == 1 {
						w.hang(w.cluster.Brokers[0])
						return nil, nil, false // appended; the answer is lost
					}
					return refusal(req.(*kmsg.ProduceRequest), second), nil, true
				})
				time.AfterFunc(2*time.Second, func() {
					w.dropConnections()
				})
				_, err = p.Publish(t.Context(), &kgo.Record{Topic: "single", Value: []byte("call")})
				require.ErrorIs(t, err, duplex.ErrOutcomeUnknown)
				require.Equal(t, 1, count(w.log("single"), "call"), "it is in the log")
				_ = p.Close()
			})
		})
	}
}

func refusal(req *kmsg.ProduceRequest, with *kerr.Error) kmsg.Response {
	resp, _ := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, t := range req.Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = t.Topic, t.TopicID
		for _, p := range t.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, with.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return resp
}

func TestVirtualErrorsAreToldApart(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := w.producer(producer.Config{
			Timeout: 10 * time.Second,
			Prepare: func(r *kgo.Record) error {
				if string(r.Value) == "unwanted" {
					return errors.New("not this one")
				}
				duplex.SetHeader(r, "prepared", "yes")
				return nil
			},
		})
		publish := func(r *kgo.Record) error {
			_, err := p.Publish(t.Context(), r)
			return err
		}
		definite := func(err error, code duplex.Code) {
			t.Helper()
			require.ErrorIs(t, err, code)
			require.NotErrorIs(t, err, duplex.ErrOutcomeUnknown)
		}
		began := time.Now()
		definite(publish(&kgo.Record{Topic: "nowhere"}), duplex.ErrUnknownTopic)
		require.Less(t, time.Since(began), 3*time.Second)
		definite(publish(&kgo.Record{Topic: "not a name"}), duplex.ErrInvalidTopic)
		definite(publish(&kgo.Record{}), duplex.ErrInvalidTopic)
		definite(publish(nil), duplex.ErrInvalidRecord)
		definite(publish(&kgo.Record{Topic: "orders", Value: make([]byte, 2_000_000)}), duplex.ErrTooLarge)
		definite(publish(record("unwanted")), duplex.ErrEncode)
		topic := duplex.Topic[chan int]{Name: "orders"}
		_, err := producer.Publish(t.Context(), p, topic, make(chan int))
		definite(err, duplex.ErrEncode)
		keyed := duplex.Topic[string]{Name: "orders", Key: func(s string) string { return s }}
		_, err = producer.Publish(t.Context(), p, keyed, "")
		definite(err, duplex.ErrEmptyKey)
		done := make(chan error, 1)
		producer.PublishAsync(t.Context(), p, keyed, "", func(_ duplex.Position, err error) { done <- err })
		definite(<-done, duplex.ErrEmptyKey)

		require.NoError(t, publish(record("ok")))
		w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.MessageTooLarge, Count: 1})
		definite(publish(record("broker says too large")), duplex.ErrTooLarge)
		w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: 1})
		err = publish(record("no rights"))
		require.ErrorIs(t, err, duplex.ErrUnauthorized)
		require.ErrorIs(t, err, duplex.ErrOutcomeUnknown, "once sent, nobody can tell")
		require.NoError(t, p.Close())
		for _, r := range w.log("orders") {
			prepared, _ := duplex.Header(r, "prepared")
			require.Equal(t, "yes", prepared)
		}
	})
}

// No broker from the start: by the deadline, and saying so.
func TestVirtualNoBroker(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.refuse.Store(true)
		p := w.producer(producer.Config{Timeout: 10 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, p.Ping(ctx), duplex.ErrUnreachable)
		began := time.Now()
		_, err := p.Publish(t.Context(), record("v"))
		if errors.Is(err, duplex.ErrOutcomeUnknown) { // the watcher of deadlines was before kgo, where it still waits
			require.ErrorContains(t, err, "nothing was written to a broker yet")
		} else {
			require.ErrorIs(t, err, duplex.ErrUnreachable)
		}
		require.LessOrEqual(t, time.Since(began), 10*time.Second)
		began = time.Now()
		_ = p.Close()
		require.LessOrEqual(t, time.Since(began), 10*time.Second)
	})
}

// P6: the gate. Callbacks that are slow delay callbacks and then admission; the
// sending goes on, and memory stays bounded.
func TestVirtualGateAndSlowCallbacks(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := w.producer(producer.Config{MaxBufferedRecords: 100, Timeout: 10 * time.Second})
		release := make(chan struct{})
		var called atomic.Int64
		for i := range 100 {
			require.NoError(t, p.TryPublish(record(strconv.Itoa(i)), func(duplex.Position, error) {
				<-release
				called.Add(1)
			}))
		}
		time.Sleep(time.Second)
		require.Len(t, w.log("orders"), 100, "all are stored although no callback has returned")
		require.ErrorIs(t, p.TryPublish(record("x"), nil), duplex.ErrBufferFull)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := p.Publish(ctx, record("waits"))
		cancel()
		require.ErrorIs(t, err, duplex.ErrTimeout)
		require.NotErrorIs(t, err, duplex.ErrOutcomeUnknown)
		admitted := make(chan error, 1)
		go func() {
			_, err := p.Publish(t.Context(), record("gets in"))
			admitted <- err
		}()
		synctest.Wait()
		close(release)
		require.NoError(t, <-admitted)
		require.NoError(t, p.Flush(t.Context()))
		require.Equal(t, int64(100), called.Load())
		require.Zero(t, p.Status().Counts["buffered"])
		big := &kgo.Record{Topic: "orders", Value: make([]byte, 1000)}
		small := w.producer(producer.Config{MaxBufferedBytes: 100})
		_, err = small.Publish(t.Context(), big)
		require.NoError(t, err, "a record larger than the bound passes alone")
		require.NoError(t, small.Close())
		require.NoError(t, p.Close())
	})
}

func TestVirtualBatchResultsAreInInputOrder(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := w.producer(producer.Config{MaxBufferedRecords: 50}) // less than the batch
		var rs []*kgo.Record
		for i := range 200 {
			r := &kgo.Record{Topic: "orders", Key: []byte(strconv.Itoa(i % 10)), Value: []byte(strconv.Itoa(i))}
			switch i {
			case 17:
				r.Topic = "nowhere"
			case 33:
				r.Value = make([]byte, 3_000_000)
			case 199:
				r = nil
			}
			rs = append(rs, r)
		}
		results := p.PublishBatch(t.Context(), rs...)
		require.Len(t, results, 200)
		log := map[duplex.Position]string{}
		for _, r := range w.log("orders") {
			log[duplex.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}] = string(r.Value)
		}
		for i, res := range results {
			switch i {
			case 17:
				require.ErrorIs(t, res.Err, duplex.ErrUnknownTopic)
			case 33:
				require.ErrorIs(t, res.Err, duplex.ErrTooLarge)
			case 199:
				require.ErrorIs(t, res.Err, duplex.ErrInvalidRecord)
			default:
				require.NoError(t, res.Err)
				require.Equal(t, strconv.Itoa(i), log[res.Position], "result %d", i)
			}
		}
		require.Empty(t, p.PublishBatch(t.Context()))
		require.NoError(t, p.Close())
	})
}

// P1 to P4 under faults: what is acked is exactly there, what failed definitely
// is not, what is unknown is there at most once, and per key the log has the
// order of the calls.
func TestVirtualPromisesUnderFaults(t *testing.T) {
	for seed := range 6 {
		t.Run(fmt.Sprint("seed", seed), func(t *testing.T) {
			inWorld(t, 3, func(t *testing.T, w *world) { promisesUnderFaults(t, w, seed) })
		})
	}
}

func promisesUnderFaults(t *testing.T, w *world, seed int) {
	p := w.producer(producer.Config{Timeout: 4 * time.Second})
	stop := make(chan struct{})
	var faults sync.WaitGroup
	faults.Go(func() { w.trouble(stop, seed) })
	type result struct {
		pos duplex.Position
		err error
	}
	var mu sync.Mutex
	results := map[string]result{}
	note := func(id string) func(duplex.Position, error) {
		return func(pos duplex.Position, err error) {
			mu.Lock()
			defer mu.Unlock()
			_, twice := results[id]
			require.False(t, twice, "two results for %s", id)
			results[id] = result{pos, err}
		}
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 150 {
				id := fmt.Sprintf("%d-%d", g, i)
				r := &kgo.Record{Topic: "orders", Key: fmt.Append(nil, "key-", g), Value: []byte(id)}
				if (i+g)%3 == 0 {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%5)*700*time.Millisecond)
					pos, err := p.Publish(ctx, r)
					cancel()
					note(id)(pos, err)
				} else {
					p.PublishAsync(t.Context(), r, note(id))
				}
				if i%10 == 0 {
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	faults.Wait()
	_ = p.Flush(t.Context())
	time.Sleep(time.Minute)
	require.NoError(t, p.Close())
	require.Len(t, results, 8*150)
	at := map[duplex.Position]string{}
	copies, last := map[string]int{}, map[string]int{}
	for _, r := range w.log("orders") {
		id := string(r.Value)
		at[duplex.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}] = id
		copies[id]++
		var g, i int
		_, err := fmt.Sscanf(id, "%d-%d", &g, &i)
		require.NoError(t, err)
		require.GreaterOrEqual(t, i+1, last[string(r.Key)], "P4: out of order for %s", r.Key)
		last[string(r.Key)] = i + 1
	}
	acked, failed, unknown := 0, 0, 0
	for id, res := range results {
		switch {
		case res.err == nil:
			acked++
			require.Equal(t, id, at[res.pos], "P1")
			require.Equal(t, 1, copies[id], "P3")
		case errors.Is(res.err, duplex.ErrOutcomeUnknown):
			unknown++
			require.LessOrEqual(t, copies[id], 1, "P2, P3")
		default:
			failed++
			require.Zero(t, copies[id], "P2: %v", res.err)
		}
	}
	t.Logf("acked %d, failed %d, unknown %d", acked, failed, unknown)
	require.Greater(t, acked, 300)
}
