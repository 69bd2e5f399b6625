package rpc

// Code says what kind of error ended a call, as Connect and gRPC name them
// (https://connectrpc.com/docs/protocol#error-codes). Codes are errors themselves, so
// that errors.Is tells them apart:
//
//	if errors.Is(err, rpc.NotFound) { … }
type Code string

// The codes.
const (
	Canceled           Code = "canceled"            // the caller gave up
	Unknown            Code = "unknown"             // nobody said which
	InvalidArgument    Code = "invalid_argument"    // the request cannot be right, whatever the state
	DeadlineExceeded   Code = "deadline_exceeded"   // the deadline passed
	NotFound           Code = "not_found"           // what was asked for is not there
	AlreadyExists      Code = "already_exists"      // what was to be made is there
	PermissionDenied   Code = "permission_denied"   // the caller may not do this
	ResourceExhausted  Code = "resource_exhausted"  // too much of something, such as calls at once
	FailedPrecondition Code = "failed_precondition" // not in this state; trying again does not help
	Aborted            Code = "aborted"             // another was faster; begin again
	OutOfRange         Code = "out_of_range"        // beyond what is valid now
	Unimplemented      Code = "unimplemented"       // the server has no such method
	Internal           Code = "internal"            // something is broken
	Unavailable        Code = "unavailable"         // not now; trying again may help
	DataLoss           Code = "data_loss"           // lost or damaged for good
	Unauthenticated    Code = "unauthenticated"     // who the caller is was not proven
)

// Error implements error with the code itself.
func (c Code) Error() string { return string(c) }

// known reports whether c is one of the codes.
func (c Code) known() bool {
	switch c {
	case Canceled, Unknown, InvalidArgument, DeadlineExceeded, NotFound, AlreadyExists, PermissionDenied, ResourceExhausted,
		FailedPrecondition, Aborted, OutOfRange, Unimplemented, Internal, Unavailable, DataLoss, Unauthenticated:
		return true
	}
	return false
}

// Executed says whether the server ran a call that ended with an error.
type Executed string

// Whether the server ran the call.
const (
	Never     Executed = "never"     // it did not, and will not
	Maybe     Executed = "maybe"     // nobody can tell from here
	Completed Executed = "completed" // it did: the error is the handler's answer
)

func (x Executed) known() bool { return x == Never || x == Maybe || x == Completed }
