package apptest

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/broker"
)

const anyPort = "127.0.0.1:0"

// Listen starts an embedded broker on a port and closes it when the test ends.
func Listen(t *testing.T, topics ...broker.Topic) *broker.Broker {
	t.Helper()
	b, err := broker.Start(broker.Config{Listen: anyPort, Topics: topics})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// Nobody is an address at which nobody listens.
func Nobody(t *testing.T) string {
	t.Helper()
	l := open(t)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// Silence is an address at which somebody listens and never answers, until the
// test ends.
func Silence(t *testing.T) string {
	t.Helper()
	l := open(t)
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		conns.Wait()
	})
	return l.Addr().String()
}

func open(t *testing.T) net.Listener {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", anyPort)
	require.NoError(t, err)
	return l
}
