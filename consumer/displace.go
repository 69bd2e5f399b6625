package consumer

import (
	"cmp"
	"slices"

	"github.com/duplex-go/duplex/internal/failure"
)

// When so many failed records wait in their places that nothing new may start, a
// policy may rather have them wait elsewhere. Then the older half of them goes there,
// so that the partition moves on; those of their keys behind them may run.

// toDisplace reports whether that is to be done now. The mutex is held.
func (a *assignment) toDisplace() bool {
	return a.handler.displaces && !a.chained && !a.gate.displaced && a.queue.len() > 0 && a.chunk == nil && !a.gateOpen()
}

// displace has the worker publish what the policy says. The mutex is held.
func (a *assignment) displace(w *worker) {
	a.gate.displaced = true // once, until more wait or the gate opens
	var waiting []*lane
	for l := a.lanes.first; l != nil; l = l.next {
		if l.state == laneWaiting && l.failed() && l.publish == nil && l.together == 1 {
			waiting = append(waiting, l)
		}
	}
	slices.SortFunc(waiting, func(a, b *lane) int { return cmp.Compare(a.head.record.Offset, b.head.record.Offset) })
	for _, l := range a.engine.timers.remove(waiting[:(len(waiting)+1)/2]) {
		a.waiting--
		step := a.engine.chain.Displace(failure.Waiting{
			Record: l.head.record, Source: a.handler.source, Attempts: int(l.attempt) - 1, Due: l.retryAt(), Err: l.lastErr,
		})
		if step.Kind() == failure.Publish {
			a.hop(w, l, step.Hop())
		} else {
			a.putOff(l)
			a.gate.displaced = true
		}
	}
}
