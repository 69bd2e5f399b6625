package dlq

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// line is a dead letter as one line of JSON: the record, as the program consumer writes
// records, and what is known of the letter. Times are in ms since 1970, 0 if unknown.
type line struct {
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	Offset    int64    `json:"offset"`
	Timestamp int64    `json:"timestamp"`
	Key       *string  `json:"key"`
	KeyB64    *string  `json:"key_b64,omitempty"`
	Value     *string  `json:"value"`
	ValueB64  *string  `json:"value_b64,omitempty"`
	Headers   []header `json:"headers"`
	Letter    facts    `json:"letter"`
}

// facts are what is known of a letter.
type facts struct {
	ID           string  `json:"id"`
	Dialect      Dialect `json:"dialect"`
	State        State   `json:"state"`
	Group        string  `json:"group,omitempty"`
	Handler      string  `json:"handler,omitempty"`
	Origin       *origin `json:"origin,omitempty"`
	Reason       Reason  `json:"reason,omitempty"`
	ErrorType    string  `json:"error_type,omitempty"`
	ErrorCode    string  `json:"error_code,omitempty"`
	ErrorMessage string  `json:"error_message,omitempty"`
	ErrorStack   string  `json:"error_stack,omitempty"`
	Attempts     int     `json:"attempts,omitempty"`
	FirstFailed  int64   `json:"first_failed,omitempty"`
	LastFailed   int64   `json:"last_failed,omitempty"`
	Fingerprint  string  `json:"fingerprint"`
	Generation   int     `json:"generation,omitempty"`
	RedriveID    string  `json:"redrive_id,omitempty"`
	EditOf       string  `json:"edit_of,omitempty"`
	Trace        string  `json:"trace,omitempty"`
	Pointer      bool    `json:"pointer,omitempty"`
	Trouble      string  `json:"trouble,omitempty"`
	Size         int     `json:"size"`
}

