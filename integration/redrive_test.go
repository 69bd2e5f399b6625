package integration

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
)

// desk is a dead-letter queue of a group, and who works at it.
type desk struct {
	t          *testing.T
	cluster    duplex.Cluster // that may do everything
	partitions int32
	cl         *kgo.Client
	admin      *kadm.Client

	topic, group       string
	queue, back, state string            // topics
	names              map[string]string // of topics by their IDs, in hex

	mu      sync.Mutex
	handled map[string]int // by the key of the letter
	fails   func(*kgo.Record) error
}

// newDesk makes the topics. name, if there are several in a test, tells them apart.
func newDesk(t *testing.T, c duplex.Cluster, partitions int32, name string) *desk {
	t.Helper()
	d := &desk{t: t, cluster: c, partitions: partitions, topic: unique(t) + name, group: unique(t) + name, names: map[string]string{}, handled: map[string]int{}}
	d.queue, d.back, d.state = dlq.DeadTopic(d.group, d.topic), dlq.RedriveTopic(d.group, d.topic), dlq.StateTopic(d.group)
	d.cl = rawClient(t, c, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	d.admin = kadm.NewClient(d.cl)
	made, err := d.admin.CreateTopics(t.Context(), partitions, -1, nil, d.topic, d.queue, d.back)
	require.NoError(t, err)
	require.NoError(t, made.Error())
	for topic, resp := range made {
		d.names[hex.EncodeToString(resp.ID[:])] = topic
	}
	require.Eventually(t, func() bool {
		ends, err := d.admin.ListEndOffsets(t.Context(), d.topic, d.queue, d.back)
		return err == nil && ends.Error() == nil && len(ends[d.back]) == int(partitions) && len(ends[d.queue]) == int(partitions)
	}, groupPatience, 20*time.Millisecond, "the topics do not appear")
	return d
}

// fill writes letters, as a consumer that gave up would have, the n-th with key kn.
func (d *desk) fill(from, to int) {
	d.t.Helper()
	var all []*kgo.Record
	for n := from; n < to; n++ {
		partition := int32(n) % d.partitions
		r := &kgo.Record{Topic: d.queue, Partition: partition, Key: []byte("k" + strconv.Itoa(n)), Value: []byte("value")}
		for _, h := range [][2]string{
			{dlq.HeaderID, fmt.Sprintf("%s/%d/%d@%s#AQIDBA", d.topic, partition, n, d.group)}, {dlq.HeaderOriginTopic, d.topic},
			{dlq.HeaderOriginPartition, strconv.Itoa(int(partition))}, {dlq.HeaderOriginOffset, strconv.Itoa(n)},
			{dlq.HeaderOriginTimestamp, "1700000000000"}, {dlq.HeaderAttempt, "4"}, {dlq.HeaderGroup, d.group}, {dlq.HeaderHandler, d.topic},
			{dlq.HeaderReason, "exhausted"}, {dlq.HeaderErrorType, "*errors.errorString"}, {dlq.HeaderErrorMessage, "no such seat"},
			{dlq.HeaderFingerprint, "v1:0000000000000001"}, {dlq.HeaderFirstFailedAt, "1700000001000"}, {dlq.HeaderLastFailedAt, "1700000002000"},
		} {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
		}
		all = append(all, r)
	}
	require.NoError(d.t, d.cl.ProduceSync(d.t.Context(), all...).FirstErr())
}

// redriver is one with a way into the cluster.
func (d *desk) redriver(through duplex.Cluster) *dlq.Redriver {
	d.t.Helper()
	r, err := dlq.NewRedriver(dlq.RedriverConfig{Cluster: through})
	require.NoError(d.t, err)
	d.t.Cleanup(func() { require.NoError(d.t, r.Close()) })
	return r
}

// plan is one for all that is open, whether anybody gets it or not.
func (d *desk) plan(r *dlq.Redriver) *dlq.Plan {
	d.t.Helper()
	p, err := r.Plan(d.t.Context(), d.queue, dlq.PlanConfig{Force: true, By: "ada", Reason: "mended"})
	require.NoError(d.t, err)
	return p
}

// consumer is how a member of the group is configured.
func (d *desk) consumer(through duplex.Cluster) consumer.Config {
	return consumer.Config{
		Cluster: through, Group: d.group, SessionTimeout: sessionTimeout, Failures: dlq.NoRetry,
		Handlers: []consumer.Handler{consumer.HandleRecord(d.topic, func(_ context.Context, r *kgo.Record) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.fails != nil {
				if err := d.fails(r); err != nil {
					return err
				}
			}
			d.handled[string(r.Key)]++
			return nil
		})},
	}
}

// seen is how many letters were handled, and how often one of them was again.
func (d *desk) seen() (letters, again int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.handled {
		again += n - 1
	}
	return len(d.handled), again
}

