package suite

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/duplextest"
)

func redriving() []Scenario {
	return []Scenario{
		{"letters that come back are handled once, and those that fail again are stopped at their third return", []string{"D2", "D3", "D4"}, loopsAreStopped},
		{"a plan is refused when letters of it have expired, and letters that came after it stay", []string{"D2", "D5"}, plansAreFrozen},
		{"letters that expire under a job are counted", []string{"D1", "D2"}, expiredLettersAreCounted},
		{"a queue that is deleted and made again keeps its letters from old plans and jobs", []string{"D5"}, otherQueuesAreLeftAlone},
		{"a job that was stopped goes on where it was", []string{"D1", "D2"}, stoppedJobsGoOn},
	}
}

// shelf is a group with dead letters, and who redrives them.
type shelf struct {
	*group
	kafka       Kafka
	queue, back string
	admin       *kadm.Client
	redriver    *dlq.Redriver
}

// newShelf has n records of so many bytes more than a number fail in each partition.
func newShelf(t *testing.T, k Kafka, partitions int32, n, size int) *shelf {
	t.Helper()
	g := newGroup(t, k, partitions)
	s := &shelf{
		group: g, kafka: k, queue: dlq.DeadTopic(g.name, g.topic), back: dlq.RedriveTopic(g.name, g.topic),
		admin: kadm.NewClient(kafkaClient(t, k)),
	}
	var err error
	s.redriver, err = dlq.NewRedriver(dlq.RedriverConfig{Cluster: k.Cluster})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.redriver.Close()) })
	m := s.run(func(*kgo.Record) error { return errors.New("the booking service is down") })
	s.more(n, size)
	m.stop()
	return s
}

// more has n more records of each partition fail.
func (s *shelf) more(n, size int) {
	s.t.Helper()
	var all []*kgo.Record
	for p := range s.partitions {
		for i := range n {
			all = append(all, &kgo.Record{Topic: s.topic, Key: keyOf(p, s.partitions), Value: append(strconv.AppendInt(nil, int64(i), 10), noise(size)...)})
		}
	}
	ends := map[int32]int64{}
	for _, r := range s.p.PublishBatch(s.t.Context(), all...) {
		require.NoError(s.t, r.Err)
		ends[r.Position.Partition] = max(ends[r.Position.Partition], r.Position.Offset+1)
	}
	for p, end := range ends {
		duplextest.RequireCommitted(s.t, s.kafka.Cluster, s.name, s.topic, p, end)
	}
}

// run has a member of the group handle records.
func (s *shelf) run(handle func(*kgo.Record) error) *member {
	s.t.Helper()
	m := start(s.t, consumer.Config{
		Cluster: s.kafka.Cluster, Group: s.name, SessionTimeout: s.kafka.Session, CommitInterval: 50 * time.Millisecond,
		Failures: dlq.Policy{MaxAttempts: 1, MaxDeadRatio: 1},
		Handlers: []consumer.Handler{consumer.HandleRecord(s.topic, func(_ context.Context, r *kgo.Record) error { return handle(r) })},
	})
	eventually(s.t, "it has its partitions", func() bool { return m.owns() >= 2*int(s.partitions) || m.Status().Code == duplex.StatusClosed })
	require.NotEqual(s.t, duplex.StatusClosed, m.Status().Code, "it has ended")
	return m
}

func (s *shelf) plan(cfg dlq.PlanConfig) *dlq.Plan {
	s.t.Helper()
	plan, err := s.redriver.Plan(s.t.Context(), s.queue, cfg)
	require.NoError(s.t, err)
	return plan
}

// forced is a plan for all that is open, whether anybody gets it or not.
func (s *shelf) forced() *dlq.Plan {
	s.t.Helper()
	return s.plan(dlq.PlanConfig{Force: true, Reason: "nobody is there"})
}

// states counts the letters by their states.
func (s *shelf) states() map[dlq.State]int {
	s.t.Helper()
	i, err := dlq.NewInspector(dlq.InspectorConfig{Cluster: s.kafka.Cluster})
	require.NoError(s.t, err)
	defer i.Close()
	found := map[dlq.State]int{}
	_, err = i.Scan(s.t.Context(), s.queue, dlq.ScanConfig{}, func(l *dlq.Letter) error {
		found[l.State]++
		return nil
	})
	require.NoError(s.t, err)
	return found
}

