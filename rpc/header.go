package rpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// The headers of requests and replies. The first three are Spring's
// (org.springframework.kafka.support.KafkaHeaders), so that its clients and servers
// understand ours; docs/wire-format.md has them all for other languages.
const (
	// HeaderCorrelationID ties a reply to its request. A server sends back the bytes
	// that it got.
	HeaderCorrelationID = "kafka_correlationId"
	// HeaderReplyTopic and HeaderReplyPartition are where the reply goes; without a
	// topic there is none. The partition is an int of four bytes, big-endian.
	HeaderReplyTopic     = "kafka_replyTopic"
	HeaderReplyPartition = "kafka_replyPartition"
	// HeaderVersion is "1", HeaderKind one of the Kind constants.
	HeaderVersion = "rpc-v"
	HeaderKind    = "rpc-kind"
	// HeaderMethod is "service/Name".
	HeaderMethod = "rpc-method"
	// HeaderDeadline is when the caller stops to wait, in ms since 1970 by its clock;
	// HeaderTimeout is how long that was from the call on, in ms.
	HeaderDeadline = "rpc-deadline"
	HeaderTimeout  = "rpc-timeout-ms"
	// HeaderAttempt counts the attempts before this one; it is not there for the first.
	HeaderAttempt = "rpc-attempt"
	// HeaderCaller and HeaderServer are "service/instance", as each says of itself.
	HeaderCaller = "rpc-caller"
	HeaderServer = "rpc-server"
	// HeaderStatus is the code of an error; a reply without it is a response.
	HeaderStatus = "rpc-status"
	// HeaderMessage, HeaderExecuted and HeaderRetryAfter belong to an error: its
	// message, percent-encoded, whether the call ran, and how long to wait, in ms.
	HeaderMessage    = "rpc-message"
	HeaderExecuted   = "rpc-executed"
	HeaderRetryAfter = "rpc-retry-after-ms"
	// HeaderTimes are three times of the server's clock in µs since 1970: when it got
	// the request, when its handler began, and when that ended.
	HeaderTimes = "rpc-times"
)

// What HeaderKind says. Others are reserved.
const (
	kindRequest = "request"
	kindOneWay  = "oneway"
	kindReply   = "reply"
	kindCancel  = "cancel"
)

const version = "1"

// Bounds of what is written, and believed, in bytes.
const (
	maxCorrelationID = 256
	maxMethod        = 512
	maxWord          = 256
	maxMessage       = 1 << 10
	// maxHeaders bounds all of a request's or a reply's.
	maxHeaders = 64 << 10
)

// maxTimeout is how far in the future a deadline is believed.
const maxTimeout = 24 * time.Hour

// ours reports whether a header is Duplex's, or one whose meaning it gives: those are
// neither metadata of the user's nor copied from a request to anything.
func ours(name string) bool {
	return strings.HasPrefix(name, "rpc-") || strings.HasPrefix(name, "kafka_") || name == duplex.HeaderContentType
}

// request is what a server believes of a request.
type request struct {
	correlationID []byte
	replyTopic    string // "" for one-way calls
	partition     int32  // of it
	method        string // "" where the caller does not say
	caller        string
	deadline      time.Time     // zero without one
	timeout       time.Duration // 0 without one
	attempt       int
}

func (q request) oneWay() bool { return q.replyTopic == "" }

// parseRequest reads the headers of a request. Whoever may write to the topic may write
// anything. The address of the reply is read even where the rest cannot be, so that the
// caller hears of it.
func parseRequest(r *kgo.Record, known *words) (q request, err error) {
	p := parser{r: r, known: known}
	total := 0
	for _, h := range r.Headers {
		total += len(h.Key) + len(h.Value)
	}
	q.replyTopic, _ = p.text(HeaderReplyTopic, maxWord)
	q.correlationID = p.correlationID(q.replyTopic != "")
	q.partition = p.partition(q.replyTopic != "")
	if p.err != nil {
		q.replyTopic = "" // there is nowhere to answer to
	}
	if total > maxHeaders {
		p.fail("the headers", fmt.Sprintf("have %d bytes in all, at most %d are read", total, maxHeaders))
	}
	if v, there := p.value(HeaderVersion); there && string(v) != version {
		return q, errVersion
	}
	q.method, _ = p.text(HeaderMethod, maxMethod)
	q.caller, _ = p.text(HeaderCaller, maxWord)
	if ms, there := p.number(HeaderDeadline, 0, math.MaxInt64/int64(time.Millisecond)); there {
		q.deadline = time.UnixMilli(ms)
	}
	if ms, there := p.number(HeaderTimeout, 0, int64(maxTimeout/time.Millisecond)); there {
		q.timeout = time.Duration(ms) * time.Millisecond
	}
	n, _ := p.number(HeaderAttempt, 0, 1<<20)
	q.attempt = int(n)
	return q, p.err
}

// errVersion is for requests of a version that this program does not know.
var errVersion = errors.New("header " + HeaderVersion + " is not " + version)

// reply is what a client believes of a reply.
type reply struct {
	code       Code // "" for a response
	message    string
	executed   Executed
	retryAfter time.Duration
	server     string
}

