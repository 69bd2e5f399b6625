package dlq

import (
	"math"
	"time"
)

// pace says how many records a job may publish now, and how long it has to wait where it
// may none.
type pace struct {
	rate       float64 // records a second, 0 is no limit
	ramp       time.Duration
	canary     int64
	maxPending int64

	since time.Time // of the rate, as it is
	sent  float64   // since then, and what it was not used for
}

const (
	// mostAtOnce and mostBytes bound a transaction, so that it takes less than half a second:
	// readers wait behind it.
	mostAtOnce, mostBytes = 4000, 8 << 20
	// glance is how long a job waits until it looks again.
	glance = 200 * time.Millisecond
	// grain is how much time's worth of records go together, where they are held back: each
	// transaction costs something.
	grain = 100 * time.Millisecond
	// catchUp is how much time's worth of records may follow at once, where for a while none
	// could go.
	catchUp = time.Second
)

// set changes the rate.
func (p *pace) set(rate float64, now time.Time) {
	p.rate, p.since, p.sent, p.ramp = rate, now, 0, 0
}

// allow says how many records may go now; if none, how long to wait before it is asked
// again, and what for.
func (p *pace) allow(now time.Time, j *Job) (n int64, wait time.Duration, why string) {
	n = mostAtOnce
	if p.canary > 0 {
		if j.Moved < p.canary {
			n = min(n, p.canary-j.Moved)
		} else if j.Handled+j.DeadAgain < p.canary {
			return 0, glance, "the outcomes of the first records"
		}
	}
	if p.maxPending > 0 {
		if n = min(n, p.maxPending-j.Pending()); n <= 0 {
			return 0, glance, "outcomes: as many records as may be are pending"
		}
	}
	if p.rate <= 0 {
		return n, 0, ""
	}
	if p.since.IsZero() {
		p.since = now
	}
	due := p.due(now.Sub(p.since)) - p.sent
	if unused := due - max(1, p.rate*catchUp.Seconds()); unused > 0 { // after a pause, or a wait for outcomes
		due, p.sent = due-unused, p.sent+unused
	}
	want := max(1, min(math.Floor(p.rate*grain.Seconds()), float64(n)))
	if due < want {
		return 0, min(max(time.Duration((want-due)/p.rate*float64(time.Second)), time.Millisecond), glance), ""
	}
	return min(n, int64(due)), 0, ""
}

// due is how many records may have gone after so long. With a ramp, the rate rises from a
// tenth to all of it.
func (p *pace) due(after time.Duration) float64 {
	t := after.Seconds()
	if p.ramp <= 0 {
		return p.rate * t
	}
	ramp := p.ramp.Seconds()
	within := min(t, ramp)
	least := p.rate / 10
	return least*within + (p.rate-least)*within*within/(2*ramp) + p.rate*(t-within)
}

// moved counts records that went.
func (p *pace) moved(n int64) { p.sent += float64(n) }
