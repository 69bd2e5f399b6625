package integration

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/producer"
)

func TestInterruptedProducerPublishesWhatItRead(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	topic := newTopic(t, c, 3)
	p := start(t, "producer", to(c, "--topic", topic, "--key-field", "origin", "--json")...)
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for {
			if _, err := io.WriteString(p.Stdin, departures(100)); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-fed })
	require.Eventually(t, func() bool { return logSize(t, c, topic) > 1000 }, time.Minute, 20*time.Millisecond)
	p.signal(t, syscall.SIGINT)
	require.Equal(t, 130, p.wait(t), p.stderr.String())
	got := parseSummary(t, p.stdout.String())
	require.Equal(t, summary{Read: got.Read, Published: got.Read, Seconds: got.Seconds}, got)
	require.Equal(t, int64(got.Read), logSize(t, c, topic))
}

// A terminal or a pipe that gives nothing more does not keep it from ending.
func TestInterruptedProducerDoesNotWaitForInput(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	topic := newTopic(t, c, 1)
	p := start(t, "producer", to(c, "--topic", topic, "--json")...)
	_, err := io.WriteString(p.Stdin, departures(3)+`{"not":"yet a line"`)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return logSize(t, c, topic) == 3 }, time.Minute, 20*time.Millisecond)
	p.signal(t, syscall.SIGINT)
	require.Equal(t, 130, p.wait(t), p.stderr.String())
	require.Equal(t, 3, parseSummary(t, p.stdout.String()).Published)
	require.Equal(t, int64(3), logSize(t, c, topic))
}

// P5: the program gives up after --timeout when the broker hangs, and says what
// it does not know.
func TestProducerGivesUpOnAFrozenBroker(t *testing.T) {
	t.Parallel()
	n := node(t)
	topic := newTopic(t, n.Cluster(), 1)
	const timeout = 3 * time.Second
	args := to(n.Cluster(), "--topic", topic, "--timeout", timeout.String(), "--json")
	p := start(t, "producer", args...)
	_, err := io.WriteString(p.Stdin, departures(5))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return logSize(t, n.Cluster(), topic) == 5 }, time.Minute, 20*time.Millisecond)

	n.Pause(t)
	began := time.Now()
	_, err = io.WriteString(p.Stdin, departures(10))
	require.NoError(t, err)
	require.NoError(t, p.Stdin.Close())
	require.Equal(t, 1, p.wait(t), p.stderr.String())
	require.Less(t, time.Since(began), 2*timeout+2*time.Second, "once for the records, once to close")
	got := parseSummary(t, p.stdout.String())
	require.Equal(t, 15, got.Read)
	require.Equal(t, 15, got.Published+got.Failed+got.Unknown)
	require.LessOrEqual(t, got.Published, 5)
	require.Positive(t, got.Unknown, "a record that was sent to a frozen broker is not known to be refused")
	require.Contains(t, p.stderr.String(), "outcome-unknown")

	began = time.Now()
	_, stderr, code := run(t, "producer", args, departures(1))
	require.Equal(t, 1, code, stderr)
	require.Contains(t, stderr, "unreachable")
	require.Less(t, time.Since(began), timeout+3*time.Second)

	n.Unpause(t)
	require.Eventually(t, func() bool { return ping(t.Context(), n.Cluster().Brokers) == nil }, 10*time.Second, 100*time.Millisecond)
	size := logSize(t, n.Cluster(), topic)
	require.GreaterOrEqual(t, size, int64(5))
	require.LessOrEqual(t, size, int64(got.Published+got.Unknown), "a record that was called refused is in the log")
}

// P7: a proxy, a published port or a load balancer takes connections for a broker
// that is away, and ends them.
func TestBrokerBehindAProxyIsAway(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	topic, proxy := newTopic(t, c, 3), newGate(t)
	behind := c
	behind.Dial = through(proxy.address())
	p, err := producer.New(producer.Config{Cluster: behind, Timeout: time.Minute})
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close() })
	var stored atomic.Int64
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	publish := func(records int) {
		for i := range records {
			<-tick.C
			r := &kgo.Record{Topic: topic, Key: []byte(strconv.Itoa(i % 20)), Value: []byte("departure")}
			p.PublishAsync(t.Context(), r, func(_ duplex.Position, err error) {
				if assert.NoError(t, err) {
					stored.Add(1)
				}
			})
		}
	}
	const before, meanwhile, after = 100, 600, 100
	publish(before)
	proxy.leave()
	publish(meanwhile)
	require.Less(t, stored.Load(), int64(before+meanwhile), "it was away")
	proxy.comeBack()
	publish(after)
	require.NoError(t, p.Close())
	require.Equal(t, int64(before+meanwhile+after), stored.Load())
	require.Equal(t, stored.Load(), logSize(t, c, topic))
}

