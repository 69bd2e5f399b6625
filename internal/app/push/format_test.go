package push

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestJSONLine(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]*kgo.Record{
		`{"topic":"orders","partition":2147483647,"offset":9223372036854775807,"timestamp":1700000000123,"key":"k","value":"v","headers":[["a","1"],["a","2"]]}`: {
			Topic: "orders", Partition: math.MaxInt32, Offset: math.MaxInt64, Timestamp: time.UnixMilli(1700000000123), Key: []byte("k"), Value: []byte("v"),
			Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}},
		},
		`{"topic":"t","partition":0,"offset":9007199254740993,"timestamp":0,"key":null,"value":null,"headers":[["a",null]]}`: {
			Topic: "t", Offset: 1<<53 + 1, Timestamp: time.UnixMilli(0), Headers: []kgo.RecordHeader{{Key: "a"}},
		},
		`{"topic":"t","partition":0,"offset":0,"timestamp":-1,"key":"","value":"","headers":[["",""]]}`: {
			Topic: "t", Timestamp: time.UnixMilli(-1), Key: []byte{}, Value: []byte{}, Headers: []kgo.RecordHeader{{Value: []byte{}}},
		},
		`{"topic":"t","partition":0,"offset":0,"timestamp":0,"key_b64":"/w==","value_b64":"YYA=","headers":[["a","/wA=","b64"]]}`: {
			Topic: "t", Timestamp: time.UnixMilli(0), Key: []byte("\xff"), Value: []byte("a\x80"), Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("\xff\x00")}},
		},
		`{"topic":"t","partition":0,"offset":0,"timestamp":0,"key":"<ü\u2028>","value":"{\"a\":\"\\n\"}\n\t\u0000","headers":[]}`: {
			Topic: "t", Timestamp: time.UnixMilli(0), Key: []byte("<ü\u2028>"), Value: []byte("{\"a\":\"\\n\"}\n\t\x00"),
		},
		// Only in a header's name is what is not UTF-8 replaced.
		`{"topic":"t","partition":0,"offset":0,"timestamp":0,"key":null,"value":null,"headers":[["a\ufffd\ufffdb","v"]]}`: {
			Topic: "t", Timestamp: time.UnixMilli(0), Headers: []kgo.RecordHeader{{Key: "a\xff\xfeb", Value: []byte("v")}},
		},
	} {
		require.Equal(t, want+"\n", string(appendJSON(nil, r)))
	}
}

// line reads JSON output back as a program would that knows its description.
type line struct {
	Topic     string               `json:"topic"`
	Partition int32                `json:"partition"`
	Offset    int64                `json:"offset"`
	Timestamp int64                `json:"timestamp"`
	Key       *string              `json:"key"`
	KeyB64    *string              `json:"key_b64"`
	Value     *string              `json:"value"`
	ValueB64  *string              `json:"value_b64"`
	Headers   [][]*json.RawMessage `json:"headers"`
}

func bytesOf(t *testing.T, text, b64 *string) []byte {
	t.Helper()
	switch {
	case text != nil:
		require.Nil(t, b64)
		return []byte(*text)
	case b64 != nil:
		b, err := base64.StdEncoding.DecodeString(*b64)
		require.NoError(t, err)
		require.False(t, utf8.Valid(b), "base64 without need")
		return b
	default:
		return nil
	}
}

func FuzzJSONLineRoundTrip(f *testing.F) {
	f.Add("orders", int32(3), int64(42), int64(1700000000000), []byte("k"), []byte("v"), "name", []byte("value"), false)
	f.Add("t", int32(0), int64(math.MaxInt64), int64(-1), []byte("\xff\u2028"), []byte("\u2028\u2029</script>&\x7f"), "n\xff", []byte("\x80"), true)
	f.Add("", int32(-1), int64(math.MinInt64), int64(0), []byte{}, []byte("\xed\xa0\x80\ufffd"), "", []byte{}, true)
	f.Fuzz(func(t *testing.T, topic string, partition int32, offset, millis int64, key, value []byte, name string, header []byte, null bool) {
		if millis < math.MinInt64/1000 || millis > math.MaxInt64/1000 {
			return // not to be had from a broker's answer
		}
		r := &kgo.Record{
			Topic: topic, Partition: partition, Offset: offset, Timestamp: time.UnixMilli(millis), Key: key, Value: value,
			Headers: []kgo.RecordHeader{{Key: name, Value: header}, {Key: "second"}},
		}
		if null {
			r.Key = nil
		}
		out := string(appendJSON(nil, r))
		require.Equal(t, 1, strings.Count(out, "\n"), out)
		require.True(t, strings.HasSuffix(out, "\n"))
		require.True(t, utf8.ValidString(out), "%q", out)
		var got line
		decoder := json.NewDecoder(strings.NewReader(out))
		decoder.DisallowUnknownFields()
		require.NoError(t, decoder.Decode(&got), out)
		require.Equal(t, strings.ToValidUTF8(topic, "\ufffd") == topic, got.Topic == topic)
		require.Equal(t, []int64{int64(partition), offset, millis}, []int64{int64(got.Partition), got.Offset, got.Timestamp})
		require.Equal(t, r.Key, bytesOf(t, got.Key, got.KeyB64))
		require.Equal(t, r.Value, bytesOf(t, got.Value, got.ValueB64))
		require.Len(t, got.Headers, 2)
		var second string
		require.NoError(t, json.Unmarshal(*got.Headers[1][0], &second))
		require.Equal(t, "second", second)
		require.Nil(t, got.Headers[1][1])
		first := got.Headers[0]
		var text string
		require.NoError(t, json.Unmarshal(*first[1], &text))
		if len(first) == 3 {
			require.Equal(t, `"b64"`, string(*first[2]))
			require.Equal(t, header, bytesOf(t, nil, &text))
		} else {
			require.Equal(t, header, []byte(text))
		}
	})
}
