package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/duplex-go/duplex"
)

// newTopic makes a topic with a name of its own, and waits until the brokers know
// it: Kafka answers before that.
func newTopic(t *testing.T, c duplex.Cluster, partitions int32, configs ...string) string {
	t.Helper()
	name := unique(t)
	set := map[string]*string{}
	for i := 0; i+1 < len(configs); i += 2 {
		set[configs[i]] = &configs[i+1]
	}
	admin := kadm.NewClient(rawClient(t, c))
	_, err := admin.CreateTopic(t.Context(), partitions, -1, set, name)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		ends, err := admin.ListEndOffsets(t.Context(), name)
		return err == nil && ends.Error() == nil && len(ends[name]) == int(partitions)
	}, 10*time.Second, 20*time.Millisecond, "topic %q did not appear", name)
	return name
}

// unique is a name that no other test and no other run uses.
func unique(t *testing.T) string {
	t.Helper()
	test := strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' {
			return '-'
		}
		return r
	}, t.Name())
	return test + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
}

// logSize is how many records the topic has.
func logSize(t *testing.T, c duplex.Cluster, topic string) int64 {
	t.Helper()
	ends, err := kadm.NewClient(rawClient(t, c)).ListEndOffsets(t.Context(), topic)
	require.NoError(t, err)
	require.NoError(t, ends.Error())
	var n int64
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n
}

// to are the flags that every program needs to find c.
func to(c duplex.Cluster, args ...string) []string {
	return append(args, "--brokers", strings.Join(c.Brokers, ","))
}

// summary is what producer --json prints.
type summary struct {
	Read, Published, Failed, Unknown, Skipped int
	Seconds                                   float64
}

func parseSummary(t *testing.T, stdout string) summary {
	t.Helper()
	var s summary
	require.NoError(t, json.Unmarshal([]byte(stdout), &s), stdout)
	return s
}

// line is one line of the consumer's output.
type line struct {
	Topic             string
	Partition         int32
	Offset, Timestamp int64
	Key, Value        *string
	Headers           [][]string
}

func parseLines(t *testing.T, lines []string) []line {
	t.Helper()
	parsed := make([]line, len(lines))
	for i, l := range lines {
		require.NoError(t, json.Unmarshal([]byte(l), &parsed[i]), l)
	}
	return parsed
}

// departure is the i-th line of input, for ten airports by turns.
func departure(i int) string { return fmt.Sprintf(`{"origin":"A%02d","number":%d}`+"\n", i%10, i) }

// departures are the first n lines of input.
func departures(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(departure(i))
	}
	return b.String()
}

// values are the lines of the input that the records carry, in no order.
func values(lines []line) []string {
	var v []string
	for _, l := range lines {
		v = append(v, *l.Value)
	}
	return v
}

// noise is text that no compression makes small.
func noise(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(rand.IntN(26))
	}
	return string(b)
}

func split(text string) []string { return strings.Split(strings.TrimSuffix(text, "\n"), "\n") }

func TestBinariesCarryRecordsThrough(t *testing.T) {
	t.Parallel()
	c, topic, group := cluster(t), unique(t), unique(t)
	input := departures(1000)
	stdout, stderr, code := run(t, "producer", to(c, "--topic", topic, "--create", "6", "--key-field", "origin",
		"--header", "source=test", "--header", "source=twice", "--json"), input)
	require.Equal(t, 0, code, stderr)
	got := parseSummary(t, stdout)
	require.Equal(t, 1000, got.Read)
	require.Equal(t, 1000, got.Published)
	require.Equal(t, int64(1000), logSize(t, c, topic))

	stdout, stderr, code = run(t, "consumer", to(c, "--topic", topic, "--group", group, "--until-end"), "")
	require.Equal(t, 0, code, stderr)
	lines := parseLines(t, split(stdout))
	require.ElementsMatch(t, split(input), values(lines))
	last := map[string]int{}
	for _, l := range lines {
		var d struct {
			Origin string
			Number int
		}
		require.NoError(t, json.Unmarshal([]byte(*l.Value), &d))
		require.Equal(t, d.Origin, *l.Key)
		require.Equal(t, [][]string{{"source", "test"}, {"source", "twice"}}, l.Headers)
		if before, seen := last[d.Origin]; seen {
			require.Greater(t, d.Number, before, "the records of one key changed places")
		}
		last[d.Origin] = d.Number
	}

	stdout, stderr, code = run(t, "consumer", to(c, "--topic", topic, "--group", group, "--until-end"), "")
	require.Equal(t, 0, code, stderr)
	require.Empty(t, stdout, "what was committed came again")
}

