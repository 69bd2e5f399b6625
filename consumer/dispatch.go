package consumer

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// What a worker gets next from an assignment. The mutex is held in all of it.
//
// Most handlers either take next to no time or wait for something. For the first,
// whatever is done per record beside the handler is what the time goes on; for the
// second, nothing is but how many run at once. So an assignment works in one of two
// ways, and pace.go says which:
//
//	in place   one worker takes a chunk of the queue and runs it in log order.
//	           There is no lane and no table; a record costs an atomic addition.
//	spread     a worker takes one record, which gets a lane, and then another
//	           worker the next. Records of a key that has a lane stand behind it.
//
// The order of a key holds in both, and when one turns into the other: the queue
// is taken from in log order, by nobody else while a chunk is at work, and a chunk
// never has a record whose key has a lane.

const (
	// chunkSize bounds the records of a chunk, and so what is allocated for it.
	chunkSize = 256
	// lookAhead is how many records of keys that have lanes are put behind them
	// before others may have the mutex.
	lookAhead = 256
)

// schedule has a worker come if there is something for it.
func (a *assignment) schedule() {
	if a.queued || a.halted() || a.closed || a.after != nil || !a.hasWork() {
		return
	}
	a.queued = true
	a.engine.pool.add(a)
}

// hasWork reports whether begin would find something.
func (a *assignment) hasWork() bool {
	return a.ready.first != nil || (a.mayTake() && !a.queueWaits()) || a.toDisplace()
}

// mayTake reports whether the queue may be taken from.
func (a *assignment) mayTake() bool {
	if a.queue.len() == 0 || a.chunk != nil {
		return false
	}
	if a.wholeWaits() {
		return false
	}
	return a.gateOpen()
}

// wholeWaits reports whether all records of the partition are behind one that failed.
func (a *assignment) wholeWaits() bool { return a.ordering == ByPartition && a.lanes.byKey[0] != nil }

// begin gives w's turn something to run.
func (a *assignment) begin(w *worker) bool {
	if a.closed || a.halted() || a.after != nil {
		return false
	}
	t := &w.turn
	t.reset(a)
	if a.toDisplace() {
		a.displace(w)
	}
	for range 2 { // lanes and the queue take turns, so that neither starves the other
		a.lanesNext = !a.lanesNext
		switch {
		case a.lanesNext && a.handler.batch != nil && (a.ready.first == nil || !a.ready.first.moves):
			t.lanes = a.readyBatch(t.lanes)
		case a.lanesNext:
			t.lane = a.ready.pop()
		case a.mayTake() && !a.queueWaits():
			a.takeQueue(w)
		}
		if t.found() {
			a.started(t)
			return true
		}
	}
	return false
}

// started notes what a turn is to run.
func (a *assignment) started(t *turn) {
	a.running++
	t.began = a.now
	t.inPlace = t.queue.len() > 0
	switch {
	case t.inPlace:
		t.pieces = t.queue.records(t.pieces[:0])
		t.size = t.queue.len()
		t.open(t.size)
	case t.lane != nil:
		t.lane.state, t.lane.began = laneRunning, t.began
	default:
		t.pieces, t.size = append(t.pieces[:0], t.batchLanes()), len(t.attempts)
	}
}

// batchLanes has the heads of the turn's lanes run as one batch.
func (t *turn) batchLanes() (records []*kgo.Record) {
	t.attempts = t.attempts[:0]
	for _, l := range t.lanes {
		l.state, l.began = laneRunning, t.began
		for i := range int(l.together) {
			records, t.attempts = append(records, l.at(i).record), append(t.attempts, l.attempt)
		}
	}
	return records
}

func (a *assignment) takeQueue(w *worker) {
	t := &w.turn
	switch {
	case a.handler.batch != nil:
		a.takeChunk(t, min(a.queue.len(), a.engine.cfg.MaxBatch))
		if t.queue.len() > 0 && a.ordering != Unordered {
			a.chunk = t
		}
	case a.pace.inPlace:
		a.takeChunk(t, min(a.queue.len(), chunkSize))
		if t.queue.len() > 0 {
			a.chunk = t
			a.engine.watch.add(a)
		}
	default:
		t.lane = a.takeOne(w)
	}
}

// takeOne gives the first record of the queue a lane whose key has none, and puts
// those before it where they belong. It returns nil if it finds none soon.
func (a *assignment) takeOne(w *worker) *lane {
	for range lookAhead {
		if !a.mayTake() {
			return nil
		}
		if a.chained && a.queueWaits() {
			return nil
		}
		a.gate.took(1)
		if key, keyed, diverted := a.divert(); !diverted {
			return a.newLane(w, a.queue.popOne(), key, keyed)
		}
	}
	return nil
}

