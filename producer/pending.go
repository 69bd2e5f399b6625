package producer

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// A pending is one record from its admission until it has ended for its caller
// and for Kafka. Whoever takes its state to ended gives it its result.
//
//	           room            burst             ack, refusal
//	waiting ────────► held ─────────────► sent ───────────────► ended ► callback
//	   │                │                   │ deadline, caller gone
//	   │ deadline       │ deadline          ▼
//	   ▼                ▼                 ended as unknown; what Kafka says later
//	 ended: nowhere   ended: nowhere      is counted
type pending struct {
	producer *Producer
	record   *kgo.Record
	size     int64
	deadline time.Time
	state    atomic.Uint32 // held, sent or ended
	burst    *burst        // that it was handed over in
	alone    burst         // for when it is its own
	// err is the result, nil if Kafka has stored the record; whoever ended it
	// writes it, and whoever is told of the end reads it.
	err error

	// done is called on the callback goroutine; a nil done has failures logged.
	done func(duplex.Position, error)
	// wait, for callers that wait, gets a token when ended.
	wait chan struct{}
	sync bool

	// writes is how many produce requests had been written when this was sent.
	writes int64

	// holders are those who may still come back to it: the caller, and the
	// queue or kgo. It is used again when there are none.
	holders atomic.Int32

	prev, next *pending // in the deadlines, under the producer's mutex
	flush      *flushGroup
	promise    func(*kgo.Record, error)
}

const (
	held  uint32 = iota // in the queue; kgo knows nothing of it
	sent                // given to kgo
	ended               // the caller has, or is about to get, the result
)

// newPendings is for reuse: a publish allocates nothing of its own.
func newPendings(p *Producer) *sync.Pool {
	return &sync.Pool{New: func() any {
		pd := &pending{producer: p, wait: make(chan struct{}, 1)}
		pd.promise = pd.settle // bound once, not per record
		return pd
	}}
}

// settle is kgo's promise: it runs on kgo's one goroutine for promises and must
// neither block nor run code of users (engine rule 26).
func (pd *pending) settle(r *kgo.Record, err error) {
	pd.producer.settled(pd, r, err)
}

// deadlines is a list of pendings in the order of their admission. All have the
// same timeout, so the first is the next to expire.
type deadlines struct {
	first, last *pending
	unwatched   bool // the watcher sleeps until it is signalled
}

func (d *deadlines) add(pd *pending) {
	pd.prev, pd.next = d.last, nil
	if d.last == nil {
		d.first = pd
	} else {
		d.last.next = pd
	}
	d.last = pd
}

func (d *deadlines) remove(pd *pending) {
	if pd.prev == nil {
		d.first = pd.next
	} else {
		pd.prev.next = pd.next
	}
	if pd.next == nil {
		d.last = pd.prev
	} else {
		pd.next.prev = pd.prev
	}
	pd.prev, pd.next = nil, nil
}
