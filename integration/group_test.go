package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/commitmeta"
	hist "github.com/duplex-go/duplex/internal/history"
	"github.com/duplex-go/duplex/producer"
)

// longForms reports whether the fault tests are to take as long as they can, as
// `make soak` does; in CI they are short.
func longForms() bool { return os.Getenv("DUPLEX_SOAK") != "" }

// shortOr is how long something takes in the short and in the long form.
func shortOr(short, long time.Duration) time.Duration {
	if longForms() {
		return long
	}
	return short
}

const (
	groupPartitions = 12
	groupKeys       = 20_000
	groupRate       = 2_000 // records a second
	groupPatience   = 90 * time.Second
)

// group is a consumer group whose members are processes, and what is published to
// it. Everything that happens is recorded, and checked at the end.
type group struct {
	t        *testing.T
	cluster  duplex.Cluster
	defaults memberSettings
	dir      string
	recorder *hist.Recorder // of what the test does
	files    []string
	refusals refusals
	members  []*member // that are at work
	joined   int
	watching func() // ends the watch of commits
	states   map[int32][]groupState
	value    func() []byte
}

// member is one process.
type member struct {
	*process
	group *group
	name  string
	gate  *gate
	dead  time.Time // when it had been killed
}

func newGroup(t *testing.T, c duplex.Cluster) *group {
	t.Helper()
	g := &group{t: t, cluster: c, dir: t.TempDir()}
	g.value = func() []byte { return []byte(strings.Repeat("departure ", 10)) }
	g.recorder = g.record("test")
	g.defaults = memberSettings{
		Brokers: c.Brokers, Topic: newTopic(t, c, groupPartitions), Group: unique(t), Concurrency: 64,
		WorkLeast: time.Millisecond, WorkMost: 5 * time.Millisecond, FailPercent: 5,
	}
	g.watching = g.watch()
	t.Cleanup(g.watching)
	return g
}

func (g *group) record(name string) *hist.Recorder {
	g.t.Helper()
	path := g.file(name)
	r, err := hist.Create(path)
	require.NoError(g.t, err)
	g.t.Cleanup(func() { _ = r.Close() })
	return r
}

func (g *group) file(name string) string {
	path := filepath.Join(g.dir, name)
	g.files = append(g.files, path)
	return path
}

func (g *group) note(kind hist.Kind, member string) {
	g.t.Helper()
	require.NoError(g.t, g.recorder.Record(hist.Event{Kind: kind, Member: member}))
}

// groupState is what the group's coordinator had of a partition from some time on.
type groupState struct {
	at     time.Time
	offset int64
	meta   string
}

// finished reports whether the state says that the record is finished.
func (s groupState) finished(offset int64) bool {
	at := s.offset
	if offset < at {
		return true
	}
	meta, err := commitmeta.Decode(s.meta)
	if err != nil {
		return false
	}
	for _, run := range meta.Runs {
		if at += run.N; offset < at {
			return run.Finished
		}
	}
	return false
}

// knew reports whether the coordinator was seen to know, by the given time, that a
// record was finished. The watch has ended.
func (g *group) knew(partition int32, offset int64, by time.Time) bool {
	states := g.states[partition]
	n, _ := slices.BinarySearchFunc(states, by, func(s groupState, by time.Time) int { return s.at.Compare(by) })
	return n > 0 && states[n-1].finished(offset)
}

