package duplex

import (
	"errors"
	"fmt"
	"time"
)

// Verdict is what a handler's error asks the consumer to do with the record.
// Handlers make one with [Permanent], [RetryAfter], [Snooze] or [Drop]; any
// other error asks for a retry, and nil means the record is handled.
type Verdict struct {
	// Kind says what should happen.
	Kind VerdictKind
	// After is how long to wait, for VerdictRetry (0 = as configured) and
	// VerdictSnooze.
	After time.Duration
	// Reason is what Drop was given.
	Reason string
}

// VerdictKind is one of the Verdict… constants.
type VerdictKind uint8

// The kinds of verdict.
const (
	// VerdictHandled: the handler returned nil.
	VerdictHandled VerdictKind = iota
	// VerdictRetry: run the record again later; counts as an attempt.
	VerdictRetry
	// VerdictSnooze: run the record again later; costs no attempt.
	VerdictSnooze
	// VerdictPermanent: no further attempt can help.
	VerdictPermanent
	// VerdictDrop: finish the record without handling it.
	VerdictDrop
)

// Permanent marks err as one that no retry can cure: bad data, a broken rule.
// With a failure policy the record becomes a dead letter at once; without one it
// is retried like any other failure, because nothing is ever skipped silently.
// Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &verdictError{verdict: Verdict{Kind: VerdictPermanent}, err: err}
}

// RetryAfter marks err as one to try again after d instead of the configured
// delay. It counts as an attempt. A d of 0 or less keeps the configured delay;
// RetryAfter(d, nil) is nil.
func RetryAfter(d time.Duration, err error) error {
	if err == nil {
		return nil
	}
	return &verdictError{verdict: Verdict{Kind: VerdictRetry, After: max(d, 0)}, err: err}
}

// Snooze asks for the record again in d without calling it a failure: no
// attempt is counted. Use it for "not yet".
func Snooze(d time.Duration) error {
	return &verdictError{verdict: Verdict{Kind: VerdictSnooze, After: max(d, 0)}}
}

// Drop finishes the record without handling it. It is counted and logged with
// the reason, so that it is not silent.
func Drop(reason string) error {
	return &verdictError{verdict: Verdict{Kind: VerdictDrop, Reason: reason}}
}

// VerdictOf tells what err, as a handler returned it, asks for. The outermost
// verdict in the chain wins.
func VerdictOf(err error) Verdict {
	if err == nil {
		return Verdict{}
	}
	if ve, ok := errors.AsType[*verdictError](err); ok {
		return ve.verdict
	}
	return Verdict{Kind: VerdictRetry}
}

type verdictError struct {
	verdict Verdict
	err     error
}

func (e *verdictError) Error() string {
	switch e.verdict.Kind {
	case VerdictSnooze:
		return fmt.Sprintf("snoozed for %s", e.verdict.After)
	case VerdictDrop:
		return "dropped: " + e.verdict.Reason
	case VerdictPermanent:
		return "permanent: " + e.err.Error()
	default:
		return e.err.Error()
	}
}

func (e *verdictError) Unwrap() error { return e.err }
