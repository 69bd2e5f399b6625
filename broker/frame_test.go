package broker

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// requests makes one frame, without its length, of every request in every
// version that there is.
func requests(each func(key, version int16, frame []byte)) {
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID("test"))
	for key := range int16(kmsg.MaxKey + 1) {
		req := kmsg.RequestForKey(key)
		if req == nil {
			continue
		}
		for version := range req.MaxVersion() + 1 {
			if key == int16(kmsg.ControlledShutdown) && version == 0 {
				continue // the one request without a client ID; only brokers send it
			}
			req.SetVersion(version)
			each(key, version, formatter.AppendRequest(nil, req, 7)[4:])
		}
	}
}

func TestEveryRequestPasses(t *testing.T) {
	t.Parallel()
	n := 0
	requests(func(key, version int16, frame []byte) {
		n++
		require.NoError(t, checkFrame(frame), "%s v%d", kmsg.NameForKey(key), version)
		start := binary.BigEndian.AppendUint16(nil, uint16(key))
		require.NoError(t, checkLength(uint32(len(frame)), start))
	})
	require.Greater(t, n, 300)
}

func TestCutFramesAreRefused(t *testing.T) {
	t.Parallel()
	requests(func(key, version int16, frame []byte) {
		for cut := range frame {
			err := checkFrame(frame[:cut])
			if err == nil { // a request may be whole without its last, optional, bytes
				require.GreaterOrEqual(t, cut, headerBytes, "%s v%d cut to %d bytes", kmsg.NameForKey(key), version, cut)
			}
		}
	})
}

func TestCheckFrameNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	header := func(key, version uint16, rest ...byte) []byte {
		b := binary.BigEndian.AppendUint16(nil, key)
		b = binary.BigEndian.AppendUint16(b, version)
		return append(append(b, 0, 0, 0, 7), rest...)
	}
	for want, frame := range map[string][]byte{
		"unknown API key 999":             header(999, 0, 0, 0),
		"unknown API key -1":              header(0xffff, 0, 0, 0),
		"Metadata has no version 99":      header(3, 99, 0, 0),
		"Metadata has no version -1":      header(3, 0xffff, 0, 0),
		"Metadata v1: header is cut off":  header(3, 1, 0, 50, 'x'),
		"Metadata v1: decoding: response": header(3, 1, 0, 0, 0x7f, 0xff, 0xff, 0xff),
		"Metadata v9: header is cut off":  header(3, 9, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f),
	} {
		require.ErrorContains(t, checkFrame(frame), want)
	}
	require.NoError(t, checkFrame(header(18, 999, 0, 0, 0, 2, 'x', 2, 'y', 0, 0, 0, 0, 0, 0)), "a client from the future")
}

func TestLengthIsJudgedByTheRequest(t *testing.T) {
	t.Parallel()
	produce, fetch := []byte{0, 0}, []byte{0, 1}
	require.NoError(t, checkLength(100<<20, produce))
	require.NoError(t, checkLength(4<<20, fetch))
	require.ErrorContains(t, checkLength(100<<20+1, produce), "frame of 104857601 bytes, this request may have 104857600")
	require.ErrorContains(t, checkLength(4<<20+1, fetch), "this request may have 4194304")
	require.ErrorContains(t, checkLength(9, fetch), "a request has at least 10")
	require.ErrorContains(t, checkLength(0, fetch), "frame of 0 bytes")
	require.Error(t, checkLength(1<<31, produce))
	require.Error(t, checkLength(binary.BigEndian.Uint32([]byte("GET ")), []byte("/ ")))
}

// TestDecodingCostsABoundedMultiple fills every array of every request with as
// many elements as fit, and holds the memory that decoding takes against the
// length of the frame.
func TestDecodingCostsABoundedMultiple(t *testing.T) {
	formatter := kmsg.NewRequestFormatter()
	most, by := 0.0, ""
	requests(func(key, version int16, _ []byte) {
		for path := range arrays(reflect.TypeOf(kmsg.RequestForKey(key)).Elem()) {
			req := kmsg.RequestForKey(key)
			req.SetVersion(version)
			fillArray(reflect.ValueOf(req).Elem(), path, 2000)
			frame := formatter.AppendRequest(nil, req, 7)[4:]
			if len(frame) < 4000 {
				continue // this version has no such array
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_ = checkFrame(frame)
			runtime.ReadMemStats(&after)
			if ratio := float64(after.TotalAlloc-before.TotalAlloc) / float64(len(frame)); ratio > most {
				most, by = ratio, fmt.Sprintf("%s v%d %v", kmsg.NameForKey(key), version, path)
			}
		}
	})
	t.Logf("decoding takes up to %.0f bytes a byte: %s", most, by)
	require.Less(t, most, 60.0, "then maxControlFrame must shrink: %s", by)
}

// arrays yields the way to every array in a request.
func arrays(of reflect.Type) map[string]bool {
	paths := map[string]bool{}
	for i := range of.NumField() {
		f := of.Field(i)
		if f.Type.Kind() != reflect.Slice || f.Type.Elem().Kind() == reflect.Uint8 {
			continue
		}
		paths[f.Name] = true
		if f.Type.Elem().Kind() == reflect.Struct {
			for path := range arrays(f.Type.Elem()) {
				paths[f.Name+"."+path] = true
			}
		}
	}
	return paths
}

func fillArray(in reflect.Value, path string, n int) {
	name, rest, deeper := strings.Cut(path, ".")
	array := in.FieldByName(name)
	if !deeper {
		array.Set(reflect.MakeSlice(array.Type(), n, n))
		return
	}
	array.Set(reflect.MakeSlice(array.Type(), 1, 1))
	fillArray(array.Index(0), rest, n)
}

func FuzzCheckFrame(f *testing.F) {
	requests(func(_, _ int16, frame []byte) { f.Add(frame) })
	batch := kmsg.NewPtrProduceRequest()
	batch.Version = 9
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic = "orders"
	partition := kmsg.NewProduceRequestTopicPartition()
	partition.Records = []byte("records")
	topic.Partitions = append(topic.Partitions, partition)
	batch.Topics = append(batch.Topics, topic)
	f.Add(kmsg.NewRequestFormatter().AppendRequest(nil, batch, 1)[4:])
	f.Fuzz(func(t *testing.T, frame []byte) {
		err := checkFrame(frame)
		if err == nil && len(frame) < 8 {
			t.Fatalf("accepted %x", frame)
		}
	})
}
