package rpc

import "fmt"

// Outcome is one of the ways in which a call ends with an error that no handler
// returned: which code that has, whether the server ran the call, and how that is
// known.
type Outcome struct {
	Name     string // stable
	By       string // "client" or "server"
	Code     Code
	Executed Executed
	When     string
	Why      string // it may say so
}

// The outcomes. All errors that this package makes are made from them.
//
//nolint:gochecknoglobals // a table
var (
	notEncoded = outcome("not-encoded", client, InvalidArgument, Never, "the codec refuses the request, or the key is empty",
		"nothing was sent")
	tooLarge = outcome("too-large", client, InvalidArgument, Never, "the request is larger than the topic takes",
		"the size is known before; a broker that refuses a batch for its size has not written it")
	clientClosed = outcome("client-closed", client, Canceled, Never, "the client was closed before the call",
		"nothing was sent")
	notReady = outcome("not-ready", client, Unavailable, Never, "the deadline passed before the client knew where replies come in",
		"nothing was sent")
	tooManyPending = outcome("too-many-pending", client, ResourceExhausted, Never, "MaxPending calls are under way",
		"nothing was sent")
	nobodyServes = outcome("nobody-serves", client, Unavailable, Never, "the service's group has no members, or the service no topic",
		"nothing was sent")
	givenUpBefore = outcome("given-up-before", client, Canceled, Never, "the caller gave up before the request was handed to Kafka's client",
		"nothing was sent")
	expiredBefore = outcome("expired-before", client, DeadlineExceeded, Never, "the deadline passed before the request was handed to Kafka's client",
		"nothing was sent")
	notSent = outcome("not-sent", client, Unavailable, Maybe, "Kafka's client gave up on the request",
		"an answer that was lost, or NOT_LEADER, authorisation and unknown-topic answers to a second try, may come after the record was written")
	noReply = outcome("no-reply", client, DeadlineExceeded, Maybe, "the deadline passed after the request was sent",
		"it may be waiting, at work, or answered a moment too late")
	givenUp = outcome("given-up", client, Canceled, Maybe, "the caller gave up after the request was sent",
		"it may be waiting, at work, or answered a moment too late")
	closedMeanwhile = outcome("closed-meanwhile", client, Canceled, Maybe, "the client was closed while the call was under way",
		"it may be waiting, at work, or answered a moment too late")
	inboxLost = outcome("inbox-lost", client, Unavailable, Maybe, "the reply topic was deleted, or cut off, while the call was under way",
		"the reply may have been there")
	badReply = outcome("bad-reply", client, Internal, Completed, "the codec refuses the response",
		"the server sent it")

	malformed = outcome("malformed", server, InvalidArgument, Never, "the request's headers are not as they must be, or the codec refuses it",
		"no handler got it")
	noMethod = outcome("no-method", server, Unimplemented, Never, "the service has no such method, or the request is of a newer version",
		"no handler got it")
	expired = outcome("expired", server, DeadlineExceeded, Never, "the request was too old when its turn came",
		"no handler got it")
	shed = outcome("shed", server, ResourceExhausted, Never, "less time is left than most calls of the method take",
		"no handler got it")
	limited = outcome("limited", server, ResourceExhausted, Never, "as many calls of the method are at work as it allows",
		"no handler got it")
	cancelled = outcome("cancelled", server, Canceled, Never, "its caller gave it up before its turn came; nobody hears of this",
		"no handler got it")
	abandoned = outcome("abandoned", server, Canceled, Completed, "its caller gave it up while the handler ran; nobody hears of this",
		"the handler ran")
	maybeBegun = outcome("maybe-begun", server, Unavailable, Maybe, "another instance had the request, and may have begun it; the method is not Safe",
		"that instance died, or lost its partition, before it committed")
	failed = outcome("failed", server, Internal, Completed, "the handler returned an error without a code; the server logged it under the ID",
		"the handler ran")
	panicked = outcome("panicked", server, Internal, Completed, "the handler panicked; the server logged it under the ID",
		"the handler ran")
	replyNotEncoded = outcome("reply-not-encoded", server, Internal, Completed, "the codec refuses what the handler returned",
		"the handler ran")
	replyTooLarge = outcome("reply-too-large", server, ResourceExhausted, Completed, "the response is larger than the reply topic takes",
		"the handler ran")
)

const client, server = "client", "server"

//nolint:gochecknoglobals // filled by the table above
var outcomes []*Outcome

func outcome(name, by string, code Code, executed Executed, when, why string) *Outcome {
	o := &Outcome{name, by, code, executed, when, why}
	outcomes = append(outcomes, o)
	return o
}

// Outcomes are all the ways in which a call ends with an error that no handler
// returned, the client's first.
func Outcomes() []Outcome {
	all := make([]Outcome, len(outcomes))
	for i, o := range outcomes {
		all[i] = *o
	}
	return all
}

// error is the outcome of one call.
func (o *Outcome) error(method string, cause error) *Error {
	e := &Error{Method: method, Code: o.Code, Message: o.When, Executed: o.Executed, Err: cause, outcome: o}
	if cause != nil {
		e.Message = fmt.Sprintf("%s: %v", o.When, cause)
	}
	return e
}
