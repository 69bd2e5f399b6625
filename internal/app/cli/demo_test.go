package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/app/demo"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
)

// input is a file of n departures of ten airports, two of which are trouble.
func input(t *testing.T, n int) string {
	t.Helper()
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, `{"origin":%q,"delay":%d}`+"\n", [...]string{"A0", "A1", "A2", "A3", "A4", "A5", "A6", "A7", "SEA", "DEN"}[i%10], i%30)
	}
	path := filepath.Join(t.TempDir(), "departures.ndjson")
	require.NoError(t, os.WriteFile(path, []byte(lines.String()), 0o600))
	return path
}

func summary(t *testing.T, stdout string) demo.Summary {
	t.Helper()
	var s demo.Summary
	require.NoError(t, json.Unmarshal([]byte(stdout), &s), stdout)
	return s
}

func TestDemoKeepsItsPromises(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := duplex(t, nil, "demo", "--json", "--input", input(t, 300), "--rate", "300")
	require.Equal(t, command.OK, code, stderr)
	s := summary(t, stdout)
	require.Equal(t, []int{300, 300, 0, 0, 0}, []int{s.Published, s.Handled, s.Lost, s.Duplicated, s.OutOfOrder})
	require.Equal(t, []int{10, 0, 4}, []int{s.Airports, s.WrongFigures, s.Members})
	require.Positive(t, s.Rebalances)
	require.Positive(t, s.PublishP50)
	require.Greater(t, s.EndToEndP99, s.PublishP50)
	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(stdout), &fields))
	for _, name := range []string{"published", "handled", "lost", "duplicated", "out_of_order", "rebalances"} {
		require.Contains(t, fields, name)
	}
	for _, line := range []string{"EVENTS", "a b c share 6 partitions", "b has left", "d joins",
		"the system of DEN is down; SEA takes 150ms", "wait in line, the first failed", "DEN is up", "SUMMARY", "lost 0 · twice 0 · out of order 0"} {
		require.Contains(t, stderr, line)
	}
	require.NotContains(t, stderr, "\x1b", "colors where there is no terminal")
}

func TestDemoOfASingleDeparture(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := duplex(t, nil, "demo", "--input", input(t, 1))
	require.Equal(t, command.OK, code, stderr)
	require.Contains(t, stdout, "published 1 = handled 1")
	require.Empty(t, stderr)
}

func TestDemoOnAClusterLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	stdout, stderr, code := duplex(t, []string{"DUPLEX_BROKERS=" + b.Addrs()[0]}, "demo", "--input", input(t, 50))
	require.Equal(t, command.OK, code, stderr)
	require.Contains(t, stdout, "Kafka at "+b.Addrs()[0])
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

func TestDemoThatIsInterruptedChecksWhatItDid(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "demo", "--json", "--input", input(t, 5000), "--rate", "100")
	require.Eventually(t, func() bool { return strings.Contains(p.Stderr.String(), "100 a second") }, 20*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool { return strings.Contains(p.Stderr.String(), "avg") }, 20*time.Second, 10*time.Millisecond)
	p.Signal(command.ErrInterrupted)
	require.Equal(t, command.Interrupted, p.Wait())
	s := summary(t, p.Stdout.String())
	require.Positive(t, s.Published)
	require.Less(t, s.Published, 5000)
	require.True(t, s.OK(), "%+v", s)
}

func TestDemoSaysThatNobodyListens(t *testing.T) {
	t.Parallel()
	address := apptest.Nobody(t)
	_, stderr, code := duplex(t, nil, "demo", "--brokers", address)
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, "unreachable")
	require.Contains(t, stderr, address)
}