// watch records what is committed as it changes.
func (g *group) watch() (stop func()) {
	recorder := g.record("commits")
	// A client with few retries: a broker that is gone is asked again by us.
	cl := rawClient(g.t, g.cluster, kgo.RequestRetries(2), kgo.RetryTimeout(5*time.Second))
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		last := map[int32]int64{}
		g.states = map[int32][]groupState{}
		for ctx.Err() == nil {
			offsets, err := kadm.NewClient(cl).FetchOffsets(ctx, g.defaults.Group)
			for p, at := range offsets[g.defaults.Topic] {
				if err != nil || at.Err != nil || at.At < 0 {
					continue
				}
				g.states[p] = append(g.states[p], groupState{time.Now(), at.At, at.Metadata})
				if at.At == last[p] {
					continue
				}
				last[p] = at.At
				_ = recorder.Record(hist.Event{Kind: hist.Committed, Topic: g.defaults.Topic, Partition: p, Offset: at.At})
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	return sync.OnceFunc(func() { cancel(); watching.Wait(); cl.Close() })
}

// join starts a member; settings, if given, change how it is.
func (g *group) join(settings ...func(*memberSettings)) *member {
	g.t.Helper()
	g.joined++
	s := g.defaults
	s.Name = fmt.Sprintf("m%d", g.joined)
	s.History = g.file(s.Name)
	m := &member{group: g, name: s.Name}
	for _, set := range settings {
		set(&s)
	}
	if s.Gate == behindGate {
		m.gate = newGate(g.t)
		s.Gate = m.gate.address()
	}
	text, err := json.Marshal(s)
	require.NoError(g.t, err)
	g.note(hist.Joined, m.name)
	m.process = startPath(g.t, os.Args[0], []string{"-test.run=^TestMemberProcess$", "-test.timeout=0"},
		[]string{helperVariable + "=member", memberVariable + "=" + string(text)})
	g.members = append(g.members, m)
	return m
}

// behindGate as memberSettings.Gate has the member get a gate of its own.
const behindGate = "own"

// working waits until each member has had a record to handle.
func (g *group) working() {
	g.t.Helper()
	for _, m := range g.members {
		m.says("working")
	}
}

// says waits until the member has said so.
func (m *member) says(what string) string {
	m.group.t.Helper()
	var found string
	require.Eventually(m.group.t, func() bool {
		select {
		case <-m.exited:
			require.FailNow(m.group.t, "a member ended", "%s, with code %d: %s", m.name, m.code, m.stderr.tail())
		default:
		}
		lines := m.stdout.lines()
		i := slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, what) })
		if i < 0 {
			return false
		}
		found = lines[i]
		return true
	}, groupPatience, 20*time.Millisecond, "%s did not say %q", m.name, what)
	return found
}

// tell writes a line to the member's input.
func (m *member) tell(what string) {
	m.group.t.Helper()
	_, err := fmt.Fprintln(m.Stdin, what)
	require.NoError(m.group.t, err)
}

// stop asks a member to stop, with SIGTERM.
func (m *member) stop() {
	m.group.t.Helper()
	m.says("ready") // before that, the signal would just kill it
	m.signal(m.group.t, syscall.SIGTERM)
}

// leave stops a member and waits until it has left.
func (m *member) leave() {
	m.group.t.Helper()
	m.stop()
	m.left()
}

// left waits until a member that was asked to stop has left.
func (m *member) left() {
	m.group.t.Helper()
	require.Equal(m.group.t, 0, m.wait(m.group.t), "%s: %s", m.name, m.stderr.tail())
	m.group.note(hist.Stopped, m.name)
	m.gone()
}

// kill ends a member with kill -9.
func (m *member) kill() {
	m.group.t.Helper()
	m.signal(m.group.t, syscall.SIGKILL)
	require.Equal(m.group.t, -1, m.wait(m.group.t))
	m.dead = time.Now()
	m.group.note(hist.Killed, m.name)
	m.gone()
}

func (m *member) gone() {
	m.group.members = slices.DeleteFunc(m.group.members, func(o *member) bool { return o == m })
}

// finished counts the records that the member has finished so far.
func (m *member) finished() int {
	text, _ := os.ReadFile(filepath.Join(m.group.dir, m.name)) // it is not there at first
	return strings.Count(string(text), `"kind":"finished"`)
}

// load publishes at a steady rate until it is stopped.
type publishing struct {
	group *group
	stop  func() // and wait for the outcomes
	sent  atomic.Int64
}

// publish starts a load of so many records a second, round all keys.
func (g *group) publish(rate int) *publishing {
	g.t.Helper()
	p := &publishing{group: g}
	cl, err := producer.New(producer.Config{Cluster: g.cluster, Timeout: 2 * time.Minute})
	require.NoError(g.t, err)
	recorder := g.record(fmt.Sprintf("published-%d", len(g.files)))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		const each = 10 * time.Millisecond
		tick := time.NewTicker(each)
		defer tick.Stop()
		began := time.Now()
		for i := 0; ctx.Err() == nil; {
			for due := int(time.Since(began) * time.Duration(rate) / time.Second); i < due; i++ {
				p.send(cl, recorder, spread(i), int64(i)+1)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	p.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := errors.Join(cl.Flush(context.Background()), cl.Close()); err != nil {
			g.t.Errorf("publishing: %v", err)
		}
	})
	g.t.Cleanup(p.stop)
	return p
}

func (p *publishing) send(cl *producer.Producer, recorder *hist.Recorder, key string, seq int64) {
	r := &kgo.Record{Topic: p.group.defaults.Topic, Key: []byte(key), Value: p.group.value()}
	p.sent.Add(1)
	cl.PublishAsync(context.Background(), r, func(at duplex.Position, err error) {
		e := hist.Of(r, "", 0)
		e.Partition, e.Offset = at.Partition, at.Offset
		outcome := hist.OK
		switch {
		case errors.Is(err, duplex.ErrOutcomeUnknown):
			outcome = hist.Unknown
		case err != nil:
			outcome = hist.Fail
			p.group.refusals.note(err)
		}
		_ = recorder.Record(e.Published(seq, outcome))
	})
}

