package rpc

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Error is how a call ends that does not end with a response. errors.Is matches its
// Code, and errors.As finds it.
//
// A handler returns one, made with [Errorf], to say what its caller is to know. Any
// other error of a handler reaches the caller as internal with the ID under which the
// server has logged it: what a program says to itself may not be for others.
type Error struct {
	// Method is what was called, as "service/Name".
	Method string
	// Code and Message say what is wrong. A message that the server sent has at most
	// 1 KiB.
	Code    Code
	Message string
	// Details are further facts for programs, as Connect has them.
	Details []Detail
	// Meta are headers of the reply that are not Duplex's own; nil for an error that
	// was not sent.
	Meta []kgo.RecordHeader
	// Executed says whether the server ran the call.
	Executed Executed
	// Remote is set where the server said so, and Server names it, as
	// "service/instance": what it says of itself, which is not proven.
	Remote bool
	Server string
	// RetryAfter is how long the server asks to be left alone; negative for good, 0 if
	// it said nothing.
	RetryAfter time.Duration
	// Err is the cause, where this process knows one. It is never sent.
	Err error

	outcome *Outcome // that it was made from; nil for a handler's
}

// Detail is a fact of an error: the name of a type, and its bytes.
type Detail struct {
	Type  string
	Value []byte
}

// Errorf makes an error for a handler to return. The format may wrap a cause with %w:
// its words are sent, as all of the message is.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// WithDetail adds a detail and returns e.
func (e *Error) WithDetail(kind string, value []byte) *Error {
	e.Details = append(e.Details, Detail{kind, value})
	return e
}

// Error gives "rpc: calling service/Name: code: message (executed: maybe)".
func (e *Error) Error() string {
	var b strings.Builder
	if e.Method != "" {
		b.WriteString("rpc: calling " + e.Method + ": ")
	}
	b.WriteString(string(e.Code))
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Executed != "" {
		b.WriteString(" (executed: " + string(e.Executed) + ")")
	}
	return b.String()
}

// Is reports whether target is the error's code.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code
}

// ofCaller reports whether the error is what a call ended with for the one who made it.
func (e *Error) ofCaller() bool { return e.Remote || e.outcome != nil && e.outcome.By == client }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf is the code of an error of this package in err's chain; Unknown for another
// error, and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return Unknown
}

// ExecutedOf says whether the call ran that err ended: Maybe where err does not tell,
// and Completed for nil.
func ExecutedOf(err error) Executed {
	if err == nil {
		return Completed
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Executed.known() {
		return e.Executed
	}
	return Maybe
}
