package demo

import (
	"context"
	"time"
)

// outage is how long the booking service and the broken airport's system are down.
const outage = 2 * time.Second

// goDown has both systems down.
func (r *run) goDown() {
	r.desk.booking.down.Store(true)
	r.crew.down.Store(true)
	r.story.tell("booking", "%s rebooked; now the service is DOWN, and so is the system of %s", count(int(r.desk.booking.booked.Load())), brokenOrigin)
}

// comeBack has both systems up again after a while, and tells what their outage meant
// for what needs them and for everything else.
func (r *run) comeBack(ctx context.Context) {
	began := time.Now()
	select {
	case <-time.After(outage):
	case <-ctx.Done():
	}
	held := r.history.unhandledOf(brokenOrigin)
	others, slowest := r.history.othersSince(began)
	waiting := r.history.waiting()
	r.desk.booking.down.Store(false)
	r.crew.down.Store(false)
	if ended(ctx) {
		return
	}
	if held > 0 {
		r.story.tell("board", "%s: %s wait in line, the first failed %s times; meanwhile %s of others, p99 %s ms", brokenOrigin,
			count(held), count(int(r.crew.attempts.Load())), count(others), digits(slowest))
	}
	r.story.tell("retry", "%s rebookings wait: %s", count(waiting), delays)
	r.story.tell("booking", "UP, and %s too", brokenOrigin)
	r.recoveries(ctx, held)
}

// recoveries tells when what waited in line on the board is handled, and what waited
// in retry topics.
func (r *run) recoveries(ctx context.Context, held int) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if await(ctx, func() bool { return r.history.unhandledOf(brokenOrigin) == 0 }) && held > 0 {
		r.story.tell("board", "%s: %s recovered, %s out of order", brokenOrigin, count(held), count(r.history.disorder()))
	}
	if await(ctx, func() bool { return r.history.waiting() == 0 }) {
		recovered, attempts := r.history.recovered()
		r.story.tell("retry", "%s recovered, after at most %s attempts", count(recovered), count(attempts))
	}
}

// troubled reports whether records of the key are held up on purpose.
func troubled(key string) bool { return key == slowOrigin || key == brokenOrigin }

// unhandledOf counts the acknowledged records of a key that are not on the board
// yet.
func (h *history) unhandledOf(key string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.sent {
		if s := &h.sent[i]; s.key == key && !s.ended.IsZero() && s.err == nil && !h.boards.finished[s.at] {
			n++
		}
	}
	return n
}

// othersSince counts the records without trouble that went to the board since then,
// and gives the milliseconds that 99 in 100 of them took at most since they were due.
func (h *history) othersSince(from time.Time) (n int, p99 float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ended := map[int]time.Time{}
	places := h.places()
	for _, e := range h.boards.endings {
		if place, known := places[e.at]; known && e.when.After(from) && !troubled(h.sent[place].key) {
			ended[place] = e.when
		}
	}
	took := newLatency()
	for place, at := range ended {
		took.record(at.Sub(h.sent[place].due))
	}
	return len(ended), took.at(99)
}
