package suite

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/producer"
)

func failing() []Scenario {
	return []Scenario{
		{"a failed record is tried again in its place", []string{"C1", "C4", "C9"}, failedRecordIsTriedInPlace},
		{"a panic is a failure", []string{"C4", "C9"}, panicIsAFailure},
		{"a record that cannot be decoded holds up its partition only", []string{"C1", "C9"}, undecodableRecordHoldsUpItsPartition},
		{"verdicts are followed", []string{"C1", "C4"}, verdictsAreFollowed},
		{"a batch tries the failed records again, and no others", []string{"C4", "C7"}, batchTriesTheFailedAgain},
		{"a failed record keeps its attempts and its wait when its partition goes to another member", []string{"C4", "C11"}, attemptsGoAlong},
		{"a handler that takes too long is cancelled", []string{"C9"}, slowHandlerIsCancelled},
	}
}

const errBusy duplex.Code = "busy"

// attempts are the runs of handlers, by the record's offset.
type attempts struct {
	mu   sync.Mutex
	list []string
}

// note adds a run and returns its number by the delivery.
func (a *attempts) note(ctx context.Context, r *kgo.Record) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := consumer.FromContext(ctx).Attempt
	a.list = append(a.list, fmt.Sprintf("%d/%d", r.Offset, n))
	return n
}

func failedRecordIsTriedInPlace(t *testing.T, k Kafka) {
	g := newGroup(t, k, 2)
	g.publish(0, 20)
	g.publish(1, 500)
	var runs attempts
	others := make(chan struct{})
	m := g.join(consumer.Config{RetryMin: 20 * time.Millisecond, RetryMax: 50 * time.Millisecond, Handlers: g.handle(func(ctx context.Context, r *kgo.Record) error {
		if r.Partition == 1 {
			return nil
		}
		runs.note(ctx, r)
		if r.Offset == 7 {
			select {
			case <-others:
			default:
				return errBusy
			}
		}
		return nil
	})})
	eventually(t, "the other partition flows, and the record was tried often", func() bool {
		return len(g.finishedOn(1)) == 500 && m.partition(0).Attempt > 4
	})
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, 7)
	status := m.Status()
	require.Equal(t, duplex.StatusRetrying, status.Code)
	require.Equal(t, "busy", m.partition(0).LastError)
	require.Len(t, g.finishedOn(0), 7)
	close(others)
	g.awaitAll()
	m.stop()
	g.requireOnce()
	failed := int(m.Status().Counts["failed"])
	var want []string
	for offset := range 20 {
		want = append(want, fmt.Sprintf("%d/1", offset))
		for n := 2; offset == 7 && n <= failed+1; n++ {
			want = append(want, fmt.Sprintf("7/%d", n))
		}
	}
	require.Equal(t, want, runs.list)
}

func panicIsAFailure(t *testing.T, k Kafka) {
	g := newGroup(t, k, 2)
	g.publish(0, 10)
	g.publish(1, 10)
	var lastError string
	var m *member
	ready := make(chan struct{})
	m = g.join(consumer.Config{RetryMin: 200 * time.Millisecond, Handlers: g.handle(func(ctx context.Context, r *kgo.Record) error {
		<-ready
		if r.Partition == 0 && r.Offset == 3 && consumer.FromContext(ctx).Attempt < 3 {
			panic("boom") //nolint:forbidigo // what is tested
		}
		return nil
	})})
	close(ready)
	eventually(t, "the panic shows", func() bool { lastError = m.partition(0).LastError; return lastError != "" })
	require.Contains(t, lastError, string(duplex.ErrPanic))
	require.Contains(t, lastError, "boom")
	g.awaitAll()
	m.stop()
	g.requireOnce()
	require.Equal(t, int64(2), m.Status().Counts["failed"])
}

func undecodableRecordHoldsUpItsPartition(t *testing.T, k Kafka) {
	numbers := duplextest.Topic(t, k.Cluster, duplex.Topic[int]{Name: "numbers"}, 2)
	p := newProducer(t, producer.Config{Cluster: k.Cluster})
	publish := func(partition int32, value string) {
		_, err := p.Publish(t.Context(), &kgo.Record{Topic: numbers.Name, Key: keyOf(partition, 2), Value: []byte(value)})
		require.NoError(t, err)
	}
	for i := range 5 {
		publish(0, strconv.Itoa(i))
		publish(1, strconv.Itoa(100+i))
	}
	publish(0, "{bad")
	publish(0, "6")
	publish(1, "105")
	group := duplextest.Unique("suite")
	var got collected[int]
	m := start(t, consumer.Config{
		Cluster: k.Cluster, Group: group, SessionTimeout: k.Session, CommitInterval: 50 * time.Millisecond, RetryMin: 20 * time.Millisecond,
		RetryMax: 50 * time.Millisecond, Handlers: []consumer.Handler{consumer.Handle(numbers, got.one)},
	})
	duplextest.RequireCommitted(t, k.Cluster, group, numbers.Name, 0, 5)
	duplextest.RequireCommitted(t, k.Cluster, group, numbers.Name, 1, 6)
	eventually(t, "the bad record is tried again and again", func() bool { return m.Status().Counts["failed"] > 3 })
	require.Contains(t, m.partition(0).LastError, string(duplex.ErrUndecodable))
	require.Contains(t, m.partition(0).LastError, "offset 5")
	require.Equal(t, duplex.StatusRetrying, m.Status().Code)
	m.stop()
	require.ElementsMatch(t, []int{0, 1, 2, 3, 4, 100, 101, 102, 103, 104, 105}, got.values)
	duplextest.RequireCommitted(t, k.Cluster, group, numbers.Name, 0, 5)
}

