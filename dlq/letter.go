package dlq

import (
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Letter is a dead letter as it stands in a queue, whoever wrote it.
type Letter struct {
	// Failure is what is known of it; what its dialect does not say is zero. The ID of
	// one that has none is its origin's, or its own position's where that is not known.
	Failure
	// Topic, Partition and Offset are where it stands, Time is when it was written there.
	Topic     string
	Partition int32
	Offset    int64
	Time      time.Time
	// Dialect says who wrote it.
	Dialect Dialect
	// RedriveID and EditOf are those of the redrive that it came back from.
	RedriveID, EditOf string
	// State is how far it is.
	State State
	// Trace is its W3C traceparent, if it has one.
	Trace string
	// Pointer is set on a letter that has no value of its own, because the value was too
	// large or the broker was told to copy none: it is where Origin says.
	Pointer bool
	// Trouble says which header could not be read, and why.
	Trouble string
	// Size is that of the key, the value and the headers, in bytes.
	Size int
	// Record is the record as it was read. In a scan its Value is nil, and Stack is "",
	// unless they are asked for; key and headers are the scan's until the function that was
	// given the letter returns.
	Record *kgo.Record
}

// Dialect is who wrote a dead letter, by the headers that it has.
type Dialect string

// The dialects that are read.
const (
	DialectDuplex    Dialect = "duplex"
	DialectSpring    Dialect = "spring"    // kafka_dlt-*, and kafka_original-* of its retry topics
	DialectConnect   Dialect = "connect"   // __connect.errors.*
	DialectStreams   Dialect = "streams"   // __streams.errors.*, KIP-1034
	DialectShare     Dialect = "share"     // __dlq.errors.*, KIP-1191
	DialectWatermill Dialect = "watermill" // reason_poisoned and its like
	DialectKarafka   Dialect = "karafka"   // source_*
	DialectSmallRye  Dialect = "smallrye"  // dead-letter-*
	DialectUnknown   Dialect = "unknown"   // no header that is known
)

// State is how far a dead letter is.
//
//	            ┌──────────── cancelled ───────────┐
//	            ▼                                  │
//	open ──► selected by a redrive ──► redriven ──► handled
//	 │ ▲                                  └───────► dead again: a new letter, open
//	 │ └── restore ── discarded ◄── discard
//	 └───► expired: its queue's retention deleted it
type State string

// The states. What is not said to be anything else is open.
const (
	StateOpen      State = "open"
	StateSelected  State = "selected"   // a redrive that is not over will come to it
	StateRedriven  State = "redriven"   // published again; what became of it is not known
	StateHandled   State = "handled"    // its group handled it after that
	StateDeadAgain State = "dead-again" // and it failed again: there is a new letter
	StateDiscarded State = "discarded"
	StateDuplicate State = "duplicate" // a second copy, which a crash left
)
