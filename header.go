package duplex

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Kafka's record headers are an ordered list in which a name may repeat. The
// functions below keep the order and the repeats; none of them touches a header
// of another name. Names are compared exactly, as Kafka does.

// Header returns the last value of the named header, and whether there is one.
// The last one wins, as it does for Kafka's own Headers.lastHeader.
func Header(r *kgo.Record, name string) (value string, ok bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == name {
			return string(r.Headers[i].Value), true
		}
	}
	return "", false
}

// HeaderValues returns all values of the named header in their order; nil when
// there is none. The values share the record's memory.
func HeaderValues(r *kgo.Record, name string) [][]byte {
	var values [][]byte
	for _, h := range r.Headers {
		if h.Key == name {
			values = append(values, h.Value)
		}
	}
	return values
}

// SetHeader gives the named header one value: the first occurrence is replaced
// in its place, any further one is removed, and where there was none it is
// added at the end.
func SetHeader(r *kgo.Record, name, value string) {
	for i := range r.Headers {
		if r.Headers[i].Key == name {
			tail := withoutHeader(r.Headers[i+1:], name)
			kept := make([]kgo.RecordHeader, 0, i+1+len(tail))
			kept = append(kept, r.Headers[:i]...)
			kept = append(kept, kgo.RecordHeader{Key: name, Value: []byte(value)})
			kept = append(kept, tail...)
			r.Headers = kept
			return
		}
	}
	AddHeader(r, name, value)
}

// AddHeader adds one more value of the named header at the end.
func AddHeader(r *kgo.Record, name, value string) {
	if len(r.Headers) == 0 { // such as a content type: one allocation for both
		first := new(struct {
			headers [1]kgo.RecordHeader
			value   [32]byte
		})
		room := first.value[:0:min(len(value), len(first.value))] // no space behind it
		first.headers[0] = kgo.RecordHeader{Key: name, Value: append(room, value...)}
		r.Headers = first.headers[:]
		return
	}
	// Clipped: the space behind the slice may be another record's too.
	r.Headers = append(slices.Clip(r.Headers), kgo.RecordHeader{Key: name, Value: []byte(value)})
}

// DeleteHeader removes every occurrence of the named header.
func DeleteHeader(r *kgo.Record, name string) { r.Headers = withoutHeader(r.Headers, name) }

// withoutHeader never writes to headers: a slice of a record that was fetched
// may be shared.
func withoutHeader(headers []kgo.RecordHeader, name string) []kgo.RecordHeader {
	kept := make([]kgo.RecordHeader, 0, len(headers))
	for _, h := range headers {
		if h.Key != name {
			kept = append(kept, h)
		}
	}
	return kept
}
