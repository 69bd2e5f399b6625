package dlq

import "time"

// ErrCrash has a job end as a crash would end it.
var ErrCrash = errCrash

// Steps are where a job can be ended.
var Steps = []string{string(stepOpened), string(stepClaimed), string(stepRead), string(stepBegun), string(stepPublished), string(stepCommitted), string(stepOver)}

// At has r call a function at each step of a job.
func At(r *Redriver, at func(name string) error) {
	r.at = func(s step) error { return at(string(s)) }
}

// Pace has the rules of pace: how many records may go at a time, after so many went, and what
// became of them.
type Pace struct{ p pace }

// NewPace is one that begins at a time.
func NewPace(cfg ApplyConfig, at time.Time) *Pace {
	return &Pace{pace{rate: cfg.Rate, ramp: cfg.Ramp, canary: cfg.Canary, maxPending: cfg.MaxPending, since: at}}
}

// Go is how many go now.
func (p *Pace) Go(now time.Time, moved, handled, dead int64) (n int64, wait time.Duration) {
	n, wait, _ = p.p.allow(now, &Job{Moved: moved, Handled: handled, DeadAgain: dead})
	p.p.moved(n)
	return n, wait
}
