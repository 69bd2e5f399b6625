package integration

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
)

// comparison is what duplex compare --json prints.
type comparison struct {
	Totals    struct{ Calls, Answered, Errors, Events, Handled, Dead int }
	Scenarios []compared
	Table     []struct{ Name, Calls, Events, So string }
	Broken    []string
}

type compared struct {
	Name   string
	Outage *struct {
		Calls, Events struct{ Units, Accepted, Refused, Unknown, Handled int }
	}
}

func TestCompareKeepsItsPromisesAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	stdout, stderr, code := run(t, "duplex", to(c, "compare", "--records", "1000", "--json"), "")
	require.Equal(t, 0, code, stderr)
	var r comparison
	require.NoError(t, json.Unmarshal([]byte(stdout), &r), stdout)
	require.Empty(t, r.Broken)
	require.Equal(t, r.Totals.Calls, r.Totals.Answered+r.Totals.Errors)
	require.Equal(t, r.Totals.Events, r.Totals.Handled+r.Totals.Dead)
	require.Equal(t, 3, r.Totals.Dead, "one in fifty of 150")
	require.Len(t, r.Table, 7)
	i := slices.IndexFunc(r.Scenarios, func(m compared) bool { return m.Outage != nil })
	require.GreaterOrEqual(t, i, 0)
	outage := r.Scenarios[i].Outage
	require.Positive(t, outage.Calls.Unknown, "the session of the server that died goes on for a while")
	require.Positive(t, outage.Calls.Refused, "then its group is empty")
	require.Positive(t, outage.Events.Units)
	require.Equal(t, outage.Events.Units, outage.Events.Handled)

	admin := kadm.NewClient(rawClient(t, c))
	ours := func(names []string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, "duplex-compare-") })
	}
	require.Eventually(t, func() bool { // brokers hear of a deletion one after the other
		topics, err := admin.ListTopics(t.Context())
		return err == nil && !ours(topics.Names())
	}, 10*time.Second, 50*time.Millisecond, "topics were left behind")
	groups, err := admin.ListGroups(t.Context())
	require.NoError(t, err)
	require.False(t, ours(groups.Groups()), "groups were left behind")
}
