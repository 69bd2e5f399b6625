package consumer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/commitmeta"
)

// TestAssignmentsAgainstModel plays one partition's life with workers, timers, the
// poller, the committer and the group in the hands of the model: any of them may
// do the next step, at any time, crashes included. The model knows nothing of lanes
// and ledgers; it remembers what ran and what was acknowledged, and checks the
// invariants of docs/testing.md by it.
func TestAssignmentsAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"load": m.load, "begin": m.begin, "begin another": m.begin, "finish": m.finishOne, "finish some": m.finishSome,
			"fail": m.fail, "fail another": m.fail, "look": m.look, "due": m.due, "commit": m.commit, "end": m.end, "land": m.land, "land another": m.land, "": m.check,
		})
		m.drain()
	})
}

type model struct {
	t        *rapid.T
	ordering Ordering
	batch    bool
	engine   *engine
	a        *assignment
	workers  []*player
	ghosts   []*player // at work on a former assignment

	log       []*kgo.Record
	published int64 // next offset
	position  int   // in the log, of the poller

	// As the group would know it: what was acknowledged last.
	acked struct {
		offset   int64
		metadata string
		finished map[int64]bool
		attempts map[int64]int
	}
	ever     map[int64]bool // finished, by whoever
	finished map[int64]bool // as this assignment must know it
	attempts map[int64]int  // failures that it must know of
	running  map[int64]bool

	chain *modelChain // nil without a policy
	air   []publish
	flown map[int64]bool // on their way to another topic, and nobody waits for them
}

// player is a worker that does one step at a time.
type player struct {
	worker
	a       *assignment
	atWork  bool
	records []*kgo.Record // of the turn; the first of them is at work, all of them in a batch
}

func newModel(t *rapid.T) *model {
	m := &model{
		t: t, ordering: rapid.SampledFrom([]Ordering{ByKey, ByKey, ByPartition, Unordered}).Draw(t, "ordering"),
		batch: rapid.Bool().Draw(t, "batch"), ever: map[int64]bool{},
		finished: map[int64]bool{}, attempts: map[int64]int{}, running: map[int64]bool{}, flown: map[int64]bool{},
	}
	cfg := Config{
		Ordering: m.ordering, MaxBatch: rapid.SampledFrom([]int{1, 3, 100}).Draw(t, "max batch"),
		MaxSpan: rapid.SampledFrom([]int64{20, 1_000_000}).Draw(t, "max span"), RetryMin: time.Hour, RetryMax: time.Hour,
	}
	r := &route{source: "orders"}
	if m.batch {
		r.batch = func(context.Context, []*kgo.Record) error { return nil }
	}
	m.engine = &engine{
		cfg: cfg.withDefaults(), counts: &counts{}, born: time.Now(), routes: map[string]*route{"orders": r}, log: zap.NewNop(),
		open: map[string]map[int32]*assignment{}, ghosts: map[place]*assignment{}, flow: newFlow(nil, nil),
	}
	m.engine.pool = newPool(0, m.engine.visit)
	m.engine.timers.closed, m.engine.watch.closed = true, true
	m.acked.finished, m.acked.attempts = map[int64]bool{}, map[int64]int{}
	if rapid.Bool().Draw(t, "policy") {
		m.withPolicy()
	}
	m.workers = make([]*player, rapid.IntRange(1, 6).Draw(t, "workers"))
	for i := range m.workers {
		m.workers[i] = &player{}
	}
	m.open()
	return m
}

// open has the next owner begin from what was committed last.
func (m *model) open() {
	meta, err := commitmeta.Decode(m.acked.metadata)
	if m.acked.metadata != "" {
		require.NoError(m.t, err)
	}
	m.finished, m.attempts = maps.Clone(m.acked.finished), maps.Clone(m.acked.attempts)
	m.openAs(opening{topic: "orders", offset: m.acked.offset, committed: m.acked.offset, metadata: m.acked.metadata, meta: meta})
}

func (m *model) openAs(o opening) {
	m.a, m.flown = m.engine.openAssignment(o), map[int64]bool{}
	m.a.pace.inPlace = rapid.Bool().Draw(m.t, "in place")
	m.position = 0
	for m.position < len(m.log) && m.log[m.position].Offset < o.offset {
		m.position++
	}
}

// load is what the poller does, with something to poll more often than not.
func (m *model) load(t *rapid.T) {
	if rapid.Bool().Draw(t, "publish") {
		m.publish(t)
	}
	m.poll(t)
}

