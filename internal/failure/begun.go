package failure

import "context"

// BegunKey is the key under which the context of a handler says whether another member
// may have begun the record before, and not finished it. It is known for sources that
// Answer only.
type BegunKey struct{}

// MayHaveBegun reports whether another member may have begun the record of a handler's
// context before.
func MayHaveBegun(ctx context.Context) bool {
	begun, _ := ctx.Value(BegunKey{}).(bool)
	return begun
}
