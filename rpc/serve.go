package rpc

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/internal/failure"
)

// skewTolerance is by how much the clocks of callers, brokers and servers may differ
// before a request counts as too old.
const skewTolerance = 2 * time.Second

// handle is the consumer's handler: it serves one request.
//
//	parsed ─► address allowed ─► method known ─► not too old ─► nobody began it ─► admitted ─► run ─► answered
//
// Whatever ends it early is answered, too, where there is somebody who waits.
func (s *Server) handle(ctx context.Context, r *kgo.Record) error {
	got := time.Now()
	s.counts.requests.Add(1)
	q, err := parseRequest(r, &s.words)
	if q.oneWay() {
		return s.handleOneWay(ctx, r, q, err)
	}
	if !s.replier.Load().allowed(ctx, q, got) {
		s.counts.refusedAddresses.Add(1)
		s.log.Warn("a request wants its reply where none may go: it is not run, and not answered",
			zap.String("reply_topic", bounded(q.replyTopic)), zap.Int32("reply_partition", q.partition), zap.String("caller", q.caller),
			zap.Int32("partition", r.Partition), zap.Int64("offset", r.Offset))
		return nil
	}
	a := newAnswer(s)
	a.request, a.got, a.until = q, got, s.until(r, q)
	told, end := s.telemetry.Start(ctx, s.nameOf(q))
	a.trace = s.telemetry.Headers(told)
	a.record, a.err = s.run(told, a, r, err)
	end(string(CodeOf(a.err)), a.err)
	if a.err != nil && ctx.Err() != nil && !errors.Is(context.Cause(ctx), consumer.ErrHandlerTimeout) {
		return a.err // it was told to give up: another instance goes on with the partition
	}
	a.began = orElse(a.began, got)
	if a.ended.IsZero() {
		a.ended = time.Now()
	}
	r.Context = a
	return nil
}

// until is when a call is over, for the server: the earlier of what its caller said and
// of what the broker's clock says, with some tolerance for clocks.
func (s *Server) until(r *kgo.Record, q request) time.Time {
	until := r.Timestamp.Add(DefaultTimeout)
	if q.timeout > 0 {
		until = r.Timestamp.Add(q.timeout)
	}
	if !q.deadline.IsZero() && (q.deadline.Before(until) || q.timeout == 0) {
		until = q.deadline
	}
	return until.Add(skewTolerance)
}

// run serves a two-way call.
func (s *Server) run(ctx context.Context, a *answer, r *kgo.Record, problem error) (*kgo.Record, error) {
	q := a.request
	m, early := s.admit(ctx, a, problem)
	if early != nil {
		return nil, doubted(ctx, early)
	}
	defer m.running.Add(-1)
	deadline := a.until.Add(-skewTolerance)
	bounded := &callContext{parent: ctx, deadline: deadline,
		info: Info{Method: orElse(q.method, m.full), Deadline: deadline, Attempt: q.attempt, Caller: q.caller, Server: true}}
	if !s.cancels.enter(q.correlationID, bounded) {
		a.began = time.Time{}
		return nil, cancelled.error(m.full, nil)
	}
	defer s.cancels.leave(bounded)
	resp, err := s.call(bounded, m, r) //nolint:contextcheck // its parent is ctx
	a.ended = time.Now()
	m.took.add(a.ended.Sub(a.began), a.ended)
	switch {
	case err != nil && bounded.givenUp():
		return nil, abandoned.error(m.full, nil)
	case err != nil:
		return nil, doubted(ctx, s.toCaller(m, q, err))
	}
	if resp == nil {
		resp = &kgo.Record{}
	}
	return resp, nil
}

// doubted has an error say maybe instead of never where another instance may have begun
// the call.
func doubted(ctx context.Context, e *Error) *Error {
	if e.Executed == Never && failure.MayHaveBegun(ctx) {
		e.Executed = Maybe
	}
	return e
}

// admit says which method is to run, or why none is.
func (s *Server) admit(ctx context.Context, a *answer, problem error) (*method, *Error) {
	q := a.request
	switch {
	case errors.Is(problem, errVersion):
		s.counts.unknown.Add(1)
		return nil, noMethod.error(q.method, problem)
	case problem != nil:
		s.counts.malformed.Add(1)
		return nil, malformed.error(q.method, problem)
	}
	m := s.method(q.method)
	now := time.Now()
	left := a.until.Sub(now)
	switch {
	case m == nil:
		s.counts.unknown.Add(1)
		return nil, noMethod.error(q.method, fmt.Errorf("%s has no method %q", s.service, bounded(q.method)))
	case left <= 0:
		s.counts.expired.Add(1)
		return nil, expired.error(m.full, nil)
	case !m.safe && failure.MayHaveBegun(ctx):
		s.counts.begun.Add(1)
		return nil, maybeBegun.error(m.full, nil)
	case m.took.tooLong(left - skewTolerance):
		s.counts.shed.Add(1)
		return nil, shed.error(m.full, nil)
	case m.running.Add(1) > int64(m.limit) && m.limit > 0:
		m.running.Add(-1)
		s.counts.limited.Add(1)
		e := limited.error(m.full, nil)
		e.RetryAfter = 100 * time.Millisecond
		return nil, e
	}
	a.began = now
	return m, nil
}

