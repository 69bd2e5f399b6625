package dlq

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// decoder makes letters of records. Most letters of a queue say the same of many
// things, so it remembers words and fingerprints, within bounds. One goroutine uses it.
type decoder struct {
	stacks       bool // are wanted
	words        map[string]string
	fingerprints map[cause]string
}

// Bounds of what a decoder remembers.
const (
	mostWords        = 4096
	mostFingerprints = 4096
)

func newDecoder() *decoder {
	return &decoder{stacks: true, words: map[string]string{}, fingerprints: map[cause]string{}}
}

// decode makes l the letter that r is. Nothing that stands in a record makes it fail:
// what cannot be read is left out, and Trouble says so.
func (d *decoder) decode(l *Letter, r *kgo.Record) {
	*l = Letter{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp, State: StateOpen,
		Dialect: DialectUnknown, Size: size(r), Record: r,
		Failure: Failure{Origin: Origin{Partition: -1, Offset: -1}},
	}
	switch of := dialectOf(r.Headers); of {
	case noFamily:
	case familyDuplex:
		d.ours(l, r)
	default:
		d.foreign(l, r, of)
	}
	if l.ID == "" {
		l.ID = madeID(l)
	}
	if l.Fingerprint == "" {
		l.Fingerprint = d.fingerprint(l, "")
	}
	if l.Trace == "" {
		l.Trace = trace(r.Headers)
	}
}

