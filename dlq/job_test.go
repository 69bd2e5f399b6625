package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/dlq"
)

// TestJobsSurviveErrors has Kafka fail at each of a job's steps, as far as the job can see;
// what it had begun there may or may not have been done.
func TestJobsSurviveErrors(t *testing.T) {
	t.Parallel()
	for _, name := range dlq.Steps {
		for nth := 1; nth <= 3; nth++ {
			t.Run(fmt.Sprintf("%s %d", name, nth), func(t *testing.T) {
				t.Parallel()
				d := newDesk(t)
				d.fill(0, 90)
				plan := d.plan(dlq.PlanConfig{Force: true, Reason: "nobody is there"})
				n := 0
				dlq.At(d.redriver, func(at string) error {
					if at == name {
						n++
					}
					if at == name && n == nth {
						return errors.New("the broker went away")
					}
					return nil
				})
				job, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{Rate: 300})
				require.NoError(t, err)
				require.Equal(t, []any{dlq.JobDone, int64(90)}, []any{job.State, job.Moved})
				d.requireOnceInOrder(90)
			})
		}
	}
}

// working has a job work slowly, and returns when it began.
func (d *desk) working(r *dlq.Redriver, plan *dlq.Plan, cfg dlq.ApplyConfig) (id string, ended chan error) {
	d.t.Helper()
	began := make(chan string, 1)
	cfg.Progress = func(p dlq.JobProgress) {
		select {
		case began <- p.ID:
		default:
		}
	}
	ended = make(chan error, 1)
	go func() {
		_, err := r.Apply(d.t.Context(), plan, cfg)
		ended <- err
	}()
	select {
	case id = <-began:
	case err := <-ended:
		require.NoError(d.t, err)
		require.Fail(d.t, "it ended")
	}
	return id, ended
}

func (d *desk) forced() *dlq.Plan {
	return d.plan(dlq.PlanConfig{Force: true, Reason: "nobody is there"})
}

func TestOneJobAtATime(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 60)
	first, second := d.forced(), d.forced()
	id, ended := d.working(d.redriver, first, dlq.ApplyConfig{Rate: 60})
	_, err := d.newRedriver().Apply(t.Context(), second, dlq.ApplyConfig{})
	require.ErrorIs(t, err, duplex.ErrRefused)
	require.ErrorContains(t, err, "job "+id+" is not over")
	_, err = d.newRedriver().Apply(t.Context(), first, dlq.ApplyConfig{})
	require.ErrorIs(t, err, duplex.ErrRefused, "another process works at it")
	require.NoError(t, <-ended)
	_, err = d.newRedriver().Apply(t.Context(), second, dlq.ApplyConfig{})
	require.ErrorIs(t, err, duplex.ErrRefused)
	require.ErrorContains(t, err, "another job had 60 of its letters")
	d.requireOnceInOrder(60)
}

// TestTwoAtOnce has two processes apply plans for the same letters in the same moment.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	for range 5 {
		d := newDesk(t)
		d.fill(0, 60)
		plans := []*dlq.Plan{d.forced(), d.forced()}
		errs := make(chan error, 2)
		for i, r := range []*dlq.Redriver{d.redriver, d.newRedriver()} {
			go func() {
				_, err := r.Apply(t.Context(), plans[i], dlq.ApplyConfig{Rate: 300})
				errs <- err
			}()
		}
		first, second := <-errs, <-errs
		if first == nil {
			first = second
			second = nil
		}
		require.ErrorIs(t, first, duplex.ErrRefused)
		require.NoError(t, second)
		d.requireOnceInOrder(60)
	}
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 90)
	id, ended := d.working(d.redriver, d.forced(), dlq.ApplyConfig{Rate: 30})
	other := d.newRedriver()
	_, err := other.Resume(t.Context(), queue, id, dlq.ApplyConfig{})
	require.ErrorIs(t, err, duplex.ErrRefused)
	job, err := other.Resume(t.Context(), queue, id, dlq.ApplyConfig{Takeover: true})
	require.NoError(t, err)
	require.Equal(t, int64(90), job.Moved)
	err = <-ended
	if err != nil { // it may have learnt of it only when the job was over
		require.ErrorIs(t, err, duplex.ErrFenced)
	}
	d.requireOnceInOrder(90)
}

