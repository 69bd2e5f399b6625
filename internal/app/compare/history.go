package compare

import (
	"sync"
	"time"
)

// history is what was recorded of one phase.
type history struct {
	mu     sync.Mutex
	units  []unit
	strays int // runs and letters of trips that are not of the phase
	ended  int // units whose work ended, well or as a dead letter
}

// unit is one trip on its way. Its place in history.units is its number.
type unit struct {
	due      time.Time
	began    time.Time // when its caller handed it over
	released time.Time // when its caller was free again; zero before
	want     Booking
	answer   Booking
	err      error
	runs     []run
	letters  int // dead letters
}

// run is one run of the desk's function.
type run struct {
	began, ended time.Time // ended is zero while it runs
	err          error
}

// begin notes a trip that was due at a time, and gives it with its number, and what to
// do when its caller is free.
func (h *history) begin(due time.Time, t Trip) (_ Trip, released func(Booking, error)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	number := len(h.units)
	t.Number = number
	h.units = append(h.units, unit{due: due, began: time.Now(), want: bookingOf(t)})
	return t, func(answer Booking, err error) {
		now := time.Now()
		h.mu.Lock()
		defer h.mu.Unlock()
		u := &h.units[number]
		u.released, u.answer, u.err = now, answer, err
	}
}

// run notes the begin of a run and gives which it is, from 1, and what to do at its end.
func (h *history) run(number int) (attempt int, end func(error)) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if number < 0 || number >= len(h.units) {
		h.strays++
		return 1, func(error) {}
	}
	u := &h.units[number]
	place := len(u.runs)
	u.runs = append(u.runs, run{began: now})
	return place + 1, func(err error) {
		now := time.Now()
		h.mu.Lock()
		defer h.mu.Unlock()
		u := &h.units[number]
		if err == nil && !u.over() {
			h.ended++
		}
		u.runs[place].ended, u.runs[place].err = now, err
	}
}

// died notes a dead letter.
func (h *history) died(number int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if number < 0 || number >= len(h.units) {
		h.strays++
		return
	}
	u := &h.units[number]
	if !u.over() {
		h.ended++
	}
	u.letters++
}

// over reports whether the unit's work has ended.
func (u *unit) over() bool {
	_, well := u.handled()
	return well || u.letters > 0
}

// handled is when the unit's work was done first.
func (u *unit) handled() (at time.Time, well bool) {
	for _, r := range u.runs {
		if !r.ended.IsZero() && r.err == nil && (!well || r.ended.Before(at)) {
			at, well = r.ended, true
		}
	}
	return at, well
}

// well counts the runs that ended well.
func (u *unit) well() (n int) {
	for _, r := range u.runs {
		if !r.ended.IsZero() && r.err == nil {
			n++
		}
	}
	return n
}

// progress counts the units that callers got rid of, and those whose work has ended.
func (h *history) progress() (accepted, ended int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.units {
		if !h.units[i].released.IsZero() && h.units[i].err == nil {
			accepted++
		}
	}
	return accepted, h.ended
}

// all is a copy of what there is.
func (h *history) all() (units []unit, strays int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	units = make([]unit, len(h.units))
	for i, u := range h.units {
		u.runs = append([]run(nil), u.runs...)
		units[i] = u
	}
	return units, h.strays
}
