package integration

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/dlq"
)

// redriveJobs is how many jobs are at work when a broker fails: enough that it has each part
// in one of them.
const redriveJobs = 6

// redriveParts are the parts that a broker may have in a job.
func redriveParts() []string {
	return []string{"leads the redrive topic", "leads the state topic", "coordinates transactions"}
}

// parts are those that a broker has in the job of a desk.
func (d *desk) parts(t *testing.T, c *kafkaCluster, n *kafkaNode) (all []string) {
	t.Helper()
	id := "dlq-redrive." + d.queue
	found := d.admin.FindTxnCoordinators(t.Context(), id)
	require.NoError(t, found.Error())
	for i, is := range []bool{c.leader(t, d.back, 0) == n, c.leader(t, d.state, 0) == n, c.nodes[found[id].NodeID-1] == n} {
		if is {
			all = append(all, redriveParts()[i])
		}
	}
	return all
}

// D1, D2: a broker that jobs need dies, or is frozen for longer than the others wait for it.
// Jobs go on by themselves, or end with an error and are taken up again; each letter comes
// back once.
func TestRedriveThroughFaultsOfBrokers(t *testing.T) {
	c := threeNodes(t)
	t.Run("killed", func(t *testing.T) { redriveThrough(t, c, (*kafkaNode).Kill, (*kafkaNode).Start, 0) })
	t.Run("frozen", func(t *testing.T) { redriveThrough(t, c, (*kafkaNode).Pause, (*kafkaNode).Unpause, 12*time.Second) })
}

// faultyRedrive is a job that a broker fails under.
type faultyRedrive struct {
	*desk
	begun chan struct{} // closed when it is in the middle
	parts []string
	job   *dlq.Job
	errs  []error
	took  time.Duration

	waited  time.Duration // by readers
	trouble error
}

// work has the job done.
func (f *faultyRedrive) work(r *dlq.Redriver, plan *dlq.Plan) {
	began := time.Now()
	begin := sync.OnceFunc(func() { close(f.begun) })
	defer begin()
	f.job, f.errs = f.apply(r, plan, dlq.ApplyConfig{Rate: 30, Takeover: true, Progress: func(p dlq.JobProgress) {
		if p.Moved >= 30 {
			begin()
		}
	}})
	f.took = time.Since(began)
}

// redriveThrough has a broker fail for a time, or until all jobs are done.
func redriveThrough(t *testing.T, c *kafkaCluster, fail, restore func(*kafkaNode, *testing.T), lasts time.Duration) {
	const letters = 150
	var jobs []*faultyRedrive
	var working, waiting sync.WaitGroup
	for i := range redriveJobs {
		f := &faultyRedrive{desk: newDesk(t, c.Cluster(), redrivePartitions, fmt.Sprint("-", i)), begun: make(chan struct{})}
		f.fill(0, letters)
		r := f.redriver(c.Cluster())
		plan := f.plan(r)
		jobs = append(jobs, f)
		working.Go(func() { f.work(r, plan) })
	}
	for _, f := range jobs {
		<-f.begun
	}
	victim := victimOf(t, c, jobs)
	fail(victim, t)
	for _, f := range jobs {
		waiting.Go(func() { f.waited, f.trouble = f.readersWait(t.Context()) })
	}
	if lasts > 0 {
		<-time.NewTimer(lasts).C
		restore(victim, t)
	}
	waiting.Wait()
	working.Wait()
	if lasts == 0 {
		restore(victim, t)
	}
	c.inSync(t)
	table := []string{fmt.Sprintf("%8s %6s %8s %8s %8s %12s  %s", "letters", "twice", "aborted", "took", "taken up", "readers wait", "the broker")}
	for _, f := range jobs {
		require.NoError(t, f.trouble)
		require.NotNil(t, f.job, "%v", f.errs)
		require.Equal(t, []any{dlq.JobDone, int64(letters)}, []any{f.job.State, f.job.Moved}, "%v", f.errs)
		found := f.requireOnce(strings.Join(f.parts, ", "), letters)
		require.Equal(t, map[dlq.State]int{dlq.StateRedriven: letters}, f.states())
		table = append(table, fmt.Sprintf("%8d %6d %8d %8s %8d %12s  %s", found.once, found.copies, found.aborted, f.took.Round(100*time.Millisecond),
			len(f.errs), f.waited.Round(time.Millisecond), strings.Join(f.parts, ", ")))
	}
	t.Log("\n" + strings.Join(table, "\n"))
}

// victimOf is a broker that has each part in one of the jobs. Where chance gave it none of a
// kind, it gets to lead a topic of the first job.
func victimOf(t *testing.T, c *kafkaCluster, jobs []*faultyRedrive) *kafkaNode {
	t.Helper()
	partsOf := func(n *kafkaNode) map[string]bool {
		has := map[string]bool{}
		for _, f := range jobs {
			for _, part := range f.desk.parts(t, c, n) {
				has[part] = true
			}
		}
		return has
	}
	leads, keeps, coordinates := redriveParts()[0], redriveParts()[1], redriveParts()[2]
	var victim *kafkaNode
	most := map[string]bool{}
	for _, n := range c.nodes {
		if has := partsOf(n); has[coordinates] && len(has) > len(most) {
			most, victim = has, n
		}
	}
	require.NotNil(t, victim, "nobody coordinates transactions")
	for part, topic := range map[string]string{leads: jobs[0].back, keeps: jobs[0].state} {
		if !most[part] {
			c.lead(t, victim, topic, 0)
		}
	}
	require.Len(t, partsOf(victim), len(redriveParts()))
	for _, f := range jobs {
		f.parts = f.desk.parts(t, c, victim)
	}
	return victim
}

