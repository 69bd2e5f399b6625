package protocodec

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/duplex-go/duplex"
)

// Proto is the codec for Protobuf messages, in their binary encoding. It is safe
// for concurrent use.
//
// Encoding refuses whatever is not a proto.Message, a nil message, a message
// whose required fields (proto2) are not all set, and strings that are not UTF-8
// where the schema asks for it. Decoding refuses the same faults in the bytes,
// and a null value: that is a tombstone, not an empty message.
const Proto codec = "application/protobuf"

type codec string

// ContentType implements [duplex.Codec].
func (c codec) ContentType() string { return string(c) }

// Encode implements [duplex.Codec].
func (c codec) Encode(r *kgo.Record, v any) error {
	m, err := message(v)
	if err != nil {
		return fmt.Errorf("protobuf codec takes a proto.Message: %w", err)
	}
	value, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return err
	}
	r.Value = value
	duplex.SetHeader(r, duplex.HeaderContentType, string(c))
	return nil
}

// Decode implements [duplex.Codec]. It replaces all that the message held; after
// an error the message may be filled in part.
func (codec) Decode(r *kgo.Record, v any) error {
	m, err := message(v)
	if err != nil {
		return fmt.Errorf("protobuf codec fills a proto.Message: %w", err)
	}
	if r.Value == nil {
		return errors.New("value is null: a tombstone, not a message; use consumer.HandleRecord where a topic has them")
	}
	if err := proto.Unmarshal(r.Value, m); err != nil {
		return fmt.Errorf("value of %d bytes is not a %s: %w", len(r.Value), m.ProtoReflect().Descriptor().FullName(), err)
	}
	return nil
}

// message gives v as a message that can be read and written.
func message(v any) (proto.Message, error) {
	m, ok := v.(proto.Message)
	switch rv := reflect.ValueOf(v); {
	case !ok && v != nil && reflect.PointerTo(rv.Type()).Implements(reflect.TypeFor[proto.Message]()):
		return nil, fmt.Errorf("got %T, whose pointer is one: use a Topic[*%T]", v, v)
	case !ok:
		return nil, fmt.Errorf("got %T", v)
	case rv.Kind() == reflect.Pointer && rv.IsNil():
		return nil, fmt.Errorf("got a nil %T", v)
	case !m.ProtoReflect().IsValid():
		return nil, fmt.Errorf("got an invalid %T", v)
	}
	return m, nil
}
