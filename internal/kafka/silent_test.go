package kafka_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
)

// A broker that takes connections and never answers holds up nobody for longer
// than they want to wait.
func TestRequestsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	silent := serve(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	for name, ask := range map[string]func(context.Context, *kgo.Client) error{
		"topics": func(ctx context.Context, cl *kgo.Client) error {
			_, err := kafka.Topics(ctx, cl, "test", "orders")
			return err
		},
		"create": func(ctx context.Context, cl *kgo.Client) error {
			_, err := kafka.EnsureTopic(ctx, cl, "test", "orders", 1)
			return err
		},
		"delete topic": func(ctx context.Context, cl *kgo.Client) error { return kafka.DeleteTopic(ctx, cl, "test", "orders") },
		"delete group": func(ctx context.Context, cl *kgo.Client) error { return kafka.DeleteGroup(ctx, cl, "test", "boards") },
		"offsets": func(ctx context.Context, cl *kgo.Client) error {
			_, err := kafka.EndOffsets(ctx, cl, "orders")
			return err
		},
		"committed": func(ctx context.Context, cl *kgo.Client) error {
			_, err := kafka.CommittedMetadata(ctx, cl, "boards", "orders", 1)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := client(t, duplex.Cluster{Brokers: []string{silent}})
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			began := time.Now()
			require.ErrorIs(t, ask(ctx, cl), duplex.ErrTimeout)
			require.Less(t, time.Since(began), 2*time.Second)
		})
	}
}
