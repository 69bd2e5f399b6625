package duplex

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Next handles one record: a handler, or the rest of a chain of middleware. A
// nil error means that the record is handled; see [Verdict] for the others.
type Next func(ctx context.Context, r *kgo.Record) error

// Middleware wraps the handling of each record: logging, authentication,
// tracing, deduplication. It must call next at most once and must not keep r
// after it returns.
type Middleware func(next Next) Next
