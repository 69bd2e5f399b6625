package protocodec_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/protocodec"
)

var _ duplex.Codec = protocodec.Proto

func requireProto(t *testing.T, want, have proto.Message) {
	t.Helper()
	require.True(t, proto.Equal(want, have), "want %v\nhave %v", want, have)
}

func encode(t *testing.T, m proto.Message) *kgo.Record {
	t.Helper()
	r := &kgo.Record{}
	require.NoError(t, protocodec.Proto.Encode(r, m))
	return r
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	list, err := structpb.NewList([]any{"a", 1.5, nil, map[string]any{"b": true}})
	require.NoError(t, err)
	for _, m := range []proto.Message{
		wrapperspb.String("Käse 🧀"), wrapperspb.Bytes([]byte{0, 0xff}), wrapperspb.Int64(-1), durationpb.New(-time.Hour),
		timestamppb.New(time.Unix(1_700_000_000, 5)), list, &emptypb.Empty{},
	} {
		r := encode(t, m)
		plain, err := proto.Marshal(m)
		require.NoError(t, err)
		require.Len(t, r.Value, len(plain), "nothing stands beside the message")
		back := m.ProtoReflect().New().Interface()
		require.NoError(t, proto.Unmarshal(r.Value, back), "any Protobuf library reads it")
		requireProto(t, m, back)
		again := m.ProtoReflect().New().Interface()
		require.NoError(t, protocodec.Proto.Decode(r, again))
		requireProto(t, m, again)
	}
}

func TestContentType(t *testing.T) {
	t.Parallel()
	r := &kgo.Record{Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("old")}, {Key: "x", Value: []byte("1")}}}
	require.NoError(t, protocodec.Proto.Encode(r, wrapperspb.Bool(true)))
	require.Equal(t, "application/protobuf", protocodec.Proto.ContentType())
	require.Equal(t, []kgo.RecordHeader{
		{Key: "content-type", Value: []byte("application/protobuf")}, {Key: "x", Value: []byte("1")},
	}, r.Headers)

	r.Headers = nil
	require.NoError(t, protocodec.Proto.Decode(r, &wrapperspb.BoolValue{}), "reading never depends on the header")
}

func TestEqualMessagesGiveEqualBytes(t *testing.T) {
	t.Parallel()
	fields := map[string]any{}
	for c := 'a'; c <= 'z'; c++ {
		fields[string(c)] = string(c)
	}
	want, err := structpb.NewStruct(fields)
	require.NoError(t, err)
	for range 50 { // Go visits a map in another order each time
		again, err := structpb.NewStruct(fields)
		require.NoError(t, err)
		require.Equal(t, encode(t, want).Value, encode(t, again).Value)
	}
}

func TestEmptyMessageIsAnEmptyValueAndATombstoneIsNone(t *testing.T) {
	t.Parallel()
	r := encode(t, &wrapperspb.StringValue{})
	require.NotNil(t, r.Value, "a null value would delete the key of a compacted topic")
	require.Empty(t, r.Value)
	into := wrapperspb.String("old")
	require.NoError(t, protocodec.Proto.Decode(r, into))
	require.Empty(t, into.GetValue())

	require.ErrorContains(t, protocodec.Proto.Decode(&kgo.Record{}, into), "value is null: a tombstone")
}

// notAMessage has nothing to do with Protobuf.
type notAMessage struct{ Value string }

func TestWhatIsNoMessageIsRefused(t *testing.T) {
	t.Parallel()
	var none *wrapperspb.StringValue
	var dynamic dynamicpb.Message // has no descriptor
	for want, v := range map[string]any{
		"got <nil>":                               nil,
		"got string":                              "text",
		"got protocodec_test.notAMessage":         notAMessage{},
		"got *protocodec_test.notAMessage":        &notAMessage{},
		"got a nil *wrapperspb.StringValue":       none,
		"got an invalid *dynamicpb.Message":       &dynamic,
		"got **wrapperspb.StringValue":            &none,
		"whose pointer is one: use a Topic[*wrap": *wrapperspb.String("x"),
	} {
		r := &kgo.Record{Value: []byte("old")}
		require.ErrorContains(t, protocodec.Proto.Encode(r, v), "protobuf codec takes a proto.Message: ")
		require.ErrorContains(t, protocodec.Proto.Encode(r, v), want)
		require.ErrorContains(t, protocodec.Proto.Decode(r, v), "protobuf codec fills a proto.Message: ")
		require.ErrorContains(t, protocodec.Proto.Decode(r, v), want)
		require.Equal(t, &kgo.Record{Value: []byte("old")}, r, "a refused record is left as it was")
	}
}

