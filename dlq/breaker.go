package dlq

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// breaker keeps a service that is down from having a whole topic moved to the
// dead-letter queue. It counts what became of the last records. When more than
// MaxDeadRatio of them would be dead, for reasons that may pass, it opens: such
// records wait in their places then, until the partitions stand still, and run again
// one after the other, as probes. When one of those succeeds, it closes.
//
//	closed ── too many dead ──► open: they wait, one a second is tried
//	   ▲                          │
//	   └───── one succeeded ──────┘
//
// A key that always fails does not open it: the others succeed.
type breaker struct {
	ratio float64 // from which on; 1 never
	// fresh are those that were handled since the others were counted: this is the
	// only thing that a record costs which does not fail.
	fresh atomic.Int64

	mu            sync.Mutex
	handled, dead int // of the last ones; dead for reasons that may pass
	since         time.Time
	next          time.Time // when the next probe may run
	held          map[probe]bool
}

// probe is a record that waits for the breaker to close.
type probe struct {
	topic     string
	partition int32
	offset    int64
}

const (
	// breakerWindow is how many records are looked at, breakerLeast how many there
	// must be.
	breakerWindow, breakerLeast = 1000, 100
	// probeEvery is the time between probes, probeLatest by when each has been one.
	probeEvery, probeLatest = time.Second, time.Minute
)

// add counts what was handled meanwhile, and so many that would be dead: older ones
// count for less and less. The mutex is held.
func (b *breaker) add(dead int) {
	b.handled, b.dead = b.handled+int(b.fresh.Swap(0)), b.dead+dead
	for b.handled+b.dead > breakerWindow {
		b.handled, b.dead = b.handled/2, b.dead/2
	}
}

// succeeded is called for n records that were handled.
func (b *breaker) succeeded(n int) { b.fresh.Add(int64(n)) }

// recovered is called for a record that was handled after it had failed. It reports
// whether the breaker closed.
func (b *breaker) recovered(r *kgo.Record) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := probe{r.Topic, r.Partition, r.Offset}
	if !b.held[at] {
		return false
	}
	delete(b.held, at)
	if b.since.IsZero() {
		return false
	}
	b.fresh.Store(0)
	b.since, b.handled, b.dead = time.Time{}, 0, 0
	return true
}

// hold is called for a record that would be dead. It reports when it is to run again
// instead, and false if it is to be dead.
func (b *breaker) hold(r *kgo.Record, now time.Time) (at time.Time, held, opened bool) {
	if b.ratio >= 1 {
		return time.Time{}, false, false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(1)
	which := probe{r.Topic, r.Partition, r.Offset}
	if n := b.handled + b.dead; b.since.IsZero() && n >= breakerLeast && float64(b.dead) > b.ratio*float64(n) {
		b.since, b.next, b.held, opened = now, now, map[probe]bool{}, true
	}
	if b.since.IsZero() {
		delete(b.held, which)
		return time.Time{}, false, false
	}
	b.held[which] = true
	b.next = b.next.Add(probeEvery)
	if b.next.Before(now) {
		b.next = now.Add(probeEvery)
	}
	if latest := now.Add(probeLatest); b.next.After(latest) {
		b.next = latest
	}
	return b.next, true, opened
}

// problem says that the breaker is open.
func (b *breaker) problem(topic string) []duplex.Problem {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.since.IsZero() {
		return nil
	}
	b.add(0)
	return []duplex.Problem{{Code: duplex.StatusDeadLetterFlood, Subject: topic, Detail: fmt.Sprintf(
		"%s: %d of the last %d records would be dead letters, since %s: they wait instead, and one after the other is tried until one succeeds",
		topic, b.dead, b.handled+b.dead, b.since.UTC().Format(time.RFC3339))}}
}
