package duplex_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
)

var (
	errGateClosed = errors.New("the gate is closed")
	errNoFlight   = errors.New("a departure without a flight")
)

// board is a handler: what it returns says what should happen to the record.
func board(_ context.Context, d Departure) error {
	switch {
	case d.Flight == "":
		return duplex.Permanent(errNoFlight) // no retry can help
	case d.Gate == "":
		return duplex.Snooze(time.Minute) // not yet, and no failure
	case d.Gate == "closed":
		return duplex.RetryAfter(5*time.Second, errGateClosed)
	case d.Origin == "test":
		return duplex.Drop("a test flight")
	default:
		return nil
	}
}

func ExampleVerdictOf() {
	for _, d := range []Departure{
		{Flight: "LH 454", Gate: "B12"},
		{},
		{Flight: "LH 454"},
		{Flight: "LH 454", Gate: "closed"},
		{Flight: "XX 1", Gate: "B12", Origin: "test"},
	} {
		err := board(context.Background(), d)
		switch v := duplex.VerdictOf(err); v.Kind {
		case duplex.VerdictHandled:
			fmt.Println("handled")
		case duplex.VerdictRetry, duplex.VerdictSnooze:
			fmt.Println("again in", v.After, "-", err)
		case duplex.VerdictPermanent, duplex.VerdictDrop:
			fmt.Println("never again -", err)
		}
	}
	// Output:
	// handled
	// never again - permanent: a departure without a flight
	// again in 1m0s - snoozed for 1m0s
	// again in 5s - the gate is closed
	// never again - dropped: a test flight
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want duplex.Verdict
	}{
		"nil is handled":                 {nil, duplex.Verdict{Kind: duplex.VerdictHandled}},
		"any other error is retried":     {io.EOF, duplex.Verdict{Kind: duplex.VerdictRetry}},
		"so is a cancelled context":      {context.Canceled, duplex.Verdict{Kind: duplex.VerdictRetry}},
		"permanent":                      {duplex.Permanent(io.EOF), duplex.Verdict{Kind: duplex.VerdictPermanent}},
		"retry after":                    {duplex.RetryAfter(time.Hour, io.EOF), duplex.Verdict{Kind: duplex.VerdictRetry, After: time.Hour}},
		"retry after 0 is as configured": {duplex.RetryAfter(0, io.EOF), duplex.Verdict{Kind: duplex.VerdictRetry}},
		"negative is as configured":      {duplex.RetryAfter(-1, io.EOF), duplex.Verdict{Kind: duplex.VerdictRetry}},
		"snooze":                         {duplex.Snooze(time.Hour), duplex.Verdict{Kind: duplex.VerdictSnooze, After: time.Hour}},
		"negative snooze is at once":     {duplex.Snooze(-1), duplex.Verdict{Kind: duplex.VerdictSnooze}},
		"drop":                           {duplex.Drop("old"), duplex.Verdict{Kind: duplex.VerdictDrop, Reason: "old"}},
		"wrapped": {
			fmt.Errorf("boarding: %w", duplex.Permanent(io.EOF)), duplex.Verdict{Kind: duplex.VerdictPermanent},
		},
		"joined": {
			errors.Join(io.EOF, duplex.Drop("old")), duplex.Verdict{Kind: duplex.VerdictDrop, Reason: "old"},
		},
		"inside an error with a code": {
			&duplex.Error{Op: "x", Err: duplex.Snooze(time.Second)}, duplex.Verdict{Kind: duplex.VerdictSnooze, After: time.Second},
		},
		"the outermost wins: a retry": {
			duplex.RetryAfter(time.Second, fmt.Errorf("x: %w", duplex.Permanent(io.EOF))),
			duplex.Verdict{Kind: duplex.VerdictRetry, After: time.Second},
		},
		"the outermost wins: permanent": {
			duplex.Permanent(fmt.Errorf("x: %w", duplex.Snooze(time.Second))), duplex.Verdict{Kind: duplex.VerdictPermanent},
		},
	} {
		require.Equal(t, c.want, duplex.VerdictOf(c.err), name)
	}
}

func TestVerdictsKeepTheCause(t *testing.T) {
	t.Parallel()
	for _, err := range []error{duplex.Permanent(errNoFlight), duplex.RetryAfter(time.Second, errNoFlight)} {
		require.ErrorIs(t, err, errNoFlight)
		require.ErrorContains(t, err, errNoFlight.Error())
	}
	require.NoError(t, errors.Unwrap(duplex.Snooze(time.Second)))
	require.NoError(t, errors.Unwrap(duplex.Drop("old")))
}

func TestNoErrorIsNoVerdict(t *testing.T) {
	t.Parallel()
	require.NoError(t, duplex.Permanent(nil))
	require.NoError(t, duplex.RetryAfter(time.Second, nil))
	require.Error(t, duplex.Snooze(0))
	require.Error(t, duplex.Drop(""))
}
