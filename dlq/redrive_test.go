package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/kafka"
)

const back = "redrive.boards.orders"

// desk is a queue of the group boards for the topic orders, with a consumer of the group
// where a test wants one.
type desk struct {
	t        testing.TB
	b        *broker.Broker
	client   *kgo.Client
	redriver *dlq.Redriver

	mu      sync.Mutex
	handled []*kgo.Record
	fail    func(*kgo.Record) error
}

const deskPartitions = 3

func newDesk(t testing.TB) *desk {
	t.Helper()
	b, err := broker.Start(broker.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return deskOn(t, b)
}

// deskOn is a desk on a broker.
func deskOn(t testing.TB, b *broker.Broker) *desk {
	t.Helper()
	for _, name := range []string{"orders", queue, back} {
		require.NoError(t, b.CreateTopic(broker.Topic{Name: name, Partitions: deskPartitions}))
	}
	d := &desk{t: t, b: b, client: client(t, b)}
	d.redriver = d.newRedriver()
	return d
}

func (d *desk) newRedriver() *dlq.Redriver {
	d.t.Helper()
	r, err := dlq.NewRedriver(dlq.RedriverConfig{Cluster: d.b.Cluster(), Allow: []string{"repair.*"}})
	require.NoError(d.t, err)
	d.t.Cleanup(func() { require.NoError(d.t, r.Close()) })
	return r
}

// run has a consumer of the group handle what comes back, until the end of the test.
func (d *desk) run() {
	d.t.Helper()
	d.t.Cleanup(d.start())
}

// start is run until stop is called.
func (d *desk) start() (stop func()) {
	d.t.Helper()
	c, err := consumer.New(consumer.Config{
		Cluster: d.b.Cluster(), Group: "boards", Failures: dlq.NoRetry,
		Handlers: []consumer.Handler{consumer.HandleRecord("orders", func(_ context.Context, r *kgo.Record) error {
			d.mu.Lock()
			defer d.mu.Unlock()
			if d.fail != nil {
				if err := d.fail(r); err != nil {
					return err
				}
			}
			d.handled = append(d.handled, r)
			return nil
		})},
	})
	require.NoError(d.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	require.Eventually(d.t, func() bool { return len(c.Status().Partitions) == 2*deskPartitions }, 10*time.Second, 5*time.Millisecond)
	return func() {
		cancel()
		require.NoError(d.t, <-ended)
	}
}

func (d *desk) seen() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.handled)
}

// fill writes n letters, those of a key in one partition.
func (d *desk) fill(from, to int) {
	d.t.Helper()
	fill(d.t, d.client, queue, deskPartitions, from, to)
}

func (d *desk) plan(cfg dlq.PlanConfig) *dlq.Plan {
	d.t.Helper()
	p, err := d.redriver.Plan(d.t.Context(), queue, cfg)
	require.NoError(d.t, err)
	return p
}

// states counts the letters of the queue by their states.
func (d *desk) states() map[dlq.State]int {
	d.t.Helper()
	found := map[dlq.State]int{}
	_, err := inspector(d.t, d.b).Scan(d.t.Context(), queue, dlq.ScanConfig{}, func(l *dlq.Letter) error {
		found[l.State]++
		return nil
	})
	require.NoError(d.t, err)
	return found
}

// committed are the records of a topic that readers of committed records see.
func (d *desk) committed(topic string) (all []*kgo.Record) {
	d.t.Helper()
	ends, err := kafka.CommittedEndOffsets(d.t.Context(), d.client, topic)
	require.NoError(d.t, err)
	from := map[int32]kgo.Offset{}
	left := 0
	for p, end := range ends {
		if end > 0 {
			from[p] = kgo.NewOffset().AtStart()
			left++
		}
	}
	if left == 0 {
		return nil
	}
	reader := client(d.t, d.b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	for left > 0 {
		ctx, cancel := context.WithTimeout(d.t.Context(), 10*time.Second)
		fetches := reader.PollFetches(ctx)
		cancel()
		require.NoError(d.t, fetches.Err())
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			if r.Offset == ends[r.Partition]-1 {
				left--
			}
			if !r.Attrs.IsControl() {
				all = append(all, r)
			}
		}
	}
	return all
}

