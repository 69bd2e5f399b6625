package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/rpc"
)

const (
	// loadEvery is how often a call is made, loadTimeout its deadline.
	loadEvery   = 10 * time.Millisecond
	loadTimeout = 3 * time.Second
	// noticedWithin is how long it may take until calls flow through a topic of replies that
	// was made again; Kafka's client alone would take a quarter of a minute to notice.
	noticedWithin = 10 * time.Second
	// steadyCalls in a row must be answered for calls to count as flowing again.
	steadyCalls = 100
)

// callLoad is calls, one after the other without waiting, every other one of a Safe
// method, and how they end.
type callLoad struct {
	t       *testing.T
	cluster *kafkaCluster
	service string
	client  *rpc.Client

	stop    func()
	running sync.WaitGroup

	mu    sync.Mutex
	calls []*loadCall
	ran   map[string]int
	// wakes are timers of no call: how late they are is how late this machine is.
	wakes []wake
}

// wake is a timer: when it was to wake somebody, and how much later it did.
type wake struct {
	at   time.Time
	late time.Duration
}

// loadCall is one of them.
type loadCall struct {
	id        string
	safe      bool
	began, at time.Time // at is when it ended, zero before
	ending
}

// callFault is what happens to the brokers and topics behind calls.
type callFault struct {
	name string
	// strike does the harm, and undoes it.
	strike func(l *callLoad)
	// gap is how long no call at all may be answered, 0 for as long as it takes.
	gap time.Duration
}

func callFaults() []callFault {
	replies := func(l *callLoad) string { return rpc.ReplyTopic(l.service) }
	return []callFault{
		{"a partition of requests loses its leader", func(l *callLoad) { l.killed(l.cluster.leader(l.t, rpc.RequestTopic(l.service), 0)) }, 0},
		{"the partition of replies loses its leader", func(l *callLoad) { l.killed(l.cluster.leader(l.t, replies(l), 0)) }, 0},
		{"the servers' group loses its coordinator", func(l *callLoad) { l.killed(l.cluster.coordinator(l.t, rpc.Group(l.service))) }, 0},
		{"the leader of the replies is frozen for 3 s", func(l *callLoad) {
			n := l.cluster.leader(l.t, replies(l), 0)
			n.Pause(l.t)
			l.pass(3 * time.Second)
			n.Unpause(l.t)
		}, 0},
		{"the partition of replies gets another leader", func(l *callLoad) { l.moveLeader(replies(l)) }, noticedWithin},
		{"the topic of replies grows", func(l *callLoad) {
			_, err := l.admin().UpdatePartitions(l.t.Context(), 4, replies(l))
			require.NoError(l.t, err)
			l.newcomers(3)
		}, loadTimeout},
		{"the topic of replies is deleted", func(l *callLoad) { l.deleteTopic(replies(l)) }, noticedWithin},
		{"the topic of replies is deleted and made again", func(l *callLoad) {
			l.deleteTopic(replies(l))
			// The client may be quicker.
			_, _ = l.admin().CreateTopic(l.t.Context(), 2, -1, nil, replies(l))
		}, noticedWithin},
	}
}

// Q1, Q5, Q10: under a steady load of calls brokers die, leaders move, and the topic of
// replies grows, goes and comes back. Every call ends once, by its deadline, no error says
// never of a call that ran, none that is not Safe runs twice, and calls flow again.
func TestCallsThroughFaultsOfBrokersAndTopics(t *testing.T) {
	l := newCallLoad(t)
	table := []string{fmt.Sprintf("%-48s %6s %9s %8s %8s   %s", "fault", "calls", "answered", "silence", "latest", "the others")}
	for _, f := range callFaults() {
		l.steady(time.Now())
		began := time.Now()
		f.strike(l)
		l.steady(time.Now())
		table = append(table, l.check(f, began))
	}
	l.stop()
	l.running.Wait()
	require.Zero(t, l.client.Status().Counts["pending"])
	t.Log("calls with deadlines of 3 s: the longest time without an answer, and how much later than its deadline the last one ended\n" + strings.Join(table, "\n"))
}

func newCallLoad(t *testing.T) *callLoad {
	t.Helper()
	l := &callLoad{t: t, cluster: threeNodes(t), service: duplextest.Unique("load"), ran: map[string]int{}}
	plain, safe := travellers(l.service)
	handle := func(_ context.Context, q asked) (string, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.ran[q.ID]++
		return "re: " + q.ID, nil
	}
	for range 2 {
		serveCalls(t.Context(), t, rpc.ServerConfig{
			Cluster: l.cluster.Cluster(), SessionTimeout: sessionTimeout, Handlers: []rpc.Handler{rpc.Handle(plain, handle), rpc.Handle(safe, handle)},
		})
	}
	l.client = l.newClient()
	l.load()
	return l
}

// load makes calls until stop is called, and sees how late the machine's timers are.
func (l *callLoad) load() {
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.t.Cleanup(func() { stop(); l.running.Wait() })
	l.running.Go(func() {
		for ctx.Err() == nil {
			at := time.Now().Add(loadEvery)
			l.pass(loadEvery)
			l.mu.Lock()
			l.wakes = append(l.wakes, wake{at, time.Since(at)})
			l.mu.Unlock()
		}
	})
	l.running.Go(func() {
		tick := time.NewTicker(loadEvery)
		defer tick.Stop()
		for n := 0; ctx.Err() == nil; n++ {
			l.running.Go(func() { l.call(fmt.Sprint("call ", n), n%2 == 0) })
			<-tick.C
		}
	})
}

