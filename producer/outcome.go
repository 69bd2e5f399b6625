package producer

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
)

// A failed promise of kgo does not prove that the record is absent from the log.
// After an append whose answer was lost, the second try may be refused, for
// another leader, lack of rights or an unknown topic, and that refusal is what
// kgo reports, with the record in the log (engine rule 28). So a failure is
// definite only if one of these holds:
//
//   - the refusal came before the record was given to kgo, or kgo itself refused
//     to take it (too large for any batch, no topic);
//   - not a single produce request was written between the moment the record was
//     given to kgo and the moment kgo gave it up. kgo calls OnBrokerWrite after
//     each write and before it looks at the answer, so what was not counted was
//     not sent. This covers a topic that never existed and a cluster that was
//     never reached;
//   - the broker's answer depends on the record alone: too large, invalid. A first
//     try with the same bytes was refused in the same way. (A topic whose limits
//     are lowered between two tries is the exception we accept.)
//
// Everything else is [duplex.ErrOutcomeUnknown], beside whatever code the error
// has.
func (p *Producer) outcome(pd pending, err error) error {
	topic, writes := pd.record().Topic, pd.writes()
	op := fmt.Sprintf("producer: publishing to %q", topic)
	explained := kafka.Explain(op, err)
	e, ok := errors.AsType[*duplex.Error](explained)
	if !ok {
		e = &duplex.Error{Op: op, Err: err}
	}
	if bad := duplex.ValidateTopicName(topic); bad != nil && errors.Is(e, duplex.ErrUnknownTopic) {
		e.Codes, e.Err, e.Hint = []duplex.Code{duplex.ErrInvalidTopic}, bad, "" // no topic has this name
		return e
	}
	if errors.Is(err, kerr.MessageTooLarge) && p.writes.Load() != writes {
		e.Hint = "send less, or raise max.message.bytes of the topic; with Config.MaxRecordBytes at that limit, a record that is too large is refused alone"
	}
	if !ofTheRecordAlone(err) && p.writes.Load() != writes {
		e.Codes = append([]duplex.Code{duplex.ErrOutcomeUnknown}, e.Codes...)
		return e
	}
	if len(e.Codes) == 0 || e.Codes[0] == duplex.ErrTimeout {
		e.Codes = []duplex.Code{duplex.ErrUnreachable}
		e.Hint = "the record was never sent; check that a broker listens, and leads the partition"
	}
	return e
}

func ofTheRecordAlone(err error) bool {
	for _, e := range []error{
		kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp, kerr.UnsupportedForMessageFormat,
		kerr.InvalidTopicException,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// writeCounter counts the produce requests that were written, or tried to be.
type writeCounter struct{ n atomic.Int64 }

var _ kgo.HookBrokerWrite = (*writeCounter)(nil)

// OnBrokerWrite implements kgo.HookBrokerWrite.
func (c *writeCounter) OnBrokerWrite(_ kgo.BrokerMetadata, key int16, _ int, _, _ time.Duration, _ error) {
	if kmsg.Key(key) == kmsg.Produce {
		c.n.Add(1)
	}
}

// Load returns the count.
func (c *writeCounter) Load() int64 { return c.n.Load() }

func refused(topic string, code duplex.Code, hint string, err error) error {
	return &duplex.Error{Op: fmt.Sprintf("producer: publishing to %q", topic), Codes: []duplex.Code{code}, Hint: hint, Err: err}
}

// gaveUp is the result of a publish that ends at its deadline, or with its
// caller, in the given state. written says whether a produce request was written
// since it was sent.
func gaveUp(topic string, was state, written bool, cause error) error {
	switch {
	case was != sent:
		return refused(topic, duplex.ErrTimeout, "nothing was sent", cause)
	case !written:
		return refused(topic, duplex.ErrOutcomeUnknown, "nothing was written to a broker yet: check that they answer; the record may still be stored, once", cause)
	}
	return refused(topic, duplex.ErrOutcomeUnknown, "the record was handed over and may still be stored, once", cause)
}

// errTimeout is the cause of a publish that Config.Timeout ended.
type timeoutError struct{ after time.Duration }

func (e timeoutError) Error() string { return fmt.Sprintf("no answer within %s", e.after) }

// Is lets errors.Is(err, context.DeadlineExceeded) hold, as it does for a
// deadline of the caller's.
func (e timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }
