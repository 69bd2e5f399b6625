package demo

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/dlq"
)

// at is the position of a record by its place in the input.
func at(place int) duplex.Position { return duplex.Position{Topic: "t", Offset: int64(place)} }

// told is a small history: departures of two airports by turns, all published, in
// one partition, and those on the board that are named by their places. The desk
// handled all that were published.
func told(results []error, board ...int) *history {
	h := newHistory()
	began := time.Now()
	for i, err := range results {
		h.begin([]string{"ATL", "ORD"}[i%2], began)(at(i), err)
		h.ended(&h.desk, handled, life{at: at(i)})
	}
	for _, place := range board {
		h.ended(&h.boards, handled, life{at: at(place)})
	}
	return h
}

// counts are those of a summary that say whether promises were kept.
func counts(s Summary) Summary {
	return Summary{
		Published: s.Published, Failed: s.Failed, Unknown: s.Unknown, Handled: s.Handled, Retried: s.Retried, Recovered: s.Recovered,
		Dead: s.Dead, Dropped: s.Dropped, Redriven: s.Redriven, Open: s.Open, BoardsHandled: s.BoardsHandled, Lost: s.Lost, Duplicated: s.Duplicated, OutOfOrder: s.OutOfOrder,
	}
}

// The check must find what it is there for.
func TestCheckFindsEveryBrokenPromise(t *testing.T) {
	t.Parallel()
	unknown := &duplex.Error{Codes: []duplex.Code{duplex.ErrOutcomeUnknown}}
	all := func(n int) []error { return make([]error, n) }
	for name, test := range map[string]struct {
		history *history
		want    Summary
	}{
		"all well":              {told(all(4), 0, 1, 2, 3), Summary{Published: 4, Handled: 4, BoardsHandled: 4}},
		"keys mixed":            {told(all(4), 1, 0, 3, 2), Summary{Published: 4, Handled: 4, BoardsHandled: 4}},
		"lost":                  {told(all(4), 0, 1, 3), Summary{Published: 4, Handled: 4, BoardsHandled: 3, Lost: 1}},
		"twice":                 {told(all(4), 0, 1, 2, 3, 2), Summary{Published: 4, Handled: 4, BoardsHandled: 4, Duplicated: 1}},
		"three times":           {told(all(2), 0, 0, 0, 1), Summary{Published: 2, Handled: 2, BoardsHandled: 2, Duplicated: 2}},
		"out of order":          {told(all(4), 2, 0, 1, 3), Summary{Published: 4, Handled: 4, BoardsHandled: 4, OutOfOrder: 1}},
		"refused":               {told([]error{nil, errors.New("no")}, 0), Summary{Published: 1, Handled: 1, BoardsHandled: 1, Failed: 1}},
		"unknown, not handled":  {told([]error{nil, unknown}, 0), Summary{Published: 1, Handled: 1, BoardsHandled: 1, Unknown: 1}},
		"unknown, but handled":  {told([]error{unknown, nil}, 0, 1), Summary{Published: 1, Handled: 1, BoardsHandled: 1, Unknown: 1}},
		"nothing was published": {told(nil), Summary{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := test.history.check()
			require.Equal(t, test.want, counts(got))
			require.Equal(t, name == "all well" || name == "keys mixed" || name == "nothing was published", got.OK())
		})
	}
}

// Every record that was published is handled by the desk, a dead letter or dropped,
// and only one of these.
func TestCheckFindsWhatTheDeskDidNotEnd(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ends func(h *history)
		want Summary
		ok   bool
		says string
	}{
		"handled, dead, dropped": {func(h *history) {
			h.died(life{at: at(1)})
			h.found(life{at: at(1)}, dlq.StateDiscarded)
			h.ended(&h.desk, dropped, life{at: at(2)})
		}, Summary{Handled: 1, Dead: 1, Dropped: 1}, true, "published 3 = handled 1 + dead 1 + dropped 1         ✓"},
		"neither of the three": {func(h *history) {
			h.failed(at(1))
			h.ended(&h.desk, dropped, life{at: at(2)})
		}, Summary{Handled: 1, Dropped: 1, Lost: 1}, false, "published 3 = handled 1 + dead 0 + dropped 1         ✗"},
		"handled and dead": {func(h *history) {
			h.died(life{at: at(0)})
			h.ended(&h.desk, handled, life{at: at(1)})
			h.ended(&h.desk, handled, life{at: at(2)})
		}, Summary{Handled: 3, Dead: 1, Open: 1, Duplicated: 1}, false, "published 3 = handled 3 + dead 1 + dropped 0         ✗"},
		"two dead letters of one": {func(h *history) {
			h.died(life{at: at(1)})
			h.died(life{at: at(1)})
			h.ended(&h.desk, handled, life{at: at(2)})
		}, Summary{Handled: 2, Dead: 1, Open: 1, Duplicated: 1}, false, "lost 0 · twice 1 · out of order 0                    ✗"},
		"recovered": {func(h *history) {
			for _, place := range []int{1, 2} {
				h.failed(at(place))
				h.retried(at(place))
				h.retried(at(place))
			}
			h.ended(&h.desk, handled, life{at: at(1)})
			h.ended(&h.desk, dropped, life{at: at(2)})
		}, Summary{Handled: 2, Dropped: 1, Retried: 2, Recovered: 1}, true, "retried 2, of these recovered 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHistory()
			for place := range 3 {
				h.begin("ATL", time.Now())(at(place), nil)
				h.ended(&h.boards, handled, life{at: at(place)})
			}
			h.ended(&h.desk, handled, life{at: at(0)})
			test.ends(h)
			test.want.Published, test.want.BoardsHandled = 3, 3
			s := h.check()
			require.Equal(t, test.want, counts(s))
			require.Equal(t, test.ok, s.OK())
			var out strings.Builder
			s.tell(&story{out: &out})
			require.Contains(t, out.String(), test.says)
		})
	}
}

