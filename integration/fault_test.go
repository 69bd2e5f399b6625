package integration

import (
	"context"
	"encoding/binary"
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
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/producer"
)

// P5, P2: on real Kafka a deadline may be missed by as much as the scheduler
// needs.
const deadlineSlack = 250 * time.Millisecond

func TestPublishToAFrozenBrokerEndsAtItsDeadline(t *testing.T) {
	t.Parallel()
	n := node(t)
	topic := newTopic(t, n.Cluster(), 1)
	p, err := producer.New(producer.Config{Cluster: n.Cluster()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	_, err = p.Publish(t.Context(), &kgo.Record{Topic: topic, Value: []byte("before")})
	require.NoError(t, err)

	n.Pause(t)
	const deadline = 2 * time.Second
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	began := time.Now()
	_, err = p.Publish(ctx, &kgo.Record{Topic: topic, Value: []byte("frozen")})
	took := time.Since(began)
	n.Unpause(t)
	require.ErrorIs(t, err, duplex.ErrOutcomeUnknown)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.InDelta(t, deadline, took, float64(deadlineSlack))

	pos, err := p.Publish(t.Context(), &kgo.Record{Topic: topic, Value: []byte("after")})
	require.NoError(t, err)
	require.Contains(t, []int64{1, 2}, pos.Offset, "the record with the unknown outcome must be in the log once or not at all")
	require.Equal(t, pos.Offset+1, logSize(t, n.Cluster(), topic))
}

// numbered is a stream of records: the i-th has key i modulo numberedKeys, and
// its place among those of its key as the value.
const numberedKeys = 1000

func numbered(topic string, i int) *kgo.Record {
	return &kgo.Record{
		Topic: topic, Key: strconv.AppendInt(nil, int64(i%numberedKeys), 10),
		Value: binary.BigEndian.AppendUint64(nil, uint64(i/numberedKeys)),
	}
}

// history collects what was handled, and finds what must not be.
type history struct {
	mu      sync.Mutex
	next    map[string]uint64 // by key: what should come
	repeats int
	wrong   error
	handled atomic.Int64 // without repeats
}

func (h *history) add(r *kgo.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	key, got := string(r.Key), binary.BigEndian.Uint64(r.Value)
	switch want := h.next[key]; {
	case got == want:
		h.next[key]++
		h.handled.Add(1)
	case got < want:
		h.repeats++
	default:
		h.wrong = errors.Join(h.wrong, fmt.Errorf("key %s: %d came where %d should, at partition %d offset %d", key, got, want, r.Partition, r.Offset))
	}
}

// C2, C4, C9, P1–P4 through a broker that dies without a word and comes back.
func TestMillionRecordsSurviveAKilledBroker(t *testing.T) {
	t.Parallel()
	const records = 1_000_000
	n := node(t)
	topic := newTopic(t, n.Cluster(), 6)
	h := &history{next: map[string]uint64{}}
	c, err := consumer.New(consumer.Config{
		Cluster: n.Cluster(), Group: unique(t), Ordering: consumer.ByPartition,
		Handlers: []consumer.Handler{consumer.HandleRecord(topic, func(_ context.Context, r *kgo.Record) error { h.add(r); return nil })},
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var ended error
	running.Go(func() { ended = c.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })

	p, err := producer.New(producer.Config{Cluster: n.Cluster(), Timeout: 2 * time.Minute})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	var acked atomic.Int64
	var failed atomic.Pointer[error]
	done := func(_ duplex.Position, err error) {
		if err != nil {
			failed.CompareAndSwap(nil, &err)
			return
		}
		acked.Add(1)
	}
	for i := range records {
		if i == records/2 {
			n.Kill(t)
			n.Start(t)
		}
		p.PublishAsync(t.Context(), numbered(topic, i), done)
	}
	require.NoError(t, p.Flush(t.Context()))
	if err := failed.Load(); err != nil {
		require.NoError(t, *err)
	}
	require.Equal(t, int64(records), acked.Load())
	require.Equal(t, int64(records), logSize(t, n.Cluster(), topic), "each record is in the log once")

	require.Eventually(t, func() bool { return h.handled.Load() == records }, 2*time.Minute, 50*time.Millisecond,
		"%d of %d were handled", h.handled.Load(), records)
	stop()
	running.Wait()
	require.NoError(t, ended)
	require.NoError(t, h.wrong)
	t.Logf("%d repeats", h.repeats)
}

// C5: members leave and join one after the other while records flow, and nothing
// is handled twice.
func TestRollingRestartUnderLoadRepeatsNothing(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	topic, group := newTopic(t, c, 6), unique(t)
	h := &history{next: map[string]uint64{}}
	member := func() (stop func()) {
		m, err := consumer.New(consumer.Config{
			Cluster: c, Group: group, Ordering: consumer.ByPartition,
			Handlers: []consumer.Handler{consumer.HandleRecord(topic, func(_ context.Context, r *kgo.Record) error { h.add(r); return nil })},
		})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		ended := make(chan error, 1)
		go func() { ended <- m.Run(ctx) }()
		return sync.OnceFunc(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("running a member: %v", err)
			}
		})
	}
	members := []func(){member(), member(), member()}
	t.Cleanup(func() {
		for _, stop := range members {
			stop()
		}
	})

	p, err := producer.New(producer.Config{Cluster: c})
	require.NoError(t, err)
	var sent atomic.Int64
	load, stopLoad := context.WithCancel(t.Context())
	var loading sync.WaitGroup
	loading.Go(func() {
		for i := 0; load.Err() == nil; i++ {
			if _, err := p.Publish(t.Context(), numbered(topic, i)); err != nil {
				t.Errorf("publishing: %v", err)
				return
			}
			sent.Add(1)
		}
	})
	t.Cleanup(func() { stopLoad(); loading.Wait(); require.NoError(t, p.Close()) })

	for i := range members {
		flowing(t, h)
		members[i]()
		flowing(t, h)
		members[i] = member()
	}
	flowing(t, h)
	stopLoad()
	loading.Wait()
	require.Eventually(t, func() bool { return h.handled.Load() == sent.Load() }, time.Minute, 50*time.Millisecond)
	require.NoError(t, h.wrong)
	require.Zero(t, h.repeats)
	for _, stop := range members {
		stop()
	}
	requireCommittedToTheEnd(t, c, group, topic)
}

// flowing waits until more records were handled.
func flowing(t *testing.T, h *history) {
	t.Helper()
	from := h.handled.Load()
	require.Eventually(t, func() bool { return h.handled.Load() > from+500 }, time.Minute, 20*time.Millisecond, "no record came through")
}

// requireOffsets gives what the group has committed. A coordinator that is not there yet,
// as when many groups begin at once, is asked again.
func requireOffsets(t *testing.T, admin *kadm.Client, group string) (offsets kadm.OffsetResponses) {
	t.Helper()
	var err error
	require.Eventually(t, func() bool {
		offsets, err = admin.FetchOffsets(t.Context(), group)
		return !kerr.IsRetriable(err)
	}, groupPatience, 100*time.Millisecond, "the coordinator of group %s does not answer", group)
	require.NoError(t, err, "group %s", group)
	return offsets
}

func requireCommittedToTheEnd(t *testing.T, c duplex.Cluster, group, topic string) {
	t.Helper()
	admin := kadm.NewClient(rawClient(t, c))
	ends, err := admin.ListEndOffsets(t.Context(), topic)
	require.NoError(t, err)
	committed := requireOffsets(t, admin, group)
	ends.Each(func(end kadm.ListedOffset) {
		at, _ := committed.Lookup(topic, end.Partition)
		require.Equal(t, end.Offset, at.At, "partition %d", end.Partition)
	})
}
