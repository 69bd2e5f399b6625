package consumer

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/commitmeta"
	"github.com/duplex-go/duplex/internal/ledger"
)

// An assignment is one tenure of one partition: from the moment the group gave
// it to this member until it is revoked, lost, or replaced. It owns the ledger
// and the lanes, so that whatever comes in late, a polled slice or a handler's
// result, finds a closed assignment and changes nothing.
//
//	open ──► halted ──► closed        halted: no handler starts
//	  └───────────────────▲           closed: nothing counts any more
type assignment struct {
	engine     *engine
	topic      string
	partition  int32
	generation int32
	// origin is how many partitions the topic had when the group first saw it.
	origin  int32
	handler *route
	chained bool // a topic of the policy's
	//nolint:containedctx // handlers' contexts belong to the assignment
	ctx    context.Context
	cancel context.CancelCauseFunc

	halts atomic.Uint32 // why no handler may start, a bit each

	ordering Ordering

	mu     sync.Mutex
	closed bool
	ledger *ledger.Ledger
	// read is the offset that reading goes on from: the ledger's frontier, unless
	// what a former owner has read is still being read again, up to restored.
	read, restored int64
	heads          []commitmeta.Head // failed ones of the former owner's, that were not taken from the queue yet

	queue     queue // loaded, and not given to a worker yet
	lanes     lanes
	ready     readyLanes
	lanesNext bool  // the next turn is for a lane, if one is ready
	chunk     *turn // at work on a part of the queue; nobody else takes from it
	pace      pace
	gate      gate
	queued    bool // with the pool, for a worker to come
	watched   bool // see watch.go
	running   int  // turns at work
	waiting   int  // lanes in the timers, and those that something is published for
	hops      int  // publishes under way, those of flights included
	flights   flights

	// since is when the head of the queue came to stand there, for batches;
	// queueTimer is when a timer looks at it again, zero without one.
	since      time.Time
	queueTimer time.Time
	// arrival is what the policy says of the record at the head of the queue.
	arrival arrival

	// after is a former assignment of this partition whose handler has not
	// returned: nothing starts before it does.
	after *assignment
	// successor waits for our handler in the same way.
	successor *assignment
	ended     int64         // when it was closed, by the engine's clock
	idle      chan struct{} // closed when no turn is at work; nil if nobody waits

	loaded    int   // records that are not finished
	bytes     int64 // of them
	over      bool  // over its share; fetching is to be held or is paused
	paused    bool
	epoch     int32  // leader epoch of the last finished record
	committed int64  // as the broker acknowledged it; -1 if never
	metadata  string // beside it
	// sent is what was committed since, of which nobody knows whether it counts.
	sent  []commitState
	end   int64 // of the log, as of the last fetch; -1 if not known
	moved int64 // when a record was finished last, by the engine's clock
	// begun is below which offset another member may have begun records that are not
	// finished; gaveUp is set when a handler of ours did, because it was told to.
	begun  int64
	gaveUp bool
	now    int64 // when a worker came last: reading the clock costs more than most else
}

// opening says what an assignment begins with.
type opening struct {
	topic      string
	partition  int32
	generation int32
	offset     int64
	committed  int64
	epoch      int32
	metadata   string          // beside the committed offset
	meta       commitmeta.Meta // what it says
	// end is below which offset a former owner may have begun records.
	end   int64
	clean bool // what is committed says that nothing has begun
}

// unmarked reports whether nothing that is committed says that anything has begun.
func (o opening) unmarked() bool { return o.committed < 0 || o.clean }

func newAssignment(e *engine, o opening) *assignment {
	a := &assignment{
		engine: e, topic: o.topic, partition: o.partition, generation: o.generation, origin: o.meta.Partitions,
		handler: e.routes[o.topic], chained: e.routes[o.topic].source != o.topic, ledger: ledger.Restore(o.offset, o.meta.Runs), read: o.offset, heads: o.meta.Heads,
		ordering: e.cfg.Ordering, epoch: o.epoch, committed: o.committed, metadata: o.metadata, end: -1, moved: e.clock(), begun: o.end,
	}
	a.restored = a.ledger.Frontier()
	a.ctx, a.cancel = context.WithCancelCause(context.Background())
	return a
}

// Why no handler of an assignment may start.
const (
	haltEnding   uint32 = 1 << iota // revoked, lost or stopping: for good
	haltFenced                      // the cluster does not hear us
	haltPaused                      // an operator said so
	haltUnmarked                    // whoever came next would not know that anything began; see clean
)

func (a *assignment) halted() bool { return a.halts.Load() != 0 }

// halt keeps handlers from starting. One that was about to may still do so while
// this runs, none that whenIdle would not see.
func (a *assignment) halt(why uint32) { a.halts.Or(why) }

func (a *assignment) unhalt(why uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.halts.And(^why)
	a.schedule()
}

