package cli_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	messaging "github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/app/cli"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
)

var update = flag.Bool("update", false, "write what the commands of docs/incident.md print into it")

const incidentPage = "../../../docs/incident.md"

// night is what docs/incident.md is about: a group that charges for bookings, while the
// service that takes the money is down, and with records that cannot be read.
type night struct {
	b        *broker.Broker
	payments atomic.Bool // it is up

	code int // the exit code of the last command
}

type booking struct {
	Flight string  `json:"flight"`
	Seat   int     `json:"seat"`
	Fare   float64 `json:"fare"`
}

func (n *night) charge(_ context.Context, b booking) error {
	switch {
	case b.Flight == "DX 9999":
		return messaging.Permanent(errors.New("flight DX 9999 is not in the timetable"))
	case b.Fare > 0 && !n.payments.Load():
		return errors.New("charging the fare: payments: dial tcp 10.0.7.12:8443: connect: connection refused")
	}
	return nil
}

// newNight has 8 bookings handled and 23 become dead letters, in an order that is the same
// each time.
func newNight(t *testing.T) *night {
	t.Helper()
	n := &night{b: apptest.Listen(t, broker.Topic{Name: "bookings", Partitions: 1})}
	n.run(t)
	client, err := kafka.NewClient(n.b.Cluster(), nil)
	require.NoError(t, err)
	defer client.Close()
	dead := int64(0)
	publish := func(i int, fails bool, format string, args ...any) {
		r := &kgo.Record{Topic: "bookings", Key: fmt.Appendf(nil, "b-%d", 1000+i), Value: fmt.Appendf(nil, format, args...)}
		require.NoError(t, client.ProduceSync(t.Context(), r).FirstErr())
		if !fails {
			return
		}
		dead++
		require.Eventually(t, func() bool {
			ends, err := kafka.EndOffsets(t.Context(), client, "dlq.desk.bookings")
			return err == nil && ends[0] == dead
		}, soon, time.Millisecond)
	}
	for i := range 8 {
		publish(i, false, `{"flight":"DX 101","seat":%d,"fare":0}`, i+1)
	}
	for i := range 14 {
		publish(100+i, true, `{"flight":"DX 101","seat":%d,"fare":199.5}`, i+11)
		switch {
		case i%2 == 1:
			publish(200+i, true, `{"flight":"DX 205","seat":%d,"fare":NaN}`, i+1)
		case i%5 == 0:
			publish(300+i, true, `{"flight":"DX 9999","seat":%d,"fare":0}`, i+1)
		}
	}
	return n
}

