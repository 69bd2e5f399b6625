package demo

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
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
		h.ended(&h.desk, handled, at(i))
	}
	for _, place := range board {
		h.ended(&h.boards, handled, at(place))
	}
	return h
}

// counts are those of a summary that say whether promises were kept.
func counts(s Summary) Summary {
	return Summary{
		Published: s.Published, Failed: s.Failed, Unknown: s.Unknown, Handled: s.Handled, Retried: s.Retried, Recovered: s.Recovered,
		Dead: s.Dead, Dropped: s.Dropped, BoardsHandled: s.BoardsHandled, Lost: s.Lost, Duplicated: s.Duplicated, OutOfOrder: s.OutOfOrder,
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
			h.died(letter{at: at(1)})
			h.ended(&h.desk, dropped, at(2))
		}, Summary{Handled: 1, Dead: 1, Dropped: 1}, true, "published 3 = handled 1 + dead 1 + dropped 1         ✓"},
		"neither of the three": {func(h *history) {
			h.failed(at(1))
			h.ended(&h.desk, dropped, at(2))
		}, Summary{Handled: 1, Dropped: 1, Lost: 1}, false, "published 3 = handled 1 + dead 0 + dropped 1         ✗"},
		"handled and dead": {func(h *history) {
			h.died(letter{at: at(0)})
			h.ended(&h.desk, handled, at(1))
			h.ended(&h.desk, handled, at(2))
		}, Summary{Handled: 3, Dead: 1, Duplicated: 1}, false, "published 3 = handled 3 + dead 1 + dropped 0         ✗"},
		"two dead letters of one": {func(h *history) {
			h.died(letter{at: at(1)})
			h.died(letter{at: at(1)})
			h.ended(&h.desk, handled, at(2))
		}, Summary{Handled: 2, Dead: 1, Duplicated: 1}, false, "lost 0 · twice 1 · out of order 0                    ✗"},
		"recovered": {func(h *history) {
			for _, place := range []int{1, 2} {
				h.failed(at(place))
				h.retried(at(place))
				h.retried(at(place))
			}
			h.ended(&h.desk, handled, at(1))
			h.died(letter{at: at(2)})
		}, Summary{Handled: 2, Dead: 1, Retried: 2, Recovered: 1}, true, "retried 2, of these recovered 1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHistory()
			for place := range 3 {
				h.begin("ATL", time.Now())(at(place), nil)
				h.ended(&h.boards, handled, at(place))
			}
			h.ended(&h.desk, handled, at(0))
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

func TestOneCauseOfManyDeadLetters(t *testing.T) {
	t.Parallel()
	h := newHistory()
	for place, fingerprint := range []string{"v1:a", "v1:b", "v1:a"} {
		h.died(letter{at: at(place), reason: "undecodable", fingerprint: fingerprint, message: "reading t/0: undecodable: no number"})
	}
	causes := h.causes()
	require.Len(t, causes, 2)
	require.Equal(t, []int{2, 1}, []int{causes[0].letters, causes[1].letters})
	require.Equal(t, "no number", causes[0].why())
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
	h.ended(&h.boards, handled, duplex.Position{})
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