// accept takes a polled slice. It reports whether the assignment now holds more
// than its share.
func (a *assignment) accept(p *kgo.FetchTopicPartition) (over bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	a.end = p.HighWatermark
	if a.queue.len() == 0 {
		a.since = time.Now()
	}
	if a.loaded == 0 {
		a.moved = a.engine.clock()
	}
	// A copy of the pointers: the client's slice has those of all that it fetched
	// of the partition behind it, and would keep that in memory.
	records := slices.Clone(p.Records)
	if a.chained {
		boundTimes(records, time.Now())
	}
	a.load(records)
	a.schedule()
	loaded, bytes := a.engine.shares()
	if a.loaded <= loaded && a.bytes <= bytes {
		return false
	}
	if a.over && !a.paused {
		return false // known already
	}
	a.over, a.paused = true, false // records of a paused partition mean that it is not paused
	return true
}

// boundTimes takes back timestamps that lie in the future, by a clock that is ahead or
// a hand that is bad: what waits in a retry topic is due by its delay after it was
// written, and it was written before it is read.
func boundTimes(records []*kgo.Record, now time.Time) {
	for _, r := range records {
		if r.Timestamp.After(now) {
			r.Timestamp = now
		}
	}
}

// load enters records into the ledger and puts those that are to be handled into
// the queue, in slices without a gap.
func (a *assignment) load(records []*kgo.Record) {
	for len(records) > 0 && records[0].Offset < a.read {
		records = records[1:] // read before in this assignment
	}
	if len(records) == 0 {
		return
	}
	if records = a.reload(records); len(records) == 0 {
		return
	}
	defer func() { a.read = a.ledger.Frontier() }()
	for len(records) > 0 {
		first := records[0]
		if first.Attrs.IsControl() {
			if seq, ok := a.ledger.Add(first.Offset, 1); ok {
				a.ledger.Finish(seq, 1)
			}
			records = records[1:]
			continue
		}
		s := slice{bytes: recordSize(first)}
		n := 1
		for ; n < len(records) && records[n].Offset == first.Offset+int64(n) && !records[n].Attrs.IsControl(); n++ {
			s.bytes += recordSize(records[n])
		}
		s.records, records = records[:n:n], records[n:]
		s.seq, _ = a.ledger.Add(first.Offset, n)
		a.enqueue(s)
	}
}

func (a *assignment) enqueue(s slice) {
	a.loaded += len(s.records)
	a.bytes += s.bytes
	a.queue.push(s)
}

func recordSize(r *kgo.Record) int64 {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return int64(n)
}

// enter gives a worker that comes from the pool something to run. It reports false
// if there is nothing.
func (a *assignment) enter(w *worker) bool {
	a.mu.Lock()
	a.queued = false
	a.now = a.engine.clock()
	w.turn.visit = a.now
	found := a.begin(w)
	a.schedule()
	a.mu.Unlock()
	a.engine.send(w)
	return found
}

// next ends the worker's turn, and gives it another one if there is more to run and
// nobody else has waited for long enough.
func (a *assignment) next(w *worker) bool { return a.proceed(w, true) }

// leave ends the turn of a worker that will not come back.
func (a *assignment) leave(w *worker) { a.proceed(w, false) }

func (a *assignment) proceed(w *worker, stay bool) (found bool) {
	a.mu.Lock()
	a.now = a.engine.clock()
	a.finish(w)
	if stay && (!a.engine.pool.contended() || a.now-w.turn.visit < turnTime) {
		found = a.begin(w)
	}
	a.schedule()
	a.unlock()
	a.engine.send(w)
	return found
}

// unlock ends what may have been the last handler or publish at work.
func (a *assignment) unlock() {
	rest := !a.busy()
	if rest {
		a.rested()
	}
	ghost := rest && a.closed
	a.mu.Unlock()
	if ghost {
		a.engine.laid(a)
	}
}

// busy reports whether a handler is at work, or something is published.
func (a *assignment) busy() bool { return a.running > 0 || a.hops > 0 }

// finish enters into the ledger what came of a turn.
func (a *assignment) finish(w *worker) {
	t := &w.turn
	a.running--
	clear(t.pieces)
	if a.chunk == t {
		a.chunk = nil
	}
	switch {
	case a.closed:
		a.engine.countLate(t)
	case t.lane != nil && t.lane.moves:
		a.movedOn(w, t.lane, t.step(0))
	case a.handler.batch != nil:
		a.engine.judgeBatch(a, w)
	case t.lane != nil:
		a.pace.took(a.now - t.began)
		a.engine.judge(w, t.lane)
	default:
		a.engine.judgeChunk(a, w)
	}
	t.queue.clear()
	if a.queue.len() > 0 {
		a.since = time.Now()
	}
}

// rested is called when no handler is at work, and nothing is published.
func (a *assignment) rested() {
	if a.idle != nil {
		close(a.idle)
		a.idle = nil
	}
	if next := a.successor; next != nil {
		a.successor = nil
		a.engine.background.Go(next.released) // not under two assignments' mutexes
	}
}

