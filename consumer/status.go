package consumer

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/duplex-go/duplex"
)

// Status returns a snapshot. Counts are handled, failed (attempts that did), retried
// (of those, the ones that another attempt follows: in its place, or in a retry topic
// that has acknowledged the record), recovered (records that were handled after they
// had failed), dead (dead letters, acknowledged), moved (everything that the policy
// for failures published, acknowledged), snoozed, dropped, late_completions (results
// that came after the partition was gone, and were ignored), commits, rebalances and
// pauses.
func (c *Consumer) Status() duplex.Status {
	s := duplex.Status{
		Component: "consumer", Name: c.cfg.Group,
		Counts: map[string]int64{
			"handled": c.counts.handled.Load(), "failed": c.counts.failed.Load(), "retried": c.counts.retried.Load(), "recovered": c.counts.recovered.Load(),
			"dead": c.counts.dead.Load(), "moved": c.counts.moved.Load(), "snoozed": c.counts.snoozed.Load(),
			"dropped": c.counts.dropped.Load(), "late_completions": c.counts.late.Load(), "commits": c.counts.commits.Load(),
			"rebalances": c.counts.rebalances.Load(),
		},
	}
	c.mu.Lock()
	e, ended := c.engine, c.ended
	c.mu.Unlock()
	switch {
	case ended:
		s.SetProblems(duplex.Problem{Code: duplex.StatusClosed, Detail: "Run has returned"})
	case e == nil:
		s.SetProblems(duplex.Problem{Code: duplex.StatusJoining, Detail: "not yet in the group"})
	default:
		s.Counts["pauses"] = e.flow.paused.Load()
		e.describe(&s)
	}
	return s
}

func (e *engine) describe(s *duplex.Status) {
	found := e.problems.list()
	if e.stopping.Load() {
		found = append(found, duplex.Problem{Code: duplex.StatusStopping, Detail: "draining, then leaving the group"})
	} else if !e.joined.Load() {
		found = append(found, duplex.Problem{Code: duplex.StatusJoining, Detail: "not yet in the group"})
	}
	for _, a := range e.all() {
		p, problem := a.status()
		s.Partitions = append(s.Partitions, p)
		if problem.Code != "" {
			problem.Subject = subject(a.topic, a.partition)
			found = append(found, problem)
		}
	}
	found = append(found, e.stuckHandlers()...)
	if e.chain != nil {
		found = append(found, e.chain.Problems()...)
	}
	slices.SortFunc(s.Partitions, func(a, b duplex.PartitionStatus) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	slices.SortStableFunc(found, func(a, b duplex.Problem) int { return cmp.Compare(a.Detail, b.Detail) })
	s.SetProblems(found...)
}

func (e *engine) stuckHandlers() []duplex.Problem {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var found []duplex.Problem
	for at, a := range e.ghosts {
		a.mu.Lock()
		if n := a.running; n > 0 {
			found = append(found, duplex.Problem{
				Code: duplex.StatusHandlerStuck, Subject: subject(at.topic, at.partition),
				Detail: fmt.Sprintf("%s/%d: %d handlers of a former assignment were told to stop and have not returned, %s after it ended",
					at.topic, at.partition, n, time.Duration(a.engine.clock()-a.ended).Round(time.Second)),
			})
		}
		a.mu.Unlock()
	}
	return found
}

func (a *assignment) status() (duplex.PartitionStatus, duplex.Problem) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle()
	now := a.engine.clock()
	p := duplex.PartitionStatus{
		Topic: a.topic, Partition: a.partition, Source: a.handler.source, NextDue: a.nextDue(), Committed: a.committed, Watermark: a.ledger.Watermark(), Frontier: a.read,
		End: a.end, Loaded: a.loaded, Paused: a.paused || a.over, Running: a.running, Lanes: a.lanes.n, Waiting: a.waiting,
	}
	if a.end >= 0 {
		p.Lag = max(0, a.end-p.Watermark)
	}
	if oldest := a.oldestBegan(); oldest > 0 {
		p.OldestRunning = time.Duration(now - oldest)
	}
	failed := a.firstFailed()
	if failed != nil {
		p.Attempt, p.RetryAt, p.LastError = int(failed.attempt), failed.retryAt(), failed.lastErr.Error()
	}
	if detail := a.stuckHop(now); detail != "" {
		return p, duplex.Problem{Code: duplex.StatusDLQUnavailable, Detail: detail}
	}
	if a.halts.Load()&haltPaused != 0 {
		return p, duplex.Problem{Code: duplex.StatusPausedByOperator, Detail: fmt.Sprintf("%s/%d: paused by Pause", a.topic, a.partition)}
	}
	cfg, stood := &a.engine.cfg, time.Duration(now-a.moved)
	switch long := stood > cfg.StallAfter && !a.waitsForDue(); {
	case cfg.HandlerTimeout > 0 && p.OldestRunning > cfg.HandlerTimeout+cancelGrace:
		return p, duplex.Problem{Code: duplex.StatusHandlerStuck, Detail: fmt.Sprintf(
			"%s/%d: a handler has been at work for %s and does not return, its context has been cancelled for %s", a.topic, a.partition,
			p.OldestRunning.Round(time.Second), (p.OldestRunning - cfg.HandlerTimeout).Round(time.Second))}
	case long && a.loaded > 0 && a.blocked():
		return p, duplex.Problem{Code: duplex.StatusHeadOfLineBlocked, Detail: fmt.Sprintf(
			"%s/%d: %s holds up %d loaded records for %s", a.topic, a.partition, a.blocker(), p.Loaded, stood.Round(time.Second))}
	case failed != nil:
		more := ""
		if a.waiting > 1 {
			more = fmt.Sprintf(", and %d others wait", a.waiting-1)
		}
		return p, duplex.Problem{Code: duplex.StatusRetrying, Detail: fmt.Sprintf(
			"%s/%d: offset %d waits for attempt %d: %v%s", a.topic, a.partition, failed.head.record.Offset, p.Attempt, failed.lastErr, more)}
	case long && p.Lag > 0 && a.halts.Load() == haltUnmarked:
		return p, duplex.Problem{Code: duplex.StatusStalled, Detail: fmt.Sprintf(
			"%s/%d: nothing starts before the first commit is acknowledged, which it was not for %s", a.topic, a.partition, stood.Round(time.Second))}
	case long && p.Lag > 0 && a.halts.Load() == 0:
		return p, duplex.Problem{Code: duplex.StatusStalled, Detail: fmt.Sprintf(
			"%s/%d: nothing was finished for %s, %d records behind; %d loaded, %d handlers at work, the oldest for %s", a.topic, a.partition,
			stood.Round(time.Second), p.Lag, p.Loaded, p.Running, p.OldestRunning.Round(time.Second))}
	}
	return p, duplex.Problem{}
}