func TestPauseContinueCancel(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 200)
	id, ended := d.working(d.redriver, d.forced(), dlq.ApplyConfig{Rate: 40})
	other := d.newRedriver()
	state := func(want dlq.JobState) *dlq.Job {
		var j *dlq.Job
		require.Eventually(t, func() bool {
			var err error
			j, err = other.Job(t.Context(), queue, id)
			return err == nil && j.State == want
		}, 10*time.Second, 20*time.Millisecond)
		return j
	}
	require.NoError(t, other.Pause(t.Context(), queue, id, "ada"))
	paused := state(dlq.JobPaused)
	require.NoError(t, other.Continue(t.Context(), queue, id, "ada", 80))
	running := state(dlq.JobRunning)
	require.GreaterOrEqual(t, running.Moved, paused.Moved)
	require.NoError(t, other.Cancel(t.Context(), queue, id, "ada", "enough"))
	require.NoError(t, <-ended)
	over := state(dlq.JobCancelled)
	require.Equal(t, "enough", over.Why)
	states := d.states()
	require.Equal(t, int(over.Moved), states[dlq.StateRedriven])
	require.Equal(t, 200-int(over.Moved), states[dlq.StateOpen], "the rest is open again")
	require.Positive(t, states[dlq.StateOpen])
	err := other.Pause(t.Context(), queue, id, "ada")
	require.ErrorIs(t, err, duplex.ErrRefused)
	_, err = other.Job(t.Context(), queue, "nope")
	require.ErrorIs(t, err, duplex.ErrRefused)
	require.ErrorContains(t, err, id)

	rest, err := d.redriver.Apply(t.Context(), d.forced(), dlq.ApplyConfig{})
	require.NoError(t, err)
	require.Equal(t, 200-over.Moved, rest.Moved)
	d.requireOnceInOrder(200)
}

