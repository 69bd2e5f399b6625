package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
)

const deskQueue = "dlq.desk.bookings"

// seats has a group desk fail for each record of bookings whose value is not a number, and
// publishes n that are and n that are not.
func seats(t *testing.T, n int) *broker.Broker {
	t.Helper()
	b, err := broker.Start(broker.Config{Listen: "127.0.0.1:0", Topics: []broker.Topic{{Name: "bookings", Partitions: 2}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	c, err := consumer.New(consumer.Config{
		Cluster: b.Cluster(), Group: "desk", Failures: dlq.NoRetry,
		Handlers: []consumer.Handler{consumer.HandleRecord("bookings", func(_ context.Context, r *kgo.Record) error {
			if _, err := strconv.Atoi(string(r.Value)); err != nil {
				return errors.New("seat: " + string(r.Value) + ", want a number")
			}
			return nil
		})},
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	client, err := kafka.NewClient(b.Cluster(), nil)
	require.NoError(t, err)
	defer client.Close()
	for i := range n {
		for _, value := range []string{strconv.Itoa(i), "x" + strconv.Itoa(i)} {
			require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: "bookings", Key: []byte{byte('a' + i)}, Value: []byte(value)}).FirstErr())
		}
	}
	require.Eventually(t, func() bool {
		ends, err := kafka.EndOffsets(t.Context(), client, deskQueue)
		return err == nil && ends[0]+ends[1] == int64(n)
	}, soon, 10*time.Millisecond)
	return b
}

const mend = `sed 's/"value":"x/"value":"/'`

func redrive(t *testing.T, b *broker.Broker, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return duplex(t, nil, to(b, append([]string{"redrive"}, args...)...)...)
}

func TestRedriveRunMendsAndBringsBack(t *testing.T) {
	t.Parallel()
	b := seats(t, 5)
	stdout, stderr, code := redrive(t, b, "plan", deskQueue, "--edit", mend)
	require.Equal(t, command.OK, code, stderr)
	for _, words := range []string{"5 of 5 read", "redrive.desk.bookings: group desk (Stable, members: 1)", `seat: x0, want a number`, "- value x", "+ value "} {
		require.Contains(t, stdout, words)
	}
	_, stderr, code = redrive(t, b, "run", deskQueue, "--edit", mend)
	require.Equal(t, command.Refused, code, stderr)
	require.Contains(t, stderr, "give --yes")
	stdout, _, code = redrive(t, b, "run", deskQueue, "--edit", mend, "--dry-run")
	require.Equal(t, command.OK, code)
	require.Contains(t, stdout, "5 of 5 read")

	stdout, stderr, code = redrive(t, b, "run", deskQueue, "--edit", mend, "--yes", "--reason", "numbers came as text")
	require.Equal(t, command.OK, code, stderr)
	require.Contains(t, stdout, "moved 5 of 5, handled 5, dead again 0, pending 0")
	stdout, _, code = redrive(t, b, "run", deskQueue, "--yes")
	require.Equal(t, []any{command.OK, "nothing to redrive in " + deskQueue + "\n"}, []any{code, stdout})
	stdout, _, _ = redrive(t, b, "history", deskQueue)
	require.Contains(t, stdout, "numbers came as text")
	stdout, _, _ = redrive(t, b, "history", deskQueue, "--audit")
	require.Equal(t, 3, strings.Count(stdout, "\n"), "began, moved, done: %s", stdout)
}

func TestRedriveThatFailsAgainSaysSo(t *testing.T) {
	t.Parallel()
	b := seats(t, 2)
	stdout, _, code := redrive(t, b, "run", deskQueue, "--yes", "--json")
	require.Equal(t, command.Failed, code)
	var j dlq.Job
	require.NoError(t, json.Unmarshal([]byte(stdout), &j))
	require.Equal(t, []any{dlq.JobDone, int64(2), int64(2), int64(0)}, []any{j.State, j.Moved, j.DeadAgain, j.Handled})
	stdout, _, code = redrive(t, b, "status", deskQueue)
	require.Equal(t, command.OK, code)
	require.Contains(t, stdout, "dead again 2")
}

func TestPlansAreKeptAndApplied(t *testing.T) {
	t.Parallel()
	b := seats(t, 3)
	file := filepath.Join(t.TempDir(), "plan.json")
	_, stderr, code := redrive(t, b, "plan", deskQueue, "-O", file, "-n", "2")
	require.Equal(t, command.OK, code, stderr)
	stdout, _, code := redrive(t, b, "apply", file, "--yes")
	require.Equal(t, command.Failed, code, "both are dead again")
	require.Contains(t, stdout, "moved 2 of 2")
	again, _, _ := redrive(t, b, "apply", file, "--yes")
	require.Equal(t, stdout, again, "a plan is applied once")

	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, bytes.Replace(text, []byte(`"records": 2`), []byte(`"records": 1`), 1), 0o600))
	_, stderr, code = redrive(t, b, "apply", file, "--yes")
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, "it is not as it was made")
	require.NoError(t, os.WriteFile(file, []byte("{"), 0o600))
	_, stderr, code = redrive(t, b, "apply", file, "--yes")
	require.Equal(t, command.Usage, code)
	require.Contains(t, stderr, "make it with 'duplex redrive plan -O'")
}

func TestJobsThatGuardsRefuse(t *testing.T) {
	t.Parallel()
	b := seats(t, 1)
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"a queue as target":     {[]string{"run", deskQueue, "--to", "topic:dlq.a.b", "--yes"}, 4, "is a dead-letter queue"},
		"a target not allowed":  {[]string{"run", deskQueue, "--to", "topic:bookings", "--allow", "other", "--yes"}, 4, "allowed"},
		"read-only":             {[]string{"run", deskQueue, "--yes", "--read-only"}, 4, "read-only"},
		"no such job":           {[]string{"status", deskQueue, "r1"}, 4, "no such job"},
		"no job to pause":       {[]string{"pause", deskQueue}, 4, "there was none"},
		"no such queue":         {[]string{"run", "dlq.nobody.nothing", "--yes"}, 1, "unknown-topic"},
		"no target":             {[]string{"plan", deskQueue, "--to", "back"}, 2, "want retry, origin or topic:NAME"},
		"force without reason":  {[]string{"plan", deskQueue, "--force"}, 2, "Force needs one"},
		"no rate":               {[]string{"run", deskQueue, "--rate", "fast"}, 2, `--rate "fast": want a number`},
		"a negative rate":       {[]string{"run", deskQueue, "--rate", "-1"}, 2, "--rate"},
		"no part":               {[]string{"run", deskQueue, "--abort-rate", "200%"}, 2, "--abort-rate"},
		"a ramp to nowhere":     {[]string{"run", deskQueue, "--ramp", "1m"}, 2, "needs a Rate"},
		"no command":            {[]string{"run", deskQueue, "--edit", " "}, 2, "--edit"},
		"an edit that fails":    {[]string{"run", deskQueue, "--edit", "exit 3", "--yes"}, 1, "exit status 3"},
		"an edit that is short": {[]string{"run", deskQueue, "--edit", "true", "--yes"}, 1, "0 lines for 1 letters"},
		"no filter":             {[]string{"run", deskQueue, "-G", "reason=="}, 2, "--filter"},
		"outcomes nobody tells": {[]string{"run", deskQueue, "--to", "origin", "--canary", "1", "--yes"}, 1, "nobody says that"},
		"no queue":              {[]string{"run"}, 2, "want QUEUE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := redrive(t, b, c.args...)
			require.Equal(t, c.code, code, stdout+stderr)
			require.Contains(t, stderr, c.says)
		})
	}
}