func (m *model) publish(t *rapid.T) {
	m.published += rapid.SampledFrom([]int64{0, 0, 0, 1, 9}).Draw(t, "gap")
	for range rapid.IntRange(1, 12).Draw(t, "records") {
		r := &kgo.Record{Topic: "orders", Offset: m.published, Value: []byte("value")}
		if k := rapid.IntRange(0, 5).Draw(t, "key"); k > 0 {
			r.Key = fmt.Append(nil, k)
		}
		m.log = append(m.log, r)
		m.published++
	}
}

func (m *model) poll(t *rapid.T) {
	n := min(len(m.log)-m.position, rapid.IntRange(1, 40).Draw(t, "polled"))
	if n > 0 {
		m.a.accept(&kgo.FetchTopicPartition{Topic: "orders", FetchPartition: kgo.FetchPartition{
			HighWatermark: m.published, Records: slices.Clone(m.log[m.position : m.position+n]),
		}})
		m.position += n
	}
}

// called empties the pool's queue, as a worker that comes would.
func (m *model) called() {
	p := m.engine.pool
	p.ready, p.first = nil, 0
	p.waiting.Store(0)
}

func (m *model) begin(t *rapid.T) {
	p := rapid.SampledFrom(m.workers).Draw(t, "worker")
	if p.atWork || !m.a.queued {
		return
	}
	m.called()
	p.a = m.a
	m.started(p, m.a.enter(&p.worker))
}

// started looks at what a worker was given.
func (m *model) started(p *player, found bool) {
	p.atWork, p.records = found, nil
	if !found {
		return
	}
	tn := &p.turn
	if tn.lane != nil {
		require.False(m.t, m.batch)
		p.records = []*kgo.Record{tn.lane.head.record}
		require.Equal(m.t, m.attempts[p.records[0].Offset]+1, int(tn.lane.attempt), "attempts of offset %d", p.records[0].Offset)
	} else {
		for _, piece := range tn.pieces {
			p.records = append(p.records, piece...)
		}
	}
	if m.batch {
		require.LessOrEqual(m.t, len(p.records), m.engine.cfg.MaxBatch)
		for i, r := range p.records {
			m.mayStart(r, p.records[:i])
		}
		for _, r := range p.records {
			m.start(r)
		}
		return
	}
	if tn.inPlace {
		m.claim(p)
		return
	}
	m.mayStart(p.records[0], nil)
	m.start(p.records[0])
}

// claim has the worker go on to the next record of its chunk, if it may.
func (m *model) claim(p *player) bool {
	if len(p.records) == 0 || p.a.halted() || !p.turn.claim() {
		return false
	}
	require.Zero(m.t, m.attempts[p.records[0].Offset], "a record that failed runs in place")
	m.mayStart(p.records[0], nil)
	m.start(p.records[0])
	return true
}

// mayStart checks C3, C4 and C7 for a record that begins, with those that are
// before it in the same batch.
func (m *model) mayStart(r *kgo.Record, before []*kgo.Record) {
	require.False(m.t, m.finished[r.Offset], "C7: offset %d runs again in its assignment", r.Offset)
	require.False(m.t, m.running[r.Offset], "offset %d runs twice at once", r.Offset)
	require.Empty(m.t, m.ghosts, "a handler starts before the former owner's have returned")
	key, keyed := m.ordering.keyOf(r)
	for _, other := range m.log {
		otherKey, otherKeyed := m.ordering.keyOf(other)
		if !keyed || !otherKeyed || key != otherKey || other == r || slices.Contains(before, other) {
			continue
		}
		if m.apart(r) || m.apart(other) {
			continue
		}
		require.False(m.t, m.running[other.Offset], "C3: offset %d starts while %d of the same key runs", r.Offset, other.Offset)
		if other.Offset < r.Offset {
			require.True(m.t, m.finished[other.Offset], "C4: offset %d starts before %d of the same key is finished", r.Offset, other.Offset)
		}
	}
}

func (m *model) start(r *kgo.Record) { m.running[r.Offset] = true }

func (m *model) busy(t *rapid.T) *player {
	var busy []*player
	for _, p := range append(slices.Clone(m.workers), m.ghosts...) {
		if p.atWork {
			busy = append(busy, p)
		}
	}
	if len(busy) == 0 {
		return nil
	}
	return rapid.SampledFrom(busy).Draw(t, "busy")
}

