package rpc

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Promise is a call under way whose response is fetched later.
type Promise[Resp any] struct {
	done chan struct{}
	// fetch gives the response, once the call has ended.
	fetch func() (Resp, error)
}

// Go makes a call without waiting for it. The call ends by its deadline, whether anybody
// waits for it or not. A hundred thousand may be under way: where the client knows the
// service and has no interceptors, a call has no goroutine.
func Go[Req, Resp any](ctx context.Context, c *Client, m Method[Req, Resp], req Req) *Promise[Resp] {
	p := &Promise[Resp]{done: make(chan struct{})}
	if at, ok := c.atOnce(m.Service); ok {
		if r, e := m.encode(req); e == nil {
			f := &flying{client: c, service: m.Service, method: m.name(), safe: m.Safe, request: r, done: p.done}
			p.fetch = sync.OnceValues(func() (Resp, error) { return response(c, m, f.reply, f.err) })
			f.start(ctx, at, deadlineOf(ctx, orElse(m.Timeout, DefaultTimeout)))
			return p
		}
	}
	var resp Resp
	var err error
	p.fetch = func() (Resp, error) { return resp, err }
	go func() {
		defer close(p.done)
		resp, err = Call(ctx, c, m, req)
	}()
	return p
}

// Done is closed when the call has ended.
func (p *Promise[Resp]) Done() <-chan struct{} { return p.done }

// Wait returns what Call would have, or the cause of ctx's end, which does not end the
// call.
func (p *Promise[Resp]) Wait(ctx context.Context) (Resp, error) {
	select {
	case <-p.done:
		return p.fetch()
	case <-ctx.Done():
		var none Resp
		return none, context.Cause(ctx)
	}
}

// atOnce reports whether a call to a service needs nothing that has to be waited for, and
// where its reply is to go.
func (c *Client) atOnce(service string) (at address, ok bool) {
	if len(c.cfg.Interceptors) > 0 || c.closed.Load() || !c.outbox.knows(RequestTopic(service)) || !c.presence.of(service).certain() {
		return address{}, false
	}
	return c.inbox.isOpen()
}

// flying is a call that nobody waits for yet, in its first attempt.
type flying struct {
	client   *Client
	service  string
	method   string
	safe     bool
	request  *kgo.Record
	deadline time.Time
	call     atomic.Pointer[call]
	timer    *time.Timer
	unhook   func() bool                  // from the caller's context
	end      func(code string, err error) // of its span
	done     chan struct{}
	reply    *kgo.Record
	err      error
}

func (f *flying) start(ctx context.Context, at address, deadline time.Time) {
	f.client.counts.calls.Add(1)
	f.deadline = deadline
	ctx, f.end = f.client.telemetry.Start(ctx, f.method)
	started := make(chan struct{})
	defer close(started)
	giveUp := func(cause error, expired bool) {
		<-started
		f.giveUp(cause, expired)
	}
	f.timer = time.AfterFunc(time.Until(deadline), func() { giveUp(context.DeadlineExceeded, true) })
	f.unhook = context.AfterFunc(ctx, func() { giveUp(context.Cause(ctx), byDeadline(ctx)) })
	bounded, cancel := context.WithDeadline(NewContext(ctx, Info{Method: f.method, Deadline: deadline, Caller: f.client.name}), deadline)
	defer cancel()
	ended := func(res result) { f.ended(ctx, res) }
	if call, e := f.client.begin(bounded, at, 0, f.request, ended); e != nil {
		f.settle(nil, e)
	} else {
		f.call.Store(call)
	}
}

// giveUp ends the call at its deadline, or because its caller does not want it any more.
func (f *flying) giveUp(cause error, expired bool) {
	call := f.call.Load()
	if call == nil {
		return // nothing was sent
	}
	if e := f.client.giveUp(call, cause, expired, f.deadline); e != nil {
		f.settle(nil, e)
	}
}

// ended is called with what came of the first attempt, by those who must not wait.
func (f *flying) ended(ctx context.Context, res result) {
	reply, e := f.client.finish(f.service, f.method, res)
	if e == nil || !retryable(e, f.safe) || f.client.closed.Load() {
		f.settle(reply, asErr(e))
		return
	}
	go func() {
		bounded, cancel := context.WithDeadline(NewContext(ctx, Info{Method: f.method, Deadline: f.deadline, Caller: f.client.name}), f.deadline)
		defer cancel()
		f.settle(f.client.again(bounded, f.service, f.safe, f.request, nil, e))
	}()
}

// asErr is e as an error, nil for nil.
func asErr(e *Error) error {
	if e == nil {
		return nil
	}
	return e
}

func (f *flying) settle(reply *kgo.Record, err error) {
	f.timer.Stop()
	f.unhook()
	f.reply, f.err = reply, err
	f.request = nil
	f.end(string(CodeOf(err)), err)
	close(f.done)
}
