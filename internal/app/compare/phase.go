package compare

import (
	"cmp"
	"slices"
	"time"

	"github.com/duplex-go/duplex/rpc"
)

// The forms, by their names.
const (
	asCalls  = "calls"
	asEvents = "events"
)

// phase is one scenario in one form.
type phase struct {
	form     string
	scenario scenario
	history  *history
	spent    reading   // what it took on the wire
	killed   time.Time // of an outage: when the server died
	back     time.Time // and when another one had all partitions
}

func newPhase(s scenario, form string) *phase {
	return &phase{form: form, scenario: s, history: &history{}}
}

func (p *phase) name() string { return p.scenario.name + "/" + p.form }

// measure computes the figures of a phase from what was recorded.
func (p *phase) measure() Figures {
	units, strays := p.history.all()
	f := Figures{Units: len(units), Strays: strays, WireBytes: p.spent.bytes, RecordsByTopic: p.spent.records, Errors: map[string]int{}}
	for _, n := range p.spent.records {
		f.Records += n
	}
	var blocked, done, failed, recovered []time.Duration
	for i := range units {
		u := &units[i]
		f.add(p.form, u)
		if !u.released.IsZero() {
			blocked = append(blocked, u.released.Sub(u.due))
			if u.err != nil {
				failed = append(failed, u.released.Sub(u.due))
			}
		}
		if at, well := u.handled(); well {
			done = append(done, at.Sub(u.due))
			if len(u.runs) > u.well() {
				recovered = append(recovered, at.Sub(u.due))
			}
		}
	}
	f.Blocked, f.Done, f.Failed, f.Recovery = latencyOf(blocked), latencyOf(done), latencyOf(failed), latencyOf(recovered)
	f.Recovered = len(recovered)
	for _, d := range blocked {
		f.BlockedSeconds += d.Seconds()
	}
	f.MostCallers, f.MostHandlers, f.MostWaiting = peaks(units)
	f.DrainSeconds = drain(units)
	return f
}

// add counts one unit.
func (f *Figures) add(form string, u *unit) {
	_, well := u.handled()
	switch {
	case u.released.IsZero():
		f.Unreleased++
	case u.err != nil:
		f.Errors[nameOf(form, u.err)]++
	default:
		f.Accepted++
	}
	if well {
		f.Handled++
	}
	if u.letters > 0 {
		f.Dead++
	}
	if !well && u.letters == 0 && !u.released.IsZero() && u.err == nil {
		f.Waiting++
	}
	f.Repeated += max(u.well()-1, 0)
	for _, r := range u.runs {
		if r.err != nil {
			f.FailedRuns++
		}
	}
	if form != asCalls || u.err == nil {
		return
	}
	if len(u.runs) > 0 && rpc.CodeOf(u.err) == rpc.DeadlineExceeded {
		f.InVain++
	}
	if len(u.runs) > 0 && rpc.ExecutedOf(u.err) == rpc.Maybe {
		f.MaybeRan++
	}
}

// nameOf is how figures call an error.
func nameOf(form string, err error) string {
	if form == asEvents {
		return "not stored"
	}
	return string(rpc.CodeOf(err)) + ", " + string(rpc.ExecutedOf(err))
}

// latencyOf are percentiles of durations.
func latencyOf(all []time.Duration) Latency {
	if len(all) == 0 {
		return Latency{}
	}
	slices.Sort(all)
	at := func(percent int) float64 {
		place := (len(all)*percent+99)/100 - 1
		return milliseconds(all[max(place, 0)])
	}
	return Latency{P50: at(50), P99: at(99), Most: at(100)}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// step is one more of something, or one less.
type step struct {
	at time.Time
	by int
}

// highest is the most that there was at once.
func highest(steps []step) (most int) {
	slices.SortFunc(steps, func(a, b step) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.by, b.by)) })
	n := 0
	for _, s := range steps {
		n += s.by
		most = max(most, n)
	}
	return most
}

// peaks are how many callers waited at once, how many handlers ran, and for how many
// trips callers were free again whose work had not begun: those wait in Kafka.
func peaks(units []unit) (callers, handlers, waiting int) {
	var blocked, running, queued []step
	for i := range units {
		u := &units[i]
		if !u.released.IsZero() {
			blocked = append(blocked, step{u.began, 1}, step{u.released, -1})
		}
		for _, r := range u.runs {
			running = append(running, step{r.began, 1})
			if !r.ended.IsZero() {
				running = append(running, step{r.ended, -1})
			}
		}
		if u.released.IsZero() || u.err != nil || len(u.runs) == 0 || !u.runs[0].began.After(u.released) {
			continue
		}
		queued = append(queued, step{u.released, 1}, step{u.runs[0].began, -1})
	}
	return highest(blocked), highest(running), highest(queued)
}

// drain is how long the work went on after the last trip was due.
func drain(units []unit) float64 {
	var due, done time.Time
	for i := range units {
		u := &units[i]
		if u.due.After(due) {
			due = u.due
		}
		for _, r := range u.runs {
			if r.ended.After(done) {
				done = r.ended
			}
		}
	}
	return max(done.Sub(due).Seconds(), 0)
}

// outage computes what was while the server was dead.
func (p *phase) outage() Outage {
	units, _ := p.history.all()
	o := Outage{Seconds: p.back.Sub(p.killed).Seconds(), Errors: map[string]int{}}
	var refused, unknown, stored []time.Duration
	for i := range units {
		u := &units[i]
		if u.due.Before(p.killed) || !u.due.Before(p.back) || u.released.IsZero() {
			continue
		}
		o.Units++
		took := u.released.Sub(u.due)
		switch {
		case u.err == nil:
			o.Accepted++
			stored = append(stored, took)
		case p.form == asCalls && rpc.ExecutedOf(u.err) == rpc.Never:
			refused = append(refused, took)
			if since := u.due.Sub(p.killed).Seconds(); o.Refused == 0 || since < o.RefusedFrom {
				o.RefusedFrom = since
			}
			o.Refused++
		default:
			unknown = append(unknown, took)
		}
		if u.err != nil {
			o.Errors[nameOf(p.form, u.err)]++
		}
		if at, well := u.handled(); well {
			o.Handled++
			o.LastAfterBack = max(o.LastAfterBack, at.Sub(p.back).Seconds())
		}
	}
	o.Unknown = len(unknown)
	o.BlockedRefused, o.BlockedUnknown, o.BlockedAccepted = latencyOf(refused), latencyOf(unknown), latencyOf(stored)
	return o
}
