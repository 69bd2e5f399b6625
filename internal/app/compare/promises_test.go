package compare

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/rpc"
)

var errAny = errors.New("any")

// told is a trip whose caller was free after so long, and whose work ran as the runs say.
func told(after time.Duration, err error, runs ...error) unit {
	began := time.Now()
	u := unit{due: began, began: began, released: began.Add(after), want: Booking{Reference: "right"}, err: err}
	if err == nil {
		u.answer = u.want
	}
	for i, err := range runs {
		at := began.Add(time.Duration(i) * time.Millisecond)
		u.runs = append(u.runs, run{began: at, ended: at.Add(time.Millisecond), err: err})
	}
	return u
}

func with(u unit, change func(u *unit)) unit {
	change(&u)
	return u
}

func ended(code rpc.Code, executed rpc.Executed) error {
	return &rpc.Error{Code: code, Executed: executed}
}

// Each promise that is checked must be found broken, and nothing else with it.
func TestBrokenPromisesAreFound(t *testing.T) {
	t.Parallel()
	const soon = time.Millisecond
	never, maybe, completed := ended(rpc.Unavailable, rpc.Never), ended(rpc.DeadlineExceeded, rpc.Maybe), ended(rpc.NotFound, rpc.Completed)
	another := func(u *unit) { u.answer.Reference = "another" }
	letter := func(u *unit) { u.letters++ }
	for name, test := range map[string]struct {
		form, scenario string
		unit           unit
		wrong          string
	}{
		"answered":                      {asCalls, normal, told(soon, nil, nil), ""},
		"an error of the handler":       {asCalls, normal, told(soon, completed, errAny), ""},
		"never, and did not run":        {asCalls, normal, told(soon, never), ""},
		"maybe, and did not run":        {asCalls, normal, told(deadline, maybe), ""},
		"maybe, and ran":                {asCalls, normal, told(deadline, maybe, nil), ""},
		"a little late":                 {asCalls, normal, told(deadline+overdue/2, maybe), ""},
		"nobody told its caller":        {asCalls, normal, with(told(soon, nil, nil), func(u *unit) { u.released = time.Time{} }), neverReleased},
		"far too late":                  {asCalls, normal, told(deadline+overdue+soon, maybe), endedLate},
		"another's answer":              {asCalls, normal, with(told(soon, nil, nil), another), answeredWrong},
		"an answer without work":        {asCalls, normal, told(soon, nil), answeredWrong},
		"an answer without work's end":  {asCalls, normal, told(soon, nil, errAny), answeredWrong},
		"never, and ran":                {asCalls, normal, told(soon, never, nil), neverButRan},
		"never, and failed":             {asCalls, normal, told(soon, never, errAny), neverButRan},
		"completed, and did not run":    {asCalls, normal, told(soon, completed), ranNot},
		"ran twice":                     {asCalls, normal, told(soon, nil, nil, nil), calledTwice},
		"ran twice in an outage":        {asCalls, dead, told(soon, nil, errAny, nil), calledTwice},
		"handled":                       {asEvents, normal, told(soon, nil, nil), ""},
		"handled in the end":            {asEvents, failing, told(soon, nil, errAny, nil), ""},
		"a dead letter":                 {asEvents, failing, with(told(soon, nil, errAny, errAny), letter), ""},
		"handled twice after a crash":   {asEvents, dead, told(soon, nil, nil, nil), ""},
		"nobody told its publisher":     {asEvents, normal, with(told(soon, nil, nil), func(u *unit) { u.released = time.Time{} }), neverReleased},
		"not stored":                    {asEvents, normal, told(soon, errAny), notStored},
		"not handled":                   {asEvents, normal, told(soon, nil), lost},
		"failed, and nothing after":     {asEvents, failing, told(soon, nil, errAny), lost},
		"not handled after a crash":     {asEvents, dead, told(soon, nil), lost},
		"handled and a dead letter":     {asEvents, failing, with(told(soon, nil, errAny, nil), letter), handledAndDead},
		"handled twice":                 {asEvents, normal, told(soon, nil, nil, nil), repeatedly},
		"two dead letters":              {asEvents, failing, with(with(told(soon, nil, errAny), letter), letter), repeatedly},
		"a dead letter without failure": {asEvents, normal, with(told(soon, nil), letter), buriedAlive},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPhase(scenario{name: test.scenario}, test.form)
			p.history.units = []unit{told(soon, nil, nil), test.unit}
			if test.wrong == "" {
				require.Empty(t, p.broken())
				return
			}
			require.Equal(t, []string{test.scenario + ", " + test.form + ": 1 of 2 " + test.wrong}, p.broken())
		})
	}
}

func TestWhatBelongsToNoTripIsFound(t *testing.T) {
	t.Parallel()
	for name, stray := range map[string]func(h *history){
		"a run":         func(h *history) { _, end := h.run(1); end(nil) },
		"a run below 0": func(h *history) { _, end := h.run(-1); end(nil) },
		"a dead letter": func(h *history) { h.died(1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPhase(scenario{name: normal}, asCalls)
			p.history.units = []unit{told(0, nil, nil)}
			require.Empty(t, p.broken())
			stray(p.history)
			require.Equal(t, []string{"normal, calls: 1 of 1 belong to no trip"}, p.broken())
		})
	}
}

// What happens after a scenario was looked at counts, too.
func TestARunThatComesLateIsFound(t *testing.T) {
	t.Parallel()
	p := newPhase(scenario{name: burst}, asCalls)
	trip, released := p.history.begin(time.Now(), Trip{Origin: "LAX"})
	released(Booking{}, ended(rpc.ResourceExhausted, rpc.Never))
	require.Equal(t, 1, p.measure().Units)
	require.Empty(t, p.broken())
	_, end := p.history.run(trip.Number)
	require.Len(t, p.broken(), 1, "it has begun")
	end(nil)
	require.Equal(t, []string{"burst, calls: 1 of 1 " + neverButRan}, p.broken())
}

func TestSumsThatDoNotAddUpAreBroken(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		calls, events Figures
		says          string
	}{
		"all well": {Figures{Units: 3, Accepted: 2, Errors: map[string]int{"a": 1}}, Figures{Units: 4, Handled: 2, Dead: 1, Errors: map[string]int{"b": 1}}, ""},
		"a call that has no end": {Figures{Units: 3, Accepted: 2}, Figures{},
			"calls do not add up: 3, answered 2, errors 0"},
		"a call that has two": {Figures{Units: 3, Accepted: 3, Errors: map[string]int{"a": 1}}, Figures{},
			"calls do not add up: 3, answered 3, errors 1"},
		"an event that has no end": {Figures{}, Figures{Units: 4, Handled: 3},
			"events do not add up: 4, handled 3, dead 0, not stored 0"},
		"an event that has two": {Figures{}, Figures{Units: 4, Handled: 4, Dead: 1},
			"events do not add up: 4, handled 4, dead 1, not stored 0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := Report{Scenarios: []Measured{{Name: normal, Calls: test.calls, Events: test.events}}}
			r.conclude(Names{})
			require.Equal(t, test.says == "", r.OK())
			if test.says != "" {
				require.Equal(t, []string{test.says}, r.Broken)
			}
		})
	}
}
