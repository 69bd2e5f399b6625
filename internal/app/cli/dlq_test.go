package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
)

const queue = "dlq.boards.orders"

func kafkaClient(t *testing.T, b *broker.Broker) *kgo.Client {
	t.Helper()
	client, err := kafka.NewClient(b.Cluster(), nil, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

// letters writes those of the dialects' testdata into a queue, each file so often.
func letters(t *testing.T, client *kgo.Client, topic string, times int, dialects ...string) {
	t.Helper()
	for _, name := range dialects {
		text, err := os.ReadFile(filepath.Join("..", "..", "..", "dlq", "testdata", "letters", name+".ndjson"))
		require.NoError(t, err)
		for n := range times {
			for line := range bytes.Lines(text) {
				l, err := dlq.ParseLine(bytes.ReplaceAll(line, []byte("orders/3/42@"), fmt.Appendf(nil, "orders/3/%d@", 42+n)))
				require.NoError(t, err)
				l.Record.Topic, l.Record.Partition, l.Record.Timestamp = topic, 0, time.Time{}
				require.NoError(t, client.ProduceSync(t.Context(), l.Record).FirstErr())
			}
		}
	}
}

// inbox is a broker with a queue of 10 letters: 6 of Duplex, of which 2 are second copies
// and 2 in no state to be read whole, 3 of Spring, 1 of Watermill.
func inbox(t *testing.T) *broker.Broker {
	t.Helper()
	b := apptest.Listen(t)
	client := kafkaClient(t, b)
	_, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, map[string]*string{"retention.ms": new(strconv.Itoa(72 * 3600 * 1000))}, queue)
	require.NoError(t, err)
	letters(t, client, queue, 2, "duplex")
	letters(t, client, queue, 1, "spring", "watermill")
	return b
}

func TestQueuesAreListed(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	stdout, stderr, code := duplex(t, nil, to(b, "dlq", "ls")...)
	require.Equal(t, command.OK, code, stderr)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "no dead-letter queues")

	b = inbox(t)
	require.NoError(t, b.CreateTopic(broker.Topic{Name: "parked"}))
	stdout, stderr, code = duplex(t, nil, to(b, "dlq", "ls", "parked")...)
	require.Equal(t, command.OK, code, stderr)
	require.Empty(t, stderr)
	got := rows(stdout)
	require.Equal(t, []string{"QUEUE", "LETTERS", "OPEN", "OLDEST", "LOST", "IN", "KEPT"}, got[0])
	require.Equal(t, []string{queue, "10", "10"}, got[1][:3])
	require.Equal(t, []string{"2d", "3d"}, got[1][4:])
	require.Equal(t, []string{"parked", "0", "0", "-", "-", "7d"}, got[2])

	stdout, _, code = duplex(t, nil, to(b, "dlq", "ls", "--json")...)
	require.Equal(t, command.OK, code)
	var all []map[string]any
	require.NoError(t, json.Unmarshal([]byte(stdout), &all))
	require.Len(t, all, 1)
	require.EqualValues(t, 72*3600*1000, all[0]["retention_ms"])
	_, stderr, code = duplex(t, nil, to(b, "dlq", "ls", "nowhere")...)
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, "unknown-topic")
}

