package producer

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
)

// how says what kind of publish a record is admitted for.
type how uint8

const (
	waits how = 1 << iota // it may wait for room
	async                 // its result goes to a callback
	more                  // others follow at once and should go with it
)

// admit takes a record over: checks, room, and into the queue or to kgo. An error
// means that it was not taken over.
func (p *Producer) admit(ctx context.Context, r *kgo.Record, h how, done func(duplex.Position, error)) (*pending, error) {
	if r == nil {
		return nil, refused("", duplex.ErrInvalidRecord, "the record is nil", nil)
	}
	if r.Topic == "" {
		return nil, refused("", duplex.ErrInvalidTopic, "set Record.Topic", nil)
	}
	if p.cfg.Prepare != nil {
		if err := p.cfg.Prepare(r); err != nil {
			return nil, refused(r.Topic, duplex.ErrEncode, "Config.Prepare refused the record", err)
		}
	}
	if ctx.Err() != nil {
		return nil, refused(r.Topic, duplex.ErrTimeout, "nothing was sent", context.Cause(ctx))
	}
	now := time.Now()
	if r.Timestamp.IsZero() {
		r.Timestamp = now
	}
	pd, _ := p.pendings.Get().(*pending)
	pd.record, pd.size, pd.deadline, pd.done, pd.sync = r, recordSize(r), now.Add(p.cfg.Timeout), done, h&async == 0
	p.mu.Lock()
	if err := p.enter(ctx, pd, h&waits != 0); err != nil { // unlocked
		p.recycle(pd)
		return nil, err
	}
	pd.holders.Store(2)
	pd.flush = p.flushes.joined()
	p.deadlines.add(pd)
	if p.deadlines.unwatched {
		p.deadlines.unwatched = false
		signal(p.sweep)
	}
	direct := p.queue.add(pd, p.cfg.Linger, h&more != 0)
	p.mu.Unlock()
	if direct {
		pd.writes = p.writes.Load()
		pd.state.Store(sent)
		p.client.Produce(context.Background(), r, pd.promise) //nolint:contextcheck // a caller's would cancel its neighbours (engine rule 21)
	}
	return pd, nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// recordSize is what the gate counts.
func recordSize(r *kgo.Record) int64 {
	if r == nil {
		return 0
	}
	n := len(r.Key) + len(r.Value)
	for i := range r.Headers {
		n += len(r.Headers[i].Key) + len(r.Headers[i].Value)
	}
	return int64(n)
}

// await waits for the result of a pending, or for its caller's end.
func (p *Producer) await(ctx context.Context, pd *pending) (duplex.Position, error) {
	select {
	case <-pd.wait:
	case <-ctx.Done():
		p.giveUp(pd, context.Cause(ctx))
		<-pd.wait
	}
	err := pd.err
	var position duplex.Position
	if err == nil {
		position = positionOf(pd.record)
	}
	p.letGo(pd)
	return position, err
}

func positionOf(r *kgo.Record) duplex.Position {
	return duplex.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}
}

// giveUp ends a pending that has not ended.
func (p *Producer) giveUp(pd *pending, cause error) {
	for {
		was := pd.state.Load()
		if was == ended {
			return
		}
		if pd.state.CompareAndSwap(was, ended) {
			p.end(pd, gaveUp(pd, was, cause))
			return
		}
	}
}

// end tells a pending's caller its result. Only who took its state to ended may
// call it, without the mutex.
func (p *Producer) end(pd *pending, err error) {
	pd.err = err
	if !pd.sync {
		p.callbacks.add(pd)
		return
	}
	p.mu.Lock()
	p.signOff(pd)
	p.mu.Unlock()
	pd.wait <- struct{}{} // has room: it is ended once
}

// signOff takes a pending out of the books: it has ended, and its callback, if it
// has one, has run. The mutex is held.
func (p *Producer) signOff(pd *pending) {
	p.gate.release(&p.cfg, pd.size)
	p.flushes.left(pd.flush)
	p.deadlines.remove(pd)
	switch {
	case pd.err == nil:
		p.counts.published++
	case errors.Is(pd.err, duplex.ErrOutcomeUnknown):
		p.counts.unknown++
	default:
		p.counts.failed++
	}
}

// letGo is called by each holder of pd, once.
func (p *Producer) letGo(pd *pending) {
	if pd.holders.Add(-1) == 0 {
		p.recycle(pd)
	}
}

func (p *Producer) recycle(pd *pending) {
	pd.record, pd.done, pd.err, pd.flush, pd.burst = nil, nil, nil, nil, nil
	p.pendings.Put(pd)
}

// refuse reports an asynchronous publish that was not taken over.
func (p *Producer) refuse(r *kgo.Record, err error, done func(duplex.Position, error)) {
	p.mu.Lock()
	if p.closed || done == nil {
		p.counts.failed++
		p.mu.Unlock()
		if done != nil {
			done(duplex.Position{}, err) // the callback goroutine may be gone
			return
		}
		p.logFailure(r, err)
		return
	}
	pd, _ := p.pendings.Get().(*pending)
	pd.record, pd.size, pd.done, pd.sync, pd.deadline = r, recordSize(r), done, false, time.Now()
	pd.state.Store(ended)
	pd.holders.Store(1)
	p.gate.take(pd.size) // over the bound by one record of each caller, until its callback ran
	pd.flush = p.flushes.joined()
	p.deadlines.add(pd)
	pd.err = err
	p.callbacks.add(pd)
	p.mu.Unlock()
}

func (p *Producer) logFailure(r *kgo.Record, err error) {
	topic := ""
	if r != nil {
		topic = r.Topic
	}
	p.log.Error("publishing without a callback", zap.String("topic", topic), zap.Error(err))
}
