package broker_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/kafka"
)

func start(t testing.TB, config broker.Config) *broker.Broker {
	t.Helper()
	b, err := broker.Start(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func client(t testing.TB, c duplex.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kafka.NewClient(c, nil, opts...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}

// soon bounds what a test waits for.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// roundTrip publishes n records and reads them again.
func roundTrip(t testing.TB, c duplex.Cluster, topic string, n int) {
	t.Helper()
	ctx := soon(t)
	cl := client(t, c, kgo.ConsumeTopics(topic))
	sent := map[string]bool{}
	for i := range n {
		r := &kgo.Record{Topic: topic, Value: []byte{byte(i >> 8), byte(i)}}
		require.NoError(t, cl.ProduceSync(ctx, r).FirstErr())
		sent[string(r.Value)] = true
	}
	for len(sent) > 0 {
		fetches := cl.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) { delete(sent, string(r.Value)) })
	}
}
