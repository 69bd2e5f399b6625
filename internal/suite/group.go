package suite

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/producer"
)

// group is a topic, a consumer group that reads it, and the history of both:
// what was published, what its members finished, and what they committed.
type group struct {
	t          *testing.T
	kafka      Kafka
	name       string
	topic      string
	partitions int32
	p          *producer.Producer

	mu        sync.Mutex
	published map[place]bool
	finished  map[place]int
	order     map[int32][]int64 // by partition, offsets in the order in which they were finished
	running   map[int32]int
	commits   []commit
	passed    map[int32]int64 // by partition, the highest offset in commits
	wrong     []string
}

type place struct {
	partition int32
	offset    int64
}

// commit is what one member wrote to a broker about one partition.
type commit struct {
	member    string
	partition int32
	offset    int64
}

func newGroup(t *testing.T, k Kafka, partitions int32) *group {
	t.Helper()
	return &group{
		t: t, kafka: k, name: duplextest.Unique("suite"), topic: duplextest.NewTopic(t, k.Cluster, "suite", partitions, nil),
		partitions: partitions, p: newProducer(t, producer.Config{Cluster: k.Cluster}),
		published: map[place]bool{}, finished: map[place]int{}, order: map[int32][]int64{}, running: map[int32]int{}, passed: map[int32]int64{},
	}
}

// publish writes n records to the partition; their values are their offsets.
func (g *group) publish(partition int32, n int) {
	g.t.Helper()
	key := keyOf(partition, g.partitions)
	from := g.publishedOn(partition)
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{Topic: g.topic, Key: key, Value: strconv.AppendInt(nil, int64(from+i), 10)}
	}
	for _, r := range g.p.PublishBatch(g.t.Context(), records...) {
		require.NoError(g.t, r.Err)
		require.Equal(g.t, partition, r.Position.Partition, "a key does not go where every other client sends it")
		g.sent(r.Position)
	}
}

func (g *group) sent(p duplex.Position) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.published[place{p.Partition, p.Offset}] = true
}

func (g *group) publishedOn(partition int32) (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for at := range g.published {
		if at.partition == partition {
			n++
		}
	}
	return n
}

// keyOf finds a key whose records go to the partition, by Kafka's own rule.
func keyOf(partition, partitions int32) []byte {
	rule := kgo.StickyKeyPartitioner(nil).ForTopic("")
	for i := 0; ; i++ {
		key := strconv.AppendInt([]byte("key-"), int64(i), 10)
		if rule.Partition(&kgo.Record{Key: key}, int(partitions)) == int(partition) {
			return key
		}
	}
}

// handle makes a handler of the topic that enters into the history what work
// finishes.
func (g *group) handle(work func(context.Context, *kgo.Record) error) []consumer.Handler {
	return []consumer.Handler{consumer.HandleRecord(g.topic, func(ctx context.Context, r *kgo.Record) (err error) {
		g.begin(r)
		defer func() { g.end(r, err) }()
		err = errPanicked // unless work returns
		err = work(ctx, r)
		return err
	})}
}

const errPanicked duplex.Code = "panicked"

// nothing is work that is done at once.
func nothing(context.Context, *kgo.Record) error { return nil }

func (g *group) begin(r *kgo.Record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running[r.Partition]++
	if g.running[r.Partition] > 1 {
		g.wrong = append(g.wrong, fmt.Sprintf("two handlers run at once on partition %d, one on offset %d", r.Partition, r.Offset))
	}
}

// end notes a record as finished before the consumer can know of it, so that no
// commit can be early for that reason.
func (g *group) end(r *kgo.Record, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running[r.Partition]--
	if err == nil || duplex.VerdictOf(err).Kind == duplex.VerdictDrop {
		g.finish(r)
	}
}

// finish is for handlers of batches, too; the mutex is held.
func (g *group) finish(r *kgo.Record) {
	g.finished[place{r.Partition, r.Offset}]++
	g.order[r.Partition] = append(g.order[r.Partition], r.Offset)
}

