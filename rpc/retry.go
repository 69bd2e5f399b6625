package rpc

import (
	"sync/atomic"
	"time"
)

const (
	// mostAttempts of a call are made, the first included.
	mostAttempts = 5
	// retryMin and retryMax bound the wait between them.
	retryMin, retryMax = 25 * time.Millisecond, time.Second
)

// retryable reports whether a call that ended with err may be made again.
func retryable(err *Error, safe bool) bool {
	if err.RetryAfter < 0 || err.is(nobodyServes) || err.is(tooManyPending) {
		return false
	}
	if err.Code != Unavailable && err.Code != ResourceExhausted {
		return false
	}
	return err.Executed == Never || safe && err.Executed == Maybe
}

// budget bounds the further attempts at calls of a service: where most calls fail, more
// of them make it worse. It is gRPC's (proposal A6): each failure takes a token, each
// success gives a tenth, and none is made again while half or more are gone.
type budget struct{ spent atomic.Int64 } // in tenths of a token

const (
	tenths       = 10
	mostTokens   = 100 * tenths
	tokenFailure = 1 * tenths
	tokenSuccess = 1
)

// failed takes a token, and reports whether the call may be made again.
func (b *budget) failed() bool {
	return b.move(tokenFailure) < mostTokens/2
}

func (b *budget) succeeded() { b.move(-tokenSuccess) }

// move returns what is spent then.
func (b *budget) move(by int64) int64 {
	for {
		was := b.spent.Load()
		now := min(max(was+by, 0), mostTokens)
		if now == was || b.spent.CompareAndSwap(was, now) {
			return now
		}
	}
}
