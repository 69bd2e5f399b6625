package dlq

import (
	"encoding/base64"
	"strconv"
	"strings"
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

// slot is the place of one of our headers among them.
type slot int8

const (
	atID slot = iota
	atOriginTopic
	atOriginTopicID
	atOriginPartition
	atOriginOffset
	atOriginTimestamp
	atAttempt
	atFirstFailedAt
	atGeneration
	atDue
	atGroup
	atHandler
	atErrorType
	atErrorCode
	atErrorMessage
	atLastFailedAt
	atReason
	atErrorStack
	atFingerprint
	atRedriveID
	atEditOf
	slots // how many there are

	noSlot slot = -1 // of another's header
)

// names are ours, by their slots.
//
//nolint:gochecknoglobals // a constant
var names = [slots]string{
	atID:              HeaderID,
	atOriginTopic:     HeaderOriginTopic,
	atOriginTopicID:   HeaderOriginTopicID,
	atOriginPartition: HeaderOriginPartition,
	atOriginOffset:    HeaderOriginOffset,
	atOriginTimestamp: HeaderOriginTimestamp,
	atAttempt:         HeaderAttempt,
	atFirstFailedAt:   HeaderFirstFailedAt,
	atGeneration:      HeaderGeneration,
	atDue:             HeaderDue,
	atGroup:           HeaderGroup,
	atHandler:         HeaderHandler,
	atErrorType:       HeaderErrorType,
	atErrorCode:       HeaderErrorCode,
	atErrorMessage:    HeaderErrorMessage,
	atLastFailedAt:    HeaderLastFailedAt,
	atReason:          HeaderReason,
	atErrorStack:      HeaderErrorStack,
	atFingerprint:     HeaderFingerprint,
	atRedriveID:       HeaderRedriveID,
	atEditOf:          HeaderEditOf,
}

// ours reports whether a header is one of those above.
func ours(name string) bool { return slotOf(name) != noSlot }

// slotOf is the slot of a header.
func slotOf(name string) slot {
	if !strings.HasPrefix(name, "dlq-") || len(name) >= len(slotsOfLength) {
		return noSlot
	}
	for _, at := range slotsOfLength[len(name)] {
		if names[at] == name {
			return at
		}
	}
	return noSlot
}

// slotsOfLength are those of the names that have so many bytes.
//
//nolint:gochecknoglobals // a constant
var slotsOfLength = func() (of [32][]slot) {
	for at, name := range names {
		of[len(name)] = append(of[len(name)], slot(at))
	}
	return of
}()

// theirs appends the headers of a record that are not ours, in their order.
func theirs(to, headers []kgo.RecordHeader) []kgo.RecordHeader {
	for _, h := range headers {
		if !ours(h.Key) {
			to = append(to, h)
		}
	}
	return to
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