// parseReply reads the headers of a reply. Nothing in it can be so wrong that the call
// does not end: what is not as it should be counts as not said.
func parseReply(r *kgo.Record, known *words) (p reply) {
	read := parser{r: r, known: known}
	status, there := read.text(HeaderStatus, maxWord)
	p.server, _ = read.text(HeaderServer, maxWord)
	if !there {
		return p
	}
	if p.code = Code(status); !p.code.known() {
		p.code = Unknown
	}
	read.known = nil // the rest is of this reply alone
	message, _ := read.text(HeaderMessage, 3*maxMessage)
	p.message = unescaped(message)
	executed, _ := read.text(HeaderExecuted, maxWord)
	if p.executed = Executed(executed); !p.executed.known() {
		p.executed = Maybe
	}
	if ms, there := read.number(HeaderRetryAfter, -1, int64(maxTimeout/time.Millisecond)); there {
		p.retryAfter = time.Duration(ms) * time.Millisecond
	}
	return p
}

// parser reads headers of a record. A header that stands there twice counts as its
// last one, as for Spring; the first thing that is wrong is kept.
type parser struct {
	r     *kgo.Record
	known *words // may be nil
	err   error
}

func (p *parser) fail(what, why string) {
	if p.err == nil {
		p.err = fmt.Errorf("%s %s", what, why)
	}
}

func (p *parser) value(name string) (value []byte, there bool) {
	for i := len(p.r.Headers) - 1; i >= 0; i-- {
		if h := &p.r.Headers[i]; h.Key == name {
			return h.Value, true
		}
	}
	return nil, false
}

func (p *parser) text(name string, most int) (text string, there bool) {
	v, there := p.value(name)
	switch {
	case !there:
	case len(v) > most:
		p.fail("header "+name, fmt.Sprintf("has %d bytes, at most %d are read", len(v), most))
		return "", false
	case !utf8.Valid(v):
		p.fail("header "+name, "is not UTF-8")
		return "", false
	}
	if there && p.known != nil {
		return p.known.of(v), true
	}
	return string(v), there
}

func (p *parser) number(name string, least, most int64) (n int64, there bool) {
	v, there := p.value(name)
	if !there {
		return 0, false
	}
	n, err := strconv.ParseInt(string(v[:min(len(v), 32)]), 10, 64)
	if err != nil || n < least || n > most {
		p.fail("header "+name, fmt.Sprintf("is %q, want a number from %d to %d", v[:min(len(v), 40)], least, most))
		return 0, false
	}
	return n, true
}

func (p *parser) correlationID(wanted bool) []byte {
	v, there := p.value(HeaderCorrelationID)
	if wanted && (!there || len(v) == 0) {
		p.fail("header "+HeaderCorrelationID, "is missing")
	}
	if len(v) > maxCorrelationID {
		p.fail("header "+HeaderCorrelationID, fmt.Sprintf("has %d bytes, at most %d are read", len(v), maxCorrelationID))
		return nil
	}
	return v
}

// partition reads where the reply is wanted. Spring writes an int of four bytes,
// NestJS decimal digits under the same name: four bytes that are all digits are
// decimal, since they would be more than 808 million as an int. Spring leaves the
// header away where any partition will do: that is 0 here.
func (p *parser) partition(wanted bool) int32 {
	v, there := p.value(HeaderReplyPartition)
	if !there || !wanted {
		return 0
	}
	if len(v) == 4 && strings.Trim(string(v), "0123456789") != "" {
		if n := binary.BigEndian.Uint32(v); n <= math.MaxInt32 {
			return int32(n)
		}
		p.fail("header "+HeaderReplyPartition, "is negative")
		return 0
	}
	n, err := strconv.ParseInt(string(v[:min(len(v), 16)]), 10, 32)
	if err != nil || n < 0 {
		p.fail("header "+HeaderReplyPartition, fmt.Sprintf("is %q, want four bytes or a number", v[:min(len(v), 16)]))
		return 0
	}
	return int32(n)
}

// writer writes headers whose values are parts of one buffer.
type writer struct {
	headers []kgo.RecordHeader
	buffer  []byte
}

func (w *writer) text(name, value string) {
	n := len(w.buffer)
	w.buffer = append(w.buffer, value...)
	w.add(name, n)
}

func (w *writer) decimal(name string, value int64) {
	n := len(w.buffer)
	w.buffer = strconv.AppendInt(w.buffer, value, 10)
	w.add(name, n)
}

func (w *writer) int32(name string, value int32) {
	n := len(w.buffer)
	w.buffer = binary.BigEndian.AppendUint32(w.buffer, uint32(value))
	w.add(name, n)
}

func (w *writer) correlationID(of identity, n number) {
	at := len(w.buffer)
	w.buffer = of.append(w.buffer, n)
	w.add(HeaderCorrelationID, at)
}

func (w *writer) bytes(name string, value []byte) {
	w.headers = append(w.headers, kgo.RecordHeader{Key: name, Value: value})
}

// add has what the buffer has from n on be a header's value.
func (w *writer) add(name string, n int) {
	w.bytes(name, w.buffer[n:len(w.buffer):len(w.buffer)])
}

// escaped is a message as a header has it: percent-encoded UTF-8 of at most 1 KiB, as
// gRPC's grpc-message.
func escaped(message string) string {
	message = strings.ToValidUTF8(message, "\uFFFD")
	n := min(len(message), maxMessage)
	for n > 0 && n < len(message) && !utf8.RuneStart(message[n]) {
		n-- // not within a character
	}
	return url.PathEscape(message[:n])
}

func unescaped(message string) string {
	plain, err := url.PathUnescape(message)
	if err != nil || !utf8.ValidString(plain) {
		return strings.ToValidUTF8(message, "\uFFFD")
	}
	return plain
}
