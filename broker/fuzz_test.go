package broker_test

import (
	"encoding/binary"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex/broker"
)

// FuzzBroker throws requests that can be decoded at a broker: a panic in it
// ends the process, and the fuzzer reports the input.
func FuzzBroker(f *testing.F) {
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID("x"))
	for key := range int16(kmsg.MaxKey + 1) {
		if req := kmsg.RequestForKey(key); req != nil {
			for version := range req.MaxVersion() + 1 {
				req.SetVersion(version)
				f.Add(formatter.AppendRequest(nil, req, 7)[4:])
			}
		}
	}
	b, err := broker.Start(broker.Config{Topics: []broker.Topic{{Name: "orders", Partitions: 2}}})
	require.NoError(f, err)
	f.Cleanup(func() { require.NoError(f, b.Close()) })
	f.Fuzz(func(t *testing.T, frame []byte) {
		conn, err := b.Cluster().Dial(t.Context(), "tcp", b.Addrs()[0])
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Millisecond)))
		framed := append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
		if _, err := conn.Write(framed); err != nil {
			return
		}
		_, _ = io.ReadFull(conn, make([]byte, 4)) // an answer, or none
	})
}