func TestStoppedJobsAreResumed(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 120)
	plan := d.forced()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	_, err := d.redriver.Apply(ctx, plan, dlq.ApplyConfig{Rate: 40, Progress: func(p dlq.JobProgress) {
		if p.Moved > 0 {
			stop()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	jobs, err := d.redriver.Jobs(t.Context(), queue)
	require.NoError(t, err)
	require.Equal(t, dlq.JobInterrupted, jobs[0].State)
	selected := d.states()[dlq.StateSelected]
	require.Equal(t, 120-int(jobs[0].Moved), selected)
	_, err = d.redriver.Apply(t.Context(), d.forced(), dlq.ApplyConfig{})
	require.NoError(t, err, "nothing is open, so there is nothing to refuse")
	job, err := d.newRedriver().Resume(t.Context(), queue, jobs[0].ID, dlq.ApplyConfig{})
	require.NoError(t, err)
	require.Equal(t, int64(120), job.Moved)
	d.requireOnceInOrder(120)
}

func TestAbortRateStopsWhatFailsAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fail = func(*kgo.Record) error { return errors.New("still down") }
	d.run()
	d.fill(0, 100)
	job, err := d.redriver.Apply(t.Context(), d.plan(dlq.PlanConfig{}), dlq.ApplyConfig{Canary: 5, AbortRate: 0.5})
	require.NoError(t, err)
	require.Equal(t, []any{dlq.JobAborted, int64(5), int64(5)}, []any{job.State, job.Moved, job.DeadAgain})
	require.Equal(t, map[dlq.State]int{dlq.StateDeadAgain: 5, dlq.StateOpen: 100}, d.states(), "95 that did not move, 5 new letters")
}

func TestDiscardAndRestore(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 30)
	filter, err := dlq.ParseFilter("fingerprint=v1:0000000000000001")
	require.NoError(t, err)
	_, err = d.redriver.Plan(t.Context(), queue, dlq.PlanConfig{Kind: dlq.KindDiscard, Filter: filter})
	require.ErrorContains(t, err, "needs one", "a reason")
	job, err := d.redriver.Apply(t.Context(), d.plan(dlq.PlanConfig{Kind: dlq.KindDiscard, Filter: filter, Reason: "test data"}), dlq.ApplyConfig{})
	require.NoError(t, err)
	require.Equal(t, []any{dlq.JobDone, int64(10)}, []any{job.State, job.Moved})
	require.Equal(t, map[dlq.State]int{dlq.StateDiscarded: 10, dlq.StateOpen: 20}, d.states())
	require.Equal(t, int64(20), d.forced().Records, "what is discarded is not redriven")
	restored, err := d.redriver.Apply(t.Context(), d.plan(dlq.PlanConfig{Kind: dlq.KindRestore, Limit: 4}), dlq.ApplyConfig{})
	require.NoError(t, err)
	require.Equal(t, int64(4), restored.Moved)
	require.Equal(t, map[dlq.State]int{dlq.StateDiscarded: 6, dlq.StateOpen: 24}, d.states())
	require.Empty(t, d.committed(back))
}

func TestEditedRecordsAreOthers(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.run()
	d.fill(0, 30)
	var edits atomic.Int64
	plan := d.plan(dlq.PlanConfig{Edited: true})
	job, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{Await: 10 * time.Second, Edit: func(_ context.Context, letters []*dlq.Letter) error {
		for _, l := range letters {
			if l.ErrorMessage == "" || l.Fingerprint == "" {
				return errors.New("who edits letters is not told why they failed")
			}
			if l.Origin.Offset%2 == 0 {
				l.Record.Value = []byte("mended")
				edits.Add(1)
			}
		}
		return nil
	}})
	require.NoError(t, err)
	require.Equal(t, int64(15), edits.Load())
	require.Equal(t, int64(30), job.Handled)
	require.Equal(t, map[dlq.State]int{dlq.StateHandled: 30}, d.states())
	for _, r := range d.handled {
		id, _ := duplex.Header(r, dlq.HeaderID)
		of, edited := duplex.Header(r, dlq.HeaderEditOf)
		require.Equal(t, string(r.Value) == "mended", edited)
		if edited {
			require.Equal(t, of+"!"+job.ID, id)
		}
	}
	_, err = d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{})
	require.ErrorContains(t, err, "its records are to be edited")
}

func TestAnEditThatFailsLeavesTheRestOpen(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 30)
	job, err := d.redriver.Apply(t.Context(), d.plan(dlq.PlanConfig{Edited: true, Force: true, Reason: "x"}), dlq.ApplyConfig{
		Edit: func(context.Context, []*dlq.Letter) error { return errors.New("no such field") },
	})
	require.ErrorContains(t, err, "no such field")
	require.Empty(t, d.committed(back))
	require.NoError(t, d.redriver.Cancel(t.Context(), queue, job.ID, "ada", "the edit is wrong"))
	require.Equal(t, map[dlq.State]int{dlq.StateOpen: 30}, d.states())
}

// TestPlansThatDoNotFitAreRefused names what is different.
func TestPlansThatDoNotFitAreRefused(t *testing.T) {
	t.Parallel()
	refused := func(d *desk, plan *dlq.Plan, words string) {
		t.Helper()
		_, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{})
		require.ErrorIs(t, err, duplex.ErrRefused)
		require.ErrorContains(t, err, words)
		require.Empty(t, d.committed(back))
	}
	t.Run("of yesterday", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		d.fill(0, 9)
		plan := d.forced()
		d.fill(9, 12)
		_, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{MaxAge: time.Nanosecond})
		require.ErrorIs(t, err, duplex.ErrRefused)
		require.ErrorContains(t, err, "old, and at most 1ns is allowed; 3 letters arrived")
	})
	t.Run("letters expired", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		d.fill(0, 9)
		plan := d.forced()
		_, err := kadm.NewClient(d.client).DeleteRecords(t.Context(), kadm.Offsets{queue: {0: {Topic: queue, At: 2}}})
		require.NoError(t, err)
		refused(d, plan, "2 of its letters have expired")
	})
	t.Run("another topic of the name", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		d.fill(0, 9)
		plan := d.forced()
		admin := kadm.NewClient(d.client)
		_, err := admin.DeleteTopic(t.Context(), queue)
		require.NoError(t, err)
		_, err = admin.CreateTopic(t.Context(), deskPartitions, 1, nil, queue)
		require.NoError(t, err)
		refused(d, plan, "made again")
	})
	t.Run("the target grew", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		d.fill(0, 9)
		plan := d.forced()
		_, err := kadm.NewClient(d.client).CreatePartitions(t.Context(), 2, back)
		require.NoError(t, err)
		refused(d, plan, "had 3 partitions and has 5")
	})
	t.Run("nobody is there", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		d.fill(0, 9)
		refused(d, d.plan(dlq.PlanConfig{}), "nobody reads "+back)
	})
	t.Run("changed by hand", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t)
		d.fill(0, 9)
		plan := d.forced()
		plan.Target.Topic = "orders"
		_, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{})
		require.ErrorContains(t, err, "not as it was made")
	})
}

