package rpc

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// Handler ties a method to the function that serves it. Make one with Handle or
// HandleRecord.
//
// Handlers run on the server's goroutines, many at once, so they must be safe for
// concurrent use. Their context ends by the caller's deadline, and calls that they make
// with it end by that, too. It carries the call's [Info].
type Handler struct {
	service, name string
	serve         Next
	safe          bool
	limit         int
	err           error // of its Method
}

// Service is who serves it, Name the method's.
func (h Handler) Service() string { return h.service }

// Name is the method's name within its service.
func (h Handler) Name() string { return h.name }

// WithLimit has at most n calls of the method run at once in a server; those beyond it
// are refused with resource_exhausted, never executed, at once. 0 is no limit.
func (h Handler) WithLimit(n int) Handler {
	h.limit = n
	return h
}

// Handle serves m with fn. A request that m's codec refuses never reaches fn: its caller
// gets invalid_argument. fn returns an [*Error] for what its caller is to know; any
// other error reaches the caller as internal. For one-way calls an error is what it is
// for a consumer's handler: the call is tried again, or goes where the server's Failures
// say.
func Handle[Req, Resp any](m Method[Req, Resp], fn func(ctx context.Context, req Req) (Resp, error)) Handler {
	h := Handler{service: m.Service, name: m.Name, safe: m.Safe, err: m.validate()}
	if fn == nil {
		return h
	}
	h.serve = func(ctx context.Context, r *kgo.Record) (*kgo.Record, error) {
		req, err := (duplex.Topic[Req]{Codec: m.codec()}).Value(r)
		if err != nil {
			return nil, malformed.error(m.name(), err)
		}
		resp, err := fn(ctx, req)
		if err != nil {
			return nil, err
		}
		out := &kgo.Record{}
		if err := m.codec().Encode(out, resp); err != nil {
			return nil, replyNotEncoded.error(m.name(), err)
		}
		return out, nil
	}
	return h
}

// HandleRecord serves a method with fn, which gets requests as they came from Kafka,
// headers and all, and gives the response's value and headers. An empty name serves
// every method of the service that has no handler of its own, and requests that name
// none, as those of other frameworks do. Such calls are never run twice.
func HandleRecord(service, name string, fn func(ctx context.Context, request *kgo.Record) (*kgo.Record, error)) Handler {
	m := Method[[]byte, []byte]{Service: service, Name: name}
	h := Handler{service: service, name: name, serve: fn}
	if name == "" {
		m.Name = "any"
	}
	h.err = m.validate()
	return h
}
