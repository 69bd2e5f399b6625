// Package offsets is a set of offsets of one partition, small where they lie together.
package offsets

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// Set is a set of offsets, kept as runs in order that do not touch. The zero Set is
// empty. It is not safe for use by several goroutines that change it.
type Set struct{ runs []run }

// run is the offsets from first to end−1.
type run struct{ first, end int64 }

// Of is the set of the offsets from first to end−1.
func Of(first, end int64) (s Set) {
	s.AddRun(first, end)
	return s
}

// Add adds an offset. Those in rising order cost least.
func (s *Set) Add(offset int64) { s.AddRun(offset, offset+1) }

// AddRun adds the offsets from first to end−1.
func (s *Set) AddRun(first, end int64) {
	if first >= end {
		return
	}
	if n := len(s.runs); n == 0 || first > s.runs[n-1].end {
		s.runs = append(s.runs, run{first, end})
		return
	}
	// Those that it touches become one with it.
	from, _ := slices.BinarySearchFunc(s.runs, first, func(r run, at int64) int { return compare(r.end, at) })
	to := from
	for to < len(s.runs) && s.runs[to].first <= end {
		first, end = min(first, s.runs[to].first), max(end, s.runs[to].end)
		to++
	}
	if to == from+1 {
		s.runs[from] = run{first, end}
		return
	}
	s.runs = slices.Replace(s.runs, from, to, run{first, end})
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Has reports whether an offset is in the set.
func (s Set) Has(offset int64) bool {
	i, found := slices.BinarySearchFunc(s.runs, offset, func(r run, at int64) int {
		switch {
		case at < r.first:
			return 1
		case at >= r.end:
			return -1
		}
		return 0
	})
	return found && i < len(s.runs)
}

// Len is how many offsets there are.
func (s Set) Len() (n int64) {
	for _, r := range s.runs {
		n += r.end - r.first
	}
	return n
}

// Empty reports whether there is none.
func (s Set) Empty() bool { return len(s.runs) == 0 }

// First is the lowest offset, and End the highest plus one; 0 if there is none.
func (s Set) First() int64 {
	if s.Empty() {
		return 0
	}
	return s.runs[0].first
}

// End is the highest offset plus one, 0 if there is none.
func (s Set) End() int64 {
	if s.Empty() {
		return 0
	}
	return s.runs[len(s.runs)-1].end
}

// Within is the part of the set from first to end−1.
func (s Set) Within(first, end int64) (part Set) {
	for _, r := range s.runs {
		part.AddRun(max(r.first, first), min(r.end, end))
	}
	return part
}

// Join adds all of another set.
func (s *Set) Join(other Set) {
	for _, r := range other.runs {
		s.AddRun(r.first, r.end)
	}
}

// Without is the set less another one.
func (s Set) Without(other Set) (rest Set) {
	i := 0
	for _, r := range s.runs {
		at := r.first
		for i < len(other.runs) && other.runs[i].end <= at {
			i++
		}
		for k := i; k < len(other.runs) && other.runs[k].first < r.end; k++ {
			rest.AddRun(at, other.runs[k].first)
			at = max(at, other.runs[k].end)
		}
		rest.AddRun(at, r.end)
	}
	return rest
}

// Runs gives the runs in order, each from its first offset to its last plus one.
func (s Set) Runs() iter.Seq2[int64, int64] {
	return func(yield func(first, end int64) bool) {
		for _, r := range s.runs {
			if !yield(r.first, r.end) {
				return
			}
		}
	}
}

// Encode gives the set as bytes, in pieces of at most limit bytes each, which is at least
// 32; Decode reads each of them. A piece is a varint for each gap and each run, in turns.
func (s Set) Encode(limit int) (pieces [][]byte) {
	var piece []byte
	last := int64(0)
	for _, r := range s.runs {
		if len(piece)+2*binary.MaxVarintLen64 > limit {
			pieces, piece, last = append(pieces, piece), nil, 0
		}
		piece = binary.AppendUvarint(piece, uint64(r.first-last))
		piece = binary.AppendUvarint(piece, uint64(r.end-r.first))
		last = r.end
	}
	if piece != nil {
		pieces = append(pieces, piece)
	}
	return pieces
}

// errOffsets is what is wrong with bytes that are no set.
var errOffsets = errors.New("no set of offsets")

// Decode reads a piece that Encode wrote. A piece takes no more memory than eight times its
// size.
func Decode(piece []byte) (s Set, err error) {
	for at := int64(0); len(piece) > 0; {
		var gap, n uint64
		if gap, piece, err = uvarint(piece); err != nil {
			return Set{}, err
		}
		if n, piece, err = uvarint(piece); err != nil {
			return Set{}, err
		}
		const most = 1<<63 - 1
		if gap > most-uint64(at) || n == 0 || n > most-uint64(at)-gap {
			return Set{}, fmt.Errorf("%w: a run of %d after %d more", errOffsets, n, gap)
		}
		first := at + int64(gap)
		at = first + int64(n)
		s.AddRun(first, at)
	}
	return s, nil
}

func uvarint(b []byte) (v uint64, rest []byte, err error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, fmt.Errorf("%w: it ends in the middle of a number", errOffsets)
	}
	return v, b[n:], nil
}
