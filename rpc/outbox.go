package rpc

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
)

// outbox sends requests. What finds nothing under way goes at once; what comes while
// requests are unacknowledged waits for that, and then goes together, as one burst to one
// partition, the next burst to the next one: many small requests cost Kafka and both
// sides most, and calls spread one by one would wait for all partitions (engine rules 29
// and 33). A burst that is not acknowledged soon holds up nobody.
type outbox struct {
	client  *kgo.Client
	pending *pending
	life    context.Context //nolint:containedctx // of the client, for what it produces

	mu      sync.Mutex
	waiting []*call
	flying  *burst               // under way, and not given up on; nil without one
	topics  sync.Map             // of *requestsTo, by name
	byKey   kgo.TopicPartitioner // where Java's default partitioner sends keys

	over       chan struct{} // of the client
	background *background
}

func newOutbox(life context.Context, client *kgo.Client, calls *pending, beside *background) *outbox {
	return &outbox{client: client, pending: calls, life: life, background: beside, byKey: kgo.StickyKeyPartitioner(nil).ForTopic("")}
}

// requestsTo is what is known of a topic of requests.
type requestsTo struct {
	known      atomic.Int64 // when it was asked for last, in ns since 1970
	partitions int32
	asking     bool // somebody finds out what it is now
	missing    bool // it was deleted, as far as is known
	// grown is how many there are, and grownAt since when that is known, where it is more
	// than are used.
	grown   int32
	grownAt time.Time
	turn    int32 // of the next burst without keys
	// By partition: until when it is passed over, in ms since 1970, and how many bursts are
	// not acknowledged there.
	slow   []int64
	unsure []int
}

const (
	// patience is for how long a burst keeps others from going.
	patience = 3 * time.Millisecond
	// mostBurst bounds the calls of a burst.
	mostBurst = 512
	// partitionsKnown is for how long the number of a topic's partitions is taken to be
	// as it was.
	partitionsKnown = 30 * time.Second
	// adoptAfter is how long partitions that were added are not used: Kafka's clients look
	// for them every five minutes.
	adoptAfter = 6 * time.Minute
	// slowFor is for how long a partition is passed over that could not be written.
	slowFor = 2 * time.Second
)

// callState says how far a call is on its way out.
type callState struct{ atomic.Int32 }

const (
	stateWaiting int32 = iota
	stateSent
	stateWithdrawn
)

// send hands a call over. It returns at once.
func (o *outbox) send(c *call) {
	o.mu.Lock()
	o.waiting = append(o.waiting, c)
	burst := o.next()
	o.mu.Unlock()
	o.launch(burst)
}

// withdraw reports whether a call was still here: it will not be sent.
func (o *outbox) withdraw(c *call) bool {
	return c.state.CompareAndSwap(stateWaiting, stateWithdrawn)
}

// burst is what is sent together.
type burst struct {
	calls []*call
	began time.Time
	left  atomic.Int32
	// turned is where those without keys go, by topic.
	turned map[*requestsTo]int32
	timer  *time.Timer // gives up on it; under the outbox's mutex, and nil for as long as nothing waits
}

// next takes what is to go now; nil if nothing is. The mutex is held.
func (o *outbox) next() *burst {
	if len(o.waiting) == 0 {
		return nil
	}
	if o.flying != nil {
		o.hurry()
		return nil
	}
	n := min(len(o.waiting), mostBurst)
	b := &burst{calls: o.waiting[:n:n], began: time.Now()}
	o.waiting = o.waiting[n:]
	o.flying = b
	if len(o.waiting) > 0 {
		o.hurry()
	}
	return b
}

// hurry bounds how long the burst under way keeps what waits. A caller who is alone needs
// no timer, which would wake up a processor for each call. The mutex is held.
func (o *outbox) hurry() {
	if b := o.flying; b.timer == nil {
		b.timer = time.AfterFunc(time.Until(b.began.Add(patience)), func() { o.landed(b) })
	}
}

// launch hands a burst to the client, and the ones after it if it ends meanwhile.
func (o *outbox) launch(b *burst) {
	if b == nil {
		return
	}
	sent := b.calls[:0]
	for _, c := range b.calls {
		if c.state.CompareAndSwap(stateWaiting, stateSent) {
			sent = append(sent, c)
		}
	}
	b.calls = sent
	if len(sent) == 0 {
		o.landed(b)
		return
	}
	b.left.Store(int32(len(sent)))
	o.address(b)
	for _, c := range sent {
		out := c.request
		c.topic, c.partition = out.record.Topic, out.record.Partition
		c.partitioned.Store(true)
		c.request = nil // or it would be kept for as long as the call takes
		out.outbox, out.call, out.burst = o, c, b
		o.client.TryProduce(o.life, &out.record, out.promise)
	}
}

// acknowledged is called when all of a burst is acknowledged, or given up.
func (o *outbox) acknowledged(b *burst) {
	o.mu.Lock()
	for t, p := range b.turned {
		t.unsure[p]--
	}
	o.mu.Unlock()
	o.landed(b)
}

// landed is called when a burst is acknowledged, or has had its time: the next one may
// go.
func (o *outbox) landed(b *burst) {
	o.mu.Lock()
	var next *burst
	if o.flying == b {
		o.flying = nil
		if b.timer != nil {
			b.timer.Stop()
		}
		next = o.next()
	}
	o.mu.Unlock()
	o.launch(next)
}

