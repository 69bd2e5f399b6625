package ingest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// line is what a line of input should become: a value, or nothing usable.
type line struct {
	number int64
	value  string
	usable bool
}

// naive splits input as readLine should.
func naive(input []byte, most int) []line {
	var all []line
	pieces := bytes.Split(input, []byte("\n"))
	if len(pieces[len(pieces)-1]) == 0 {
		pieces = pieces[:len(pieces)-1]
	}
	for i, p := range pieces {
		p = bytes.TrimSuffix(p, []byte("\r"))
		if len(p) > most {
			all = append(all, line{number: int64(i + 1)})
			continue
		}
		all = append(all, line{int64(i + 1), string(p), true})
	}
	return all
}

func FuzzLinesAreThoseOfTheInput(f *testing.F) {
	for _, seed := range []string{"", "\n", "a", "a\nb", "a\r\nb\r\n", "\r", "\r\n\r\n", "a\x00\xff\n", strings.Repeat("x", 20) + "\nb", strings.Repeat("x", 200)} {
		f.Add([]byte(seed), uint8(17))
	}
	f.Fuzz(func(t *testing.T, input []byte, most uint8) {
		// A small buffer has lines arrive in pieces.
		l := &lines{in: bufio.NewReaderSize(bytes.NewReader(input), 16), most: int(most), passOver: true, stamp: func(*kgo.Record) {}}
		var got []line
		for {
			r, err := l.next()
			if errors.Is(err, io.EOF) {
				break
			}
			var bad *invalidError
			if errors.As(err, &bad) {
				got = append(got, line{number: l.at().number})
				continue
			}
			require.NoError(t, err)
			require.NotNil(t, r.Value)
			got = append(got, line{l.at().number, string(r.Value), true})
		}
		require.Equal(t, naive(input, int(most)), got)
	})
}

// What is published as JSON must be JSON, and its key must be the one that
// encoding/json finds.
func FuzzKeyIsThatOfTheObject(f *testing.F) {
	for _, seed := range []string{`{"k":"a"}`, `{"k":1e5}`, `{"k":""}`, `{"k":null}`, `{"K":"a"}`, `{"k":{"k":1}}`, `{"k":"\ud800"}`, `[{"k":1}]`, `{"k":1,"k":"b"}`, "{", " ", `{"k":-0}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		l := &lines{json: true, keyField: "k"}
		key, err := l.check(input)
		var object map[string]any
		decoder := json.NewDecoder(bytes.NewReader(input))
		decoder.UseNumber()
		if decoder.Decode(&object) != nil || !json.Valid(input) {
			require.Error(t, err)
			return
		}
		switch v := object["k"].(type) {
		case string:
			if err == nil {
				require.NotEmpty(t, key)
				require.Equal(t, v, string(key))
			} else if utf8.Valid(input) {
				require.Empty(t, v)
			}
		case json.Number:
			require.NoError(t, err)
			require.Equal(t, v.String(), string(key))
		default:
			require.Error(t, err)
		}
	})
}

// A layout that a user may give must not make one record fill the memory, nor
// records of nothing.
func FuzzLayoutsEnd(f *testing.F) {
	for _, layout := range []string{`%v\n`, `%k %v\n`, `%V{big32}%v`, `%v{json}`, `%H{ascii}%h{%k=%v}\n`, `%K%k`, `%v{re[[a-z]*]}`, `%v{re#[a-z]*#}`, `abc`, `%p{3}`} {
		f.Add(layout, []byte("abc def\nghi\n{\"a\":1}\n12\n"))
	}
	f.Fuzz(func(t *testing.T, layout string, input []byte) {
		o := &options{format: layout, topic: "orders", maxBytes: 1024}
		s, err := o.source(bytes.NewReader(input))
		if err != nil {
			return
		}
		for range len(input) + 2 {
			if _, err := s.next(); err != nil {
				return
			}
		}
		t.Errorf("layout %q makes more records out of %q than it has bytes", layout, input)
	})
}