func TestTargetsThatAreRefused(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 3)
	for target, words := range map[string]string{
		"topic:" + queue:        "is a dead-letter queue",
		"topic:dlq.other.topic": "is a dead-letter queue",
		"topic:dlq-audit":       "is a dead-letter queue",
		"topic:orders":          "allowed are",
	} {
		to, err := dlq.ParseTarget(target)
		require.NoError(t, err)
		_, err = d.redriver.Plan(t.Context(), queue, dlq.PlanConfig{Target: to})
		require.ErrorIs(t, err, duplex.ErrRefused, target)
		require.ErrorContains(t, err, words)
	}
	_, err := dlq.ParseTarget("orders")
	require.ErrorContains(t, err, "want retry, origin or topic:NAME")
}

func TestNewLettersAreNotTouched(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 30)
	plan := d.forced()
	d.fill(30, 60)
	job, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{})
	require.NoError(t, err)
	require.Equal(t, int64(30), job.Moved)
	d.requireOnceInOrder(30)
	require.Equal(t, map[dlq.State]int{dlq.StateRedriven: 30, dlq.StateOpen: 30}, d.states())
}

// TestOldJobsHideNoNewFailures: a queue that was deleted and made again has the same
// offsets.
func TestOldJobsHideNoNewFailures(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 30)
	_, err := d.redriver.Apply(t.Context(), d.forced(), dlq.ApplyConfig{})
	require.NoError(t, err)
	admin := kadm.NewClient(d.client)
	_, err = admin.DeleteTopic(t.Context(), queue)
	require.NoError(t, err)
	_, err = admin.CreateTopic(t.Context(), deskPartitions, 1, nil, queue)
	require.NoError(t, err)
	again := d.newRedriver()
	fresh := client(t, d.b)
	fill(t, fresh, queue, deskPartitions, 100, 130)
	require.Equal(t, map[dlq.State]int{dlq.StateOpen: 30}, d.states())
	jobs, err := again.Jobs(t.Context(), queue)
	require.NoError(t, err)
	require.Empty(t, jobs)
}

func TestLettersTrimmedUnderAJobCountAsExpired(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 300)
	plan := d.forced()
	var trimmed atomic.Bool
	dlq.At(d.redriver, func(at string) error {
		if at == "claimed" && trimmed.CompareAndSwap(false, true) {
			_, err := kadm.NewClient(d.client).DeleteRecords(t.Context(), kadm.Offsets{queue: {1: {Topic: queue, Partition: 1, At: 40}, 2: {Topic: queue, Partition: 2, At: 100}}})
			require.NoError(t, err)
		}
		return nil
	})
	job, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{})
	require.NoError(t, err)
	require.Equal(t, []int64{160, 140}, []int64{job.Moved, job.Expired})
	d.requireOnceInOrder(160)
}

