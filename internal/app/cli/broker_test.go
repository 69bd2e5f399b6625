package cli_test

import (
	"crypto/rand"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	words "github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
)

// startBroker runs "duplex broker" until the test ends it, and gives its addresses.
func startBroker(t *testing.T, args ...string) (addresses []string, end func(cause error) int) {
	t.Helper()
	p := start(t, nil, append([]string{"broker", "--listen", "127.0.0.1:0"}, args...)...)
	require.Eventually(t, func() bool { return strings.HasSuffix(p.Stdout.String(), "\n") }, 10*time.Second, 5*time.Millisecond, p.Stderr.String())
	end = func(cause error) int {
		p.Signal(cause)
		return p.Wait()
	}
	return strings.Split(strings.TrimSpace(p.Stdout.String()), ","), end
}

func TestBrokerServesUntilItIsTerminated(t *testing.T) {
	t.Parallel()
	addresses, end := startBroker(t, "--nodes", "3", "--topic", "orders:4", "--topic", "payments")
	require.Len(t, addresses, 3)
	cl, err := kafka.NewClient(words.Cluster{Brokers: addresses}, nil)
	require.NoError(t, err)
	topics, err := kafka.Topics(t.Context(), cl, "test", "orders", "payments")
	cl.Close()
	require.NoError(t, err)
	require.Equal(t, []int32{4, 1}, []int32{topics[0].Partitions, topics[1].Partitions})
	require.Equal(t, command.OK, end(command.ErrTerminated))
}

func TestBrokerEndsWhenInterrupted(t *testing.T) {
	t.Parallel()
	_, end := startBroker(t)
	require.Equal(t, command.Interrupted, end(command.ErrInterrupted))
}

func TestBrokerBearsJunkOnItsPort(t *testing.T) {
	t.Parallel()
	addresses, end := startBroker(t, "--topic", "orders")
	noise := make([]byte, 64<<10)
	_, err := rand.Read(noise)
	require.NoError(t, err)
	for name, junk := range map[string][]byte{
		"HTTP":         []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"random bytes": noise,
		"TLS":          {22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3},
	} {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addresses[0])
		require.NoError(t, err)
		_, _ = conn.Write(junk) // it may be thrown out before all of it is there
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(15*time.Second)))
		_, err = conn.Read(make([]byte, 1))
		require.Error(t, err, name)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "%s: the connection was not closed", name)
		require.NoError(t, conn.Close())
	}
	cl, err := kafka.NewClient(words.Cluster{Brokers: addresses}, nil)
	require.NoError(t, err)
	require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Value: []byte("still here")}).FirstErr())
	cl.Close()
	require.Equal(t, command.OK, end(command.ErrTerminated))
}

func TestBrokerSaysThatThePortIsTaken(t *testing.T) {
	t.Parallel()
	addresses, end := startBroker(t)
	_, stderr, code := duplex(t, nil, "broker", "--listen", addresses[0])
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, "address already in use")
	require.Equal(t, command.OK, end(command.ErrTerminated))
}