func (m *model) finishOne(t *rapid.T) {
	if p := m.busy(t); p != nil {
		m.returns(t, p, func() error { return nil })
	}
}

func (m *model) finishSome(t *rapid.T) {
	for range rapid.IntRange(2, 6).Draw(t, "times") {
		m.finishOne(t)
	}
}

func (m *model) fail(t *rapid.T) {
	if p := m.busy(t); p != nil {
		m.returns(t, p, func() error {
			return rapid.SampledFrom([]error{errTest, errTest, duplex.Drop("why not"), duplex.Snooze(time.Hour), nil}).Draw(t, "outcome")
		})
	}
}

// returns has the handler that p runs return.
func (m *model) returns(t *rapid.T, p *player, outcome func() error) {
	ghost := slices.Contains(m.ghosts, p)
	switch {
	case m.batch:
		var failed BatchError
		for i := range p.records {
			failed.Fail(i, outcome())
		}
		p.turn.someFailed(&failed)
		m.consult(p)
		for i, r := range p.records {
			m.result(p, r, failed.failed[i])
		}
	default:
		err := outcome()
		p.turn.err = err
		if p.turn.inPlace && err == nil {
			p.turn.ended++
		}
		flown := m.consult(p)
		m.result(p, p.records[0], err)
		if p.turn.inPlace && (err == nil || flown) {
			p.records = p.records[1:]
			if flown && rapid.Bool().Draw(t, "looked at between two records") {
				m.look(t)
			}
			if m.claim(p) {
				return
			}
		}
	}
	found := p.a.proceed(&p.worker, !ghost && rapid.Bool().Draw(t, "stays"))
	if ghost {
		require.False(t, found)
		m.ghosts = slices.DeleteFunc(m.ghosts, func(g *player) bool { return g == p })
		m.engine.background.Wait()
	}
	m.started(p, found)
}

func (m *model) result(p *player, r *kgo.Record, err error) {
	delete(m.running, r.Offset)
	if err == nil {
		m.ever[r.Offset] = true
	}
	v := duplex.VerdictOf(err)
	if p.a != m.a || (p.a.ctx.Err() != nil && err != nil && v.Kind != duplex.VerdictDrop) {
		return // it comes late, or gave up
	}
	switch {
	case m.hopped(r):
	case err == nil, v.Kind == duplex.VerdictDrop:
		m.finished[r.Offset], m.ever[r.Offset] = true, true
		delete(m.attempts, r.Offset)
	case v.Kind != duplex.VerdictSnooze:
		m.attempts[r.Offset]++
	case m.attempts[r.Offset] == 0:
		m.attempts[r.Offset] = 0 // it waits all the same
	}
}

func (m *model) look(*rapid.T) {
	m.a.look()
	m.a.look()
}

func (m *model) due(t *rapid.T) {
	var waiting []due
	for l := m.a.lanes.first; l != nil; l = l.next {
		if l.state == laneWaiting {
			waiting = append(waiting, due{lane: l, assignment: m.a})
		}
	}
	if len(waiting) > 0 {
		n := rapid.IntRange(1, len(waiting)).Draw(t, "due")
		m.a.wake(waiting[:n])
	}
}

func (m *model) commit(t *rapid.T) {
	p, changed := m.a.progress()
	if !changed {
		return
	}
	require.GreaterOrEqual(t, p.at.Offset, m.acked.offset, "C6: a commit went back")
	for _, r := range m.log {
		if r.Offset < p.at.Offset {
			require.True(t, m.finished[r.Offset], "C1: the commit of %d passes offset %d", p.at.Offset, r.Offset)
		}
	}
	p.toCommit()
	switch rapid.SampledFrom([]string{"acknowledged", "acknowledged", "landed", "lost"}).Draw(t, "outcome") {
	case "acknowledged":
		p.acknowledged()
	case "lost":
		return
	}
	m.acked.offset, m.acked.metadata = p.at.Offset, p.metadata
	m.acked.finished, m.acked.attempts = maps.Clone(m.finished), maps.Clone(m.attempts)
}

// end is the end of the assignment, one way or another.
func (m *model) end(t *rapid.T) {
	switch rapid.SampledFrom([]string{"", "", "crash", "lost", "revoked"}).Draw(t, "by") {
	case "crash":
		m.crash()
	case "lost":
		m.lose(t)
	case "revoked":
		m.revoke(t)
	}
}

