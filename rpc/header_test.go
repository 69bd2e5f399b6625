package rpc

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

func record(headers ...any) *kgo.Record {
	r := &kgo.Record{}
	for i := 0; i < len(headers); i += 2 {
		name, _ := headers[i].(string)
		switch v := headers[i+1].(type) {
		case string:
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(v)})
		case []byte:
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: v})
		}
	}
	return r
}

// text is a record as docs/wire-format.md shows it.
func text(r *kgo.Record) string {
	var b strings.Builder
	for _, h := range r.Headers {
		v := string(h.Value)
		if h.Key == HeaderReplyPartition {
			v = "0x" + hex.EncodeToString(h.Value)
		}
		b.WriteString(h.Key + ": " + v + "\n")
	}
	b.WriteString("\n" + string(r.Value))
	return b.String()
}

func TestRequestOnTheWire(t *testing.T) {
	t.Parallel()
	c := &Client{name: "desk/pod-1", identity: identity{prefix: []byte("aBcDeFgH.123456.")}}
	deadline := time.Date(2100, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	of := record("traceparent", "00-1", "rpc-status", "ok", "kafka_replyTopic", "__consumer_offsets", "lang", "de")
	of.Value = []byte(`{"a":1}`)
	r := &c.request(t.Context(), &call{number: number{0, 1, 2, 255}, method: "fares/Quote"}, address{"rpc.replies.desk", 259}, 2, deadline, time.Until(deadline), of).record
	left, there := duplex.Header(r, HeaderTimeout)
	require.True(t, there)
	require.Equal(t, "86400000", left, "a day at most")
	got := strings.Replace(text(r), left, "5000", 1)
	require.Equal(t, `traceparent: 00-1
lang: de
kafka_correlationId: aBcDeFgH.123456.AAEC_wAAAAAAAAAAAAAAAA
kafka_replyTopic: rpc.replies.desk
kafka_replyPartition: 0x00000103
rpc-v: 1
rpc-kind: request
rpc-method: fares/Quote
rpc-deadline: 4102542245006
rpc-timeout-ms: 5000
rpc-attempt: 2
rpc-caller: desk/pod-1

{"a":1}`, got)

	q, err := parseRequest(r, nil)
	require.NoError(t, err)
	require.Equal(t, "rpc.replies.desk", q.replyTopic)
	require.Equal(t, int32(259), q.partition)
	require.Equal(t, "fares/Quote", q.method)
	require.Equal(t, "desk/pod-1", q.caller)
	require.Equal(t, 2, q.attempt)
	require.True(t, q.deadline.Equal(deadline))
}

func TestReplyOnTheWire(t *testing.T) {
	t.Parallel()
	at := time.UnixMicro(1_700_000_000_000_001)
	a := &answer{
		server:  &Server{name: "fares/pod-9"},
		request: request{correlationID: []byte{0, 255, 7}, replyTopic: "rpc.replies.desk", partition: 3},
		record:  record("content-type", "application/json", "rpc-status", "internal", "x", "y"), got: at, began: at.Add(time.Millisecond), ended: at.Add(2 * time.Millisecond),
	}
	a.record.Value = []byte("42")
	r := new(kgo.Record)
	a.write(r, writer{})
	require.Equal(t, "rpc.replies.desk", r.Topic)
	require.Equal(t, int32(3), r.Partition)
	require.Equal(t, "kafka_correlationId: \x00\xff\x07\nrpc-v: 1\nrpc-kind: reply\nrpc-server: fares/pod-9\n"+
		"rpc-times: 1700000000000001,1700000000001001,1700000000002001\ncontent-type: application/json\nx: y\n\n42", text(r))
	require.Equal(t, reply{server: "fares/pod-9"}, parseReply(r, nil))

	a.err = &Error{Code: NotFound, Message: "no flight “7”\n", Executed: Completed, RetryAfter: 1500 * time.Millisecond, Details: []Detail{{"d", []byte{255}}}}
	a.write(r, writer{})
	require.Equal(t, "kafka_correlationId: \x00\xff\x07\nrpc-v: 1\nrpc-kind: reply\nrpc-server: fares/pod-9\n"+
		"rpc-times: 1700000000000001,1700000000001001,1700000000002001\nrpc-status: not_found\n"+
		"rpc-message: no%20flight%20%E2%80%9C7%E2%80%9D%0A\nrpc-executed: completed\nrpc-retry-after-ms: 1500\ncontent-type: application/json\n\n"+
		`{"code":"not_found","message":"no flight “7”\n","details":[{"type":"d","value":"/w"}]}`, text(r))
	require.Equal(t, reply{code: NotFound, message: "no flight “7”\n", executed: Completed, retryAfter: 1500 * time.Millisecond, server: "fares/pod-9"}, parseReply(r, nil))
	require.Equal(t, []Detail{{"d", []byte{255}}}, details(r.Value))
}

func TestReplyPartitionsOfOthers(t *testing.T) {
	t.Parallel()
	for _, of := range []struct {
		value []byte
		want  int32
		wrong string
	}{
		{[]byte{0, 0, 0, 0}, 0, ""},
		{[]byte{0, 0, 1, 0}, 256, ""},
		{[]byte("0"), 0, ""},       // NestJS
		{[]byte("17"), 17, ""},     // NestJS
		{[]byte("1234"), 1234, ""}, // and not 825373492
		{[]byte{0xff, 0xff, 0xff, 0xff}, 0, "negative"},
		{[]byte("-1"), 0, "want four bytes or a number"},
		{[]byte(""), 0, "want four bytes or a number"},
		{[]byte("99999999999"), 0, "want four bytes or a number"},
		{bytes.Repeat([]byte("1"), 1<<20), 0, "want four bytes or a number"},
	} {
		q, err := parseRequest(record(HeaderReplyTopic, "t", HeaderCorrelationID, "c", HeaderReplyPartition, of.value), nil)
		if of.wrong == "" {
			require.NoError(t, err)
			require.Equal(t, of.want, q.partition)
			continue
		}
		require.ErrorContains(t, err, of.wrong)
		require.True(t, q.oneWay(), "there is nowhere to answer to")
		require.Less(t, len(err.Error()), 300)
	}
}

func TestHostileRequests(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*kgo.Record{
		"no correlation ID":        record(HeaderReplyTopic, "t"),
		"empty correlation ID":     record(HeaderReplyTopic, "t", HeaderCorrelationID, ""),
		"64 KB of correlation ID":  record(HeaderReplyTopic, "t", HeaderCorrelationID, make([]byte, 64<<10)),
		"a long method":            record(HeaderReplyTopic, "t", HeaderCorrelationID, "c", HeaderMethod, strings.Repeat("m", 1000)),
		"a method that is no text": record(HeaderReplyTopic, "t", HeaderCorrelationID, "c", HeaderMethod, "\xff"),
		"a deadline of NaN":        record(HeaderReplyTopic, "t", HeaderCorrelationID, "c", HeaderDeadline, "NaN"),
		"a negative timeout":       record(HeaderReplyTopic, "t", HeaderCorrelationID, "c", HeaderTimeout, "-5"),
		"a timeout of years":       record(HeaderReplyTopic, "t", HeaderCorrelationID, "c", HeaderTimeout, "99999999999"),
		"a huge number":            record(HeaderReplyTopic, "t", HeaderCorrelationID, "c", HeaderAttempt, strings.Repeat("9", 1<<20)),
		"another version":          record(HeaderReplyTopic, "t", HeaderCorrelationID, "c", HeaderVersion, "2"),
		"1 MB of headers":          record(HeaderReplyTopic, "t", HeaderCorrelationID, "c", "x", make([]byte, 1<<20)),
	} {
		_, err := parseRequest(r, nil)
		require.Error(t, err, name)
		require.Less(t, len(err.Error()), 300, name)
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add("kafka_correlationId", []byte("c"), "rpc-deadline", []byte("1"), "rpc-status", []byte("internal"))
	f.Add("kafka_replyPartition", []byte{0, 0, 0, 1}, "kafka_replyTopic", []byte("t"), "rpc-message", []byte("%zz"))
	f.Fuzz(func(t *testing.T, a string, av []byte, b string, bv []byte, c string, cv []byte) {
		r := record(a, av, b, bv, c, cv)
		q, err := parseRequest(r, nil)
		if err == nil && q.timeout > maxTimeout {
			t.Fatal(q.timeout)
		}
		if !q.oneWay() && (len(q.correlationID) == 0 || len(q.correlationID) > maxCorrelationID || q.partition < 0) {
			t.Fatalf("%+v", q)
		}
		p := parseReply(r, nil)
		if p.code != "" && (!p.code.known() || !p.executed.known()) {
			t.Fatalf("%+v", p)
		}
	})
}

func TestCorrelationIDs(t *testing.T) {
	t.Parallel()
	id, again, other := newIdentity("pod-1"), newIdentity("pod-1"), newIdentity("pod-2")
	n := new(numbers).next()
	b := id.append(nil, n)
	require.Len(t, b, correlationSize)
	for _, c := range b {
		require.Less(t, c, byte(128))
	}
	got, whose := id.parse(b)
	require.Equal(t, mine, whose)
	require.Equal(t, n, got)
	_, whose = again.parse(b)
	require.Equal(t, former, whose)
	_, whose = other.parse(b)
	require.Equal(t, another, whose)
	for _, bad := range [][]byte{nil, {}, []byte("x"), make([]byte, 16), b[1:], append(bytes.Clone(b), 'x'), bytes.Replace(b, []byte("."), []byte("_"), 1), append(bytes.Clone(b[:len(b)-1]), '*')} {
		_, whose = id.parse(bad)
		require.Equal(t, nobodies, whose, "%q", bad)
	}
	// The last character has four bits too many: only one of sixteen is ours.
	last := bytes.Clone(b)
	last[len(last)-1]++
	_, whose = id.parse(last)
	require.NotEqual(t, mine, whose)
}

func TestMessagesAreBoundedAndComeBack(t *testing.T) {
	t.Parallel()
	for _, m := range []string{"", "plain", "%41", "tab\tnew\nline", "☂", strings.Repeat("☂", 2000), "\xff\xfe"} {
		e := escaped(m)
		back := unescaped(e)
		require.LessOrEqual(t, len(back), maxMessage)
		require.True(t, strings.HasPrefix(strings.ToValidUTF8(m, "\uFFFD"), back))
		for _, c := range []byte(e) {
			require.True(t, c > 32 && c < 127)
		}
	}
}