// lateness is how late timers were at most from a second before a time on: a call that
// ends by then cannot be better.
func (l *callLoad) lateness(at time.Time) (most time.Duration) {
	for i := len(l.wakes) - 1; i >= 0 && l.wakes[i].at.After(at.Add(-time.Second)); i-- {
		if l.wakes[i].at.Before(at) {
			most = max(most, l.wakes[i].late)
		}
	}
	return most
}

func (l *callLoad) newClient() *rpc.Client {
	l.t.Helper()
	c, err := rpc.NewClient(rpc.ClientConfig{Cluster: l.cluster.Cluster(), Service: l.service, ReplyPartitions: 1, WaitForServer: true})
	require.NoError(l.t, err)
	l.t.Cleanup(func() { require.NoError(l.t, c.Close()) })
	return c
}

func (l *callLoad) call(id string, safe bool) {
	plain, m := travellers(l.service)
	if !safe {
		m = plain
	}
	c := &loadCall{id: id, safe: safe, began: time.Now()}
	l.mu.Lock()
	l.calls = append(l.calls, c)
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), loadTimeout)
	defer cancel()
	answer, err := rpc.Call(ctx, l.client, m, asked{ID: id})
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	c.at, c.answer, c.err, c.late = now, answer, err, now.Sub(c.began.Add(loadTimeout))
}

// steady waits until calls that were made after a time are answered, one after the other.
func (l *callLoad) steady(since time.Time) {
	l.t.Helper()
	require.Eventually(l.t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		n := 0
		for _, c := range l.calls {
			switch {
			case c.began.Before(since):
			case c.at.IsZero():
				return false
			case c.err != nil:
				n, since = 0, c.began.Add(1)
			default:
				n++
				if n >= steadyCalls {
					return true
				}
			}
		}
		return false
	}, groupPatience, 20*time.Millisecond, "calls do not flow again")
}

// pass lets time pass under the load.
func (l *callLoad) pass(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

func (l *callLoad) admin() *kadm.Client {
	l.t.Helper()
	return kadm.NewClient(rawClient(l.t, l.cluster.Cluster()))
}

// killed kills a broker, and starts it again when the others have gone on without it.
func (l *callLoad) killed(n *kafkaNode) {
	l.t.Helper()
	n.Kill(l.t)
	l.steady(time.Now())
	n.Start(l.t)
	l.cluster.inSync(l.t)
}

// moveLeader has another broker lead a topic's first partition.
func (l *callLoad) moveLeader(topic string) {
	l.t.Helper()
	before := l.cluster.leader(l.t, topic, 0)
	for _, n := range l.cluster.nodes {
		if n != before {
			l.cluster.lead(l.t, n, topic, 0)
			return
		}
	}
}

func (l *callLoad) deleteTopic(topic string) {
	l.t.Helper()
	_, err := l.admin().DeleteTopic(l.t.Context(), topic)
	require.NoError(l.t, err)
}

// newcomers are further instances of the client's service: each has a call answered.
func (l *callLoad) newcomers(n int) {
	l.t.Helper()
	plain, _ := travellers(l.service)
	for i := range n {
		c := l.newClient()
		ctx, cancel := context.WithTimeout(l.t.Context(), faultTimeout)
		_, err := rpc.Call(ctx, c, plain, asked{ID: fmt.Sprint("newcomer ", i)})
		cancel()
		require.NoError(l.t, err)
		require.Zero(l.t, c.Status().Counts["sharing"], "it has a partition of its own")
	}
}

// check looks at the calls since a time, and gives the line of the table.
func (l *callLoad) check(f callFault, since time.Time) string {
	l.t.Helper()
	until := time.Now()
	require.Eventually(l.t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return !slices.ContainsFunc(l.calls, func(c *loadCall) bool { return c.at.IsZero() && c.began.Before(until) })
	}, 2*loadTimeout, 20*time.Millisecond, "%s: a call does not end", f.name)
	l.pass(rpcSkew) // a server may still begin what has ended for its caller
	l.mu.Lock()
	defer l.mu.Unlock()
	var answers []time.Time
	latest, others, calls := -loadTimeout, map[string]int{}, 0
	for _, c := range l.calls {
		if c.began.Before(since) || !c.began.Before(until) {
			continue
		}
		calls++
		latest = max(latest, c.late)
		require.LessOrEqual(l.t, c.late, deadlineSlack+l.lateness(c.at), "%s: %s: %v", f.name, c.id, c.err)
		requireHonest(l.t, f.name, c.id, c.ending, l.ran[c.id], c.safe)
		if c.err == nil {
			answers = append(answers, c.at)
			continue
		}
		others[c.String()]++
	}
	slices.SortFunc(answers, time.Time.Compare)
	silence := time.Duration(0)
	for i := 1; i < len(answers); i++ {
		silence = max(silence, answers[i].Sub(answers[i-1]))
	}
	if f.gap > 0 {
		require.LessOrEqual(l.t, silence, f.gap, f.name)
	}
	var text []string
	for _, what := range slices.Sorted(maps.Keys(others)) {
		text = append(text, fmt.Sprintf("%d %s", others[what], what))
	}
	return fmt.Sprintf("%-48s %6d %9d %8s %8s   %s", f.name, calls, len(answers), silence.Round(10*time.Millisecond), latest.Round(time.Millisecond), strings.Join(text, "; "))
}

// rpcSkew is for how long after its deadline a server may begin a call.
const rpcSkew = 2 * time.Second
