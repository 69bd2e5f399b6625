package compare

import "fmt"

// Report is what was measured, and what follows from it. It prints as one JSON object.
type Report struct {
	// Broker says where it was, Records how many trips the burst had.
	Broker  string  `json:"broker"`
	Records int     `json:"records"`
	Seconds float64 `json:"seconds"`
	// Scenarios are the figures, Code is what a program has to say for either form.
	Scenarios []Measured `json:"scenarios"`
	Code      Code       `json:"code"`
	// Table are the differences, Choose the sentences on when to choose which.
	Table  []Row    `json:"table"`
	Choose []string `json:"choose"`
	// Totals add everything up, for each form.
	Totals Totals `json:"totals"`
	// Broken has a sentence for each promise that was not kept.
	Broken []string `json:"broken"`
}

// Measured is one scenario, done both ways.
type Measured struct {
	Name   string  `json:"name"`
	About  string  `json:"about"`
	Calls  Figures `json:"calls"`
	Events Figures `json:"events"`
	// Outage is set where the server died.
	Outage *Outages `json:"outage,omitempty"`
}

// Outages are the same outage for both forms.
type Outages struct {
	Calls  Outage `json:"calls"`
	Events Outage `json:"events"`
}

// Totals are sums over all scenarios. Calls is Answered and Errors; Events is Handled,
// Dead and NotStored.
type Totals struct {
	Calls     int `json:"calls"`
	Answered  int `json:"answered"`
	Errors    int `json:"errors"`
	Events    int `json:"events"`
	Handled   int `json:"handled"`
	Dead      int `json:"dead"`
	NotStored int `json:"not_stored"`
}

// OK reports whether all promises were kept.
func (r Report) OK() bool { return len(r.Broken) == 0 }

// of gives the figures of a scenario.
func (r Report) of(name string) Measured {
	for _, m := range r.Scenarios {
		if m.Name == name {
			return m
		}
	}
	return Measured{}
}

// conclude adds up, and chooses the sentences.
func (r *Report) conclude(names Names) {
	t := &r.Totals
	for _, m := range r.Scenarios {
		t.Calls += m.Calls.Units
		t.Answered += m.Calls.Accepted
		t.Errors += m.Calls.failed()
		t.Events += m.Events.Units
		t.Handled += m.Events.Handled
		t.Dead += m.Events.Dead
		t.NotStored += m.Events.failed()
	}
	if t.Calls != t.Answered+t.Errors {
		r.Broken = append(r.Broken, fmt.Sprintf("calls do not add up: %d, answered %d, errors %d", t.Calls, t.Answered, t.Errors))
	}
	if t.Events != t.Handled+t.Dead+t.NotStored {
		r.Broken = append(r.Broken, fmt.Sprintf("events do not add up: %d, handled %d, dead %d, not stored %d", t.Events, t.Handled, t.Dead, t.NotStored))
	}
	r.Table = r.rows(names)
	r.Choose = r.choose()
}

// failed counts the trips whose callers got an error.
func (f Figures) failed() (n int) {
	for _, of := range f.Errors {
		n += of
	}
	return n
}
