package consumer

import "github.com/duplex-go/duplex/internal/ledger"

// gate bounds how far an assignment may run ahead of its watermark. What is beside
// a committed offset has to say of every record above it whether it is finished,
// in as many bytes as the broker takes; so when the records that hold the watermark
// back have been passed by so many others that this would not fit any more, nothing
// new starts until some of them are finished. Loaded records are counted then, and
// fetching pauses. Nothing that a former owner had read is held back by it: it is
// in the account already, and finishing it makes the account shorter.
type gate struct {
	room    int // records that may be taken before the account is measured again
	closed  bool
	waiting int // finished since it was measured and found too long
	// displaced is set when the policy was asked to have waiting records wait
	// elsewhere.
	displaced bool
}

const (
	// maxWaiting is how many failed records of a partition may wait before no new
	// ones start: so many heads fit beside the map in any case.
	maxWaiting = 128
	// freeSpan and freeOpen are how far ahead of the watermark, or how many
	// unfinished records, are never too many: a bit for each offset, or about three
	// bytes for each record, fit into mapBudget.
	freeSpan, freeOpen = 12_000, 400
	mapBudget          = 1600
	// measureEvery is after how many finished records a closed gate is looked at
	// again.
	measureEvery = 64
)

// gateOpen reports whether the first record of the queue may start. The mutex is
// held.
func (a *assignment) gateOpen() bool {
	offset := a.queue.head().Offset
	if offset < a.restored {
		return true
	}
	ahead := offset - a.ledger.Watermark()
	open := a.loaded - a.queue.len()
	switch {
	case a.waiting >= maxWaiting, a.flights.n >= mostFlights, ahead >= a.engine.cfg.MaxSpan:
		return false
	case ahead <= freeSpan || open <= freeOpen:
		a.gate.closed, a.gate.displaced = false, false
		return true
	}
	g := &a.gate
	if g.closed && g.waiting < measureEvery && a.running > 0 {
		return false
	}
	if !g.closed && g.room > 0 {
		return true
	}
	// What is started now adds at most a bit for each offset, or three bytes.
	left := mapBudget - mostBytes(a.ledger, offset)
	g.closed, g.waiting, g.room = left <= 0, 0, max(left, 0)/4
	g.displaced = g.displaced && g.closed
	return !g.closed
}

// finished notes that n records were.
func (g *gate) finished(n int) { g.waiting += n }

// took notes that n records were taken from the queue.
func (g *gate) took(n int) { g.room -= n }

// mostBytes is how long the map of a ledger may become, in whatever order the
// records below offset are finished.
func mostBytes(l *ledger.Ledger, offset int64) int {
	bytes, at := int64(0), l.Watermark()
	add := func(n int64) { bytes += min(3*n, n/8+4) }
	for r := range l.Runs() {
		if at += r.N; r.Finished {
			bytes += min(3, r.N/8+1)
			continue
		}
		add(r.N)
	}
	add(max(0, offset-at))
	return int(bytes)
}
