package rpc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex/internal/failure"
)

// What another instance may have begun is not said to be never executed, whatever ends it
// here.
func TestNeverIsSaidOnlyOfWhatNobodyBegan(t *testing.T) {
	t.Parallel()
	never := Handle(Method[int, int]{Service: "s", Name: "M"}, func(context.Context, int) (int, error) { panic("it must not run") })
	safe := never
	safe.name, safe.safe, safe.limit = "Safe", true, 1
	s := &Server{service: "s", log: zap.NewNop(), methods: map[string]*method{"M": {Handler: never, full: "s/M"}, "Safe": {Handler: safe, full: "s/Safe"}}}
	s.cancels = newCancels(s)
	s.methods["Safe"].running.Store(1) // as many as may
	begun := context.WithValue(t.Context(), failure.BegunKey{}, true)
	soon := time.Now().Add(time.Minute)
	for name, of := range map[string]struct {
		method  string
		until   time.Time
		problem error
		code    Code
		ours    Executed // where nobody can have begun it
	}{
		"malformed":      {"s/M", soon, errors.New("a header is wrong"), InvalidArgument, Never},
		"a new version":  {"s/M", soon, errVersion, Unimplemented, Never},
		"unknown method": {"s/Other", soon, nil, Unimplemented, Never},
		"too old":        {"s/M", time.Now().Add(-time.Second), nil, DeadlineExceeded, Never},
		"over its limit": {"s/Safe", soon, nil, ResourceExhausted, Never},
	} {
		for ctx, want := range map[context.Context]Executed{t.Context(): of.ours, begun: Maybe} {
			_, err := s.run(ctx, &answer{request: request{method: of.method}, until: of.until}, &kgo.Record{}, of.problem)
			require.ErrorIs(t, err, of.code, name)
			require.Equal(t, want, ExecutedOf(err), name)
		}
	}
	_, err := s.run(begun, &answer{request: request{method: "s/M"}, until: soon}, &kgo.Record{}, nil)
	require.ErrorIs(t, err, Unavailable)
	require.Equal(t, Maybe, ExecutedOf(err))
	require.EqualValues(t, 1, s.counts.begun.Load())
}

// A handler that returns what a call of its own ended with has run, whatever that says.
func TestErrorsOfCallsThatHandlersMake(t *testing.T) {
	t.Parallel()
	refused := nobodyServes.error("other/M", nil)
	remote := &Error{Method: "other/M", Code: Unavailable, Executed: Never, Remote: true, Server: "other/1"}
	s := &Server{service: "s", log: zap.NewNop()}
	s.cancels = newCancels(s)
	soon := time.Now().Add(time.Minute)
	run := func(ctx context.Context, err error) error {
		h := Handle(Method[int, int]{Service: "s", Name: "M", Safe: true}, func(context.Context, int) (int, error) { return 0, err })
		s.methods = map[string]*method{"M": {Handler: h, full: "s/M", serve: h.serve}}
		_, got := s.run(ctx, &answer{request: request{method: "s/M"}, until: soon}, &kgo.Record{Value: []byte("1")}, nil)
		return got
	}
	for _, err := range []error{refused, fmt.Errorf("asking: %w", refused), remote} {
		got := run(t.Context(), err)
		require.ErrorIs(t, got, Unavailable)
		require.Equal(t, Completed, ExecutedOf(got), "the handler ran: %v", err)
	}
	own := &Error{Code: Unavailable, Executed: Never}
	require.Equal(t, Never, ExecutedOf(run(t.Context(), own)), "a handler may say that it did nothing")
	begun := context.WithValue(t.Context(), failure.BegunKey{}, true)
	require.Equal(t, Maybe, ExecutedOf(run(begun, own)), "it does not know what another instance did")
}

// A call that was given up before its turn came does not begin, and strangers cannot have
// a server remember more than it should.
func TestCancelsComeEarly(t *testing.T) {
	t.Parallel()
	c := newCancels(&Server{})
	cancel := func(id string) {
		c.arrived(record(HeaderCorrelationID, id, HeaderKind, kindCancel))
	}
	cancel("early")
	require.False(t, c.enter([]byte("early"), &callContext{}))
	running := &callContext{parent: t.Context(), deadline: time.Now().Add(time.Minute)}
	require.True(t, c.enter([]byte("running"), running))
	cancel("running")
	require.ErrorIs(t, context.Cause(running), errCancelled)
	c.leave(running)
	require.Empty(t, c.running)
	c.arrived(record(HeaderCorrelationID, "another kind", HeaderKind, kindReply))
	require.True(t, c.enter([]byte("another kind"), &callContext{}))
	for i := range 3 * mostKept {
		cancel("stranger " + strconv.Itoa(i))
		require.LessOrEqual(t, len(c.early)+len(c.before), 2*mostKept)
	}
	require.False(t, c.enter([]byte("stranger "+strconv.Itoa(3*mostKept-1)), &callContext{}))
}
