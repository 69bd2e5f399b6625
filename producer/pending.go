package producer

import (
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// A pending is one record from its admission until its caller has the result and
// Kafka has answered, or will never be asked. Whoever takes its state to ended
// gives the caller the result. What there is to know of it lies in its cohort.
//
//	           room            burst             ack, refusal
//	waiting ────────► held ─────────────► sent ───────────────► ended ► callback
//	   │                │                   │ deadline, caller gone
//	   │ deadline       │ deadline          ▼
//	   ▼                ▼                 ended as unknown; what Kafka says later
//	 ended: nowhere   ended: nowhere      is counted
type pending struct {
	cohort *cohort // nil: none
	i      int
}

type state uint8

const (
	ended state = iota // the caller has, or is about to get, the result
	held               // in the queue; kgo knows nothing of it
	sent               // given to kgo
)

// The states of a cohort's records are bits of one word, each group of bits at
// the record's place.
const (
	openBit  uint64 = 1                     // it has not ended
	sentBit         = openBit << cohortSize // it was given to kgo
	floodBit        = sentBit << cohortSize // it is one of a flood: nobody waits, and it has no company
)

func stateOf(states uint64, i int) state {
	switch {
	case states&(openBit<<i) == 0:
		return ended
	case states&(sentBit<<i) == 0:
		return held
	}
	return sent
}

func (pd pending) state() state { return stateOf(pd.cohort.states.Load(), pd.i) }

// begin says what state it begins with. It is ended before.
func (pd pending) begin(bits uint64) { pd.cohort.states.Or((openBit | bits) << pd.i) }

// hand takes the state from held to sent, and reports whether it was held.
func (pd pending) hand() bool {
	for {
		was := pd.cohort.states.Load()
		if stateOf(was, pd.i) != held {
			return false
		}
		if pd.cohort.states.CompareAndSwap(was, was|sentBit<<pd.i) {
			return true
		}
	}
}

// end takes the state to ended and returns what it was.
func (pd pending) end() (was state) {
	return stateOf(pd.cohort.states.And(^((openBit | sentBit) << pd.i)), pd.i)
}

func (pd pending) record() *kgo.Record { return pd.cohort.records[pd.i] }

func (pd pending) size() uint32 { return pd.cohort.sizes[pd.i] }

// A company is what belongs to a record that is not one of a flood.
type company struct {
	call   *call  // who waits, of synchronous publishing
	burst  *burst // that it was handed over in
	writes int64  // produce requests that were written before it was sent
}

// company returns nil for one of a flood, or whose memory was let go of.
func (pd pending) company() *company {
	if pd.cohort.states.Load()&(floodBit<<pd.i) != 0 || pd.cohort.company == nil {
		return nil
	}
	return &pd.cohort.company[pd.i]
}

// writes counts the produce requests that were written before it was sent. Of one
// of a flood, the cohort's count will do: it is no larger.
func (pd pending) writes() int64 {
	if with := pd.company(); with != nil {
		return with.writes
	}
	return pd.cohort.writes
}

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