func TestRedriveBringsLettersBackToTheirGroup(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.run()
	d.fill(0, 300)
	plan := d.plan(dlq.PlanConfig{By: "ada", Reason: "the seat map is mended"})
	require.Equal(t, int64(300), plan.Records)
	require.Equal(t, int64(300), plan.Scanned)
	require.Equal(t, []dlq.PlanTopic{{Topic: back, Partitions: deskPartitions, Records: 300, Receivers: []dlq.Receiver{{Group: "boards", State: "Stable", Members: 1}}}}, plan.To)
	require.Len(t, plan.Causes, 3)
	require.Len(t, plan.Samples, 3)
	require.Equal(t, map[dlq.State]int{dlq.StateOpen: 300}, d.states(), "a plan changes nothing")

	job, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{Await: 10 * time.Second})
	require.NoError(t, err)
	require.Equal(t, dlq.JobDone, job.State)
	require.Equal(t, []int64{300, 300, 0, 0}, []int64{job.Moved, job.Handled, job.DeadAgain, job.Pending()})
	require.Equal(t, map[dlq.State]int{dlq.StateHandled: 300}, d.states())
	require.Equal(t, 300, d.seen())
	for _, r := range d.handled {
		require.Equal(t, back, r.Topic)
		require.Equal(t, "value", string(r.Value))
		id, _ := duplex.Header(r, dlq.HeaderID)
		require.Equal(t, fmt.Sprintf("orders/%d/%s@boards#AQIDBA", r.Partition, string(r.Key[1:])), id)
		generation, _ := duplex.Header(r, dlq.HeaderGeneration)
		require.Equal(t, "1", generation)
		_, reason := duplex.Header(r, dlq.HeaderReason)
		require.False(t, reason, "it is no dead letter any more")
	}

	again := d.plan(dlq.PlanConfig{})
	require.Zero(t, again.Records)
	nothing, err := d.redriver.Apply(t.Context(), again, dlq.ApplyConfig{})
	require.NoError(t, err)
	require.Zero(t, nothing.Moved)
	same, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{})
	require.NoError(t, err)
	require.Equal(t, job.ID, same.ID, "a plan is applied once")
	require.Equal(t, 300, d.seen())
	jobs, err := d.redriver.Jobs(t.Context(), queue)
	require.NoError(t, err)
	require.Len(t, jobs, 1)
	require.Equal(t, []any{"ada", "the seat map is mended", int64(300)}, []any{jobs[0].Plan.By, jobs[0].Plan.Reason, jobs[0].Handled})
}

func TestLettersThatFailAgainAreOpenAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fail = func(r *kgo.Record) error {
		if n, _ := strconv.Atoi(string(r.Key[1:])); n%5 == 0 {
			return errors.New("no such seat")
		}
		return nil
	}
	d.run()
	d.fill(0, 50)
	for round := range dlq.DefaultMaxGeneration {
		plan := d.plan(dlq.PlanConfig{})
		require.Equal(t, int64(50-40*min(round, 1)), plan.Records)
		job, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{Await: 10 * time.Second})
		require.NoError(t, err)
		require.Equal(t, int64(10), job.DeadAgain)
		require.Zero(t, job.Pending())
	}
	require.Equal(t, map[dlq.State]int{dlq.StateHandled: 40, dlq.StateDeadAgain: 30, dlq.StateOpen: 10}, d.states())
	loop := d.plan(dlq.PlanConfig{})
	require.Zero(t, loop.Records)
	require.Equal(t, map[dlq.Blocked]int64{dlq.BlockedLoop: 10}, loop.Blocked)
	forced := d.plan(dlq.PlanConfig{Force: true, Reason: "the handler is mended"})
	require.Equal(t, int64(10), forced.Records)
}

// TestJobsSurviveCrashes ends a job at each of its steps, the first, second and third time
// that it gets there, and has another process go on.
func TestJobsSurviveCrashes(t *testing.T) {
	t.Parallel()
	for _, name := range dlq.Steps {
		for nth := 1; nth <= 3; nth++ {
			t.Run(fmt.Sprintf("%s %d", name, nth), func(t *testing.T) {
				t.Parallel()
				d := newDesk(t)
				d.fill(0, 90)
				plan := d.plan(dlq.PlanConfig{Force: true, Reason: "nobody is there"})
				crashes := 0
				dlq.At(d.redriver, func(at string) error {
					if at != name {
						return nil
					}
					crashes++
					if crashes == nth {
						return dlq.ErrCrash
					}
					return nil
				})
				// So slow that it takes some transactions, and so fast that it does not take long.
				cfg := dlq.ApplyConfig{Rate: 300}
				_, err := d.redriver.Apply(t.Context(), plan, cfg)
				if crashes < nth { // it does not get there so often
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, dlq.ErrCrash)
				}
				other := d.newRedriver()
				cfg.Takeover = true
				job, err := other.Apply(t.Context(), plan, cfg)
				require.NoError(t, err)
				require.Equal(t, dlq.JobDone, job.State)
				require.Equal(t, int64(90), job.Moved)
				d.requireOnceInOrder(90)
				require.Equal(t, map[dlq.State]int{dlq.StateRedriven: 90}, d.states())
			})
		}
	}
}

// requireOnceInOrder checks that n letters came back once each, those of a partition in
// their order.
func (d *desk) requireOnceInOrder(n int) {
	d.t.Helper()
	records := d.committed(back)
	last := map[int32]int64{}
	seen := map[string]bool{}
	for _, r := range records {
		id, _ := duplex.Header(r, dlq.HeaderID)
		require.False(d.t, seen[id], "%s came twice", id)
		seen[id] = true
		text, _ := duplex.Header(r, dlq.HeaderOriginOffset)
		offset, err := strconv.ParseInt(text, 10, 64)
		require.NoError(d.t, err)
		if before, some := last[r.Partition]; some {
			require.Greater(d.t, offset, before, "out of order")
		}
		last[r.Partition] = offset
	}
	require.Len(d.t, seen, n)
}
