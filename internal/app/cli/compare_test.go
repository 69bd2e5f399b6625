package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/app/compare"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
)

// aMinute is what a comparison has: a server is dead for as long as a session, at least.
func aMinute(t *testing.T, p *apptest.Program) int {
	t.Helper()
	select {
	case code := <-p.Code:
		return code
	case <-time.After(time.Minute):
		require.Fail(t, "the comparison does not end", p.Stderr.String())
		return -1
	}
}

func TestCompareMeasuresBothForms(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "compare", "--records", "400", "--json")
	require.Equal(t, command.OK, aMinute(t, p), p.Stderr.String())
	var r compare.Report
	require.NoError(t, json.Unmarshal([]byte(p.Stdout.String()), &r), p.Stdout.String())
	require.Empty(t, r.Broken)
	require.Equal(t, r.Totals.Calls, r.Totals.Answered+r.Totals.Errors)
	require.Equal(t, r.Totals.Events, r.Totals.Handled+r.Totals.Dead)
	require.Equal(t, 1, r.Totals.Dead, "of 60 trips that fail, the 50th does always")

	of := map[string]compare.Measured{}
	for _, m := range r.Scenarios {
		of[m.Name] = m
		require.Equal(t, m.Events.Units, m.Events.Handled+m.Events.Dead, m.Name)
		require.Zero(t, m.Events.Waiting+m.Events.Unreleased+m.Calls.Unreleased, m.Name)
		require.Positive(t, m.Calls.Blocked.P50, m.Name)
		require.Positive(t, m.Events.Blocked.P50, m.Name)
		require.LessOrEqual(t, m.Events.MostHandlers, 8, m.Name)
	}
	require.Len(t, of, 5)
	require.Equal(t, []int{60, 60, 60, 400}, []int{of["normal"].Calls.Units, of["failing"].Calls.Units, of["slow"].Events.Units, of["burst"].Events.Units})
	require.Equal(t, 60, of["normal"].Events.Records, "an event is one record")
	require.GreaterOrEqual(t, of["normal"].Calls.Records, 2*of["normal"].Calls.Accepted, "a call is two")
	require.Equal(t, 7, of["failing"].Calls.Units-of["failing"].Calls.Accepted, "six once, one always")
	require.Equal(t, []int{6, 9}, []int{of["failing"].Events.Recovered, of["failing"].Events.FailedRuns})
	outage := of["dead"].Outage
	require.NotNil(t, outage)
	require.Greater(t, outage.Calls.Seconds, 5.0)
	require.Positive(t, outage.Calls.Unknown, "nobody knows yet that the server is dead")
	require.Positive(t, outage.Calls.Refused, "then everybody does")
	require.Equal(t, outage.Events.Units, outage.Events.Accepted)
	require.Equal(t, outage.Events.Units, outage.Events.Handled)
	require.Positive(t, outage.Events.Units)

	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(p.Stdout.String()), &fields))
	for _, name := range []string{"broker", "records", "seconds", "scenarios", "code", "table", "choose", "totals", "broken"} {
		require.Contains(t, fields, name)
	}
	for _, text := range []string{"embedded broker (figures are not Kafka's)", "normal", "as calls", "as events", "the plugs are pulled", "other servers are started", "surely did not run"} {
		require.Contains(t, p.Stderr.String(), text)
	}
}

func TestCompareOnAClusterLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	p := start(t, nil, to(b, "compare", "--records", "40")...)
	require.Equal(t, command.OK, aMinute(t, p), p.Stderr.String())
	for _, text := range []string{"AS CALLS", "AS EVENTS", "TIMING", "COUPLING", "COMPLEXITY", "SCALABILITY", "HANDLING", "SYSTEM LOAD", "USE", "WHICH",
		"Kafka at " + b.Addrs()[0]} {
		require.Contains(t, p.Stdout.String(), text)
	}
	for line := range strings.Lines(p.Stdout.String()) {
		require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 100, line)
	}
	cl, err := kafka.NewClient(b.Cluster(), nil)
	require.NoError(t, err)
	defer cl.Close()
	topics, err := kadm.NewClient(cl).ListTopics(t.Context())
	require.NoError(t, err)
	require.Empty(t, topics.Names())
	groups, err := kadm.NewClient(cl).ListGroups(t.Context())
	require.NoError(t, err)
	require.Empty(t, groups.Groups())
}

func TestCompareThatIsInterruptedLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for _, during := range []string{"as calls", "the plugs are pulled"} {
		t.Run(during, func(t *testing.T) {
			t.Parallel()
			b := apptest.Listen(t)
			p := start(t, nil, to(b, "compare", "--records", "20")...)
			require.Eventually(t, func() bool { return strings.Contains(p.Stderr.String(), during) }, 2*soon, 10*time.Millisecond)
			p.Signal(command.ErrInterrupted)
			require.Equal(t, command.Interrupted, aMinute(t, p), p.Stderr.String())
			require.Empty(t, p.Stdout.String(), "half a table")
			cl, err := kafka.NewClient(b.Cluster(), nil)
			require.NoError(t, err)
			defer cl.Close()
			topics, err := kadm.NewClient(cl).ListTopics(t.Context())
			require.NoError(t, err)
			require.Empty(t, topics.Names())
			groups, err := kadm.NewClient(cl).ListGroups(t.Context())
			require.NoError(t, err)
			require.Empty(t, groups.Groups())
		})
	}
}

func TestCompareSaysThatNobodyListens(t *testing.T) {
	t.Parallel()
	address := apptest.Nobody(t)
	_, stderr, code := duplex(t, nil, "compare", "--brokers", address)
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, "unreachable")
	require.Contains(t, stderr, address)
}
