package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

// store keeps payments by their IDs: writing one twice changes nothing, so it
// bears a record that comes again after a crash.
type store struct {
	run      string
	expected int
	done     func() // called once that many are written or dropped

	mu      sync.Mutex
	cents   map[string]int64
	dropped map[string]bool
	writes  int
	refused bool
}

func newStore(run string, expected int, done func()) *store {
	return &store{run: run, done: done, expected: expected, cents: map[string]int64{}, dropped: map[string]bool{}}
}

// write is the handler. It returns which records of the batch failed; all others
// are finished.
func (s *store) write(_ context.Context, batch []payment) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	var failed consumer.BatchError
	for i, p := range batch {
		switch {
		case p.Run != s.run:
			continue // of another run
		case p.Cents == 0:
			failed.Fail(i, duplex.Drop("it pays nothing"))
			s.dropped[p.ID] = true
			fmt.Println(p.ID, "pays nothing: dropped")
		case p.ID == "p500" && !s.refused:
			failed.Fail(i, errors.New("row is locked"))
			s.refused = true
			fmt.Println(p.ID, "row is locked: again, and only this one")
		default:
			s.cents[p.ID] = p.Cents
		}
	}
	if len(s.cents)+len(s.dropped) == s.expected {
		s.done()
	}
	return failed.Err()
}

func (s *store) check(payments int, cents int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var total int64
	for _, c := range s.cents {
		total += c
	}
	if len(s.cents) != payments || total != cents || len(s.dropped) != 1 {
		return fmt.Errorf("stored %d payments of %d cents and dropped %d, want %d of %d and 1",
			len(s.cents), total, len(s.dropped), payments, cents)
	}
	if s.writes >= payments {
		return fmt.Errorf("%d writes for %d payments: those were no batches", s.writes, payments)
	}
	fmt.Printf("stored %d payments, %d cents\n", len(s.cents), total)
	return nil
}
