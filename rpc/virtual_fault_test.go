//go:build synctests

package rpc_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/rpc"
)

// line is the network of one side, with faults by the kind of request: what is lost never
// reaches the broker; to what is silent the broker answers, and nobody hears it.
type line struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu        sync.Mutex
	cut, away bool
	lost      map[kmsg.Key]bool
	silent    map[kmsg.Key]chan struct{} // closed when answers come again
	conns     []net.Conn
}

func newLine(c duplex.Cluster) (*line, duplex.Cluster) {
	l := &line{dial: c.Dial, lost: map[kmsg.Key]bool{}, silent: map[kmsg.Key]chan struct{}{}}
	c.Dial = l.connect
	return l, c
}

func (l *line) connect(ctx context.Context, network, address string) (net.Conn, error) {
	l.mu.Lock()
	cut, away := l.cut, l.away
	l.mu.Unlock()
	if cut {
		return nil, net.ErrClosed
	}
	if away {
		conn, _ := net.Pipe()
		return endsAtOnce{conn}, nil
	}
	conn, err := l.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &lineConn{Conn: conn, line: l, gone: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, c)
	return c, nil
}

// sever closes all connections, and has no new one be made.
func (l *line) sever() { l.end(&l.cut) }

// leave takes the brokers away behind a proxy, which goes on accepting connections and
// ends them.
func (l *line) leave() { l.end(&l.away) }

func (l *line) end(how *bool) {
	l.mu.Lock()
	*how = true
	conns := l.conns
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
}

// endsAtOnce takes what is written, and is at its end.
type endsAtOnce struct{ net.Conn }

func (endsAtOnce) Write(b []byte) (int, error) { return len(b), nil }
func (endsAtOnce) Read([]byte) (int, error)    { return 0, io.EOF }

func (l *line) lose(keys ...kmsg.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		l.lost[k] = true
	}
}

func (l *line) silence(keys ...kmsg.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		l.silent[k] = make(chan struct{})
	}
}

func (l *line) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.away = false, false
	clear(l.lost)
	for _, c := range l.silent {
		close(c)
	}
	clear(l.silent)
}

func (l *line) faults(k kmsg.Key) (lost bool, silent chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost[k], l.silent[k]
}

// lineConn is a connection of Kafka's client, which writes a request at a time.
type lineConn struct {
	net.Conn
	line *line
	once sync.Once
	gone chan struct{}

	key      atomic.Int32 // of the last request
	muted    atomic.Pointer[chan struct{}]
	deadline atomic.Pointer[time.Time]
}

func (c *lineConn) Write(b []byte) (int, error) {
	const keyAt = 4
	if len(b) >= keyAt+2 {
		c.key.Store(int32(b[keyAt])<<8 | int32(b[keyAt+1]))
	}
	lost, silent := c.line.faults(kmsg.Key(c.key.Load()))
	if lost {
		return len(b), nil
	}
	if silent != nil { // what comes after it on this connection waits, too
		c.muted.Store(&silent)
	}
	return c.Conn.Write(b)
}

func (c *lineConn) SetReadDeadline(at time.Time) error {
	c.deadline.Store(&at)
	return c.Conn.SetReadDeadline(at)
}

func (c *lineConn) Close() error {
	c.once.Do(func() { close(c.gone) })
	return c.Conn.Close()
}

func (c *lineConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	_, silent := c.line.faults(kmsg.Key(c.key.Load()))
	if muted := c.muted.Load(); muted != nil {
		silent = *muted
	}
	if err != nil || silent == nil {
		return n, err
	}
	var passed <-chan time.Time
	if at := c.deadline.Load(); at != nil && !at.IsZero() {
		timer := time.NewTimer(time.Until(*at))
		defer timer.Stop()
		passed = timer.C
	}
	select {
	case <-silent:
		return n, nil
	case <-passed:
		return 0, os.ErrDeadlineExceeded
	case <-c.gone:
		return 0, net.ErrClosed
	}
}

