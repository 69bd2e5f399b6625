package consumer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/commitmeta"
	"github.com/duplex-go/duplex/internal/ledger"
)

// An assignment is one tenure of one partition: from the moment the group gave
// it to this member until it is revoked, lost, or replaced. It owns the ledger
// and the lane, so that whatever comes in late, a polled slice or a handler's
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
	//nolint:containedctx // handlers' contexts belong to the assignment
	ctx    context.Context
	cancel context.CancelCauseFunc

	halts atomic.Uint32 // why no handler may start, a bit each

	mu     sync.Mutex
	closed bool
	ledger *ledger.Ledger
	// read is the offset that reading goes on from: the ledger's frontier, unless
	// what a former owner has read is still being read again.
	read  int64
	heads []commitmeta.Head // of the former owner's, that were not read again yet
	lane  lane
	turn  *turn // at work now; nil if none
	// after is a former assignment of this partition whose handler has not
	// returned: nothing starts before it does.
	after *assignment
	// successor waits for our handler in the same way.
	successor *assignment
	idle      chan struct{} // closed when turn ends; nil if nobody waits

	bytes     int64 // in the lane
	over      bool  // over its share; fetching is to be held or is paused
	paused    bool
	epoch     int32  // leader epoch of the last finished record
	committed int64  // as the broker acknowledged it; -1 if never
	metadata  string // beside it
	end       int64  // of the log, as of the last fetch; -1 if not known
	moved     time.Time
}

// opening says what an assignment begins with.
type opening struct {
	topic      string
	partition  int32
	generation int32
	offset     int64
	committed  int64
	epoch      int32
	meta       commitmeta.Meta // of the committed offset
}

func newAssignment(e *engine, o opening) *assignment {
	a := &assignment{
		engine: e, topic: o.topic, partition: o.partition, generation: o.generation, origin: o.meta.Partitions,
		handler: e.routes[o.topic], ledger: ledger.Restore(o.offset, o.meta.Runs), read: o.offset, heads: o.meta.Heads,
		epoch: o.epoch, committed: o.committed, end: -1, moved: time.Now(),
	}
	a.lane.assignment, a.lane.attempt = a, 1
	a.ctx, a.cancel = context.WithCancelCause(context.Background())
	return a
}

// Why no handler of an assignment may start.
const (
	haltEnding uint32 = 1 << iota // revoked, lost or stopping: for good
	haltFenced                    // the cluster does not hear us
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
	if a.lane.queue.len() == 0 {
		a.lane.since = time.Now()
	}
	a.load(p.Records)
	a.schedule()
	loaded, bytes := a.engine.shares()
	if a.lane.queue.len() <= loaded && a.bytes <= bytes {
		return false
	}
	if a.over && !a.paused {
		return false // known already
	}
	a.over, a.paused = true, false // records of a paused partition mean that it is not paused
	return true
}

// load enters records into the ledger and puts those that are to be handled into
// the lane, in slices without a gap.
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
		a.bytes += s.bytes
		a.lane.queue.push(s)
	}
}

func recordSize(r *kgo.Record) int64 {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return int64(n)
}

// schedule moves the lane on if it is idle or waiting and its head may run. The
// mutex is held.
func (a *assignment) schedule() {
	l := &a.lane
	if a.closed || a.halted() || a.after != nil || l.queue.len() == 0 || l.state == laneReady || l.state == laneRunning {
		return
	}
	if at := a.runnableAt(); !at.IsZero() && at.After(time.Now()) {
		if l.state == laneIdle {
			l.state = laneWaiting
			a.engine.timers.add(l, at)
		}
		return
	}
	l.state = laneReady
	a.engine.pool.add(l)
}

// runnableAt is when the head may run; zero means now.
func (a *assignment) runnableAt() time.Time {
	l := &a.lane
	if !l.due.IsZero() {
		return l.due
	}
	if a.handler.batch != nil && a.engine.cfg.BatchWait > 0 && l.queue.len() < a.engine.cfg.MaxBatch {
		return l.since.Add(a.engine.cfg.BatchWait)
	}
	return time.Time{}
}