// read gives what readers of a topic see now, of committed records or of all.
func (d *desk) read(topic string, isolation kgo.IsolationLevel) (all []*kgo.Record) {
	d.t.Helper()
	ends, err := d.admin.ListCommittedOffsets(d.t.Context(), topic)
	require.NoError(d.t, err)
	require.NoError(d.t, ends.Error())
	left, from := map[int32]int64{}, map[int32]kgo.Offset{}
	ends.Each(func(end kadm.ListedOffset) {
		if end.Offset > 0 {
			left[end.Partition], from[end.Partition] = end.Offset, kgo.NewOffset().AtStart()
		}
	})
	cl := rawClient(d.t, d.cluster, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}), kgo.FetchIsolationLevel(isolation), kgo.KeepControlRecords())
	defer cl.Close()
	ctx, cancel := context.WithTimeout(d.t.Context(), groupPatience)
	defer cancel()
	for len(left) > 0 {
		fetches := cl.PollFetches(ctx)
		require.NoError(d.t, fetches.Err())
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			if !r.Attrs.IsControl() && header(r, dlq.HeaderID) != "" {
				all = append(all, r)
			}
		})
	}
	return all
}

// cameBack is what stands in the redrive topic.
type cameBack struct {
	once    int // letters that readers of committed records see
	copies  int // more copies of them that those see
	aborted int // that only readers of all records see
}

// cameBack reads the redrive topic: letters of a partition must be in their order, but for
// copies that come again.
func (d *desk) cameBack() (found cameBack) {
	d.t.Helper()
	last, seen := map[int32]int64{}, map[string]bool{}
	committed := d.read(d.back, kgo.ReadCommitted())
	for _, r := range committed {
		id := header(r, dlq.HeaderID)
		if seen[id] {
			found.copies++
			continue
		}
		seen[id] = true
		offset, err := strconv.ParseInt(header(r, dlq.HeaderOriginOffset), 10, 64)
		require.NoError(d.t, err)
		if before, some := last[r.Partition]; some {
			require.Greater(d.t, offset, before, "%s: letters of partition %d are out of order", d.back, r.Partition)
		}
		last[r.Partition] = offset
		require.Equal(d.t, int32(offset)%d.partitions, r.Partition)
	}
	found.once = len(seen)
	found.aborted = len(d.read(d.back, kgo.ReadUncommitted())) - len(committed)
	return found
}

// requireOnce checks that n letters came back, once each.
func (d *desk) requireOnce(what string, n int) cameBack {
	d.t.Helper()
	found := d.cameBack()
	require.Zero(d.t, found.copies, "%s: letters came back twice", what)
	require.Equal(d.t, n, found.once, "%s: letters that came back", what)
	return found
}

// states counts the letters of the queue by their states.
func (d *desk) states() map[dlq.State]int {
	d.t.Helper()
	i, err := dlq.NewInspector(dlq.InspectorConfig{Cluster: d.cluster})
	require.NoError(d.t, err)
	defer i.Close()
	found := map[dlq.State]int{}
	_, err = i.Scan(d.t.Context(), d.queue, dlq.ScanConfig{}, func(l *dlq.Letter) error {
		found[l.State]++
		return nil
	})
	require.NoError(d.t, err)
	return found
}

// only is the one job of the queue.
func (d *desk) only(r *dlq.Redriver) *dlq.Job {
	d.t.Helper()
	jobs, err := r.Jobs(d.t.Context(), d.queue)
	require.NoError(d.t, err)
	require.Len(d.t, jobs, 1)
	return jobs[0]
}

// readersWait says how long readers of committed records wait for what is written to the
// redrive topic now by somebody else: behind a transaction that is open, until it ends.
func (d *desk) readersWait(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, groupPatience)
	defer cancel()
	began := time.Now()
	var all []*kgo.Record
	for partition := range d.partitions {
		all = append(all, &kgo.Record{Topic: d.back, Partition: partition, Value: []byte("somebody else's")})
	}
	if err := d.cl.ProduceSync(ctx, all...).FirstErr(); err != nil {
		return 0, err
	}
	from := map[int32]kgo.Offset{}
	for _, r := range all {
		from[r.Partition] = kgo.NewOffset().At(r.Offset)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(d.cluster.Brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{d.back: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(200*time.Millisecond))
	if err != nil {
		return 0, err
	}
	defer cl.Close()
	for left := len(all); left > 0; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return 0, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if header(r, dlq.HeaderID) == "" {
				left--
			}
		})
	}
	return time.Since(began), nil
}

// mostWait is how long readers of committed records may wait: until the brokers abort the
// transaction of a process that died, and notice that it is time to.
const mostWait = 10*time.Second + 3*time.Second

// apply has a job done, and takes it up again as often as it ends with an error, which a
// fault of brokers may bring about.
func (d *desk) apply(r *dlq.Redriver, plan *dlq.Plan, cfg dlq.ApplyConfig) (job *dlq.Job, errs []error) {
	for {
		var err error
		if job, err = r.Apply(d.t.Context(), plan, cfg); err == nil {
			return job, errs
		}
		errs = append(errs, err)
		if len(errs) > 10 || errors.Is(err, duplex.ErrFenced) {
			return job, errs
		}
	}
}
