// Package commitmeta is the codec of what Duplex writes beside a committed
// offset: "d1:" and base64url (no padding) of fields, each a tag, a length and
// that many bytes, tag and length as unsigned varints. Unknown tags are passed
// over, so that a later version may add some.
package commitmeta

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
)

const (
	prefix = "d1:"

	tagPartitions = 1
	tagRuns       = 2
	tagHeads      = 3
	tagClean      = 4
)

// MaxSize is what Kafka takes by default (offset.metadata.max.bytes).
const MaxSize = 4096

// Shares of what MaxSize leaves once base64 has taken a quarter. Any 10,000
// offsets fit into the one of the runs, however they are mixed.
const (
	maxRuns  = 1600
	maxHeads = 1400
)

// Meta is what stands beside a committed offset.
type Meta struct {
	// Partitions is how many partitions the topic had when the group first saw
	// it: a partition with a higher number came later, and is read from its
	// beginning whatever the group's start offset says. 0 = not known.
	Partitions int32
	// Runs say what is finished and what is not from the committed offset on, up
	// to the highest finished one: they alternate, and the last one is finished.
	Runs []Run
	// Heads are the failed records that wait for their next attempt, in the order
	// of their offsets.
	Heads []Head
	// Clean says that nothing had begun that is not finished, and nothing began
	// afterwards.
	Clean bool
}

// ErrForeign is returned for metadata that Duplex did not write.
var ErrForeign = errors.New("commitmeta: not written by Duplex")

// Encode gives the text to commit, of at most MaxSize bytes. What does not fit is
// left out from the end, in the direction that loses nothing: finished records
// count as unfinished, failed ones as never tried.
func Encode(m Meta) string {
	var b []byte
	if m.Partitions > 0 {
		b = appendField(b, tagPartitions, binary.AppendUvarint(nil, uint64(m.Partitions)))
	}
	if runs := appendRuns(nil, m.Runs, maxRuns); len(runs) > 0 {
		b = appendField(b, tagRuns, runs)
	}
	if heads := appendHeads(nil, m.Heads, maxHeads); len(heads) > 0 {
		b = appendField(b, tagHeads, heads)
	}
	if m.Clean {
		b = appendField(b, tagClean, nil)
	}
	return prefix + base64.RawURLEncoding.EncodeToString(b)
}

func appendField(b []byte, tag uint64, value []byte) []byte {
	b = binary.AppendUvarint(b, tag)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

// Decode reads it back. Text without the prefix is [ErrForeign]; text with it
// that cannot be read is an error that says why.
func Decode(text string) (Meta, error) {
	encoded, ours := strings.CutPrefix(text, prefix)
	if !ours {
		return Meta{}, ErrForeign
	}
	if len(text) > MaxSize {
		return Meta{}, fmt.Errorf("commitmeta: reading %d bytes: more than %d", len(text), MaxSize)
	}
	b, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return Meta{}, fmt.Errorf("commitmeta: reading base64: %w", err)
	}
	var m Meta
	for len(b) > 0 {
		var tag uint64
		var value []byte
		if tag, value, b, err = field(b); err != nil {
			return Meta{}, err
		}
		if err := m.read(tag, value); err != nil {
			return Meta{}, err
		}
	}
	return m, nil
}

func (m *Meta) read(tag uint64, value []byte) (err error) {
	switch tag {
	case tagPartitions:
		n, used := binary.Uvarint(value)
		if used != len(value) || n == 0 || n > math.MaxInt32 {
			return errors.New("commitmeta: reading the number of partitions: out of range")
		}
		m.Partitions = int32(n)
	case tagRuns:
		m.Runs, err = readRuns(value)
	case tagHeads:
		m.Heads, err = readHeads(value)
	case tagClean:
		m.Clean = true
	}
	return err
}

func field(b []byte) (tag uint64, value, rest []byte, err error) {
	tag, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, nil, errors.New("commitmeta: reading a tag: cut short")
	}
	b = b[n:]
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return 0, nil, nil, errors.New("commitmeta: reading a field: cut short")
	}
	b = b[n:]
	return tag, b[:size], b[size:], nil
}
