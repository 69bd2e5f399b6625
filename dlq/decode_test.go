package dlq

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

var update = flag.Bool("update", false, "write testdata as it is read now")

// Each file has records of a dialect, one a line, as they were in a topic, and the
// letters that they are.
func TestDialects(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/letters/*.ndjson")
	require.NoError(t, err)
	require.Len(t, files, 9, "one for each dialect, and one for the unknown")
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			var want []byte
			dialect := Dialect(strings.TrimSuffix(filepath.Base(name), ".ndjson"))
			for line := range bytes.Lines(text) {
				read, err := ParseLine(line)
				require.NoError(t, err)
				var l Letter
				newDecoder().decode(&l, read.Record)
				require.Equal(t, dialect, l.Dialect)
				want, err = AppendLine(want, &l)
				require.NoError(t, err)
			}
			if *update {
				require.NoError(t, os.WriteFile(name, want, 0o600))
			}
			require.Equal(t, string(text), string(want))
		})
	}
}

func TestLinesRoundTrip(t *testing.T) {
	t.Parallel()
	l := &Letter{
		Failure: Failure{
			ID: "orders/3/42@boards#AQIDBA", Origin: Origin{"orders", topicID, 3, 9223372036854775807, born}, Group: "boards", Handler: "orders", Reason: ReasonPanic,
			ErrorType: "t", ErrorCode: "c", ErrorMessage: "<m> & \"m\"\n", Stack: "s", Attempts: 4, FirstFailed: born, LastFailed: now, Fingerprint: "v1:0", Generation: 2,
		},
		Topic: "dlq.boards.orders", Partition: 1, Offset: 7, Time: now, Dialect: DialectDuplex, RedriveID: "r", EditOf: "e", State: StateHandled, Trace: "00-1", Pointer: true, Trouble: "none", Size: 5,
		Record: &kgo.Record{Topic: "dlq.boards.orders", Partition: 1, Offset: 7, Timestamp: now, Key: []byte{0xff}, Value: []byte{}, Headers: []kgo.RecordHeader{
			{Key: "a", Value: []byte("<ä>")}, {Key: "a"}, {Key: "", Value: []byte{}}, {Key: "b", Value: []byte{0, 0xfe}},
		}},
	}
	text, err := AppendLine([]byte("before"), l)
	require.NoError(t, err)
	text = bytes.TrimPrefix(text, []byte("before"))
	require.Equal(t, 1, bytes.Count(text, []byte("\n")))
	require.Contains(t, string(text), `"error_message":"<m> & \"m\"\n"`, "this is no web page")
	again, err := ParseLine(text)
	require.NoError(t, err)
	require.Equal(t, l, again)
	require.Equal(t, l, l.Clone())
	_, err = AppendLine(nil, &Letter{})
	require.ErrorContains(t, err, "no record")
	for _, broken := range []string{"", "{}x", `{"headers":[["a"]]}`, `{"headers":[["a",null,"b64"]]}`, `{"headers":[["a","b","c"]]}`, `{"key_b64":"?"}`, `{"letter":{"origin":{"topic_id":"?"}}}`, `{"letter":{"origin":{"topic_id":"AQIDBAUGBwgJCgsMDQ4PEBE"}}}`} {
		_, err := ParseLine([]byte(broken))
		require.ErrorContains(t, err, "dlq: reading a letter", "%s", broken)
	}
}

// A header that is not as Duplex writes it is Trouble, and the rest is read.
func TestOursWithTrouble(t *testing.T) {
	t.Parallel()
	c := made(Policy{MaxAttempts: 1})
	whole := c.Failed(failed(order(), 1, errDown)).Hop().Record
	whole.Timestamp = now
	var l Letter
	newDecoder().decode(&l, whole)
	require.Empty(t, l.Trouble)
	require.Equal(t, "orders/3/42@boards#AQIDBA", l.ID)
	require.True(t, l.HasOrigin())
	for name, test := range map[string]struct {
		header, value, trouble string
		check                  func(*testing.T, *Letter)
	}{
		"no ID": {HeaderID, "", "header dlq-id is missing", func(t *testing.T, l *Letter) {
			require.Equal(t, "orders/3/42@boards#AQIDBA", l.ID, "that of its origin")
		}},
		"an ID of nonsense": {HeaderID, "a\x1b[2J", "control characters", nil},
		"attempts":          {HeaderAttempt, "four", `header dlq-attempt is "four"`, func(t *testing.T, l *Letter) { require.Zero(t, l.Attempts) }},
		"no offset": {HeaderOriginOffset, "-1", `header dlq-origin-offset is "-1"`, func(t *testing.T, l *Letter) {
			require.False(t, l.HasOrigin())
			require.Equal(t, int64(-1), l.Origin.Offset)
		}},
		"zeros before":   {HeaderOriginOffset, "007", `header dlq-origin-offset is "007"`, nil},
		"a sign":         {HeaderOriginOffset, "+7", `header dlq-origin-offset is "+7"`, nil},
		"many digits":    {HeaderOriginOffset, "18446744073709551617", "header dlq-origin-offset", nil},
		"over int64":     {HeaderOriginOffset, "9223372036854775808", "header dlq-origin-offset", nil},
		"all of int64":   {HeaderOriginOffset, "9223372036854775807", "", func(t *testing.T, l *Letter) { require.Equal(t, int64(math.MaxInt64), l.Origin.Offset) }},
		"a topic ID":     {HeaderOriginTopicID, "AQID", "want 16 bytes in base64url", nil},
		"a long message": {HeaderErrorMessage, strings.Repeat("m", maxMessage+1), "1024 are believed", func(t *testing.T, l *Letter) { require.Len(t, l.ErrorMessage, maxMessage) }},
		"a time":         {HeaderLastFailedAt, "253402300800000", "header dlq-last-failed-at", func(t *testing.T, l *Letter) { require.True(t, l.LastFailed.IsZero()) }},
		"a fingerprint":  {HeaderFingerprint, "", "", func(t *testing.T, l *Letter) { require.Regexp(t, "^v1:[0-9a-f]{16}$", l.Fingerprint) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := *whole
			r.Headers = nil
			for _, h := range whole.Headers {
				if h.Key == test.header {
					h.Value = []byte(test.value)
				}
				r.Headers = append(r.Headers, h)
			}
			var l Letter
			newDecoder().decode(&l, &r)
			require.Contains(t, l.Trouble, test.trouble)
			require.Equal(t, test.trouble == "", l.Trouble == "")
			require.Equal(t, ReasonExhausted, l.Reason)
			require.Equal(t, "boards", l.Group)
			if test.check != nil {
				test.check(t, &l)
			}
		})
	}
	twice := *whole
	twice.Headers = append(twice.Headers[:len(twice.Headers):len(twice.Headers)], kgo.RecordHeader{Key: HeaderGroup, Value: []byte("other")})
	newDecoder().decode(&l, &twice)
	require.Equal(t, "header dlq-group stands there twice", l.Trouble)
}

// The dialect is that of whoever wrote last.
func TestDialectIsThatOfTheLastWriter(t *testing.T) {
	t.Parallel()
	spring := []kgo.RecordHeader{{Key: "kafka_dlt-original-topic", Value: []byte("a")}}
	mine := []kgo.RecordHeader{{Key: HeaderID, Value: []byte("x")}, {Key: HeaderReason, Value: []byte("panic")}}
	user := []kgo.RecordHeader{{Key: "source_topic", Value: []byte("web")}, {Key: "topic_poisoned", Value: []byte("web")}}
	for name, test := range map[string]struct {
		headers []kgo.RecordHeader
		want    family
	}{
		"ours behind Spring's":  {append(append(user, spring...), mine...), familyDuplex},
		"Spring's behind ours":  {append(append(user, mine...), spring...), familySpring},
		"words that users take": {user, noFamily},
		"nothing":               {nil, noFamily},
	} {
		require.Equal(t, test.want, dialectOf(test.headers, new(parser)), name)
	}
}

// A dead letter that died again says where it was read first, and what its last error was.
func TestFirstOriginAndLastError(t *testing.T) {
	t.Parallel()
	r := &kgo.Record{}
	for _, n := range []string{"1", "2"} {
		for _, name := range []string{"original-topic", "exception-message"} {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: "kafka_dlt-" + name, Value: []byte(n)})
		}
	}
	var l Letter
	newDecoder().decode(&l, r)
	require.Equal(t, "1", l.Origin.Topic)
	require.Equal(t, "2", l.ErrorMessage)
}

func TestFingerprintOfOthers(t *testing.T) {
	t.Parallel()
	letter := func(message, stack string) string {
		var l Letter
		newDecoder().decode(&l, &kgo.Record{Headers: []kgo.RecordHeader{
			{Key: "kafka_dlt-original-consumer-group", Value: []byte("billing")}, {Key: "kafka_dlt-exception-message", Value: []byte(message)},
			{Key: "kafka_dlt-exception-stacktrace", Value: []byte(stack)},
		}})
		return l.Fingerprint
	}
	const stack = "org.springframework.kafka.listener.ListenerExecutionFailedException: failed\n\tat java.base/java.lang.Thread.run(Thread.java:833)\n" +
		"Caused by: java.lang.IllegalStateException: no seat\n\tat java.base/java.util.Optional.get(Optional.java:1)\n\tat com.acme.Desk.book(Desk.java:42)\n"
	one := letter("order 4711: no seat", stack)
	require.Equal(t, one, letter("order 4712: no seat", strings.ReplaceAll(stack, ":42", ":43")), "the same cause")
	require.NotEqual(t, one, letter("order 4711: no plane", stack))
	require.NotEqual(t, one, letter("order 4711: no seat", strings.ReplaceAll(stack, "Desk.book", "Desk.find")))
	require.Equal(t, "com.acme.Desk.book", javaFrame([]byte(stack)))
	require.Equal(t, "java.base/java.lang.Thread.run", javaFrame([]byte("\tat java.base/java.lang.Thread.run(Thread.java:833)")))
	require.Empty(t, javaFrame([]byte("no frame")))
}

func TestNumbersOfOthers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		in   coding
		raw  string
		want int64
		ok   bool
	}{
		{inText, "42", 42, true},
		{inText, "-1", -1, true},
		{inText, "4x", 0, false},
		{inText, "", 0, false},
		{inText, strings.Repeat("1", 30), 0, false},
		{inBinary, "\x00\x00\x00\x2a", 42, true},
		{inBinary, "\xff\xff\xff\xff", -1, true},
		{inBinary, "\x7f\xff\xff\xff\xff\xff\xff\xff", 9223372036854775807, true},
		{inBinary, "\x03", 3, true},
		{inBinary, "12345", 12345, true},
		{inBinary, "\x00\x01", 0, false},
		{inBigInt, "\x2a", 42, true},
		{inBigInt, "\xff", -1, true},
		{inBigInt, "\x00\xff", 255, true},
		{inBigInt, "\x01\x8b\xcf\xe5\x68\x00", 1_700_000_000_000, true},
		{inBigInt, "\x00\x00\x00\x00\x00\x00\x00\x00\x01", 0, false},
	} {
		n, ok := test.in.parse([]byte(test.raw))
		require.Equal(t, test.ok, ok, "%v %q", test.in, test.raw)
		if ok {
			require.Equal(t, test.want, n, "%v %q", test.in, test.raw)
		}
	}
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/letters/*.ndjson")
	require.NoError(f, err)
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(f, err)
		for line := range bytes.Lines(text) {
			f.Add(line)
		}
	}
	f.Add([]byte(`{"headers":[["retry_topic-original-timestamp","AYvOVmgAAAAA","b64"],["kafka_dlt-original-partition","//////","b64"]]}`))
	d, asFarAsNeeded := newDecoder(), newDecoder()
	asFarAsNeeded.failures = false
	f.Fuzz(func(t *testing.T, text []byte) {
		read, err := ParseLine(text)
		if err != nil {
			return
		}
		var l Letter
		allocated := testing.AllocsPerRun(1, func() { d.decode(&l, read.Record) })
		require.Less(t, allocated, 600.0)
		require.NotEmpty(t, l.ID)
		require.Regexp(t, `^\S+$`, l.Fingerprint)
		require.LessOrEqual(t, len(l.ErrorMessage), maxMessage)
		require.LessOrEqual(t, len(l.Stack), maxStack)
		for _, w := range []string{l.Group, l.Handler, l.ErrorType, l.ErrorCode, string(l.Reason), l.Origin.Topic, l.RedriveID} {
			require.LessOrEqual(t, len(w), maxWord)
			require.True(t, utf8.ValidString(w))
		}
		require.LessOrEqual(t, len(l.Trouble), 512)
		if l.HasOrigin() {
			require.Less(t, l.Origin.Timestamp, time.UnixMilli(lastTime+1))
		}
		line, err := AppendLine(nil, &l)
		require.NoError(t, err)
		require.True(t, json.Valid(line))
		if l.Trouble != "" {
			return
		}
		var bare Letter // as a redrive has it
		asFarAsNeeded.decode(&bare, read.Record)
		require.Empty(t, bare.Trouble)
		require.Equal(t, []any{l.Pointer, l.Size}, []any{bare.Pointer, bare.Size})
		for _, to := range []Target{{}, {Origin: true}, {Topic: "repair"}} {
			require.Equal(t, to.redriven(&l, "rnew", false), to.redriven(&bare, "rnew", false))
			require.Equal(t, to.partitionOf(&l, 7), to.partitionOf(&bare, 7))
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, dialect := range []string{"duplex", "spring", "connect", "streams", "karafka"} {
		text, err := os.ReadFile(filepath.Join("testdata", "letters", dialect+".ndjson"))
		require.NoError(b, err)
		line, _, _ := bytes.Cut(text, []byte("\n"))
		read, err := ParseLine(line)
		require.NoError(b, err)
		b.Run(dialect, func(b *testing.B) {
			b.ReportAllocs()
			d := newDecoder()
			d.stacks = false
			var l Letter
			for b.Loop() {
				clear(d.fingerprints) // as where each message is another
				d.decode(&l, read.Record)
			}
		})
	}
}
