package consumer

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

func noop(context.Context, *kgo.Record) error { return nil }

func TestValidateNamesEveryProblem(t *testing.T) {
	t.Parallel()
	err := Config{
		Handlers:       []Handler{HandleRecord("a b", noop), HandleRecord("orders", noop), HandleRecord("orders", nil)},
		Middleware:     []duplex.Middleware{nil},
		Ordering:       7,
		Concurrency:    100_001,
		MaxBatch:       -1,
		CommitInterval: -time.Second,
		RetryMin:       time.Minute, RetryMax: time.Second,
		RevokeGrace: 40 * time.Second,
		StartOffset: StartAt(time.Unix(-5, 0)),
	}.Validate()
	for _, want := range []string{
		"Cluster.Brokers is empty", `Group = ""`, "Handlers[0]", `position 1 is ' '`, `Handlers[2] for topic "orders" has no function`,
		`topic "orders" has a handler already`, "Middleware[0] is nil", "Ordering = 7", "Concurrency = 100001", "MaxBatch = -1",
		"CommitInterval = -1s", "RetryMax = 1s", "RevokeGrace = 40s", "StartOffset = ",
	} {
		require.ErrorContains(t, err, want)
	}
}

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	cfg := Config{
		Cluster: duplex.Cluster{Brokers: []string{"127.0.0.1:9092"}}, Group: "g",
		Handlers: []Handler{HandleRecord("orders", noop)},
	}
	require.NoError(t, cfg.Validate())
	require.NoError(t, cfg.withDefaults().Validate())
	_, err := New(cfg)
	require.NoError(t, err)
}

func TestNewRefusesOwnedOptions(t *testing.T) {
	t.Parallel()
	cfg := Config{
		Cluster: duplex.Cluster{Brokers: []string{"127.0.0.1:9092"}, KafkaOptions: []kgo.Opt{
			kgo.ConsumerGroup("other"), kgo.OnPartitionsRevoked(func(context.Context, *kgo.Client, map[string][]int32) {}),
			kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(), kgo.MetadataMaxAge(time.Minute),
		}},
		Group: "g", Handlers: []Handler{HandleRecord("orders", noop)},
	}
	_, err := New(cfg)
	for _, want := range []string{"kgo.ConsumerGroup is refused: set consumer.Config.Group", "kgo.OnPartitionsRevoked", "kgo.RequiredAcks", "kgo.DisableIdempotentWrite"} {
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, err.Error(), "MetadataMaxAge")
}

func TestFromContextOutsideOfAHandler(t *testing.T) {
	t.Parallel()
	require.Zero(t, FromContext(t.Context()))
	want := Delivery{Record: &kgo.Record{Topic: "orders"}, Attempt: 3, Generation: 7}
	require.Equal(t, want, FromContext(NewContext(t.Context(), want)))
}
