package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/rpc"
)

// serverPoints are all points at which a server dies, and what comes of a call then: what
// the caller of a method that is not Safe gets, and how often the handler ran; how often
// that of a Safe method ran, whose call is answered always. −1 is for the network to say.
func serverPoints() []struct {
	at             callPoint
	answered       int // of a method that is not Safe: 0 is unavailable, maybe
	runs, safeRuns int
	again          int // replies to the call that has one already
} {
	return []struct {
		at             callPoint
		answered       int
		runs, safeRuns int
		again          int
	}{
		{requestFetched, 0, 0, 1, 0},
		{requestBegun, 0, 0, 1, 0},
		{handlerRunning, 0, 1, 2, 0},
		{beforeReply, 0, 1, 2, 0},
		{replySent, -1, 1, -1, -1},
		{replyStored, 1, 1, 2, 1},
		{beforeCallDone, 1, 1, 2, 1},
		{callDoneSent, 1, 1, -1, -1},
		{callDoneStored, 1, 1, 1, 0},
		{callDoneCounted, 1, 1, 1, 0},
	}
}

const (
	// travellerTimeout is the deadline of the call that is under way when its server dies,
	// meanwhileTimeout that of one that is made while no server lives.
	travellerTimeout = time.Minute
	meanwhileTimeout = time.Second
)

// serverDeath is one kill of a server.
type serverDeath struct {
	t                                *testing.T
	cluster                          duplex.Cluster
	at                               callPoint
	safe                             bool
	answered, wantRuns, wantAgain    int
	service, history                 string
	client                           *rpc.Client
	method                           rpc.Method[asked, string]
	process                          *process
	traveller, before, meanwhile     chan ending
	travelled, wentBefore, wentAfter ending
	successor                        *rpc.Server
}

// ending is how a call ended.
type ending struct {
	answer string
	err    error
	late   time.Duration // than its deadline
}

// String is what its caller knows.
func (e ending) String() string {
	if e.err == nil {
		return "answered"
	}
	return fmt.Sprintf("%s, %s", rpc.CodeOf(e.err), rpc.ExecutedOf(e.err))
}

