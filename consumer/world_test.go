//go:build synctests

package consumer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

// world is a cluster in virtual time, and an eye on every commit.
type world struct {
	t       *testing.T
	kafka   *kfake.Cluster
	network kfake.VirtualNetwork
	cluster duplex.Cluster

	partitions int32
	requests   chan struct{}
	back       atomic.Value // string: which committed offset went back

	mu      sync.Mutex
	commits []commit
}

// commit is one partition of an OffsetCommit request, as the broker saw it.
type commit struct {
	member     string
	generation int32
	topic      string
	partition  int32
	offset     int64
	at         time.Time
}

func inWorld(t *testing.T, partitions int32, fn func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, partitions: partitions, requests: make(chan struct{}, 100_000)}
		kafka, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(9092), kfake.ListenFn(w.network.Listen),
			kfake.SeedTopics(partitions, "orders"),
			kfake.BrokerConfigs(map[string]string{"group.min.session.timeout.ms": "500"}))
		require.NoError(t, err)
		defer kafka.Close()
		w.kafka = kafka
		w.cluster = duplex.Cluster{Brokers: kafka.ListenAddrs(), Dial: w.network.DialContext}
		w.observe()
		var watching sync.WaitGroup
		watching.Go(w.watch)
		defer watching.Wait()
		defer close(w.requests)
		fn(t, w)
	})
}

func (w *world) observe() {
	w.kafka.ControlKey(int16(kmsg.OffsetCommit), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.kafka.KeepControl()
		w.saw(req.(*kmsg.OffsetCommitRequest))
		w.requests <- struct{}{}
		return nil, nil, false
	})
}

func (w *world) saw(req *kmsg.OffsetCommitRequest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, topic := range req.Topics {
		name := topic.Topic
		if name == "" { // of version 10 on
			name = fmt.Sprintf("%x", topic.TopicID)
		}
		for _, p := range topic.Partitions {
			w.commits = append(w.commits, commit{req.MemberID, req.Generation, name, p.Partition, p.Offset, time.Now()})
		}
	}
}

// committed returns what the group has committed for a partition, −1 if nothing.
func (w *world) committed(partition int32) int64 {
	return w.offsets()[partition]
}

func (w *world) offsets() map[int32]int64 {
	offsets := map[int32]int64{}
	for p := range w.partitions {
		offsets[p] = -1
	}
	if group := w.kafka.GroupInfo("boards"); group != nil {
		for p, c := range group.Commits["orders"] {
			offsets[p] = c.Offset
		}
	}
	return offsets
}

// watch samples the group's offsets after each commit request, and checks that
// none of them ever goes back.
func (w *world) watch() {
	last := map[int32]int64{}
	for range w.requests {
		for p, offset := range w.offsets() {
			if before, ok := last[p]; ok && offset < before {
				w.back.CompareAndSwap(nil, fmt.Sprintf("partition %d from %d to %d", p, before, offset))
			}
			last[p] = offset
		}
	}
}

// requireMonotonic checks that the group's offset of a partition never went
// back, and neither did what one member sent.
func (w *world) requireMonotonic() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if back := w.back.Load(); back != nil {
		for _, c := range w.commits {
			w.t.Logf("%s %s gen %d %d: %d", c.at.Format("05.000"), c.member[len(c.member)-4:], c.generation, c.partition, c.offset)
		}
		require.Nil(w.t, back, "the committed offset of a partition went back")
	}
	type sender struct {
		member    string
		topic     string
		partition int32
	}
	last := map[sender]int64{}
	for _, c := range w.commits {
		from := sender{c.member, c.topic, c.partition}
		require.GreaterOrEqual(w.t, c.offset, last[from], "a commit of %s moved %s/%d back", c.member, c.topic, c.partition)
		last[from] = c.offset
	}
}

func (w *world) client(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(w.cluster.Brokers...), kgo.Dialer(w.network.DialContext), kgo.DisableClientMetrics(),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
	}, opts...)...)
	require.NoError(w.t, err)
	return cl
}

// publish writes n records to a partition; their values count from the given
// number on.
func (w *world) publish(partition int32, from, n int) {
	w.t.Helper()
	cl := w.client()
	defer cl.Close()
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{Topic: "orders", Partition: partition, Key: fmt.Append(nil, "k", (from+i)%7), Value: fmt.Append(nil, from+i)}
	}
	require.NoError(w.t, cl.ProduceSync(context.Background(), records...).FirstErr())
}

