package dlq

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The headers that Duplex writes on records in retry topics and dead-letter
// queues, after the record's own headers, which stay as they are. All are text and
// stand once; docs/wire-format.md has them for other languages.
const (
	// HeaderID names the record for life: topic/partition/offset@group#topic ID.
	HeaderID = "dlq-id"
	// HeaderOriginTopic and those after it say where the record was read first;
	// the timestamp is the record's, in ms since 1970.
	HeaderOriginTopic     = "dlq-origin-topic"
	HeaderOriginTopicID   = "dlq-origin-topic-id"
	HeaderOriginPartition = "dlq-origin-partition"
	HeaderOriginOffset    = "dlq-origin-offset"
	HeaderOriginTimestamp = "dlq-origin-timestamp"
	// HeaderGroup and HeaderHandler say who failed: the group, and the topic whose
	// handler it was.
	HeaderGroup   = "dlq-group"
	HeaderHandler = "dlq-handler"
	// HeaderAttempt counts the attempts made so far.
	HeaderAttempt = "dlq-attempt"
	// HeaderDue is when the record may run, in ms since 1970, where that is later
	// than the delay of its retry topic says.
	HeaderDue = "dlq-due"
	// HeaderReason says why it became a dead letter, see Reason.
	HeaderReason = "dlq-reason"
	// HeaderErrorType and those after it are of the last error.
	HeaderErrorType    = "dlq-error-type"
	HeaderErrorCode    = "dlq-error-code"
	HeaderErrorMessage = "dlq-error-message"
	HeaderErrorStack   = "dlq-error-stack"
	// HeaderFingerprint tells failures of one cause from others, see Fingerprinter.
	HeaderFingerprint = "dlq-fingerprint"
	// HeaderFirstFailedAt and HeaderLastFailedAt are in ms since 1970.
	HeaderFirstFailedAt = "dlq-first-failed-at"
	HeaderLastFailedAt  = "dlq-last-failed-at"
	// HeaderGeneration counts how often the record came back from the queue.
	HeaderGeneration = "dlq-generation"
	// HeaderRedriveID and HeaderEditOf are set by whoever redrives it.
	HeaderRedriveID = "dlq-redrive-id"
	HeaderEditOf    = "dlq-edit-of"
)

// Bounds of what is written, and believed, in bytes.
const (
	maxMessage     = 1 << 10
	maxStack       = 4 << 10
	maxFingerprint = 64
	maxWord        = 256 // any other header
	// maxOurs bounds all of ours on a record.
	maxOurs = 8 << 10
)

// farthest is how far in the future a due time is believed.
const farthest = 400 * 24 * time.Hour

// ours reports whether a header is one of those above.
func ours(name string) bool { return numberOf(name) >= 0 }

// numberOf is the place of one of our headers among them, −1 of another's.
func numberOf(name string) int {
	if !strings.HasPrefix(name, "dlq-") {
		return -1
	}
	for i, of := range names {
		if of == name {
			return i
		}
	}
	return -1
}

// names are ours, the one that decides most often first.
//
//nolint:gochecknoglobals // a constant
var names = [...]string{
	HeaderID, HeaderOriginTopic, HeaderOriginTopicID, HeaderOriginPartition, HeaderOriginOffset, HeaderOriginTimestamp,
	HeaderAttempt, HeaderFirstFailedAt, HeaderGeneration, HeaderDue, HeaderGroup, HeaderHandler, HeaderErrorType, HeaderErrorCode,
	HeaderErrorMessage, HeaderLastFailedAt, HeaderReason, HeaderErrorStack, HeaderFingerprint, HeaderRedriveID, HeaderEditOf,
}

// theirs are the headers of a record that are not ours, in their order.
func theirs(headers []kgo.RecordHeader, room int) []kgo.RecordHeader {
	kept := make([]kgo.RecordHeader, 0, len(headers)+room)
	for _, h := range headers {
		if !ours(h.Key) {
			kept = append(kept, h)
		}
	}
	return kept
}

// journey is what a record carries through the retry topics.
type journey struct {
	id         string
	origin     Origin
	attempts   int
	due        time.Time // zero unless it is later than the topic's delay
	first      time.Time // failure
	generation int
	redriveID  string
	editOf     string
}