// committing sees every OffsetCommit of every member.
func (g *group) committing(req *kmsg.OffsetCommitRequest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			g.commits = append(g.commits, commit{req.MemberID, p.Partition, p.Offset})
			for ; g.passed[p.Partition] < p.Offset; g.passed[p.Partition]++ {
				at := place{p.Partition, g.passed[p.Partition]}
				if g.published[at] && g.finished[at] == 0 {
					g.wrong = append(g.wrong, fmt.Sprintf("%s committed offset %d of partition %d, and %d is not finished",
						req.MemberID, p.Offset, at.partition, at.offset))
				}
			}
		}
	}
}

// count is how many records were finished; a repeat counts once.
func (g *group) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.finished)
}

// finishedOn are the offsets of the partition in the order in which they were
// finished.
func (g *group) finishedOn(partition int32) []int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]int64(nil), g.order[partition]...)
}

// awaitAll waits until every record is finished.
func (g *group) awaitAll() {
	g.t.Helper()
	eventually(g.t, "every record is finished", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.finished) >= len(g.published)
	})
}

// requireHistory checks what holds for every group at any time: commits never
// pass an unfinished record and never go back (C1, C6), one handler a partition
// at a time (C3), and every record finished (C2), in log order (C4).
func (g *group) requireHistory() {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	require.Empty(g.t, g.wrong)
	require.NotEmpty(g.t, g.commits, "no commit was seen")
	last := map[int32]int64{}
	for _, c := range g.commits {
		require.GreaterOrEqual(g.t, c.offset, last[c.partition], "%s moved the committed offset of partition %d back", c.member, c.partition)
		last[c.partition] = c.offset
	}
	for at := range g.published {
		require.NotZero(g.t, g.finished[at], "partition %d offset %d was never finished", at.partition, at.offset)
	}
}

// requireOnce checks, beyond requireHistory, that nothing was repeated, and that
// the group's committed offsets are the ends of the partitions. Members must
// have stopped.
func (g *group) requireOnce() {
	g.t.Helper()
	g.requireHistory()
	for p := range g.partitions {
		n := g.publishedOn(p)
		want := make([]int64, n)
		for i := range want {
			want[i] = int64(i)
		}
		require.Equal(g.t, want, append([]int64{}, g.finishedOn(p)...), "partition %d: each record once, in log order", p)
		if n > 0 {
			duplextest.RequireCommitted(g.t, g.kafka.Cluster, g.name, g.topic, p, int64(n))
		}
	}
}

// member is a running consumer.
type member struct {
	*consumer.Consumer
	t    *testing.T
	halt context.CancelFunc
	done chan struct{}
	err  error
}

// join starts a member of the group and stops it when the test ends.
func (g *group) join(cfg consumer.Config) *member {
	g.t.Helper()
	cfg.Cluster, cfg.Group = watchCommits(g.kafka.Cluster, g.committing), g.name
	if cfg.SessionTimeout == 0 {
		cfg.SessionTimeout = g.kafka.Session
	}
	if cfg.CommitInterval == 0 {
		cfg.CommitInterval = 50 * time.Millisecond
	}
	return start(g.t, cfg)
}

func start(t *testing.T, cfg consumer.Config) *member {
	t.Helper()
	c, err := consumer.New(cfg)
	require.NoError(t, err)
	ctx, halt := context.WithCancel(context.Background()) // cleanups stop it in good order
	m := &member{Consumer: c, t: t, halt: halt, done: make(chan struct{})}
	go func() {
		defer close(m.done)
		m.err = c.Run(ctx)
	}()
	t.Cleanup(func() { halt(); <-m.done })
	return m
}

// stop stops the member as a program would at SIGTERM.
func (m *member) stop() {
	m.t.Helper()
	m.halt()
	<-m.done
	require.NoError(m.t, m.err)
}

// owns is how many partitions the member has.
func (m *member) owns() int { return len(m.Status().Partitions) }

// partition is the member's view of one of its partitions, zero if it is not.
func (m *member) partition(n int32) duplex.PartitionStatus {
	for _, p := range m.Status().Partitions {
		if p.Partition == n {
			return p
		}
	}
	return duplex.PartitionStatus{}
}

func newProducer(t *testing.T, cfg producer.Config) *producer.Producer {
	t.Helper()
	p, err := producer.New(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, 10*time.Millisecond, what)
}

// receive waits for what a handler sends.
func receive[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		require.FailNow(t, "did not happen", what)
	}
	var none T
	return none
}
