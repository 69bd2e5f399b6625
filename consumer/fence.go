package consumer

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
)

// fence keeps a member that the cluster cannot hear from starting handlers. Once
// SessionTimeout has passed since the last heartbeat that was answered, the
// group may have given its partitions to somebody else, and nobody can tell us:
// so nothing starts until a heartbeat is answered again. (kgo by itself goes on
// with what it has fetched.)
type fence struct {
	engine *engine
	heard  atomic.Int64 // unix ns at which the last answered heartbeat was sent
}

var _ kgo.HookBrokerE2E = (*fence)(nil)

// OnBrokerE2E sees every request to a broker once it is answered or has failed.
func (f *fence) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e2e kgo.BrokerE2E) {
	switch kmsg.Key(key) {
	case kmsg.Heartbeat, kmsg.JoinGroup, kmsg.SyncGroup, kmsg.ConsumerGroupHeartbeat:
	default:
		return
	}
	if e2e.Err() != nil {
		return
	}
	sent := time.Now().Add(-e2e.DurationE2E()).UnixNano()
	for {
		before := f.heard.Load()
		if sent <= before || f.heard.CompareAndSwap(before, sent) {
			return
		}
	}
}

func (f *fence) run(ctx context.Context) {
	session := f.engine.cfg.SessionTimeout
	timer := time.NewTimer(session)
	defer timer.Stop()
	up := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		silent := time.Since(time.Unix(0, f.heard.Load()))
		switch {
		case silent >= session && !up && f.engine.joined.Load():
			up = true
			f.raise()
		case silent < session && up:
			up = false
			f.lower()
		}
		if up {
			timer.Reset(100 * time.Millisecond)
		} else {
			timer.Reset(max(session-silent, time.Millisecond))
		}
	}
}

func (f *fence) raise() {
	e := f.engine
	e.log.Error("no heartbeat was answered for as long as a session lasts: nothing starts until one is")
	e.problems.set("", -1, duplex.StatusDisconnected, "no heartbeat was answered for "+e.cfg.SessionTimeout.String())
	e.mu.Lock()
	e.fenced = true
	e.mu.Unlock()
	for _, a := range e.all() {
		a.halt(haltFenced)
	}
}

func (f *fence) lower() {
	e := f.engine
	e.log.Info("heartbeats are answered again")
	e.problems.forget("", -1)
	e.mu.Lock()
	e.fenced = false
	e.mu.Unlock()
	for _, a := range e.all() {
		a.unhalt(haltFenced)
	}
}
