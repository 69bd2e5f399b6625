package suite

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/producer"
)

// kafkaClient is Kafka's client without any of Duplex, to look at the log
// independently, and for what Duplex does not do.
func kafkaClient(t *testing.T, k Kafka, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	opts := []kgo.Opt{kgo.SeedBrokers(k.Cluster.Brokers...)}
	if k.Cluster.Dial != nil {
		opts = append(opts, kgo.Dialer(k.Cluster.Dial))
	}
	cl, err := kgo.NewClient(append(opts, more...)...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}

// readAll returns what is in the topic now, partition by partition in the order
// of the log, uncommitted records too.
func readAll(t *testing.T, k Kafka, topic string) []*kgo.Record {
	t.Helper()
	cl := kafkaClient(t, k, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.KeepControlRecords())
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(t.Context(), topic)
	require.NoError(t, err)
	require.NoError(t, ends.Error())
	left := map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		if end.Offset > 0 {
			left[end.Partition] = end.Offset
		}
	})
	var records []*kgo.Record
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
		})
	}
	return records
}

func positionOf(r *kgo.Record) duplex.Position {
	return duplex.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
}

func requireStored(t *testing.T, results []producer.Result) {
	t.Helper()
	for i, r := range results {
		require.NoError(t, r.Err, "record %d", i)
	}
}

// noise is n bytes that no compression makes small.
func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// collected are the values that handlers were given.
type collected[T any] struct {
	mu     sync.Mutex
	values []T
}

func (c *collected[T]) one(ctx context.Context, v T) error { return c.many(ctx, []T{v}) }

func (c *collected[T]) many(_ context.Context, vs []T) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values = append(c.values, vs...)
	return nil
}

func (c *collected[T]) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.values)
}
