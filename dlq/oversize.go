package dlq

import (
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/failure"
)

// Refused implements failure.Chain: what a topic does not take because it is too
// large becomes smaller, step by step, so that it ends somewhere.
//
//	retry topic   ► dead letter, too-large
//	dead letter   ► without stack, with a short message
//	              ► a pointer: without value and the user's headers, which are still
//	                where the origin says, for as long as the source topic keeps them
//
// It returns nil when nothing more can be left out.
func (c *chain) Refused(h *failure.Hop) *failure.Hop {
	r := h.Record
	if h.Kind != failure.HopDead {
		return c.tooLargeToWait(r)
	}
	reason, _ := duplex.Header(r, HeaderReason)
	less, smaller := failure.Hop{Kind: h.Kind, Ordered: h.Ordered, Reason: h.Reason, Fingerprint: h.Fingerprint, Then: h.Then}, *r
	smaller.Headers = append([]kgo.RecordHeader(nil), r.Headers...)
	message, _ := duplex.Header(r, HeaderErrorMessage)
	if _, stack := duplex.Header(r, HeaderErrorStack); stack || len(message) > shortMessage {
		duplex.DeleteHeader(&smaller, HeaderErrorStack)
		duplex.SetHeader(&smaller, HeaderErrorMessage, bounded(message, shortMessage))
		less.Record = &smaller
		return &less
	}
	if r.Value == nil && len(theirs(nil, r.Headers)) == 0 && len(r.Key) <= maxWord {
		return nil
	}
	smaller.Value, smaller.Headers = nil, mine(r.Headers)
	if len(r.Key) > maxWord {
		smaller.Key = nil
	}
	duplex.SetHeader(&smaller, HeaderReason, string(ReasonTooLarge))
	duplex.SetHeader(&smaller, HeaderErrorMessage, bounded("a pointer only ("+reason+"): the value is at the origin. "+message, shortMessage))
	less.Record, less.Reason = &smaller, string(ReasonTooLarge)
	return &less
}

const shortMessage = 128

// tooLargeToWait makes a dead letter of a record that no retry topic takes.
func (c *chain) tooLargeToWait(r *kgo.Record) *failure.Hop {
	j, err := parseJourney(r)
	source, _ := duplex.Header(r, HeaderHandler)
	if err != nil || c.sources[source] == nil {
		return nil // we wrote it
	}
	word := func(name string) string { v, _ := duplex.Header(r, name); return v }
	failedAt, _ := strconv.ParseInt(word(HeaderLastFailedAt), 10, 64)
	return c.dead(c.sources[source], r, j, Failure{
		ID: j.id, Origin: j.origin, Group: c.env.Group, Handler: source, Reason: ReasonTooLarge,
		ErrorType: word(HeaderErrorType), ErrorCode: word(HeaderErrorCode), ErrorMessage: word(HeaderErrorMessage),
		Attempts: j.attempts, FirstFailed: j.first, LastFailed: time.UnixMilli(failedAt), Generation: j.generation,
	})
}

// mine are the headers that are ours.
func mine(headers []kgo.RecordHeader) (kept []kgo.RecordHeader) {
	for _, h := range headers {
		if ours(h.Key) {
			kept = append(kept, h)
		}
	}
	return kept
}
