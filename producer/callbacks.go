package producer

import (
	"sync"

	"github.com/duplex-go/duplex"
)

// callbacks are the results that wait to be told. One goroutine tells them, so
// that the user's code neither runs on kgo's goroutine nor at once with itself.
// A record keeps its place in the gate until its callback has run: so this queue
// is bounded. It has a mutex of its own, because kgo's goroutine adds to it.
type callbacks struct {
	mu    sync.Mutex
	items []*pending
	wake  chan struct{} // capacity 1
}

func (c *callbacks) init() { c.wake = make(chan struct{}, 1) }

func (c *callbacks) add(pd *pending) {
	c.mu.Lock()
	c.items = append(c.items, pd)
	first := len(c.items) == 1
	c.mu.Unlock()
	if first {
		signal(c.wake)
	}
}

// take returns what has come, and takes back the slice it gave before.
func (c *callbacks) take(before []*pending) []*pending {
	c.mu.Lock()
	defer c.mu.Unlock()
	items := c.items
	c.items = before[:0]
	return items
}

// released bounds how many callbacks run before their places are given free.
const released = 256

func (p *Producer) runCallbacks() {
	for {
		select {
		case <-p.callbacks.wake:
		case <-p.stop:
			p.runAll()
			return
		}
		p.runAll()
	}
}

func (p *Producer) runAll() {
	var items []*pending
	for {
		items = p.callbacks.take(items)
		if len(items) == 0 {
			return
		}
		for start := 0; start < len(items); start += released {
			p.runSome(items[start:min(start+released, len(items))])
		}
	}
}

func (p *Producer) runSome(items []*pending) {
	for _, pd := range items {
		p.tell(pd)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, pd := range items {
		p.signOff(pd)
		p.letGo(pd)
		items[i] = nil
	}
}

func (p *Producer) tell(pd *pending) {
	switch {
	case pd.done == nil && pd.err != nil:
		p.logFailure(pd.record, pd.err)
	case pd.done != nil && pd.err != nil:
		pd.done(duplex.Position{}, pd.err)
	case pd.done != nil:
		pd.done(positionOf(pd.record), nil)
	}
}
