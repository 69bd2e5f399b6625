package ingest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// source reads records, one after the other. It returns io.EOF at the end, an
// *invalidError for a record that cannot be used, and any other error when
// reading itself fails.
type source interface {
	next() (*kgo.Record, error)
	// at is where the record read last stands.
	at() position
}

// position is a place in the input, such as line 3.
type position struct {
	unit   string
	number int64
}

func (p position) String() string { return fmt.Sprintf("%s %d", p.unit, p.number) }

// invalidError is about one record.
type invalidError struct {
	reason error
	last   bool // nothing can be read behind it
}

func (e *invalidError) Error() string { return e.reason.Error() }
func (e *invalidError) Unwrap() error { return e.reason }

func invalid(format string, args ...any) error {
	return &invalidError{reason: fmt.Errorf(format, args...)}
}

func (o *options) source(in io.Reader) (source, error) {
	headers, err := o.parseHeaders()
	if err != nil {
		return nil, err
	}
	stamp := func(r *kgo.Record) {
		r.Topic = o.topic
		if o.key != "" {
			r.Key = []byte(o.key)
		}
		r.Headers = append(r.Headers, headers...)
	}
	switch o.format {
	case "json", "lines":
		return &lines{
			in: bufio.NewReaderSize(in, 64<<10), most: int(o.maxBytes), passOver: o.skipInvalid,
			json: o.format == "json", keyField: o.keyField, stamp: stamp,
		}, nil
	}
	bounded := &boundedReader{in: in, endLine: strings.HasSuffix(o.format, `\n`) || strings.HasSuffix(o.format, "\n")}
	reader, err := kgo.NewRecordReader(bounded, o.format)
	if err == nil && !strings.Contains(o.format, "%") {
		err = errors.New("there is no verb in it")
	}
	if err != nil {
		return nil, fmt.Errorf("--format %q: want json, lines, or a layout of kgo verbs such as '%%k %%v\\n': %w", o.format, err)
	}
	return &layout{reader: reader, bounded: bounded, most: int64(o.maxBytes), stamp: stamp}, nil
}

// lines reads a record a line.
type lines struct {
	in       *bufio.Reader
	most     int  // bytes of a line
	passOver bool // read on behind a line that is too long
	json     bool
	keyField string
	stamp    func(*kgo.Record)
	number   int64
}

func (l *lines) at() position { return position{"line", l.number} }

func (l *lines) next() (*kgo.Record, error) {
	line, err := l.readLine()
	if err != nil {
		return nil, err
	}
	r := &kgo.Record{Value: line}
	if l.json {
		if r.Key, err = l.check(line); err != nil {
			return nil, err
		}
	}
	l.stamp(r)
	return r, nil
}

// readLine returns the next line without its end, in memory of its own. A line
// that is too long is never kept: it is passed over if reading is to go on behind
// it, and else not even read, for it may have no end.
func (l *lines) readLine() ([]byte, error) {
	var line []byte
	var length int64
	for {
		part, err := l.in.ReadSlice('\n')
		if length == 0 && (len(part) > 0 || err == nil) {
			l.number++
		}
		length += int64(len(part))
		if length <= int64(l.most)+2 { // its end does not count
			line = append(line, part...)
		} else {
			line = nil
		}
		switch {
		case line == nil && length > 0 && !l.passOver:
			return nil, invalid("longer than --max-record-bytes %d allows", l.most)
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case errors.Is(err, io.EOF) && length == 0:
			return nil, io.EOF
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		}
		if line != nil {
			line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
		}
		if line == nil || len(line) > l.most {
			return nil, invalid("longer than --max-record-bytes %d allows", l.most)
		}
		return line, nil
	}
}

// check makes sure that the line is JSON, and takes the key out of it.
func (l *lines) check(line []byte) (key []byte, err error) {
	if len(bytes.TrimSpace(line)) == 0 {
		return nil, invalid("empty, want a JSON value")
	}
	if !json.Valid(line) {
		return nil, invalid("not JSON: %w", explainJSON(line))
	}
	if l.keyField == "" {
		return nil, nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(line, &object); err != nil || object == nil {
		return nil, invalid("not a JSON object, so it has no field %q for the key", l.keyField)
	}
	raw, ok := object[l.keyField]
	if !ok {
		return nil, invalid("no field %q to take the key from", l.keyField)
	}
	switch raw[0] {
	case '"':
		if !utf8.Valid(raw) { // decoding would make many keys one
			return nil, invalid("field %q is not valid UTF-8, want a string for the key", l.keyField)
		}
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, invalid("field %q: %w", l.keyField, err)
		}
		if s == "" {
			return nil, invalid("field %q is empty, want a key", l.keyField)
		}
		return []byte(s), nil
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return raw, nil // the digits as they are: no precision is lost
	default:
		return nil, invalid("field %q is %s, want a string or a number for the key", l.keyField, shorten(raw))
	}
}

func explainJSON(line []byte) error {
	var v any
	err := json.Unmarshal(line, &v)
	if se, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("at byte %d: %w", se.Offset, err)
	}
	return err
}

func shorten(b []byte) string {
	const most = 40
	if len(b) > most {
		return string(b[:most]) + "…"
	}
	return string(b)
}

// layout reads records by a layout of kgo verbs.
type layout struct {
	reader  *kgo.RecordReader
	bounded *boundedReader
	most    int64
	stamp   func(*kgo.Record)
	number  int64
}

func (l *layout) at() position { return position{"record", l.number} }

func (l *layout) next() (*kgo.Record, error) {
	l.bounded.left = 2*l.most + 64<<10
	r := &kgo.Record{}
	err := l.reader.ReadRecordInto(r)
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, io.EOF
	}
	l.number++
	if l.bounded.failed != nil {
		return nil, l.bounded.failed
	}
	if err != nil { // where the next record begins is not known
		return nil, &invalidError{reason: fmt.Errorf("reading by the layout: %w", err), last: true}
	}
	l.stamp(r)
	return r, nil
}

// boundedReader keeps one record from filling the memory.
type boundedReader struct {
	in      io.Reader
	left    int64
	endLine bool // the input's last line gets an end if it has none
	last    byte // the last byte read, 0 before there was one
	failed  error
}

var errTooLong = errors.New("longer than --max-record-bytes allows")

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.in.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if n > 0 {
		b.last = p[n-1]
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.failed = err
	}
	if n == 0 && errors.Is(err, io.EOF) && b.endLine && b.last != 0 && b.last != '\n' && len(p) > 0 {
		p[0], b.last = '\n', '\n'
		return 1, nil
	}
	return n, err
}
