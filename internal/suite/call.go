package suite

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/rpc"
)

// calls are what is asked of a service of the scenario's own, which says how often each
// call ran.
type calls struct {
	t       *testing.T
	k       Kafka
	service string
	echo    rpc.Method[question, string]
	careful rpc.Method[question, string] // the same, but Safe

	mu  sync.Mutex
	ran map[string]int
}

// question has a server wait until its test says go on, if it is to.
type question struct {
	ID   string
	Wait bool
}

func newCalls(t *testing.T, k Kafka) *calls {
	t.Helper()
	service := duplextest.Unique("echo")
	return &calls{
		t: t, k: k, service: service, ran: map[string]int{},
		echo:    rpc.Method[question, string]{Service: service, Name: "Echo"},
		careful: rpc.Method[question, string]{Service: service, Name: "Careful", Safe: true},
	}
}

// answering is a server that runs; questions that are to wait do so until release is
// called.
type answering struct {
	*rpc.Server
	began   chan string // which call began
	ignored atomic.Bool // nobody reads began
	release func()
	// stop stops it in good order, cut takes its network away, as when its machine dies.
	stop func()
	cut  func()
}

func (c *calls) serve() *answering { return c.serveOver(c.k.Cluster) }

func (c *calls) serveOver(cluster duplex.Cluster) *answering {
	c.t.Helper()
	released := make(chan struct{})
	a := &answering{began: make(chan string, 1000), release: sync.OnceFunc(func() { close(released) })}
	handle := func(ctx context.Context, q question) (string, error) {
		c.mu.Lock()
		c.ran[q.ID]++
		c.mu.Unlock()
		if !a.ignored.Load() {
			a.began <- q.ID
		}
		if q.Wait {
			select {
			case <-released:
			case <-ctx.Done():
				return "", context.Cause(ctx)
			}
		}
		return "re: " + q.ID, nil
	}
	line := &line{}
	dial := cluster.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	cluster.Dial = line.over(dial)
	s, err := rpc.NewServer(rpc.ServerConfig{
		Cluster: cluster, SessionTimeout: c.k.Session, DrainTimeout: 5 * time.Second,
		Handlers: []rpc.Handler{rpc.Handle(c.echo, handle), rpc.Handle(c.careful, handle)},
	})
	require.NoError(c.t, err)
	a.Server, a.cut = s, line.cut
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	a.stop = sync.OnceFunc(func() {
		stop()
		if err := <-ended; !line.isCut.Load() {
			require.NoError(c.t, err)
		}
	})
	c.t.Cleanup(func() {
		a.release()
		a.stop()
	})
	return a
}

func (a *answering) ignoreBegins() { a.ignored.Store(true) }

// awaitBegin waits until a call has begun.
func (a *answering) awaitBegin(t *testing.T, id string) {
	t.Helper()
	for began := ""; began != id; {
		began = receive(t, a.began, id+" begins")
	}
}

// times is how often a call ran.
func (c *calls) times(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ran[id]
}

func (c *calls) client(cfg rpc.ClientConfig) *rpc.Client {
	c.t.Helper()
	cfg.Cluster, cfg.WaitForServer = c.k.Cluster, true
	if cfg.Service == "" {
		cfg.Service = c.service
	}
	cl, err := rpc.NewClient(cfg)
	require.NoError(c.t, err)
	c.t.Cleanup(func() { require.NoError(c.t, cl.Close()) })
	return cl
}

// ask makes a call and reports what is wrong with its answer.
func (c *calls) ask(cl *rpc.Client, m rpc.Method[question, string], q question) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	got, err := rpc.Call(ctx, cl, m, q)
	if err == nil && got != "re: "+q.ID {
		return fmt.Errorf("asked %q and was answered %q", q.ID, got)
	}
	return err
}

// line is a network that can be cut.
type line struct {
	isCut atomic.Bool
	mu    sync.Mutex
	open  []net.Conn
}

var errCut = errors.New("the line is cut")

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

func (l *line) over(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if l.isCut.Load() {
			return nil, errCut
		}
		conn, err := dial(ctx, network, address)
		if err == nil {
			l.mu.Lock()
			l.open = append(l.open, conn)
			l.mu.Unlock()
		}
		return conn, err
	}
}

func (l *line) cut() {
	l.isCut.Store(true)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.open {
		_ = conn.Close()
	}
}

// write writes records as a stranger would.
func (c *calls) write(records ...*kgo.Record) {
	c.t.Helper()
	cl := kafkaClient(c.t, c.k, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(c.t, cl.ProduceSync(ctx, records...).FirstErr())
}

func headers(pairs ...string) (all []kgo.RecordHeader) {
	for pair := range slices.Chunk(pairs, 2) {
		all = append(all, kgo.RecordHeader{Key: pair[0], Value: []byte(pair[1])})
	}
	return all
}

// counts are some of a status, by name.
func counts(st duplex.Status, names ...string) (some []int64) {
	for _, name := range names {
		some = append(some, st.Counts[name])
	}
	return some
}