// faultWorld is a caller and a server, each with a line of its own.
type faultWorld struct {
	t              *testing.T
	broker         *broker.Broker
	caller, server *line
	client         *rpc.Client
	plain, safe    rpc.Method[time.Duration, bool]
	ran            atomic.Int64
}

// faultCase is what goes wrong when a call is in one of its states, and what its caller
// sees.
type faultCase struct {
	name string
	// before the client is made, or once it has had an answer.
	before, during func(w *faultWorld)
	works          time.Duration // the handler
	timeout        time.Duration
	safe           bool
	stranger       bool // the call is to a service that was not called before

	code     rpc.Code // "" for an answer
	executed rpc.Executed
	ends     time.Duration // after the call, exactly
	ran      int64
	late     int64 // replies that come in the end: to say that the request was too old, if it never ran
}

func faultCases() []faultCase {
	const second = time.Second
	idle := func(more func(w *faultWorld)) func(w *faultWorld) {
		return func(w *faultWorld) {
			time.Sleep(time.Minute) // nothing is known for sure any more
			more(w)
		}
	}
	refuse := func(err *kerr.Error, keep bool) func(w *faultWorld) {
		return func(w *faultWorld) { w.refuse(rpc.RequestTopic("clock"), err, keep) }
	}
	return []faultCase{
		{name: "not ready: nobody is there", before: func(w *faultWorld) { w.caller.sever() }, timeout: 3 * second,
			code: rpc.Unavailable, executed: rpc.Never, ends: 3 * second},
		{name: "not ready: the topic of replies is not described", before: func(w *faultWorld) { w.caller.silence(kmsg.Metadata) }, timeout: 3 * second,
			code: rpc.Unavailable, executed: rpc.Never, ends: 3 * second},
		{name: "not ready: the end of the replies is not told", before: func(w *faultWorld) { w.caller.silence(kmsg.ListOffsets) }, timeout: 3 * second,
			code: rpc.Unavailable, executed: rpc.Never, ends: 3 * second},
		{name: "looking for a server: the coordinator is silent", during: idle(func(w *faultWorld) { w.caller.silence(kmsg.DescribeGroups) }), timeout: 3 * second,
			ends: second, ran: 1},
		{name: "looking for a server: the deadline comes first", during: idle(func(w *faultWorld) { w.caller.silence(kmsg.DescribeGroups) }),
			timeout: 300 * time.Millisecond, code: rpc.DeadlineExceeded, executed: rpc.Never, ends: 300 * time.Millisecond},
		{name: "looking for a server: it left, and the service is empty", during: idle(func(w *faultWorld) { w.server.sever(); time.Sleep(time.Minute) }),
			timeout: 3 * second, code: rpc.Unavailable, executed: rpc.Never},
		{name: "looking for the topic: metadata is silent", during: func(w *faultWorld) { w.caller.silence(kmsg.Metadata) }, stranger: true, timeout: 3 * second,
			code: rpc.Unavailable, executed: rpc.Never, ends: 3 * second},
		{name: "looking at the topic: metadata is silent", during: idle(func(w *faultWorld) { w.caller.silence(kmsg.Metadata) }), timeout: 3 * second,
			ends: -1, ran: 1}, // what comes after it on its connection may wait, and says nothing, either
		{name: "buffered: the request is lost", during: func(w *faultWorld) { w.caller.lose(kmsg.Produce) }, timeout: 3 * second,
			code: rpc.DeadlineExceeded, executed: rpc.Maybe, ends: 3 * second, late: 1},
		{name: "buffered: all lines are cut", during: func(w *faultWorld) { w.caller.sever() }, timeout: 3 * second,
			code: rpc.DeadlineExceeded, executed: rpc.Maybe, ends: 3 * second, late: 1},
		{name: "buffered: its partition has no leader", during: refuse(kerr.NotLeaderForPartition, true), timeout: 3 * second,
			code: rpc.DeadlineExceeded, executed: rpc.Maybe, ends: 3 * second, ran: 1, late: 1},
		{name: "buffered: its partition has no leader for a moment", during: refuse(kerr.NotLeaderForPartition, false), timeout: 3 * second, ran: 1, ends: -1},
		{name: "buffered: it is refused for good", during: refuse(kerr.TopicAuthorizationFailed, true), timeout: 3 * second,
			code: rpc.Unavailable, executed: rpc.Maybe},
		{name: "buffered: it is refused once, and the method is Safe", during: refuse(kerr.TopicAuthorizationFailed, false), timeout: 3 * second, safe: true,
			ran: 1, ends: -1},
		{name: "buffered: it is too large", during: refuse(kerr.MessageTooLarge, true), timeout: 3 * second,
			code: rpc.InvalidArgument, executed: rpc.Never},
		{name: "acknowledged: and the caller does not hear of it", during: func(w *faultWorld) { w.caller.silence(kmsg.Produce) }, timeout: 3 * second,
			ran: 1},
		{name: "acknowledged: no server fetches", during: func(w *faultWorld) { w.server.sever() }, timeout: 3 * second,
			code: rpc.DeadlineExceeded, executed: rpc.Maybe, ends: 3 * second, late: 1},
		{name: "at work: for too long", works: 4 * second, timeout: 3 * second,
			code: rpc.DeadlineExceeded, executed: rpc.Maybe, ends: 3 * second, ran: 1, late: 1},
		{name: "answered: the reply is lost", during: func(w *faultWorld) { w.server.lose(kmsg.Produce) }, timeout: 3 * second,
			code: rpc.DeadlineExceeded, executed: rpc.Maybe, ends: 3 * second, ran: 1, late: 1},
		{name: "answered: the reply is refused once", during: func(w *faultWorld) { w.refuse(rpc.ReplyTopic("desk"), kerr.PolicyViolation, false) },
			timeout: 3 * second, ran: 1, ends: -1},
		{name: "answered: the server does not hear that the reply is stored", during: func(w *faultWorld) { w.server.silence(kmsg.Produce) }, timeout: 3 * second,
			ran: 1},
		{name: "answered: the caller does not get the reply", during: func(w *faultWorld) { w.caller.silence(kmsg.Fetch) }, timeout: 3 * second,
			code: rpc.DeadlineExceeded, executed: rpc.Maybe, ends: 3 * second, ran: 1, late: 1},
	}
}

