package producer

import (
	"errors"
	"sync"

	"github.com/duplex-go/duplex"
)

// callback is a result that waits to be told, without anything that its telling
// would have to look up elsewhere.
type callback struct {
	done      func(duplex.Position, error)
	topic     string
	partition int32
	size      uint32
	offset    int64
	err       error
	cohort    *cohort
}

// callbacks are those that wait. One goroutine tells them, so that the user's code
// neither runs on kgo's goroutine nor at once with itself. A record keeps its
// place in the gate until its callback has run: so this queue is bounded. It has
// a mutex of its own, because kgo's goroutine adds to it; whoever holds that must
// not want the producer's.
type callbacks struct {
	mu     sync.Mutex
	items  []callback
	untold int           // items, and those that are being told
	wake   chan struct{} // capacity 1
}

func (c *callbacks) init() { c.wake = make(chan struct{}, 1) }

func (c *callbacks) add(cb callback) {
	c.mu.Lock()
	c.items = append(c.items, cb)
	c.untold++
	first := len(c.items) == 1
	c.mu.Unlock()
	if first {
		signal(c.wake)
	}
}

// take returns what has come, and takes back the slice it gave before.
func (c *callbacks) take(before []callback) []callback {
	c.mu.Lock()
	defer c.mu.Unlock()
	items := c.items
	c.items = before[:0]
	c.untold -= len(before)
	return items
}

// waiting counts the results that were not told yet.
func (c *callbacks) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.untold
}

// released bounds how many callbacks run before their places are given free.
const released = 256

func (p *Producer) runCallbacks() {
	var items []callback
	for {
		items = p.callbacks.take(items)
		for start := 0; start < len(items); start += released {
			p.runSome(items[start:min(start+released, len(items))])
		}
		if len(items) > 0 {
			continue
		}
		select {
		case <-p.callbacks.wake:
		case <-p.stop:
			if p.callbacks.waiting() == 0 {
				return
			}
		}
	}
}

func (p *Producer) runSome(items []callback) {
	for i := range items {
		p.run(&items[i])
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for start := 0; start < len(items); {
		c, n, bytes := items[start].cohort, 0, int64(0)
		for ; start < len(items) && items[start].cohort == c; start++ {
			n++
			bytes += int64(items[start].size)
			p.counts.add(items[start].err)
		}
		p.signOff(c, n, bytes)
	}
	clear(items)
}

func (p *Producer) run(cb *callback) {
	switch {
	case cb.done == nil && cb.err != nil:
		p.logFailure(cb.topic, cb.err)
	case cb.done != nil && cb.err != nil:
		cb.done(duplex.Position{}, cb.err)
	case cb.done != nil:
		cb.done(duplex.Position{Topic: cb.topic, Partition: cb.partition, Offset: cb.offset}, nil)
	}
}

type counts struct{ published, failed, unknown int64 }

func (c *counts) add(err error) {
	switch {
	case err == nil:
		c.published++
	case errors.Is(err, duplex.ErrOutcomeUnknown):
		c.unknown++
	default:
		c.failed++
	}
}
