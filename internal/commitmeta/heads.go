package commitmeta

import (
	"encoding/binary"
	"errors"
	"math"
)

// Head is a record that failed and waits for its next attempt.
type Head struct {
	Offset  int64
	Attempt int   // made so far
	Due     int64 // when the next one is, in milliseconds since 1970; 0 = at once
}

// appendHeads appends heads, in the order of their offsets, in at most limit
// bytes. Those that do not fit are left out: they begin anew with the next owner.
func appendHeads(b []byte, heads []Head, limit int) []byte {
	var offset, due int64
	limit += len(b)
	for _, h := range heads {
		next := binary.AppendUvarint(b, uint64(h.Offset-offset))
		next = binary.AppendUvarint(next, uint64(h.Attempt))
		next = binary.AppendVarint(next, h.Due-due)
		if len(next) > limit {
			return b
		}
		b, offset, due = next, h.Offset, h.Due
	}
	return b
}

var errHeads = errors.New("commitmeta: reading what waits for its next attempt: cut short, or out of range")

func readHeads(b []byte) (heads []Head, err error) {
	var offset, due int64
	for len(b) > 0 {
		step, n := binary.Uvarint(b)
		if n <= 0 || step > math.MaxInt64 || int64(step) > math.MaxInt64-offset || (step == 0 && len(heads) > 0) {
			return nil, errHeads
		}
		b = b[n:]
		attempt, n := binary.Uvarint(b)
		if n <= 0 || attempt > math.MaxInt32 {
			return nil, errHeads
		}
		b = b[n:]
		later, n := binary.Varint(b)
		if n <= 0 || later > maxDue-due || due+later < 0 {
			return nil, errHeads
		}
		b = b[n:]
		offset, due = offset+int64(step), due+later
		heads = append(heads, Head{offset, int(attempt), due})
	}
	return heads, nil
}

// maxDue is the last millisecond that counts: the year 9999.
const maxDue = 253402300799999