// refusals are why publishes were refused, once each, and when first.
type refusals struct {
	mu    sync.Mutex
	texts []string
}

func (r *refusals) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	const enough = 8
	known := func(text string) bool { return strings.HasSuffix(text, err.Error()) }
	if len(r.texts) < enough && !slices.ContainsFunc(r.texts, known) {
		r.texts = append(r.texts, time.Now().Format("15:04:05.000 ")+err.Error())
	}
}

func (r *refusals) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.texts, "\n")
}

// spread gives the i-th record one of the keys. Those of a key come in threes, so
// that the second often has to wait for the first.
func spread(i int) string {
	const burst = 3
	return fmt.Sprintf("key-%d", i/burst%groupKeys)
}

// publishAll publishes n records with the given key each, and waits until all are
// acknowledged.
func (g *group) publishAll(n int, key func(i int) string) {
	g.t.Helper()
	cl, err := producer.New(producer.Config{Cluster: g.cluster})
	require.NoError(g.t, err)
	recorder := g.record(fmt.Sprintf("published-%d", len(g.files)))
	p := &publishing{group: g}
	for i := range n {
		p.send(cl, recorder, key(i), int64(i)+1)
	}
	require.NoError(g.t, cl.Flush(g.t.Context()))
	require.NoError(g.t, cl.Close())
}

// committed gives the group's offsets, and whether they are those of all records.
func (g *group) committed() (at map[int32]int64, all bool) {
	cl := rawClient(g.t, g.cluster)
	defer cl.Close()
	admin := kadm.NewClient(cl)
	ends, endsErr := admin.ListEndOffsets(g.t.Context(), g.defaults.Topic)
	offsets, err := admin.FetchOffsets(g.t.Context(), g.defaults.Group)
	if errors.Join(endsErr, ends.Error(), err) != nil {
		return nil, false
	}
	at, all = map[int32]int64{}, true
	for p, end := range ends[g.defaults.Topic] {
		o, some := offsets.Lookup(g.defaults.Topic, p)
		if some {
			at[p] = o.At
		}
		all = all && o.Err == nil && max(at[p], 0) == end.Offset
	}
	return at, all
}

// drained waits until the group has committed everything.
func (g *group) drained(patience time.Duration) {
	g.t.Helper()
	var last map[int32]int64
	require.Eventually(g.t, func() bool {
		at, all := g.committed()
		last = at
		return all
	}, patience, 200*time.Millisecond, "not everything was handled and committed, only up to %v", printed{func() any { return last }})
}

// printed is a value that is looked at when it is printed.
type printed struct{ value func() any }

func (p printed) String() string { return fmt.Sprint(p.value()) }

// check stops the members and checks all that was recorded.
func (g *group) check(allow hist.Allow) *hist.Report {
	g.t.Helper()
	g.watching()
	for _, m := range slices.Clone(g.members) {
		m.leave()
	}
	require.NoError(g.t, g.recorder.Close())
	h, err := hist.Read(g.files...)
	require.NoError(g.t, err)
	report := h.Check(allow)
	g.t.Log(report)
	require.NoError(g.t, report.Err())
	require.Zero(g.t, report.Refused, "publishes were refused: %s", &g.refusals)
	require.Positive(g.t, report.Commits, "nobody saw a commit")
	require.Positive(g.t, report.Asked, "nobody asked for a commit")
	return report
}

// pass waits while the group does its work, and fails the test if a member ends.
func (g *group) pass(d time.Duration) {
	g.t.Helper()
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-end.C:
			return
		case <-tick.C:
		}
		for _, m := range g.members {
			select {
			case <-m.exited:
				require.FailNow(g.t, "a member ended", "%s, with code %d: %s", m.name, m.code, m.stderr.tail())
			default:
			}
		}
	}
}

// events are those of the recorders whose names begin so, each one's in their
// order: "m" for the members.
func (g *group) events(prefix string) (all []hist.Event) {
	g.t.Helper()
	for _, path := range g.files {
		if !strings.HasPrefix(filepath.Base(path), prefix) {
			continue
		}
		all = append(all, readEvents(g.t, path)...)
	}
	return all
}

// gapsOf lists the longest gap of each partition.
func gapsOf(report *hist.Report) string {
	gaps := map[int32]time.Duration{}
	for _, g := range report.Gaps {
		gaps[g.Partition] = g.Length().Round(time.Millisecond)
	}
	var list []string
	for _, p := range slices.Sorted(maps.Keys(gaps)) {
		list = append(list, fmt.Sprintf("%d: %s", p, gaps[p]))
	}
	return strings.Join(list, ", ")
}