// A call in each of its states, with each fault that can befall it there: it ends once,
// exactly at its deadline unless something is known before, and no error says never of one
// that ran.
func TestVirtualFaultsInEachStateOfACall(t *testing.T) {
	for _, of := range faultCases() {
		for _, later := range []bool{false, true} {
			name := of.name
			if later {
				name += ", with Go"
			}
			t.Run(name, func(t *testing.T) {
				duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) { of.run(t, b, later) })
			})
		}
	}
}

func (of *faultCase) run(t *testing.T, b *broker.Broker, later bool) {
	w := &faultWorld{t: t, broker: b, plain: rpc.Method[time.Duration, bool]{Service: "clock", Name: "Wait"}}
	w.safe = w.plain
	w.safe.Name, w.safe.Safe = "SafeWait", true
	handle := func(_ context.Context, d time.Duration) (bool, error) {
		w.ran.Add(1)
		time.Sleep(d)
		return true, nil
	}
	var serving, calling duplex.Cluster
	w.server, serving = newLine(b.Cluster())
	w.caller, calling = newLine(b.Cluster())
	serve(t, rpc.ServerConfig{Cluster: serving, SessionTimeout: 6 * time.Second, Handlers: []rpc.Handler{rpc.Handle(w.plain, handle), rpc.Handle(w.safe, handle)}})
	time.Sleep(5 * time.Second)
	if of.before != nil {
		of.before(w)
	}
	w.client = client(t, rpc.ClientConfig{Cluster: calling})
	t.Cleanup(w.caller.heal)
	t.Cleanup(w.server.heal)
	if of.before == nil {
		_, err := rpc.Call(within(t, time.Minute), w.client, w.plain, 0)
		require.NoError(t, err)
		w.ran.Store(0)
		time.Sleep(time.Second) // all is acknowledged
	}
	if of.during != nil {
		of.during(w)
	}
	m := w.plain
	if of.safe {
		m = w.safe
	}
	if of.stranger {
		m.Service = "another"
	}
	ctx := within(t, of.timeout)
	began := time.Now()
	var err error
	if later {
		p := rpc.Go(ctx, w.client, m, of.works)
		_, err = p.Wait(t.Context())
	} else {
		_, err = rpc.Call(ctx, w.client, m, of.works)
	}
	took := time.Since(began)
	require.Equal(t, of.code, rpc.CodeOf(err), "%v", err)
	if err != nil {
		require.Equal(t, of.executed, rpc.ExecutedOf(err), "%v", err)
	}
	if of.ends >= 0 {
		require.Equal(t, of.ends, took)
	}
	require.LessOrEqual(t, took, of.timeout)

	time.Sleep(2 * time.Second)
	w.caller.heal()
	w.server.heal()
	time.Sleep(time.Minute)
	require.Equal(t, of.ran, w.ran.Load(), "runs")
	require.Equal(t, []int64{0, of.late}, []int64{w.client.Status().Counts["pending"], w.client.Status().Counts["late"]})
	_, err = rpc.Call(within(t, time.Minute), w.client, w.plain, 0)
	require.NoError(t, err, "calls flow again")
}