// requireBack checks that n letters came back, once each, those of a partition in their order.
func (s *shelf) requireBack(n int) {
	s.t.Helper()
	last, seen := map[int32]int64{}, map[string]bool{}
	for _, r := range readAll(s.t, s.kafka, s.back) {
		id, _ := duplex.Header(r, dlq.HeaderID)
		generation, _ := duplex.Header(r, dlq.HeaderGeneration)
		require.False(s.t, seen[id+generation], "%s came back twice", id)
		seen[id+generation] = true
		text, _ := duplex.Header(r, dlq.HeaderOriginOffset)
		offset := int64(must(strconv.Atoi(text)))
		if before, some := last[r.Partition]; some {
			require.Greater(s.t, offset, before, "letters of partition %d are out of order", r.Partition)
		}
		last[r.Partition] = offset
	}
	require.Len(s.t, seen, n)
}

// trim has the broker delete what is before an offset of the queue's first partition.
func (s *shelf) trim(to int64) {
	s.t.Helper()
	_, err := s.admin.DeleteRecords(s.t.Context(), kadm.Offsets{s.queue: {0: {Topic: s.queue, Partition: 0, At: to}}})
	require.NoError(s.t, err)
}

func loopsAreStopped(t *testing.T, k Kafka) {
	const n = 20
	s := newShelf(t, k, 2, n, 0)
	var handled atomic.Int64
	m := s.run(func(r *kgo.Record) error {
		if v := string(r.Value); len(v) > 1 || v == "0" { // 0, and from 10 on
			return errors.New("still down")
		}
		handled.Add(1)
		return nil
	})
	const hopeless = 2 * 11
	for generation := range dlq.DefaultMaxGeneration {
		plan := s.plan(dlq.PlanConfig{})
		want := int64(hopeless)
		if generation == 0 {
			want = 2 * n
		}
		require.Equal(t, want, plan.Records)
		job, err := s.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{Await: patience})
		require.NoError(t, err)
		require.Equal(t, []int64{want, want - hopeless, hopeless, 0}, []int64{job.Moved, job.Handled, job.DeadAgain, job.Pending()})
	}
	loop := s.plan(dlq.PlanConfig{})
	require.Zero(t, loop.Records)
	require.Equal(t, map[dlq.Blocked]int64{dlq.BlockedLoop: hopeless}, loop.Blocked)
	require.EqualValues(t, 2*n-hopeless, handled.Load())
	require.Equal(t, map[dlq.State]int{dlq.StateHandled: 2*n - hopeless, dlq.StateDeadAgain: 3 * hopeless, dlq.StateOpen: hopeless}, s.states())
	require.EqualValues(t, hopeless, s.plan(dlq.PlanConfig{Force: true, Reason: "it is up"}).Records)
	m.stop()
}

func plansAreFrozen(t *testing.T, k Kafka) {
	const n = 30
	s := newShelf(t, k, 2, n, 0)
	plan := s.forced()
	require.EqualValues(t, 2*n, plan.Records)
	m := s.run(func(*kgo.Record) error { return errors.New("still down") })
	s.more(n, 0)
	m.stop()
	job, err := s.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{})
	require.NoError(t, err)
	require.EqualValues(t, 2*n, job.Moved)
	require.Equal(t, map[dlq.State]int{dlq.StateRedriven: 2 * n, dlq.StateOpen: 2 * n}, s.states(), "those that came after the plan stay")
	s.requireBack(2 * n)

	late := s.forced()
	require.EqualValues(t, 2*n, late.Records)
	s.trim(n + 5)
	_, err = s.redriver.Apply(t.Context(), late, dlq.ApplyConfig{})
	require.ErrorIs(t, err, duplex.ErrRefused)
	require.ErrorContains(t, err, "5 of its letters have expired")
	_, err = s.redriver.Apply(t.Context(), late, dlq.ApplyConfig{MaxAge: time.Nanosecond})
	require.ErrorIs(t, err, duplex.ErrRefused)
	require.ErrorContains(t, err, "at most 1ns is allowed")
	s.requireBack(2 * n)
}

// large is as much as has a queue of 900 letters not be read ahead as a whole.
const large = 50_000

