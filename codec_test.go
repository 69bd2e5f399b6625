package duplex_test

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// csvCodec is a format of the user's own: fields with commas between them. The
// order of the fields changed once, so a header says which one a record has.
type csvCodec struct{}

const csvVersion = "csv-version"

func (csvCodec) ContentType() string { return "text/csv" }

func (c csvCodec) Encode(r *kgo.Record, v any) error {
	d, ok := v.(Departure)
	if !ok {
		return fmt.Errorf("csv codec takes a Departure, got %T", v)
	}
	r.Value = []byte(d.Flight + "," + d.Origin)
	duplex.SetHeader(r, duplex.HeaderContentType, c.ContentType())
	duplex.SetHeader(r, csvVersion, "2")
	return nil
}

func (csvCodec) Decode(r *kgo.Record, v any) error {
	d, ok := v.(*Departure)
	if !ok {
		return fmt.Errorf("csv codec fills a Departure, got %T", v)
	}
	first, second, found := strings.Cut(string(r.Value), ",")
	if !found {
		return fmt.Errorf("value of %d bytes has no comma", len(r.Value))
	}
	switch version, _ := duplex.Header(r, csvVersion); version {
	case "2":
		*d = Departure{Flight: first, Origin: second}
	case "": // version 1 had no header, and the origin first
		*d = Departure{Flight: second, Origin: first}
	default:
		return fmt.Errorf("version %q of the format is not known here", version)
	}
	return nil
}

// A codec sees the whole record, so a format may keep its version in a header.
func ExampleCodec() {
	topic := duplex.Topic[Departure]{Name: "departures", Codec: csvCodec{}}
	r, err := topic.Record(Departure{Flight: "LH 454", Origin: "FRA"})
	if err != nil {
		fmt.Println(err)
		return
	}
	version, _ := duplex.Header(r, csvVersion)
	fmt.Printf("version %s: %s\n", version, r.Value)

	old := &kgo.Record{Topic: "departures", Value: []byte("MUC,LH 100")}
	for _, r := range []*kgo.Record{r, old} {
		d, err := topic.Value(r)
		fmt.Println(d.Flight, "from", d.Origin, err)
	}
	// Output:
	// version 2: LH 454,FRA
	// LH 454 from FRA <nil>
	// LH 100 from MUC <nil>
}

// Types made from the ones that Text and Bytes take.
type (
	line string
	blob []byte
)

// roundTrip encodes v, checks what is in the record, and decodes it.
func roundTrip[T any](t *testing.T, codec duplex.Codec, v T, raw string) {
	t.Helper()
	topic := duplex.Topic[T]{Name: "values", Codec: codec}
	r, err := topic.Record(v)
	require.NoError(t, err)
	require.Equal(t, raw, string(r.Value))
	contentType, _ := duplex.Header(r, "content-type")
	require.Equal(t, codec.ContentType(), contentType)
	r.Headers = nil // decoding never depends on the header
	back, err := topic.Value(r)
	require.NoError(t, err)
	require.Equal(t, v, back)
}

func TestCodecs(t *testing.T) {
	t.Parallel()
	roundTrip(t, duplex.JSON, Departure{Flight: "LH 454"}, `{"flight":"LH 454","origin":""}`)
	roundTrip(t, duplex.JSON, &Departure{Origin: "FRA"}, `{"flight":"","origin":"FRA"}`)
	roundTrip(t, duplex.JSON, []int{1, 2}, `[1,2]`)
	roundTrip(t, duplex.JSON, "<Käse>", `"\u003cKäse\u003e"`)
	roundTrip[any](t, duplex.JSON, nil, `null`)
	roundTrip(t, duplex.Text, "Käse\n", "Käse\n")
	roundTrip(t, duplex.Text, "", "")
	roundTrip(t, duplex.Text, line("a line"), "a line")
	roundTrip(t, duplex.Bytes, []byte{0, 0xff}, "\x00\xff")
	roundTrip(t, duplex.Bytes, []byte{}, "")
	roundTrip(t, duplex.Bytes, blob{1}, "\x01")
	roundTrip(t, duplex.Bytes, json.RawMessage(`{`), "{")
}

func TestContentTypes(t *testing.T) {
	t.Parallel()
	for codec, want := range map[duplex.Codec]string{
		duplex.JSON: "application/json", duplex.Text: "text/plain; charset=utf-8", duplex.Bytes: "application/octet-stream",
	} {
		require.Equal(t, want, codec.ContentType())
	}
	r := &kgo.Record{Headers: []kgo.RecordHeader{{Key: "content-type", Value: []byte("old")}, {Key: "x"}}}
	require.NoError(t, duplex.Text.Encode(r, "v"))
	require.Equal(t, []kgo.RecordHeader{{Key: "content-type", Value: []byte("text/plain; charset=utf-8")}, {Key: "x"}}, r.Headers,
		"the old one is replaced where it stood")
}