// refuse has the broker refuse what is written to a topic, once or for a while.
func (w *faultWorld) refuse(topic string, why *kerr.Error, always bool) {
	kafka := w.broker.Kfake()
	id := kafka.TopicInfo(topic).TopicID
	var n atomic.Int64
	until := time.Now().Add(4 * time.Second)
	kafka.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		kafka.KeepControl()
		r, _ := req.(*kmsg.ProduceRequest)
		if len(r.Topics) == 0 || (r.Topics[0].Topic != topic && r.Topics[0].TopicID != id) || time.Now().After(until) {
			return nil, nil, false
		}
		if n.Add(1) > 1 && !always {
			return nil, nil, false
		}
		resp, _ := r.ResponseKind().(*kmsg.ProduceResponse)
		for _, of := range r.Topics {
			topic := kmsg.NewProduceResponseTopic()
			topic.Topic, topic.TopicID = of.Topic, of.TopicID
			for _, p := range of.Partitions {
				partition := kmsg.NewProduceResponseTopicPartition()
				partition.Partition, partition.ErrorCode = p.Partition, why.Code
				topic.Partitions = append(topic.Partitions, partition)
			}
			resp.Topics = append(resp.Topics, topic)
		}
		return resp, nil, true
	})
}

// Replies that come at the very moment of the deadline: each call ends once, at its
// deadline at the latest, and every reply is accounted for.
func TestVirtualRepliesThatRaceTheDeadline(t *testing.T) {
	duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
		const timeout, calls = 100 * time.Millisecond, 200
		m := rpc.Method[time.Duration, bool]{Service: "clock", Name: "Wait", Timeout: timeout}
		serve(t, rpc.ServerConfig{Cluster: b.Cluster(), Concurrency: 10 * calls, Handlers: []rpc.Handler{rpc.Handle(m, func(_ context.Context, d time.Duration) (bool, error) {
			time.Sleep(d)
			return true, nil
		})}})
		c := client(t, rpc.ClientConfig{Cluster: b.Cluster(), WaitForServer: true})
		_, err := rpc.Call(within(t, time.Minute), c, m, 0)
		require.NoError(t, err)
		var answered, expired atomic.Int64
		var wg sync.WaitGroup
		for i := range calls {
			d := timeout + time.Duration(i%5-2)*time.Microsecond
			for _, call := range []func() error{
				func() error { _, err := rpc.Call(t.Context(), c, m, d); return err },
				func() error { _, err := rpc.Go(t.Context(), c, m, d).Wait(t.Context()); return err },
			} {
				wg.Go(func() {
					began := time.Now()
					err := call()
					took := time.Since(began)
					switch {
					case err == nil:
						answered.Add(1)
					case errors.Is(err, rpc.DeadlineExceeded) && rpc.ExecutedOf(err) == rpc.Maybe:
						expired.Add(1)
					default:
						t.Error(err)
					}
					if took > timeout || (err != nil && took != timeout) {
						t.Errorf("it took %s: %v", took, err)
					}
				})
			}
		}
		wg.Wait()
		require.EqualValues(t, 2*calls, answered.Load()+expired.Load())
		require.Positive(t, answered.Load())
		require.Positive(t, expired.Load())
		time.Sleep(time.Minute)
		n := c.Status().Counts
		t.Logf("%d answered, %d at their deadlines", answered.Load(), expired.Load())
		require.Equal(t, []int64{0, expired.Load(), 0, 0}, []int64{n["pending"], n["late"], n["duplicate"], n["unknown"]})
		synctest.Wait()
	})
}

