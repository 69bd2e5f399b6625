package broker_test

import (
	"crypto/rand"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/kafka"
)

func TestForgottenBrokerStaysSmall(t *testing.T) {
	b := start(t, broker.Config{
		Listen:  anyPort,
		Topics:  []broker.Topic{{Name: "orders"}},
		Configs: map[string]string{"log.retention.bytes": "4000000", "log.segment.bytes": "1000000"},
	})
	cl := client(t, b.Cluster(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	value := make([]byte, 100_000)
	for range 1000 { // 100 MB
		_, _ = rand.Read(value)
		require.NoError(t, cl.ProduceSync(soon(t), &kgo.Record{Topic: "orders", Value: value}).FirstErr())
	}
	require.Eventually(t, func() bool {
		starts, err := kafka.StartOffsets(soon(t), cl, "orders")
		return err == nil && starts[0] >= 950
	}, 15*time.Second, 50*time.Millisecond)
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(30_000_000))
	roundTrip(t, b.Cluster(), "orders", 1)
}

func TestBrokerInsideTheProcessKeepsEverything(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{Topics: []broker.Topic{{Name: "orders"}}})
	cl := client(t, b.Cluster())
	for range 10 {
		require.NoError(t, cl.ProduceSync(soon(t), &kgo.Record{Topic: "orders", Timestamp: time.Unix(0, 0)}).FirstErr())
	}
	starts, err := kafka.StartOffsets(soon(t), cl, "orders")
	require.NoError(t, err)
	require.Zero(t, starts[0])
}