func TestProducerNamesWhatItCannotUse(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	for name, test := range map[string]struct {
		args      []string
		stdin     string
		code      int
		says      string
		published int64
	}{
		"line that is not JSON":   {nil, "{\"a\":1}\n{\"a\":2}\n{oops\n{\"a\":4}\n", 1, "line 3", 2},
		"skipped line":            {[]string{"--skip-invalid"}, "{\"a\":1}\n{oops\n{\"a\":3}\n", 0, "", 2},
		"field that is not there": {[]string{"--key-field", "origin"}, "{\"origin\":\"X\"}\n{\"a\":2}\n", 1, "line 2", 1},
		"nothing":                 {nil, "", 0, "", 0},
		"unknown flag":            {[]string{"--nonsense"}, "", 2, "nonsense", 0},
		"record that is too large": {
			[]string{"--format", "lines", "--max-record-bytes", "100000"}, "small\n" + noise(300_000) + "\n", 1, "line 2", 1,
		},
		"record that is too large for the topic": {
			[]string{"--format", "lines"}, noise(300_000) + "\n", 1, "line 1: producer: publishing to", 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topic := newTopic(t, c, 1, "max.message.bytes", "100000")
			_, stderr, code := run(t, "producer", to(c, append([]string{"--topic", topic}, test.args...)...), test.stdin)
			require.Equal(t, test.code, code, stderr)
			require.Contains(t, stderr, test.says)
			require.Equal(t, test.published, logSize(t, c, topic))
		})
	}
}

func TestProducerBearsALineOf300MB(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	for name, test := range map[string]struct {
		flags     []string
		code      int
		published int64
	}{
		"named":   {nil, 1, 1},
		"skipped": {[]string{"--skip-invalid"}, 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topic := newTopic(t, c, 1)
			p := start(t, "producer", to(c, append([]string{"--topic", topic}, test.flags...)...)...)
			_, err := io.WriteString(p.Stdin, "{}\n")
			require.NoError(t, err)
			chunk, memory := bytes.Repeat([]byte("x"), 1<<20), 0
			for range 300 {
				if _, err := p.Stdin.Write(chunk); err != nil {
					break // it may end before it has read all of it
				}
				memory = max(memory, p.peakMemory())
			}
			_, _ = io.WriteString(p.Stdin, "\n{}\n")
			_ = p.Stdin.Close()
			require.Equal(t, test.code, p.wait(t), p.stderr.String())
			if test.code != 0 {
				require.Contains(t, p.stderr.String(), "line 2")
			}
			require.Equal(t, test.published, logSize(t, c, topic))
			require.Less(t, memory, 250<<10, "KiB of memory")
		})
	}
}

func TestProgramsNameWhatIsWrongWithTheCluster(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	nobody, err := freePort()
	require.NoError(t, err)
	topic := newTopic(t, c, 1)
	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"nobody at the address": {[]string{"--topic", topic, "--brokers", fmt.Sprintf("%s:%d", loopback, nobody)}, "unreachable"},
		"TLS to a plain port":   {to(c, "--topic", topic, "--tls"), "TLS"},
		"missing topic":         {to(c, "--topic", "nobody-made-this-one"), "unknown-topic"},
	} {
		for program, more := range map[string][]string{
			"producer": {"--timeout", "5s"},
			"consumer": {"--start-timeout", "5s", "--group", "g", "--until-end"},
		} {
			t.Run(program+" "+name, func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				_, stderr, code := run(t, program, append(test.args, more...), "{}\n")
				require.Equal(t, 1, code, stderr)
				require.Contains(t, stderr, test.says)
				require.Less(t, time.Since(began), 20*time.Second)
			})
		}
	}
}

