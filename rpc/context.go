package rpc

import (
	"context"
	"sync"
	"time"
)

// callContext is the context of a handler: it ends by the call's deadline, when the caller
// gives up, or with the server's. Most handlers do not wait for that, so what it takes to
// tell them is made when somebody asks.
type callContext struct {
	//nolint:containedctx // a context has a parent
	parent   context.Context
	info     Info
	deadline time.Time
	id       []byte // the correlation ID, and its hash
	hash     uint64

	mu        sync.Mutex
	inner     context.Context //nolint:containedctx // the same, once it is made
	cancel    context.CancelCauseFunc
	stop      context.CancelFunc
	cancelled bool // by the caller
	ended     bool // the handler has returned
}

var _ context.Context = (*callContext)(nil)

// Deadline implements context.Context.
func (c *callContext) Deadline() (time.Time, bool) {
	if at, has := c.parent.Deadline(); has {
		return earlier(at, c.deadline), true
	}
	return c.deadline, true
}

// Done implements context.Context.
func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.make().Done()
}

// Err implements context.Context.
func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil && !c.cancelled && !c.ended && time.Now().Before(c.deadline) {
		return c.parent.Err()
	}
	return c.make().Err()
}

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	if _, ours := key.(infoKey); ours {
		return c.info
	}
	c.mu.Lock()
	inner := c.inner
	c.mu.Unlock()
	if inner != nil {
		return inner.Value(key) // the cause is there
	}
	return c.parent.Value(key)
}

// make gives the context that tells. The mutex is held.
func (c *callContext) make() context.Context {
	if c.inner == nil {
		c.inner, c.cancel = context.WithCancelCause(c.parent)
		c.inner, c.stop = context.WithDeadlineCause(c.inner, c.deadline, DeadlineExceeded)
		switch {
		case c.cancelled:
			c.cancel(errCancelled)
		case c.ended:
			c.stop()
			c.cancel(nil)
		}
	}
	return c.inner
}

// giveUp is called when the caller gives the call up.
func (c *callContext) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cancelled = true
	if c.inner != nil {
		c.cancel(errCancelled)
	}
}

// givenUp reports whether the caller did.
func (c *callContext) givenUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cancelled
}

// end is called when the handler has returned.
func (c *callContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.inner != nil {
		c.stop()
		c.cancel(nil)
	}
}

// words keeps text that comes again and again, so that not each request has its own.
type words struct {
	mu   sync.RWMutex
	kept map[string]string
}

// mostWords bounds them: strangers may make some up.
const mostWords = 1024

func (w *words) of(b []byte) string {
	w.mu.RLock()
	s, known := w.kept[string(b)]
	w.mu.RUnlock()
	if known {
		return s
	}
	s = string(b)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.kept == nil || len(w.kept) >= mostWords {
		w.kept = map[string]string{}
	}
	w.kept[s] = s
	return s
}