func (n *night) run(t *testing.T) {
	t.Helper()
	c, err := consumer.New(consumer.Config{
		Cluster: n.b.Cluster(), Group: "desk", Failures: dlq.NoRetry,
		Handlers: []consumer.Handler{consumer.Handle(messaging.Topic[booking]{Name: "bookings"}, n.charge)},
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
}

// enter does a line of the page: what a person types, or a comment that says what happens.
func (n *night) enter(t *testing.T, line string) string {
	t.Helper()
	if line == "echo $?" {
		return strconv.Itoa(n.code) + "\n"
	}
	line, pipe, piped := strings.Cut(line, " | ")
	words := wordsOf(line)
	require.Equal(t, "duplex", words[0], line)
	var out, through apptest.Output
	environ := []string{"PATH=" + os.Getenv("PATH"), "DUPLEX_BROKERS=" + strings.Join(n.b.Addrs(), ","), "DUPLEX_BY=ann"}
	root, err := cli.Command(environ)
	require.NoError(t, err)
	p := command.Process{Args: words[1:], Environ: environ, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out}
	if piped {
		p.Stdout = &through
	}
	n.code = command.Run(t.Context(), root, p)
	if !piped {
		return out.String()
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", pipe)
	cmd.Stdin = strings.NewReader(through.String())
	text, err := cmd.Output()
	require.NoError(t, err, line)
	return out.String() + string(text)
}

// wordsOf are those of a line as a shell has them, where quotes are single ones.
func wordsOf(line string) (words []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

const paymentsAreBack = "<!-- payments are back -->\n"

// play does what the page says, from its first line to its last, and gives the page with
// what the commands printed.
func (n *night) play(t *testing.T, page string) string {
	t.Helper()
	var b strings.Builder
	typed, shown := false, false
	for line := range strings.Lines(page) {
		switch {
		case line == paymentsAreBack:
			n.payments.Store(true)
		case line == "```console\n":
			typed = true
		case line == "```\n":
			typed, shown = false, false
		case typed && strings.HasPrefix(line, "$ "):
			b.WriteString(line)
			b.WriteString(here(t, n.enter(t, strings.TrimSpace(line[2:]))))
			shown = true
			continue
		case shown:
			continue // what it printed before
		}
		b.WriteString(line)
	}
	return b.String()
}

// here gives what a command printed as another machine, and a program, would have it.
func here(t *testing.T, text string) string {
	t.Helper()
	host, err := os.Hostname()
	require.NoError(t, err)
	whole := regexp.MustCompile(`(^|[^\w-])` + regexp.QuoteMeta(host) + `\b`) // a short one is also in some topic's ID
	text = whole.ReplaceAllString(text, "${1}ops-1")
	text = strings.ReplaceAll(text, "cli_test.booking", "main.booking")
	return regexp.MustCompile(` +\n`).ReplaceAllString(text, "\n")
}

// same replaces what differs from run to run, and the space that goes with its width.
func same(text string) string {
	for _, of := range []struct{ pattern, by string }{
		{`\d{4}-\d\d-\d\dT[0-9:.]+Z`, "TIME"},
		{`\b[rd][a-z2-7]{9}\b`, "JOB"},
		{`\bp[0-9a-f]{12}\b`, "PLAN"},
		{`@desk#[A-Za-z0-9_-]{6}`, "@desk#TOPIC"},
		{`origin-topic-id: [A-Za-z0-9_-]{22}`, "origin-topic-id: TOPIC"},
		{`\bops-1[/:.0-9a-z-]*`, "HOST"},
		{`\b\d+(\.\d+)?(ns|µs|ms|s|m\d+s|h\d+m)\b`, "SPAN"},
		{`\b(1[0-9]{12})\b`, "MILLIS"},
		{` +`, " "},
	} {
		text = regexp.MustCompile(of.pattern).ReplaceAllString(text, of.by)
	}
	return text
}

// What docs/incident.md shows is what the commands print, from the alert to the empty queue:
// make generate writes it, where more than times and names is different.
func TestIncidentIsAsThePageShowsIt(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(incidentPage)
	require.NoError(t, err)
	n := newNight(t)
	played := n.play(t, string(page))
	if *update && same(string(page)) != same(played) {
		require.NoError(t, os.WriteFile(incidentPage, []byte(played), 0o600))
		page = []byte(played)
	}
	want, got := strings.Split(same(string(page)), "\n"), strings.Split(same(played), "\n")
	for i, line := range want[:min(len(want), len(got))] {
		require.Equal(t, line, got[i], "line %d of docs/incident.md: make generate, and look at what changed", i+1)
	}
	require.Len(t, got, len(want))
	require.Equal(t, 1, bytes.Count(page, []byte(paymentsAreBack)))
	out := n.enter(t, "duplex check dlq")
	require.Zero(t, n.code, "the page ends with an empty queue: %s", out)
	require.Contains(t, out, "DLQ OK - 0 letters open")
}

// What the page says of the cases that are not so simple.
func TestIncidentsThatAreNotSoSimple(t *testing.T) {
	t.Parallel()
	b := inbox(t)
	require.NoError(t, b.CreateTopic(broker.Topic{Name: "redrive.boards.orders"}))
	plan, _, code := redrive(t, b, "plan", queue)
	require.Equal(t, command.OK, code)
	require.Contains(t, plan, "NOBODY reads it")
	require.Contains(t, plan, "would go to a topic that does not exist", "those of Spring")
	_, stderr, code := redrive(t, b, "run", queue, "--yes")
	require.Equal(t, command.Refused, code, stderr)
	require.Contains(t, stderr, "nobody reads redrive.boards.orders: start a consumer of the group")
	forced := []string{"run", queue, "-G", "dialect=duplex", "--force", "--reason", "it starts tomorrow", "--yes", "--await", "0s"}
	stdout, stderr, code := redrive(t, b, forced...)
	require.Equal(t, command.OK, code, stderr)
	require.Contains(t, stdout, "done: moved")

	require.NoError(t, b.CreateTopic(broker.Topic{Name: "orders", Partitions: 4}))
	reads, err := kafka.NewClient(b.Cluster(), nil, kgo.ConsumerGroup("archive"), kgo.ConsumeTopics("orders"))
	require.NoError(t, err)
	t.Cleanup(reads.Close)
	require.Eventually(t, func() bool {
		plan, _, _ = redrive(t, b, "plan", queue, "-G", "dialect=spring", "--to", "origin")
		return strings.Contains(plan, "to        orders: group archive (Stable, members: 1)")
	}, soon, 20*time.Millisecond, "all groups that will see them")
	_, stderr, code = redrive(t, b, "run", queue, "-G", "dialect=spring", "--to", "origin", "--canary", "1", "--yes")
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, "nobody says that")
	stdout, stderr, code = redrive(t, b, "run", queue, "-G", "dialect=spring", "--to", "origin", "--yes")
	require.Equal(t, command.OK, code, stderr)
	require.Contains(t, stdout, "to origin; what becomes of them is not known")
	stdout, _, _ = duplex(t, nil, to(b, "dlq", "export", queue, "-G", "dialect=spring state=redriven")...)
	require.NotEmpty(t, stdout, "they stay redriven")
}
