//go:build synctests

package dlq_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/duplextest"
)

// TestVirtualRateIsKept: not more than the rate in any second, and all of it in the end.
func TestVirtualRateIsKept(t *testing.T) {
	duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
		d := deskOn(t, b)
		d.fill(0, 600)
		var moved int64
		var seconds [100]int64
		began := time.Now()
		job, err := d.redriver.Apply(t.Context(), d.forced(), dlq.ApplyConfig{Rate: 10, Progress: func(p dlq.JobProgress) {
			seconds[int(time.Since(began).Seconds())] += p.Moved - moved
			moved = p.Moved
		}})
		require.NoError(t, err)
		require.Equal(t, int64(600), job.Moved)
		require.InDelta(t, 60, time.Since(began).Seconds(), 2)
		for second, n := range seconds {
			require.LessOrEqual(t, n, int64(12), "in second %d", second)
		}
	})
}

// TestVirtualADeadJobIsResumed: fifteen seconds after its last sign of life, without a
// takeover; until then it may live.
func TestVirtualADeadJobIsResumed(t *testing.T) {
	duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
		d := deskOn(t, b)
		d.fill(0, 60)
		plan := d.forced()
		n := 0
		dlq.At(d.redriver, func(at string) error {
			if at == "published" {
				n++
			}
			if n == 3 {
				return dlq.ErrCrash
			}
			return nil
		})
		_, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{Rate: 60})
		require.ErrorIs(t, err, dlq.ErrCrash)
		died := time.Now()
		other := d.newRedriver()
		jobs, err := other.Jobs(t.Context(), queue)
		require.NoError(t, err)
		require.Equal(t, dlq.JobRunning, jobs[0].State)
		_, err = other.Resume(t.Context(), queue, jobs[0].ID, dlq.ApplyConfig{})
		require.ErrorIs(t, err, duplex.ErrRefused)
		for {
			time.Sleep(500 * time.Millisecond)
			if job, err := other.Resume(t.Context(), queue, jobs[0].ID, dlq.ApplyConfig{}); err == nil {
				require.Equal(t, int64(60), job.Moved)
				break
			}
			require.ErrorIs(t, err, duplex.ErrRefused)
			require.Less(t, time.Since(died), 20*time.Second)
		}
		require.Greater(t, time.Since(died), 12*time.Second)
		d.requireOnceInOrder(60)
	})
}

// TestVirtualReadersWaitNoLongerThanATransaction: a job dies with records in the log that are
// not committed, and nobody resumes it.
func TestVirtualReadersWaitNoLongerThanATransaction(t *testing.T) {
	duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
		d := deskOn(t, b)
		d.fill(0, 30)
		n := 0
		dlq.At(d.redriver, func(at string) error {
			if at == "published" {
				n++
			}
			if n == 2 { // the first one begins the job
				return dlq.ErrCrash
			}
			return nil
		})
		_, err := d.redriver.Apply(t.Context(), d.forced(), dlq.ApplyConfig{})
		require.ErrorIs(t, err, dlq.ErrCrash)
		died := time.Now()
		require.NoError(t, d.client.ProduceSync(t.Context(), &kgo.Record{Topic: back, Partition: 1, Value: []byte("behind it")}).FirstErr())
		reader := client(t, d.b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{back: {1: kgo.NewOffset().AtStart()}}), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		fetches := reader.PollFetches(ctx)
		require.NoError(t, fetches.Err())
		require.Equal(t, "behind it", string(fetches.Records()[0].Value))
		waited := time.Since(died)
		require.Greater(t, waited, time.Second, "it was behind a transaction")
		require.LessOrEqual(t, waited, 12*time.Second)
	})
}

// TestVirtualPausedJobsLive: as long as it takes, and nobody thinks that they died.
func TestVirtualPausedJobsLive(t *testing.T) {
	duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
		d := deskOn(t, b)
		d.fill(0, 60)
		id, ended := d.working(d.redriver, d.forced(), dlq.ApplyConfig{Rate: 20})
		other := d.newRedriver()
		require.NoError(t, other.Pause(t.Context(), queue, id, "ada"))
		time.Sleep(2 * time.Second)
		paused, err := other.Job(t.Context(), queue, id)
		require.NoError(t, err)
		require.Equal(t, dlq.JobPaused, paused.State)
		time.Sleep(time.Hour)
		for range 20 {
			time.Sleep(7 * time.Second)
			still, err := other.Job(t.Context(), queue, id)
			require.NoError(t, err)
			require.Equal(t, []any{dlq.JobPaused, paused.Moved}, []any{still.State, still.Moved})
		}
		require.NoError(t, other.Continue(t.Context(), queue, id, "ada", 0))
		require.NoError(t, <-ended)
		d.requireOnceInOrder(60)
	})
}

