package protocodec_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/duplex-go/duplex/protocodec"
)

// FuzzDecode throws bytes at the decoder: what it takes must encode and decode
// to the same message, and the bytes must be left alone.
func FuzzDecode(f *testing.F) {
	nested, err := structpb.NewStruct(map[string]any{"a": []any{1, "b", nil, map[string]any{"c": false}}})
	require.NoError(f, err)
	value, err := proto.Marshal(nested)
	require.NoError(f, err)
	f.Add(value)
	f.Add(value[:len(value)-1])
	f.Add([]byte{})
	f.Add([]byte(`{"a":1}`))
	f.Add(bytes.Repeat([]byte{0x0b}, 20_000)) // groups in groups
	f.Fuzz(func(t *testing.T, value []byte) {
		if value == nil {
			value = []byte{} // null is a tombstone
		}
		before := bytes.Clone(value)
		var first, second structpb.Struct
		err := protocodec.Proto.Decode(&kgo.Record{Value: value}, &first)
		require.Equal(t, before, value)
		if err != nil {
			return
		}
		r := encode(t, &first)
		require.NoError(t, protocodec.Proto.Decode(r, &second))
		require.Equal(t, r.Value, encode(t, &second).Value)
	})
}
