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
	failures     bool // what is said of errors is wanted
	stacks       bool // and of their stacks
	words        map[string]string
	fingerprints map[cause]string
}

// Bounds of what a decoder remembers.
const (
	mostWords        = 4096
	mostFingerprints = 4096
)

func newDecoder() *decoder {
	return &decoder{failures: true, stacks: true, words: map[string]string{}, fingerprints: map[cause]string{}}
}

// decode makes l the letter that r is. Nothing that stands in a record makes it fail:
// what cannot be read is left out, and Trouble says so.
func (d *decoder) decode(l *Letter, r *kgo.Record) {
	*l = Letter{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Time: r.Timestamp, State: StateOpen,
		Dialect: DialectUnknown, Size: size(r), Record: r,
		Failure: Failure{Origin: Origin{Partition: -1, Offset: -1}},
	}
	var p parser
	switch of := dialectOf(r.Headers, &p); of {
	case noFamily:
	case familyDuplex:
		d.ours(l, r, &p)
	default:
		d.foreign(l, r, of)
	}
	if l.ID == "" {
		l.ID = madeID(l)
	}
	if d.failures && l.Fingerprint == "" {
		l.Fingerprint = d.fingerprint(l, "")
	}
	if d.failures {
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
func (d *decoder) ours(l *Letter, r *kgo.Record, p *parser) {
	l.Dialect = DialectDuplex
	l.ID = p.id()
	l.Group, l.Handler, l.Reason = d.ourWord(p, atGroup), d.ourWord(p, atHandler), Reason(d.ourWord(p, atReason))
	l.Attempts = int(p.optional(atAttempt, 0, 1<<30))
	l.Generation = int(p.optional(atGeneration, 0, 1<<20))
	l.FirstFailed = p.moment(atFirstFailedAt)
	d.ourOrigin(l, p)
	l.Pointer = l.Reason == ReasonTooLarge && r.Value == nil && l.HasOrigin()
	if d.failures {
		d.ourFailure(l, p)
	}
	if p.err != nil {
		l.Trouble = p.err.Error()
	}
}

func (d *decoder) ourWord(p *parser, at slot) string { return d.word(p.raw(at, maxWord), maxWord) }

// ourFailure reads what a redrive does not need.
func (d *decoder) ourFailure(l *Letter, p *parser) {
	l.ErrorType, l.ErrorCode = d.ourWord(p, atErrorType), d.ourWord(p, atErrorCode)
	l.ErrorMessage = d.text(p.raw(atErrorMessage, maxMessage), maxMessage)
	if stack := p.raw(atErrorStack, maxStack); d.stacks || len(p.values[atFingerprint]) == 0 {
		l.Stack = d.text(stack, maxStack)
	}
	l.LastFailed = p.moment(atLastFailedAt)
	l.RedriveID, l.EditOf = d.ourWord(p, atRedriveID), p.word(atEditOf, false)
	if l.Fingerprint = d.word(p.raw(atFingerprint, maxFingerprint), maxFingerprint); l.Fingerprint == "" {
		l.Fingerprint = d.fingerprint(l, topFrame(l.Stack))
	}
}

// ourOrigin is not known unless all of it can be read.
func (d *decoder) ourOrigin(l *Letter, p *parser) {
	before := p.err
	p.err = nil
	o := Origin{
		Topic: d.word(p.raw(atOriginTopic, maxWord), maxWord), TopicID: p.topicID(),
		Partition: int32(p.number(atOriginPartition, 0, 1<<31-1)),
		Offset:    p.number(atOriginOffset, 0, 1<<63-1),
	}
	if o.Topic == "" {
		p.fail(atOriginTopic, "is missing")
	}
	if p.err == nil {
		l.Origin = o
	}
	if before != nil {
		p.err = before
	}
	l.Origin.Timestamp = p.moment(atOriginTimestamp)
}

// moment is the zero time if the header is not there, or is none.
func (p *parser) moment(at slot) (t time.Time) {
	before := p.err
	p.err = nil
	if t = p.maybe(at); p.err != nil {
		t = time.Time{}
	}
	if before != nil {
		p.err = before
	}
	return t
}

// raw is a value of at most so many bytes.
func (p *parser) raw(at slot, most int) []byte {
	v := p.values[at]
	if len(v) > most {
		p.fail(at, fmt.Sprintf("has %d bytes, %d are believed", len(v), most))
	}
	return v
}

// id is the ID that the record has for life, "" if it has none.
func (p *parser) id() string {
	id := p.word(atID, true)
	if strings.ContainsFunc(id, func(r rune) bool { return r < ' ' }) {
		p.fail(atID, "has control characters")
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
