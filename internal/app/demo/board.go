package demo

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// figures are what the board knows of one airport. The latest flight is right only
// if departures are handled in their order.
type figures struct {
	departures int
	latest     Flight
}

func (f figures) with(flight Flight) figures {
	return figures{departures: f.departures + 1, latest: flight}
}

// String is the number of departures and where the latest went.
func (f figures) String() string {
	if f.latest.Destination == "" {
		return strconv.Itoa(f.departures)
	}
	return strconv.Itoa(f.departures) + ", last to " + f.latest.Destination
}

// board is the store that the members share: live figures per airport.
type board struct {
	mu     sync.Mutex
	places map[string]figures
}

func newBoard() *board { return &board{places: map[string]figures{}} }

func (b *board) update(flight Flight) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.places[flight.Origin] = b.places[flight.Origin].with(flight)
}

// busiest names the n airports with the most departures so far.
func (b *board) busiest(n int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := slices.SortedFunc(maps.Keys(b.places), func(x, y string) int {
		return cmp.Or(cmp.Compare(b.places[y].departures, b.places[x].departures), cmp.Compare(x, y))
	})
	parts := make([]string, 0, n)
	for _, name := range names[:min(n, len(names))] {
		parts = append(parts, name+" "+b.places[name].String())
	}
	return strings.Join(parts, " · ")
}

// differing counts the airports whose figures are not those of the input.
func (b *board) differing(input []Departure) (airports, different int) {
	want := newBoard()
	for _, d := range input {
		want.update(d.Flight)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	all := maps.Clone(want.places)
	maps.Copy(all, b.places)
	for name := range all {
		if b.places[name] != want.places[name] {
			different++
		}
	}
	return len(all), different
}
