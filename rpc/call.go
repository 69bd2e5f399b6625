package rpc

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/backoff"
	"github.com/duplex-go/duplex/internal/kafka"
)

// Call calls m and waits for the response, until ctx's deadline or, without one, the
// method's; 24 h at most. The error is an [*Error]: one that the handler returned, or one of
// [Outcomes].
//
// It is made again by itself, up to five times within its deadline, where it certainly
// did not run, or m is Safe; calls to a service that has no servers are refused at once,
// or wait for one (ClientConfig.WaitForServer).
func Call[Req, Resp any](ctx context.Context, c *Client, m Method[Req, Resp], req Req) (Resp, error) {
	var none Resp
	r, e := m.encode(req)
	if e != nil {
		return none, c.ended(e)
	}
	deadline := deadlineOf(ctx, orElse(m.Timeout, DefaultTimeout))
	if at, has := ctx.Deadline(); !has || !at.Equal(deadline) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline)
		defer cancel()
	}
	to := c.callee(m.Service, m.name(), m.Safe)
	ctx, end := c.telemetry.Start(ctx, to.method)
	reply, err := c.intercepted(ctx, to, deadline, r)
	resp, err := response[Resp](c, to.method, m.codec(), reply, err)
	end(string(CodeOf(err)), err)
	return resp, err
}

// callee is what a call goes to.
type callee struct {
	service string
	method  string // "service/Name"
	safe    bool
	served  *served // what is known of the service
}

func (c *Client) callee(service, method string, safe bool) callee {
	return callee{service, method, safe, c.presence.of(service)}
}

// intercepted makes a call through the interceptors.
func (c *Client) intercepted(ctx context.Context, to callee, deadline time.Time, r *kgo.Record) (*kgo.Record, error) {
	if len(c.cfg.Interceptors) == 0 {
		return c.call(ctx, to, r)
	}
	call := wrap(func(ctx context.Context, r *kgo.Record) (*kgo.Record, error) { return c.call(ctx, to, r) }, c.cfg.Interceptors)
	return call(NewContext(ctx, Info{Method: to.method, Deadline: deadline, Caller: c.name}), r)
}

// response is what a call returns.
func response[Resp any](c *Client, method string, codec duplex.Codec, reply *kgo.Record, err error) (resp Resp, _ error) {
	if err != nil {
		return resp, c.ended(asError(method, err))
	}
	if resp, err = (duplex.Topic[Resp]{Codec: codec}).Value(reply); err != nil {
		return resp, c.ended(badReply.error(method, err))
	}
	c.counts.answered.Add(1)
	return resp, nil
}

func (c *Client) ended(e *Error) error {
	c.counts.errors.Add(1)
	return e
}

// asError has what an interceptor returned be an *Error.
func asError(method string, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Method: method, Code: Unknown, Message: err.Error(), Executed: Maybe, Err: err}
}

// OneWay sends a request that nobody answers: a message. It returns where Kafka has
// stored it. It is not refused where the service has no servers, and has a deadline only
// if ctx has: a server that gets to it after that treats it as failed. Errors are those of
// a publish: one that matches [duplex.ErrOutcomeUnknown] may be stored.
func OneWay[Req, Resp any](ctx context.Context, c *Client, m Method[Req, Resp], req Req) (duplex.Position, error) {
	r, e := m.encode(req)
	if e != nil {
		return duplex.Position{}, e
	}
	if c.closed.Load() {
		return duplex.Position{}, clientClosed.error(m.name(), duplex.ErrClosed)
	}
	c.counts.oneWay.Add(1)
	ctx, end := c.telemetry.Start(ctx, m.name())
	c.telemetry.Inject(ctx, r)
	at, err := c.oneWay(ctx, m.name(), r)
	end(string(CodeOf(err)), err)
	return at, err
}

// call makes a call, again where that does no harm.
func (c *Client) call(ctx context.Context, to callee, r *kgo.Record) (*kgo.Record, error) {
	c.counts.calls.Add(1)
	reply, e := c.once(ctx, to, 0, r)
	if e == nil {
		return reply, nil
	}
	return c.again(ctx, to, r, e)
}

