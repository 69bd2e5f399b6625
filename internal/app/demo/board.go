package demo

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// lateAfter is the delay in minutes from which a departure counts as late, as
// the statistics of the airlines have it.
const lateAfter = 15

// figures are what the board knows of one airport.
type figures struct {
	departures, late int
	minutes          float64 // of delay, in all
}

func (f figures) with(d Departure) figures {
	f.departures++
	f.minutes += d.Delay
	if d.Delay >= lateAfter {
		f.late++
	}
	return f
}

func (f figures) String() string {
	return fmt.Sprintf("%d, avg %+.0f min", f.departures, f.minutes/float64(max(f.departures, 1)))
}

// board is the store that the members share: live figures per airport.
type board struct {
	mu     sync.Mutex
	places map[string]figures
}

func newBoard() *board { return &board{places: map[string]figures{}} }

func (b *board) update(d Departure) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.places[d.Origin] = b.places[d.Origin].with(d)
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
		want.update(d)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	all := maps.Clone(want.places)
	maps.Copy(all, b.places)
	for name := range all {
		if got := b.places[name]; got.departures != want.places[name].departures || got.late != want.places[name].late {
			different++
		}
	}
	return len(all), different
}