func TestCausesAreShown(t *testing.T) {
	t.Parallel()
	b := inbox(t)
	stdout, stderr, code := duplex(t, nil, to(b, "dlq", "groups", queue)...)
	require.Equal(t, command.OK, code, stderr)
	require.Regexp(t, `^duplex: 10 of 10 letters fit, read in \S+; 2 are second copies\n$`, stderr)
	got := rows(stdout)
	require.Equal(t, []string{"CAUSE", "OPEN", "ALL", "FIRST", "LAST", "LOST", "IN", "SAMPLE", "ERROR"}, got[0])
	require.Len(t, got, 5)
	var counts [][]string
	for _, g := range got[1:] {
		counts = append(counts, g[:3])
	}
	require.True(t, slices.ContainsFunc(counts, func(c []string) bool { return slices.Equal(c, []string{"01234567", "2", "4"}) }), "%v", counts)
	require.Contains(t, stdout, "*errors.errorString: ")

	stdout, stderr, code = duplex(t, nil, to(b, "dlq", "groups", queue, "-n", "1", "-G", "dialect=spring")...)
	require.Equal(t, command.OK, code, stderr)
	require.Len(t, rows(stdout), 2)
	require.Contains(t, stderr, "3 of 10 letters fit")
	require.Contains(t, stderr, "1 letters more, 1 open, of causes that are not shown")

	stdout, _, code = duplex(t, nil, to(b, "dlq", "groups", queue, "--json", "-G", "fingerprint=01234567")...)
	require.Equal(t, command.OK, code)
	var out struct {
		Queue  string
		Causes []struct {
			Count, Open int64
			Groups      []string
			Sample      string
			TimeToLoss  int64 `json:"time_to_loss_ms"`
		}
		Scanned struct{ Read, Matched int64 }
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &out))
	require.Equal(t, queue, out.Queue)
	require.Len(t, out.Causes, 1)
	require.EqualValues(t, 4, out.Causes[0].Count)
	require.Equal(t, []string{"boards"}, out.Causes[0].Groups)
	require.EqualValues(t, 10, out.Scanned.Read)
	require.Regexp(t, `^0/\d$`, out.Causes[0].Sample)

	stdout, _, code = duplex(t, nil, to(b, "dlq", "groups", queue, "-G", "reason=none")...)
	require.Equal(t, command.OK, code, "nothing is no failure")
	require.Empty(t, stdout)
}

func TestFilterThatIsWrongIsShown(t *testing.T) {
	t.Parallel()
	b := inbox(t)
	for _, of := range []string{"groups", "tail", "export"} {
		stdout, stderr, code := duplex(t, nil, to(b, "dlq", of, queue, "-G", "reason=panic grop=x")...)
		require.Equal(t, command.Usage, code)
		require.Empty(t, stdout)
		require.Contains(t, stderr, "did you mean group?\n  reason=panic grop=x\n               ^")
	}
	_, stderr, code := duplex(t, nil, to(b, "dlq", "groups", queue+"s")...)
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, "unknown-topic")
	_, _, code = duplex(t, nil, to(b, "dlq", "groups")...)
	require.Equal(t, command.Usage, code)
	_, _, code = duplex(t, nil, to(b, "dlq", "groups", queue, "--most", "-1")...)
	require.Equal(t, command.Usage, code)
	_, _, code = duplex(t, nil, to(b, "dlq", "tail", queue, "--last", "1001")...)
	require.Equal(t, command.Usage, code)
	_, _, code = duplex(t, nil, to(b, "dlq", "ls", "--timeout", "0s")...)
	require.Equal(t, command.Usage, code)
}

func TestLetterIsShown(t *testing.T) {
	t.Parallel()
	b := inbox(t)
	stdout, stderr, code := duplex(t, nil, to(b, "dlq", "show", queue, "0/0")...)
	require.Equal(t, command.OK, code, stderr)
	for _, want := range []string{
		"dlq.boards.orders 0/0  open  duplex\n", `(?m)^  id +orders/3/42@boards#AQIDBA$`, `(?m)^  origin +orders 3/42 of 2023-11-14T22:13:20Z$`,
		`(?m)^  error +\*errors.errorString: seat 4711 is taken$`, `(?m)^  failed +2023-11-14T22:13:22Z, \d+d ago, first 2023-11-14T22:13:21Z$`,
		`(?m)^  generation +1$`, `(?m)^key      k$`, `(?m)^header   content-type: application/json$`, `(?m)^value    \{\}$`,
	} {
		require.Regexp(t, want, stdout)
	}
	stdout, _, _ = duplex(t, nil, to(b, "dlq", "show", queue, "0/6")...)
	require.Contains(t, stdout, "open  spring\n")
	require.Contains(t, stdout, "header   kafka_dlt-original-partition: 0x00000002\n"[:38])
	require.Contains(t, stdout, "\nstack\n  org.springframework")
	stdout, stderr, code = duplex(t, nil, to(b, "dlq", "show", queue, "0/1")...)
	require.Equal(t, command.OK, code, stderr)
	require.Contains(t, stdout, `payload gone: topic "orders" does not exist, or is hidden`)

	stdout, _, code = duplex(t, nil, to(b, "dlq", "show", queue, "orders/3/43@boards#AQIDBA", "--json")...)
	require.Equal(t, command.OK, code)
	l, err := dlq.ParseLine([]byte(stdout))
	require.NoError(t, err)
	require.EqualValues(t, 3, l.Offset)
	require.Equal(t, "{}", string(l.Record.Value))
	_, stderr, code = duplex(t, nil, to(b, "dlq", "show", queue, "0/99")...)
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, "there is no letter at this offset")
}

