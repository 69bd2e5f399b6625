package duplex

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Codec turns Go values into record bytes and back. It sees the whole record,
// so that a format may keep a version or a schema ID in a header.
//
// Implementations must be safe for concurrent use.
type Codec interface {
	// ContentType is the media type, such as "application/json". Encode writes
	// it to the header [HeaderContentType]; decoding never depends on it.
	ContentType() string

	// Encode sets r.Value, and headers where the format needs them, from v. It
	// must not keep v, unless r.Value is documented to share its memory.
	Encode(r *kgo.Record, v any) error

	// Decode fills v, always a non-nil pointer, from r. It must not keep
	// r.Value or parts of it unless the value it fills is documented to share
	// the record's memory.
	Decode(r *kgo.Record, v any) error
}

// HeaderContentType is the header in which the codecs of this package name
// their media type.
const HeaderContentType = "content-type"

// The codecs that come with Duplex. Package protocodec has one for Protobuf.
const (
	// JSON is encoding/json, for any type. Decoding refuses data behind the
	// value; unknown fields are ignored, so that producers may add some.
	// It is the codec of a Topic that names none.
	JSON builtin = "application/json"

	// Text is for string and types made from it. Bytes that are not UTF-8 are
	// refused in both directions.
	Text builtin = "text/plain; charset=utf-8"

	// Bytes is for []byte and types made from it: the value as it is, not a
	// copy. Do not change a slice before its publish has ended; copy what you
	// keep of one that decoding gave.
	Bytes builtin = "application/octet-stream"
)

type builtin string

// ContentType implements [Codec].
func (c builtin) ContentType() string { return string(c) }

// Encode implements [Codec].
func (c builtin) Encode(r *kgo.Record, v any) error {
	var err error
	switch c {
	case Text:
		r.Value, err = textBytes(v)
	case Bytes:
		r.Value, err = rawBytes(v)
	default:
		r.Value, err = json.Marshal(v)
	}
	if err != nil {
		return err
	}
	SetHeader(r, HeaderContentType, string(c))
	return nil
}

// Decode implements [Codec].
func (c builtin) Decode(r *kgo.Record, v any) error {
	switch c {
	case Text:
		if !utf8.Valid(r.Value) {
			return fmt.Errorf("value of %d bytes is not UTF-8", len(r.Value))
		}
		if s, is := v.(*string); is && s != nil {
			*s = string(r.Value)
			return nil
		}
		return setKind(v, reflect.String, string(r.Value))
	case Bytes:
		if b, is := v.(*[]byte); is && b != nil {
			*b = r.Value
			return nil
		}
		return setKind(v, reflect.Slice, r.Value)
	default:
		return decodeJSON(r.Value, v)
	}
}

func decodeJSON(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(v); err != nil {
		if err == io.EOF {
			return fmt.Errorf("value is empty: %w", io.ErrUnexpectedEOF)
		}
		return err
	}
	end := d.InputOffset()
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("data behind the JSON value, which ends at byte %d", end)
	}
	return nil
}

func textBytes(v any) ([]byte, error) {
	s, ok := v.(string)
	if !ok {
		rv := reflect.ValueOf(v)
		if rv.Kind() != reflect.String {
			return nil, fmt.Errorf("text codec takes a string, got %T", v)
		}
		s = rv.String()
	}
	if !utf8.ValidString(s) {
		return nil, fmt.Errorf("string of %d bytes is not UTF-8", len(s))
	}
	return []byte(s), nil
}

func rawBytes(v any) ([]byte, error) {
	if b, ok := v.([]byte); ok {
		return b, nil
	}
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Slice || rv.Type().Elem().Kind() != reflect.Uint8 {
		return nil, fmt.Errorf("bytes codec takes a []byte, got %T", v)
	}
	return rv.Bytes(), nil
}

// setKind stores value in *v where v points to a type made from string or
// []byte.
func setKind(v any, kind reflect.Kind, value any) error {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Pointer || rv.IsNil() {
		return fmt.Errorf("codec needs a non-nil pointer, got %T", v)
	}
	from := reflect.ValueOf(value)
	if rv.Elem().Kind() != kind || !from.CanConvert(rv.Elem().Type()) {
		return fmt.Errorf("codec cannot fill a %s", rv.Elem().Type())
	}
	rv.Elem().Set(from.Convert(rv.Elem().Type()))
	return nil
}

// decodeInto has a codec fill *v, which may be of a pointer type: what it gets is always a
// non-nil pointer to a non-pointer.
func decodeInto[T any](c Codec, r *kgo.Record, v *T) error {
	t := reflect.TypeOf(v).Elem()
	if t.Kind() != reflect.Pointer {
		return c.Decode(r, v)
	}
	fresh := reflect.New(t.Elem())
	if err := c.Decode(r, fresh.Interface()); err != nil {
		return err
	}
	reflect.ValueOf(v).Elem().Set(fresh)
	return nil
}
