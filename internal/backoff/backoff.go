// Package backoff computes how long to wait before trying again.
package backoff

import (
	"math/rand/v2"
	"time"
)

// Exponential returns the wait after the given attempt (1 for the first): least,
// doubled with every further attempt, at most most; the last fifth of it is
// random, so that many who failed together do not come back together.
func Exponential(attempt int, least, most time.Duration) time.Duration {
	d := most
	if shift := max(attempt, 1) - 1; shift < 63 && least<<shift > 0 && least<<shift < most && (least<<shift)>>shift == least {
		d = least << shift
	}
	fifth := d / 5
	if fifth <= 0 {
		return d
	}
	return d - fifth + rand.N(fifth+1)
}