func TestJSONTakesExactlyOneValue(t *testing.T) {
	t.Parallel()
	topic := duplex.Topic[Departure]{Name: "departures"}
	v, err := topic.Value(&kgo.Record{Value: []byte(" {\"flight\":\"LH 454\",\"pilot\":\"Ann\"}\n")})
	require.NoError(t, err, "space around the value and fields that are unknown here are no fault")
	require.Equal(t, Departure{Flight: "LH 454"}, v)

	for value, want := range map[string]string{
		`{"flight":"a"}{"flight":"b"}`: "data behind the JSON value, which ends at byte 14",
		`{"flight":"a"} x`:             "data behind the JSON value",
		`{"flight":"a"}]`:              "data behind the JSON value",
		`{"flight":"a"`:                "unexpected EOF",
		`{"flight":5}`:                 "cannot unmarshal number",
		`LH 454`:                       "invalid character 'L'",
		` `:                            "value is empty",
		"":                             "value is empty",
	} {
		_, err := topic.Value(&kgo.Record{Value: []byte(value)})
		require.ErrorIs(t, err, duplex.ErrUndecodable, "%s", value)
		require.ErrorContains(t, err, want)
	}
	_, err = topic.Value(&kgo.Record{Value: nil})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF, "a null value is no JSON")
}

func FuzzJSONTakesExactlyOneValue(f *testing.F) {
	for _, seed := range []string{`{}`, `{}{}`, `[1,`, `"a" `, "null", "1e999", "\ufeff1", "", "[[[[", "1 2", "\"\xff\""} {
		f.Add([]byte(seed))
	}
	topic := duplex.Topic[json.RawMessage]{Name: "values"}
	f.Fuzz(func(t *testing.T, value []byte) {
		_, err := topic.Value(&kgo.Record{Value: value})
		require.Equal(t, json.Valid(value), err == nil, "%q: %v", value, err)
	})
}

func TestTextIsUTF8InBothDirections(t *testing.T) {
	t.Parallel()
	topic := duplex.Topic[string]{Name: "lines", Codec: duplex.Text}
	_, err := topic.Record("caf\xe9")
	require.ErrorIs(t, err, duplex.ErrEncode)
	require.ErrorContains(t, err, "string of 4 bytes is not UTF-8")
	_, err = topic.Value(&kgo.Record{Value: []byte("caf\xe9")})
	require.ErrorIs(t, err, duplex.ErrUndecodable)
	require.ErrorContains(t, err, "value of 4 bytes is not UTF-8")
}

func TestNullValues(t *testing.T) {
	t.Parallel()
	text, err := duplex.Topic[string]{Name: "lines", Codec: duplex.Text}.Value(&kgo.Record{})
	require.NoError(t, err)
	require.Empty(t, text)

	raw := duplex.Topic[[]byte]{Name: "blobs", Codec: duplex.Bytes}
	for _, want := range [][]byte{nil, {}} {
		r, err := raw.Record(want)
		require.NoError(t, err)
		require.Equal(t, want, r.Value, "Bytes tells null and empty apart")
		have, err := raw.Value(r)
		require.NoError(t, err)
		require.Equal(t, want, have)
	}
}

func TestTextKeepsNoMemoryAndBytesShares(t *testing.T) {
	t.Parallel()
	r := &kgo.Record{Value: []byte("abc")}
	text, err := duplex.Topic[string]{Name: "v", Codec: duplex.Text}.Value(r)
	require.NoError(t, err)
	raw, err := duplex.Topic[[]byte]{Name: "v", Codec: duplex.Bytes}.Value(r)
	require.NoError(t, err)
	kept, err := duplex.Topic[json.RawMessage]{Name: "v"}.Value(&kgo.Record{Value: []byte(`"abc"`)})
	require.NoError(t, err)
	clear(r.Value)
	require.Equal(t, "abc", text)
	require.Equal(t, `"abc"`, string(kept))
	require.Equal(t, make([]byte, 3), raw, "as the documentation of Bytes says")
}

func TestCodecsRefuseOtherTypes(t *testing.T) {
	t.Parallel()
	text := "x"
	for _, c := range []struct {
		codec duplex.Codec
		value any
		want  string
	}{
		{duplex.Text, nil, "text codec takes a string, got <nil>"},
		{duplex.Text, []byte("x"), "text codec takes a string, got []uint8"},
		{duplex.Text, &text, "text codec takes a string, got *string"},
		{duplex.Bytes, nil, "bytes codec takes a []byte, got <nil>"},
		{duplex.Bytes, "x", "bytes codec takes a []byte, got string"},
		{duplex.Bytes, [1]byte{}, "bytes codec takes a []byte, got [1]uint8"},
		{duplex.Bytes, []int{1}, "bytes codec takes a []byte, got []int"},
	} {
		r := &kgo.Record{}
		require.EqualError(t, c.codec.Encode(r, c.value), c.want)
		require.Empty(t, r.Headers, "a refused record is not labelled")
	}
	var number int
	var none *string
	var list []int
	for _, c := range []struct {
		codec duplex.Codec
		into  any
		want  string
	}{
		{duplex.Text, &number, "codec cannot fill a int"},
		{duplex.Text, none, "codec needs a non-nil pointer, got *string"},
		{duplex.Text, text, "codec needs a non-nil pointer, got string"},
		{duplex.Text, nil, "codec needs a non-nil pointer, got <nil>"},
		{duplex.Text, &[]byte{}, "codec cannot fill a []uint8"},
		{duplex.Bytes, &text, "codec cannot fill a string"},
		{duplex.Bytes, &list, "codec cannot fill a []int"},
	} {
		require.EqualError(t, c.codec.Decode(&kgo.Record{Value: []byte("1")}, c.into), c.want)
	}
}
