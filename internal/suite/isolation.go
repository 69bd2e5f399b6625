package suite

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/duplextest"
)

func isolation() []Scenario {
	return []Scenario{
		{"records of aborted transactions are passed over", []string{"C1", "C7"}, abortedRecordsArePassedOver},
		{"gaps that compaction leaves are passed", []string{"C1", "C7", "C9"}, compactedGapsArePassed},
		{"records deleted before they were read are reported", []string{"C7", "C9"}, deletedRecordsAreReported},
	}
}

func abortedRecordsArePassedOver(t *testing.T, k Kafka) {
	g := newGroup(t, k, 1)
	cl := kafkaClient(t, k, kgo.TransactionalID(duplextest.Unique("suite")), kgo.DefaultProduceTopic(g.topic))
	write := func(n int, end kgo.TransactionEndTry) (offsets []int64) {
		require.NoError(t, cl.BeginTransaction())
		for range n {
			r := kgo.StringRecord(fmt.Sprint(end))
			require.NoError(t, cl.ProduceSync(t.Context(), r).FirstErr())
			offsets = append(offsets, r.Offset)
		}
		require.NoError(t, cl.EndTransaction(t.Context(), end))
		return offsets
	}
	var kept []int64
	write(3, kgo.TryAbort)
	for range 3 {
		kept = append(kept, write(5, kgo.TryCommit)...)
		write(4, kgo.TryAbort)
	}
	end := kept[len(kept)-1] + 1 + 1 + 4 + 1                                                  // and the marker of each, and the aborted ones
	m := g.join(consumer.Config{Ordering: consumer.ByPartition, Handlers: g.handle(nothing)}) // they have no key
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, end)
	require.Equal(t, kept, g.finishedOn(0))

	// One that is open: nothing behind it may be read until it ends.
	require.NoError(t, cl.BeginTransaction())
	open := kgo.StringRecord("open")
	require.NoError(t, cl.ProduceSync(t.Context(), open).FirstErr())
	g.publish(0, 1)
	require.Equal(t, kept, g.finishedOn(0))
	require.NoError(t, cl.EndTransaction(t.Context(), kgo.TryAbort))
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, end+3)
	m.stop()
	require.Equal(t, append(kept, open.Offset+1), g.finishedOn(0))
	g.requireHistory()
	require.NotContains(t, m.Status().Problems, duplex.StatusDataLost)
}

// compactedGapsArePassed: a compacted log has holes, and the last record of each
// key.
func compactedGapsArePassed(t *testing.T, k Kafka) {
	const keys, rounds = 5, 60
	g := newGroup(t, k, 1)
	topic := duplextest.NewTopic(t, k.Cluster, "compacted", 1, map[string]string{
		"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": "100", "segment.bytes": "1048576",
		"min.compaction.lag.ms": "0", "delete.retention.ms": "0",
	})
	g.topic = topic
	cl := kafkaClient(t, k, kgo.DefaultProduceTopic(topic))
	write := func(key string) {
		require.NoError(t, cl.ProduceSync(t.Context(), kgo.KeySliceRecord([]byte(key), noise(100))).FirstErr())
	}
	for i := range keys * rounds {
		write(strconv.Itoa(i % keys))
	}
	var left []int64
	require.Eventually(t, func() bool {
		write("last") // the segment in use is never compacted
		if k.Compact != nil {
			k.Compact()
		}
		left = left[:0]
		for _, r := range readAll(t, k, topic) {
			left = append(left, r.Offset)
		}
		return int64(len(left)) < left[len(left)-1]+1-keys*rounds/2
	}, patience, 500*time.Millisecond, "the brokers did not compact")
	end := left[len(left)-1] + 1
	m := g.join(consumer.Config{Ordering: consumer.ByPartition, Handlers: g.handle(nothing)})
	duplextest.RequireCommitted(t, k.Cluster, g.name, topic, 0, end)
	m.stop()
	got := g.finishedOn(0)
	require.IsIncreasing(t, got)
	require.Subset(t, left, got, "handled what is not in the log") // it may be compacted once more
	require.Equal(t, end-1, got[len(got)-1])
	require.Equal(t, duplex.StatusClosed, m.Status().Code)
}

func deletedRecordsAreReported(t *testing.T, k Kafka) {
	g := newGroup(t, k, 1)
	g.publish(0, 20)
	first := g.join(consumer.Config{Handlers: g.handle(func(_ context.Context, r *kgo.Record) error {
		if r.Offset < 5 {
			return nil
		}
		return duplex.Snooze(time.Hour)
	})})
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, 5)
	first.stop()
	offsets := kadm.Offsets{}
	offsets.AddOffset(g.topic, 0, 15, -1)
	deleted, err := kadm.NewClient(kafkaClient(t, k)).DeleteRecords(t.Context(), offsets)
	require.NoError(t, err)
	require.NoError(t, deleted.Error())
	second := g.join(consumer.Config{Handlers: g.handle(nothing)})
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, 20)
	status := second.Status()
	require.Equal(t, duplex.StatusDataLost, status.Code)
	require.Contains(t, status.Problems[0].Detail, "offsets 5 to 14")
	second.stop()
	require.Equal(t, []int64{0, 1, 2, 3, 4, 15, 16, 17, 18, 19}, g.finishedOn(0))
}
