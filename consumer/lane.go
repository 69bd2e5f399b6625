package consumer

import (
	"hash/maphash"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/failure"
)

// A lane is the line of records that must run one after the other: those of one
// key, or of the whole partition. It exists while its head is at work or has
// failed and waits; a key that has nothing of the kind costs nothing. A record
// that orders with nothing has a lane to itself. Lanes belong to an assignment,
// whose mutex guards them.
//
//	            taken by a worker
//	(new) ────────────────────────► running ──── finished, nothing behind ───► (gone)
//	  │                              │ │ ▲
//	  │ failed with a former owner   │ │ │ taken by a worker
//	  │       failed: waits          │ │ │
//	  └────────► waiting ◄───────────┘ │ │
//	    │           │                  ▼ │ finished, more behind
//	    │           └───────────────► ready ◄───────────┐
//	    │                  due                          │ acknowledged, more behind
//	    └── publishing ◄─ failed, and a policy wants something published first:
//	        again, later   see hop.go
type lane struct {
	assignment *assignment
	key        uint64 // see keyOf
	keyed      bool   // it is found by its key
	state      laneState
	// moves is set when the head does not run: the policy says where it goes.
	moves bool
	tries uint8 // of publishing, that failed
	// together is how many records at the head run as one: those of a batch that
	// failed together. It is 1 otherwise.
	together int32
	attempt  int32 // of the next run of the head, from 1
	passed   int32 // see behind
	due      int64 // when the head may run, in ns since 1970; 0 at once
	began    int64 // of the run or publish under way, as the engine's clock has it
	lastErr  error // why the head failed the last time; nil if it did not
	// publish is what has to be published for the head to be finished.
	publish *failure.Hop
	head    item
	behind  []item // behind[passed:] wait behind the head
	// prev and next are the lanes of the assignment, in no order.
	prev, next *lane
	nextReady  *lane // see readyLanes
}

type laneState uint8

const (
	laneRunning    laneState = iota // with a worker
	laneWaiting                     // in the timers: the head is not due yet
	laneReady                       // among the assignment's ready lanes
	lanePublishing                  // something is published for the head
)

// An item is one record with its place in the ledger.
type item struct {
	record *kgo.Record
	seq    uint64
	bytes  int64 // its share of what counts as loaded
}

func (l *lane) len() int { return 1 + len(l.behind) - int(l.passed) }

// push puts a record at the end of the line.
func (l *lane) push(it item) {
	if l.passed > 16 && int(l.passed) > len(l.behind)/2 { // mostly gone
		kept := copy(l.behind, l.behind[l.passed:])
		clear(l.behind[kept:])
		l.behind, l.passed = l.behind[:kept], 0
	}
	l.behind = append(l.behind, it)
}

// pop takes the head off; more is false if nothing was behind it. The one behind
// it has not failed before.
func (l *lane) pop() (it item, more bool) {
	it, l.head = l.head, item{}
	if more = int(l.passed) < len(l.behind); more {
		l.head = l.behind[l.passed]
		l.behind[l.passed] = item{} // or it would keep a whole fetch in memory
		l.passed++
	}
	l.headIsNew()
	return it, more
}

// putBack puts items, in their order, before the head; open is false if the lane
// has no head at the moment.
func (l *lane) putBack(items []item, open bool) {
	if len(items) == 0 {
		return
	}
	if open {
		items = append(items, l.head)
	}
	l.head = items[0]
	l.behind = append(items[1:], l.behind[l.passed:]...)
	l.passed = 0
}

// at returns the i-th record of the line.
func (l *lane) at(i int) item {
	if i == 0 {
		return l.head
	}
	return l.behind[int(l.passed)+i-1]
}

// headIsNew is called when the record at the head has not failed here before.
func (l *lane) headIsNew() {
	l.together, l.attempt, l.due, l.lastErr, l.publish, l.tries, l.moves = 1, 1, 0, nil, nil, 0, false
	if l.assignment.chained && l.head.record != nil {
		l.attempt = l.assignment.firstAttempt(l.head.record)
	}
}

// retryAt is when the head may run again; zero at once.
func (l *lane) retryAt() time.Time {
	if l.due == 0 {
		return time.Time{}
	}
	return time.Unix(0, l.due)
}

// failed reports whether the head has failed, or was put off.
func (l *lane) failed() bool { return l.lastErr != nil }

// readyLanes are lanes whose heads may run, first come first served.
type readyLanes struct {
	first, last *lane
}

func (q *readyLanes) push(l *lane) {
	l.state = laneReady
	if q.last == nil {
		q.first = l
	} else {
		q.last.nextReady = l
	}
	q.last = l
}

// pop returns nil if there is none.
func (q *readyLanes) pop() *lane {
	l := q.first
	if l == nil {
		return nil
	}
	if q.first, l.nextReady = l.nextReady, nil; q.first == nil {
		q.last = nil
	}
	return l
}

// lanes are the lanes of an assignment: all of them, and those with a key by it.
type lanes struct {
	first *lane
	n     int
	byKey map[uint64]*lane
	most  int // of them at a time, since byKey was made
}

// roomyKeys is from when on a map without keys is given back: maps never shrink.
const roomyKeys = 1024

func (ls *lanes) add(l *lane) {
	if ls.first != nil {
		ls.first.prev = l
	}
	l.prev, l.next, ls.first = nil, ls.first, l
	ls.n++
	if l.keyed {
		if ls.byKey == nil {
			ls.byKey = map[uint64]*lane{}
		}
		ls.byKey[l.key] = l
		ls.most = max(ls.most, ls.n)
	}
}

func (ls *lanes) remove(l *lane) {
	if l.prev == nil {
		ls.first = l.next
	} else {
		l.prev.next = l.next
	}
	if l.next != nil {
		l.next.prev = l.prev
	}
	l.prev, l.next = nil, nil
	ls.n--
	if l.keyed {
		delete(ls.byKey, l.key)
	}
	if ls.n == 0 && ls.most > roomyKeys {
		ls.byKey, ls.most = nil, 0
	}
}

// seed makes hashes of keys differ from process to process, so that nobody can
// choose keys that meet in one lane.
//
//nolint:gochecknoglobals // a constant of the process
var seed = maphash.MakeSeed()

// keyOf tells lanes apart. Two keys of one hash share a lane, which costs them
// concurrency and nothing else. keyed is false for a record that orders with
// nothing.
func (o Ordering) keyOf(r *kgo.Record) (key uint64, keyed bool) {
	switch {
	case o == ByPartition:
		return 0, true
	case o == Unordered || r.Key == nil:
		return 0, false
	}
	return maphash.Bytes(seed, r.Key), true
}