// A dead letter that a redrive sends back begins another life, and the record counts by how
// that ends.
func TestCheckFindsWhatARedriveDoesWrong(t *testing.T) {
	t.Parallel()
	first, second := life{at: at(0)}, life{at: at(0), generation: 1}
	for name, test := range map[string]struct {
		ends func(h *history)
		want Summary
		ok   bool
		says string
	}{
		"handled": {func(h *history) {
			h.died(first)
			h.found(first, dlq.StateHandled)
			h.ended(&h.desk, handled, second)
		}, Summary{Handled: 1, Redriven: 1}, true, "published 1 = handled 1 + dead 0 + dropped 0         ✓"},
		"found before the inbox has it": {func(h *history) {
			h.found(first, dlq.StateHandled)
			h.died(first)
			h.ended(&h.desk, handled, second)
		}, Summary{Handled: 1, Redriven: 1}, true, "redriven 1, mended wrongly 0 · still open 0          ✓"},
		"dropped": {func(h *history) {
			h.died(first)
			h.found(first, dlq.StateHandled)
			h.ended(&h.desk, dropped, second)
		}, Summary{Dropped: 1, Redriven: 1}, true, "handled 0 + dead 0 + dropped 1"},
		"redriven and handled twice": {func(h *history) {
			h.died(first)
			h.found(first, dlq.StateHandled)
			h.ended(&h.desk, handled, second)
			h.ended(&h.desk, handled, second)
		}, Summary{Handled: 1, Redriven: 1, Duplicated: 1}, false, "twice 1"},
		"redriven twice and handled twice": {func(h *history) {
			h.died(first)
			h.found(first, dlq.StateHandled)
			h.ended(&h.desk, handled, second)
			h.ended(&h.desk, handled, life{at: at(0), generation: 2})
		}, Summary{Handled: 1, Redriven: 1, Duplicated: 1}, false, "twice 1"},
		"handled, and handled again by a redrive": {func(h *history) {
			h.ended(&h.desk, handled, first)
			h.ended(&h.desk, handled, second)
		}, Summary{Handled: 1, Duplicated: 1}, false, "twice 1"},
		"handled, and dead after a redrive": {func(h *history) {
			h.ended(&h.desk, handled, first)
			h.died(second)
		}, Summary{Handled: 1, Dead: 1, Open: 1, Duplicated: 1}, false, "handled 1 + dead 1 + dropped 0"},
		"redriven and lost": {func(h *history) {
			h.died(first)
			h.found(first, dlq.StateHandled)
		}, Summary{Redriven: 1, Lost: 1}, false, "lost 1"},
		"redriven, and nobody knows what became of it": {func(h *history) {
			h.died(first)
			h.found(first, dlq.StateRedriven)
		}, Summary{Redriven: 1, Open: 1, Lost: 1}, false, "still open 1"},
		"handled, and nobody wrote that down": {func(h *history) {
			h.died(first)
			h.found(first, dlq.StateRedriven)
			h.ended(&h.desk, handled, second)
		}, Summary{Handled: 1, Redriven: 1, Open: 1}, false, "still open 1"},
		"handled, and its letter is open all the same": {func(h *history) {
			h.died(first)
			h.ended(&h.desk, handled, second)
		}, Summary{Handled: 1, Open: 1}, false, "handled 1 + dead 0 + dropped 0"},
		"still open": {func(h *history) {
			h.died(first)
			h.found(first, dlq.StateOpen)
		}, Summary{Dead: 1, Open: 1}, false, "redriven 0, mended wrongly 0 · still open 1          ✗"},
		"nobody looked": {func(h *history) { h.died(first) }, Summary{Dead: 1, Open: 1}, false, "still open 1"},
		"a redrive will come to it": {func(h *history) {
			h.died(first)
			h.found(first, dlq.StateSelected)
		}, Summary{Dead: 1, Open: 1}, false, "still open 1"},
		"dead again": {func(h *history) {
			h.died(first)
			h.died(second)
			h.found(first, dlq.StateDeadAgain)
			h.found(second, dlq.StateOpen)
		}, Summary{Dead: 1, Redriven: 1, Open: 1}, false, "handled 0 + dead 1 + dropped 0"},
		"dead again, and handled at last": {func(h *history) {
			h.died(first)
			h.died(second)
			h.found(first, dlq.StateDeadAgain)
			h.found(second, dlq.StateHandled)
			h.ended(&h.desk, handled, life{at: at(0), generation: 2})
		}, Summary{Handled: 1, Redriven: 2}, true, "redriven 2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHistory()
			h.begin("ATL", time.Now())(at(0), nil)
			h.ended(&h.boards, handled, life{at: at(0)})
			test.ends(h)
			test.want.Published, test.want.BoardsHandled = 1, 1
			s := h.check()
			require.Equal(t, test.want, counts(s))
			require.Equal(t, test.ok, s.OK())
			var out strings.Builder
			s.tell(&story{out: &out})
			require.Contains(t, out.String(), test.says)
		})
	}
}

