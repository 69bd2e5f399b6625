package rpc

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// pending are the calls under way, by the numbers of their correlation IDs. Whoever takes
// a call out ends it, so each ends once: its reply, its deadline, an error of sending, or
// the end of the client. The numbers of those that ended are kept for a while, so that
// what comes after can be told apart.
type pending struct {
	most   int
	n      atomic.Int64 // of calls
	shards [pendingShards]pendingShard
}

type pendingShard struct {
	mu    sync.Mutex
	calls map[number]*call
	// ended are those that ended since turned, before those of the time before that.
	// The value says whether a reply came.
	ended, before map[number]bool
	turned        time.Time
	_             [24]byte
}

const (
	pendingShards = 32
	// tombstone is for how long, at least, it is known that a call has ended;
	// mostTombstones bounds how many those are, in each shard.
	tombstone      = time.Minute
	mostTombstones = 4096
	// lookAtClock is how many calls end before it is looked whether the time is over.
	lookAtClock = 64
)

// call is one that is under way.
type call struct {
	number  number
	method  string
	request *outgoing // until it is sent
	to      ender
	state   callState // how far it is on its way out
	// topic and partition are where its request is, once it is partitioned.
	topic       string
	partition   int32
	partitioned atomic.Bool
}

// ender is told what came of a call. It must not wait.
type ender interface{ end(res result) }

// waiting is an ender: somebody waits. It has a capacity of 1.
type waiting chan result

func (w waiting) end(res result) { w <- res }

// result is how a call ends.
type result struct {
	reply *kgo.Record
	came  time.Time // when the reply did
	err   *Error
}

func (p *pending) shard(n number) *pendingShard { return &p.shards[n[0]%pendingShards] }

// add registers a call, before its request is sent. It reports false if there are too
// many.
func (p *pending) add(c *call) bool {
	if p.n.Add(1) > int64(p.most) {
		p.n.Add(-1)
		return false
	}
	s := p.shard(c.number)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == nil {
		s.calls = map[number]*call{}
	}
	s.calls[c.number] = c
	return true
}

// take takes a call out; nil if it has ended. replied says that a reply came.
func (p *pending) take(n number, replied bool) *call {
	s := p.shard(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls[n]
	if c == nil {
		return nil
	}
	delete(s.calls, n)
	p.n.Add(-1)
	if len(s.calls) == 0 {
		s.calls = nil // maps never shrink
	}
	s.bury(n, replied)
	return c
}

// bury notes that a call has ended.
func (s *pendingShard) bury(n number, replied bool) {
	if len(s.ended)%lookAtClock == 0 {
		if now := time.Now(); now.Sub(s.turned) >= tombstone || len(s.ended) >= mostTombstones {
			s.before, s.ended, s.turned = s.ended, nil, now
		}
	}
	if s.ended == nil {
		s.ended = map[number]bool{}
	}
	s.ended[n] = replied
}

// had reports whether a call of this number has ended, and whether it had a reply.
func (p *pending) had(n number) (ended, replied bool) {
	s := p.shard(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range []map[number]bool{s.ended, s.before} {
		if replied, ended = of[n]; ended {
			return true, replied
		}
	}
	return false, false
}

// all takes all calls out.
func (p *pending) all() (calls []*call) {
	for i := range p.shards {
		s := &p.shards[i]
		s.mu.Lock()
		for n, c := range s.calls {
			calls = append(calls, c)
			s.bury(n, false)
		}
		p.n.Add(-int64(len(s.calls)))
		s.calls = nil
		s.mu.Unlock()
	}
	return calls
}
