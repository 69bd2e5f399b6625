package duplex_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
)

func ExampleError() {
	err := fmt.Errorf("closing the day: %w", &duplex.Error{
		Op:    `producer: publishing to "orders"`,
		Codes: []duplex.Code{duplex.ErrUnauthorized, duplex.ErrOutcomeUnknown},
		Hint:  "grant this client WRITE on the topic",
		Err:   errors.New("TOPIC_AUTHORIZATION_FAILED"),
	})
	fmt.Println(err)

	switch {
	case errors.Is(err, duplex.ErrOutcomeUnknown):
		fmt.Println("it may be in the log: look before you publish it again")
	case errors.Is(err, duplex.ErrUnauthorized):
		fmt.Println("it is not in the log")
	}
	// Output:
	// closing the day: producer: publishing to "orders": unauthorized, outcome-unknown: TOPIC_AUTHORIZATION_FAILED (grant this client WRITE on the topic)
	// it may be in the log: look before you publish it again
}

func ExampleCodeOf() {
	_, err := Departures.Record(Departure{})
	fmt.Println(duplex.CodeOf(err)) // short and stable: good for logs and metrics
	// Output: empty-key
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"op":                       &duplex.Error{Op: "op"},
		"op: closed":               &duplex.Error{Op: "op", Codes: []duplex.Code{duplex.ErrClosed}},
		"op: closed, fenced: EOF":  &duplex.Error{Op: "op", Codes: []duplex.Code{duplex.ErrClosed, duplex.ErrFenced}, Err: io.EOF},
		"op: EOF (do it again)":    &duplex.Error{Op: "op", Err: io.EOF, Hint: "do it again"},
		"op: closed (do it again)": &duplex.Error{Op: "op", Codes: []duplex.Code{duplex.ErrClosed}, Hint: "do it again"},
		"closed":                   duplex.ErrClosed,
	} {
		require.EqualError(t, err, want)
	}
}

func TestErrorMatchesEachOfItsCodesAndItsCause(t *testing.T) {
	t.Parallel()
	inner := &duplex.Error{Op: "inner", Codes: []duplex.Code{duplex.ErrUnreachable}, Err: io.EOF}
	err := fmt.Errorf("outer: %w", &duplex.Error{Op: "middle", Codes: []duplex.Code{duplex.ErrTimeout, duplex.ErrOutcomeUnknown}, Err: inner})
	for _, is := range []error{duplex.ErrTimeout, duplex.ErrOutcomeUnknown, duplex.ErrUnreachable, io.EOF} {
		require.ErrorIs(t, err, is)
	}
	for _, isNot := range []error{duplex.ErrClosed, duplex.Code(""), io.ErrUnexpectedEOF} {
		require.NotErrorIs(t, err, isNot)
	}
	var found *duplex.Error
	require.ErrorAs(t, err, &found)
	require.Equal(t, "middle", found.Op)
}

func TestCodeOf(t *testing.T) {
	t.Parallel()
	coded := &duplex.Error{Op: "x", Codes: []duplex.Code{duplex.ErrTimeout, duplex.ErrOutcomeUnknown}}
	for name, c := range map[string]struct {
		err  error
		want duplex.Code
	}{
		"nil":                              {nil, ""},
		"no code":                          {io.EOF, ""},
		"the code itself":                  {duplex.ErrClosed, duplex.ErrClosed},
		"a wrapped code":                   {fmt.Errorf("x: %w", duplex.ErrClosed), duplex.ErrClosed},
		"the most telling of several":      {coded, duplex.ErrTimeout},
		"wrapped":                          {fmt.Errorf("x: %w", coded), duplex.ErrTimeout},
		"joined":                           {errors.Join(io.EOF, coded), duplex.ErrTimeout},
		"the outermost":                    {&duplex.Error{Codes: []duplex.Code{duplex.ErrEncode}, Err: coded}, duplex.ErrEncode},
		"below an error without any":       {&duplex.Error{Op: "y", Err: coded}, duplex.ErrTimeout},
		"a code below an error without":    {&duplex.Error{Op: "y", Err: duplex.ErrClosed}, duplex.ErrClosed},
		"beside an error without, joined":  {errors.Join(&duplex.Error{Op: "y"}, coded), duplex.ErrTimeout},
		"a verdict around it":              {duplex.Permanent(coded), duplex.ErrTimeout},
		"an error without any, and no end": {&duplex.Error{Op: "y"}, ""},
	} {
		require.Equal(t, c.want, duplex.CodeOf(c.err), name)
	}
}