// origin is an Origin; a partition or offset that is not known is −1.
type origin struct {
	Topic     string `json:"topic"`
	TopicID   string `json:"topic_id,omitempty"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Timestamp int64  `json:"timestamp,omitempty"`
}

// header is a pair, or, where its value is not UTF-8, base64 and the word b64.
type header kgo.RecordHeader

// MarshalJSON implements json.Marshaler.
func (h header) MarshalJSON() ([]byte, error) {
	switch {
	case h.Value == nil:
		return json.Marshal([]any{h.Key, nil})
	case utf8.Valid(h.Value):
		return json.Marshal([]string{h.Key, string(h.Value)})
	}
	return json.Marshal([]string{h.Key, base64.StdEncoding.EncodeToString(h.Value), "b64"})
}

// UnmarshalJSON implements json.Unmarshaler.
func (h *header) UnmarshalJSON(b []byte) error {
	var parts []*string
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	encoded := len(parts) == 3 && parts[2] != nil && *parts[2] == "b64"
	if len(parts) != 2 && !encoded || parts[0] == nil || encoded && parts[1] == nil {
		return errors.New(`want headers as ["name","value"], ["name",null] or ["name","base64","b64"]`)
	}
	h.Key, h.Value = *parts[0], nil
	switch {
	case encoded:
		v, err := base64.StdEncoding.DecodeString(*parts[1])
		h.Value = v
		return err
	case parts[1] != nil:
		h.Value = []byte(*parts[1])
	}
	return nil
}

// AppendLine appends a dead letter with its record as one line of JSON, such as
//
//	{"topic":"dlq.boards.orders","partition":0,"offset":7,"timestamp":1700000002000,
//	 "key":"k","value":"v","headers":[["content-type","text/plain"]],
//	 "letter":{"id":"orders/0/42@boards#AQIDBA","dialect":"duplex","state":"open",…}}
//
// with a line feed at its end. Key and value that are not UTF-8 are key_b64 and
// value_b64, a header's value is followed by "b64" then; null is null. The line begins as
// those of the program consumer do.
func AppendLine(to []byte, l *Letter) ([]byte, error) {
	if l.Record == nil {
		return to, errors.New("dlq: writing a letter: it has no record")
	}
	out := line{
		Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, Timestamp: millis(l.Time), Headers: make([]header, len(l.Record.Headers)),
		Letter: facts{
			ID: l.ID, Dialect: l.Dialect, State: l.State, Group: l.Group, Handler: l.Handler, Origin: originLine(l.Origin),
			Reason: l.Reason, ErrorType: l.ErrorType, ErrorCode: l.ErrorCode, ErrorMessage: l.ErrorMessage, ErrorStack: l.Stack,
			Attempts: l.Attempts, FirstFailed: millis(l.FirstFailed), LastFailed: millis(l.LastFailed), Fingerprint: l.Fingerprint,
			Generation: l.Generation, RedriveID: l.RedriveID, EditOf: l.EditOf, Trace: l.Trace, Pointer: l.Pointer, Trouble: l.Trouble, Size: l.Size,
		},
	}
	out.Key, out.KeyB64 = textOrBase64(l.Record.Key)
	out.Value, out.ValueB64 = textOrBase64(l.Record.Value)
	for i, h := range l.Record.Headers {
		out.Headers[i] = header(h)
	}
	b := bytes.NewBuffer(to)
	encoder := json.NewEncoder(b)
	encoder.SetEscapeHTML(false) // this is no web page
	if err := encoder.Encode(out); err != nil {
		return to, fmt.Errorf("dlq: writing a letter: %w", err)
	}
	return b.Bytes(), nil
}

func originLine(o Origin) *origin {
	if o.Topic == "" {
		return nil
	}
	made := &origin{Topic: o.Topic, Partition: o.Partition, Offset: o.Offset, Timestamp: millis(o.Timestamp)}
	if o.TopicID != [16]byte{} {
		made.TopicID = base64.RawURLEncoding.EncodeToString(o.TopicID[:])
	}
	return made
}

func textOrBase64(b []byte) (text, encoded *string) {
	switch {
	case b == nil:
		return nil, nil
	case utf8.Valid(b):
		return new(string(b)), nil
	}
	return nil, new(base64.StdEncoding.EncodeToString(b))
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// ParseLine reads what AppendLine wrote, or a program changed in it.
func ParseLine(text []byte) (*Letter, error) {
	var in line
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, fmt.Errorf("dlq: reading a letter: %w", err)
	}
	r := &kgo.Record{Topic: in.Topic, Partition: in.Partition, Offset: in.Offset, Timestamp: time.UnixMilli(in.Timestamp)}
	var err, also error
	r.Key, err = fromTextOrBase64(in.Key, in.KeyB64)
	r.Value, also = fromTextOrBase64(in.Value, in.ValueB64)
	if err = errors.Join(err, also); err != nil {
		return nil, fmt.Errorf("dlq: reading a letter: %w", err)
	}
	for _, h := range in.Headers {
		r.Headers = append(r.Headers, kgo.RecordHeader(h))
	}
	f := in.Letter
	l := &Letter{
		Failure: Failure{
			ID: f.ID, Origin: Origin{Partition: -1, Offset: -1}, Group: f.Group, Handler: f.Handler, Reason: f.Reason,
			ErrorType: f.ErrorType, ErrorCode: f.ErrorCode, ErrorMessage: f.ErrorMessage, Stack: f.ErrorStack,
			Attempts: f.Attempts, FirstFailed: fromMillis(f.FirstFailed), LastFailed: fromMillis(f.LastFailed),
			Fingerprint: f.Fingerprint, Generation: f.Generation,
		},
		Topic: in.Topic, Partition: in.Partition, Offset: in.Offset, Time: r.Timestamp, Dialect: f.Dialect, State: f.State,
		RedriveID: f.RedriveID, EditOf: f.EditOf, Trace: f.Trace, Pointer: f.Pointer, Trouble: f.Trouble, Size: f.Size, Record: r,
	}
	if o := f.Origin; o != nil {
		l.Origin = Origin{Topic: o.Topic, Partition: o.Partition, Offset: o.Offset, Timestamp: fromMillis(o.Timestamp)}
		id, err := base64.RawURLEncoding.DecodeString(o.TopicID)
		if err != nil || len(id) > len(l.Origin.TopicID) {
			return nil, fmt.Errorf("dlq: reading a letter: topic_id %q: want 16 bytes in base64url", bounded(o.TopicID, 40))
		}
		copy(l.Origin.TopicID[:], id)
	}
	return l, nil
}

func fromTextOrBase64(text, encoded *string) ([]byte, error) {
	switch {
	case encoded != nil:
		return base64.StdEncoding.DecodeString(*encoded)
	case text != nil:
		return []byte(*text), nil
	}
	return nil, nil
}