func TestProgramsRefuseTheWrongPassword(t *testing.T) {
	t.Parallel()
	n := node(t, withPlainUser("alice", "right"))
	c := n.SASL("alice", "wrong")
	_, stderr, code := run(t, "producer", to(c, "--topic", "t", "--timeout", "5s", "--sasl-username", "alice", "--sasl-password", "wrong"), "{}\n")
	require.Equal(t, 1, code, stderr)
	require.Contains(t, stderr, "unauthenticated")
	require.NotContains(t, stderr, "wrong", "the password was printed")
	_, stderr, code = run(t, "consumer", to(c, "--topic", "t", "--group", "g", "--start-timeout", "5s", "--sasl-username", "alice", "--sasl-password", "wrong"), "")
	require.Equal(t, 1, code, stderr)
	require.Contains(t, stderr, "unauthenticated")
}

func TestUnknownSettingIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(path, []byte("topic: t\nbrockers: [elsewhere:9092]\n"), 0o600))
	for _, program := range []string{"producer", "consumer"} {
		_, stderr, code := run(t, program, []string{"--config", path}, "")
		require.Equal(t, 2, code, stderr)
		require.Contains(t, stderr, "brockers")
	}
}

func TestConsumerDrainsAtSIGTERM(t *testing.T) {
	t.Parallel()
	c, group := cluster(t), unique(t)
	topic := newTopic(t, c, 3)
	p := start(t, "consumer", to(c, "--topic", topic, "--group", group)...)
	_, stderr, code := run(t, "producer", to(c, "--topic", topic, "--key-field", "origin"), departures(300))
	require.Equal(t, 0, code, stderr)
	lines := p.stdout.waitLines(t, 300, time.Minute)
	p.signal(t, syscall.SIGTERM)
	require.Equal(t, 0, p.wait(t))
	require.ElementsMatch(t, split(departures(300)), values(parseLines(t, lines)))

	stdout, stderr, code := run(t, "consumer", to(c, "--topic", topic, "--group", group, "--until-end"), "")
	require.Equal(t, 0, code, stderr)
	require.Empty(t, stdout, "a graceful stop repeated records")
}

// Shells close standard output when the reader of a pipe has enough, and a disk
// may be full. What was not written must come again.
func TestConsumerCommitsOnlyWhatWasWritten(t *testing.T) {
	t.Parallel()
	shell, err := exec.LookPath("bash")
	if err != nil {
		if requireKafka() {
			t.Fatalf("REQUIRE_KAFKA is set, and this test of the programs needs bash: %v", err)
		}
		t.Skip("no bash, whose pipes this test needs")
	}
	c := cluster(t)
	topic := newTopic(t, c, 1)
	const records = 50_000
	_, stderr, code := run(t, "producer", to(c, "--topic", topic), departures(records))
	require.Equal(t, 0, code, stderr)
	for name, test := range map[string]struct {
		redirect string
		written  int // at most
	}{
		// head reads a few KiB, and the pipe itself takes 64 more.
		"closed pipe": {"| head -n 10 >/dev/null; exit ${PIPESTATUS[0]}", 2000},
		"full disk":   {"> /dev/full", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			group := unique(t)
			args := to(c, "--topic", topic, "--group", group)
			script := append([]string{"-c", `"$0" "$@" ` + test.redirect, binaries.path(t, "consumer")}, args...)
			_, stderr, code := runPath(t, shell, script, nil, "")
			require.Equal(t, 1, code, stderr)
			stdout, stderr, code := run(t, "consumer", append(args, "--until-end"), "")
			require.Equal(t, 0, code, stderr)
			again := values(parseLines(t, split(stdout)))
			require.GreaterOrEqual(t, len(again), records-test.written, "committed what was never written")
			require.Equal(t, split(departures(records))[records-len(again):], again)
		})
	}
}
