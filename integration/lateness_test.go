package integration

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strconv"
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

// latenessMost is how late 99 of 100 records of a retry topic may run: a promise of
// machines that have nothing else to do.
const latenessMost = 250 * time.Millisecond

func latenessDelays() []time.Duration {
	return []time.Duration{time.Second, 2 * time.Second, 5 * time.Second}
}

// lateness collects by how much runs are later than due, by the number of the retry
// topic, from 0.
type lateness struct {
	mu      sync.Mutex
	late    [3][]time.Duration
	handled int
}

// note is called when an attempt begins. Attempt n+1 runs from the n-th retry topic.
func (l *lateness) note(ctx context.Context, r *kgo.Record) error {
	now := time.Now()
	attempt, delays := consumer.FromContext(ctx).Attempt, latenessDelays()
	l.mu.Lock()
	defer l.mu.Unlock()
	if attempt > 1 {
		l.late[attempt-2] = append(l.late[attempt-2], now.Sub(r.Timestamp.Add(delays[attempt-2])))
	}
	if attempt <= len(delays) {
		return errFails
	}
	l.handled++
	return nil
}

func (l *lateness) done() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.handled
}

// R3: a thousand records a second fall due in three retry topics. None runs early, and
// few run late.
func TestRecordsRunWhenTheyAreDue(t *testing.T) {
	const rate = 1000 / 3 // records a second, each of which falls due three times
	records := 3_000
	if longForms() {
		records = 100_000/3 + 1
	}
	c := cluster(t)
	topic, group := newTopic(t, c, 6), unique(t)
	l := &lateness{}
	_, stop := running(t, consumer.Config{
		Cluster: c, Group: group, Failures: dlq.Policy{Delays: latenessDelays()}, Handlers: []consumer.Handler{consumer.HandleRecord(topic, l.note)},
	})
	cl := rawClient(t, c, kgo.ProducerLinger(0))
	requireMembers(t, c, group, 1)
	began := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := 0; i < records; <-tick.C {
		for ; i < min(records, int(time.Since(began)*rate/time.Second)); i++ {
			cl.Produce(t.Context(), &kgo.Record{Topic: topic, Key: strconv.AppendInt(nil, int64(i), 10), Value: []byte("v")}, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Errorf("publishing: %v", err)
				}
			})
		}
	}
	require.NoError(t, cl.Flush(t.Context()))
	require.Eventually(t, func() bool { return l.done() == records }, time.Minute, 50*time.Millisecond, "%d of %d", printed{func() any { return l.done() }}, records)
	require.NoError(t, stop())
	var all []time.Duration
	for i, late := range l.late {
		require.Len(t, late, records)
		t.Logf("retry topic %d, after %s: %s", i+1, latenessDelays()[i], quantiles(late))
		all = append(all, late...)
	}
	t.Logf("%d records that fell due, %d a second: %s", len(all), 3*rate, quantiles(all))
	require.GreaterOrEqual(t, slices.Min(all), time.Duration(0), "a record ran before it was due")
	if p99 := quantile(all, 99); !raceEnabled {
		require.LessOrEqual(t, p99, latenessMost)
	}
}

// quantile sorts all.
func quantile(all []time.Duration, percent float64) time.Duration {
	slices.Sort(all)
	return all[min(len(all)-1, int(float64(len(all))*percent/100))]
}

func quantiles(all []time.Duration) string {
	round := func(percent float64) time.Duration { return quantile(all, percent).Round(100 * time.Microsecond) }
	return fmt.Sprintf("late by %s at least, p50 %s, p99 %s, p99.9 %s, %s at most", round(0), round(50), round(99), round(99.9), round(100))
}

