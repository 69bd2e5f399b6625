package main

import (
	"context"
	"fmt"
	"maps"
	"sync"
)

// board shows the last departure of each airport. Handlers of several partitions
// run at once, so it has a lock.
type board struct {
	mu      sync.Mutex
	last    map[string]string
	missing int
	full    chan struct{}
}

func newBoard(expected int) *board {
	return &board{last: map[string]string{}, missing: expected, full: make(chan struct{})}
}

func (b *board) show(run string, d departure) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if d.Run != run {
		return nil // nothing of ours; nil means that it is handled
	}
	b.last[d.Origin] = d.Flight
	b.missing--
	if b.missing == 0 {
		close(b.full)
	}
	return nil
}

// untilFull gives a context that ends when all departures were shown.
func (b *board) untilFull(parent context.Context) context.Context {
	ctx, cancel := context.WithCancel(parent)
	go func() {
		defer cancel()
		select {
		case <-b.full:
		case <-parent.Done():
		}
	}()
	return ctx
}

func (b *board) check(want map[string]string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.missing > 0 || !maps.Equal(b.last, want) {
		return fmt.Errorf("the board shows %v, %d departures are missing; want %v", b.last, b.missing, want)
	}
	for _, airport := range []string{"FRA", "JFK", "NRT"} {
		fmt.Println(airport, "last departure", b.last[airport])
	}
	return nil
}
