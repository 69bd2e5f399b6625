package ingest_test

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/command"
)

// margin is how much later than its deadline a program may end on a busy
// machine.
const margin = 5 * time.Second

func TestTimeoutBoundsTheSearchForACluster(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]func(*testing.T) string{"nobody listens": apptest.Nobody, "nobody answers": apptest.Silence} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			p := start(t, strings.NewReader("1\n"), nil, "-t", "orders", "--json", "--timeout", "2500ms", "--brokers", address(t))
			require.Equal(t, 1, p.Wait(), p.Stderr.String())
			require.GreaterOrEqual(t, time.Since(began), 2*time.Second, "it did not try again")
			require.Less(t, time.Since(began), 2500*time.Millisecond+margin)
			require.Contains(t, p.Stderr.String(), "unreachable")
			require.Contains(t, p.Stderr.String(), "no answer from 127.0.0.1")
			p.counts(t, 0, 0, 0, 0)
		})
	}
}

// hang has b take produce requests and answer them only when the test ends.
func hang(t *testing.T, b *broker.Broker) (asked <-chan struct{}) {
	t.Helper()
	release, requests := make(chan struct{}), make(chan struct{}, 1000)
	b.Kfake().ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.Kfake().KeepControl()
		requests <- struct{}{}
		b.Kfake().SleepControl(func() { <-release })
		return nil, nil, false
	})
	t.Cleanup(func() { close(release) })
	return requests
}

func TestRecordsOfAHungBrokerAreUnknown(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	hang(t, b)
	began := time.Now()
	p, code := run(t, b, "1\n2\n3\n", "-t", "orders", "--json", "--timeout", "1s")
	require.Equal(t, 1, code)
	require.Less(t, time.Since(began), time.Second+margin)
	s := p.summary(t)
	require.Equal(t, 3, *s.Read)
	require.Equal(t, 0, *s.Published)
	require.Positive(t, *s.Unknown)
	require.Equal(t, *s.Read, *s.Failed+*s.Unknown)
	require.Contains(t, p.Stderr.String(), "standard input, line 1: ")
	require.Contains(t, p.Stderr.String(), "outcome-unknown")
}

func TestFailureOfTheClusterEndsTheReading(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	b.Kfake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.TopicAuthorizationFailed, Count: -1})
	in := &endless{line: "1\n"}
	p := start(t, in, nil, "-t", "orders", "--json", "--timeout", "5s", "--brokers", b.Addrs()[0], "--skip-invalid")
	require.Equal(t, 1, p.Wait())
	s := p.summary(t)
	require.Zero(t, *s.Published+*s.Skipped)
	require.Equal(t, *s.Read, *s.Failed+*s.Unknown)
	require.Contains(t, p.Stderr.String(), "unauthorized")
}

// endless is input that does not end.
type endless struct{ line string }

func (e *endless) Read(b []byte) (int, error) {
	n := 0
	for n+len(e.line) <= len(b) {
		n += copy(b[n:], e.line)
	}
	return n, nil
}

func TestSignalPublishesWhatWasRead(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]error{"SIGINT": command.ErrInterrupted, "SIGTERM": command.ErrTerminated} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := apptest.Listen(t, broker.Topic{Name: "orders"})
			in, feed := io.Pipe()
			defer feed.Close()
			// A broker that takes its time: the records are under way when the signal comes.
			slow := make(chan struct{})
			asked := make(chan struct{}, 100)
			b.Kfake().ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
				asked <- struct{}{}
				b.Kfake().SleepControl(func() { <-slow })
				return nil, nil, false
			})
			p := start(t, in, nil, "-t", "orders", "--json", "--brokers", b.Addrs()[0])
			_, err := io.WriteString(feed, "1\n2\n3\n")
			require.NoError(t, err)
			<-asked
			p.Signal(cause)
			close(slow)
			require.Equal(t, 130, p.Wait(), p.Stderr.String())
			s := p.summary(t)
			require.Positive(t, *s.Read)
			require.Equal(t, *s.Read, *s.Published)
			require.Contains(t, p.Stderr.String(), "interrupted: read ")
			log(t, b, "orders", *s.Published)
		})
	}
}

func TestSignalWhileTheBufferIsFullFailsNothing(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	slow := make(chan struct{})
	asked := make(chan struct{}, 100)
	b.Kfake().ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		asked <- struct{}{}
		b.Kfake().SleepControl(func() { <-slow })
		return nil, nil, false
	})
	in := &counting{in: &endless{line: strings.Repeat("x", 999) + "\n"}}
	p := start(t, in, nil, "-t", "orders", "--format", "lines", "--json", "--brokers", b.Addrs()[0])
	<-asked
	before := int64(-1)
	require.Eventually(t, func() bool { // it waits for room
		now := in.total()
		still := now == before
		before = now
		return still
	}, 20*time.Second, 200*time.Millisecond)
	p.Signal(command.ErrInterrupted)
	close(slow)
	require.Equal(t, 130, p.Wait(), p.Stderr.String())
	s := p.summary(t)
	require.Equal(t, *s.Read, *s.Published)
	log(t, b, "orders", *s.Published)
}

// counting counts what is read.
type counting struct {
	in io.Reader
	mu sync.Mutex
	n  int64
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.in.Read(b)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += int64(n)
	return n, err
}

func (c *counting) total() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func TestSignalEndsTheSearchForACluster(t *testing.T) {
	t.Parallel()
	for name, cause := range map[string]error{"SIGINT": command.ErrInterrupted, "SIGTERM": command.ErrTerminated} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			p := start(t, strings.NewReader("1\n"), nil, "-t", "orders", "--json", "--brokers", apptest.Silence(t))
			p.Signal(cause)
			require.Equal(t, 130, p.Wait(), p.Stderr.String())
			require.Less(t, time.Since(began), margin)
			p.counts(t, 0, 0, 0, 0)
		})
	}
}

func TestInputThatFailsIsReported(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"lines", `%v\n`} {
		b := apptest.Listen(t, broker.Topic{Name: "orders"})
		in := io.MultiReader(strings.NewReader("1\n2\n"), failing{})
		p := start(t, in, nil, "-t", "orders", "--format", format, "--json", "--brokers", b.Addrs()[0])
		require.Equal(t, 1, p.Wait())
		require.Contains(t, p.Stderr.String(), "the cable is out")
		p.counts(t, 2, 2, 0, 0)
		log(t, b, "orders", 2)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error)  { return 0, errors.New("the cable is out") }
func (failing) Write([]byte) (int, error) { return 0, errors.New("the disk is full") }
