package consumer

import (
	"context"
	"sync"
)

// handoff keeps a polled slice from entering the wrong assignment. The poller
// holds it from before it polls until it has handed over what it got; a rebalance
// callback that is about to open assignments interrupts a parked poll and waits.
// Without it, a slice that was polled before a partition was lost and assigned
// again ran in the new assignment too (engine rule 14).
type handoff struct {
	mu      sync.Mutex
	changed sync.Cond
	polling bool
	waiting int // callbacks that wait or are inside
	cancel  context.CancelFunc
}

func newHandoff() *handoff {
	h := &handoff{}
	h.changed.L = &h.mu
	return h
}

// enter is called before a poll; the poll must use the context it returns.
func (h *handoff) enter(ctx context.Context) context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.waiting > 0 {
		h.changed.Wait()
	}
	ctx, h.cancel = context.WithCancel(ctx)
	h.polling = true
	return ctx
}

// leave is called when everything that was polled is handed over.
func (h *handoff) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cancel()
	h.polling = false
	h.changed.Broadcast()
}

// settled runs fn while nothing is between a poll and an assignment.
func (h *handoff) settled(fn func()) {
	h.mu.Lock()
	h.waiting++
	for h.polling {
		h.cancel() // wakes a parked poll; loses nothing
		h.changed.Wait()
	}
	h.mu.Unlock()
	fn()
	h.mu.Lock()
	h.waiting--
	h.changed.Broadcast()
	h.mu.Unlock()
}
