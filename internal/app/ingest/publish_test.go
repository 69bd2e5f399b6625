package ingest_test

import (
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
)

// sent is a record as a test writes it down; no key is "-".
type sent struct{ key, value string }

func TestLinesBecomeRecords(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args  []string
		input string
		want  []sent
	}{
		"JSON values as they are":     {nil, "{\"b\": 1,\"a\":2}\n  [1, 2]\n\"text\"\nnull\n1e999\n", []sent{{"-", `{"b": 1,"a":2}`}, {"-", "  [1, 2]"}, {"-", `"text"`}, {"-", "null"}, {"-", "1e999"}}},
		"CR LF":                       {nil, "1\r\n2\r\n", []sent{{"-", "1"}, {"-", "2"}}},
		"last line without its end":   {nil, "1\n2", []sent{{"-", "1"}, {"-", "2"}}},
		"last line with half its end": {nil, "1\n2\r", []sent{{"-", "1"}, {"-", "2"}}},
		"empty input":                 {nil, "", nil},
		"key from a string":           {[]string{"--key-field", "k"}, `{"k":"a\u00fc\n"}`, []sent{{"aü\n", `{"k":"a\u00fc\n"}`}}},
		"key from a large number":     {[]string{"--key-field", "k"}, `{"k":9007199254740993}`, []sent{{"9007199254740993", `{"k":9007199254740993}`}}},
		"key from a negative number":  {[]string{"--key-field", "k"}, `{"k": -1.50e3}`, []sent{{"-1.50e3", `{"k": -1.50e3}`}}},
		"one key":                     {[]string{"--key", "all"}, "1\n2\n", []sent{{"all", "1"}, {"all", "2"}}},
		"any lines":                   {[]string{"--format", "lines"}, "{oops\n\n \x00\xff\n", []sent{{"-", "{oops"}, {"-", ""}, {"-", " \x00\xff"}}},
		"layout":                      {[]string{"--format", `%k\t%v\n`}, "a\t1\nb\t2 3\n", []sent{{"a", "1"}, {"b", "2 3"}}},
		"layout without last end":     {[]string{"--format", `%k\t%v\n`}, "a\t1\nb\t2", []sent{{"a", "1"}, {"b", "2"}}},
		"layout with lengths":         {[]string{"--format", `%V{big32}%v`}, "\x00\x00\x00\x02a\n\x00\x00\x00\x01b", []sent{{"-", "a\n"}, {"-", "b"}}},
		"standard input by its name":  {[]string{"-"}, "1\n", []sent{{"-", "1"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := apptest.Listen(t, broker.Topic{Name: "orders"})
			p, code := run(t, b, test.input, append(test.args, "--topic", "orders", "--json")...)
			require.Zero(t, code, p.Stderr.String())
			p.counts(t, len(test.want), len(test.want), 0, 0)
			require.Nil(t, p.summary(t).Skipped, "without --skip-invalid nothing is ever skipped")
			var got []sent
			for _, r := range log(t, b, "orders", len(test.want)) {
				key := "-"
				if r.Key != nil {
					key = string(r.Key)
				}
				require.NotNil(t, r.Value, "an empty line is no tombstone")
				got = append(got, sent{key, string(r.Value)})
			}
			require.Equal(t, test.want, got)
		})
	}
}

func TestEveryRecordHasTheHeadersInTheirOrder(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	p, code := run(t, b, "1\n2\n", "-t", "orders", "-H", "b=1", "-H", "a=x=y", "-H", "b=2", "-H", "empty=")
	require.Zero(t, code, p.Stderr.String())
	for _, r := range log(t, b, "orders", 2) {
		var got []string
		for _, h := range r.Headers {
			got = append(got, h.Key+":"+string(h.Value))
		}
		require.Equal(t, []string{"b:1", "a:x=y", "b:2", "empty:"}, got)
	}
}

