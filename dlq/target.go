package dlq

import (
	"cmp"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// Target is where a redrive sends records. The zero Target is the redrive topic of the
// group that failed, which nobody else reads.
type Target struct {
	// Origin sends them to the topics that they were read from first: all groups that read
	// those see them again.
	Origin bool `json:"origin,omitempty"`
	// Topic sends them to this one, if RedriverConfig.Allow has it.
	Topic string `json:"topic,omitempty"`
}

// ParseTarget reads "retry", "origin" and "topic:NAME".
func ParseTarget(text string) (Target, error) {
	name, isTopic := strings.CutPrefix(text, "topic:")
	switch {
	case text == "" || text == "retry":
		return Target{}, nil
	case text == "origin":
		return Target{Origin: true}, nil
	case isTopic:
		if err := duplex.ValidateTopicName(name); err != nil {
			return Target{}, fmt.Errorf("dlq: target %q: %w", text, err)
		}
		return Target{Topic: name}, nil
	}
	return Target{}, fmt.Errorf("dlq: target %q: want retry, origin or topic:NAME", text)
}

// String is the target as ParseTarget reads it.
func (t Target) String() string {
	switch {
	case t.Topic != "":
		return "topic:" + t.Topic
	case t.Origin:
		return "origin"
	}
	return "retry"
}

// outcomes reports whether it is learnt what becomes of the records: consumers of Duplex
// say it of what comes through their redrive topics.
func (t Target) outcomes() bool { return !t.Origin && t.Topic == "" }

// of is the topic that a letter goes to, "" if it has none.
func (t Target) of(l *Letter) string {
	source := cmp.Or(l.Handler, l.Origin.Topic)
	switch {
	case t.Topic != "":
		return t.Topic
	case !l.HasOrigin():
		return ""
	case t.Origin:
		return l.Origin.Topic
	case l.Group == "" || source == "":
		return ""
	}
	return RedriveTopic(l.Group, source)
}

// allowed reports whether a list of patterns, as path.Match has them, has a topic.
func allowed(patterns []string, topic string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, topic); ok && err == nil {
			return true
		}
	}
	return false
}

// isQueue reports whether a topic is one of those that dead letters go to, or that this
// package keeps its own things in.
func isQueue(topic string) bool {
	return IsQueue(topic) || strings.HasPrefix(topic, statePrefix) || topic == AuditTopic
}

// byKey is where Java's default partitioner sends keys.
//
//nolint:gochecknoglobals // a constant
var byKey = kgo.StickyKeyPartitioner(nil).ForTopic("")

// partitionOf is the partition of a record at its target: the one of the same number as at
// its origin, if it goes there or to its group's own topic; else that of its key.
func (t Target) partitionOf(l *Letter, partitions int32) int32 {
	from := l.Origin.Partition
	if from < 0 { // it does not say
		from = l.Partition
	}
	switch {
	case partitions <= 1:
		return 0
	case t.outcomes(), l.Record.Key == nil:
		return from % partitions
	case t.Origin && l.Origin.Partition < partitions:
		return l.Origin.Partition
	}
	return int32(byKey.Partition(l.Record, int(partitions)))
}

// redriven is a letter on its way back: key, value and headers as they were before it
// failed, and headers of ours that begin a new journey.
func (t Target) redriven(l *Letter, job string, edited bool) *kgo.Record {
	r := &kgo.Record{Topic: t.of(l), Key: l.Record.Key, Value: l.Record.Value}
	r.Headers = make([]kgo.RecordHeader, 0, len(l.Record.Headers)+4)
	w := journeyWriter{record: r, buffer: make([]byte, 0, 32)}
	w.copy(l, edited)
	if _, isCall := duplex.Header(r, "rpc-v"); isCall { // nobody waits for an answer any more
		duplex.SetHeader(r, "rpc-kind", "oneway")
	}
	if edited {
		w.text(HeaderID, editedID(l.ID, job))
	} else if !w.kept(atID) {
		w.text(HeaderID, l.ID)
	}
	if t.outcomes() {
		w.origin(l)
	}
	w.decimal(HeaderGeneration, int64(l.Generation)+1)
	w.text(HeaderRedriveID, job)
	if edited {
		w.text(HeaderEditOf, l.ID)
	}
	return r
}

// journeyWriter writes the headers of a letter's next journey.
type journeyWriter struct {
	record *kgo.Record
	ours   [slots]kgo.RecordHeader // of the letter, those that are as we write them
	buffer []byte                  // the values are parts of it
}

// copy copies a letter's headers that are not of its failure, and remembers ours.
func (w *journeyWriter) copy(l *Letter, edited bool) {
	believed := l.Dialect == DialectDuplex && l.Trouble == "" && !edited
	for _, h := range l.Record.Headers {
		switch at := slotOf(h.Key); {
		case at != noSlot:
			if believed {
				w.ours[at] = h
			}
		case !l.Dialect.added(h.Key) && !ofReply(h.Key):
			w.record.Headers = append(w.record.Headers, h)
		}
	}
}

// kept writes a header as the letter has it, if that is as we write it.
func (w *journeyWriter) kept(at slot) bool {
	if w.ours[at].Key == "" {
		return false
	}
	w.record.Headers = append(w.record.Headers, w.ours[at])
	return true
}

func (w *journeyWriter) text(name, value string) {
	if value != "" {
		w.add(name, append(w.buffer, value...))
	}
}

func (w *journeyWriter) decimal(name string, value int64) {
	w.add(name, strconv.AppendInt(w.buffer, value, 10))
}

// add has what is new in the buffer be a header's value.
func (w *journeyWriter) add(name string, buffer []byte) {
	w.record.Headers = append(w.record.Headers, kgo.RecordHeader{Key: name, Value: buffer[len(w.buffer):len(buffer):len(buffer)]})
	w.buffer = buffer
}

// origin says where the record was read first.
func (w *journeyWriter) origin(l *Letter) {
	if !w.kept(atOriginTopic) {
		w.text(HeaderOriginTopic, cmp.Or(l.Origin.Topic, l.Handler))
	}
	if !w.kept(atOriginTopicID) {
		w.text(HeaderOriginTopicID, topicIDText(l.Origin.TopicID))
	}
	if !w.kept(atOriginPartition) {
		w.decimal(HeaderOriginPartition, int64(l.Origin.Partition))
	}
	if !w.kept(atOriginOffset) {
		w.decimal(HeaderOriginOffset, l.Origin.Offset)
	}
	if !w.kept(atOriginTimestamp) {
		at := l.Origin.Timestamp
		if at.IsZero() {
			at = l.Time
		}
		w.decimal(HeaderOriginTimestamp, max(at.UnixMilli(), 0))
	}
	w.decimal(HeaderAttempt, 0)
	if !w.kept(atFirstFailedAt) && !l.FirstFailed.IsZero() {
		w.decimal(HeaderFirstFailedAt, max(l.FirstFailed.UnixMilli(), 0))
	}
}

// added reports whether a header is one of those that make a letter one of the dialect.
func (d Dialect) added(name string) bool {
	if d == DialectDuplex {
		return false
	}
	k, known := lookUp(name)
	return known && families[k.of].dialect == d
}

// ofReply reports whether a header says where the reply to a call goes, or until when:
// whoever called has been told that it failed.
func ofReply(name string) bool {
	switch name {
	case "kafka_replyTopic", "kafka_replyPartition", "rpc-deadline", "rpc-timeout-ms":
		return true
	}
	return false
}