// A call never waits for a question that another one has asked longer than it may.
func TestVirtualImpatientCallBesideAPatientOne(t *testing.T) {
	duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
		m := rpc.Method[int, bool]{Service: "clock", Name: "Ask"}
		serve(t, rpc.ServerConfig{Cluster: b.Cluster(), Handlers: []rpc.Handler{rpc.Handle(m, func(context.Context, int) (bool, error) { return true, nil })}})
		caller, cluster := newLine(b.Cluster())
		c := client(t, rpc.ClientConfig{Cluster: cluster, WaitForServer: true})
		_, err := rpc.Call(within(t, time.Minute), c, m, 0)
		require.NoError(t, err)
		time.Sleep(time.Minute)
		caller.silence(kmsg.DescribeGroups)
		t.Cleanup(caller.heal)
		patient := make(chan error, 1)
		go func() { _, err := rpc.Call(within(t, 10*time.Second), c, m, 0); patient <- err }()
		synctest.Wait()
		began := time.Now()
		_, err = rpc.Call(within(t, 50*time.Millisecond), c, m, 0)
		require.Equal(t, 50*time.Millisecond, time.Since(began))
		require.ErrorIs(t, err, rpc.DeadlineExceeded)
		require.Equal(t, rpc.Never, rpc.ExecutedOf(err))
		require.NoError(t, <-patient)
		require.Equal(t, time.Second, time.Since(began), "a coordinator that says nothing is not waited for")
	})
}

