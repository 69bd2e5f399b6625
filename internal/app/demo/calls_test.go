package demo

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/rpc"
)

// A fare is what the input makes it: computed by hand here.
func TestQuote(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		distance, delay float64
		want            string
	}{
		"on time":                     {1000, 0, "$169.00"},   // 49 + 120
		"early":                       {1000, -19, "$169.00"}, // no more than that
		"four minutes are none":       {1000, 4, "$169.00"},
		"five are one percent":        {1000, 5, "$167.31"},
		"most is forty percent":       {1000, 1440, "$101.40"},
		"LAS to SMF, 217 minutes":     {397, 217, "$57.98"},  // 9664 · 60 % = 5798.4
		"the longest, 41 minutes":     {4130, 41, "$501.03"}, // 54460 · 92 % = 50103.2
		"farther than anybody flies":  {100000, 0, "$12,049.00"},
		"a fraction of a mile counts": {99.5, 0, "$61.00"},
	} {
		require.Equal(t, test.want, dollars(quote(Departure{Flight: Flight{Distance: test.distance}, Delay: test.delay})), name)
	}
}

func TestWhoIsAskedForAndHowLong(t *testing.T) {
	t.Parallel()
	input, err := Flights()
	require.NoError(t, err)
	asked, waits := 0, map[time.Duration]int{}
	for _, d := range input {
		if late(d) {
			asked++
			waits[d.patience()]++
		}
	}
	require.Equal(t, 451, asked)
	require.Equal(t, map[time.Duration]int{4 * time.Second: 352, 12 * time.Second: 99}, waits)
	require.False(t, late(Departure{Delay: 14}))
	require.True(t, late(Departure{Delay: 15}))
	require.Greater(t, patient, sessionTimeout+sessionTimeout/3+2*time.Second, "who can wait is answered by the other instance")
}

// The check must find what it is there for.
func TestCheckFindsEveryDishonestCall(t *testing.T) {
	t.Parallel()
	trip := Departure{Flight: Flight{Distance: 1000}, Delay: 20}
	fail := func(code rpc.Code, executed rpc.Executed) error { return &rpc.Error{Code: code, Executed: executed} }
	for name, test := range map[string]struct {
		fare Fare
		err  error
		runs int
		took time.Duration
		want Summary
	}{
		"answered":                       {fare: Fare{Cents: 16224}, runs: 1, want: Summary{Answered: 1}},
		"run by both, and answered":      {fare: Fare{Cents: 16224}, runs: 2, want: Summary{Answered: 1, RunAgain: 1}},
		"answered, but nobody ran it":    {fare: Fare{Cents: 16224}, want: Summary{Answered: 1, WrongQuotes: 1}},
		"another's fare":                 {fare: Fare{Cents: 16225}, runs: 1, want: Summary{Answered: 1, WrongQuotes: 1}},
		"answered after the deadline":    {fare: Fare{Cents: 16224}, runs: 1, took: hurried + endSlack + time.Second, want: Summary{Unanswered: 1}},
		"never, and so it was":           {err: fail(rpc.Unavailable, rpc.Never), want: Summary{Errors: 1}},
		"never, but it ran":              {err: fail(rpc.Unavailable, rpc.Never), runs: 1, want: Summary{Errors: 1, Untrue: 1}},
		"maybe, and it ran":              {err: fail(rpc.Unavailable, rpc.Maybe), runs: 1, want: Summary{Errors: 1}},
		"maybe, and it did not":          {err: fail(rpc.Unavailable, rpc.Maybe), want: Summary{Errors: 1}},
		"completed, and it ran":          {err: fail(rpc.Internal, rpc.Completed), runs: 1, want: Summary{Errors: 1}},
		"completed, but it did not":      {err: fail(rpc.Internal, rpc.Completed), want: Summary{Errors: 1, Untrue: 1}},
		"the deadline passed":            {err: fail(rpc.DeadlineExceeded, rpc.Maybe), took: hurried, want: Summary{Errors: 1}},
		"the deadline had not passed":    {err: fail(rpc.DeadlineExceeded, rpc.Maybe), took: hurried / 2, want: Summary{Errors: 1, Untrue: 1}},
		"an error long after it":         {err: fail(rpc.DeadlineExceeded, rpc.Maybe), took: time.Minute, want: Summary{Unanswered: 1}},
		"an error that is not of a call": {err: errors.New("oops"), want: Summary{Errors: 1, Untrue: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHistory()
			asked, done := h.calls.ask(trip)
			require.Equal(t, Trip{Call: 0, Departure: trip}, asked)
			for range test.runs {
				h.calls.began(asked.Call)
			}
			h.calls.made[0].asked = time.Now().Add(-test.took)
			done(test.fare, test.err)
			test.want.Calls = 1
			s := h.check()
			require.Equal(t, test.want, callCounts(s))
			require.Equal(t, test.want.Unanswered+test.want.WrongQuotes+test.want.Untrue == 0, s.OK())
		})
	}
}

