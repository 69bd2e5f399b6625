package consumer

import (
	"slices"
	"sync"
	"time"

	"github.com/duplex-go/duplex/internal/commitmeta"
)

// What a member had finished when it lost a partition, and could not commit, is not
// run again if the partition comes back to it. That happens whenever the group's
// coordinator moves to another broker: the member is thrown out for a moment, and
// joins again to find that nobody else had the partition. Whether anybody did is
// seen from the committed offset and what stands beside it: they must be as this
// member left them. Where that is nothing, it goes on from where it began: the end of
// the partition, or where a time is, may be another one by now.
type regain struct {
	mu   sync.Mutex
	kept map[place]kept
}

// kept is what was known of a partition when it went.
type kept struct {
	left  []commitState // what the broker may have of ours
	until time.Time
	epoch int32
	meta  commitmeta.Meta
	// watermark is where to go on from.
	watermark int64
}

// commitState is a committed offset, −1 where there is none, with what stands beside it.
type commitState struct {
	offset   int64
	metadata string
}

// mostSent bounds how many commits without an answer are remembered.
const mostSent = 16

// keep remembers what is known of assignments that are about to be closed.
func (r *regain) keep(assignments []*assignment, within time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept == nil {
		r.kept = map[place]kept{}
	}
	for _, a := range assignments {
		r.kept[place{a.topic, a.partition}] = a.keep(time.Now().Add(within))
	}
}

func (a *assignment) keep(until time.Time) kept {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle()
	return kept{
		left: append(slices.Clone(a.sent), commitState{a.committed, a.metadata}), until: until,
		epoch: a.epoch, meta: a.meta(), watermark: a.ledger.Watermark(),
	}
}

// take gives back what is known of a partition, once; ok is false if somebody else
// committed for it since, or may have.
func (r *regain) take(at place, now commitState) (k kept, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k, ok = r.kept[at]
	delete(r.kept, at)
	return k, ok && time.Now().Before(k.until) && slices.Contains(k.left, now)
}

// forget drops what is known of a topic's partitions.
func (r *regain) forget(topic string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for at := range r.kept {
		if at.topic == topic {
			delete(r.kept, at)
		}
	}
}