// again makes further attempts at a call, the first of which ended with e, where that does
// no harm. What it ends with says never only if that is true of all attempts.
func (c *Client) again(ctx context.Context, to callee, r *kgo.Record, e *Error) (*kgo.Record, error) {
	for attempt := 0; ; attempt++ {
		if attempt+1 >= mostAttempts || !retryable(e, to.safe) || !to.served.budget.failed() || ctx.Err() != nil {
			return nil, e
		}
		wait := max(e.RetryAfter, backoff.Exponential(attempt+1, retryMin, retryMax))
		if at, _ := ctx.Deadline(); time.Until(at) < wait {
			return nil, e
		}
		select {
		case <-ctx.Done():
			return nil, e
		case <-c.over:
			return nil, e
		case <-time.After(wait):
		}
		c.counts.retried.Add(1)
		before := e.Executed
		var reply *kgo.Record
		if reply, e = c.once(ctx, to, attempt+1, r); e == nil {
			return reply, nil
		}
		if e.Executed == Never {
			e.Executed = before
		}
	}
}

// is reports whether an error is an outcome of this process.
func (e *Error) is(o *Outcome) bool { return !e.Remote && e.outcome == o }

// once makes one attempt at a call.
func (c *Client) once(ctx context.Context, to callee, attempt int, request *kgo.Record) (*kgo.Record, *Error) {
	if c.closed.Load() {
		return nil, clientClosed.error(to.method, duplex.ErrClosed)
	}
	if ctx.Err() != nil {
		return nil, before(ctx, expiredBefore, to.method, context.Cause(ctx))
	}
	at, err := c.inbox.await(ctx)
	if err != nil {
		return nil, c.notYet(ctx, to.method, err)
	}
	now := time.Now()
	if !c.outbox.knows(request.Topic, now) || !to.served.certain(now) {
		if err := c.findServer(ctx, to, request.Topic); err != nil {
			return nil, err
		}
		now = time.Now()
	}
	ended, _ := c.waits.Get().(waiting)
	if ended == nil {
		ended = make(waiting, 1)
	}
	deadline, _ := ctx.Deadline()
	call := &call{method: to.method, to: ended}
	if e := c.begin(ctx, call, at, attempt, deadline, now, request); e != nil {
		return nil, e
	}
	select {
	case res := <-ended:
		c.waits.Put(ended)
		return c.finish(to, res)
	case <-ctx.Done():
	}
	if e := c.giveUp(call, context.Cause(ctx), byDeadline(ctx), deadline); e != nil {
		c.waits.Put(ended) // whoever took the call out ends it, and that is us
		return nil, e
	}
	return c.finish(to, <-ended)
}

// begin sends the request of an attempt. The call ends once, unless it is given up before.
func (c *Client) begin(ctx context.Context, call *call, at address, attempt int, deadline, now time.Time, request *kgo.Record) *Error {
	left := deadline.Sub(now)
	switch {
	case ctx.Err() != nil:
		return before(ctx, expiredBefore, call.method, context.Cause(ctx))
	case left <= 0:
		return expiredBefore.error(call.method, context.DeadlineExceeded)
	}
	call.number = c.numbers.next()
	call.request = c.request(ctx, call, at, attempt, deadline, left, request)
	if !c.pending.add(call) {
		return tooManyPending.error(call.method, nil)
	}
	if c.closed.Load() && c.pending.take(call.number, false) != nil { // Close has looked already
		return clientClosed.error(call.method, duplex.ErrClosed)
	}
	c.outbox.send(call)
	return nil
}

// giveUp ends a call for the given cause, because it expired or its caller does not want it;
// nil if it has ended already.
func (c *Client) giveUp(call *call, cause error, expired bool, deadline time.Time) *Error {
	if c.pending.take(call.number, false) == nil {
		return nil
	}
	switch withdrawn := c.outbox.withdraw(call); {
	case withdrawn && expired:
		return expiredBefore.error(call.method, cause)
	case withdrawn:
		return givenUpBefore.error(call.method, cause)
	case expired:
		return noReply.error(call.method, cause)
	default:
		c.cancel(call, deadline)
		return givenUp.error(call.method, cause)
	}
}

// notYet is the error of a call that ended before the client had what it takes to send it.
func (c *Client) notYet(ctx context.Context, method string, cause error) *Error {
	if c.closed.Load() {
		return clientClosed.error(method, duplex.ErrClosed)
	}
	return before(ctx, notReady, method, cause)
}

// before is the error of a call that ended before anything was sent.
func before(ctx context.Context, o *Outcome, method string, cause error) *Error {
	if ctx.Err() != nil && !byDeadline(ctx) {
		o = givenUpBefore
	}
	return o.error(method, cause)
}

// byDeadline reports whether a context ended by its deadline, whatever cause that was
// given.
func byDeadline(ctx context.Context) bool {
	return errors.Is(ctx.Err(), context.DeadlineExceeded) || errors.Is(context.Cause(ctx), context.DeadlineExceeded)
}

