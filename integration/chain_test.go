package integration

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/producer"
)

const (
	chainPartitions = 6
	chainMembers    = 3
	chainRate       = 200 // records a second of each arm
)

func chainDelays() []time.Duration { return []time.Duration{500 * time.Millisecond, 2 * time.Second} }

// chainPlace is a partition of the source or of a retry topic.
type chainPlace struct {
	topic     string
	partition int32
}

// chainEnd is one time that a record was handled, and where it was read.
type chainEnd struct {
	chainPlace
	offset int64
	at     time.Time
}

// chainArm is a group, so many of whose records fail for good, and as many once.
type chainArm struct {
	t       *testing.T
	percent uint32
	config  consumer.Config
	topic   string
	sent    atomic.Int64 // and acknowledged

	mu       sync.Mutex
	finished map[int][]chainEnd // by the value of the record
	states   map[chainPlace][]groupState
	members  []func() error // stop them
	changes  int
	troubles []string // of members that left
}

func newChainArm(t *testing.T, c duplex.Cluster, percent uint32) *chainArm {
	t.Helper()
	a := &chainArm{t: t, percent: percent, topic: newTopic(t, c, chainPartitions), finished: map[int][]chainEnd{}, states: map[chainPlace][]groupState{}}
	a.config = consumer.Config{
		Cluster: c, Group: unique(t), SessionTimeout: sessionTimeout,
		Failures: dlq.Policy{Delays: chainDelays(), MaxDeadRatio: 1}, // the breaker is another test's
		Handlers: []consumer.Handler{consumer.HandleRecord(a.topic, a.handle)},
	}
	for range chainMembers {
		a.join()
	}
	return a
}

// fails says whether a record does, for good or once, by its value alone.
func (a *chainArm) fails(v int, how string) bool {
	h := fnv.New32a()
	_, _ = fmt.Fprint(h, how, v)
	return h.Sum32()%100 < a.percent
}

func (a *chainArm) handle(ctx context.Context, r *kgo.Record) error {
	v, err := strconv.Atoi(string(r.Value))
	switch {
	case err != nil:
		return err
	case a.fails(v, "always"), a.fails(v, "once") && consumer.FromContext(ctx).Attempt == 1:
		return errFails
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.finished[v] = append(a.finished[v], chainEnd{chainPlace{r.Topic, r.Partition}, r.Offset, time.Now()})
	return nil
}

func (a *chainArm) join() {
	_, stop := running(a.t, a.config)
	a.members = append(a.members, stop)
}

// change has the oldest member leave, or another one join.
func (a *chainArm) change() {
	a.changes++
	if a.changes%2 == 0 {
		a.join()
		return
	}
	stop := a.members[0]
	a.members = a.members[1:]
	if err := stop(); err != nil {
		a.troubles = append(a.troubles, err.Error())
	}
}

// load publishes until ctx ends, and has members come and go.
func (a *chainArm) load(ctx context.Context) {
	p, err := producer.New(producer.Config{Cluster: a.config.Cluster, Timeout: 2 * time.Minute})
	if err != nil {
		a.t.Errorf("publishing: %v", err)
		return
	}
	var changing sync.WaitGroup
	changing.Go(func() {
		tick := time.NewTicker(2 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				a.change()
			}
		}
	})
	tick := time.NewTicker(time.Second / chainRate)
	defer tick.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		p.PublishAsync(context.WithoutCancel(ctx), &kgo.Record{Topic: a.topic, Key: fmt.Append(nil, "key-", i%997), Value: strconv.AppendInt(nil, int64(i), 10)},
			func(_ duplex.Position, err error) {
				if err != nil {
					a.t.Errorf("publishing: %v", err)
				}
				a.sent.Add(1)
			})
		<-tick.C
	}
	if err := p.Close(); err != nil {
		a.t.Errorf("publishing: %v", err)
	}
	changing.Wait()
}

// R1: however many records fail, each ends in exactly one way while members come and
// go and a broker dies and comes back. Only what was in doubt meanwhile is repeated.
func TestChainConservesOnThreeBrokers(t *testing.T) {
	c := threeNodes(t)
	var arms []*chainArm
	for _, percent := range []uint32{0, 1, 10, 50, 100} {
		arms = append(arms, newChainArm(t, c.Cluster(), percent))
	}
	ctx, stop := context.WithCancel(t.Context())
	var loading sync.WaitGroup
	for _, a := range arms {
		loading.Go(func() { a.load(ctx) })
		// A client with few retries: a broker that is gone is asked again by us.
		eye := rawClient(t, a.config.Cluster, kgo.RequestRetries(2), kgo.RetryTimeout(5*time.Second))
		loading.Go(func() { a.watch(ctx, eye) })
	}
	pass := func(d time.Duration) { <-time.NewTimer(d).C }
	pass(shortOr(6*time.Second, 30*time.Second))
	victim := c.coordinator(t, arms[3].config.Group)
	killed := time.Now()
	victim.Kill(t)
	pass(shortOr(6*time.Second, 20*time.Second))
	victim.Start(t)
	c.inSync(t)
	back := time.Now()
	pass(shortOr(6*time.Second, time.Minute))
	stop()
	loading.Wait()
	admin := kadm.NewClient(rawClient(t, c.Cluster()))
	for _, a := range arms {
		a.check(admin, killed.Add(-unjoined), back.Add(2*sessionTimeout))
	}
}