func TestStateOfALaterVersionIsRefused(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 3)
	_, err := d.redriver.Apply(t.Context(), d.forced(), dlq.ApplyConfig{})
	require.NoError(t, err)
	jobs, err := d.redriver.Jobs(t.Context(), queue)
	require.NoError(t, err)
	e := &kgo.Record{Topic: dlq.StateTopic("boards"), Key: []byte("progress/" + jobs[0].ID), Value: []byte(`{"v":2}`)}
	require.NoError(t, d.client.ProduceSync(t.Context(), e).FirstErr())
	_, err = d.redriver.Jobs(t.Context(), queue)
	require.ErrorIs(t, err, duplex.ErrRefused)
	require.ErrorContains(t, err, "a later Duplex was here")
	_, err = d.redriver.Plan(t.Context(), queue, dlq.PlanConfig{})
	require.ErrorIs(t, err, duplex.ErrRefused)
}

func TestQueuesThatAreNotThere(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	empty := d.plan(dlq.PlanConfig{})
	require.Zero(t, empty.Records)
	_, err := d.redriver.Plan(t.Context(), "dlq.nobody.nothing", dlq.PlanConfig{})
	require.ErrorIs(t, err, duplex.ErrUnknownTopic)
	_, err = d.redriver.Jobs(t.Context(), "dlq.nobody.nothing")
	require.ErrorIs(t, err, duplex.ErrUnknownTopic)
}

func TestTheAuditTellsAll(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 6)
	_, err := d.redriver.Apply(t.Context(), d.plan(dlq.PlanConfig{Force: true, By: "ada", Reason: "mended"}), dlq.ApplyConfig{})
	require.NoError(t, err)
	var events []string
	for _, r := range d.committed(dlq.AuditTopic) {
		a, err := dlq.ParseAudit(r.Value)
		require.NoError(t, err)
		require.Equal(t, []string{"ada", "mended", queue}, []string{a.By, a.Reason, a.Queue})
		events = append(events, fmt.Sprintf("%s %d %v", a.Event, a.Records, a.Offsets))
	}
	require.True(t, slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "moved") }))
	require.Equal(t, "began 0 map[]", events[0])
	require.Equal(t, "done 6 map[]", events[len(events)-1])
}

// TestCopiesAreClosedWithTheirFirst: a crash may leave two copies of a letter, and one of
// them is redriven.
func TestCopiesAreClosedWithTheirFirst(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 30)
	d.fill(21, 30)
	plan := d.forced()
	require.Equal(t, int64(30), plan.Records)
	_, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{})
	require.NoError(t, err)
	d.requireOnceInOrder(30)
	require.Equal(t, map[dlq.State]int{dlq.StateRedriven: 30, dlq.StateDuplicate: 9}, d.states())
	queues, err := inspector(t, d.b).Queues(t.Context())
	require.NoError(t, err)
	require.Zero(t, queues[0].Open)
	// The first copies expire before the second ones: those are not open then.
	_, err = kadm.NewClient(d.client).DeleteRecords(t.Context(), kadm.Offsets{queue: {0: {Topic: queue, At: 10}, 1: {Topic: queue, Partition: 1, At: 10}, 2: {Topic: queue, Partition: 2, At: 10}}})
	require.NoError(t, err)
	require.Equal(t, map[dlq.State]int{dlq.StateDuplicate: 9}, d.states())
	require.Zero(t, d.forced().Records)
}

// TestPointersComeBackWithTheirValues: what was too large for the queue is at its origin, if
// it is still there.
func TestPointersComeBackWithTheirValues(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for p := range int32(2) {
		r := &kgo.Record{Topic: "orders", Partition: p, Key: []byte("k"), Value: []byte("large"), Headers: []kgo.RecordHeader{{Key: "tenant", Value: []byte("acme")}}}
		require.NoError(t, d.client.ProduceSync(t.Context(), r).FirstErr())
		pointer := letter(queue, p, 0)
		pointer.Value = nil
		pointer.Headers = slices.DeleteFunc(pointer.Headers, func(h kgo.RecordHeader) bool { return h.Key == dlq.HeaderReason })
		pointer.Headers = append(pointer.Headers, kgo.RecordHeader{Key: dlq.HeaderReason, Value: []byte("too-large")})
		require.NoError(t, d.client.ProduceSync(t.Context(), pointer).FirstErr())
	}
	_, err := kadm.NewClient(d.client).DeleteRecords(t.Context(), kadm.Offsets{"orders": {1: {Topic: "orders", Partition: 1, At: 1}}})
	require.NoError(t, err)
	plan := d.forced()
	require.Equal(t, int64(1), plan.Records)
	require.Equal(t, map[dlq.Blocked]int64{dlq.BlockedGone: 1}, plan.Blocked)
	job, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{})
	require.NoError(t, err)
	require.Equal(t, int64(1), job.Moved)
	back := d.committed(back)
	require.Len(t, back, 1)
	tenant, _ := duplex.Header(back[0], "tenant")
	require.Equal(t, []string{"large", "acme"}, []string{string(back[0].Value), tenant})
}

