package compare

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/rpc"
)

const ms = time.Millisecond

// moved is a trip that is due, and all else of it, so much later.
func moved(u unit, by time.Duration, from time.Time) unit {
	shift := from.Add(by).Sub(u.due)
	u.due, u.began, u.released = u.due.Add(shift), u.began.Add(shift), u.released.Add(shift)
	for i := range u.runs {
		u.runs[i].began, u.runs[i].ended = u.runs[i].began.Add(shift), u.runs[i].ended.Add(shift)
	}
	return u
}

func TestFiguresOfCalls(t *testing.T) {
	t.Parallel()
	p, from := newPhase(scenario{name: slow}, asCalls), time.Now()
	p.history.units = []unit{
		moved(told(10*ms, nil, nil), 0, from),
		moved(told(30*ms, ended(rpc.NotFound, rpc.Completed), errAny), 5*ms, from),
		moved(told(1000*ms, ended(rpc.DeadlineExceeded, rpc.Maybe), nil), 20*ms, from),
		moved(told(1000*ms, ended(rpc.DeadlineExceeded, rpc.Maybe)), 20*ms, from),
		moved(told(2*ms, ended(rpc.Unavailable, rpc.Never)), 2000*ms, from),
		{due: from, began: from},
	}
	p.spent = reading{bytes: 600, records: map[string]int{"requests": 6, "replies": 4}}
	f := p.measure()
	require.Equal(t, map[string]int{"not_found, completed": 1, "deadline_exceeded, maybe": 2, "unavailable, never": 1}, f.Errors)
	require.Equal(t, []int{6, 1, 4, 1}, []int{f.Units, f.Accepted, f.failed(), f.Unreleased})
	require.Equal(t, []int{2, 0, 0}, []int{f.Handled, f.Dead, f.Waiting})
	require.Equal(t, []int{1, 0, 1, 1}, []int{f.FailedRuns, f.Repeated, f.InVain, f.MaybeRan})
	require.Equal(t, Latency{P50: 30, P99: 1000, Most: 1000}, f.Blocked)
	require.Equal(t, Latency{P50: 30, P99: 1000, Most: 1000}, f.Failed)
	require.Equal(t, Latency{P50: 1, P99: 1, Most: 1}, f.Done)
	require.InDelta(t, 2.042, f.BlockedSeconds, 1e-9)
	require.Equal(t, 3, f.MostCallers, "the second, and the two that wait for their deadlines")
	require.Equal(t, 1, f.MostHandlers)
	require.Equal(t, 10, f.Records)
	require.Equal(t, int64(600), f.WireBytes)
}

func TestFiguresOfEvents(t *testing.T) {
	t.Parallel()
	p, from := newPhase(scenario{name: failing}, asEvents), time.Now()
	later := func(u unit) unit { // its runs begin 100 ms later
		for i := range u.runs {
			u.runs[i].began, u.runs[i].ended = u.runs[i].began.Add(100*ms), u.runs[i].ended.Add(100*ms)
		}
		return u
	}
	p.history.units = []unit{
		moved(later(told(2*ms, nil, nil)), 0, from),
		moved(later(told(3*ms, nil, errAny, nil)), 10*ms, from),
		moved(later(with(told(4*ms, nil, errAny), func(u *unit) { u.letters = 1 })), 20*ms, from),
		moved(told(5*ms, nil), 30*ms, from),
		moved(told(6*ms, errAny), 40*ms, from),
		moved(told(7*ms, nil, nil, nil), 50*ms, from),
	}
	f := p.measure()
	require.Equal(t, []int{6, 5, 1}, []int{f.Units, f.Accepted, f.Errors["not stored"]})
	require.Equal(t, []int{3, 1, 1}, []int{f.Handled, f.Dead, f.Waiting})
	require.Equal(t, []int{2, 1, 1, 0, 0}, []int{f.FailedRuns, f.Recovered, f.Repeated, f.InVain, f.MaybeRan})
	require.Equal(t, Latency{P50: 4, P99: 7, Most: 7}, f.Blocked)
	require.Equal(t, Latency{P50: 102, P99: 102, Most: 102}, f.Recovery)
	require.Equal(t, Latency{P50: 101, P99: 102, Most: 102}, f.Done)
	require.Equal(t, 3, f.MostWaiting, "the first three, from their publishing to their runs")
	require.InDelta(t, 0.071, f.DrainSeconds, 1e-9, "the third ran until 121 ms, the last was due at 50 ms")
}

