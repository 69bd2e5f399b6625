package duplex

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Topic ties a Kafka topic to the Go type of its values. Declare it once, as a
// package variable, and use it to publish, to consume and in tests.
//
// The zero value of every field but Name works.
type Topic[T any] struct {
	// Name is the Kafka topic. Required; [ValidateTopicName] has the rule.
	Name string

	// Codec turns values into record bytes and back. Defaults to [JSON].
	Codec Codec

	// Key gives the key of a value; records with equal keys go to one partition
	// and keep their order. A key that turns out empty is an error
	// ([ErrEmptyKey]), never a record without a key: an empty key is nearly
	// always a field somebody forgot. Defaults to none: records have no key and
	// no order among each other.
	Key func(T) string
}

// Record encodes v into a new record, ready for producer.Producer.Publish. Use
// it where the record needs something a value cannot say: headers, a timestamp,
// a partition.
//
// It returns an error with code [ErrEncode] when the codec refuses v, with
// [ErrEmptyKey] when Key returns "", and with [ErrInvalidTopic] when the topic
// has no legal name. Nothing has been sent then.
func (t Topic[T]) Record(v T) (*kgo.Record, error) {
	if err := ValidateTopicName(t.Name); err != nil {
		return nil, err
	}
	r := &kgo.Record{Topic: t.Name}
	if t.Key != nil {
		key := t.Key(v)
		if key == "" {
			return nil, &Error{
				Op: fmt.Sprintf("duplex: encoding a %T for topic %q", v, t.Name), Codes: []Code{ErrEmptyKey},
				Hint: "fill the field that Topic.Key reads, or leave Topic.Key nil for records without a key",
			}
		}
		r.Key = []byte(key)
	}
	if err := t.codec().Encode(r, v); err != nil {
		return nil, &Error{Op: fmt.Sprintf("duplex: encoding a %T for topic %q", v, t.Name), Codes: []Code{ErrEncode}, Err: err}
	}
	return r, nil
}

// Value decodes the value of r. Where T is a pointer type, the codec decodes
// into a new value and never sees a nil pointer.
//
// It returns an error with code [ErrUndecodable], naming the record's position,
// when the codec refuses the bytes.
func (t Topic[T]) Value(r *kgo.Record) (T, error) {
	var v T
	if err := decodeInto(t.codec(), r, &v); err != nil {
		var zero T
		return zero, &Error{
			Op:    fmt.Sprintf("duplex: decoding %s/%d offset %d into %T", r.Topic, r.Partition, r.Offset, zero),
			Codes: []Code{ErrUndecodable}, Err: err,
		}
	}
	return v, nil
}

func (t Topic[T]) codec() Codec {
	if t.Codec == nil {
		return JSON
	}
	return t.Codec
}

// ValidateTopicName reports whether name is a legal Kafka topic name: 1 to 249
// of the characters a–z A–Z 0–9 . _ and -, and neither "." nor "..". (The rule
// of org.apache.kafka.common.internals.Topic.) The error has code
// [ErrInvalidTopic] and says which part of the rule is broken.
func ValidateTopicName(name string) error {
	bad := func(why string) error {
		return &Error{Op: fmt.Sprintf("duplex: checking topic name %q", shorten(name)), Codes: []Code{ErrInvalidTopic}, Hint: why}
	}
	switch {
	case name == "":
		return bad("a topic name must not be empty")
	case name == "." || name == "..":
		return bad(`"." and ".." are not topic names`)
	case len(name) > maxTopicName:
		return bad(fmt.Sprintf("a topic name has at most %d characters, this one has %d", maxTopicName, len(name)))
	}
	for i, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return bad(fmt.Sprintf("only a-z A-Z 0-9 . _ - are allowed, position %d is %q", i, c))
		}
	}
	return nil
}

const maxTopicName = 249

// shorten keeps hostile input from filling a terminal or a log.
func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return s[:most] + "…"
}