func expiredLettersAreCounted(t *testing.T, k Kafka) {
	const n, to = 900, 880
	s := newShelf(t, k, 1, n, large)
	var trimmed atomic.Bool
	job, err := s.redriver.Apply(t.Context(), s.forced(), dlq.ApplyConfig{Progress: func(p dlq.JobProgress) {
		if p.Moved > 0 && trimmed.CompareAndSwap(false, true) {
			s.trim(to)
		}
	}})
	require.NoError(t, err)
	require.Equal(t, []any{dlq.JobDone, int64(n)}, []any{job.State, job.Moved + job.Expired})
	require.Positive(t, job.Expired)
	s.requireBack(int(job.Moved))
	require.Equal(t, map[dlq.State]int{dlq.StateRedriven: n - to}, s.states())
}

// remake deletes the queue, and makes it again with other letters at the same offsets.
func (s *shelf) remake(letters []*kgo.Record) {
	s.t.Helper()
	require.NoError(s.t, deleteTopics(s.t, s.admin, s.queue))
	eventually(s.t, "the queue is made again", func() bool {
		_, err := s.admin.CreateTopic(s.t.Context(), s.partitions, -1, nil, s.queue)
		return err == nil
	})
	// The client of before would hold on to the topic that is gone.
	cl := kafkaClient(s.t, s.kafka, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer cl.Close()
	for _, l := range letters {
		r := &kgo.Record{Topic: s.queue, Partition: l.Partition, Key: []byte("another"), Headers: l.Headers}
		require.NoError(s.t, cl.ProduceSync(s.t.Context(), r).FirstErr())
	}
}

func otherQueuesAreLeftAlone(t *testing.T, k Kafka) {
	const n = 900
	s := newShelf(t, k, 1, n, large)
	letters := readAll(t, k, s.queue)
	require.Len(t, letters, n)
	plan := s.forced()
	s.remake(letters)
	_, err := s.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{})
	require.ErrorIs(t, err, duplex.ErrRefused)
	require.ErrorContains(t, err, "made again")
	require.Empty(t, readAll(t, k, s.back))

	require.NoError(t, deleteTopics(t, s.admin, s.queue))
	eventually(t, "the queue is made again", func() bool {
		_, err := s.admin.CreateTopic(t.Context(), 1, -1, nil, s.queue)
		return err == nil
	})
	cl := kafkaClient(t, k, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for _, l := range letters {
		l.Topic = s.queue
	}
	require.NoError(t, cl.ProduceSync(t.Context(), letters...).FirstErr())
	var remade atomic.Bool
	job, err := s.redriver.Apply(t.Context(), s.forced(), dlq.ApplyConfig{Progress: func(p dlq.JobProgress) {
		if p.Moved > 0 && remade.CompareAndSwap(false, true) {
			s.remake(letters)
		}
	}})
	require.ErrorIs(t, err, duplex.ErrUnknownTopic, "%+v", job)
	for _, r := range readAll(t, k, s.back) {
		require.NotEqual(t, "another", string(r.Key), "a letter of another queue came back")
	}
	require.Equal(t, map[dlq.State]int{dlq.StateOpen: n}, s.states(), "the job says nothing of the new letters")
	_, err = s.redriver.Resume(t.Context(), s.queue, job.ID, dlq.ApplyConfig{Takeover: true})
	require.ErrorIs(t, err, duplex.ErrRefused)
}

func stoppedJobsGoOn(t *testing.T, k Kafka) {
	const n = 60
	s := newShelf(t, k, 2, n, 0)
	plan := s.forced()
	stops, left := 0, context.Canceled
	for left != nil {
		ctx, stop := context.WithCancel(t.Context())
		var moved int64 = -1
		var job *dlq.Job
		job, left = s.redriver.Apply(ctx, plan, dlq.ApplyConfig{Rate: 100, Progress: func(p dlq.JobProgress) {
			if moved < 0 {
				moved = p.Moved
			}
			if p.Moved > moved+int64(n)/2 {
				stop()
			}
		}})
		stop()
		if left != nil {
			require.ErrorIs(t, left, context.Canceled)
			require.Equal(t, dlq.JobInterrupted, job.State)
			stops++
		}
	}
	require.Positive(t, stops)
	s.requireBack(2 * n)
	require.Equal(t, map[dlq.State]int{dlq.StateRedriven: 2 * n}, s.states())
}
