package consumer

import (
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"
)

// pool runs lanes on at most limit goroutines. Lanes wait in one queue, first
// come first served, and go to its end after each turn: so no partition starves
// another. A goroutine is started when a lane is ready and none is free; a few
// stay when there is nothing to do.
type pool struct {
	run   func(*worker, *lane)
	limit int

	mu      sync.Mutex
	free    sync.Cond // signalled to one idle worker for each lane it should take
	ready   []*lane   // ready[first:] wait
	first   int
	waiting atomic.Int64 // len(ready) - first, for workers to see without the lock
	workers int
	idle    int
	closed  bool
	done    sync.WaitGroup
}

// keptIdle is how many workers stay without work, so that a trickle of records
// does not start a goroutine each.
const keptIdle = 16

// worker is what one goroutine of the pool uses again and again.
type worker struct {
	pieces [][]*kgo.Record
}

func newPool(limit int, run func(*worker, *lane)) *pool {
	p := &pool{run: run, limit: limit}
	p.free.L = &p.mu
	return p
}

// add puts a lane at the end of the queue.
func (p *pool) add(l *lane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.first > 64 && p.first > len(p.ready)/2 {
		p.ready, p.first = append(p.ready[:0], p.ready[p.first:]...), 0
	}
	p.ready = append(p.ready, l)
	p.waiting.Add(1)
	switch {
	case p.idle > 0:
		p.idle--
		p.free.Signal()
	case p.workers < p.limit && !p.closed:
		p.workers++
		p.done.Go(p.work)
	}
}

// contended reports whether a lane waits for a worker.
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
		l := p.next()
		if l == nil {
			ended = true
			return
		}
		p.run(&w, l)
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

func (p *pool) next() *lane {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.first == len(p.ready) {
		if p.closed || p.idle >= keptIdle {
			p.workers--
			return nil
		}
		p.idle++
		p.free.Wait()
	}
	l := p.ready[p.first]
	p.ready[p.first] = nil
	p.first++
	p.waiting.Add(-1)
	return l
}

// close lets the workers go once the queue is empty. It does not wait: a handler
// that does not return must not hold up the rest.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed, p.idle = true, 0
	p.free.Broadcast()
}
