package demo

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
)

// told is a small history: departures of two airports by turns, all published,
// in one partition, and those handled that are named by their place.
func told(results []error, handled ...int64) *history {
	h := newHistory()
	began := time.Now()
	for i, err := range results {
		at := duplex.Position{Topic: "t", Offset: int64(i)}
		h.begin([]string{"ATL", "ORD"}[i%2], began)(at, err)
	}
	for _, offset := range handled {
		h.handled(duplex.Position{Topic: "t", Offset: offset}, 3)
	}
	return h
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
		"all well":              {told(all(4), 0, 1, 2, 3), Summary{Published: 4, Handled: 4}},
		"keys mixed":            {told(all(4), 1, 0, 3, 2), Summary{Published: 4, Handled: 4}},
		"lost":                  {told(all(4), 0, 1, 3), Summary{Published: 4, Handled: 3, Lost: 1}},
		"twice":                 {told(all(4), 0, 1, 2, 3, 2), Summary{Published: 4, Handled: 4, Duplicated: 1}},
		"three times":           {told(all(2), 0, 0, 0, 1), Summary{Published: 2, Handled: 2, Duplicated: 2}},
		"out of order":          {told(all(4), 2, 0, 1, 3), Summary{Published: 4, Handled: 4, OutOfOrder: 1}},
		"refused":               {told([]error{nil, errors.New("no")}, 0), Summary{Published: 1, Handled: 1, Failed: 1}},
		"unknown, not handled":  {told([]error{nil, unknown}, 0), Summary{Published: 1, Handled: 1, Unknown: 1}},
		"unknown, but handled":  {told([]error{unknown, nil}, 0, 1), Summary{Published: 1, Handled: 1, Unknown: 1}},
		"nothing was published": {told(nil), Summary{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := test.history.check()
			require.Equal(t, test.want, Summary{
				Published: got.Published, Failed: got.Failed, Unknown: got.Unknown, Handled: got.Handled, Lost: got.Lost,
				Duplicated: got.Duplicated, OutOfOrder: got.OutOfOrder,
			})
			require.Equal(t, name == "all well" || name == "keys mixed" || name == "nothing was published", got.OK())
		})
	}
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
	h.handled(duplex.Position{}, 1)
	s := h.check()
	require.InDelta(t, 1000, s.PublishP50, 500)
	require.InDelta(t, 1000, s.EndToEndP99, 500)
	require.GreaterOrEqual(t, s.EndToEndP50, s.PublishP50)
}

func TestBoardFindsWrongFigures(t *testing.T) {
	t.Parallel()
	input := []Departure{{Origin: "ATL", Delay: 20}, {Origin: "ORD", Delay: -3}, {Origin: "ATL"}}
	b := newBoard()
	for _, d := range input {
		b.update(d)
	}
	airports, wrong := b.differing(input)
	require.Equal(t, []int{2, 0}, []int{airports, wrong})
	require.Equal(t, "ATL 2, avg +10 min · ORD 1, avg -3 min", b.busiest(3))
	b.update(Departure{Origin: "ZZZ"})
	b.update(input[0])
	airports, wrong = b.differing(input)
	require.Equal(t, []int{3, 2}, []int{airports, wrong})
}