// P2: the record is stored, its answer is lost, and the second try is refused. To
// call that a refusal would be wrong; before it was ever sent, it is one.
func TestRefusalAfterALostAnswerIsUnknown(t *testing.T) {
	t.Parallel()
	n := node(t, withRights(withPlainUser("alice", "right")))
	topic := newTopic(t, n.Cluster(), 1)
	alice, lost := n.SASL("alice", "right"), make(chan struct{}) // closed when the answer may get lost
	var cut atomic.Bool
	alice.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &deaf{Conn: conn, lost: lost, cut: &cut}, nil
	}
	publish := func() error {
		p, err := producer.New(producer.Config{Cluster: alice})
		require.NoError(t, err)
		_, err = p.Publish(t.Context(), &kgo.Record{Topic: topic, Value: []byte("stored")})
		require.NoError(t, p.Close())
		return err
	}
	err := publish()
	require.ErrorIs(t, err, duplex.ErrUnauthorized)
	require.NotErrorIs(t, err, duplex.ErrOutcomeUnknown)

	admin := kadm.NewClient(rawClient(t, n.Cluster()))
	may := kadm.NewACLs().Topics(topic).ResourcePatternType(kadm.ACLPatternLiteral).Allow("User:alice").AllowHosts("*").
		Operations(kadm.OpWrite, kadm.OpDescribe)
	mayNow := func() bool {
		topics, err := kadm.NewClient(rawClient(t, n.SASL("alice", "right"))).ListTopics(t.Context(), topic)
		return err == nil && topics[topic].Err == nil
	}
	_, err = admin.CreateACLs(t.Context(), may)
	require.NoError(t, err)
	require.Eventually(t, mayNow, 10*time.Second, 50*time.Millisecond)
	result := make(chan error, 1)
	go func() { result <- publish() }()
	require.Eventually(t, func() bool { return logSize(t, n.Cluster(), topic) == 1 }, 10*time.Second, 10*time.Millisecond, "the record is stored")
	_, err = admin.DeleteACLs(t.Context(), may)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !mayNow() }, 10*time.Second, 50*time.Millisecond)
	close(lost)
	err = <-result
	require.ErrorIs(t, err, duplex.ErrUnauthorized)
	require.ErrorIs(t, err, duplex.ErrOutcomeUnknown)
	require.True(t, cut.Load(), "the first answer was to get lost")
	require.Equal(t, int64(1), logSize(t, n.Cluster(), topic))
}

// deaf is a connection of several; the first of them on which a produce request
// is written gives no answer any more, and breaks when lost is closed.
type deaf struct {
	net.Conn
	lost     chan struct{}
	cut      *atomic.Bool // one is deaf already
	produced atomic.Bool
}

// Write implements net.Conn; the Kafka client writes a request at a time.
func (d *deaf) Write(b []byte) (int, error) {
	const produce = 0
	if len(b) > 6 && binary.BigEndian.Uint16(b[4:]) == produce && !d.cut.Swap(true) {
		d.produced.Store(true)
	}
	return d.Conn.Write(b)
}

// Read implements net.Conn.
func (d *deaf) Read(b []byte) (int, error) {
	n, err := d.Conn.Read(b)
	if d.produced.Load() {
		<-d.lost
		return 0, io.ErrUnexpectedEOF
	}
	return n, err
}

// The programs refuse what cannot work before they do anything.
func TestProgramsRefuseWrongUsage(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		program string
		args    []string
		says    string
	}{
		"producer: unknown flag":    {"producer", []string{"--topic", "t", "--nonsense"}, "nonsense"},
		"consumer: unknown flag":    {"consumer", []string{"--topic", "t", "--group", "g", "--nonsense"}, "nonsense"},
		"producer: bad topic":       {"producer", []string{"--topic", "no topic!"}, "invalid-topic"},
		"consumer: bad topic":       {"consumer", []string{"--topic", "no topic!", "--group", "g"}, "invalid-topic"},
		"producer: no topic":        {"producer", nil, "--topic"},
		"consumer: no topic":        {"consumer", []string{"--group", "g"}, "--topic"},
		"consumer: no group":        {"consumer", []string{"--topic", "t"}, "--group"},
		"consumer: bad start":       {"consumer", []string{"--topic", "t", "--group", "g", "--from", "yesterday"}, "--from"},
		"producer: bad address":     {"producer", []string{"--topic", "t", "--brokers", "nowhere"}, "host:port"},
		"producer: no such file":    {"producer", []string{"--topic", "t", "/nowhere/at/all"}, "/nowhere/at/all"},
		"producer: no such setting": {"producer", []string{"--topic", "t", "--config", "/nowhere/at/all"}, "/nowhere/at/all"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := run(t, test.program, test.args, "")
			require.Equal(t, 2, code, stderr)
			require.Contains(t, stderr, test.says)
			require.Empty(t, stdout)
		})
	}
}
