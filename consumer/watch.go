package consumer

import (
	"slices"
	"sync"
	"time"
)

// watch looks after records that run in place. Those behind one wait for it, and
// so does nobody if it returns at once; when the same record is seen twice, the
// chunk is cut behind it: it goes on in a lane of its own key, and the others go
// back into the queue, for other workers. It is what Go's scheduler does with a
// goroutine that blocks in a system call. A chunk that takes long as a whole ends
// early if other assignments wait for a worker.
//
// It looks while there is something to look at, and less and less often while it
// sees nothing new.
type watch struct {
	mu     sync.Mutex
	listed []*assignment
	timer  *time.Timer
	every  time.Duration
	// looking is set while a look is under way: two at once would take a record
	// that they both see for one that was there before.
	looking bool
	closed  bool
}

const (
	watchEvery = time.Millisecond
	watchRare  = time.Second
)

// add has an assignment looked after whose mutex is held and that has a chunk at
// work.
func (w *watch) add(a *assignment) {
	a.chunk.seen, a.chunk.seenAt = 0, 0
	if a.watched {
		return
	}
	a.watched = true
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.listed = append(w.listed, a)
	if w.looking || (len(w.listed) > 1 && w.every == watchEvery) {
		return // it comes soon enough
	}
	w.every = watchEvery
	if w.timer == nil {
		w.timer = time.AfterFunc(w.every, w.look)
	} else {
		w.timer.Reset(w.every)
	}
}

func (w *watch) look() {
	w.mu.Lock()
	w.looking = true
	listed := slices.Clone(w.listed)
	w.mu.Unlock()
	news := false
	gone := map[*assignment]bool{}
	for _, a := range listed {
		kept, isNew := a.look()
		news = news || isNew
		if !kept {
			gone[a] = true
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looking = false
	w.listed = slices.DeleteFunc(w.listed, func(a *assignment) bool { return gone[a] })
	if len(w.listed) == 0 || w.closed {
		return
	}
	if w.every = min(2*w.every, watchRare); news || len(w.listed) > len(listed)-len(gone) {
		w.every = watchEvery
	}
	w.timer.Reset(w.every)
}

func (w *watch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed, w.listed = true, nil
	if w.timer != nil {
		w.timer.Stop()
	}
}

// look reports whether the assignment is still to be looked after, and whether it
// has moved on since the last look.
func (a *assignment) look() (kept, isNew bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.chunk
	if t == nil || a.closed {
		a.watched = false
		return false, true
	}
	at := t.word.Load()
	if at != t.seen {
		t.seen, t.seenAt = at, a.engine.clock()
		if a.engine.pool.contended() && t.seenAt-t.began > turnTime {
			t.cut(at) // others have waited long enough: the worker ends with this record
		}
		return true, true
	}
	between := t.settled >= int(at&wordField) // the record that it was at has left the chunk
	if a.ordering == ByPartition || between || !t.cut(at) {
		return true, false
	}
	a.cutBehind(t)
	a.watched = false
	return false, true
}

// cutBehind makes a lane of the record that t is at, and gives the rest of its
// chunk back.
func (a *assignment) cutBehind(t *turn) {
	a.settle()
	a.engine.counts.handled.Add(int64(t.settled - t.flown))
	it := t.queue.popOne()
	key, keyed := a.ordering.keyOf(it.record)
	t.lane = a.newLane(nil, it, key, keyed)
	t.lane.state, t.lane.began = laneRunning, t.seenAt
	a.queue.putBack(&t.queue)
	a.chunk = nil
	a.pace.cut(a.engine.clock())
	a.schedule()
}