func verdictsAreFollowed(t *testing.T, k Kafka) {
	const wait = 400 * time.Millisecond
	g := newGroup(t, k, 1)
	g.publish(0, 8)
	var runs attempts
	var mu sync.Mutex
	began := map[int64]time.Time{}
	var early []int64
	// again asks for a second run, and notes it if it comes too early.
	again := func(r *kgo.Record, err error) error {
		mu.Lock()
		defer mu.Unlock()
		first, ran := began[r.Offset]
		if !ran {
			began[r.Offset] = time.Now()
			return err
		}
		if time.Since(first) < wait {
			early = append(early, r.Offset)
		}
		return nil
	}
	m := g.join(consumer.Config{RetryMin: time.Millisecond, Handlers: g.handle(func(ctx context.Context, r *kgo.Record) error {
		n := runs.note(ctx, r)
		switch {
		case r.Offset == 1:
			return duplex.Drop("not ours")
		case r.Offset == 2:
			return again(r, duplex.Snooze(wait))
		case r.Offset == 3:
			return again(r, duplex.RetryAfter(wait, errBusy))
		case r.Offset == 4 && n < 3:
			return duplex.Permanent(errBusy)
		case r.Offset == 7:
			return duplex.Drop("the last one")
		}
		return nil
	})})
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, 8)
	m.stop()
	g.requireOnce()
	require.Empty(t, early, "records that ran again too early")
	require.Equal(t, []string{"0/1", "1/1", "2/1", "2/1", "3/1", "3/2", "4/1", "4/2", "4/3", "5/1", "6/1", "7/1"}, runs.list)
	counts := m.Status().Counts
	require.Equal(t, int64(2), counts["dropped"])
	require.Equal(t, int64(6), counts["handled"])
	require.Equal(t, int64(1), counts["snoozed"])
	require.Equal(t, int64(3), counts["failed"])
}

func attemptsGoAlong(t *testing.T, k Kafka) {
	const wait = 3 * time.Second
	g := newGroup(t, k, 1)
	g.publish(0, 10)
	var runs attempts
	var failed, ran time.Time
	cfg := consumer.Config{Handlers: g.handle(func(ctx context.Context, r *kgo.Record) error {
		n := runs.note(ctx, r)
		runs.mu.Lock()
		defer runs.mu.Unlock()
		switch {
		case r.Offset != 4:
			return nil
		case n == 1:
			return duplex.RetryAfter(time.Millisecond, errBusy)
		case n == 2:
			failed = time.Now()
			return duplex.RetryAfter(wait, errBusy)
		}
		ran = time.Now()
		return nil
	})}
	first := g.join(cfg)
	eventually(t, "two attempts", func() bool { return first.partition(0).Attempt == 3 })
	first.stop()
	second := g.join(cfg)
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, 10)
	second.stop()
	g.requireOnce()
	require.Equal(t, []string{"0/1", "1/1", "2/1", "3/1", "4/1", "4/2", "4/3", "5/1", "6/1", "7/1", "8/1", "9/1"}, runs.list)
	require.GreaterOrEqual(t, ran.Sub(failed), wait-time.Millisecond, "it ran early") // a due time is in milliseconds
}

func batchTriesTheFailedAgain(t *testing.T, k Kafka) {
	const n = 60
	g := newGroup(t, k, 1)
	g.publish(0, n)
	var runs attempts
	m := g.join(consumer.Config{RetryMin: 20 * time.Millisecond, MaxBatch: 20, Handlers: []consumer.Handler{
		consumer.HandleRecordBatch(g.topic, func(ctx context.Context, rs []*kgo.Record) error {
			var failed consumer.BatchError
			for i, r := range rs {
				attempt := runs.note(ctx, r)
				switch {
				case r.Offset%10 == 3 && attempt < 3:
					failed.Fail(i, errBusy)
					continue
				case r.Offset%10 == 5:
					failed.Fail(i, duplex.Drop("not ours"))
				}
				g.mu.Lock()
				g.finish(r)
				g.mu.Unlock()
			}
			return failed.Err()
		}),
	}})
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, n)
	m.stop()
	g.requireHistory()
	require.Len(t, runs.list, n+2*n/10, "each failed record ran twice more, and no other did")
	require.Equal(t, int64(n/10), m.Status().Counts["dropped"])
	for offset := int64(3); offset < n; offset += 10 {
		require.Contains(t, runs.list, fmt.Sprintf("%d/3", offset))
	}
}

func slowHandlerIsCancelled(t *testing.T, k Kafka) {
	g := newGroup(t, k, 1)
	g.publish(0, 4)
	causes := make(chan error, 1)
	m := g.join(consumer.Config{HandlerTimeout: 200 * time.Millisecond, RetryMin: 10 * time.Millisecond, Handlers: g.handle(func(ctx context.Context, r *kgo.Record) error {
		if r.Offset == 2 && consumer.FromContext(ctx).Attempt == 1 {
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return ctx.Err()
		}
		return nil
	})})
	g.awaitAll()
	m.stop()
	g.requireOnce()
	require.ErrorIs(t, receive(t, causes, "the handler is told"), consumer.ErrHandlerTimeout)
	require.Equal(t, int64(1), m.Status().Counts["failed"])
}
