package failure

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// None is a policy that leaves everything to the consumer, for others to begin with.
type None struct{}

var _ Chain = None{}

// Topics implements Chain.
func (None) Topics() map[string]string { return nil }

// MaxBytes implements Chain.
func (None) MaxBytes(string) int32 { return 0 }

// Follow implements Chain.
func (None) Follow(context.Context, *kgo.Client) (bool, error) { return false, nil }

// Arrived implements Chain.
func (None) Arrived(*kgo.Record) Arrival { return Arrival{} }

// Move implements Chain.
func (None) Move(*kgo.Record) Step { return Step{} }

// Failed implements Chain.
func (None) Failed(Failure) Step { return Step{} }

// KeepsOrder implements Chain.
func (None) KeepsOrder(string) bool { return true }

// Displaces implements Chain.
func (None) Displaces(string) bool { return false }

// Displace implements Chain.
func (None) Displace(Waiting) Step { return Step{} }

// Handled implements Chain.
func (None) Handled(string, int) {}

// Recovered implements Chain.
func (None) Recovered(*kgo.Record) {}

// Finished implements Chain.
func (None) Finished(*kgo.Record) *Hop { return nil }

// Answers implements Chain.
func (None) Answers(string) bool { return false }

// Refused implements Chain.
func (None) Refused(*Hop) *Hop { return nil }

// Published implements Chain.
func (None) Published(*Hop) {}

// Problems implements Chain.
func (None) Problems() []duplex.Problem { return nil }
