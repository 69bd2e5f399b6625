package push

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// format appends one record as it is to be written.
type format func(to []byte, r *kgo.Record) []byte

const outputJSON = "json" // the default of --output

func newFormat(output string) (format, error) {
	switch output {
	case outputJSON:
		return appendJSON, nil
	case "lines":
		return func(to []byte, r *kgo.Record) []byte { return append(append(to, r.Value...), '\n') }, nil
	}
	layout, err := kgo.NewRecordFormatter(output)
	if err == nil && !strings.Contains(output, "%") {
		err = errors.New("there is no verb in it") // so it would write nothing of the records, and commit them
	}
	if err != nil {
		return nil, fmt.Errorf("--output %q: want json, lines, or a layout of kgo verbs such as '%%k %%v\\n': %w", output, err)
	}
	return layout.AppendRecord, nil
}

func appendJSON(to []byte, r *kgo.Record) []byte {
	to = append(to, `{"topic":`...)
	to = appendString(to, r.Topic)
	to = append(to, `,"partition":`...)
	to = strconv.AppendInt(to, int64(r.Partition), 10)
	to = append(to, `,"offset":`...)
	to = strconv.AppendInt(to, r.Offset, 10)
	to = append(to, `,"timestamp":`...)
	to = strconv.AppendInt(to, r.Timestamp.UnixMilli(), 10)
	to = appendBytes(to, "key", r.Key)
	to = appendBytes(to, "value", r.Value)
	to = append(to, `,"headers":[`...)
	for i, h := range r.Headers {
		if i > 0 {
			to = append(to, ',')
		}
		to = appendHeader(to, h)
	}
	return append(to, "]}\n"...)
}

func appendBytes(to []byte, name string, b []byte) []byte {
	switch {
	case b == nil:
		to = append(to, `,"`+name+`":null`...)
		return to
	case utf8.Valid(b):
		to = append(to, `,"`+name+`":`...)
		return appendString(to, string(b))
	default:
		to = append(to, `,"`+name+`_b64":"`...)
		to = base64.StdEncoding.AppendEncode(to, b)
		return append(to, '"')
	}
}

func appendHeader(to []byte, h kgo.RecordHeader) []byte {
	to = append(to, '[')
	to = appendString(to, h.Key)
	to = append(to, ',')
	switch {
	case h.Value == nil:
		to = append(to, "null"...)
	case utf8.Valid(h.Value):
		to = appendString(to, string(h.Value))
	default:
		to = append(to, '"')
		to = base64.StdEncoding.AppendEncode(to, h.Value)
		to = append(to, `","b64"`...)
	}
	return append(to, ']')
}

// appendString writes s as JSON; what needs no escape, nearly everything, is
// copied.
func appendString(to []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return appendEscaped(to, s)
		}
	}
	to = append(to, '"')
	to = append(to, s...)
	return append(to, '"')
}

func appendEscaped(to []byte, s string) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // this is no web page
	if err := encoder.Encode(s); err != nil {
		return append(to, `""`...) // a string cannot fail
	}
	return append(to, bytes.TrimRight(b.Bytes(), "\n")...)
}
