package kafka_test

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/kafka"
)

const anyPort = "127.0.0.1:0"

// start serves an embedded broker, on a port if config says so.
func start(t *testing.T, config broker.Config) *broker.Broker {
	t.Helper()
	b, err := broker.Start(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

func client(t *testing.T, c duplex.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kafka.NewClient(c, nil, opts...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}

// soon bounds what a test waits for.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// nobody is an address where nobody listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", anyPort)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// serve accepts connections and leaves them to each, which ends when its
// connection is closed.
func serve(t *testing.T, each func(net.Conn)) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", anyPort)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
			go each(conn)
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, l.Close())
		<-done
	})
	return l.Addr().String()
}

// silent takes connections and never answers.
func silent(net.Conn) {}
