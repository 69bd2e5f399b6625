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

func TestDemoKeepsItsPromisesAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	stdout, stderr, code := run(t, "duplex", to(c, "demo", "--json"), "")
	require.Equal(t, 0, code, stderr)
	var s struct {
		Published, Handled, Retried, Recovered, Dead, Dropped, Lost, Duplicated, Unknown, Failed, Rebalances int
		OutOfOrder                                                                                           int `json:"out_of_order"`
		Calls, Answered, Errors, Unanswered, Redriven, Open                                                  int
		WrongEdits                                                                                           int     `json:"wrong_edits"`
		WrongQuotes                                                                                          int     `json:"wrong_quotes"`
		Untrue                                                                                               int     `json:"untrue_errors"`
		RunAgain                                                                                             int     `json:"run_again"`
		CallP50                                                                                              float64 `json:"call_p50_ms"`
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &s), stdout)
	require.Equal(t, []int{2000, 1974, 0, 26}, []int{s.Published, s.Handled, s.Dead, s.Dropped})
	require.Equal(t, []int{3, 0, 0}, []int{s.Redriven, s.Open, s.WrongEdits}, "the damaged ones came back, mended")
	require.Positive(t, s.Retried)
	require.Equal(t, s.Retried, s.Recovered)
	require.Equal(t, []int{0, 0, 0, 0, 0}, []int{s.Lost, s.Duplicated, s.OutOfOrder, s.Unknown, s.Failed})
	require.Greater(t, s.Rebalances, 2)
	require.Equal(t, []int{451, 0, 0, 0}, []int{s.Calls, s.Unanswered, s.WrongQuotes, s.Untrue}, "one for each departure 15 minutes late or more")
	require.Equal(t, 451, s.Answered+s.Errors)
	require.Greater(t, s.Answered, 451/2)
	require.Positive(t, s.RunAgain, "what the instance that was killed had at work")
	require.GreaterOrEqual(t, s.CallP50, 20.0, "a quote takes 20 ms")
	require.Contains(t, stderr, "y is KILLED")
	require.Contains(t, stderr, "x has all partitions")

	admin := kadm.NewClient(rawClient(t, c))
	ours := func(names []string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.Contains(name, "duplex-demo-") })
	}
	require.Eventually(t, func() bool { // brokers hear of a deletion one after the other
		topics, err := admin.ListTopics(t.Context())
		return err == nil && !ours(topics.Names())
	}, 10*time.Second, 50*time.Millisecond, "topics were left behind")
	groups, err := admin.ListGroups(t.Context())
	require.NoError(t, err)
	require.False(t, ours(groups.Groups()), "groups were left behind")
}
