package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/dlq"
)

const (
	redriveLetters    = 90
	redrivePartitions = 3
	redriveRate       = 30 // so that it takes some transactions
)

// redriveStop is where a process dies or is stopped.
type redriveStop struct {
	at    string
	nth   int
	point redrivePoint
}

func (s redriveStop) String() string { return fmt.Sprintf("%s %d: %s", s.at, s.nth, s.point) }

func redriveStops() (all []redriveStop) {
	for _, point := range []redrivePoint{beforeOpen, openSent, openAnswered, beforeRecords, recordsStored, beforeEnd, endSent, endStored} {
		all = append(all, redriveStop{atClaim, 1, point})
	}
	all = append(all, redriveStop{atMove, 1, lettersRead})
	times := []int{1, 3}
	if longForms() {
		times = []int{1, 2, 3, 4, 5}
	}
	for _, nth := range times {
		for _, point := range []redrivePoint{beforeRecords, recordsSent, recordsStored, beforeEnd, endSent, endStored} {
			all = append(all, redriveStop{atMove, nth, point})
		}
	}
	for _, point := range []redrivePoint{beforeRecords, recordsStored, beforeEnd, endSent, endStored} {
		all = append(all, redriveStop{atOver, 1, point})
	}
	return all
}

// redriveCase is a job whose process dies.
type redriveCase struct {
	*desk
	stop     redriveStop
	settings redriveSettings
	process  *process
	waited   time.Duration
	trouble  error // of who waited
}

func newRedriveCase(d *desk, stop redriveStop) *redriveCase {
	d.fill(0, redriveLetters)
	c := &redriveCase{desk: d, stop: stop}
	c.settings = redriveSettings{Brokers: d.cluster.Brokers, Plan: d.plan(d.redriver(d.cluster)), Topics: d.names, Back: d.back, Rate: redriveRate}
	require.EqualValues(d.t, redriveLetters, c.settings.Plan.Records)
	return c
}

// start starts a process that is to apply the plan, and lets it begin.
func (c *redriveCase) start(s redriveSettings) *process {
	c.t.Helper()
	text, err := json.Marshal(s)
	require.NoError(c.t, err)
	p := startPath(c.t, os.Args[0], []string{"-test.run=^TestRedriveProcess$", "-test.timeout=0"},
		[]string{helperVariable + "=redrive", redriveVariable + "=" + string(text)})
	require.NoError(c.t, p.Stdin.Close())
	return p
}

// dying is the settings of a process that dies, or stops, where the case says.
func (c *redriveCase) dying(stops bool) redriveSettings {
	s := c.settings
	s.At, s.Nth, s.Point, s.Stops = c.stop.at, c.stop.nth, c.stop.point, stops
	return s
}

// D1, D2: a process is killed at every point of a redrive, and another one applies the same
// plan: at once, as a takeover, or when the first one is known to be dead. Readers of
// committed records get each letter once, in order, and never wait for longer than a
// transaction may take.
func TestKillsAtEveryPointOfARedrive(t *testing.T) {
	c := cluster(t)
	var cases []*redriveCase
	for i, stop := range redriveStops() {
		cases = append(cases, newRedriveCase(newDesk(t, c, redrivePartitions, fmt.Sprint("-", i)), stop))
	}
	began := time.Now()
	var waiting sync.WaitGroup
	for _, k := range cases {
		k.process = k.start(k.dying(false))
		waiting.Go(func() {
			<-k.process.exited
			k.waited, k.trouble = k.readersWait(t.Context())
		})
	}
	waiting.Wait()
	for _, k := range cases {
		require.Equal(t, -1, k.process.wait(t), "%s: it was to be killed: %s", k.stop, k.process.stderr.tail())
	}
	t.Logf("%d processes killed, and no reader waits, after %s", len(cases), time.Since(began))
	for i, k := range cases {
		s := k.settings
		s.Takeover, s.Patient, s.Rate = i%2 == 0, i%2 == 1, 0
		k.process = k.start(s)
	}
	table := []string{fmt.Sprintf("%-32s %8s %10s %10s %12s", "killed", "letters", "twice", "aborted", "readers wait")}
	var most time.Duration
	for _, k := range cases {
		table = append(table, k.check())
		most = max(most, k.waited)
	}
	t.Logf("all done after %s; readers waited %s at most\n%s", time.Since(began), most.Round(time.Millisecond), strings.Join(table, "\n"))
}

