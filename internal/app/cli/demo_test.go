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

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/app/demo"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
)

// line is a departure of one of ten airports, two of which are trouble. Some are late
// enough to be rebooked, and some of these so short that they are dropped.
func line(i int) string {
	origin := [...]string{"A0", "A1", "A2", "A3", "A4", "A5", "A6", "A7", "SEA", "DEN"}[i%10]
	return fmt.Sprintf(`{"origin":%q,"destination":"X","distance":%d,"delay":%d}`, origin, 100+i%3*100, i%37) + "\n"
}

// input is a file of n departures.
func input(t *testing.T, n int) string {
	t.Helper()
	var lines strings.Builder
	for i := range n {
		lines.WriteString(line(i))
	}
	return file(t, lines.String())
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "departures.ndjson")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
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
	late, short, asked := 0, 0, 0
	for i := range 300 {
		if i%37 >= 15 {
			asked++
		}
		if i%37 >= 30 && i%3 == 0 {
			short++
		} else if i%37 >= 30 && i >= 150 { // the desk may have the last tenth of a second still before it
			late++
		}
	}
	require.Equal(t, []int{300, 300 - short, 3, 0, short}, []int{s.Published, s.Handled, s.Damaged, s.Dead, s.Dropped})
	require.Equal(t, []int{3, 0, 0}, []int{s.Redriven, s.Open, s.WrongEdits})
	require.Equal(t, []int{300, 0, 0, 0}, []int{s.BoardsHandled, s.Lost, s.Duplicated, s.OutOfOrder})
	require.Positive(t, s.Retried)
	require.LessOrEqual(t, s.Retried, late, "only what was published while the booking service was down, or a moment before")
	require.Equal(t, s.Retried, s.Recovered)
	require.Equal(t, []int{10, 0, 4}, []int{s.Airports, s.WrongFigures, s.Members})
	require.Positive(t, s.Rebalances)
	require.Positive(t, s.PublishP50)
	require.Greater(t, s.EndToEndP99, s.PublishP50)
	require.Equal(t, []int{asked, 0, 0, 0}, []int{s.Calls, s.Unanswered, s.WrongQuotes, s.Untrue})
	require.Equal(t, asked, s.Answered+s.Errors)
	require.GreaterOrEqual(t, s.Answered, asked/2)
	require.GreaterOrEqual(t, s.CallP50, 20.0, "a quote takes 20ms")
	require.GreaterOrEqual(t, s.CallP99, s.CallP50)
	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(stdout), &fields))
	for _, name := range []string{"published", "handled", "retried", "recovered", "dead", "dropped", "redriven", "open", "wrong_edits", "lost", "duplicated", "out_of_order", "rebalances",
		"calls", "answered", "errors", "unanswered", "wrong_quotes", "untrue_errors", "run_again", "call_p50_ms", "call_p99_ms"} {
		require.Contains(t, fields, name)
	}
	for _, line := range []string{"EVENTS", "a b c share 6 partitions", "150ms for those of SEA", "b has left", "d joins",
		"CALLS", "from 15 minutes of delay: asks fares.Quote", "2 instances share 6 partitions: x ", "had left already: asked at once", "minutes late: $",
		"y is KILLED with", "x has all partitions,",
		"FAILURES", `damages 3 lines: "delay":"19 min"`, "the service is DOWN, and so is the system of DEN", "wait in line, the first failed",
		"rebookings wait: 0.3s → 1s → 3s", "recovered, 0 out of order", "recovered, after at most",
		"3 × undecodable, v1:", "(one cause)", "json: cannot unmarshal string into Go struct field Departure.delay of type float64",
		"REDRIVE", "3 letters to the desk's redrive topic: only its group gets them", `3 × "delay":"19 min" → "delay":19`,
		"3 of 3 moved, 3 handled, 0 dead again", "the same redrive: 0 moved",
		"SUMMARY", "redriven 3, mended wrongly 0 · still open 0", "lost 0 · twice 0 · out of order 0"} {
		require.Contains(t, stderr, line)
	}
	require.NotContains(t, stderr, "\x1b", "colors where there is no terminal")
}

