package dlq

import "context"

// states are what the state topic of a queue says of its letters.
type states struct{}

// of is the state of a letter.
func (s *states) of(*Letter) State { return StateOpen }

// loadStates reads the state topic of a queue.
func (i *Inspector) loadStates(context.Context, string) (*states, error) { return &states{}, nil }
