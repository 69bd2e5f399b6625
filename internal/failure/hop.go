package failure

import (
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Hop is what a policy has published before a record counts as finished.
type Hop struct {
	// Record names exactly the topic and partition that it goes to.
	Record *kgo.Record
	Kind   HopKind
	// Due is when the record is to run again; the zero time if it is not.
	Due time.Time
	// Ordered says that later records of its key wait until it is acknowledged, if its
	// handler takes one record at a time.
	Ordered bool
	// Reason and Fingerprint are those of a dead letter.
	Reason, Fingerprint string
	// Publish, unless it is nil, publishes the record in place of the consumer's client,
	// and calls done, once: with nil when the record is acknowledged, or nothing more is
	// to be done about it. It must not wait.
	Publish func(done func(error))
	// Forgone says that the record is finished all the same where the hop cannot be
	// published: what it says is worth telling, but not worth holding anything up.
	Forgone bool
	// Then, unless it is nil, is published once this hop is acknowledged. It is Forgone.
	Then *Hop
	// Released, unless it is nil, is called in place of giving the hop's own room back.
	Released func()

	room *room
}

// HopKind says what a hop is for.
type HopKind uint8

// The kinds of hops.
const (
	HopRetry   HopKind = iota // to be tried again, because it failed
	HopWait                   // to wait on, or because its handler said so
	HopDead                   // a dead letter
	HopOutcome                // what became of a record that came back from there
)

// String is the kind as metrics and logs have it.
func (k HopKind) String() string {
	return [...]string{"retry", "wait", "dead-letter", "outcome"}[k]
}

// room is a hop with its record and what that needs: more than a kilobyte, which is
// used again and again where many records fail.
type room struct {
	hop     Hop
	record  kgo.Record
	headers [usualHeaders]kgo.RecordHeader
	values  [usualBytes]byte
}

// usualHeaders and usualBytes are how many headers a policy writes on a record that has
// none of its own and failed without a stack, and what their values come to.
const usualHeaders, usualBytes = 18, 256

//nolint:gochecknoglobals // it holds nothing that anybody has
var rooms = sync.Pool{New: func() any { return new(room) }}

// NewHop is a hop with an empty record, and room for headers and their values behind
// which more may be appended. Whoever publishes it may Release it.
func NewHop() (h *Hop, headers []kgo.RecordHeader, values []byte) {
	r, _ := rooms.Get().(*room)
	r.hop = Hop{Record: &r.record, room: r}
	return &r.hop, r.headers[:0], r.values[:0]
}

// Release gives back the room of a hop that was published, and of its record: nobody may
// have either any more. A hop whose record was refused once must not be released, since
// the client may still be at it.
func (h *Hop) Release() {
	r := h.room
	switch {
	case h.Released != nil:
		h.Released()
		return
	case r == nil:
		return
	}
	r.hop, r.record = Hop{}, kgo.Record{}
	clear(r.headers[:])
	rooms.Put(r)
}
