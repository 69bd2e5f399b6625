//go:build synctests

package producer_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/producer"
)

// world is a cluster in virtual time whose network can be cut.
type world struct {
	t       *testing.T
	kafka   *kfake.Cluster
	network kfake.VirtualNetwork
	cluster duplex.Cluster

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	hung   map[string]chan struct{} // by address; closed when it answers again
	away   map[string]func() (net.Conn, error)
	refuse atomic.Bool
}

func inWorld(t *testing.T, brokers int, fn func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, conns: map[net.Conn]struct{}{}, hung: map[string]chan struct{}{}, away: map[string]func() (net.Conn, error){}}
		ports := []int{9092, 9093, 9094}[:brokers]
		kafka, err := kfake.NewCluster(kfake.NumBrokers(brokers), kfake.Ports(ports...), kfake.ListenFn(w.network.Listen),
			kfake.SeedTopics(6, "orders"), kfake.SeedTopics(1, "single"))
		require.NoError(t, err)
		defer kafka.Close()
		w.kafka = kafka
		w.cluster = duplex.Cluster{Brokers: kafka.ListenAddrs(), Dial: w.dial}
		fn(t, w)
	})
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if w.refuse.Load() {
		return nil, net.ErrClosed
	}
	w.mu.Lock()
	away := w.away[address]
	w.mu.Unlock()
	if away != nil {
		return away()
	}
	conn, err := w.network.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &hanging{Conn: conn, w: w, address: address}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[c] = struct{}{}
	return c, nil
}

// leave takes a broker away: whoever dials it is answered by instead. comeBack ends
// that.
func (w *world) leave(address string, instead func() (net.Conn, error)) {
	w.mu.Lock()
	w.away[address] = instead
	w.mu.Unlock()
	w.dropConnections()
}

func (w *world) comeBack(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.away, address)
}

// endsAtOnce takes what is written, and is at its end.
type endsAtOnce struct{ net.Conn }

func (endsAtOnce) Write(b []byte) (int, error) { return len(b), nil }
func (endsAtOnce) Read([]byte) (int, error)    { return 0, io.EOF }

// hang has a broker take requests, act on them, and never answer.
func (w *world) hang(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hung[address] = make(chan struct{})
}

func (w *world) heal(address string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.hung[address])
	delete(w.hung, address)
}

type hanging struct {
	net.Conn
	w       *world
	address string
	closed  sync.Once
	gone    chan struct{}
	init    sync.Once
}

func (c *hanging) done() chan struct{} {
	c.init.Do(func() { c.gone = make(chan struct{}) })
	return c.gone
}

func (c *hanging) Close() error {
	c.closed.Do(func() { close(c.done()) })
	return c.Conn.Close()
}

func (c *hanging) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.w.mu.Lock()
	hung := c.w.hung[c.address]
	c.w.mu.Unlock()
	if hung != nil {
		select {
		case <-hung:
		case <-c.done():
			return 0, net.ErrClosed
		}
	}
	return n, err
}

func (w *world) producer(cfg producer.Config) *producer.Producer {
	w.t.Helper()
	cfg.Cluster = w.cluster
	p, err := producer.New(cfg)
	require.NoError(w.t, err)
	return p
}

// log reads everything that is in a topic.
func (w *world) log(topic string) []*kgo.Record {
	w.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.cluster.Brokers...), kgo.Dialer(w.network.DialContext), kgo.DisableClientMetrics(),
		kgo.ConsumeTopics(topic), kgo.FetchMaxWait(100*time.Millisecond))
	require.NoError(w.t, err)
	defer cl.Close()
	var all []*kgo.Record
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		fetches := cl.PollFetches(ctx)
		cancel()
		if fetches.NumRecords() == 0 {
			return all
		}
		all = append(all, fetches.Records()...)
	}
}

func count(records []*kgo.Record, value string) int {
	n := 0
	for _, r := range records {
		if string(r.Value) == value {
			n++
		}
	}
	return n
}

func (w *world) dropConnections() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.conns {
		_ = c.Close()
	}
	clear(w.conns)
	for a, hung := range w.hung {
		close(hung)
		delete(w.hung, a)
	}
}

// trouble makes one fault after the other until stop.
func (w *world) trouble(stop <-chan struct{}, seed int) {
	random := rand.New(rand.NewPCG(uint64(seed), 1))
	for {
		switch random.IntN(6) {
		case 0:
			w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.RequestTimedOut, Count: 1 + random.IntN(3)})
		case 1:
			w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicasAfterAppend, Count: 1})
		case 2:
			w.kafka.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotLeaderForPartition, Count: 1 + random.IntN(3)})
		case 3:
			w.kafka.ShufflePartitionLeaders()
		case 4:
			w.dropConnections()
		case 5:
			w.hang(w.cluster.Brokers[random.IntN(len(w.cluster.Brokers))])
			select {
			case <-stop:
			case <-time.After(time.Duration(random.IntN(8000)) * time.Millisecond):
			}
			w.dropConnections()
		}
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(50+random.IntN(400)) * time.Millisecond):
		}
	}
}