// Closing a client ends the calls in all their states at once.
func TestVirtualCloseEndsCallsInEachState(t *testing.T) {
	for name, of := range map[string]struct {
		fault    func(b *broker.Broker, caller *line, during bool)
		executed rpc.Executed
	}{
		"not ready": {func(_ *broker.Broker, caller *line, during bool) {
			if !during {
				caller.silence(kmsg.ListOffsets)
			}
		}, rpc.Never},
		"looking for a server": {func(_ *broker.Broker, caller *line, during bool) {
			if during {
				time.Sleep(time.Minute)
				caller.silence(kmsg.DescribeGroups, kmsg.Produce)
			}
		}, rpc.Never},
		"looking for the topic": {func(_ *broker.Broker, caller *line, during bool) {
			if during {
				caller.silence(kmsg.Metadata, kmsg.Produce)
			}
		}, rpc.Never},
		"sent": {func(_ *broker.Broker, caller *line, during bool) {
			if during {
				caller.lose(kmsg.Produce)
			}
		}, rpc.Maybe},
		"not ready any more": {func(b *broker.Broker, caller *line, during bool) {
			if during { // and its claim cannot be given back
				caller.silence(kmsg.ListOffsets, kmsg.Produce)
				_ = b.Kfake().DeleteTopic(rpc.ReplyTopic("desk"))
				time.Sleep(time.Minute)
			}
		}, rpc.Never},
		"at work": {func(*broker.Broker, *line, bool) {}, rpc.Maybe},
	} {
		t.Run(name, func(t *testing.T) {
			duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
				m := rpc.Method[bool, bool]{Service: "clock", Name: "Ask"}
				serve(t, rpc.ServerConfig{Cluster: b.Cluster(), Handlers: []rpc.Handler{rpc.Handle(m, func(ctx context.Context, long bool) (bool, error) {
					if long {
						<-ctx.Done()
					}
					return true, nil
				})}})
				time.Sleep(5 * time.Second)
				caller, cluster := newLine(b.Cluster())
				of.fault(b, caller, false)
				t.Cleanup(caller.heal)
				c, err := rpc.NewClient(rpc.ClientConfig{Cluster: cluster, Service: "desk"})
				require.NoError(t, err)
				if name != "not ready" {
					_, err := rpc.Call(within(t, time.Minute), c, m, false)
					require.NoError(t, err)
				}
				of.fault(b, caller, true)
				if name == "looking for the topic" {
					m.Service = "another"
				}
				ended := make(chan error, 2)
				go func() { _, err := rpc.Call(within(t, time.Minute), c, m, true); ended <- err }()
				go func() { _, err := rpc.Go(within(t, time.Minute), c, m, true).Wait(t.Context()); ended <- err }()
				time.Sleep(300 * time.Millisecond)
				require.Empty(t, ended)
				began := time.Now()
				closed := make(chan error, 1)
				go func() { closed <- c.Close() }()
				for range 2 {
					err := <-ended
					require.ErrorIs(t, err, rpc.Canceled)
					require.Equal(t, of.executed, rpc.ExecutedOf(err), "%v", err)
				}
				require.Zero(t, time.Since(began))
				caller.heal()
				require.NoError(t, <-closed)
				require.Zero(t, c.Status().Counts["pending"])
			})
		})
	}
}

// A topic of replies that goes, or is another one all of a sudden, ends the calls under way
// soon, and others are answered through what is there then. A leader that moves ends none.
func TestVirtualTopicOfRepliesGoes(t *testing.T) {
	for name, of := range map[string]struct {
		harm func(t *testing.T, b *broker.Broker, topic string)
		ends bool
	}{
		"deleted": {func(t *testing.T, b *broker.Broker, topic string) {
			require.NoError(t, b.Kfake().DeleteTopic(topic))
		}, true},
		"made again": {func(t *testing.T, b *broker.Broker, topic string) {
			require.NoError(t, b.Kfake().DeleteTopic(topic))
			require.NoError(t, b.CreateTopic(broker.Topic{Name: topic, Partitions: 16}))
		}, true},
		"made again, smaller": {func(t *testing.T, b *broker.Broker, topic string) {
			require.NoError(t, b.Kfake().DeleteTopic(topic))
			require.NoError(t, b.CreateTopic(broker.Topic{Name: topic, Partitions: 1}))
		}, true},
		"led by another broker": {func(t *testing.T, b *broker.Broker, topic string) {
			for p := range int32(16) {
				leader := b.Kfake().LeaderFor(topic, p)
				require.NoError(t, b.Kfake().MoveTopicPartition(topic, p, (leader+1)%3))
			}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, err := broker.Start(broker.Config{Brokers: 3})
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, b.Close()) })
				m := rpc.Method[time.Duration, bool]{Service: "clock", Name: "Wait"}
				serve(t, rpc.ServerConfig{Cluster: b.Cluster(), Handlers: []rpc.Handler{rpc.Handle(m, func(_ context.Context, d time.Duration) (bool, error) {
					time.Sleep(d)
					return true, nil
				})}})
				c := client(t, rpc.ClientConfig{Cluster: b.Cluster(), WaitForServer: true})
				_, err = rpc.Call(within(t, time.Minute), c, m, 0)
				require.NoError(t, err)
				call := rpc.Go(within(t, time.Minute), c, m, 20*time.Second)
				time.Sleep(time.Second)
				began := time.Now()
				of.harm(t, b, rpc.ReplyTopic("desk"))
				_, err = call.Wait(t.Context())
				if of.ends {
					require.ErrorIs(t, err, rpc.Unavailable)
					require.Equal(t, rpc.Maybe, rpc.ExecutedOf(err))
					require.Less(t, time.Since(began), 2*time.Second)
				} else {
					require.NoError(t, err)
				}
				began = time.Now()
				for range 20 {
					_, err = rpc.Call(within(t, 5*time.Second), c, m, 0)
					if err == nil {
						break
					}
				}
				require.NoError(t, err)
				require.Less(t, time.Since(began), 10*time.Second)
				require.Zero(t, c.Status().Counts["pending"])
			})
		})
	}
}