// method finds the handler of a method by the name that a request has; nil if there is
// none.
func (s *Server) method(name string) *method {
	if len(name) > len(s.service) && name[:len(s.service)] == s.service && name[len(s.service)] == '/' {
		if m := s.methods[name[len(s.service)+1:]]; m != nil {
			return m
		}
	}
	if m := s.methods[""]; m != nil {
		return m
	}
	if name == "" && len(s.methods) == 1 { // another framework's, which has one method to a topic
		for _, m := range s.methods {
			return m
		}
	}
	return nil
}

// nameOf is the method of a request as metrics have it: not what strangers make up.
func (s *Server) nameOf(q request) string {
	switch m := s.method(q.method); {
	case m == nil:
		return s.service + "/_OTHER"
	case m.name == "":
		return s.service + "/*"
	default:
		return m.full
	}
}

// call runs a handler, and has a panic be an error.
func (s *Server) call(ctx context.Context, m *method, r *kgo.Record) (resp *kgo.Record, err error) {
	returned := false
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, &panicError{p, debug.Stack()}
		} else if !returned {
			err = &panicError{"the handler called runtime.Goexit", debug.Stack()}
		}
	}()
	resp, err = m.serve(ctx, r)
	returned = true
	return resp, err
}

type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("%v\n%s", p.value, p.stack) }

// toCaller is the error that the caller gets for one that a handler returned.
func (s *Server) toCaller(m *method, q request, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok && e.Code.known() {
		sent := *e
		sent.Method = m.full
		if sent.ofCaller() { // of a call that the handler made: what it did is its own affair
			sent.Executed, sent.Remote, sent.Server, sent.Meta = Completed, false, "", nil
		}
		if !sent.Executed.known() {
			sent.Executed = Completed
		}
		return &sent
	}
	outcome, id := failed, randomName()
	if _, is := errors.AsType[*panicError](err); is {
		s.counts.panics.Add(1)
		outcome = panicked
	}
	if outcome == failed && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, DeadlineExceeded)) {
		e := &Error{Method: m.full, Code: DeadlineExceeded, Message: "the handler ended with its deadline", Executed: Completed}
		return e
	}
	s.log.Error("a handler failed, its caller gets the ID of this line", zap.String("id", id), zap.String("method", m.full),
		zap.String("caller", q.caller), zap.Error(err))
	e := outcome.error(m.full, nil)
	e.Message = "the handler failed; the server logged it under ID " + id
	return e
}

// handleOneWay serves a call that nobody waits for: a message. It fails as one.
func (s *Server) handleOneWay(ctx context.Context, r *kgo.Record, q request, problem error) error {
	s.counts.oneWay.Add(1)
	m := s.method(q.method)
	switch {
	case problem != nil:
		s.counts.malformed.Add(1)
		return duplex.Permanent(fmt.Errorf("rpc: reading a one-way call: %w", problem))
	case m == nil:
		s.counts.unknown.Add(1)
		return duplex.Permanent(fmt.Errorf("rpc: serving a one-way call: %s has no method %q", s.service, bounded(q.method)))
	case !q.deadline.IsZero() && s.isRequest(r) && time.Now().After(q.deadline.Add(skewTolerance)):
		s.counts.expired.Add(1)
		return duplex.Permanent(&duplex.Error{Op: "rpc: serving a one-way call of " + m.full, Codes: []duplex.Code{duplex.ErrExpired}, Hint: "its deadline has passed"})
	}
	ctx, end := s.telemetry.Start(ctx, s.nameOf(q))
	info := Info{Method: orElse(q.method, m.full), OneWay: true, Deadline: q.deadline, Attempt: q.attempt, Caller: q.caller, Server: true}
	_, err := s.call(NewContext(ctx, info), m, r)
	end(string(CodeOf(err)), err)
	if p, is := errors.AsType[*panicError](err); is {
		s.counts.panics.Add(1)
		return &duplex.Error{Op: "rpc: serving a one-way call of " + m.full, Codes: []duplex.Code{duplex.ErrPanic}, Err: p}
	}
	return err
}

// bounded keeps hostile input from filling a log.
func bounded(text string) string {
	const most = 120
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}
