package producer

import (
	"context"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
)

// how says how a record is to be admitted.
type how uint8

const (
	mayWait how = 1 << iota // for room
	more                    // others follow at once and should go with it
)

// admit takes a record over: checks, room, and into the queue or to kgo. Its
// result goes to the caller that waits, or to done without one. An error means
// that it was not taken over.
func (p *Producer) admit(ctx context.Context, r *kgo.Record, h how, waits *call, done func(duplex.Position, error)) (pending, error) {
	if err := p.prepare(ctx, r); err != nil {
		return pending{}, err
	}
	now := time.Now()
	if r.Timestamp.IsZero() {
		r.Timestamp = now
	}
	size := recordSize(r)
	p.mu.Lock()
	if err := p.enter(ctx, r.Topic, size, now, h&mayWait != 0); err != nil { // unlocked
		return pending{}, err
	}
	expires := p.clock(now) + int64(p.cfg.Timeout)
	pd := p.cohorts.join(p, expires, r, done, size)
	if p.cohorts.unwatched(expires) {
		signal(p.sweep)
	}
	direct, promise := p.enqueue(pd, waits, h&more != 0), pd.cohort.promise
	p.mu.Unlock()
	if direct {
		p.client.Produce(context.Background(), r, promise) //nolint:contextcheck // a caller's would cancel its neighbours (engine rule 21)
	}
	return pd, nil
}

// prepare finds what can be said against a record at once.
func (p *Producer) prepare(ctx context.Context, r *kgo.Record) error {
	if r == nil {
		return refused("", duplex.ErrInvalidRecord, "the record is nil", nil)
	}
	if r.Topic == "" {
		return refused("", duplex.ErrInvalidTopic, "set Record.Topic", nil)
	}
	if p.cfg.Prepare != nil {
		if err := p.cfg.Prepare(r); err != nil {
			return refused(r.Topic, duplex.ErrEncode, "Config.Prepare refused the record", err)
		}
	}
	if ctx.Err() != nil {
		return refused(r.Topic, duplex.ErrTimeout, "nothing was sent", context.Cause(ctx))
	}
	return nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// recordSize is what the gate counts.
func recordSize(r *kgo.Record) uint32 {
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return uint32(min(n, math.MaxUint32)) // more than any topic takes
}

// await waits for the result of a pending, or for its caller's end.
func (p *Producer) await(ctx context.Context, pd pending, c *call) (duplex.Position, error) {
	select {
	case <-c.wait:
	case <-ctx.Done():
		p.mu.Lock()
		if with := pd.company(); with != nil && with.call == c { // or it was told, and pd is another record's by now
			p.giveUp(pd, context.Cause(ctx))
		}
		p.mu.Unlock()
		<-c.wait
	}
	position, err := c.position, c.err
	if !c.early {
		c.err = nil
		p.calls.Put(c)
	}
	return position, err
}

// newCall returns a call to be waited for.
func (p *Producer) newCall() *call {
	c, _ := p.calls.Get().(*call)
	return c
}

// refuse reports an asynchronous publish that was not taken over.
func (p *Producer) refuse(r *kgo.Record, err error, done func(duplex.Position, error)) {
	topic := ""
	if r != nil {
		topic = r.Topic
	}
	p.mu.Lock()
	if p.closed || done == nil {
		p.counts.failed++
		p.mu.Unlock()
		if done != nil {
			done(duplex.Position{}, err) // the callback goroutine may be gone
			return
		}
		p.logFailure(topic, err)
		return
	}
	defer p.mu.Unlock()
	p.gate.take(0) // over the bound by one record of each caller, until its callback ran
	p.callbacks.add(callback{done: done, topic: topic, err: err, cohort: p.cohorts.joinEnded(p)})
}

func (p *Producer) logFailure(topic string, err error) {
	p.log.Error("publishing without a callback", zap.String("topic", topic), zap.Error(err))
}
