package compare

import (
	"fmt"
	"time"

	"github.com/duplex-go/duplex/rpc"
)

// What both forms have in common.
const (
	// Partitions is how many the topic of the events must have; that of the requests
	// gets as many.
	Partitions = rpc.DefaultRequestPartitions
	// workers is how many handlers run at once, of calls and of events.
	workers = 8
	// deadline is that of the calls: so long a caller can wait for an answer.
	deadline = time.Second
	// sessionTimeout is the shortest that Kafka allows by default: for so long nobody
	// knows that a member of a group has died.
	sessionTimeout = 6 * time.Second
	drainTimeout   = 5 * time.Second
	publishTimeout = 10 * time.Second
)

// The scenarios, by their names.
const (
	normal  = "normal"
	failing = "failing"
	slow    = "slow"
	dead    = "dead"
	burst   = "burst"
)

// scenario is what both forms go through.
type scenario struct {
	name, about string
	// units is how many trips there are; 0 where an outage says when to end.
	units int
	// rate is how many are due a second; 0 for all at once.
	rate int
	// takes is how long the work takes.
	takes time.Duration
	// fails has the work of some trips fail.
	fails bool
}

const (
	work      = 10 * time.Millisecond
	slowWork  = 20 * work
	usualRate = 100
	// outageRate is how many are due a second while the server is dead.
	outageRate = 20
)

// scenarios are all of them, for a burst of so many.
func scenarios(records int) []scenario {
	part := max(records*3/20, 1)
	return []scenario{
		{name: normal, about: "as it should be", units: part, rate: usualRate, takes: work},
		{name: failing, about: "one in ten fails at first, one in fifty always", units: part, rate: usualRate, takes: work, fails: true},
		{name: slow, about: "the work takes twenty times as long", units: part, rate: usualRate, takes: slowWork},
		{name: dead, about: "the plug is pulled, and another server comes later; both forms at the same time", rate: outageRate, takes: work},
		{name: burst, about: "all at once", units: records, takes: work},
	}
}

// String says what it is, in a line.
func (s scenario) String() string {
	switch {
	case s.outage():
		return fmt.Sprintf("%d trips a second, %s of work each: %s", s.rate, s.takes, s.about)
	case s.rate == 0:
		return fmt.Sprintf("%s trips, %s of work each: %s", count(s.units), s.takes, s.about)
	default:
		return fmt.Sprintf("%s trips, %d a second, %s of work each: %s", count(s.units), s.rate, s.takes, s.about)
	}
}

// warmUp is what both forms do before anything is measured, so that connections are
// open and whoever is first pays for nothing.
func warmUp() scenario {
	return scenario{name: "warm-up", about: "not measured", units: 100, rate: 2 * usualRate, takes: work}
}

// outage reports whether the server dies.
func (s scenario) outage() bool { return s.name == dead }

// Some trips fail once, others always: the places in their scenario say which.
const (
	failsOnce, failsAlways = 10, 50
)

// failure is how an attempt at a trip ends, which is counted from 1.
func (s scenario) failure(number, attempt int) error {
	switch {
	case !s.fails:
		return nil
	case number%failsAlways == failsAlways-1:
		return rpc.Errorf(rpc.FailedPrecondition, "no other flight goes there")
	case number%failsOnce == 0 && attempt == 1:
		return rpc.Errorf(rpc.Unavailable, "the booking system is busy")
	}
	return nil
}
