package duplex

import (
	"errors"
	"strings"
)

// Code is the stable name of what went wrong, for programs to react to. Codes
// are errors themselves, so that errors.Is tells them apart:
//
//	if errors.Is(err, duplex.ErrOutcomeUnknown) { … }
type Code string

// The codes. An error may carry several: a publish that the broker refused for
// lack of rights after it may have been stored matches both ErrUnauthorized and
// ErrOutcomeUnknown.
const (
	// ErrOutcomeUnknown: the record may or may not be in the log, once; nobody
	// can tell from here. Every publish error that is not proven to have kept
	// the record out of the log carries it.
	ErrOutcomeUnknown Code = "outcome-unknown"
	// ErrTooLarge: the record is larger than the topic or the producer allows.
	ErrTooLarge Code = "too-large"
	// ErrUnknownTopic: the cluster has no such topic, or hides it.
	ErrUnknownTopic Code = "unknown-topic"
	// ErrInvalidTopic: no Kafka topic can have this name.
	ErrInvalidTopic Code = "invalid-topic"
	// ErrUnauthorized: the cluster knows who we are and refuses.
	ErrUnauthorized Code = "unauthorized"
	// ErrUnauthenticated: the cluster refuses our credentials.
	ErrUnauthenticated Code = "unauthenticated"
	// ErrUnreachable: no broker answered.
	ErrUnreachable Code = "unreachable"
	// ErrBufferFull: the producer holds as many records as it may.
	ErrBufferFull Code = "buffer-full"
	// ErrClosed: the component was closed before.
	ErrClosed Code = "closed"
	// ErrTimeout: the deadline passed before the work was even begun: nothing
	// was sent.
	ErrTimeout Code = "timeout"
	// ErrEncode: the codec, or Config.Prepare, refused the value.
	ErrEncode Code = "encode"
	// ErrEmptyKey: Topic.Key gave an empty string.
	ErrEmptyKey Code = "empty-key"
	// ErrUndecodable: the codec refused the bytes of a record.
	ErrUndecodable Code = "undecodable"
	// ErrPanic: a handler panicked.
	ErrPanic Code = "panic"
	// ErrExpired: its deadline had passed before it was handled, such as that of a
	// one-way call. No attempt can help.
	ErrExpired Code = "expired"
	// ErrInvalidRecord: the broker refuses the record whatever its size, such
	// as one with a timestamp outside the topic's bounds.
	ErrInvalidRecord Code = "invalid-record"
	// ErrFenced: another client with the same identity took over.
	ErrFenced Code = "fenced"
	// ErrRefused: a guard that keeps people from doing harm refused it; nothing was
	// changed.
	ErrRefused Code = "refused"
)

// Error implements error with the code itself.
func (c Code) Error() string { return string(c) }

// Error is what Duplex returns where a program may want to react: what was
// being done, the codes, what to do about it, and the cause.
type Error struct {
	// Op says what was being done, such as `producer: publishing to "orders"`.
	Op string
	// Codes name what is wrong, the most telling first. errors.Is matches each.
	Codes []Code
	// Hint says what to do about it; may be empty.
	Hint string
	// Err is the cause; may be nil.
	Err error
}

// Error gives "op: codes: cause (hint)".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	for i, c := range e.Codes {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(string(c))
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	if e.Hint != "" {
		b.WriteString(" (")
		b.WriteString(e.Hint)
		b.WriteString(")")
	}
	return b.String()
}

// Is reports whether target is one of the codes.
func (e *Error) Is(target error) bool {
	c, ok := target.(Code)
	if !ok {
		return false
	}
	for _, have := range e.Codes {
		if have == c {
			return true
		}
	}
	return false
}

// As gives the first of the codes to a *Code.
func (e *Error) As(target any) bool {
	c, ok := target.(*Code)
	if !ok || len(e.Codes) == 0 {
		return false
	}
	*c = e.Codes[0]
	return true
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the first code in err's chain, and "" when it has none.
func CodeOf(err error) Code {
	c, _ := errors.AsType[Code](err)
	return c
}
