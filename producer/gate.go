package producer

import (
	"context"
	"fmt"
	"time"

	"github.com/duplex-go/duplex"
)

// gate bounds what is under way. kgo's own bound would need the caller's context
// to wait with, and that context would then cancel its neighbours in a batch
// (engine rule 21). The producer's mutex guards it.
type gate struct {
	records int
	bytes   int64
	// waiters are served in their order; nobody passes them.
	waiters []*waiter
}

type waiter struct {
	size    uint32
	granted chan struct{} // closed with room taken, or err set
	err     error
	gone    bool
}

func (g *gate) fits(cfg *Config, size uint32) bool {
	return g.records == 0 || (g.records < cfg.MaxBufferedRecords && g.bytes+int64(size) <= cfg.MaxBufferedBytes)
}

func (g *gate) take(size uint32) {
	g.records++
	g.bytes += int64(size)
}

// release makes room for n records. Waiters are let in only once an eighth of
// the gate is free, many at a time: one by one, each record would cost a wake-up.
func (g *gate) release(cfg *Config, n int, bytes int64) {
	g.records -= n
	g.bytes -= bytes
	if len(g.waiters) == 0 {
		return
	}
	if g.records > 0 && (g.records > cfg.MaxBufferedRecords*7/8 || g.bytes > cfg.MaxBufferedBytes*7/8) {
		return
	}
	for len(g.waiters) > 0 {
		w := g.waiters[0]
		if !w.gone {
			if !g.fits(cfg, w.size) {
				return
			}
			g.take(w.size)
			close(w.granted)
		}
		g.waiters[0] = nil
		g.waiters = g.waiters[1:]
	}
}

// turnAway sends all waiters off with err.
func (g *gate) turnAway(err error) {
	for _, w := range g.waiters {
		if !w.gone {
			w.err = err
			close(w.granted)
		}
	}
	g.waiters = nil
}

// enter waits for room and takes it. The mutex is held when it is called, and
// when it returns without an error.
func (p *Producer) enter(ctx context.Context, topic string, size uint32, now time.Time, wait bool) error {
	if p.closed {
		p.mu.Unlock()
		return errClosed
	}
	if len(p.gate.waiters) == 0 && p.gate.fits(&p.cfg, size) {
		p.gate.take(size)
		return nil
	}
	if !wait {
		n := p.gate.records
		p.mu.Unlock()
		return refused(topic, duplex.ErrBufferFull, fmt.Sprintf("%d records are under way; try again later", n), nil)
	}
	w := &waiter{size: size, granted: make(chan struct{})}
	p.gate.waiters = append(p.gate.waiters, w)
	p.queue.wakeFeeder() // what is held may be what fills the gate
	p.mu.Unlock()
	timer := time.NewTimer(time.Until(now.Add(p.cfg.Timeout)))
	defer timer.Stop()
	var cause error
	select {
	case <-w.granted:
	case <-ctx.Done():
		cause = context.Cause(ctx)
	case <-timer.C:
		cause = timeoutError{p.cfg.Timeout}
	}
	p.mu.Lock()
	return p.entered(topic, w, cause)
}

func (p *Producer) entered(topic string, w *waiter, cause error) error {
	if cause == nil && w.err == nil {
		return nil
	}
	select {
	case <-w.granted: // in the same moment
		if w.err == nil {
			p.gate.release(&p.cfg, 1, int64(w.size))
		}
	default:
		w.gone = true
	}
	p.mu.Unlock()
	if cause == nil {
		return w.err
	}
	return refused(topic, duplex.ErrTimeout, "nothing was sent: the buffer stayed full", cause)
}