// parseJourney reads the headers of a record in one of our topics. Whoever can
// write there can write anything, so nothing is believed beyond its bounds; the
// error says what is wrong.
func parseJourney(r *kgo.Record) (j journey, err error) {
	var p parser
	for i := range r.Headers {
		n := numberOf(r.Headers[i].Key)
		if n < 0 {
			continue
		}
		if p.there[n] {
			return journey{}, fmt.Errorf("header %s stands there twice", r.Headers[i].Key)
		}
		p.there[n], p.values[n] = true, r.Headers[i].Value
	}
	j = journey{
		id:         p.word(HeaderID, true),
		attempts:   int(p.number(HeaderAttempt, 0, 1<<30)),
		first:      p.maybe(HeaderFirstFailedAt),
		generation: int(p.optional(HeaderGeneration, 0, 1<<20)),
		redriveID:  p.word(HeaderRedriveID, false),
		editOf:     p.word(HeaderEditOf, false),
		origin: Origin{
			Topic: p.word(HeaderOriginTopic, true), TopicID: p.topicID(),
			Partition: int32(p.number(HeaderOriginPartition, 0, 1<<31-1)),
			Offset:    p.number(HeaderOriginOffset, 0, 1<<63-1),
			Timestamp: p.time(HeaderOriginTimestamp),
		},
	}
	if j.due = p.maybe(HeaderDue); p.err == nil && j.due.Sub(r.Timestamp) > farthest {
		p.fail(HeaderDue, "is more than 400 days after the record")
	}
	return j, p.err
}

// parser has the values of our headers, by their places, and keeps the first error.
type parser struct {
	values [len(names)][]byte
	there  [len(names)]bool
	err    error
}

func (p *parser) fail(name, why string) {
	if p.err == nil {
		p.err = fmt.Errorf("header %s %s", name, why)
	}
}

// value is nil if the header is not there.
func (p *parser) value(name string) (value []byte, there bool) {
	n := numberOf(name)
	return p.values[n], p.there[n]
}

func (p *parser) word(name string, required bool) string {
	v, _ := p.value(name)
	switch {
	case len(v) == 0 && required:
		p.fail(name, "is missing")
	case len(v) > 3*maxWord: // an ID holds a topic and a group
		p.fail(name, fmt.Sprintf("has %d bytes", len(v)))
		return ""
	case !utf8.Valid(v):
		p.fail(name, "is not text")
		return ""
	}
	return string(v)
}

func (p *parser) number(name string, least, most int64) int64 {
	v, there := p.value(name)
	if !there {
		p.fail(name, "is missing")
		return 0
	}
	n, err := strconv.ParseInt(string(v), 10, 64)
	var room [20]byte
	if err != nil || n < least || n > most || !bytes.Equal(strconv.AppendInt(room[:0], n, 10), v) {
		p.fail(name, fmt.Sprintf("is %q, want a number from %d to %d", bounded(string(v), 40), least, most))
		return 0
	}
	return n
}

func (p *parser) optional(name string, least, most int64) int64 {
	if _, there := p.value(name); !there {
		return 0
	}
	return p.number(name, least, most)
}

// lastTime is what a record's timestamp can be at most, in the year 9999.
const lastTime = 253402300799999

func (p *parser) time(name string) time.Time {
	return time.UnixMilli(p.number(name, 0, lastTime))
}

// maybe is the zero time if the header is not there.
func (p *parser) maybe(name string) (t time.Time) {
	if _, there := p.value(name); there {
		t = p.time(name)
	}
	return t
}

func (p *parser) topicID() (id [16]byte) {
	v, there := p.value(HeaderOriginTopicID)
	if !there {
		return id
	}
	if len(v) != base64.RawURLEncoding.EncodedLen(len(id)) {
		p.fail(HeaderOriginTopicID, fmt.Sprintf("is %q, want 16 bytes in base64url", bounded(string(v), 40)))
		return id
	}
	var room [18]byte
	if n, err := base64.RawURLEncoding.Decode(room[:], v); err != nil || n != len(id) {
		p.fail(HeaderOriginTopicID, fmt.Sprintf("is %q, want 16 bytes in base64url", bounded(string(v), 40)))
		return id
	}
	copy(id[:], room[:])
	return id
}

