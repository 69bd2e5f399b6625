package producer

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// A pending is one record from its admission until its caller has the result and
// Kafka has answered, or will never be asked. Whoever takes its state to ended
// gives the caller the result.
//
//	           room            burst             ack, refusal
//	waiting ────────► held ─────────────► sent ───────────────► ended ► callback
//	   │                │                   │ deadline, caller gone
//	   │ deadline       │ deadline          ▼
//	   ▼                ▼                 ended as unknown; what Kafka says later
//	 ended: nowhere   ended: nowhere      is counted
//
// Publishing in the background has to cost little more than the Kafka client
// itself, and most of what it costs is memory that is not at hand: three
// goroutines meet at each record, on different processors. So a pending is one
// line of their caches, and those of one cohort lie side by side.
type pending struct {
	state   atomic.Uint32
	size    uint32                       // as the gate counts it
	record  *kgo.Record                  // while it is held, and for its topic
	done    func(duplex.Position, error) // of asynchronous publishing; nil has failures logged
	call    *call                        // who waits, of synchronous publishing
	burst   *burst                       // that it was handed over in; nil if it joined a flood
	writes  int64                        // produce requests that were written before it was sent
	cohort  *cohort                      // that it is a part of, for good
	promise func(*kgo.Record, error)     // settle, bound for good
}

const (
	ended uint32 = iota // the caller has, or is about to get, the result
	held                // in the queue; kgo knows nothing of it
	sent                // given to kgo
)

// end takes the state to ended and returns what it was; ok is false if it was
// that already.
func (pd *pending) end() (was uint32, ok bool) {
	for {
		if was = pd.state.Load(); was == ended {
			return was, false
		}
		if pd.state.CompareAndSwap(was, ended) {
			return was, true
		}
	}
}

// settle is kgo's promise: it runs on kgo's one goroutine for promises and must
// neither block nor run code of users (engine rule 26).
func (pd *pending) settle(r *kgo.Record, err error) { pd.cohort.producer.settled(pd, r, err) }

// A call is a caller that waits.
type call struct {
	position duplex.Position
	err      error
	wait     chan struct{} // gets a token when the result is there
	alone    burst         // for when its record is one by itself
	early    bool          // it was told before Kafka, which will still come back to alone
}

func newCall() any { return &call{wait: make(chan struct{}, 1)} }

// tell gives the caller its result.
func (c *call) tell(position duplex.Position, err error) {
	c.position, c.err = position, err
	c.wait <- struct{}{} // has room: it is told once
}
