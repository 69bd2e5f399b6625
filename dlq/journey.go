package dlq

import (
	"encoding/base64"
	"fmt"
	"math"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// farthest is how far in the future a due time is believed.
const farthest = 400 * 24 * time.Hour

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
		p.keep(slotOf(r.Headers[i].Key), r.Headers[i].Value)
	}
	if p.err != nil {
		return journey{}, p.err
	}
	j = journey{
		id:         p.word(atID, true),
		attempts:   int(p.number(atAttempt, 0, 1<<30)),
		first:      p.maybe(atFirstFailedAt),
		generation: int(p.optional(atGeneration, 0, 1<<20)),
		redriveID:  p.word(atRedriveID, false),
		editOf:     p.word(atEditOf, false),
		origin: Origin{
			Topic: p.word(atOriginTopic, true), TopicID: p.topicID(),
			Partition: int32(p.number(atOriginPartition, 0, 1<<31-1)),
			Offset:    p.number(atOriginOffset, 0, 1<<63-1),
			Timestamp: p.time(atOriginTimestamp),
		},
	}
	if j.due = p.maybe(atDue); p.err == nil && j.due.Sub(r.Timestamp) > farthest {
		p.fail(atDue, "is more than 400 days after the record")
	}
	return j, p.err
}

// parser has the values of our headers, by their slots, and keeps the first error.
type parser struct {
	values [slots][]byte
	there  [slots]bool
	err    error
}

func (p *parser) fail(at slot, why string) {
	if p.err == nil {
		p.err = fmt.Errorf("header %s %s", names[at], why)
	}
}

// keep takes a header, if it is ours.
func (p *parser) keep(at slot, value []byte) {
	if at == noSlot {
		return
	}
	if p.there[at] {
		p.fail(at, "stands there twice")
	}
	p.there[at], p.values[at] = true, value
}

func (p *parser) word(at slot, required bool) string {
	v := p.values[at]
	switch {
	case len(v) == 0 && required:
		p.fail(at, "is missing")
	case len(v) > 3*maxWord: // an ID holds a topic and a group
		p.fail(at, fmt.Sprintf("has %d bytes", len(v)))
		return ""
	case !utf8.Valid(v):
		p.fail(at, "is not text")
		return ""
	}
	return string(v)
}

func (p *parser) number(at slot, least, most int64) int64 {
	v := p.values[at]
	if !p.there[at] {
		p.fail(at, "is missing")
		return 0
	}
	n, ok := decimal(v)
	if !ok || n < least || n > most {
		p.fail(at, fmt.Sprintf("is %q, want a number from %d to %d", bounded(string(v), 40), least, most))
		return 0
	}
	return n
}

// decimal is a number of at least zero as we write it: in one way.
func decimal(text []byte) (n int64, ok bool) {
	if len(text) == 0 || len(text) > 19 || (text[0] == '0' && len(text) > 1) {
		return 0, false
	}
	var sum uint64 // 19 digits do not overflow it
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		sum = sum*10 + uint64(c-'0')
	}
	return int64(sum), sum <= math.MaxInt64
}

func (p *parser) optional(at slot, least, most int64) int64 {
	if !p.there[at] {
		return 0
	}
	return p.number(at, least, most)
}

// lastTime is what a record's timestamp can be at most, in the year 9999.
const lastTime = 253402300799999

func (p *parser) time(at slot) time.Time {
	return time.UnixMilli(p.number(at, 0, lastTime))
}

// maybe is the zero time if the header is not there.
func (p *parser) maybe(at slot) (t time.Time) {
	if p.there[at] {
		t = p.time(at)
	}
	return t
}

func (p *parser) topicID() (id [16]byte) {
	v := p.values[atOriginTopicID]
	if !p.there[atOriginTopicID] {
		return id
	}
	if len(v) != base64.RawURLEncoding.EncodedLen(len(id)) {
		p.fail(atOriginTopicID, fmt.Sprintf("is %q, want 16 bytes in base64url", bounded(string(v), 40)))
		return id
	}
	var room [18]byte
	if n, err := base64.RawURLEncoding.Decode(room[:], v); err != nil || n != len(id) {
		p.fail(atOriginTopicID, fmt.Sprintf("is %q, want 16 bytes in base64url", bounded(string(v), 40)))
		return id
	}
	copy(id[:], room[:])
	return id
}
