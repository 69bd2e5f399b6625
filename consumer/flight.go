package consumer

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/failure"
)

// A flight is a hop that no record waits for: those behind it run while it is under
// way. Most are acknowledged at the first try, and those that are not get a lane of
// their own, where they are tried again (hop.go).
//
//	chunk or lane ── failed ──► flight ── acknowledged ──► finished
//	                              └────── refused ───────► lane, publishing
type flight struct {
	assignment *assignment
	hop        *failure.Hop
	item       item
	attempt    int32 // the run that failed
	cause      error // and why; nil if it did not
	began      int64 // as the engine's clock has it
	landed     error
	smaller    *failure.Hop // to be published instead: hop was too large
	end        func(error)  // of its span
	prev, next *flight      // of the assignment
}

// mostFlights bounds the flights of a partition: beyond it, nothing new starts.
const mostFlights = 10_000

// flights are the flights of an assignment that have not landed, the first on top.
type flights struct {
	first, last *flight
	n           int
}

func (fs *flights) add(f *flight) {
	if fs.last == nil {
		fs.first = f
	} else {
		fs.last.next, f.prev = f, fs.last
	}
	fs.last = f
	fs.n++
}

func (fs *flights) remove(f *flight) {
	if f.prev == nil {
		fs.first = f.next
	} else {
		f.prev.next = f.next
	}
	if f.next == nil {
		fs.last = f.prev
	} else {
		f.next.prev = f.prev
	}
	f.prev, f.next = nil, nil
	fs.n--
}

// fly has h published for a record that is off its lane or chunk, by the worker, once
// the assignment is unlocked.
func (a *assignment) fly(it item, attempt int32, h *failure.Hop, cause error) *flight {
	f := &flight{assignment: a, hop: h, item: it, attempt: attempt, cause: cause, began: a.engine.clock()}
	a.flights.add(f)
	a.hops++
	return f
}

// depart is fly for the head of a lane, which goes on behind it.
func (a *assignment) depart(w *worker, l *lane, attempt int32, h *failure.Hop, cause error) {
	it, gone := a.pass(l)
	w.flights = append(w.flights, a.fly(it, attempt, h, cause))
	if gone {
		w.spare = l
	}
}

// launch hands flights to the client. No lock is held.
func (e *engine) launch(fs ...*flight) {
	for _, f := range fs {
		f.end = e.telemetry.Hop(f.hop.Record)
		landed := func(err error) {
			f.landed = err
			e.landings.add(f)
		}
		e.deliver(f.hop, f.hop.Record, landed)
	}
}

// landings are flights that were acknowledged, or refused, and are not entered yet:
// many at once, since each partition has a lock.
type landings struct {
	wanted chan struct{} // capacity 1

	mu   sync.Mutex
	list []*flight
	room []*flight // for the next list
}

func newLandings() landings { return landings{wanted: make(chan struct{}, 1)} }

func (l *landings) add(f *flight) {
	l.mu.Lock()
	l.list = append(l.list, f)
	first := len(l.list) == 1
	l.mu.Unlock()
	if first {
		signal(l.wanted)
	}
}

func (l *landings) take() []*flight {
	l.mu.Lock()
	defer l.mu.Unlock()
	landed := l.list
	l.list, l.room = l.room[:0], nil
	return landed
}

// give takes what take gave back, for its room.
func (l *landings) give(landed []*flight) {
	clear(landed)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.room = landed
}

// land enters what has landed, until ctx ends.
func (e *engine) land(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.landings.wanted:
			e.landAll() //nolint:contextcheck // only metrics have one
		}
	}
}

// landAll enters what has landed by now.
func (e *engine) landAll() {
	landed := e.landings.take()
	for rest := landed; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].assignment == rest[0].assignment {
			n++
		}
		rest[0].assignment.land(rest[:n])
		rest = rest[n:]
	}
	e.landings.give(landed)
}

// land enters flights of one assignment.
func (a *assignment) land(landed []*flight) {
	e := a.engine
	for _, f := range landed {
		f.end(f.landed)
		switch {
		case f.landed == nil:
			e.chain.Published(f.hop)
		case errors.Is(f.landed, kerr.MessageTooLarge):
			if f.smaller = e.chain.Refused(f.hop); f.smaller != nil {
				f.landed = errSmaller
			}
		}
	}
	a.landed(landed)
	for _, f := range landed {
		if f.landed == nil {
			f.hop.Release()
		}
	}
}

// landed enters flights into the ledger.
func (a *assignment) landed(landed []*flight) {
	e := a.engine
	a.mu.Lock()
	defer a.unlock()
	a.now = e.clock()
	for _, f := range landed {
		a.hops--
		a.flights.remove(f)
		switch {
		case a.closed: // whoever has the partition now does it again
			if f.landed == nil {
				e.counts.late.Add(1)
			}
		case f.landed == nil:
			e.hopped(f.hop, time.Duration(a.now-f.began))
			a.finishedOne(f.item)
			a.moved = a.now
		default:
			a.refused(f)
		}
	}
	if !a.closed {
		a.relieve()
	}
	a.schedule()
}

// errSmaller has something smaller tried instead, at once.
var errSmaller = errors.New("too large")

// refused gives the record of a flight a lane, which tries again.
func (a *assignment) refused(f *flight) {
	l := a.newLane(nil, f.item, 0, false)
	l.attempt, l.lastErr, l.began = f.attempt+1, f.cause, f.began
	if l.publish = f.hop; f.smaller != nil {
		l.publish = f.smaller
	}
	// The client wrote into the record.
	r := l.publish.Record
	l.publish.Record = &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers}
	if f.landed == errSmaller {
		a.logSmaller(l)
		a.putOff(l) // due at once
		return
	}
	a.hopFailed(l, f.landed)
}

// detach takes the record that a chunk is at out of it, because nobody waits for what is
// published for it. It returns nil if the chunk is not the worker's any more. No lock is
// held.
func (a *assignment) detach(t *turn, attempt int32, h *failure.Hop) *flight {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || t.lane != nil {
		return nil
	}
	a.now = a.engine.clock()
	a.settleTo(t, t.ended)
	f := a.fly(t.queue.popOne(), attempt, h, t.err)
	t.settled++
	t.ended++
	t.flown++
	return f
}

// pass takes the head off a lane without its being finished, and has the one behind it
// run. It reports whether nothing is left of the lane, and so it is gone.
func (a *assignment) pass(l *lane) (it item, gone bool) {
	it, more := l.pop()
	if more {
		a.ready.push(l)
		return it, false
	}
	a.lanes.remove(l)
	return it, true
}