// check waits for the second process, looks at what both did, and gives the line of the
// table.
func (c *redriveCase) check() string {
	c.t.Helper()
	what := c.stop.String()
	require.NoError(c.t, c.trouble, what)
	require.Equal(c.t, endedDone, c.process.wait(c.t), "%s: %s", what, c.process.stderr.tail())
	found := c.requireOnce(what, redriveLetters)
	require.Equal(c.t, map[dlq.State]int{dlq.StateRedriven: redriveLetters}, c.states(), what)
	job := c.only(c.redriver(c.cluster))
	require.Equal(c.t, []any{dlq.JobDone, int64(redriveLetters), int64(0)}, []any{job.State, job.Moved, job.Expired}, what)
	require.Less(c.t, c.waited, mostWait, "%s: how long readers of committed records waited", what)
	if c.stop.point == beforeEnd && c.stop.at == atMove {
		require.Positive(c.t, found.aborted, "%s: it was killed before it had published anything", what)
		require.Greater(c.t, c.waited, time.Second, "%s: no transaction was open, and readers are to wait behind one", what)
	}
	return fmt.Sprintf("%-32s %8d %10d %10d %12s", what, found.once, found.copies, found.aborted, c.waited.Round(time.Millisecond))
}

// D1: a process is stopped in its tracks, another one takes the job over, and then the first
// one goes on: nothing that it does then is written.
func TestStoppedRedriveWritesNothingAfterATakeover(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	var cases []*redriveCase
	for i, stop := range []redriveStop{
		{atClaim, 1, endStored}, {atMove, 2, beforeRecords}, {atMove, 2, recordsStored}, {atMove, 2, beforeEnd}, {atOver, 1, beforeRecords}, {atOver, 1, beforeEnd},
	} {
		k := newRedriveCase(newDesk(t, c, redrivePartitions, fmt.Sprint("-", i)), stop)
		k.process = k.start(k.dying(true))
		cases = append(cases, k)
	}
	var others []*process
	for _, k := range cases {
		require.Eventually(t, func() bool { return strings.Contains(k.process.stdout.String(), "stops") }, groupPatience, 20*time.Millisecond, "%s: it does not stop", k.stop)
		s := k.settings
		s.Takeover, s.Rate = true, 0
		others = append(others, k.start(s))
	}
	type log struct{ records, entries map[int32]int64 }
	var before []log
	for i, k := range cases {
		require.Equal(t, endedDone, others[i].wait(t), "%s: %s", k.stop, others[i].stderr.tail())
		before = append(before, log{k.ends(k.back), k.ends(k.state)})
	}
	for _, k := range cases {
		k.process.signal(t, syscall.SIGCONT)
	}
	table := []string{fmt.Sprintf("%-32s %8s %8s %s", "stopped", "letters", "twice", "the stopped one ended with")}
	for i, k := range cases {
		code := k.process.wait(t)
		require.Contains(t, []int{endedDone, endedFenced}, code, "%s: %s", k.stop, k.process.stderr.tail())
		require.Equal(t, before[i], log{k.ends(k.back), k.ends(k.state)}, "%s: it wrote something", k.stop)
		found := k.requireOnce(k.stop.String(), redriveLetters)
		require.Equal(t, map[dlq.State]int{dlq.StateRedriven: redriveLetters}, k.states(), k.stop)
		table = append(table, fmt.Sprintf("%-32s %8d %8d code %d", k.stop, found.once, found.copies, code))
	}
	t.Log("a process is stopped, another takes over, the first goes on\n" + strings.Join(table, "\n"))
}

