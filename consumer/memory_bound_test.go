package consumer

import (
	"context"
	"encoding/binary"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/kafka"
)

// Handlers that return nothing for a long time: memory stays within the bound of
// docs/guarantees.md, with values that are small on the wire and large in memory.
//
//nolint:paralleltest // it looks at the heap of the process
func TestMemoryIsBoundedWhileHandlersBlock(t *testing.T) {
	const (
		partitions, records, size = 16, 160_000, 2000 // 320 MB
		loadedBytes, fetchBytes   = 4 << 20, 64 << 10
		batch                     = 64 << 10 // of the producer's, in bytes
		client                    = 6 << 20  // what two clients and their connections take
	)
	b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: "orders", Partitions: partitions}}})
	require.NoError(t, err)
	defer b.Close()
	wire := publishCompressible(t, b.Cluster(), partitions, records, size, batch)
	ratio := int64(records*size) / wire
	t.Logf("%d bytes on the wire, %d in memory: %d times as many", wire, records*size, ratio)

	release, handled := make(chan struct{}), make(chan struct{}, records)
	c, err := New(Config{
		Cluster: b.Cluster(), Group: "g", Concurrency: 100, MaxLoadedBytes: loadedBytes, FetchMaxBytes: fetchBytes,
		Handlers: []Handler{HandleRecord("orders", func(context.Context, *kgo.Record) error {
			<-release
			handled <- struct{}{}
			return nil
		})},
	})
	require.NoError(t, err)
	before := inUse()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()

	fetched := int64(fetchBytes) * ratio // of the one broker, which adds a batch of each partition
	bound := 2*loadedBytes + 2*loadedBytes/size*200 + partitions*(10_000+2*batch) + fetched + partitions*batch + client
	most, looks, loaded := int64(0), 0, -1
	require.Eventually(t, func() bool {
		most = max(most, inUse()-before)
		looks++
		if n := c.loaded(); n == 0 || n != loaded {
			looks, loaded = 0, n
		}
		return looks == 50
	}, time.Minute, 20*time.Millisecond, "it loads what it may")
	rest := inUse() - before
	t.Logf("%d records loaded, %d bytes in use, %d at most on the way there, of %d that may be", loaded, rest, most, bound)
	require.LessOrEqual(t, rest, bound)
	require.LessOrEqual(t, most, bound+fetched, "an answer may be thrown away while the next one is unpacked")
	require.Greater(t, rest, int64(loadedBytes), "or nothing was measured")

	close(release)
	for range records {
		<-handled
	}
	stop()
	require.NoError(t, <-ended)
}

// loaded is how many records are.
func (c *Consumer) loaded() (n int) {
	for _, p := range c.Status().Partitions {
		n += p.Loaded
	}
	return n
}

// wireBytes counts what batches take on the wire.
type wireBytes struct{ n atomic.Int64 }

func (w *wireBytes) OnProduceBatchWritten(_ kgo.BrokerMetadata, _ string, _ int32, m kgo.ProduceBatchMetrics) {
	w.n.Add(int64(m.CompressedBytes))
}

// publishCompressible returns how many bytes the values take on the wire.
func publishCompressible(t *testing.T, to duplex.Cluster, partitions, records, size, batch int) int64 {
	t.Helper()
	var sent wireBytes
	client, err := kafka.NewClient(to, zap.NewNop(), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.WithHooks(&sent),
		kgo.ProducerBatchCompression(kgo.ZstdCompression()), kgo.ProducerBatchMaxBytes(int32(batch)), kgo.ProducerLinger(50*time.Millisecond))
	require.NoError(t, err)
	defer client.Close()
	padding := strings.Repeat("departure ", size/10)
	for i := range records {
		value := binary.BigEndian.AppendUint64(make([]byte, 0, size), uint64(i))
		value = append(value, padding[:size-8]...)
		client.Produce(t.Context(), &kgo.Record{Topic: "orders", Partition: int32(i % partitions), Key: value[:8], Value: value}, nil)
	}
	require.NoError(t, client.Flush(t.Context()))
	return sent.n.Load()
}