// findServer reports why a call to a service is not sent at all.
func (c *Client) findServer(ctx context.Context, to callee, topic string) *Error {
	for try := 1; ; try++ {
		err := c.outbox.know(ctx, topic)
		missing := errors.Is(err, duplex.ErrUnknownTopic)
		switch {
		case err != nil && !missing:
			return c.notYet(ctx, to.method, err)
		case !missing && !c.presence.nobody(ctx, to.service, to.served):
			return nil
		case !c.cfg.WaitForServer:
			return nobodyServes.error(to.method, err)
		}
		select {
		case <-ctx.Done():
			return before(ctx, nobodyServes, to.method, context.Cause(ctx))
		case <-c.over:
			return clientClosed.error(to.method, duplex.ErrClosed)
		case <-time.After(backoff.Exponential(try, retryMin, retryMax/2)):
		}
	}
}

// request makes the record of one attempt.
func (c *Client) request(ctx context.Context, call *call, at address, attempt int, deadline time.Time, left time.Duration, of *kgo.Record) *outgoing {
	out := newOutgoing()
	w := writer{headers: out.headers[:0], buffer: out.values[:0]}
	for _, h := range of.Headers {
		if !reserved(h.Key) {
			w.headers = append(w.headers, h)
		}
	}
	w.correlationID(c.identity, call.number)
	w.text(HeaderReplyTopic, at.topic)
	w.int32(HeaderReplyPartition, at.partition)
	w.text(HeaderVersion, version)
	w.text(HeaderKind, kindRequest)
	w.text(HeaderMethod, call.method)
	w.decimal(HeaderDeadline, deadline.UnixMilli())
	w.decimal(HeaderTimeout, min(max(left, time.Millisecond), maxTimeout).Milliseconds())
	if attempt > 0 {
		w.decimal(HeaderAttempt, int64(attempt))
	}
	w.text(HeaderCaller, c.name)
	out.record = kgo.Record{Topic: of.Topic, Key: of.Key, Value: of.Value, Headers: w.headers}
	c.telemetry.Inject(ctx, &out.record)
	return out
}

// reserved reports whether a header is not for users to set.
func reserved(name string) bool {
	return strings.HasPrefix(name, "rpc-") || strings.HasPrefix(name, "kafka_")
}

// finish is what a call ends with that was answered, or could not be.
func (c *Client) finish(to callee, res result) (*kgo.Record, *Error) {
	if res.err != nil {
		return nil, res.err
	}
	to.served.heard(res.came)
	p := parseReply(res.reply, &c.words)
	if p.code == "" {
		to.served.budget.succeeded()
		return res.reply, nil
	}
	e := &Error{
		Method: to.method, Code: p.code, Message: p.message, Executed: p.executed, Remote: true, Server: p.server, RetryAfter: p.retryAfter,
		Details: details(res.reply.Value),
	}
	for _, h := range res.reply.Headers {
		if !ours(h.Key) {
			e.Meta = append(e.Meta, h)
		}
	}
	return nil, e
}

// oneWay sends a message and waits until it is stored.
func (c *Client) oneWay(ctx context.Context, method string, r *kgo.Record) (duplex.Position, error) {
	op := "rpc: sending a one-way call of " + method
	if err := c.outbox.know(ctx, r.Topic); err != nil {
		return duplex.Position{}, err
	}
	w := writer{headers: r.Headers}
	w.text(HeaderVersion, version)
	w.text(HeaderKind, kindOneWay)
	w.text(HeaderMethod, method)
	if deadline, ok := ctx.Deadline(); ok {
		w.decimal(HeaderDeadline, deadline.UnixMilli())
	}
	w.text(HeaderCaller, c.name)
	r.Headers = w.headers
	c.outbox.place(r)
	sent := make(chan error, 1)
	c.client.TryProduce(c.life, r, func(_ *kgo.Record, err error) { sent <- err }) //nolint:contextcheck // engine rule 21
	select {
	case err := <-sent:
		if err != nil {
			return duplex.Position{}, unknownOutcome(op, kafka.Explain(op, err))
		}
		return duplex.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}, nil
	case <-ctx.Done():
		return duplex.Position{}, unknownOutcome(op, context.Cause(ctx))
	}
}

// unknownOutcome is for a message that may be stored, or will be.
func unknownOutcome(op string, cause error) error {
	if errors.Is(cause, duplex.ErrTooLarge) || errors.Is(cause, duplex.ErrInvalidRecord) {
		return cause
	}
	return &duplex.Error{Op: op, Codes: []duplex.Code{duplex.ErrOutcomeUnknown}, Err: cause}
}