// failed ends a call whose request Kafka's client gave up on.
func (o *outbox) failed(c *call, r *kgo.Record, err error) {
	if t := o.topic(r.Topic); t != nil {
		o.mu.Lock()
		if int(r.Partition) < len(t.slow) {
			t.slow[r.Partition] = time.Now().Add(slowFor).UnixMilli()
		}
		t.missing = t.missing || errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID)
		o.mu.Unlock()
		t.known.Store(0)
	}
	if isMissing(err) { // the client would go on with the ID of a topic that was deleted
		o.background.run(func() { o.client.PurgeTopicsFromProducing(r.Topic) }) // not on the client's own goroutine
	}
	if o.pending.take(c.number, false) == nil {
		return // it has ended already
	}
	outcome := notSent
	switch {
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge), errors.Is(err, kerr.InvalidRecord):
		outcome = tooLarge
	case errors.Is(err, kgo.ErrClientClosed), errors.Is(err, context.Canceled):
		outcome = closedMeanwhile
	}
	c.to.end(result{err: outcome.error(c.method, kafka.Explain("rpc: sending the request to "+r.Topic, err))})
}

// address gives the records of a burst their partitions.
func (o *outbox) address(b *burst) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range b.calls {
		r := &c.request.record
		r.Partition = o.partition(r, b)
	}
	for t, p := range b.turned {
		t.unsure[p]++
	}
}

// place gives one record its partition.
func (o *outbox) place(r *kgo.Record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r.Partition = o.partition(r, &burst{began: time.Now()})
}

// partition is where a record goes, with others of its burst. The mutex is held.
func (o *outbox) partition(r *kgo.Record, b *burst) int32 {
	t := o.topic(r.Topic)
	if r.Key != nil {
		return int32(o.byKey.Partition(r, int(t.partitions)))
	}
	if p, turned := b.turned[t]; turned {
		return p
	}
	if b.turned == nil {
		b.turned = map[*requestsTo]int32{}
	}
	p := t.next(b.began.UnixMilli())
	b.turned[t] = p
	return p
}

// topic is what is known of a topic; nil if nothing is.
func (o *outbox) topic(name string) *requestsTo {
	if t, known := o.topics.Load(name); known {
		return t.(*requestsTo) //nolint:forcetypeassert // there is nothing else in it
	}
	return nil
}

// learn notes how many partitions there are. Those that were added are left alone until the
// servers have noticed them: nobody would answer.
func (t *requestsTo) learn(n int32, now time.Time) {
	t.known.Store(now.UnixNano())
	switch {
	case t.partitions == 0 || n <= t.partitions:
		t.partitions, t.grown = n, 0
	case n != t.grown:
		t.grown, t.grownAt = n, now
	case now.Sub(t.grownAt) >= adoptAfter:
		t.partitions, t.grown = n, 0
	}
	t.turn %= t.partitions
}

// next is the partition of the next burst: the one after the last one that can be
// written, as far as is known, and has nothing under way: its leader may be gone.
func (t *requestsTo) next(now int64) int32 {
	first := (t.turn + 1) % t.partitions
	for _, may := range []func(p int32) bool{
		func(p int32) bool { return t.slow[p] <= now && t.unsure[p] == 0 },
		func(p int32) bool { return t.slow[p] <= now },
		func(int32) bool { return true },
	} {
		for i := range t.partitions {
			if p := (first + i) % t.partitions; may(p) {
				t.turn = p
				return p
			}
		}
	}
	return first
}

// knows reports whether a topic's partitions are known.
func (o *outbox) knows(topic string, now time.Time) bool {
	t := o.topic(topic)
	return t != nil && now.UnixNano()-t.known.Load() < int64(partitionsKnown)
}

// know sees to it that a topic's partitions are known. What was known half a minute ago is
// looked at again, but no call waits for that. The error is coded as
// [duplex.ErrUnknownTopic] if there is no such topic.
func (o *outbox) know(ctx context.Context, topic string) error {
	if o.knows(topic, time.Now()) {
		return nil
	}
	o.mu.Lock()
	if t := o.topic(topic); t != nil && !t.missing {
		if !t.asking {
			t.asking = true
			o.background.run(func() { o.lookAgain(t, topic) }) //nolint:contextcheck // other calls want to know, too
		}
		o.mu.Unlock()
		return nil
	}
	o.mu.Unlock()
	looked := make(chan error, 1)
	o.background.run(func() { looked <- o.look(ctx, topic) })
	select {
	case err := <-looked:
		return err
	case <-o.over:
		return duplex.ErrClosed
	}
}

// lookAgain looks at a topic that was there.
func (o *outbox) lookAgain(t *requestsTo, topic string) {
	ctx, cancel := context.WithTimeout(o.life, askTimeout)
	defer cancel()
	_ = o.look(ctx, topic) // where nobody answers, it is as it was
	o.mu.Lock()
	defer o.mu.Unlock()
	t.asking = false
}

// look asks for a topic's partitions.
func (o *outbox) look(ctx context.Context, topic string) error {
	there, err := kafka.Topics(ctx, o.client, "rpc", topic)
	o.mu.Lock()
	defer o.mu.Unlock()
	t := o.topic(topic)
	if err != nil || len(there) != 1 || there[0].Partitions == 0 {
		if err == nil {
			err = fmt.Errorf("rpc: asking for topic %q: the answer has no partitions", topic)
		}
		if t != nil && errors.Is(err, duplex.ErrUnknownTopic) {
			t.missing = true
		}
		return err
	}
	if t == nil {
		t = &requestsTo{turn: rand.Int32N(1 << 16)}
	}
	t.missing = false
	t.learn(there[0].Partitions, time.Now())
	for len(t.slow) < int(t.partitions) {
		t.slow, t.unsure = append(t.slow, 0), append(t.unsure, 0)
	}
	o.topics.Store(topic, t)
	return nil
}
