package dlq

import (
	"errors"
	"reflect"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/failure"
)

// Reason says why a record is a dead letter.
type Reason string

// The reasons.
const (
	ReasonExhausted   Reason = "exhausted"   // it failed as often as MaxAttempts allows
	ReasonPermanent   Reason = "permanent"   // the handler, or Classify, said that no attempt can help
	ReasonUndecodable Reason = "undecodable" // the codec refused its bytes
	ReasonPanic       Reason = "panic"       // the handler panicked
	ReasonExpired     Reason = "expired"     // its deadline had passed, such as that of a one-way call
	ReasonTooOld      Reason = "too-old"     // it is older than MaxAge
	ReasonTooLarge    Reason = "too-large"   // a retry topic does not take it
	ReasonBadControl  Reason = "bad-control" // a header of ours, in a topic of ours, is not as we write it
)

// Origin is where a record was read first.
type Origin struct {
	Topic     string
	TopicID   [16]byte // zero where brokers have none
	Partition int32
	Offset    int64
	Timestamp time.Time // of the record
}

// Failure is what is known of a record that failed for the last time.
type Failure struct {
	// ID is the dlq-id.
	ID     string
	Origin Origin
	// Group and Handler are who failed; Handler is the topic whose handler it was.
	Group, Handler string
	Reason         Reason
	// ErrorType is the Go type of the error's cause, ErrorCode its duplex.Code, ""
	// without one. ErrorMessage has at most 1 KiB, Stack, of a panic, 4 KiB.
	ErrorType, ErrorCode, ErrorMessage, Stack string
	// Attempts were made in all, the first of FirstFailed, the last at LastFailed.
	Attempts                int
	FirstFailed, LastFailed time.Time
	// Fingerprint is that of the policy's Fingerprinter; not yet known to itself.
	Fingerprint string
	// Generation counts how often it came back from the queue.
	Generation int
}

func originOf(r *kgo.Record, id [16]byte) Origin {
	return Origin{Topic: r.Topic, TopicID: id, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp}
}

// describe says what is known of a failure.
func (c *chain) describe(f failure.Failure, j journey, reason Reason) Failure {
	message, stack := split(f.Err.Error())
	return Failure{
		ID: j.id, Origin: j.origin, Group: c.env.Group, Handler: f.Source, Reason: reason,
		ErrorType: bounded(typeOf(f.Err), maxWord), ErrorCode: bounded(string(duplex.CodeOf(f.Err)), maxWord),
		ErrorMessage: bounded(message, maxMessage), Stack: bounded(stack, maxStack),
		Attempts: j.attempts, FirstFailed: j.first, LastFailed: f.At, Generation: j.generation,
	}
}

// split parts a message from the stack that a panic has behind it.
func split(message string) (words, stack string) {
	if i := strings.Index(message, "\ngoroutine "); i >= 0 {
		return message[:i], message[i+1:]
	}
	return message, ""
}

// typeOf is the type of the first error in the chain that does more than to add
// words.
func typeOf(err error) string {
	for {
		name := reflect.TypeOf(err).String()
		cause := errors.Unwrap(err)
		if cause == nil || (name != "*fmt.wrapError" && name != "*duplex.verdictError" && name != "*duplex.Error") {
			return name
		}
		err = cause
	}
}