// What comes back must be what was published before the demo damaged it.
func TestCheckFindsWrongEdits(t *testing.T) {
	t.Parallel()
	input := []Departure{{Flight: Flight{Origin: "ATL"}, Delay: 19}, {Flight: Flight{Origin: "ORD"}, Delay: 19}}
	h := told(make([]error, 2), 0, 1)
	h.cameBack(at(0), input[0])
	require.Zero(t, h.wrongEdits(input))
	h.cameBack(at(1), Departure{Flight: Flight{Origin: "ORD"}, Delay: 91})
	require.Equal(t, 1, h.wrongEdits(input))
	h.cameBack(at(7), Departure{})
	require.Equal(t, 1, h.wrongEdits(input), "its publish was not acknowledged: nothing was promised")
	s := h.check()
	require.True(t, s.OK())
	s.WrongEdits = 1
	require.False(t, s.OK())
	var out strings.Builder
	s.tell(&story{out: &out})
	require.Contains(t, out.String(), "redriven 0, mended wrongly 1 · still open 0          ✗")
}

func TestTheInboxHasReadWhatWasFound(t *testing.T) {
	t.Parallel()
	h := newHistory()
	require.True(t, h.read())
	h.found(life{at: at(0)}, dlq.StateOpen)
	h.ended(&h.desk, handled, life{at: at(0)})
	require.False(t, h.read(), "that is no dead letter")
	h.died(life{at: at(0), generation: 1})
	require.False(t, h.read(), "that is another life")
	h.died(life{at: at(0)})
	require.True(t, h.read())
}

func TestAPublishWithoutAResultIsUnknown(t *testing.T) {
	t.Parallel()
	h := newHistory()
	h.begin("ATL", time.Now())
	require.Equal(t, 1, h.check().Unknown)
	require.False(t, h.check().OK())
}

func TestLatenciesCountFromWhenARecordWasDue(t *testing.T) {
	t.Parallel()
	h := newHistory()
	due := time.Now().Add(-time.Second)
	h.begin("ATL", due)(duplex.Position{}, nil)
	h.ended(&h.boards, handled, life{})
	s := h.check()
	require.InDelta(t, 1000, s.PublishP50, 500)
	require.InDelta(t, 1000, s.EndToEndP99, 500)
	require.GreaterOrEqual(t, s.EndToEndP50, s.PublishP50)
}

func TestBoardFindsWrongFigures(t *testing.T) {
	t.Parallel()
	flight := func(origin, destination string) Departure {
		return Departure{Flight: Flight{Origin: origin, Destination: destination}}
	}
	input := []Departure{flight("ATL", "BNA"), flight("ORD", ""), flight("ATL", "JFK")}
	b := newBoard()
	for _, d := range input {
		b.update(d.Flight)
	}
	airports, wrong := b.differing(input)
	require.Equal(t, []int{2, 0}, []int{airports, wrong})
	require.Equal(t, "ATL 2, last to JFK · ORD 1", b.busiest(3))
	swapped := newBoard()
	for _, place := range []int{2, 1, 0} {
		swapped.update(input[place].Flight)
	}
	_, wrong = swapped.differing(input)
	require.Equal(t, 1, wrong, "the latest flight is another one")
	b.update(flight("ZZZ", "").Flight)
	b.update(input[0].Flight)
	airports, wrong = b.differing(input)
	require.Equal(t, []int{3, 2}, []int{airports, wrong})
}