func TestFiguresOfAnOutage(t *testing.T) {
	t.Parallel()
	from := time.Now()
	maybe, never := ended(rpc.DeadlineExceeded, rpc.Maybe), ended(rpc.Unavailable, rpc.Never)
	calls := newPhase(scenario{name: dead}, asCalls)
	calls.killed, calls.back = from.Add(time.Second), from.Add(9*time.Second)
	calls.history.units = []unit{
		moved(told(ms, nil, nil), 999*ms, from), // before
		moved(told(1000*ms, maybe), 1000*ms, from),
		moved(told(1000*ms, maybe), 2000*ms, from),
		moved(told(3*ms, never), 7500*ms, from),
		moved(told(5*ms, never), 8000*ms, from),
		moved(told(ms, nil, nil), 8999*ms, from),
		moved(told(ms, nil, nil), 9000*ms, from), // after
	}
	require.Equal(t, Outage{
		Seconds: 8, Units: 5, Accepted: 1, Refused: 2, RefusedFrom: 6.5, Unknown: 2, Handled: 1,
		Errors:          map[string]int{"deadline_exceeded, maybe": 2, "unavailable, never": 2},
		BlockedAccepted: Latency{1, 1, 1}, BlockedRefused: Latency{3, 5, 5}, BlockedUnknown: Latency{1000, 1000, 1000},
	}, calls.outage())

	events := newPhase(scenario{name: dead}, asEvents)
	events.killed, events.back = calls.killed, calls.back
	late := moved(told(2*ms, nil, nil), 2000*ms, from)
	late.runs[0].ended = from.Add(9500 * ms)
	events.history.units = []unit{moved(told(2*ms, nil, nil), 0, from), late, moved(told(2*ms, nil), 3000*ms, from)}
	require.Equal(t, Outage{
		Seconds: 8, Units: 2, Accepted: 2, Handled: 1, LastAfterBack: 0.5, Errors: map[string]int{}, BlockedAccepted: Latency{2, 2, 2},
	}, events.outage())
}

// A trip whose caller came late waited, too; and one that ends as another begins is not
// there at the same time.
func TestTimesCountFromWhenATripWasDue(t *testing.T) {
	t.Parallel()
	p, from := newPhase(scenario{name: burst}, asCalls), time.Now()
	late := moved(told(10*ms, nil, nil), 0, from)
	late.due = late.due.Add(-50 * ms)
	p.history.units = []unit{late, moved(told(10*ms, nil, nil), 10*ms, from), moved(told(10*ms, nil, nil), 20*ms, from)}
	f := p.measure()
	require.Equal(t, Latency{P50: 10, P99: 60, Most: 60}, f.Blocked)
	require.Equal(t, Latency{P50: 1, P99: 51, Most: 51}, f.Done)
	require.Equal(t, []int{1, 1}, []int{f.MostCallers, f.MostHandlers})
}

func TestHistoryCountsWhatHasEnded(t *testing.T) {
	t.Parallel()
	h := &history{}
	for range 3 {
		_, released := h.begin(time.Now(), Trip{})
		released(Booking{}, nil)
	}
	_, released := h.begin(time.Now(), Trip{})
	released(Booking{}, errAny)
	progress := func() []int {
		accepted, ended := h.progress()
		return []int{accepted, ended}
	}
	require.Equal(t, []int{3, 0}, progress())
	attempt, end := h.run(0)
	require.Equal(t, 1, attempt)
	end(errAny)
	require.Equal(t, []int{3, 0}, progress(), "it failed")
	for want := 2; want <= 3; want++ {
		attempt, end = h.run(0)
		require.Equal(t, want, attempt)
		end(nil)
		require.Equal(t, []int{3, 1}, progress(), "it is done once, however often")
	}
	h.died(1)
	h.died(1)
	require.Equal(t, []int{3, 2}, progress())
}

func TestMeterReadsWhatCameBetween(t *testing.T) {
	t.Parallel()
	m := newMeter()
	m.records["requests"], m.bytes = 2, 10
	before := m.read()
	m.OnBrokerWrite(brokerMetadata, 0, 5, 0, 0, nil)
	m.OnBrokerRead(brokerMetadata, 0, 7, 0, 0, nil)
	m.OnProduceBatchWritten(brokerMetadata, "replies", 0, batchOf(3))
	require.Equal(t, reading{bytes: 12, records: map[string]int{"replies": 3}}, m.read().since(before))
	require.Equal(t, 2, before.records["requests"], "a reading stays as it is")
}

func TestSomeTripsFail(t *testing.T) {
	t.Parallel()
	s := scenario{fails: true}
	once, always := 0, 0
	for number := range 300 {
		first, second := s.failure(number, 1), s.failure(number, 2)
		switch {
		case first != nil && second == nil:
			once++
		case first != nil:
			require.ErrorIs(t, second, rpc.FailedPrecondition)
			always++
		default:
			require.NoError(t, second)
		}
		require.NoError(t, scenario{}.failure(number, 1))
	}
	require.Equal(t, []int{30, 6}, []int{once, always})
}