// Q1, Q5: a server is killed at every point of a call. The call ends once, by its deadline;
// one that is not Safe never runs twice, one that is Safe is answered, and no error says
// never of one that ran.
func TestServersKilledAtEveryPointOfACall(t *testing.T) {
	c := cluster(t)
	var cases []*serverDeath
	for _, p := range serverPoints() {
		for _, safe := range []bool{false, true} {
			d := &serverDeath{t: t, cluster: c, at: p.at, safe: safe, answered: p.answered, wantRuns: p.runs, wantAgain: p.again}
			if safe {
				d.answered, d.wantRuns = 1, p.safeRuns
			}
			d.prepare(len(cases))
			cases = append(cases, d)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop() // all servers at once
	began := time.Now()
	for _, d := range cases {
		d.start()
	}
	for _, d := range cases {
		require.Equal(t, -1, d.process.wait(t), "%s: it was to be killed: %s", d.at, d.process.stderr.tail())
		d.meanwhile = d.call("meanwhile", meanwhileTimeout)
		d.succeed(ctx)
	}
	t.Logf("%d servers killed after %s", len(cases), time.Since(began))
	table := []string{fmt.Sprintf("%-40s %-5s %-20s %5s %8s   %s", "killed", "Safe", "the call", "runs", "replies", "a call made meanwhile")}
	for _, d := range cases {
		table = append(table, d.check())
	}
	t.Logf("all done after %s", time.Since(began))
	t.Log("what the caller sees, how often the handler ran, and how many replies came too many\n" + strings.Join(table, "\n"))
}

func (d *serverDeath) prepare(n int) {
	d.t.Helper()
	d.service = duplextest.Unique(fmt.Sprint("killed-", n))
	d.history = filepath.Join(d.t.TempDir(), "history")
	plain, safe := travellers(d.service)
	if d.method = plain; d.safe {
		d.method = safe
	}
	var err error
	d.client, err = rpc.NewClient(rpc.ClientConfig{Cluster: d.cluster, Service: d.service, ReplyPartitions: 1, WaitForServer: true})
	require.NoError(d.t, err)
	d.t.Cleanup(func() { require.NoError(d.t, d.client.Close()) })
}

func (d *serverDeath) start() {
	d.t.Helper()
	d.process = startCallProcess(d.t, callSettings{Brokers: d.cluster.Brokers, Service: d.service, Point: d.at, History: d.history})
	if d.at != requestFetched {
		d.traveller = d.call("traveller", travellerTimeout)
		return
	}
	d.before = d.call("before", travellerTimeout)
	require.Eventually(d.t, func() bool { return d.runs("before") == 1 }, groupPatience, 10*time.Millisecond)
	d.traveller = d.call("traveller", travellerTimeout)
}

func startCallProcess(t *testing.T, s callSettings) *process {
	t.Helper()
	text, err := json.Marshal(s)
	require.NoError(t, err)
	return startPath(t, os.Args[0], []string{"-test.run=^TestCallProcess$", "-test.timeout=0"},
		[]string{helperVariable + "=call", callVariable + "=" + string(text)})
}

// call makes a call, and sends how it ended.
func (d *serverDeath) call(id string, timeout time.Duration) chan ending {
	ended := make(chan ending, 2)
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	deadline := time.Now().Add(timeout)
	go func() {
		defer cancel()
		var e ending
		e.answer, e.err = rpc.Call(ctx, d.client, d.method, asked{ID: id})
		e.late = time.Since(deadline)
		ended <- e
	}()
	return ended
}

// succeed starts another server, in this process.
func (d *serverDeath) succeed(ctx context.Context) {
	d.t.Helper()
	plain, safe := travellers(d.service)
	handle := func(_ context.Context, q asked) (string, error) {
		f, err := os.OpenFile(d.history, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return "", err
		}
		_, err = f.WriteString(q.ID + "\n")
		return "re: " + q.ID, errors.Join(err, f.Close())
	}
	d.successor = serveCalls(ctx, d.t, rpc.ServerConfig{
		Cluster: d.cluster, SessionTimeout: sessionTimeout, Handlers: []rpc.Handler{rpc.Handle(plain, handle), rpc.Handle(safe, handle)},
	})
}

// serveCalls runs a server until ctx or the test ends.
func serveCalls(ctx context.Context, t *testing.T, cfg rpc.ServerConfig) *rpc.Server {
	t.Helper()
	s, err := rpc.NewServer(cfg)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	var ended error
	running.Go(func() { ended = s.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
		require.NoError(t, ended)
	})
	return s
}

// runs is how often the handler ran for a call.
func (d *serverDeath) runs(id string) (n int) {
	text, err := os.ReadFile(d.history)
	if !errors.Is(err, os.ErrNotExist) {
		require.NoError(d.t, err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.TrimSpace(line) == id {
			n++
		}
	}
	return n
}

// check compares what happened with what is to, and gives the line of the table.
func (d *serverDeath) check() string {
	d.t.Helper()
	what := fmt.Sprintf("%s, Safe %v", d.at, d.safe)
	d.travelled, d.wentAfter = d.ended(what, d.traveller), d.ended(what, d.meanwhile)
	require.Eventually(d.t, func() bool { return finishedAll(d.successor.Status()) }, groupPatience, 20*time.Millisecond, what)
	requireHonest(d.t, what, "traveller", d.travelled, d.runs("traveller"), d.safe)
	requireHonest(d.t, what, "meanwhile", d.wentAfter, d.runs("meanwhile"), false)
	if d.before != nil {
		d.wentBefore = d.ended(what, d.before)
		requireHonest(d.t, what, "before", d.wentBefore, d.runs("before"), d.safe)
	}
	require.ErrorIs(d.t, d.wentAfter.err, rpc.DeadlineExceeded, what)
	require.Zero(d.t, d.runs("meanwhile"), "%s: it was too old when a server came", what)
	if d.answered == 0 {
		require.Equal(d.t, "unavailable, maybe", d.travelled.String(), what)
	} else if d.answered > 0 {
		require.NoError(d.t, d.travelled.err, what)
	}
	got := []int{d.runs("traveller"), int(d.client.Status().Counts["duplicate"])}
	for i, want := range []int{d.wantRuns, d.wantAgain} {
		if want >= 0 {
			require.Equal(d.t, want, got[i], "%s: runs, replies", what)
		}
	}
	st := d.client.Status().Counts
	require.Equal(d.t, []int64{0, 0, 0, 0}, []int64{st["pending"], st["unknown"], st["stale"], st["foreign"]}, what)
	last := d.ended(what, d.call("last", travellerTimeout))
	require.NoError(d.t, last.err, "%s: calls are answered again", what)
	return fmt.Sprintf("%-40s %-5v %-20s %5d %8d   %s", d.at, d.safe, d.travelled, got[0], got[1], d.wentAfter)
}

func (d *serverDeath) ended(what string, call chan ending) ending {
	d.t.Helper()
	select {
	case e := <-call:
		require.LessOrEqual(d.t, e.late, deadlineSlack, "%s: %v", what, e.err)
		return e
	case <-time.After(2 * travellerTimeout):
		require.Fail(d.t, "a call does not end", what)
		return ending{}
	}
}

// finishedAll reports whether a server has nothing left to do.
func finishedAll(st duplex.Status) bool {
	return len(st.Partitions) == 1 && st.Partitions[0].End > 0 && st.Partitions[0].Lag == 0 && st.Partitions[0].Loaded == 0
}

// requireHonest checks that what a caller knows of a call is true.
func requireHonest(t *testing.T, what, id string, e ending, runs int, safe bool) {
	t.Helper()
	if !safe {
		require.LessOrEqual(t, runs, 1, "%s: %s is not Safe", what, id)
	}
	switch rpc.ExecutedOf(e.err) {
	case rpc.Never:
		require.Zero(t, runs, "%s: %s: %v", what, id, e.err)
	case rpc.Completed:
		require.Positive(t, runs, "%s: %s: %v", what, id, e.err)
	default:
	}
	if e.err == nil {
		require.Equal(t, "re: "+id, e.answer, what)
	}
}

// docs/rpc.md says what comes of a call whose server dies, as these tests find it.
func TestKillsOfServersAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/rpc.md")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(page), "<!-- kills: integration.TestKillsOfServersAreDocumented -->\n")
	table, _, found := strings.Cut(rest, "<!-- /kills -->")
	require.True(t, found)
	get := map[int]string{-1: "either", 0: "`unavailable`, maybe", 1: "the response"}
	times := map[int]string{-1: "once or twice", 0: "not at all", 1: "once", 2: "twice"}
	want := []string{"| The server dies: | Not Safe: its caller gets | The handler ran | Safe: its caller gets | The handler ran |", "|---|---|---|---|---|"}
	for _, p := range serverPoints() {
		want = append(want, fmt.Sprintf("| %s | %s | %s | %s | %s |", p.at, get[p.answered], times[p.runs], get[1], times[p.safeRuns]))
	}
	require.Equal(t, strings.Join(want, "\n")+"\n", table, "copy the rows")
}

// callerPoints are all points at which a caller dies, and how often the handler runs then;
// −1 is for the network to say.
func callerPoints() []struct {
	at   callPoint
	runs int
} {
	return []struct {
		at   callPoint
		runs int
	}{
		{claimStored, 0},
		{beforeRequest, 0},
		{requestSent, -1},
		{requestStored, 1},
		{callAtWork, 1},
		{replyFetched, 1},
	}
}

// Q1–Q3: a caller is killed at every point of a call. The server goes on, and the next run
// of the instance has its calls answered, and none of the replies to the dead one.
func TestCallersKilledAtEveryPointOfACall(t *testing.T) {
	c, service := cluster(t), duplextest.Unique("survivor")
	var mu sync.Mutex
	runs := map[string]int{}
	began, released := make(chan struct{}, 1), make(chan struct{})
	handle := func(_ context.Context, q asked) (string, error) {
		mu.Lock()
		runs[q.ID]++
		mu.Unlock()
		if q.Wait {
			began <- struct{}{}
			<-released
		}
		return "re: " + q.ID, nil
	}
	ran := func(at callPoint) int {
		mu.Lock()
		defer mu.Unlock()
		return runs[string(at)]
	}
	plain, safe := travellers(service)
	server := serveCalls(t.Context(), t, rpc.ServerConfig{
		Cluster: c, SessionTimeout: sessionTimeout, Partitions: 1, Handlers: []rpc.Handler{rpc.Handle(plain, handle), rpc.Handle(safe, handle)},
	})
	release := sync.OnceFunc(func() { close(released) })
	t.Cleanup(release)
	points := callerPoints()
	processes := make([]*process, len(points))
	for i, p := range points {
		processes[i] = startCallProcess(t, callSettings{Brokers: c.Brokers, Service: service, Caller: fmt.Sprint(service, "-", i), Instance: "pod", Point: p.at})
	}
	<-began
	at := slices.IndexFunc(points, func(p struct {
		at   callPoint
		runs int
	}) bool {
		return p.at == callAtWork
	})
	require.NoError(t, processes[at].cmd.Process.Kill())
	again := make([]*rpc.Client, len(points))
	for i, p := range points {
		require.Equal(t, -1, processes[i].wait(t), "%s: it was to be killed: %s", p.at, processes[i].stderr.tail())
		var err error
		again[i], err = rpc.NewClient(rpc.ClientConfig{Cluster: c, Service: fmt.Sprint(service, "-", i), Instance: "pod", ReplyPartitions: 1})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, again[i].Close()) })
		ctx, cancel := context.WithTimeout(t.Context(), travellerTimeout)
		got, err := rpc.Call(ctx, again[i], plain, asked{ID: "again"})
		cancel()
		require.NoError(t, err, p.at)
		require.Equal(t, "re: again", got)
	}
	release()
	require.Eventually(t, func() bool { return again[at].Status().Counts["stale"] == 1 }, groupPatience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return finishedAll(server.Status()) }, groupPatience, 20*time.Millisecond)
	table := []string{fmt.Sprintf("%-40s %5s %6s", "killed", "runs", "stale")}
	for i, p := range points {
		n := again[i].Status().Counts
		require.LessOrEqual(t, n["stale"], int64(1), p.at)
		require.Equal(t, []int64{0, 0, 0, 0, 0}, []int64{n["pending"], n["late"], n["duplicate"], n["foreign"], n["unknown"]}, p.at)
		require.LessOrEqual(t, ran(p.at), 1, p.at)
		if p.runs >= 0 {
			require.Equal(t, p.runs, ran(p.at), p.at)
		}
		table = append(table, fmt.Sprintf("%-40s %5d %6d", p.at, ran(p.at), n["stale"]))
	}
	n := server.Status().Counts
	require.Equal(t, []int64{0, 0, n["requests"]}, []int64{n["replies_lost"], n["errors"], n["answered"]})
	t.Log("how often the call of a dead caller ran, and its replies that the next run passed over\n" + strings.Join(table, "\n"))
}