// R3, C8: behind records that are due stand a great many that are not. The first ones
// run as soon as the group has the retry topic, and the others do not fill the memory.
func TestFirstRecordsOfAFullRetryTopicRunAtOnce(t *testing.T) {
	const (
		due   = 100
		delay = time.Hour
	)
	waiting := 100_000
	if longForms() {
		waiting = 1_000_000
	}
	c := cluster(t)
	topic, group := newTopic(t, c, 1), unique(t)
	retry := dlq.RetryTopic(group, topic, 1)
	fillRetryTopic(t, c, group, topic, due, waiting, delay)
	before := heap()

	ran := make(chan time.Time, due+waiting)
	k, stop := running(t, consumer.Config{
		Cluster: c, Group: group, Failures: dlq.Policy{Delays: []time.Duration{delay}},
		Handlers: []consumer.Handler{consumer.HandleRecord(topic, func(context.Context, *kgo.Record) error { ran <- time.Now(); return nil })},
	})
	owns := func() bool {
		return slices.ContainsFunc(k.Status().Partitions, func(p duplex.PartitionStatus) bool { return p.Topic == retry })
	}
	require.Eventually(t, owns, groupPatience, time.Millisecond, "the retry topic is not assigned")
	assigned := time.Now()
	var first, last time.Time
	for i := range due {
		select {
		case last = <-ran:
		case <-time.After(groupPatience):
			require.FailNow(t, "not all that is due ran", "%d of %d: %v", i, due, k.Status())
		}
		if i == 0 {
			first = last
		}
	}
	var grown []int64
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range int(shortOr(5*time.Second, 20*time.Second) / time.Second) {
		<-tick.C
		grown = append(grown, (heap()-before)>>20)
	}
	t.Logf("%d are due and %d are not: the first ran %s after the assignment, the last %s; heap in MiB, each second: %v",
		due, waiting, first.Sub(assigned).Round(time.Millisecond), last.Sub(assigned).Round(time.Millisecond), grown)
	require.Empty(t, ran, "records ran before they were due")
	require.Less(t, last.Sub(assigned), time.Second)
	const most = 100 // MiB: MaxLoadedBytes, the loaded records' own 200 bytes, what is fetched ahead
	require.Less(t, slices.Max(grown), int64(most), "what waits fills the memory")
	require.LessOrEqual(t, grown[len(grown)-1], grown[len(grown)/2]+8, "it grows while nothing happens")
	require.NoError(t, stop())
}

// heap is how many bytes are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// fillRetryTopic writes records into the first retry topic as the group's consumer
// does: some that are due now, and behind them others that were put there now.
func fillRetryTopic(t *testing.T, c duplex.Cluster, group, topic string, due, waiting int, delay time.Duration) {
	t.Helper()
	retry := dlq.RetryTopic(group, topic, 1)
	cl := rawClient(t, c, kgo.MaxBufferedRecords(50_000))
	defer cl.Close()
	_, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, -1, nil, retry)
	require.NoError(t, err)
	now := time.Now()
	for i := range due + waiting {
		r := &kgo.Record{Topic: retry, Key: strconv.AppendInt(nil, int64(i), 10), Value: []byte("departure of a flight"), Timestamp: now}
		if i < due {
			r.Timestamp = now.Add(-delay)
		}
		for name, value := range map[string]string{
			dlq.HeaderID: fmt.Sprintf("%s/0/%d@%s#AAAAAA", topic, i, group), dlq.HeaderOriginTopic: topic, dlq.HeaderOriginPartition: "0",
			dlq.HeaderOriginOffset: strconv.Itoa(i), dlq.HeaderOriginTimestamp: strconv.FormatInt(now.UnixMilli(), 10), dlq.HeaderAttempt: "1",
			dlq.HeaderFirstFailedAt: strconv.FormatInt(now.UnixMilli(), 10), dlq.HeaderGeneration: "0", dlq.HeaderGroup: group, dlq.HeaderHandler: topic,
		} {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
		cl.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("filling a retry topic: %v", err)
			}
		})
	}
	require.NoError(t, cl.Flush(t.Context()))
}