var errStillDown = errors.New("still down")

// D1, D2: members of the group join and leave each second while letters come back, of which
// each tenth fails again. Each is handled, what became of each is known, and their order in
// the redrive topic is that of the queue.
func TestRedriveWhileMembersComeAndGo(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	const rate = 250
	letters := int(shortOr(1500, 30_000))
	d := newDesk(t, c, 6, "")
	d.fails = func(r *kgo.Record) error {
		if n, err := strconv.Atoi(string(r.Key[1:])); err != nil || n%10 == 0 {
			return errStillDown
		}
		return nil
	}
	_, stay := running(t, d.consumer(c))
	d.fill(0, letters)
	r := d.redriver(c)
	var job *dlq.Job
	var errs []error
	done := make(chan struct{})
	go func() {
		defer close(done)
		job, errs = d.apply(r, d.plan(r), dlq.ApplyConfig{Rate: rate})
	}()
	changes := 0
	var leave func() error
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for going := true; going; {
		select {
		case <-done:
			going = false
		case <-tick.C:
			changes++
			if leave == nil {
				_, leave = running(t, d.consumer(c))
				continue
			}
			require.NoError(t, leave())
			leave = nil
		}
	}
	require.Empty(t, errs)
	require.Positive(t, changes)
	require.Eventually(t, func() bool { job = d.only(r); return job.Pending() == 0 }, groupPatience, 200*time.Millisecond,
		"what became of all is not known: %v", printed{func() any { return *job }})
	if leave != nil {
		require.NoError(t, leave())
	}
	require.NoError(t, stay())
	handled, again := d.seen()
	require.Equal(t, letters*9/10, handled)
	require.Equal(t, []int64{int64(letters) * 9 / 10, int64(letters) / 10}, []int64{job.Handled, job.DeadAgain})
	found := d.requireOnce("rebalances", letters)
	require.Equal(t, map[dlq.State]int{dlq.StateHandled: letters * 9 / 10, dlq.StateDeadAgain: letters / 10, dlq.StateOpen: letters / 10}, d.states())
	t.Logf("%d changes of members: %d letters came back once, %d handled (%d again), %d dead again, %d pending",
		changes, found.once, job.Handled, again, job.DeadAgain, job.Pending())
}

// committedAll waits until the group has committed all of the redrive topic, and says how
// long that took.
func (d *desk) committedAll() time.Duration {
	d.t.Helper()
	began := time.Now()
	var missing string
	require.Eventually(d.t, func() bool {
		missing = ended(d.t.Context(), d.admin, d.group, d.back)
		return missing == ""
	}, groupPatience, 50*time.Millisecond, "the consumer is held up: %s", printed{func() any { return missing }})
	return time.Since(began)
}

// Somebody deletes the state topic while letters that came back are at work: what becomes of
// them is not learnt, and nobody waits for that.
func TestStateTopicIsDeletedUnderAConsumer(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	const letters = 60
	d := newDesk(t, c, redrivePartitions, "")
	_, stop := running(t, d.consumer(c))
	r := d.redriver(c)
	d.fill(0, letters)
	_, errs := d.apply(r, d.plan(r), dlq.ApplyConfig{Await: groupPatience})
	require.Empty(t, errs)
	require.EqualValues(t, letters, d.only(r).Handled)

	gate := make(chan struct{})
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	d.mu.Lock()
	d.fails = func(*kgo.Record) error { <-gate; return nil }
	d.mu.Unlock()
	d.fill(letters, 2*letters)
	_, errs = d.apply(r, d.plan(r), dlq.ApplyConfig{})
	require.Empty(t, errs)
	resps, err := kadm.NewClient(d.cl).DeleteTopics(t.Context(), d.state)
	require.NoError(t, errors.Join(err, resps.Error()))
	open()
	took := d.committedAll()
	handled, again := d.seen()
	require.Equal(t, []int{2 * letters, 0}, []int{handled, again})
	require.NoError(t, stop())
	require.Equal(t, map[dlq.State]int{dlq.StateOpen: 2 * letters}, d.states(), "nothing is known any more")
	t.Logf("state topic deleted: %d letters handled, all committed %s later", handled, took.Round(time.Millisecond))
}

// Somebody deletes the state topic under a job: it ends with an error that says so, and
// begins nothing anew.
func TestStateTopicIsDeletedUnderARedrive(t *testing.T) {
	t.Parallel()
	const letters = 150
	d := newDesk(t, cluster(t), redrivePartitions, "")
	d.fill(0, letters)
	r := d.redriver(d.cluster)
	var deleting error
	deleted := time.Time{}
	_, err := r.Apply(t.Context(), d.plan(r), dlq.ApplyConfig{Rate: 60, Progress: func(p dlq.JobProgress) {
		if p.Moved >= 30 && deleted.IsZero() {
			deleted = time.Now()
			resps, err := d.admin.DeleteTopics(t.Context(), d.state)
			deleting = errors.Join(err, resps.Error())
		}
	}})
	took := time.Since(deleted)
	require.NoError(t, deleting)
	require.ErrorIs(t, err, duplex.ErrUnknownTopic)
	found := d.cameBack()
	require.Zero(t, found.copies)
	require.Less(t, found.once, letters)
	t.Logf("state topic deleted under a job: it ended %s later; %d of %d letters came back once, %d copies: %.300v",
		took.Round(time.Millisecond), found.once, letters, found.copies, err)
}