// seen is what handlers were given, in order, by partition.
type seen struct {
	mu      sync.Mutex
	values  map[int32][]int
	running map[int32]int
	overlap bool

	dead   atomic.Bool   // handlers hang, as those of a dead process
	revive chan struct{} // lets them go, without a result
}

func newSeen() *seen {
	return &seen{values: map[int32][]int{}, running: map[int32]int{}, revive: make(chan struct{})}
}

// collectUntilDead is collect for a process that dies.
func (s *seen) collectUntilDead(work time.Duration) []consumer.Handler {
	return handle(func(_ context.Context, r *kgo.Record) error {
		time.Sleep(work)
		if s.dead.Load() {
			<-s.revive
			return errors.New("dead")
		}
		s.add(r)
		return nil
	})
}

// begin and end bracket an execution, so that two at once on a partition are
// noticed.
func (s *seen) begin(r *kgo.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[r.Partition]++
	s.overlap = s.overlap || s.running[r.Partition] > 1
}

func (s *seen) end(r *kgo.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running[r.Partition]--
}

func (s *seen) add(r *kgo.Record) {
	n, _ := strconv.Atoi(string(r.Value))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[r.Partition] = append(s.values[r.Partition], n)
}

func (s *seen) count() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range s.values {
		n += len(v)
	}
	return n
}

func (s *seen) of(partition int32) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int(nil), s.values[partition]...)
}

// member is a running consumer.
type member struct {
	w    *world
	c    *consumer.Consumer
	stop context.CancelFunc
	done chan struct{}
	err  error
	cut  atomic.Bool
	away atomic.Bool // see leave
	mu   sync.Mutex
	open []net.Conn

	healed atomic.Value // chan struct{}, while the network swallows
}

func (w *world) start(cfg consumer.Config) *member {
	w.t.Helper()
	m := &member{w: w, done: make(chan struct{})}
	if cfg.Group == "" {
		cfg.Group = "boards"
	}
	cfg.Cluster = w.cluster
	cfg.Cluster.Dial = m.dial
	c, err := consumer.New(cfg)
	require.NoError(w.t, err)
	m.c = c
	ctx, cancel := context.WithCancel(context.Background())
	m.stop = cancel
	go func() {
		defer close(m.done)
		m.err = c.Run(ctx)
	}()
	return m
}

// dial lets the network of this member be cut.
func (m *member) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if m.cut.Load() {
		return nil, net.ErrClosed
	}
	if m.away.Load() {
		conn, _ := net.Pipe()
		return endsAtOnce{conn}, nil
	}
	conn, err := m.w.network.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open = append(m.open, conn)
	return &swallowing{Conn: conn, member: m}, nil
}

// leave takes the brokers away behind a proxy, which goes on accepting the member's
// connections and ends them, until comeBack.
func (m *member) leave() {
	m.away.Store(true)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, conn := range m.open {
		_ = conn.Close()
	}
}

func (m *member) comeBack() { m.away.Store(false) }

// endsAtOnce takes what is written, and is at its end.
type endsAtOnce struct{ net.Conn }

func (endsAtOnce) Write(b []byte) (int, error) { return len(b), nil }
func (endsAtOnce) Read([]byte) (int, error)    { return 0, io.EOF }

// swallow has the member's network take everything and give nothing back, as a
// cut cable does, until heal.
func (m *member) swallow() { m.healed.Store(make(chan struct{})) }

func (m *member) heal() { close(m.healed.Load().(chan struct{})) }

type swallowing struct {
	net.Conn
	member *member
}

func (c *swallowing) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if healed, ok := c.member.healed.Load().(chan struct{}); ok {
		<-healed
	}
	return n, err
}

// crash takes the member off the network for good: to the cluster it is dead.
func (m *member) crash() {
	m.cut.Store(true)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.open {
		_ = c.Close()
	}
}

// running counts the member's handlers that are at work.
func (m *member) running() (n int) {
	for _, p := range m.c.Status().Partitions {
		n += p.Running
	}
	return n
}

func (m *member) halt() error {
	m.stop()
	<-m.done
	return m.err
}

func handle(fn func(ctx context.Context, r *kgo.Record) error) []consumer.Handler {
	return []consumer.Handler{consumer.HandleRecord("orders", fn)}
}

// collect is a handler that notes what it gets after taking its time.
func (s *seen) collect(work time.Duration) []consumer.Handler {
	return handle(func(ctx context.Context, r *kgo.Record) error {
		s.begin(r)
		defer s.end(r)
		if work > 0 {
			select {
			case <-time.After(work):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		s.add(r)
		return nil
	})
}

func upTo(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// eventually waits in virtual time.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			require.Fail(t, "not within "+within.String(), what)
		}
	}
}
