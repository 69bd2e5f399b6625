package consumer

import (
	"sync"
	"sync/atomic"
	"time"
)

// pool has at most limit goroutines visit assignments that have something to run.
// Assignments wait in one queue, first come first served, and each is in it at most
// once: so no partition starves another. Whoever takes something from an assignment
// puts it at the end of the queue again if there is more, for the next worker. A
// goroutine is started when an assignment waits and none is free; a few stay when
// there is nothing to do.
type pool struct {
	visit func(*worker, *assignment)
	limit int

	mu      sync.Mutex
	free    sync.Cond     // signalled to one idle worker for each assignment it should visit
	ready   []*assignment // ready[first:] wait
	first   int
	waiting atomic.Int64 // len(ready) - first, for workers to see without the lock
	workers int
	idle    int
	least   int // idle ones, since reap came last: so many were not needed
	leave   int // idle ones that are to go
	reaper  *time.Timer
	reaping bool
	closed  bool
	done    sync.WaitGroup
}

const (
	// keptIdle is how many workers stay without work, so that a trickle of records
	// does not start a goroutine each.
	keptIdle = 16
	// reapEvery is how long the others stay: work comes in bursts.
	reapEvery = time.Second
)

// worker is what one goroutine of the pool uses again and again.
type worker struct {
	turn     turn
	spare    *lane           // of a key that is done
	contexts []recordContext // that are not in use yet
	publish  []*lane         // to publish for, once the assignment is unlocked
	flights  []*flight       // to launch then
}

// rest lets go of what the worker had, so that an idle one keeps no records.
func (w *worker) rest() {
	w.contexts, w.turn.lane, w.turn.assignment = nil, nil, nil
	clear(w.turn.lanes[:cap(w.turn.lanes)])
	w.turn.pieces, w.turn.attempts, w.turn.steps, w.turn.after = nil, nil, nil, nil
}

// contextBlock is how many contexts are allocated at once.
const contextBlock = 16

// context gives the head of a lane a context, which its handler may keep.
func (w *worker) context(l *lane) *recordContext {
	if len(w.contexts) == 0 {
		w.contexts = make([]recordContext, contextBlock)
	}
	ctx := &w.contexts[0]
	w.contexts = w.contexts[1:]
	*ctx = recordContext{assignment: l.assignment, record: l.head.record, attempt: l.attempt}
	return ctx
}

func newPool(limit int, visit func(*worker, *assignment)) *pool {
	p := &pool{visit: visit, limit: limit}
	p.free.L = &p.mu
	return p
}

// add puts an assignment at the end of the queue.
func (p *pool) add(a *assignment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first > 64 && p.first > len(p.ready)/2 {
		p.ready, p.first = p.compact(), 0
	}
	p.ready = append(p.ready, a)
	p.waiting.Add(1)
	switch {
	case p.idle > 0:
		p.idle--
		p.least = min(p.least, p.idle)
		p.free.Signal()
	case p.workers < p.limit && !p.closed:
		p.workers++
		p.done.Go(p.work)
	}
}

// compact moves what waits to the front.
func (p *pool) compact() []*assignment {
	kept := copy(p.ready, p.ready[p.first:])
	clear(p.ready[kept:])
	return p.ready[:kept]
}

// contended reports whether an assignment waits for a worker.
func (p *pool) contended() bool { return p.waiting.Load() > 0 }

func (p *pool) work() {
	var w worker
	ended := false
	defer func() {
		if !ended {
			p.replace() // a handler ended the goroutine
		}
	}()
	for {
		a := p.next(&w)
		if a == nil {
			ended = true
			return
		}
		p.visit(&w, a)
	}
}

func (p *pool) replace() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.workers--
	if p.first < len(p.ready) {
		p.workers++
		p.done.Go(p.work)
	}
}

func (p *pool) next(w *worker) *assignment {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.first == len(p.ready) {
		if p.closed || p.leave > 0 {
			p.leave = max(0, p.leave-1)
			p.workers--
			return nil
		}
		p.idle++
		p.watchIdle()
		w.rest()
		p.free.Wait()
	}
	a := p.ready[p.first]
	p.ready[p.first] = nil
	p.first++
	p.waiting.Add(-1)
	return a
}

// watchIdle has reap come if more are idle than are to stay.
func (p *pool) watchIdle() {
	if p.reaping || p.idle <= keptIdle {
		return
	}
	p.reaping, p.least = true, p.idle
	if p.reaper == nil {
		p.reaper = time.AfterFunc(reapEvery, p.reap)
		return
	}
	p.reaper.Reset(reapEvery)
}

// reap lets those workers go that were idle all the time since it came last.
func (p *pool) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reaping = false
	if p.closed {
		return
	}
	for range min(p.least, p.idle) - keptIdle {
		p.idle--
		p.leave++
		p.free.Signal()
	}
	p.watchIdle()
}

// close lets the workers go once the queue is empty. It does not wait: a handler
// that does not return must not hold up the rest.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.idle = true, 0
	if p.reaper != nil {
		p.reaper.Stop()
	}
	p.free.Broadcast()
}
