package broker_test

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex/broker"
)

// dial opens a raw connection to a broker inside the process.
func dial(t *testing.T, b *broker.Broker) net.Conn {
	t.Helper()
	conn, err := b.Cluster().Dial(t.Context(), "tcp", b.Addrs()[0])
	require.NoError(t, err)
	return conn
}

// untilClosed returns how long the broker keeps the connection.
func untilClosed(t *testing.T, conn net.Conn) time.Duration {
	t.Helper()
	begin := time.Now()
	_, err := io.ReadAll(conn)
	require.NoError(t, err)
	return time.Since(begin)
}

// request writes a frame and reads the whole answer.
func request(t *testing.T, conn net.Conn, frame []byte) {
	t.Helper()
	_, err := conn.Write(frame)
	require.NoError(t, err)
	length := make([]byte, 4)
	_, err = io.ReadFull(conn, length)
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(length)))
	require.NoError(t, err)
}

func metadata() []byte {
	return kmsg.NewRequestFormatter().AppendRequest(nil, kmsg.NewPtrMetadataRequest(), 1)
}

func TestSlowConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, err := broker.Start(broker.Config{})
		require.NoError(t, err)
		defer b.Close()

		silent := dial(t, b)
		require.Equal(t, 10*time.Second, untilClosed(t, silent), "one that never speaks")

		trickle := dial(t, b)
		go func() {
			for _, c := range []byte{0, 0, 0, 20, 0, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0} {
				if _, err := trickle.Write([]byte{c}); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		require.Equal(t, 10*time.Second, untilClosed(t, trickle), "one that speaks a byte a second")

		known := dial(t, b)
		request(t, known, metadata())
		time.Sleep(24 * time.Hour)
		request(t, known, metadata()) // an idle client is welcome
		_, err = known.Write([]byte{0, 0, 1, 0, 0, 3})
		require.NoError(t, err)
		require.Equal(t, 30*time.Second, untilClosed(t, known), "one that stops inside a frame")
		require.EqualValues(t, 3, b.Refused())
	})
}

func TestNumberOfConnectionsIsBounded(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{})
	var conns []net.Conn
	for range 4096 {
		conns = append(conns, dial(t, b))
	}
	one := dial(t, b)
	_, err := io.ReadAll(one)
	require.NoError(t, err, "closed")
	require.EqualValues(t, 1, b.Refused())
	request(t, conns[0], metadata())
	require.NoError(t, conns[0].Close())
	require.Eventually(t, func() bool {
		again := dial(t, b)
		defer again.Close()
		_, err := again.Write([]byte{0, 0})
		return err == nil
	}, 10*time.Second, 10*time.Millisecond, "a closed one makes room")
	for _, c := range conns[1:] {
		require.NoError(t, c.Close())
	}
}