// TestVirtualAPlanOfYesterdayIsRefused, with what is different.
func TestVirtualAPlanOfYesterdayIsRefused(t *testing.T) {
	duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
		d := deskOn(t, b)
		d.fill(0, 9)
		plan := d.forced()
		time.Sleep(25 * time.Hour)
		d.fill(9, 12)
		_, err := d.redriver.Apply(t.Context(), plan, dlq.ApplyConfig{})
		require.ErrorIs(t, err, duplex.ErrRefused)
		require.ErrorContains(t, err, "since the plan: it is 25h0m0s old, and at most 12h0m0s is allowed; 3 letters arrived: make a new one")
	})
}

// TestVirtualOutcomesAreAwaited for as long as is asked, where nobody tells them.
func TestVirtualOutcomesAreAwaited(t *testing.T) {
	duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
		d := deskOn(t, b)
		d.fill(0, 9)
		began := time.Now()
		job, err := d.redriver.Apply(t.Context(), d.forced(), dlq.ApplyConfig{Await: 20 * time.Second})
		require.NoError(t, err)
		require.Equal(t, int64(9), job.Pending())
		require.InDelta(t, 20, time.Since(began).Seconds(), 1)
	})
}

// TestVirtualJobsArePruned when none of their letters is left, a day after they ended; nothing
// else is.
func TestVirtualJobsArePruned(t *testing.T) {
	duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
		d := deskOn(t, b)
		stop := d.start()
		apply := func(from, to int) string {
			d.fill(from, to)
			job, err := d.redriver.Apply(t.Context(), d.plan(dlq.PlanConfig{}), dlq.ApplyConfig{Await: 10 * time.Second})
			require.NoError(t, err)
			require.Equal(t, int64(to-from), job.Handled)
			return job.ID
		}
		first, second := apply(0, 9), apply(9, 18)
		_, err := kadm.NewClient(d.client).DeleteRecords(t.Context(), kadm.Offsets{queue: {0: {Topic: queue, At: 3}, 1: {Topic: queue, Partition: 1, At: 3}, 2: {Topic: queue, Partition: 2, At: 5}}})
		require.NoError(t, err)
		third := apply(18, 21)
		require.Len(t, d.jobs(), 3, "a day has not passed")
		stop()
		time.Sleep(25 * time.Hour)
		d.run()
		fourth := apply(21, 24)
		require.Equal(t, []string{second, third, fourth}, d.jobs())
		last := map[string]int{}
		for _, r := range d.committed(dlq.StateTopic("boards")) {
			if last[string(r.Key)] = len(r.Value); r.Value == nil {
				delete(last, string(r.Key))
			}
		}
		outcomes := 0
		for key := range last {
			require.NotContains(t, key, first)
			if strings.HasPrefix(key, "outcome/") {
				outcomes++
			}
		}
		require.Equal(t, 9+3+3, outcomes, "those of the first one are gone")
		require.Equal(t, map[dlq.State]int{dlq.StateHandled: 24 - 11}, d.states())
	})
}

// jobs are the IDs of the jobs that are known.
func (d *desk) jobs() (ids []string) {
	jobs, err := d.newRedriver().Jobs(d.t.Context(), queue)
	require.NoError(d.t, err)
	for _, j := range jobs {
		ids = append(ids, j.ID)
	}
	return ids
}

// TestVirtualAPauseOutlivesAnError: whoever paused a job has it paused until somebody has it go
// on.
func TestVirtualAPauseOutlivesAnError(t *testing.T) {
	duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
		d := deskOn(t, b)
		d.fill(0, 60)
		var failing atomic.Bool
		failed := 0
		dlq.At(d.redriver, func(at string) error {
			if at == "begun" && failing.CompareAndSwap(true, false) {
				failed++
				return errors.New("the broker went away")
			}
			return nil
		})
		id, ended := d.working(d.redriver, d.forced(), dlq.ApplyConfig{Rate: 20})
		other := d.newRedriver()
		require.NoError(t, other.Pause(t.Context(), queue, id, "ada"))
		time.Sleep(2 * time.Second)
		failing.Store(true)
		time.Sleep(30 * time.Second)
		still, err := other.Job(t.Context(), queue, id)
		require.NoError(t, err)
		require.Equal(t, dlq.JobPaused, still.State)
		require.Less(t, still.Moved, int64(60))
		require.NoError(t, other.Continue(t.Context(), queue, id, "ada", 0))
		require.NoError(t, <-ended)
		require.Equal(t, 1, failed)
		d.requireOnceInOrder(60)
	})
}