// TestPointersThatAreGoneMeanwhileStayOpen looks at those that were there when the plan was
// made.
func TestPointersThatAreGoneMeanwhileStayOpen(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 6)
	r := &kgo.Record{Topic: "orders", Partition: 0, Value: []byte("large")}
	require.NoError(t, d.client.ProduceSync(t.Context(), r).FirstErr())
	pointer := letter(queue, 0, 0)
	pointer.Value = nil
	for i := range pointer.Headers {
		switch pointer.Headers[i].Key {
		case dlq.HeaderReason:
			pointer.Headers[i].Value = []byte("too-large")
		case dlq.HeaderID:
			pointer.Headers[i].Value = []byte("orders/0/0@boards#large1")
		}
	}
	require.NoError(t, d.client.ProduceSync(t.Context(), pointer).FirstErr())
	plan := d.forced()
	require.Equal(t, int64(7), plan.Records)
	_, err := kadm.NewClient(d.client).DeleteRecords(t.Context(), kadm.Offsets{"orders": {0: {Topic: "orders", At: 1}}})
	require.NoError(t, err)
	job, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{})
	require.NoError(t, err)
	require.Equal(t, []int64{6, 1}, []int64{job.Moved, job.Left})
	require.Equal(t, map[dlq.State]int{dlq.StateRedriven: 6, dlq.StateOpen: 1}, d.states())
}

// TestRecordsThatAreTooLargeStayOpen, and hold up nothing.
func TestRecordsThatAreTooLargeStayOpen(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 30)
	large := letter(queue, 1, 100)
	large.Value = make([]byte, 200<<10)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range large.Value {
		large.Value[i] = byte(random.Uint32())
	}
	require.NoError(t, d.client.ProduceSync(t.Context(), large).FirstErr())
	d.fill(30, 60)
	_, err := kadm.NewClient(d.client).AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: new("20000")}}, back)
	require.NoError(t, err)
	job, err := d.redriver.Apply(t.Context(), d.forced(), dlq.ApplyConfig{})
	require.NoError(t, err)
	require.Equal(t, []int64{60, 1}, []int64{job.Moved, job.Left})
	d.requireOnceInOrder(60)
	require.Equal(t, map[dlq.State]int{dlq.StateRedriven: 60, dlq.StateOpen: 1}, d.states())
}

// TestWhatIsAskedGoesByTheTopicNotByClocks: somebody whose clock is behind resumes what
// somebody whose clock is ahead has paused.
func TestWhatIsAskedGoesByTheTopicNotByClocks(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.fill(0, 60)
	id, ended := d.working(d.redriver, d.forced(), dlq.ApplyConfig{Rate: 60})
	ask := func(want string, at time.Time) {
		require.NoError(t, d.client.ProduceSync(t.Context(), &kgo.Record{
			Topic: dlq.StateTopic("boards"), Key: []byte("control/" + id), Value: fmt.Appendf(nil, `{"v":1,"want":%q,"by":"x","at":%d}`, want, at.UnixMilli()),
		}).FirstErr())
	}
	ask("pause", time.Now().Add(time.Hour))
	require.Eventually(t, func() bool {
		j, err := d.newRedriver().Job(t.Context(), queue, id)
		return err == nil && j.State == dlq.JobPaused
	}, 10*time.Second, 50*time.Millisecond)
	ask("run", time.Now().Add(-time.Hour))
	require.NoError(t, <-ended)
	d.requireOnceInOrder(60)
}
