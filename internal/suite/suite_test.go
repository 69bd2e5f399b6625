package suite_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/suite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	t.Parallel()
	b, err := broker.Start(broker.Config{Configs: map[string]string{"group.min.session.timeout.ms": "1000"}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	suite.Run(t, suite.Kafka{Cluster: b.Cluster(), Session: 3 * time.Second, Compact: b.Kfake().Compact})
}

// Every promise has a scenario, or says in words why it has none; and the page
// names the scenarios where they check something.
func TestScenariosAreThoseOfTheGuarantees(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/guarantees.md")
	require.NoError(t, err)
	rows := map[string]string{}
	for line := range strings.SplitSeq(string(page), "\n") {
		if cells := strings.Split(line, "|"); len(cells) == 5 {
			rows[strings.TrimSpace(cells[1])] = cells[3]
		}
	}
	names, checked := map[string]bool{}, map[string]bool{}
	for _, s := range suite.Scenarios() {
		require.False(t, names[s.Name], "two scenarios are called %q", s.Name)
		names[s.Name] = true
		for _, promise := range s.Promises {
			require.Contains(t, rows, promise, "scenario %q checks a promise that nobody made", s.Name)
			checked[promise] = true
		}
	}
	for promise := range checked {
		require.Contains(t, rows[promise], "`internal/suite.TestConformance`", promise)
		require.Contains(t, rows[promise], "`integration.TestConformance`", promise)
	}
}