// What others wrote cannot move the cursor of whoever reads it.
func TestHostileLetterIsPrintable(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	require.NoError(t, b.CreateTopic(broker.Topic{Name: queue}))
	evil := []byte("\x1b[2J\r\n\tevil")
	client := kafkaClient(t, b)
	require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: queue, Key: evil, Value: bytes.Repeat(evil, 1000), Headers: []kgo.RecordHeader{
		{Key: "\x1b[2J", Value: evil}, {Key: "kafka_dlt-exception-message", Value: evil}, {Key: "kafka_dlt-exception-stacktrace", Value: evil},
		{Key: "kafka_dlt-original-topic", Value: evil}, {Key: "kafka_dlt-original-partition", Value: evil}, {Key: "raw", Value: []byte{0xff}},
	}}).FirstErr())
	for _, args := range [][]string{{"show", queue, "0/0"}, {"groups", queue}, {"tail", queue, "--follow=false"}, {"ls"}} {
		stdout, stderr, code := duplex(t, nil, to(b, append([]string{"dlq"}, args...)...)...)
		require.Equal(t, command.OK, code, stderr)
		require.NotContains(t, stdout+stderr, "\x1b", args)
		require.NotContains(t, stdout+stderr, "\r", args)
		if args[0] == "show" {
			require.Contains(t, stdout, "header   raw: 0xff\n")
			require.Contains(t, stdout, "(11,000 bytes in all)")
		}
	}
}

func TestLettersAreExported(t *testing.T) {
	t.Parallel()
	b := inbox(t)
	stdout, stderr, code := duplex(t, nil, to(b, "dlq", "export", queue, "-G", "!dialect=duplex")...)
	require.Equal(t, command.OK, code, stderr)
	require.Contains(t, stderr, "duplex: 4 of 10 letters fit")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	require.Len(t, lines, 4)
	for _, line := range lines {
		_, err := dlq.ParseLine([]byte(line))
		require.NoError(t, err)
	}
	require.Contains(t, lines[0], `"value":"{}"`)
}

func TestTailFollows(t *testing.T) {
	t.Parallel()
	b := inbox(t)
	stdout, stderr, code := duplex(t, nil, to(b, "dlq", "tail", queue, "--follow=false", "-n", "2")...)
	require.Equal(t, command.OK, code, stderr)
	got := rows(stdout)
	require.Len(t, got, 2)
	require.Equal(t, "0/9", got[1][1])
	require.Regexp(t, regexp.MustCompile(`seat 12 is taken`), stdout)
	stdout, _, _ = duplex(t, nil, to(b, "dlq", "tail", queue, "--follow=false", "-n", "0")...)
	require.Empty(t, stdout)

	p := start(t, nil, to(b, "dlq", "tail", queue, "-n", "1", "--json", "-G", "!reason=bad-control")...)
	require.Eventually(t, func() bool { return strings.Count(p.Stdout.String(), "\n") == 1 }, soon, 10*time.Millisecond, "the last")
	letters(t, kafkaClient(t, b), queue, 1, "karafka")
	require.Eventually(t, func() bool { return strings.Contains(p.Stdout.String(), `"dialect":"karafka"`) }, soon, 10*time.Millisecond, "what came")
	require.Equal(t, 2, strings.Count(p.Stdout.String(), "\n"))
	p.Signal(command.ErrInterrupted)
	require.Equal(t, command.Interrupted, p.Wait())
}

// A queue that is made again has other letters at the same offsets.
func TestTailEndsWithItsQueue(t *testing.T) {
	t.Parallel()
	for why, again := range map[string]bool{"unknown-topic": false, "deleted and made again": true} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			b := inbox(t)
			p := start(t, nil, to(b, "dlq", "tail", queue, "-n", "1")...)
			require.Eventually(t, func() bool { return strings.Count(p.Stdout.String(), "\n") == 1 }, soon, 10*time.Millisecond)
			admin := kadm.NewClient(kafkaClient(t, b))
			_, err := admin.DeleteTopic(t.Context(), queue)
			require.NoError(t, err)
			if again {
				_, err = admin.CreateTopic(t.Context(), 1, 1, nil, queue)
				require.NoError(t, err)
			}
			require.Equal(t, command.Failed, p.Wait())
			require.Contains(t, p.Stderr.String(), why)
		})
	}
}