// takeChunk moves up to n records whose keys have no lanes to the turn, and puts
// those between them where they belong.
func (a *assignment) takeChunk(t *turn, n int) {
	a.gate.took(n)
	if a.lanes.n == 0 && len(a.heads) == 0 && !a.chained {
		a.queue.moveTo(&t.queue, n)
		return
	}
	now := time.Now()
	for range max(n, lookAhead) {
		if n == 0 || a.queue.len() == 0 || a.wholeWaits() || (a.chained && a.queueWaits()) {
			return
		}
		run := a.free(t, n, now)
		if run == 0 {
			first := a.queue.head()
			if _, _, diverted := a.divert(); diverted {
				continue
			}
			a.counted(t, first)
			run = 1
		}
		t.queue.push(a.queue.pop(run))
		n -= run
	}
}

// free is how many records at the head of the queue, at most n and of one slice, have
// keys that no lane has, and may run now.
func (a *assignment) free(t *turn, n int, now time.Time) int {
	if len(a.heads) > 0 {
		return 0 // each is to be looked at
	}
	records := a.queue.slices[a.queue.first].records
	records = records[:min(n, len(records))]
	for i, r := range records {
		if a.lanes.n > 0 {
			if key, keyed := a.ordering.keyOf(r); keyed && a.lanes.byKey[key] != nil {
				return i
			}
		}
		if !a.chained {
			continue
		}
		if at := a.arrived(r); at.Moves || at.Due.After(now) {
			return i
		}
		a.counted(t, r)
	}
	return len(records)
}

// counted notes which attempt it is for the next record of a chunk, where it may not be
// the first.
func (a *assignment) counted(t *turn, r *kgo.Record) {
	if a.chained {
		t.attempts = append(t.attempts, a.firstAttempt(r))
	}
}

// divert takes the first record off the queue if it may not run now: because its
// key has a lane, or because it failed with the partition's former owner and waits.
func (a *assignment) divert() (key uint64, keyed, diverted bool) {
	r := a.queue.head()
	key, keyed = a.ordering.keyOf(r)
	head, failed := a.headOf(r)
	if a.chained && !failed && a.arrived(r).Moves {
		l := a.newLane(nil, a.queue.popOne(), 0, false) // nobody waits for it
		l.moves = true
		a.ready.push(l)
		return key, keyed, true
	}
	if failed && a.handler.unordered {
		a.resume(a.newLane(nil, a.queue.popOne(), 0, false), head) // nobody waits for it
		return key, keyed, true
	}
	if keyed {
		if l := a.lanes.byKey[key]; l != nil {
			l.push(a.queue.popOne())
			if failed {
				a.joinHead(l, head)
			}
			return key, keyed, true
		}
	}
	if failed {
		a.resume(a.newLane(nil, a.queue.popOne(), key, keyed), head)
	}
	return key, keyed, failed
}

// newLane makes a lane for a record whose key has none.
func (a *assignment) newLane(w *worker, it item, key uint64, keyed bool) *lane {
	var l *lane
	if w != nil {
		l, w.spare = w.spare, nil
	}
	if l == nil {
		l = &lane{}
	}
	l.assignment, l.key, l.keyed, l.head = a, key, keyed, it
	l.headIsNew()
	a.lanes.add(l)
	return l
}

// putOff has a lane wait until its head is due.
func (a *assignment) putOff(l *lane) {
	l.state = laneWaiting
	a.waiting++
	a.gate.displaced = false
	a.engine.timers.add(due{at: l.due, lane: l, assignment: a})
}

// wake is called when lanes are due, or what the queue waits for.
func (a *assignment) wake(dues []due) {
	a.mu.Lock()
	var publish []*lane
	for _, d := range dues {
		switch {
		case d.lane == nil:
			a.queueTimer = time.Time{}
		case a.closed || d.lane.state != laneWaiting:
		case d.lane.publish != nil:
			a.waiting--
			a.publishes(d.lane)
			publish = append(publish, d.lane)
		default:
			a.waiting--
			a.ready.push(d.lane)
		}
	}
	a.schedule()
	a.mu.Unlock()
	a.engine.publish(publish)
}

// queueWaits reports whether the head of the queue may not run yet, and sees to it
// that it does not wait for too long: records of a batch wait for others, those of
// retry topics until they are due.
func (a *assignment) queueWaits() bool {
	var at time.Time
	switch {
	case a.chained:
		at = a.arrived(a.queue.head()).Due
	case a.handler.batch != nil && a.engine.cfg.BatchWait > 0 && a.queue.len() < a.engine.cfg.MaxBatch:
		at = a.since.Add(a.engine.cfg.BatchWait)
	}
	if at.IsZero() || !time.Now().Before(at) {
		return false
	}
	if a.queueTimer.IsZero() || at.Before(a.queueTimer) {
		a.queueTimer = at
		a.engine.timers.add(due{at: at.UnixNano(), assignment: a})
	}
	return true
}

// readyBatch appends lanes whose heads may run, as many as have room in a batch.
func (a *assignment) readyBatch(to []*lane) []*lane {
	for n := 0; a.ready.first != nil && !a.ready.first.moves; {
		if n += int(a.ready.first.together); n > a.engine.cfg.MaxBatch && len(to) > 0 {
			break
		}
		to = append(to, a.ready.pop())
	}
	return to
}