// callCounts are those of a summary that are about calls.
func callCounts(s Summary) Summary {
	return Summary{Calls: s.Calls, Answered: s.Answered, Errors: s.Errors, Unanswered: s.Unanswered, WrongQuotes: s.WrongQuotes, Untrue: s.Untrue, RunAgain: s.RunAgain}
}

func TestACallWithoutAnEndIsUnanswered(t *testing.T) {
	t.Parallel()
	h := newHistory()
	h.calls.ask(Departure{})
	s := h.check()
	require.Equal(t, Summary{Calls: 1, Unanswered: 1}, callCounts(s))
	require.False(t, s.OK())
	var out strings.Builder
	s.tell(&story{out: &out})
	require.Contains(t, out.String(), "calls 1 = answered 0 + errors 0 · unanswered 1       ✗")
	require.Contains(t, out.String(), "wrong quotes 0 · errors that are not true 0          ✓")
}

// What the story tells of a takeover are the calls that it had an effect on.
func TestCallsBetweenAKillAndATakeover(t *testing.T) {
	t.Parallel()
	kill := time.Now()
	takeover := kill.Add(6 * time.Second)
	c := newCalls()
	add := func(asked, ended time.Duration, err error, runs int) {
		one := call{asked: kill.Add(asked), err: err}
		if ended > 0 {
			one.ended = kill.Add(ended)
		}
		c.ran[len(c.made)] = runs
		c.made = append(c.made, one)
	}
	deadline, unavailable := &rpc.Error{Code: rpc.DeadlineExceeded, Executed: rpc.Maybe}, &rpc.Error{Code: rpc.Unavailable, Executed: rpc.Never}
	add(-2*time.Second, -time.Second, nil, 1)       // over before
	add(-time.Second, 7*time.Second, nil, 2)        // begun by the dead one, and again
	add(time.Second, 7*time.Second, nil, 1)         // waited
	add(time.Second, 2*time.Second, nil, 1)         // answered by the other one meanwhile
	add(time.Second, 5*time.Second, deadline, 0)    // did not wait
	add(time.Second, 5*time.Second, deadline, 1)    // nor this
	add(time.Second, 2*time.Second, unavailable, 0) // an error
	add(7*time.Second, 8*time.Second, nil, 1)       // after it
	add(2*time.Second, 0, nil, 0)                   // still waits
	c.made[0].ended = kill.Add(-time.Second)
	o := c.between(kill, takeover)
	require.Equal(t, []int{1, 2, 1}, []int{o.pending, o.answered, o.again})
	require.Equal(t, "2 × deadline_exceeded, executed maybe · 1 × unavailable, executed never", o.String())
	made, ended := c.progress()
	require.Equal(t, []int{9, 8, 5}, []int{made, ended, c.answered()})
}

// An instance that is killed says nothing any more, and runs nothing.
func TestAKilledInstanceIsDead(t *testing.T) {
	t.Parallel()
	c := newCalls()
	i := &instance{name: "y", calls: c, dead: make(chan struct{}), cancel: func() {}}
	here, there := net.Pipe()
	defer there.Close()
	cluster := i.line.to(duplex.Cluster{Dial: func(context.Context, string, string) (net.Conn, error) { return here, nil }})
	_, err := cluster.Dial(t.Context(), "tcp", "broker:9092")
	require.NoError(t, err)
	fare, err := i.quote(t.Context(), Trip{Departure: Departure{Flight: Flight{Distance: 1000}}})
	require.NoError(t, err)
	require.Equal(t, Fare{Cents: 16900, By: "y"}, fare)
	i.doomed.Store(true)
	_, err = i.quote(t.Context(), Trip{Call: 1, Departure: Departure{Delay: calmFrom - 1}})
	require.NoError(t, err, "not within a call that does not wait for the other instance")
	_, err = i.quote(t.Context(), Trip{Call: 2, Departure: Departure{Delay: calmFrom}})
	require.ErrorIs(t, err, errKilled)
	require.EqualValues(t, 1, i.caught)
	_, err = i.quote(t.Context(), Trip{Call: 3})
	require.ErrorIs(t, err, errKilled)
	require.Equal(t, map[int]int{0: 1, 1: 1, 2: 1}, c.ran, "what is dead begins nothing")
	_, err = there.Read(make([]byte, 1))
	require.Error(t, err, "the connection is gone")
	_, err = cluster.Dial(t.Context(), "tcp", "broker:9092")
	require.ErrorIs(t, err, errCut)
}
