package demo

import (
	"context"
	"time"
)

// ask has the gate ask for quotes from now on, also for what left before, and one of the
// two instances that give them be killed within a call.
func (r *run) ask(ctx context.Context) error {
	if err := r.gate.open(ctx); err != nil {
		return err
	}
	shares, _ := r.fares.shares()
	r.story.tell("gate", "from %d minutes of delay: asks fares.Quote, waits %s; from %d minutes: %s", askFrom, hurried, calmFrom, patient)
	r.story.tell("fares", "2 instances share %d partitions: %s", Partitions, shares)
	for _, d := range r.cfg.Input[:r.second()] {
		r.gate.ask(ctx, d)
	}
	r.gate.opened = true
	calls := r.history.calls
	first, _ := calls.progress()
	if !await(ctx, func() bool { _, ended := calls.progress(); return ended >= first }) {
		return context.Cause(ctx)
	}
	r.story.tell("gate", "%s had left already: asked at once, %s answered", count(first), count(calls.answered()))
	if one, found := calls.tardy(); found {
		r.story.tell("gate", "%s→%s, %g minutes late: %s by %s, in %s ms", one.trip.Origin, one.trip.Destination, one.trip.Delay,
			dollars(one.fare.Cents), one.fare.By, digits(milliseconds(one.ended.Sub(one.asked))))
	}
	r.fares.y.doomed.Store(true)
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// takeover tells when the instance is killed, when the other has its partitions, and what
// became of calls in between.
func (r *run) takeover(ctx context.Context) {
	y := r.fares.y
	select {
	case <-y.dead:
	case <-ctx.Done():
		return
	}
	r.story.tell("fares", "y is KILLED with %d at work, and says no goodbye; its session lasts up to %s", y.caught, sessionTimeout)
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !await(bounded, r.fares.taken) {
		return
	}
	at := time.Now()
	calls := r.history.calls
	if !await(bounded, func() bool { return calls.between(y.killed, at).pending == 0 }) {
		return
	}
	o := calls.between(y.killed, at)
	r.story.tell("fares", "x has all partitions, %.1fs later: %s calls that wait are answered, %s of them run again: a quote is Safe",
		at.Sub(y.killed).Seconds(), count(o.answered), count(o.again))
	if len(o.errs) > 0 {
		r.story.tell("gate", "errors meanwhile: %s", o)
	}
}