// bounded is text of at most so many bytes, without what is not UTF-8 and without
// a character cut in two.
func bounded(text string, most int) string {
	if text = text[:min(len(text), most+utf8.UTFMax)]; !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text, "\uFFFD")
	}
	if len(text) <= most {
		return text
	}
	n := most
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}

// idOf names a record for life. The topic's ID is in it because a topic that is
// created again has the same offsets.
func idOf(o Origin, group string) string {
	var room [128]byte
	b := append(append(room[:0], o.Topic...), '/')
	b = append(strconv.AppendInt(b, int64(o.Partition), 10), '/')
	b = append(strconv.AppendInt(b, o.Offset, 10), '@')
	b = append(append(b, group...), '#')
	// The first five bytes are seven characters, of which six are wanted.
	return string(base64.RawURLEncoding.AppendEncode(b, o.TopicID[:5])[:len(b)+6])
}

// writer writes headers behind others. Their values are parts of few buffers: there are
// some twenty for each record.
type writer struct {
	headers []kgo.RecordHeader
	buffer  []byte
}

// usually is how many of ours a record has at most, and how long their values are when
// there is no stack.
const usually, usualBytes = 18, 256

// newWriter begins with the headers that are not ours.
func newWriter(of *kgo.Record) *writer {
	return &writer{theirs(of.Headers, usually), make([]byte, 0, usualBytes)}
}

func (w *writer) text(name, value string) {
	n := len(w.buffer)
	w.buffer = append(w.buffer, value...)
	w.add(name, n)
}

// word writes a value that is the same for many records, and kept.
func (w *writer) word(name string, value []byte) {
	w.headers = append(w.headers, kgo.RecordHeader{Key: name, Value: value})
}

func (w *writer) decimal(name string, value int64) {
	n := len(w.buffer)
	w.buffer = strconv.AppendInt(w.buffer, value, 10)
	w.add(name, n)
}

func (w *writer) topicID(name string, id [16]byte) {
	n := len(w.buffer)
	w.buffer = base64.RawURLEncoding.AppendEncode(w.buffer, id[:])
	w.add(name, n)
}

// add has what the buffer has from n on be a header's value.
func (w *writer) add(name string, n int) {
	w.headers = append(w.headers, kgo.RecordHeader{Key: name, Value: w.buffer[n:len(w.buffer):len(w.buffer)]})
}

// journey writes what a record carries through the retry topics.
func (w *writer) journey(j journey) {
	w.text(HeaderID, j.id)
	w.text(HeaderOriginTopic, j.origin.Topic)
	if j.origin.TopicID != [16]byte{} {
		w.topicID(HeaderOriginTopicID, j.origin.TopicID)
	}
	w.decimal(HeaderOriginPartition, int64(j.origin.Partition))
	w.decimal(HeaderOriginOffset, j.origin.Offset)
	w.decimal(HeaderOriginTimestamp, max(j.origin.Timestamp.UnixMilli(), 0))
	w.decimal(HeaderAttempt, int64(j.attempts))
	if !j.first.IsZero() { // it was only snoozed so far
		w.decimal(HeaderFirstFailedAt, j.first.UnixMilli())
	}
	w.decimal(HeaderGeneration, int64(j.generation))
	if !j.due.IsZero() {
		w.decimal(HeaderDue, j.due.UnixMilli())
	}
	if j.redriveID != "" {
		w.text(HeaderRedriveID, j.redriveID)
	}
	if j.editOf != "" {
		w.text(HeaderEditOf, j.editOf)
	}
}

// lastError writes what is known of the last error.
func (w *writer) lastError(f Failure) {
	w.text(HeaderErrorType, f.ErrorType)
	if f.ErrorCode != "" {
		w.text(HeaderErrorCode, f.ErrorCode)
	}
	w.text(HeaderErrorMessage, f.ErrorMessage)
	w.decimal(HeaderLastFailedAt, f.LastFailed.UnixMilli())
}

// carryError keeps what is known of the last error when a record moves on without
// having run.
func (w *writer) carryError(from []kgo.RecordHeader) {
	for _, h := range from {
		switch h.Key {
		case HeaderErrorType, HeaderErrorCode, HeaderErrorMessage, HeaderLastFailedAt:
			w.headers = append(w.headers, h)
		}
	}
}
