package dlq

import (
	"encoding/base64"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/failure"
)

// writer writes the headers of a hop: those of the record that are not ours, and ours
// behind them. Their values are parts of few buffers: there are some twenty for each
// record.
type writer struct {
	hop     *failure.Hop
	headers []kgo.RecordHeader
	buffer  []byte
}

func newWriter(of *kgo.Record) (w writer) {
	w.hop, w.headers, w.buffer = failure.NewHop()
	w.headers = theirs(w.headers, of.Headers)
	return w
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