// ends are where the partitions of a topic end, uncommitted records and markers included.
func (d *desk) ends(topic string) map[int32]int64 {
	d.t.Helper()
	listed, err := d.admin.ListEndOffsets(d.t.Context(), topic)
	require.NoError(d.t, err)
	require.NoError(d.t, listed.Error())
	ends := map[int32]int64{}
	for partition, at := range listed[topic] {
		ends[partition] = at.Offset
	}
	return ends
}

// D1: two processes apply plans for the same letters in the same moment, and a process is
// taken over that is alive.
func TestTwoRedrivesAtOnce(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	type pair struct {
		*redriveCase
		first, second *process
	}
	var pairs []pair
	for i := range int(shortOr(4, 20)) {
		k := newRedriveCase(newDesk(t, c, redrivePartitions, fmt.Sprint("-", i)), redriveStop{})
		other := k.settings
		other.Plan = k.plan(k.redriver(c))
		require.NotEqual(t, k.settings.Plan.ID, other.Plan.ID)
		pairs = append(pairs, pair{k, k.start(k.settings), k.start(other)})
	}
	for _, p := range pairs {
		codes := []int{p.first.wait(t), p.second.wait(t)}
		require.ElementsMatch(t, []int{endedDone, endedRefused}, codes, "%s\n%s", p.first.stderr.tail(), p.second.stderr.tail())
		p.requireOnce("two at once", redriveLetters)
		require.Equal(t, map[dlq.State]int{dlq.StateRedriven: redriveLetters}, p.states())
	}
	t.Logf("two at once: %d pairs, one of each refused, %d letters once each", len(pairs), redriveLetters)
}

// D1, D5: a process that found nobody at work is stopped before it shuts others out, and another
// one redrives the same letters meanwhile. The first one learns of it, and is refused.
func TestOvertakenRedriveIsRefused(t *testing.T) {
	t.Parallel()
	k := newRedriveCase(newDesk(t, cluster(t), redrivePartitions, ""), redriveStop{atClaim, 1, beforeOpen})
	first := k.start(k.dying(true))
	require.Eventually(t, func() bool { return strings.Contains(first.stdout.String(), "stops") }, groupPatience, 20*time.Millisecond, "it does not stop")
	other := k.settings
	other.Plan, other.Rate = k.plan(k.redriver(k.cluster)), 0
	require.Equal(t, endedDone, k.start(other).wait(t))
	first.signal(t, syscall.SIGCONT)
	require.Equal(t, endedRefused, first.wait(t), first.stderr.tail())
	require.Contains(t, first.stderr.String(), "another job had 90 of its letters")
	found := k.requireOnce("overtaken", redriveLetters)
	require.Equal(t, map[dlq.State]int{dlq.StateRedriven: redriveLetters}, k.states())
	t.Logf("overtaken before it shut others out: refused; %d letters once, %d copies", found.once, found.copies)
}

// D1: a process that works is taken over by another one, and ends.
func TestTakeoverOfALiveRedrive(t *testing.T) {
	t.Parallel()
	k := newRedriveCase(newDesk(t, cluster(t), redrivePartitions, ""), redriveStop{})
	first := k.start(k.settings)
	first.stdout.waitLines(t, 4, groupPatience)
	over := k.settings
	over.Takeover, over.Rate = true, 15
	began := time.Now()
	second := k.start(over)
	require.Equal(t, endedDone, second.wait(t), second.stderr.tail())
	took := time.Since(began)
	require.Equal(t, endedFenced, first.wait(t), first.stderr.tail())
	found := k.requireOnce("a takeover", redriveLetters)
	require.Equal(t, map[dlq.State]int{dlq.StateRedriven: redriveLetters}, k.states())
	t.Logf("takeover: done %s after it began, the first process was fenced; %d letters once, %d copies, %d aborted",
		took.Round(time.Millisecond), found.once, found.copies, found.aborted)
}