func size(r *kgo.Record) int {
	n := len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

// madeID is the ID of a letter that has none.
func madeID(l *Letter) string {
	if l.HasOrigin() {
		return idOf(l.Origin, l.Group)
	}
	return idOf(Origin{Topic: l.Topic, Partition: l.Partition, Offset: l.Offset}, l.Group)
}

// headerTrace is that of W3C Trace Context; maxTrace bounds it.
const (
	headerTrace = "traceparent"
	maxTrace    = 128
)

func trace(headers []kgo.RecordHeader) string {
	for i := len(headers) - 1; i >= 0; i-- {
		if headers[i].Key == headerTrace && len(headers[i].Value) <= maxTrace {
			return bounded(string(headers[i].Value), maxTrace)
		}
	}
	return ""
}

// word is text that many letters have.
func (d *decoder) word(b []byte, most int) string {
	if len(b) == 0 {
		return ""
	}
	if len(b) > maxWord {
		return d.text(b, most)
	}
	if known, ok := d.words[string(b)]; ok {
		return known
	}
	if len(d.words) >= mostWords {
		clear(d.words)
	}
	w := d.text(b, most)
	d.words[string(b)] = w
	return w
}

// text is text that is another for each letter.
func (*decoder) text(b []byte, most int) string {
	return bounded(string(b[:min(len(b), most+utf8.UTFMax)]), most)
}

// cause is what a fingerprint is made of.
type cause struct{ group, handler, kind, code, message, frame string }

// fingerprint is what FingerprintV1 makes of a letter that has none; frame is the
// function that its stack names, in whichever language.
func (d *decoder) fingerprint(l *Letter, frame string) string {
	of := cause{l.Group, l.Handler, l.ErrorType, l.ErrorCode, l.ErrorMessage, frame}
	if known, ok := d.fingerprints[of]; ok {
		return known
	}
	if len(d.fingerprints) >= mostFingerprints {
		clear(d.fingerprints)
	}
	f := l.Failure
	if f.Stack = ""; frame != "" {
		f.Stack = frame + "()"
	}
	made := FingerprintV1{}.Fingerprint(f)
	d.fingerprints[of] = made
	return made
}

// ours reads the headers that Duplex writes. It differs from parseJourney, which the
// consumer asks, in that it goes on when one of them is wrong.
func (d *decoder) ours(l *Letter, r *kgo.Record) {
	l.Dialect = DialectDuplex
	var p parser
	for i := range r.Headers {
		n := numberOf(r.Headers[i].Key)
		if n < 0 {
			continue
		}
		if p.there[n] {
			p.fail(r.Headers[i].Key, "stands there twice")
		}
		p.there[n], p.values[n] = true, r.Headers[i].Value
	}
	word := func(name string) string { return d.word(p.raw(name, maxWord), maxWord) }
	l.ID = p.id()
	l.Group, l.Handler = word(HeaderGroup), word(HeaderHandler)
	l.Reason, l.ErrorType, l.ErrorCode = Reason(word(HeaderReason)), word(HeaderErrorType), word(HeaderErrorCode)
	l.ErrorMessage = d.text(p.raw(HeaderErrorMessage, maxMessage), maxMessage)
	if stack := p.raw(HeaderErrorStack, maxStack); d.stacks || len(p.values[numberOf(HeaderFingerprint)]) == 0 {
		l.Stack = d.text(stack, maxStack)
	}
	l.Fingerprint = d.word(p.raw(HeaderFingerprint, maxFingerprint), maxFingerprint)
	l.Attempts = int(p.optional(HeaderAttempt, 0, 1<<30))
	l.Generation = int(p.optional(HeaderGeneration, 0, 1<<20))
	l.FirstFailed, l.LastFailed = p.moment(HeaderFirstFailedAt), p.moment(HeaderLastFailedAt)
	l.RedriveID, l.EditOf = word(HeaderRedriveID), p.word(HeaderEditOf, false)
	d.ourOrigin(l, &p)
	l.Pointer = l.Reason == ReasonTooLarge && r.Value == nil && l.HasOrigin()
	if l.Fingerprint == "" {
		l.Fingerprint = d.fingerprint(l, topFrame(l.Stack))
	}
	if p.err != nil {
		l.Trouble = p.err.Error()
	}
}

// ourOrigin is not known unless all of it can be read.
func (d *decoder) ourOrigin(l *Letter, p *parser) {
	before := p.err
	p.err = nil
	o := Origin{
		Topic: d.word(p.raw(HeaderOriginTopic, maxWord), maxWord), TopicID: p.topicID(),
		Partition: int32(p.number(HeaderOriginPartition, 0, 1<<31-1)),
		Offset:    p.number(HeaderOriginOffset, 0, 1<<63-1),
	}
	if o.Topic == "" {
		p.fail(HeaderOriginTopic, "is missing")
	}
	if p.err == nil {
		l.Origin = o
	}
	if before != nil {
		p.err = before
	}
	l.Origin.Timestamp = p.moment(HeaderOriginTimestamp)
}

// moment is the zero time if the header is not there, or is none.
func (p *parser) moment(name string) (t time.Time) {
	before := p.err
	p.err = nil
	if t = p.maybe(name); p.err != nil {
		t = time.Time{}
	}
	if before != nil {
		p.err = before
	}
	return t
}

// raw is a value of at most so many bytes.
func (p *parser) raw(name string, most int) []byte {
	v, _ := p.value(name)
	if len(v) > most {
		p.fail(name, fmt.Sprintf("has %d bytes, %d are believed", len(v), most))
	}
	return v
}

// id is the ID that the record has for life, "" if it has none.
func (p *parser) id() string {
	id := p.word(HeaderID, true)
	if strings.ContainsFunc(id, func(r rune) bool { return r < ' ' }) {
		p.fail(HeaderID, "has control characters")
		return ""
	}
	return id
}

// when is the time that a letter failed last, or, where that is not known, was written.
func (l *Letter) when() time.Time {
	if l.LastFailed.IsZero() {
		return l.Time
	}
	return l.LastFailed
}

// HasOrigin reports whether it is known which record died.
func (l *Letter) HasOrigin() bool {
	return l.Origin.Topic != "" && l.Origin.Partition >= 0 && l.Origin.Offset >= 0
}

// Clone is a letter that shares no memory with l, so that it may be kept.
func (l *Letter) Clone() *Letter {
	c := *l
	if l.Record == nil {
		return &c
	}
	r := *l.Record
	r.Key, r.Value = clone(r.Key), clone(r.Value)
	r.Headers = make([]kgo.RecordHeader, len(l.Record.Headers))
	for i, h := range l.Record.Headers {
		r.Headers[i] = kgo.RecordHeader{Key: strings.Clone(h.Key), Value: clone(h.Value)}
	}
	c.Record = &r
	return &c
}

// clone keeps nil apart from what is empty.
func clone(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append([]byte{}, b...)
}
