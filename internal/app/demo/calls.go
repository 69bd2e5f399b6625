package demo

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/duplex-go/duplex/rpc"
)

// calls is what was recorded of calls: how each ended for the gate, and, by the service's
// own account, which ran.
type calls struct {
	mu   sync.Mutex
	made []call
	ran  map[int]int // how often, by the call's number
}

// call is one call. Its place in calls.made is its number.
type call struct {
	trip         Departure
	asked, ended time.Time // ended is zero before
	fare         Fare
	err          error
}

const (
	// clockSlack is by how much a call may be told too early that its deadline has
	// passed: times on the wire have milliseconds.
	clockSlack = 100 * time.Millisecond
	// endSlack is by how much a busy machine may be late to end one.
	endSlack = 2 * time.Second
)

func newCalls() *calls { return &calls{ran: map[int]int{}} }

// ask notes a call, and returns what to do with its result.
func (c *calls) ask(d Departure) (Trip, func(Fare, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.made)
	c.made = append(c.made, call{trip: d, asked: time.Now()})
	return Trip{Call: n, Departure: d}, func(fare Fare, err error) {
		now := time.Now()
		c.mu.Lock()
		defer c.mu.Unlock()
		one := &c.made[n]
		one.ended, one.fare, one.err = now, fare, err
	}
}

// began notes that an instance begins to run a call.
func (c *calls) began(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ran[n]++
}

// progress counts the calls that were made, and those that ended.
func (c *calls) progress() (made, ended int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.made {
		if !c.made[i].ended.IsZero() {
			ended++
		}
	}
	return len(c.made), ended
}

// tardy is the latest departure of those that were quoted a fare, with its call.
func (c *calls) tardy() (tardy call, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range c.made {
		if !one.ended.IsZero() && one.err == nil && (!found || one.trip.Delay > tardy.trip.Delay) {
			tardy, found = one, true
		}
	}
	return tardy, found
}

// answered counts the calls that have an answer.
func (c *calls) answered() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.made {
		if !c.made[i].ended.IsZero() && c.made[i].err == nil {
			n++
		}
	}
	return n
}

// outcomes are what became of the calls that were under way at some time, or made from
// then on until another.
type outcomes struct {
	pending  int
	answered int            // after the later time
	again    int            // of these, run more than once
	errs     map[string]int // by code and whether they ran
}

// between are those of the calls that had not ended at one time and were made before
// another.
func (c *calls) between(from, to time.Time) outcomes {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := outcomes{errs: map[string]int{}}
	for n := range c.made {
		switch one := &c.made[n]; {
		case one.asked.After(to), !one.ended.IsZero() && one.ended.Before(from):
		case one.ended.IsZero():
			o.pending++
		case one.err != nil:
			o.errs[fmt.Sprintf("%s, executed %s", rpc.CodeOf(one.err), rpc.ExecutedOf(one.err))]++
		case one.ended.After(to):
			o.answered++
			if c.ran[n] > 1 {
				o.again++
			}
		}
	}
	return o
}

// String lists the errors, those first of which there are most.
func (o outcomes) String() string {
	kinds := slices.SortedFunc(maps.Keys(o.errs), func(a, b string) int { return cmp.Or(o.errs[b]-o.errs[a], cmp.Compare(a, b)) })
	for i, kind := range kinds {
		kinds[i] = count(o.errs[kind]) + " × " + kind
	}
	return strings.Join(kinds, " · ")
}

// check computes the summary's part about calls.
func (c *calls) check(s *Summary) {
	c.mu.Lock()
	defer c.mu.Unlock()
	took := newLatency()
	s.Calls = len(c.made)
	for n := range c.made {
		one := &c.made[n]
		if c.ran[n] > 1 {
			s.RunAgain++
		}
		switch {
		case one.ended.IsZero(), one.ended.Sub(one.asked) > one.trip.patience()+endSlack:
			s.Unanswered++
		case one.err == nil:
			s.Answered++
			took.record(one.ended.Sub(one.asked))
			if c.ran[n] == 0 || one.fare.Cents != quote(one.trip) {
				s.WrongQuotes++
			}
		default:
			s.Errors++
			if !one.honest(c.ran[n]) {
				s.Untrue++
			}
		}
	}
	s.CallP50, s.CallP99 = took.at(50), took.at(99)
}

// honest reports whether an error is one of a call, and so, of a call that ran so many
// times.
func (o *call) honest(ran int) bool {
	e, ok := errors.AsType[*rpc.Error](o.err)
	switch {
	case !ok:
		return false
	case e.Code == rpc.DeadlineExceeded && o.ended.Sub(o.asked) < o.trip.patience()-clockSlack:
		return false
	}
	switch rpc.ExecutedOf(e) {
	case rpc.Never:
		return ran == 0
	case rpc.Completed:
		return ran > 0
	default:
		return true
	}
}