func TestFileIsRead(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	path := filepath.Join(t.TempDir(), "orders.ndjson")
	require.NoError(t, os.WriteFile(path, []byte("1\n{\n"), 0o600))
	p, code := run(t, b, "not this", "-t", "orders", path)
	require.Equal(t, 1, code)
	require.Contains(t, p.Stderr.String(), path+", line 2: not JSON")
	require.Empty(t, p.Stdout.String(), "only --json writes to standard output")
	log(t, b, "orders", 1)
}

func TestCreateMakesTheTopicOnce(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	p, code := run(t, b, "1\n", "-t", "orders")
	require.Equal(t, 1, code)
	require.Contains(t, p.Stderr.String(), "unknown-topic")
	require.Contains(t, p.Stderr.String(), "--create")

	p, code = run(t, b, "1\n", "-t", "orders", "--create", "6")
	require.Zero(t, code, p.Stderr.String())
	require.Contains(t, p.Stderr.String(), `created topic "orders" with 6 partitions`)
	require.Len(t, b.Kfake().PartitionInfos("orders"), 6)

	p, code = run(t, b, "1\n", "-t", "orders", "--create", "9")
	require.Zero(t, code, p.Stderr.String())
	require.NotContains(t, p.Stderr.String(), "created")
	require.Len(t, b.Kfake().PartitionInfos("orders"), 6)
}

func TestUnusableRecordEndsTheRun(t *testing.T) {
	t.Parallel()
	key := []string{"--key-field", "k"}
	for name, test := range map[string]struct {
		args      []string
		input     string
		published int
		says      string
	}{
		"not JSON":       {nil, "1\n2\n{oops\n4\n", 2, "standard input, line 3: not JSON: at byte 2"},
		"half an object": {nil, "1\n{\"a\":", 1, "line 2: not JSON: at byte 5: unexpected end"},
		"two values":     {nil, "1 2\n", 0, "line 1: not JSON"},
		"empty line":     {nil, "1\n\n2\n", 1, "line 2: empty, want a JSON value"},
		"blank line":     {nil, "1\n \t\r\n2\n", 1, "line 2: empty, want a JSON value"},
		"line too long":  {[]string{"--max-record-bytes", "2000"}, "1\n\"" + strings.Repeat("x", 70_000) + "\"\n2\n", 1, "line 2: longer than --max-record-bytes 2000 allows"},
		"line a byte too long": {[]string{"--format", "lines", "--max-record-bytes", "2000"},
			strings.Repeat("x", 2001) + "\n", 0, "line 1: longer than --max-record-bytes 2000 allows"},
		"key missing":         {key, "{\"k\":1}\n{\"j\":1}\n", 1, `line 2: no field "k"`},
		"key empty":           {key, `{"k":""}`, 0, `line 1: field "k" is empty`},
		"key a boolean":       {key, `{"k":true}`, 0, `line 1: field "k" is true, want a string or a number`},
		"key null":            {key, `{"k":null}`, 0, `field "k" is null`},
		"key an object":       {key, `{"k":{"a":"` + strings.Repeat("x", 100) + `"}}`, 0, `…, want a string or a number`},
		"key not UTF-8":       {key, "{\"k\":\"\xff\"}", 0, `field "k" is not valid UTF-8`},
		"no object":           {key, "[1]", 0, `line 1: not a JSON object`},
		"null for an object":  {key, "null", 0, `line 1: not a JSON object`},
		"layout without end":  {[]string{"--format", `%k\t%v\n`}, "a\t1\nb", 1, "record 2: reading by the layout: unexpected EOF"},
		"layout that differs": {[]string{"--format", `k=%k,%v\n`}, "k=a,1\nb,2\nk=c,3", 1, "record 2: reading by the layout"},
		"layout too long":     {[]string{"--format", `%v\n`, "--max-record-bytes", "2000"}, strings.Repeat("x", 1<<20), 0, "record 1: reading by the layout: longer than --max-record-bytes"},
		"layout with a length that lies": {[]string{"--format", `%V{big32}%v`, "--max-record-bytes", "2000"},
			"\xff\xff\xff\xff" + strings.Repeat("x", 1<<20), 0, "record 1: reading by the layout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := apptest.Listen(t, broker.Topic{Name: "orders"})
			p, code := run(t, b, test.input, append(test.args, "--topic", "orders", "--json")...)
			require.Equal(t, 1, code, p.Stderr.String())
			require.Contains(t, p.Stderr.String(), test.says)
			require.Equal(t, 1, strings.Count(p.Stderr.String(), test.says), "said twice")
			require.Equal(t, 1, strings.Count(p.Stderr.String(), ", published "), "the summary is printed once:\n%s", p.Stderr.String())
			p.counts(t, test.published+1, test.published, 1, 0)
			log(t, b, "orders", test.published)
		})
	}
}