// check waits until everything has ended, and looks at how.
func (a *chainArm) check(admin *kadm.Client, from, until time.Time) {
	t, group := a.t, a.config.Group
	t.Helper()
	var missing string
	require.Eventually(t, func() bool {
		missing = ended(t.Context(), admin, group, a.topic, dlq.RetryTopic(group, a.topic, 1), dlq.RetryTopic(group, a.topic, 2))
		return missing == ""
	}, groupPatience, 200*time.Millisecond, "%d %%: not everything has ended: %s", a.percent, printed{func() any { return missing }})
	for _, stop := range a.members {
		require.NoError(t, stop())
	}
	dead, copies := a.dead(from, until)
	alive, repeats := 0, 0
	for v := range int(a.sent.Load()) {
		ends := a.finished[v]
		if a.fails(v, "always") {
			require.Empty(t, ends, "%d %%: record %d was handled", a.percent, v)
			require.Len(t, dead[v], 1, "%d %%: record %d is to be one dead letter", a.percent, v)
			continue
		}
		alive++
		require.NotEmpty(t, ends, "%d %%: record %d was lost", a.percent, v)
		require.Empty(t, dead[v], "%d %%: record %d was handled and is a dead letter", a.percent, v)
		if len(ends) > 1 {
			repeats += len(ends) - 1
			a.inDoubt(fmt.Sprint("record ", v), ends[0].at, from, until)
			for _, again := range ends[1:] {
				require.False(t, a.knew(ends[0], again.at), "%d %%: record %d was handled again at %s, when the coordinator was seen to know that it was finished at %s",
					a.percent, v, again.at, ends[0].at)
			}
		}
	}
	require.Equal(t, int(a.sent.Load()), alive+len(dead))
	t.Logf("%3d %%: %d published = %d handled + %d dead letters; %d handled again, %d more copies of dead letters; %d changes of members, %d of them with trouble %.200v",
		a.percent, a.sent.Load(), alive, len(dead), repeats, copies, a.changes, len(a.troubles), a.troubles)
}

// knew reports whether the coordinator was seen to know, by the given time, that a
// record was finished where it was read.
func (a *chainArm) knew(end chainEnd, by time.Time) bool {
	states := a.states[end.chainPlace]
	n, _ := slices.BinarySearchFunc(states, by, func(s groupState, by time.Time) int { return s.at.Compare(by) })
	return n > 0 && states[n-1].finished(end.offset)
}

// watch notes what the coordinator has of the group, until ctx ends.
func (a *chainArm) watch(ctx context.Context, cl *kgo.Client) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for until(ctx, tick.C) {
		offsets, err := kadm.NewClient(cl).FetchOffsets(ctx, a.config.Group)
		if err != nil {
			continue // the broker that is asked is gone
		}
		at := time.Now()
		offsets.Each(func(o kadm.OffsetResponse) {
			if o.Err == nil && o.At >= 0 {
				p := chainPlace{o.Topic, o.Partition}
				a.states[p] = append(a.states[p], groupState{at, o.At, o.Metadata})
			}
		})
	}
}

// until waits for c, and reports false if ctx ends first.
func until(ctx context.Context, c <-chan time.Time) bool {
	select {
	case <-ctx.Done():
		return false
	case <-c:
		return true
	}
}

// dead gives the IDs of the dead letters of each value, and how many of them are
// copies.
func (a *chainArm) dead(from, until time.Time) (ids map[int]map[string]bool, copies int) {
	a.t.Helper()
	ids = map[int]map[string]bool{}
	for id, attempts := range letters(a.t, a.config.Cluster, dlq.DeadTopic(a.config.Group, a.topic)).copies {
		first, n := time.Now(), 0
		for _, rs := range attempts {
			for _, r := range rs {
				v, err := strconv.Atoi(string(r.Value))
				require.NoError(a.t, err)
				if ids[v] == nil {
					ids[v] = map[string]bool{}
				}
				ids[v][id] = true
				n++
				if r.Timestamp.Before(first) {
					first = r.Timestamp
				}
			}
		}
		if n > 1 {
			copies += n - 1
			a.inDoubt(id, first, from, until)
		}
	}
	return ids, copies
}

// inDoubt checks that what ended more than once was under way when the broker was
// away: then, or as long ago as it takes to come through the retry topics.
func (a *chainArm) inDoubt(what string, first, from, until time.Time) {
	a.t.Helper()
	for _, d := range chainDelays() {
		until = until.Add(d)
	}
	require.True(a.t, first.After(from) && first.Before(until), "%d %%: %s ended more than once, first at %s, not between %s and %s",
		a.percent, what, first, from, until)
}