// settle enters into the ledger what the chunk at work has finished so far. The
// mutex is held.
func (a *assignment) settle() {
	if a.chunk != nil && !a.closed && a.handler.batch == nil {
		a.settleTo(a.chunk, a.chunk.done())
	}
}

func (a *assignment) settleTo(t *turn, done int) {
	n := done - t.settled
	if n <= 0 {
		return
	}
	t.settled = done
	a.engine.counts.recovered.Add(t.again(done-n, done))
	for n > 0 {
		s := t.queue.pop(n)
		a.finished(s)
		n -= len(s.records)
	}
	a.moved = a.engine.clock()
	a.relieve()
}

// finished enters records into the ledger as such.
func (a *assignment) finished(s slice) {
	a.ledger.Finish(s.seq, len(s.records))
	a.epoch = max(a.epoch, s.records[len(s.records)-1].LeaderEpoch)
	a.loaded -= len(s.records)
	a.bytes -= s.bytes
	a.gate.finished(len(s.records))
}

func (a *assignment) finishedOne(it item) {
	a.ledger.Finish(it.seq, 1)
	a.epoch = max(a.epoch, it.record.LeaderEpoch)
	a.loaded--
	a.bytes -= it.bytes
	a.gate.finished(1)
}

// advance takes the head off a lane, which is finished, and has the one behind it
// run. It reports whether nothing is left of the lane, and so it is gone.
func (a *assignment) advance(l *lane) (gone bool) {
	it, gone := a.pass(l)
	a.finishedOne(it)
	a.moved = a.now
	a.relieve()
	return gone
}

// relieve lets fetching go on once there is room: half of the share if it is
// paused, because that has a price.
func (a *assignment) relieve() {
	if !a.over {
		return
	}
	loaded, bytes := a.engine.shares()
	if a.paused {
		loaded, bytes = loaded/2, bytes/2
	}
	if a.loaded > loaded || a.bytes > bytes {
		return
	}
	a.over = false
	if a.paused {
		a.paused = false
		a.engine.flow.resume(a.topic, a.partition)
		return
	}
	a.engine.flow.roomMade()
}

// released is called when the former assignment's handlers have returned.
func (a *assignment) released() {
	a.mu.Lock()
	a.after = nil
	a.schedule()
	a.unlock() // whoever came after it waits for the same handlers
}

// follow holds a back until the former assignment's handlers have returned, and
// those of the ones before it.
func (a *assignment) follow(former *assignment) {
	former.mu.Lock()
	defer former.mu.Unlock()
	if former.busy() || former.after != nil {
		a.after, former.successor = former, a
	}
}

// whenIdle returns a channel that is closed once no handler of a runs.
func (a *assignment) whenIdle() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.busy() {
		return closedChannel()
	}
	if a.idle == nil {
		a.idle = make(chan struct{})
	}
	return a.idle
}

func closedChannel() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// close ends the assignment; whatever comes later finds it closed. It reports
// whether a handler is still at work, of this one or of a former one.
func (a *assignment) close(cause error) (running bool) {
	a.halt(haltEnding)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.settle()
		a.closed, a.ended = true, a.engine.clock()
		a.forget()
	}
	a.cancel(cause)
	return a.busy() || a.after != nil
}

// forget lets go of all records that no handler has: timers may know their lanes
// for a long time.
func (a *assignment) forget() {
	a.queue, a.loaded, a.bytes = queue{}, 0, 0
	for l := a.lanes.first; l != nil; l = l.next {
		if l.behind = nil; l.state == laneWaiting || l.state == laneReady {
			l.head = item{}
		}
	}
	a.lanes, a.ready = lanes{}, readyLanes{}
}

// progress is what may be committed now: the watermark, and what is beside it.
type progress struct {
	assignment *assignment
	at         kgo.EpochOffset
	metadata   string
}

// progress reports also whether it differs from what the broker has.
func (a *assignment) progress() (p progress, changed bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return progress{}, false
	}
	a.settle()
	p = progress{a, kgo.EpochOffset{Epoch: a.epoch, Offset: a.ledger.Watermark()}, commitmeta.Encode(a.meta())}
	return p, p.at.Offset != a.committed || p.metadata != a.metadata
}

// toCommit notes that p is about to be committed.
func (p progress) toCommit() {
	a := p.assignment
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.sent) == mostSent { // then what was finished is not known to be ours, and runs again
		a.sent = a.sent[1:]
	}
	a.sent = append(a.sent, commitState{p.at.Offset, p.metadata})
}

func (p progress) acknowledged() {
	a := p.assignment
	a.mu.Lock()
	defer a.mu.Unlock()
	a.committed, a.metadata, a.sent = p.at.Offset, p.metadata, nil
	if a.halts.Load()&haltUnmarked != 0 { // what says that all is clean comes after haltEnding only
		a.halts.And(^haltUnmarked)
		a.schedule()
	}
}
