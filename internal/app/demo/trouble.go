package demo

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// Two airports are trouble: one whose departures take long, and one whose system is
// down for a while. Their records wait; nobody else's do.
const (
	slowOrigin   = "SEA"
	slowWork     = 150 * time.Millisecond
	brokenOrigin = "DEN"
)

// Failed departures are tried again soon, so that the story need not wait.
const retryMin, retryMax = 100 * time.Millisecond, 500 * time.Millisecond

var errDown = errors.New("demo: the system of " + brokenOrigin + " is down")

// trouble is what goes wrong at the moment.
type trouble struct {
	down     atomic.Bool
	attempts atomic.Int64 // of the departure that failed most often
}

// outage has the broken airport's system down from one mark to the next, and tells
// what that meant for it and for the others.
func (r *run) outage(ctx context.Context, at *marks) {
	<-at.quarter
	if ended(ctx) || !r.published(brokenOrigin) {
		return
	}
	trouble := &r.crew.trouble
	trouble.down.Store(true)
	began := time.Now()
	r.story.tell("outage", "the system of %s is down; %s takes %s for each departure", brokenOrigin, slowOrigin, slowWork)
	<-at.half
	waiting := r.history.unhandledOf(brokenOrigin)
	others, slowest := r.history.othersSince(began)
	r.story.tell("outage", "%s: %s wait in line, the first failed %s times; meanwhile %s of others, p99 %s ms", brokenOrigin,
		count(waiting), count(int(trouble.attempts.Load())), count(others), digits(slowest))
	trouble.down.Store(false)
	until := time.Now().Add(patience)
	for !ended(ctx) && time.Now().Before(until) && r.history.unhandledOf(brokenOrigin) > 0 {
		<-time.After(10 * time.Millisecond)
	}
	r.story.tell("outage", "%s is up: %s recovered, in their order", brokenOrigin, count(waiting))
}

// published reports whether the input has departures of the airport.
func (r *run) published(origin string) bool {
	for _, d := range r.cfg.Input {
		if d.Origin == origin {
			return true
		}
	}
	return false
}

// troubled reports whether records of the key are held up on purpose.
func troubled(key string) bool { return key == slowOrigin || key == brokenOrigin }

// unhandledOf counts the acknowledged records of a key that were not handled yet.
func (h *history) unhandledOf(key string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.sent {
		if s := &h.sent[i]; s.key == key && !s.ended.IsZero() && s.err == nil && !h.finished[s.at] {
			n++
		}
	}
	return n
}

// othersSince counts the records without trouble that were handled since then, and
// gives the milliseconds that 99 in 100 of them took at most since they were due.
func (h *history) othersSince(from time.Time) (n int, p99 float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ended := map[int]time.Time{}
	places := h.places()
	for _, run := range h.runs {
		if place, known := places[run.at]; known && run.ended.After(from) && !troubled(h.sent[place].key) {
			ended[place] = run.ended
		}
	}
	took := newLatency()
	for place, at := range ended {
		took.record(at.Sub(h.sent[place].due))
	}
	return len(ended), took.at(99)
}
