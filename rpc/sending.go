package rpc

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex/internal/kafka"
)

// sending is the reply of an answer on its way. It ends once: when it is acknowledged, when
// its topic will not have it, or when nobody waits for it any more.
//
//	sent ── acknowledged ──────────────────► finished
//	  ▲ └── refused ── again in a while ─┐      ▲
//	  └────────────────────────────────┘      │
//	        its topic is gone, or its time is over
type sending struct {
	replier *replier
	done    func(error)
	promise func(*kgo.Record, error) // tried
	tries   int
	shrunk  bool
	kept    bool // Kafka's client may have the record for longer than we do

	ended      bool    // under the mutex of underWay, as are the others
	prev, next *answer // of those that are under way
}

// send publishes the reply, and calls done once.
func (a *answer) send(done func(error)) {
	s := &a.sending
	s.replier, s.done = a.server.replier.Load(), done
	s.replier.under.add(a)
	s.replier.client.TryProduce(s.replier.life, &a.reply, s.promise)
}

// again sends another record: the client has written into the first one, and may be at it.
func (a *answer) again() {
	s, r := &a.sending, &kgo.Record{}
	s.kept = true
	a.write(r, writer{})
	s.replier.client.TryProduce(s.replier.life, r, s.promise)
}

// tried is called with what came of a try, on the client's goroutine.
func (a *answer) tried(r *kgo.Record, err error) {
	s := &a.sending
	switch {
	case err == nil:
		a.finish(true)
	case errors.Is(err, kgo.ErrClientClosed), errors.Is(err, context.Canceled):
		a.finish(false)
	case errors.Is(err, kerr.MessageTooLarge) && !s.shrunk:
		s.shrunk = true
		a.err, a.record = replyTooLarge.error(a.request.method, nil), nil
		a.again()
	case s.replier.under.ended(a):
	case isMissing(err), errors.Is(err, kerr.MessageTooLarge):
		if isMissing(err) {
			s.replier.forget(r.Topic)
		}
		a.server.log.Warn("a reply cannot be sent", zap.String("topic", r.Topic), zap.Int32("partition", r.Partition), zap.Error(err))
		a.finish(false)
	default:
		s.tries++
		s.replier.client.ForceMetadataRefresh()
		time.AfterFunc(min(resendMin<<min(s.tries-1, 10), resendMax), a.retry)
	}
}

// retry sends the reply once more, unless it is over or its partition is not there: a topic
// that was made again may have fewer.
func (a *answer) retry() {
	r := a.sending.replier
	if r.under.ended(a) {
		return
	}
	if a.sending.tries%triesToLook == 0 {
		ctx, cancel := context.WithTimeout(r.life, askTimeout)
		there, err := kafka.Topics(ctx, r.client, "rpc server", a.request.replyTopic)
		cancel()
		if err == nil && there[0].Partitions <= a.request.partition {
			a.finish(false)
		}
		if r.under.ended(a) {
			return
		}
	}
	a.again()
}

// finish counts the request as finished.
func (a *answer) finish(sent bool) {
	if a.sending.replier.under.remove(a) {
		a.finished(sent)
	}
}

// finished is called once.
func (a *answer) finished(sent bool) {
	if counts := &a.server.counts; sent {
		counts.answered.Add(1)
	} else {
		a.sending.kept = true
		counts.repliesLost.Add(1)
	}
	a.sending.done(nil) // the answer may be another's from here on
}

// underWay are the replies that are neither acknowledged nor given up. Those that nobody
// waits for any more are looked for now and then, all at once: a timer for each would cost
// more than sending it.
type underWay struct {
	mu          sync.Mutex
	first, last *answer
	watched     bool
}

// lookEvery is how late, at most, it is seen that nobody waits for a reply any more.
const lookEvery = 100 * time.Millisecond

func (u *underWay) add(a *answer) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.last == nil {
		u.first = a
	} else {
		u.last.sending.next, a.sending.prev = a, u.last
	}
	u.last = a
	if !u.watched {
		u.watched = true
		time.AfterFunc(lookEvery, u.look)
	}
}

// remove reports whether a was under way.
func (u *underWay) remove(a *answer) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if a.sending.ended {
		return false
	}
	u.unlink(a)
	return true
}

// ended reports whether a is not under way any more.
func (u *underWay) ended(a *answer) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return a.sending.ended
}

func (u *underWay) unlink(a *answer) {
	s := &a.sending
	s.ended = true
	if s.prev == nil {
		u.first = s.next
	} else {
		s.prev.sending.next = s.next
	}
	if s.next == nil {
		u.last = s.prev
	} else {
		s.next.sending.prev = s.prev
	}
	s.prev, s.next = nil, nil
}

// look gives up those that nobody waits for, and comes again for as long as there are any.
func (u *underWay) look() {
	var over []*answer
	u.mu.Lock()
	now := time.Now()
	for a := u.first; a != nil; {
		next := a.sending.next
		if !a.until.After(now) {
			u.unlink(a)
			over = append(over, a)
		}
		a = next
	}
	if u.watched = u.first != nil; u.watched {
		time.AfterFunc(lookEvery, u.look)
	}
	u.mu.Unlock()
	for _, a := range over {
		a.finished(false)
	}
}