func TestSkippedRecordsAreCounted(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	input := "{\"k\":1}\n{oops\n\n{\"j\":1}\n{\"k\":\"" + strings.Repeat("x", 70_000) + "\"}\n{\"k\":2}\n"
	p, code := run(t, b, input, "-t", "orders", "--key-field", "k", "--max-record-bytes", "2000", "--skip-invalid", "--json")
	require.Zero(t, code, p.Stderr.String())
	p.counts(t, 6, 2, 0, 0)
	require.Equal(t, 4, *p.summary(t).Skipped)
	for _, says := range []string{"line 2: skipped: not JSON", "line 3: skipped: empty", `line 4: skipped: no field "k"`, "line 5: skipped: longer than", "skipped 4 in"} {
		require.Contains(t, p.Stderr.String(), says)
	}
	log(t, b, "orders", 2)
}

func TestOnlyTheFirstFailuresAreShown(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	p, code := run(t, b, strings.Repeat("{oops\n", 500), "-t", "orders", "--skip-invalid", "--json")
	require.Zero(t, code)
	require.Equal(t, 500, *p.summary(t).Skipped)
	require.Contains(t, p.Stderr.String(), "line 10: skipped")
	require.NotContains(t, p.Stderr.String(), "line 11:")
	require.Equal(t, 1, strings.Count(p.Stderr.String(), "and more, counted only"))
}

func TestRecordThatKafkaRefusesIsNamed(t *testing.T) {
	t.Parallel()
	topic := broker.Topic{Name: "orders", Configs: map[string]string{"max.message.bytes": "1000"}}
	t.Run("ends the run", func(t *testing.T) {
		t.Parallel()
		b := apptest.Listen(t, topic)
		in, feed := io.Pipe() // stays open: the end must not wait for another line
		defer feed.Close()
		p := start(t, in, nil, "-t", "orders", "--format", "lines", "--json", "--brokers", b.Addrs()[0])
		_, err := io.WriteString(feed, noise(100_000)+"\n")
		require.NoError(t, err)
		require.Equal(t, 1, p.Wait(), p.Stderr.String())
		p.counts(t, 1, 0, 1, 0)
		require.Contains(t, p.Stderr.String(), "standard input, line 1: ")
		require.Contains(t, p.Stderr.String(), "too-large")
		log(t, b, "orders", 0)
	})
	t.Run("is failed, not skipped", func(t *testing.T) {
		t.Parallel()
		b := apptest.Listen(t, topic)
		in, feed := io.Pipe()
		defer feed.Close()
		p := start(t, in, nil, "-t", "orders", "--format", "lines", "--skip-invalid", "--json", "--brokers", b.Addrs()[0])
		_, err := io.WriteString(feed, noise(100_000)+"\n")
		require.NoError(t, err)
		require.Eventually(t, func() bool { return strings.Contains(p.Stderr.String(), "standard input, line 1: ") }, 10*time.Second, 5*time.Millisecond)
		_, err = io.WriteString(feed, "small\n")
		require.NoError(t, err)
		require.NoError(t, feed.Close())
		require.Equal(t, 1, p.Wait(), p.Stderr.String())
		p.counts(t, 2, 1, 1, 0)
		require.Zero(t, *p.summary(t).Skipped, "Kafka refuses what was sent together: nobody decided to leave this one out")
		require.Contains(t, p.Stderr.String(), "set --max-record-bytes")
		log(t, b, "orders", 1)
	})
}

// noise is text that no compression makes small.
func noise(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(rand.IntN(26))
	}
	return string(b)
}