// crash ends everything at once.
func (m *model) crash() {
	for _, p := range append(slices.Clone(m.workers), m.ghosts...) {
		*p = player{}
	}
	m.ghosts, m.running, m.air = nil, map[int64]bool{}, nil
	m.engine.open, m.engine.ghosts = map[string]map[int32]*assignment{}, map[place]*assignment{}
	m.engine.openCount, m.engine.regain.kept = 0, nil
	m.open()
}

// lose closes the assignment while handlers are at work. If it comes back at once,
// and nobody else committed meanwhile, all that was finished counts.
func (m *model) lose(t *rapid.T) {
	at := place{"orders", 0}
	m.engine.regain.keep([]*assignment{m.a}, time.Hour)
	m.engine.closeAssignment(m.a, ErrLost)
	for i, p := range m.workers {
		if p.atWork {
			m.ghosts = append(m.ghosts, p)
			m.workers[i] = &player{}
		}
	}
	now := commitState{m.acked.offset, m.acked.metadata}
	switch rapid.SampledFrom([]string{"back at once", "back at once", "somebody else had it"}).Draw(t, "then") {
	case "somebody else had it":
		_, ok := m.engine.regain.take(at, commitState{now.offset, now.metadata + "x"})
		require.False(t, ok)
		m.open()
	default:
		k, ok := m.engine.regain.take(at, now)
		require.True(t, ok)
		m.openAs(opening{
			topic: "orders", offset: k.watermark, epoch: k.epoch, meta: k.meta, committed: now.offset, metadata: now.metadata,
		})
	}
}

// revoke gives the partition away in good order: nothing is repeated.
func (m *model) revoke(t *rapid.T) {
	if len(m.ghosts) > 0 {
		return
	}
	m.a.halt(haltEnding)
	if rapid.Bool().Draw(t, "cancelled") {
		m.a.cancel(ErrRevoked)
	}
	for _, p := range m.workers {
		if p.atWork {
			m.returns(t, p, func() error {
				return rapid.SampledFrom([]error{nil, nil, errTest, duplex.Drop("why not")}).Draw(t, "last")
			})
			require.False(t, p.atWork, "a handler started after the revocation")
		}
	}
	p, _ := m.a.progress()
	p.acknowledged()
	m.acked.offset, m.acked.metadata = p.at.Offset, p.metadata
	m.acked.finished, m.acked.attempts = maps.Clone(m.finished), maps.Clone(m.attempts)
	m.engine.closeAssignment(m.a, ErrRevoked)
	m.open()
}

// check is what holds between any two steps.
func (m *model) check(t *rapid.T) {
	a := m.a
	if a.after == nil && !a.halted() && a.hasWork() {
		require.True(t, a.queued, "C9: there is work and no worker is called")
	}
	require.GreaterOrEqual(t, a.loaded, a.queue.len())
	require.Equal(t, a.lanes.n == 0, a.lanes.first == nil)
	busy := 0
	for _, p := range m.workers {
		if p.atWork {
			busy++
		}
	}
	require.Equal(t, busy, a.running)
}

// drain has everything succeed: nothing may be stuck or left.
func (m *model) drain() {
	for range 100_000 {
		if m.position < len(m.log) {
			m.poll(m.t)
		}
		m.due(m.t)
		for len(m.air) > 0 {
			m.lands(0, nil)
		}
		if m.a.queued {
			for _, p := range m.workers {
				if !p.atWork {
					m.called()
					p.a = m.a
					m.started(p, m.a.enter(&p.worker))
					break
				}
			}
		}
		for _, p := range append(slices.Clone(m.workers), m.ghosts...) {
			if p.atWork {
				m.returns(m.t, p, func() error { return nil })
			}
		}
		if len(m.log) == m.position && m.a.loaded == 0 && m.a.running == 0 {
			break
		}
	}
	for _, r := range m.log {
		require.True(m.t, m.finished[r.Offset], "C2: offset %d was never handled", r.Offset)
	}
	require.Zero(m.t, m.a.loaded)
	require.Zero(m.t, m.a.bytes)
	require.Zero(m.t, m.a.lanes.n)
	require.Zero(m.t, m.a.waiting)
	require.Empty(m.t, m.a.lanes.byKey)
	if len(m.log) > 0 {
		require.Equal(m.t, m.log[len(m.log)-1].Offset+1, m.a.ledger.Watermark())
	}
}