// wake is called when a waiting lane is due.
func (a *assignment) wake() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lane.state == laneWaiting {
		a.lane.state = laneIdle
		a.schedule()
	}
}

// begin gives the lane's next records to a worker, or nil when nothing may
// start.
func (a *assignment) begin(w *worker) *turn {
	a.mu.Lock()
	defer a.mu.Unlock()
	l := &a.lane
	if a.closed || a.halted() || l.queue.len() == 0 {
		l.state = laneIdle
		return nil
	}
	n := min(l.queue.len(), turnSize)
	if a.handler.batch != nil {
		n = min(l.queue.len(), a.engine.cfg.MaxBatch)
	}
	if l.retry > 0 {
		n = min(n, l.retry) // the others behind them are on their first attempt
	}
	w.pieces = l.queue.front(w.pieces[:0], n)
	l.state = laneRunning
	a.turn = &turn{ctx: a.ctx, lane: l, attempt: l.attempt, began: time.Now(), size: n}
	return a.turn
}

// settle enters into the ledger what the running turn has finished so far. The
// mutex is held.
func (a *assignment) settle() {
	if a.turn == nil || a.closed {
		return
	}
	done := int(a.turn.done.Load())
	if done == a.turn.settled {
		return
	}
	a.finishHeads(done - a.turn.settled)
	a.turn.settled = done
	a.moved = time.Now()
	a.relieve()
}

// finishHeads finishes the first n records of the lane; the one behind them has
// not failed before.
func (a *assignment) finishHeads(n int) {
	a.finishFirst(n)
	a.lane.headIsNew()
}

// finishFirst enters the first n records of the lane into the ledger as finished.
func (a *assignment) finishFirst(n int) {
	for n > 0 {
		s := a.lane.queue.pop(n)
		a.ledger.Finish(s.seq, len(s.records))
		a.bytes -= s.bytes
		a.epoch = s.records[len(s.records)-1].LeaderEpoch
		n -= len(s.records)
	}
}

// relieve lets fetching go on once half of the share is free again.
func (a *assignment) relieve() {
	if !a.over {
		return
	}
	loaded, bytes := a.engine.shares()
	if a.lane.queue.len() > loaded/2 || a.bytes > bytes/2 {
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

// finish ends a turn: the worker has put its result into t. It reports whether
// the assignment had been closed meanwhile.
func (a *assignment) finish(t *turn) (late bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		a.engine.countLate(t)
	} else {
		a.settle()
		a.engine.judge(a, t)
	}
	a.turn = nil
	a.lane.state = laneIdle
	if a.idle != nil {
		close(a.idle)
		a.idle = nil
	}
	if next := a.successor; next != nil {
		a.successor = nil
		a.engine.background.Go(next.released) // not under two assignments' mutexes
	}
	if a.lane.queue.len() > 0 {
		a.lane.since = time.Now()
	}
	a.schedule()
	return a.closed
}

// released is called when the former assignment's handler has returned.
func (a *assignment) released() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.after = nil
	a.schedule()
}

// follow holds a back until the former assignment's handler has returned.
func (a *assignment) follow(former *assignment) {
	former.mu.Lock()
	defer former.mu.Unlock()
	if former.turn != nil {
		a.after, former.successor = former, a
	}
}

// whenIdle returns a channel that is closed once no handler of a runs.
func (a *assignment) whenIdle() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.turn == nil {
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
// whether a handler is still at work.
func (a *assignment) close(cause error) (running bool) {
	a.halt(haltEnding)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		a.settle()
		a.closed = true
		a.lane.queue = queue{}
		a.bytes = 0
	}
	a.cancel(cause)
	return a.turn != nil
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

func (p progress) acknowledged() {
	a := p.assignment
	a.mu.Lock()
	defer a.mu.Unlock()
	a.committed, a.metadata = p.at.Offset, p.metadata
}
