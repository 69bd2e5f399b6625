package broker_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/kafka"
)

// send opens a connection, writes data and waits until the broker closes it, or
// for as long as wait. It returns what the broker sent.
func send(t *testing.T, address string, data []byte) []byte {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(soon(t), "tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(5*time.Second)))
	if _, err := conn.Write(data); err != nil {
		return nil // closed while we wrote: that is an answer too
	}
	answer, err := io.ReadAll(conn)
	var timeout net.Error
	require.False(t, errors.As(err, &timeout) && timeout.Timeout(), "the broker kept the connection open after %.40q", data)
	return answer
}

func frame(key, version int16, body ...byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	return append(append(b, 0, 0, 0, 1), body...)
}

func junk() map[string][]byte {
	whole := kmsg.NewRequestFormatter(kmsg.FormatterClientID("x")).AppendRequest(nil, kmsg.NewPtrMetadataRequest(), 1)
	return map[string][]byte{
		"http":             []byte("GET / HTTP/1.1\r\nHost: localhost:9092\r\n\r\n"),
		"tls":              {0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03},
		"ssh":              []byte("SSH-2.0-OpenSSH_9.6\r\n"),
		"huge length":      {0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 12},
		"negative length":  {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 12},
		"no length":        {0, 0, 0, 0, 0, 0, 0, 0},
		"short":            {0, 0, 0, 4, 0, 3, 0, 1},
		"unknown key":      frame(999, 0, 0, 0),
		"negative key":     frame(-1, 0, 0, 0),
		"key kfake lacks":  frame(int16(kmsg.CreateDelegationToken), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		"bad version":      frame(3, 99, 0, 0),
		"negative version": frame(3, -1, 0, 0),
		"bad client ID":    frame(3, 1, 0x7f, 0xff, 'x'),
		"bad body":         frame(3, 1, 0, 0, 0x7f, 0xff, 0xff, 0xff),
		"second bad":       append(bytes.Clone(whole), frame(999, 0, 0, 0)...),
	}
}

func TestJunkIsRefusedAndClientsGoOn(t *testing.T) {
	logs, observed := observer.New(zap.WarnLevel)
	b := start(t, broker.Config{Listen: anyPort, Logger: zap.New(logs), Topics: []broker.Topic{{Name: "orders"}}})
	ctx, cl := soon(t), client(t, b.Cluster(), kgo.ConsumeTopics("orders"))

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	publish := func() error {
		return cl.ProduceSync(ctx, &kgo.Record{Topic: "orders", Value: []byte("steady")}).FirstErr()
	}
	require.NoError(t, publish())
	stop, steady := make(chan struct{}), sync.WaitGroup{}
	var published, failed int
	steady.Go(func() { // a client like any other, meanwhile
		for {
			select {
			case <-stop:
				return
			default:
			}
			if publish() != nil {
				failed++
			}
			published++
		}
	})
	cases := junk()
	for name, data := range cases {
		t.Run(name, func(t *testing.T) { send(t, b.Addrs()[0], data) })
	}
	runtime.ReadMemStats(&after)
	close(stop)
	steady.Wait()

	require.Equal(t, len(cases)-1, int(b.Refused()), "kfake itself closes on a request it lacks")
	require.Equal(t, 1, observed.FilterMessageSnippet("does not speak Kafka").Len(), "one line, not one each")
	require.Less(t, after.Sys-before.Sys, uint64(64<<20), "an announced length costs nothing")
	require.Positive(t, published)
	require.Zero(t, failed)
}

func TestRandomBytesAreRefused(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{Listen: anyPort})
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(uint64(seed), 0))
	for range 200 {
		data := make([]byte, 16+random.IntN(4096))
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		data[0] |= 0x80 // else it may be the start of a frame that goes on
		send(t, b.Addrs()[0], data)
	}
	require.EqualValues(t, 200, b.Refused())
	require.NoError(t, kafka.Ping(soon(t), client(t, b.Cluster()), "test"))
}

func TestConnectionThatEndsInsideAFrame(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{Listen: anyPort})
	whole := frame(3, 1, 0, 0, 0, 0, 0, 0)
	for cut := 1; cut < len(whole); cut++ {
		var dialer net.Dialer
		conn, err := dialer.DialContext(soon(t), "tcp", b.Addrs()[0])
		require.NoError(t, err)
		_, err = conn.Write(whole[:cut])
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
	require.NoError(t, kafka.Ping(soon(t), client(t, b.Cluster()), "test"))
}

func TestFrameInPiecesIsServed(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{})
	conn, err := b.Cluster().Dial(soon(t), "tcp", b.Addrs()[0])
	require.NoError(t, err)
	defer conn.Close()
	request := kmsg.NewRequestFormatter(kmsg.FormatterClientID("x")).AppendRequest(nil, kmsg.NewPtrMetadataRequest(), 77)
	for i := range request { // a pipe hands over every write by itself
		_, err := conn.Write(request[i : i+1])
		require.NoError(t, err)
	}
	head := make([]byte, 8)
	_, err = io.ReadFull(conn, head)
	require.NoError(t, err)
	require.EqualValues(t, 77, binary.BigEndian.Uint32(head[4:]))
}

func TestLargeRecordsPass(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{
		Listen: anyPort, Configs: map[string]string{"message.max.bytes": "20000000"}, Topics: []broker.Topic{{Name: "orders"}},
	})
	cl := client(t, b.Cluster(), kgo.ConsumeTopics("orders"), kgo.ProducerBatchMaxBytes(20_000_000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	value := make([]byte, 15_000_000)
	for i := range value {
		value[i] = byte(i * 7)
	}
	require.NoError(t, cl.ProduceSync(soon(t), &kgo.Record{Topic: "orders", Value: value}).FirstErr())
	records := cl.PollFetches(soon(t)).Records()
	require.Len(t, records, 1)
	require.True(t, bytes.Equal(value, records[0].Value))
}

func TestUnknownUserWithoutPassword(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{Users: []broker.User{{Mechanism: duplex.SASLPlain, Name: "ann", Password: "correct horse"}}})
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID("x"))
	for credentials, welcome := range map[string]bool{"\x00ann\x00correct horse": true, "\x00nobody\x00": false, "\x00ann\x00": false} {
		conn := dial(t, b)
		handshake := kmsg.NewPtrSASLHandshakeRequest()
		handshake.Version, handshake.Mechanism = 1, "PLAIN"
		request(t, conn, formatter.AppendRequest(nil, handshake, 1))
		authenticate := kmsg.NewPtrSASLAuthenticateRequest()
		authenticate.SASLAuthBytes = []byte(credentials)
		_, err := conn.Write(formatter.AppendRequest(nil, authenticate, 2))
		require.NoError(t, err)
		_, err = io.ReadFull(conn, make([]byte, 4))
		require.Equal(t, welcome, err == nil, "%q", credentials)
		require.NoError(t, conn.Close())
	}
}
