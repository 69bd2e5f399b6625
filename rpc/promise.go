package rpc

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// Promise is a call under way whose response is fetched later.
type Promise[Resp any] struct {
	flying
	codec duplex.Codec

	fetched sync.Once
	resp    Resp
	failed  error
}

// Go makes a call without waiting for it. The call ends by its deadline, whether anybody
// waits for it or not. A hundred thousand may be under way: where the client knows the
// service and has no interceptors, a call has no goroutine.
func Go[Req, Resp any](ctx context.Context, c *Client, m Method[Req, Resp], req Req) *Promise[Resp] {
	p := &Promise[Resp]{codec: m.codec()}
	p.client = c
	if at, ok := c.atOnce(m.Service); ok {
		if r, e := m.encode(req); e == nil {
			p.callee, p.request = c.callee(m.Service, m.name(), m.Safe), r
			p.start(ctx, at, deadlineOf(ctx, orElse(m.Timeout, DefaultTimeout)))
			return p
		}
	}
	go func() {
		p.fetched.Do(func() { p.resp, p.failed = Call(ctx, c, m, req) })
		p.settle(nil, nil)
	}()
	return p
}

// Done is closed when the call has ended.
func (p *Promise[Resp]) Done() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.done == nil {
		p.done = make(chan struct{})
		if p.settled {
			close(p.done)
		}
	}
	return p.done
}

// Wait returns what Call would have, or the cause of ctx's end, which does not end the
// call.
func (p *Promise[Resp]) Wait(ctx context.Context) (Resp, error) {
	select {
	case <-p.Done():
		p.fetched.Do(func() { p.resp, p.failed = response[Resp](p.client, p.callee.method, p.codec, p.reply, p.err) })
		return p.resp, p.failed
	case <-ctx.Done():
		var none Resp
		return none, context.Cause(ctx)
	}
}

// atOnce reports whether a call to a service needs nothing that has to be waited for, and
// where its reply is to go.
func (c *Client) atOnce(service string) (at address, ok bool) {
	now := time.Now()
	if len(c.cfg.Interceptors) > 0 || c.closed.Load() || !c.outbox.knows(RequestTopic(service), now) || !c.presence.of(service).certain(now) {
		return address{}, false
	}
	return c.inbox.isOpen()
}

// flying is a call that nobody waits for yet, in its first attempt.
type flying struct {
	client   *Client
	callee   callee
	request  *kgo.Record
	deadline time.Time
	call     call
	ctx      context.Context              //nolint:containedctx // of its span
	span     func(code string, err error) // ends it

	mu      sync.Mutex
	timer   *time.Timer
	unhook  func() bool   // from the caller's context
	done    chan struct{} // made when somebody asks
	settled bool
	reply   *kgo.Record
	err     error
}

func (f *flying) start(ctx context.Context, at address, deadline time.Time) {
	f.client.counts.calls.Add(1)
	f.deadline = deadline
	f.ctx, f.span = f.client.telemetry.Start(ctx, f.callee.method)
	f.call.method, f.call.to = f.callee.method, f
	if e := f.client.begin(f.ctx, &f.call, at, 0, deadline, time.Now(), f.request); e != nil { //nolint:contextcheck // it is ctx with a span
		f.settle(nil, e)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.settled {
		return
	}
	f.timer = time.AfterFunc(time.Until(deadline), f.expired)
	if ctx.Done() != nil {
		f.unhook = context.AfterFunc(ctx, f.abandoned)
	}
}

// expired ends the call at its deadline, abandoned when its caller's context ends.
func (f *flying) expired()   { f.giveUp(context.DeadlineExceeded, true) }
func (f *flying) abandoned() { f.giveUp(context.Cause(f.ctx), byDeadline(f.ctx)) }

func (f *flying) giveUp(cause error, expired bool) {
	if e := f.client.giveUp(&f.call, cause, expired, f.deadline); e != nil {
		f.settle(nil, e)
	}
}

// end implements ender: it is called with what came of the first attempt, by those who
// must not wait.
func (f *flying) end(res result) {
	reply, e := f.client.finish(f.callee, res)
	if e == nil || !retryable(e, f.callee.safe) || f.client.closed.Load() {
		f.settle(reply, asErr(e))
		return
	}
	go func() {
		bounded, cancel := context.WithDeadline(f.ctx, f.deadline)
		defer cancel()
		f.settle(f.client.again(bounded, f.callee, f.request, e))
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
	if f.span != nil {
		f.span(string(CodeOf(err)), err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.timer != nil {
		f.timer.Stop()
	}
	if f.unhook != nil {
		f.unhook()
	}
	f.settled, f.reply, f.err = true, reply, err
	f.request, f.timer, f.unhook = nil, nil, nil
	if f.done != nil {
		close(f.done)
	}
}
