package rpc

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// row is an outcome as docs/rpc.md has it.
func (o Outcome) row() string {
	return fmt.Sprintf("| %s | `%s` | %s | %s | %s |", o.By, o.Code, o.Executed, o.When, o.Why)
}

func TestOutcomesAreDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/rpc.md")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(page), "|---|---|---|---|---|\n")
	table, _, found := strings.Cut(rest, "<!-- /outcomes -->")
	require.True(t, found)
	var want strings.Builder
	for _, o := range Outcomes() {
		want.WriteString(o.row() + "\n")
	}
	require.Equal(t, want.String(), table, "copy the rows")
}

// What is said to be never executed must be said before a handler can get it.
func TestOutcomesSayWhatIsKnown(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, o := range Outcomes() {
		require.False(t, names[o.Name], o.Name)
		names[o.Name] = true
		require.True(t, o.Code.known())
		require.True(t, o.Executed.known())
		require.NotEmpty(t, o.When)
		require.NotEmpty(t, o.Why)
	}
}

func TestRetriesFollowWhatIsKnown(t *testing.T) {
	t.Parallel()
	for _, of := range []struct {
		code     Code
		executed Executed
		after    time.Duration
		safe     bool
		want     bool
	}{
		{Unavailable, Never, 0, false, true},
		{Unavailable, Never, 0, true, true},
		{Unavailable, Maybe, 0, false, false},
		{Unavailable, Maybe, 0, true, true},
		{Unavailable, Completed, 0, true, false},
		{ResourceExhausted, Never, time.Second, false, true},
		{ResourceExhausted, Never, -1, true, false},
		{ResourceExhausted, Completed, 0, true, false},
		{InvalidArgument, Never, 0, true, false},
		{DeadlineExceeded, Never, 0, true, false},
		{Canceled, Never, 0, true, false},
		{Internal, Maybe, 0, true, false},
	} {
		require.Equal(t, of.want, retryable(&Error{Code: of.code, Executed: of.executed, RetryAfter: of.after}, of.safe), "%+v", of)
	}
}

func TestErrorsSayWhatTheyAre(t *testing.T) {
	t.Parallel()
	cause := errors.New("the line is cut")
	err := fmt.Errorf("asking for a fare: %w", notSent.error("fares/Quote", cause))
	require.ErrorIs(t, err, Unavailable)
	require.ErrorIs(t, err, cause)
	require.NotErrorIs(t, err, Internal)
	require.Equal(t, Unavailable, CodeOf(err))
	require.Equal(t, Maybe, ExecutedOf(err))
	require.Equal(t, "asking for a fare: rpc: calling fares/Quote: unavailable: Kafka's client gave up on the request: the line is cut (executed: maybe)", err.Error())
	require.Equal(t, Code(""), CodeOf(nil))
	require.Equal(t, Unknown, CodeOf(cause))
	require.Equal(t, Completed, ExecutedOf(nil))
	require.Equal(t, Maybe, ExecutedOf(cause))
}
