package demo

import (
	"context"
	"slices"
	"strings"
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

// letters tells of the dead letters, once there are as many as lines were damaged.
func (r *run) letters(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if len(r.damaged) == 0 || !await(ctx, func() bool { return r.history.buried() >= len(r.damaged) }) {
		return
	}
	causes := r.history.causes()
	for _, c := range causes {
		r.story.tell("dead", "%s × %s, %s%s", count(c.letters), c.reason, c.fingerprint, one(len(causes)))
		r.story.tell("dead", "%s", c.why())
	}
}

// one says so when all dead letters have one cause.
func one(causes int) string {
	if causes == 1 {
		return " (one cause)"
	}
	return ""
}

// cause is what dead letters of one fingerprint have in common.
type cause struct {
	letters                      int
	reason, fingerprint, message string
}

// why is the message without what Duplex says in front of the cause.
func (c cause) why() string {
	if _, why, found := strings.Cut(c.message, c.reason+": "); found {
		return why
	}
	return c.message
}

// causes groups the dead letters by their fingerprints.
func (h *history) causes() (all []cause) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.letters {
		i := slices.IndexFunc(all, func(c cause) bool { return c.fingerprint == l.fingerprint })
		if i < 0 {
			i, all = len(all), append(all, cause{reason: l.reason, fingerprint: l.fingerprint, message: l.message})
		}
		all[i].letters++
	}
	return all
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