// blocked reports whether an unfinished record keeps others from being fetched, or
// from starting.
func (a *assignment) blocked() bool {
	return a.paused || a.over || (a.queue.len() > 0 && a.chunk == nil && !a.gateOpen())
}

// oldestBegan is when the handler that has been at work for longest began, 0 if
// none is.
func (a *assignment) oldestBegan() (oldest int64) {
	if t := a.chunk; t != nil {
		if oldest = t.seenAt; a.handler.batch != nil {
			oldest = t.began
		}
	}
	for l := a.lanes.first; l != nil; l = l.next {
		if l.state == laneRunning && (oldest == 0 || l.began < oldest) {
			oldest = l.began
		}
	}
	return oldest
}

// waitsForDue reports whether the next record of a retry topic is not due yet, so
// that there is nothing to do. The mutex is held.
func (a *assignment) waitsForDue() bool {
	return a.lanes.n == 0 && time.Now().Before(a.nextDue())
}

// nextDue is when the first record of a retry topic is due that did not start, zero
// if none is loaded. The mutex is held.
func (a *assignment) nextDue() (at time.Time) {
	if a.chained && a.queue.len() > 0 {
		at = a.arrived(a.queue.head()).Due
	}
	return at
}

// firstFailed is the lane whose failed head has the lowest offset, nil if none
// has failed.
func (a *assignment) firstFailed() (first *lane) {
	for l := a.lanes.first; l != nil; l = l.next {
		if l.failed() && (first == nil || l.head.record.Offset < first.head.record.Offset) {
			first = l
		}
	}
	return first
}

// blocker names the record that holds the watermark back.
func (a *assignment) blocker() string {
	offset := a.ledger.Watermark()
	if t := a.chunk; t != nil && t.queue.len() > 0 && t.queue.head().Offset == offset {
		return fmt.Sprintf("offset %d, key %q,", offset, cut(t.queue.head().Key))
	}
	for l := a.lanes.first; l != nil; l = l.next {
		if l.head.record.Offset != offset {
			continue
		}
		doing := fmt.Sprintf("waits for attempt %d", l.attempt)
		if l.state == laneRunning {
			doing = fmt.Sprintf("has been at work for %s", time.Duration(a.engine.clock()-l.began).Round(time.Millisecond))
		}
		return fmt.Sprintf("offset %d, key %q, %s and", offset, cut(l.head.record.Key), doing)
	}
	return fmt.Sprintf("offset %d", offset)
}

func subject(topic string, partition int32) string {
	if partition < 0 {
		return topic
	}
	return fmt.Sprintf("%s/%d", topic, partition)
}

func cut(key []byte) []byte { return key[:min(len(key), 80)] }

// problems are what polls and the group reported, by partition; partition −1 of
// no topic is the group itself.
type problems struct {
	mu    sync.Mutex
	found map[place]duplex.Problem
}

func (p *problems) set(topic string, partition int32, code duplex.StatusCode, detail string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found == nil {
		p.found = map[place]duplex.Problem{}
	}
	p.found[place{topic, partition}] = duplex.Problem{Code: code, Subject: subject(topic, partition), Detail: detail}
}

// clear takes back what a poll reported; lost data stays known until the
// partition is given up.
func (p *problems) clear(topic string, partition int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch at := (place{topic, partition}); p.found[at].Code {
	case duplex.StatusDataLost, duplex.StatusRetryDataLost:
	default:
		delete(p.found, at)
	}
}

// forget takes a problem back whatever it is.
func (p *problems) forget(topic string, partition int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.found, place{topic, partition})
}

func (p *problems) list() []duplex.Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]duplex.Problem, 0, len(p.found))
	for _, problem := range p.found {
		list = append(list, problem)
	}
	return list
}