// Rule 38: brokers that are away behind a proxy fail no call that has time to wait for
// them.
func TestVirtualBrokersBehindAProxyFailNoCall(t *testing.T) {
	duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
		l, cluster := newLine(b.Cluster())
		m := rpc.Method[int, int]{Service: "clock", Name: "Count"}
		serve(t, rpc.ServerConfig{Cluster: b.Cluster(), Handlers: []rpc.Handler{
			rpc.Handle(m, func(_ context.Context, n int) (int, error) { return n, nil }),
		}})
		c, err := rpc.NewClient(rpc.ClientConfig{Cluster: cluster, Service: "desk"})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		const before, meanwhile, after = 1000, 2000, 500
		var calls sync.WaitGroup
		var answered atomic.Int64
		call := func(n int) {
			for i := range n {
				calls.Go(func() {
					got, err := rpc.Call(within(t, 20*time.Second), c, m, i)
					if assert.NoError(t, err) && assert.Equal(t, i, got) {
						answered.Add(1)
					}
				})
				time.Sleep(time.Millisecond)
			}
		}
		call(before)
		l.leave()
		call(meanwhile)
		require.Less(t, answered.Load(), int64(before+meanwhile), "they are away")
		l.heal()
		call(after)
		calls.Wait()
		require.Equal(t, int64(before+meanwhile+after), answered.Load())
	})
}

// A server that may not commit runs nothing, since the one after it would not know of it,
// and says so; once it may, it goes on.
func TestVirtualServerThatCannotCommitRunsNothing(t *testing.T) {
	duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
		var ran atomic.Int64
		refuse := b.Kfake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Err: kerr.GroupAuthorizationFailed, Count: -1})
		m := rpc.Method[int, int]{Service: "clock", Name: "Count"}
		s := serve(t, rpc.ServerConfig{Cluster: b.Cluster(), Handlers: []rpc.Handler{
			rpc.Handle(m, func(context.Context, int) (int, error) { return int(ran.Add(1)), nil }),
		}})
		c := client(t, rpc.ClientConfig{Cluster: b.Cluster(), WaitForServer: true})
		p := rpc.Go(within(t, 10*time.Minute), c, m, 0)
		time.Sleep(2 * time.Minute)
		require.Zero(t, ran.Load())
		st := s.Status()
		require.Equal(t, duplex.StatusStalled, st.Code)
		require.Contains(t, st.Problems[0].Detail, "nothing starts before the first commit is acknowledged")
		refuse.Remove()
		n, err := p.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, 1, n)
		time.Sleep(time.Second) // the reply may be there before the server knows that it is
		require.Equal(t, duplex.StatusOK, s.Status().Code)
	})
}
