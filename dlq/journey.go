package dlq

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
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