func TestDemoFailsWhenAPromiseIsBroken(t *testing.T) {
	t.Parallel()
	huge := fmt.Sprintf(`{"origin":"A0","destination":%q}`, strings.Repeat("X", 1_040_000)) + "\n" // no topic takes it
	stdout, stderr, code := duplex(t, nil, "demo", "--input", file(t, line(0)+huge+line(1)))
	require.Equal(t, command.Failed, code, stderr)
	require.Contains(t, stdout, "published 2 = handled 2 + dead 0 + dropped 0  (1 more were not acknowledged) ✗")
}

func TestDemoOfASingleDeparture(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := duplex(t, nil, "demo", "--input", input(t, 1))
	require.Equal(t, command.OK, code, stderr)
	require.Contains(t, stdout, "published 1 = handled 1 + dead 0 + dropped 0")
	require.Empty(t, stderr)
}

func TestDemoOnAClusterLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	stdout, stderr, code := duplex(t, []string{"DUPLEX_BROKERS=" + b.Addrs()[0]}, "demo", "--input", input(t, 150))
	require.Equal(t, command.OK, code, stderr)
	require.Contains(t, stdout, "Kafka at "+b.Addrs()[0])
	require.Contains(t, stdout, "redriven 2, mended wrongly 0 · still open 0")
	requireNothingLeft(t, b, dlq.AuditTopic)
}

// requireNothingLeft checks that a broker has no groups, and no topics but those that are
// named.
func requireNothingLeft(t *testing.T, b *broker.Broker, but ...string) {
	t.Helper()
	cl, err := kafka.NewClient(b.Cluster(), nil)
	require.NoError(t, err)
	defer cl.Close()
	topics, err := kadm.NewClient(cl).ListTopics(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, but, topics.Names())
	groups, err := kadm.NewClient(cl).ListGroups(t.Context())
	require.NoError(t, err)
	require.Empty(t, groups.Groups())
}

func TestDemoThatIsInterruptedChecksWhatItDid(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "demo", "--json", "--input", input(t, 5000), "--rate", "100")
	require.Eventually(t, func() bool { return strings.Contains(p.Stderr.String(), "100 a second") }, 20*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool { return strings.Contains(p.Stderr.String(), "last to X") }, 20*time.Second, 10*time.Millisecond)
	p.Signal(command.ErrInterrupted)
	require.Equal(t, command.Interrupted, p.Wait())
	s := summary(t, p.Stdout.String())
	require.Positive(t, s.Published)
	require.Less(t, s.Published, 5000)
	require.True(t, s.OK(), "%+v", s)
}

// The instance that was killed is still a member of its group then.
func TestDemoThatIsInterruptedAfterTheKillLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	p := start(t, []string{"DUPLEX_BROKERS=" + b.Addrs()[0]}, "demo", "--json", "--input", input(t, 500), "--rate", "100")
	require.Eventually(t, func() bool { return strings.Contains(p.Stderr.String(), "y is KILLED") }, 30*time.Second, 10*time.Millisecond)
	p.Signal(command.ErrInterrupted)
	require.Equal(t, command.Interrupted, p.Wait(), p.Stderr.String())
	s := summary(t, p.Stdout.String())
	require.Positive(t, s.Calls)
	require.True(t, s.OK(), "%+v", s)
	require.Zero(t, s.Unanswered)
	requireNothingLeft(t, b)
}

// The letters are open then, and the desk is there to handle them.
func TestDemoThatIsInterruptedMendsWhatItDamaged(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"3 × undecodable", "REDRIVE", "letters to the desk"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			b := apptest.Listen(t)
			p := start(t, []string{"DUPLEX_BROKERS=" + b.Addrs()[0]}, "demo", "--json", "--input", input(t, 400), "--rate", "200")
			require.Eventually(t, func() bool { return strings.Contains(p.Stderr.String(), at) }, 60*time.Second, time.Millisecond)
			p.Signal(command.ErrInterrupted)
			require.Equal(t, command.Interrupted, p.Wait(), p.Stderr.String())
			s := summary(t, p.Stdout.String())
			require.Equal(t, []int{3, 3, 0, 0}, []int{s.Damaged, s.Redriven, s.Open, s.Dead})
			require.True(t, s.OK(), "%+v", s)
			requireNothingLeft(t, b, dlq.AuditTopic)
		})
	}
}

func TestDemoSaysThatNobodyListens(t *testing.T) {
	t.Parallel()
	address := apptest.Nobody(t)
	_, stderr, code := duplex(t, nil, "demo", "--brokers", address)
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, "unreachable")
	require.Contains(t, stderr, address)
}
