package producer

import (
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// A cohort are records that were admitted one right after the other. They share
// their memory, which is used again when the last of them is done with; their
// deadline; and their place in the order that a flush waits for.
//
// Publishing in the background has to cost little more than the Kafka client
// itself, and most of what it costs is memory that is not at hand: three
// goroutines meet at each record, on different processors, with fifty thousand
// others in between. So there is little of it for each record, most of it is
// shared, and what the answer to one looks up is at hand for its neighbours.
type cohort struct {
	states  atomic.Uint64 // see pending
	used    int
	records [cohortSize]*kgo.Record
	done    [cohortSize]func(duplex.Position, error) // of asynchronous publishing; nil has failures logged
	sizes   [cohortSize]uint32                       // as the gate counts them
	company *[cohortSize]company                     // made for the first that is not one of a flood
	promise func(*kgo.Record, error)                 // kgo's, of all of them
	writes  int64                                    // produce requests that were written before it was opened
	expires int64                                    // on the producer's clock
	seq     uint64
	// live counts the records whose caller was not told yet, early those whose
	// caller was told before Kafka: it, or the feeder, will come back to them.
	live, early int
	flushed     []chan struct{}
	prev, next  *cohort // next is also for cohorts that can be used again
	dirty       bool    // it can be, and still points to records; clean ones are behind these
}

const (
	// cohortSize bounds what one record that hangs keeps of those that came with
	// it.
	cohortSize = 16
	// cohortSpan is how far from its time a record may expire.
	cohortSpan = int64(time.Millisecond)
)

// cohorts are in the order of admission; the last one takes more records. The
// producer's mutex guards them.
type cohorts struct {
	first, last *cohort
	spare       *cohort
	watched     int64 // when whoever watches deadlines looks again; 0 = when signalled
}

// unwatched reports whether the watcher of deadlines has to be signalled for a
// record that expires at the given time. Nearly always the others expire earlier;
// not so where it waited for room among many.
func (cs *cohorts) unwatched(expires int64) bool {
	if cs.watched != 0 && cs.watched-expires <= cohortSpan {
		return false
	}
	cs.watched = expires
	return true
}

// join gives a place to a record that was just admitted and is to expire at the
// given time. Its state is still to begin.
func (cs *cohorts) join(p *Producer, expires int64, r *kgo.Record, done func(duplex.Position, error), size uint32) pending {
	c := cs.last
	if c == nil || c.used == cohortSize || expires-c.expires > cohortSpan || c.expires-expires > cohortSpan {
		c = cs.open(p, expires)
	}
	i := c.used
	c.records[i], c.done[i], c.sizes[i] = r, done, size
	c.used++
	c.live++
	return pending{c, i}
}

// accompany says what belongs to a record that is not one of a flood.
func (pd pending) accompany(with company) {
	if pd.cohort.company == nil {
		pd.cohort.company = new([cohortSize]company)
	}
	pd.cohort.company[pd.i] = with
}

// place finds a record that kgo has. Nobody but the owner of a record has sent it
// twice at once; then either will do, but one that has not ended rather.
func (c *cohort) place(r *kgo.Record) pending {
	states, at := c.states.Load(), 0
	for i := range c.records {
		if c.records[i] != r {
			continue
		}
		at = i
		if stateOf(states, i) == sent {
			break
		}
	}
	return pending{c, at}
}

// joinEnded counts a record that ended without having been admitted.
func (cs *cohorts) joinEnded(p *Producer) *cohort {
	if cs.last == nil {
		cs.open(p, 0)
	}
	cs.last.live++
	return cs.last
}

// open makes a cohort the last one.
func (cs *cohorts) open(p *Producer, expires int64) *cohort {
	c := cs.spare
	if c == nil {
		c = &cohort{}
		c.promise = func(r *kgo.Record, err error) { p.settled(c.place(r), r, err) }
	} else {
		cs.spare, c.next, c.used = c.next, nil, 0
		c.states.Store(0)
	}
	c.expires, c.writes = expires, p.writes.Load()
	before := cs.last
	c.prev, cs.last = before, c
	if before == nil {
		cs.first = c
		return c
	}
	c.seq, before.next = before.seq+1, c
	cs.dismiss(before)
	return c
}

// told counts n records of a cohort as told.
func (cs *cohorts) told(c *cohort, n int) {
	c.live -= n
	cs.dismiss(c)
}

// returned takes back what was counted as early.
func (cs *cohorts) returned(c *cohort) {
	c.early--
	cs.dismiss(c)
}

// dismiss takes a cohort off the list once everybody was told, unless it is the
// one that takes more records, and has it used again once nobody comes back to it.
// Whoever flushes it waits for those before it from then on.
func (cs *cohorts) dismiss(c *cohort) {
	if c.live > 0 || c == cs.last {
		return
	}
	if c.next != nil && c.next.prev == c { // still on the list
		if c.prev == nil {
			cs.first = c.next
			for _, flushed := range c.flushed {
				close(flushed)
			}
		} else {
			c.prev.next = c.next
			c.prev.flushed = append(c.prev.flushed, c.flushed...)
		}
		c.next.prev = c.prev
		c.prev, c.next, c.flushed = nil, nil, nil
	}
	if c.early > 0 {
		return
	}
	c.next, cs.spare, c.dirty = cs.spare, c, true // to be cleaned in a quiet moment
}

// clean lets go of the records that cohorts which can be used again still point
// to. It is called when nothing is under way: in a flood, another processor has
// these lines of memory.
func (cs *cohorts) clean() {
	for c := cs.spare; c != nil && c.dirty; c = c.next {
		clear(c.records[:]) // also what it had the time before
		clear(c.done[:])
		c.company, c.used, c.dirty = nil, 0, false
	}
}

// flush returns a channel that is closed when everybody was told of the records
// that were admitted so far, and what counts those who were not.
func (cs *cohorts) flush(p *Producer) (done <-chan struct{}, remaining func() int) {
	flushed := make(chan struct{})
	last := cs.last
	if last == nil {
		close(flushed)
		return flushed, func() int { return 0 }
	}
	seq := last.seq
	last.flushed = append(last.flushed, flushed)
	cs.open(p, last.expires) // what comes from now on is of no concern
	return flushed, func() (n int) {
		for c := cs.first; c != nil && c.seq <= seq; c = c.next {
			n += c.live
		}
		return n
	}
}

// expired gives the records whose time is up to end, which ends those that have
// not, in the order of admission. It returns when it is to be called again; 0 for
// never.
func (cs *cohorts) expired(now int64, end func(pd pending)) (next int64) {
	for c := cs.first; c != nil; {
		following := c.next // ending the last one may take it off the list
		switch {
		case c.expires <= now:
			for i := range c.used {
				end(pending{c, i})
			}
		case c.live > 0 && (next == 0 || c.expires < next):
			next = c.expires
		}
		c = following
	}
	cs.watched = next
	return next
}