func TestWhatTheSchemaForbidsIsRefused(t *testing.T) {
	t.Parallel()
	r := &kgo.Record{}
	require.ErrorContains(t, protocodec.Proto.Encode(r, wrapperspb.String("\xff")), "UTF-8")
	require.ErrorContains(t, protocodec.Proto.Encode(r, &descriptorpb.UninterpretedOption_NamePart{}), "required field")
	require.Equal(t, &kgo.Record{}, r)

	badText := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte{0xff})
	require.ErrorContains(t, protocodec.Proto.Decode(&kgo.Record{Value: badText}, &wrapperspb.StringValue{}), "UTF-8")
	require.ErrorContains(t, protocodec.Proto.Decode(&kgo.Record{Value: []byte{}}, &descriptorpb.UninterpretedOption_NamePart{}), "required field")
	require.ErrorContains(t, protocodec.Proto.Decode(&kgo.Record{Value: []byte("{}")}, &wrapperspb.StringValue{}),
		"value of 2 bytes is not a google.protobuf.StringValue: ")
}

func TestDecodeReplacesWhatWasThere(t *testing.T) {
	t.Parallel()
	into := &timestamppb.Timestamp{Seconds: 1, Nanos: 2}
	into.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 7))
	want := &timestamppb.Timestamp{Seconds: 5}
	require.NoError(t, protocodec.Proto.Decode(encode(t, want), into))
	requireProto(t, want, into)
}

func TestUnknownFieldsSurvive(t *testing.T) {
	t.Parallel()
	newer := &timestamppb.Timestamp{Seconds: 5, Nanos: 6}
	older := &wrapperspb.Int64Value{} // knows field 1 only
	require.NoError(t, protocodec.Proto.Decode(encode(t, newer), older))
	require.Equal(t, int64(5), older.GetValue())
	older.Value = 50
	back := &timestamppb.Timestamp{}
	require.NoError(t, protocodec.Proto.Decode(encode(t, older), back))
	requireProto(t, &timestamppb.Timestamp{Seconds: 50, Nanos: 6}, back)
}

func TestNoMemoryIsShared(t *testing.T) {
	t.Parallel()
	unknown := protowire.AppendBytes(protowire.AppendTag(nil, 99, protowire.BytesType), []byte("unknown"))
	for _, m := range []proto.Message{wrapperspb.Bytes([]byte("payload")), wrapperspb.String("payload")} {
		m.ProtoReflect().SetUnknown(unknown)
		r := encode(t, m)
		kept := proto.Clone(m)
		into := m.ProtoReflect().New().Interface()
		require.NoError(t, protocodec.Proto.Decode(r, into))
		clear(r.Value) // as when the memory is used for the next fetch
		requireProto(t, kept, into)
		requireProto(t, kept, m)
	}
}

func TestTopicOfMessages(t *testing.T) {
	t.Parallel()
	topic := duplex.Topic[*wrapperspb.StringValue]{
		Name: "names", Codec: protocodec.Proto, Key: (*wrapperspb.StringValue).GetValue,
	}
	r, err := topic.Record(wrapperspb.String("ann"))
	require.NoError(t, err)
	require.Equal(t, "ann", string(r.Key))
	m, err := topic.Value(r)
	require.NoError(t, err)
	require.Equal(t, "ann", m.GetValue())

	topic.Key = nil
	_, err = topic.Record(nil)
	require.ErrorIs(t, err, duplex.ErrEncode)
	require.ErrorContains(t, err, "got a nil *wrapperspb.StringValue")
	m, err = topic.Value(&kgo.Record{Topic: "names", Offset: 7, Value: []byte{0xff}})
	require.Nil(t, m)
	require.ErrorIs(t, err, duplex.ErrUndecodable)
	require.ErrorContains(t, err, "names/0 offset 7")
}
