package producer

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
)

// queue holds records back while others are unacknowledged, and has the feeder
// hand them to kgo together. Many small requests are the expensive zone of
// Kafka: 64 goroutines that each wait for their own record cost ten times the
// CPU of one that does not wait (engine rule 29). Here they share a request,
// with no timer and no linger: a record that finds nothing under way goes
// straight to kgo, on its caller's goroutine; the next burst goes when the one
// before is acknowledged, or when it is large enough to be worth a request of its
// own. Where so many are under way that requests are full anyway, records go
// straight to kgo again. Linger bounds the wait, so that a broker which hangs
// holds up nobody else for long: after it, what is held goes as a burst of its
// own, and only the newest burst holds back others.
//
// It is one queue for all kinds of publishing, so that records are given to kgo in
// the order of the calls. The producer's mutex guards it.
type queue struct {
	items   []pending
	spare   []pending
	bytes   int64
	since   time.Time // when the first of items came
	newest  *burst
	holding atomic.Bool   // there are items
	flood   int           // how many more records may pass unasked
	feeding bool          // the feeder is handing over
	hurry   bool          // somebody flushes
	wake    chan struct{} // capacity 1
}

// burst is what was handed over together.
type burst struct {
	sent  int          // its records; not written once it is under way
	ended atomic.Int64 // those of them that Kafka has answered, or never got
}

func (b *burst) begin(records int) {
	b.ended.Store(0)
	b.sent = records
}

// A burst of this size is not held back: it fills requests by itself.
const (
	burstRecords = 512
	burstBytes   = 64 << 10
)

// recheck is how many records go straight to kgo in a flood before anybody looks
// again whether it still is one.
const recheck = 64

func (q *queue) init() { q.wake, q.newest = make(chan struct{}, 1), &burst{} }

func (q *queue) wakeFeeder() { signal(q.wake) }

// quiet reports whether everything of the newest burst is acknowledged.
func (q *queue) quiet() bool { return q.newest.ended.Load() == int64(q.newest.sent) }

// enqueue takes a record over. If it returns true, the caller must hand it to kgo
// itself, at once. The mutex is held.
func (p *Producer) enqueue(pd pending, waits *call, more bool) (direct bool) {
	q := &p.queue
	if len(q.items) == 0 && !q.feeding && !more && p.passes(pd, waits) {
		return true
	}
	pd.accompany(company{call: waits})
	pd.begin(0)
	q.items = append(q.items, pd)
	before := q.bytes
	q.bytes += int64(pd.size())
	if len(q.items) == 1 {
		q.since = time.Now()
		q.holding.Store(true)
	}
	// The feeder has to know of a first record, to time it, and when a burst is
	// complete; acknowledged tells it when the one before is.
	full := len(q.items) == burstRecords || (q.bytes >= burstBytes && before < burstBytes)
	if !more && (len(q.items) == 1 || full) {
		q.wakeFeeder()
	}
	return false
}

// passes reports whether a record need not be held back: nothing is under way,
// or so much that requests are full without its waiting. Then it begins as sent.
func (p *Producer) passes(pd pending, waits *call) bool {
	q := &p.queue
	flood := q.flood > 0 || (p.cfg.Linger != NoLinger && p.flooded(waits))
	var b *burst
	switch {
	case q.flood > 0:
		q.flood--
	case flood:
		q.flood = recheck - 1
	case p.cfg.Linger == NoLinger:
	case !q.quiet():
		return false
	default:
		b = &burst{}
		if waits != nil {
			b = &waits.alone
		}
		b.begin(1)
		q.newest = b
	}
	if flood && waits == nil {
		pd.begin(sentBit | floodBit)
		return true
	}
	pd.accompany(company{call: waits, burst: b, writes: p.writes.Load()})
	pd.begin(sentBit)
	return true
}

// floodRecords is how many records under way make a flood for those that nobody
// waits for. Callers that wait are better served together for longer.
const floodRecords = 128

// flooded reports whether so much is under way that requests are full without
// anybody's waiting.
func (p *Producer) flooded(waits *call) bool {
	least := floodRecords
	if waits != nil {
		least = burstRecords
	}
	return p.gate.records > least && p.gate.records-p.callbacks.waiting() > least
}

// acknowledged counts a record of a burst as ended. It needs no lock: the
// feeder, once awake, looks for itself.
func (q *queue) acknowledged(b *burst) {
	if b == nil {
		return
	}
	if n := b.ended.Add(1); n == int64(b.sent) && q.holding.Load() {
		q.wakeFeeder()
	}
}

// take returns the next burst, or, without one, how long to wait for it; 0 means
// until woken.
func (q *queue) take(linger time.Duration) (items []pending, wait time.Duration) {
	q.feeding = false
	if len(q.items) == 0 {
		return nil, 0
	}
	if !q.quiet() && !q.hurry && linger != NoLinger && len(q.items) < burstRecords && q.bytes < burstBytes {
		if left := linger - time.Since(q.since); left > 0 {
			return nil, left
		}
	}
	items = q.items
	q.items, q.spare, q.bytes = q.spare[:0], nil, 0
	q.feeding, q.hurry = true, false
	q.holding.Store(false)
	q.newest, q.flood = &burst{sent: len(items)}, 0
	return items, 0
}

// feed is the feeder.
func (p *Producer) feed() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		p.mu.Lock()
		items, wait := p.queue.take(p.cfg.Linger)
		b := p.queue.newest
		p.mu.Unlock()
		if items != nil {
			p.handOver(items, b)
			continue
		}
		if wait > 0 {
			timer.Reset(wait)
		}
		select {
		case <-p.stop:
			return
		case <-p.queue.wake:
		case <-timer.C:
		}
	}
}

func (p *Producer) handOver(items []pending, b *burst) {
	writes := p.writes.Load()
	for i, pd := range items {
		items[i] = pending{}
		with := pd.company()
		with.burst, with.writes = b, writes
		if !pd.hand() {
			p.queue.acknowledged(b) // withdrawn
			p.comeBack(pd)
			continue
		}
		p.client.Produce(context.Background(), pd.record(), pd.cohort.promise)
	}
	p.mu.Lock()
	p.queue.spare = items[:0]
	p.mu.Unlock()
}

// settled is told what became of a record. It runs on kgo's one goroutine for
// promises and must neither block nor run code of users (engine rule 26).
func (p *Producer) settled(pd pending, r *kgo.Record, err error) {
	var failure error
	if err != nil {
		failure = p.outcome(pd, err)
	}
	c, with := pd.cohort, pd.company()
	if with != nil {
		p.queue.acknowledged(with.burst)
	}
	switch {
	case pd.end() == ended:
		p.late.Add(1)
		p.log.Debug("an answer came after its deadline", zap.String("topic", r.Topic), zap.Int32("partition", r.Partition),
			zap.Int64("offset", r.Offset), zap.Error(err))
		p.comeBack(pd)
	case with != nil && with.call != nil:
		waits := with.call
		p.mu.Lock()
		p.counts.add(failure)
		p.signOff(c, 1, int64(c.sizes[pd.i]))
		p.mu.Unlock()
		waits.tell(duplex.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}, failure)
	default:
		p.callbacks.add(callback{
			done: c.done[pd.i], topic: r.Topic, partition: r.Partition, offset: r.Offset, size: c.sizes[pd.i], err: failure, cohort: c,
		})
	}
}

// comeBack is called once for a pending that was given up, by whoever had it
// then.
func (p *Producer) comeBack(pd pending) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cohorts.returned(pd.cohort)
}
