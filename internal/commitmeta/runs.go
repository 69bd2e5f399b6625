package commitmeta

import (
	"encoding/binary"
	"errors"

	"github.com/duplex-go/duplex/internal/ledger"
)

// Run is how many offsets, one after the other, are alike: finished, or not.
type Run = ledger.Run

// The bytes of runs are tokens, each an unsigned varint of a number of offsets
// times four plus one of these.
const (
	tokenOpen     = iota // so many are unfinished
	tokenFinished        // so many are finished
	tokenBits            // a bit for each of so many follows, the lowest first; set is unfinished
)

const (
	// longRun is from when on a run gets a token of its own whatever surrounds it:
	// that is shorter than its bits and a second header for those behind it.
	longRun = 64
	// maxSpan is how many offsets a map may cover: it bounds what foreign bytes may
	// make us allocate.
	maxSpan = 1 << 24
)

// appendRuns appends runs to b, in at most limit bytes. What does not fit is left
// out from the end: it counts as unfinished then.
func appendRuns(b []byte, runs []Run, limit int) []byte {
	limit += len(b)
	runs = within(runs, maxSpan)

	for len(runs) > 0 {
		n := 1
		if runs[0].N < longRun {
			for n < len(runs) && runs[n].N < longRun {
				n++
			}
		}
		asTokens, asBits := tokens(nil, runs[:n]), bitmap(runs[:n], limit-len(b))
		switch {
		case n > 1 && len(asBits) < len(asTokens):
			b = append(b, asBits...)
			if bitsOf(runs[:n]) > maxBits(limit-len(b)+len(asBits)) {
				return b // it was cut
			}
		case len(b)+len(asTokens) <= limit:
			b = append(b, asTokens...)
		default:
			return appendFitting(b, runs[:n], limit)
		}
		runs = runs[n:]
	}
	return b
}

// within leaves out the runs that reach beyond so many offsets: a reader refuses
// them. Gaps of compaction can be that large.
func within(runs []Run, span int64) []Run {
	for i, r := range runs {
		if span -= r.N; span < 0 {
			return runs[:i]
		}
	}
	return runs
}

func appendFitting(b []byte, runs []Run, limit int) []byte {
	for i := range runs {
		next := tokens(b, runs[i:i+1])
		if len(next) > limit {
			return b
		}
		b = next
	}
	return b
}

func tokens(b []byte, runs []Run) []byte {
	for _, r := range runs {
		kind := uint64(tokenOpen)
		if r.Finished {
			kind = tokenFinished
		}
		b = binary.AppendUvarint(b, uint64(r.N)<<2|kind)
	}
	return b
}

func bitsOf(runs []Run) (n int64) {
	for _, r := range runs {
		n += r.N
	}
	return n
}

// maxBits is how many bits fit into so many bytes, with their header.
func maxBits(size int) int64 { return int64(max(0, size-3)) * 8 } // headers are at most 3 bytes for 4 KiB

func bitmap(runs []Run, limit int) []byte {
	n := min(bitsOf(runs), maxBits(limit))
	if n == 0 {
		return nil
	}
	b := binary.AppendUvarint(nil, uint64(n)<<2|tokenBits)
	start := len(b)
	b = append(b, make([]byte, (n+7)/8)...)
	at := int64(0)
	for _, r := range runs {
		for end := min(at+r.N, n); at < end; at++ {
			if !r.Finished {
				b[start+int(at/8)] |= 1 << (at % 8)
			}
		}
	}
	return b
}

var errRuns = errors.New("commitmeta: reading the map of what is finished: cut short, or out of range")

// readRuns reads runs that alternate and end with a finished one.
func readRuns(b []byte) (runs []Run, err error) {
	total := int64(0)
	add := func(finished bool, n int64) {
		if k := len(runs); k > 0 && runs[k-1].Finished == finished {
			runs[k-1].N += n
			return
		}
		runs = append(runs, Run{Finished: finished, N: n})
	}
	for len(b) > 0 {
		token, used := binary.Uvarint(b)
		if used <= 0 || token>>2 == 0 || token>>2 > maxSpan {
			return nil, errRuns
		}
		b = b[used:]
		n, kind := int64(token>>2), token&3
		if total += n; total > maxSpan {
			return nil, errRuns
		}
		switch kind {
		case tokenOpen, tokenFinished:
			add(kind == tokenFinished, n)
		case tokenBits:
			if int64(len(b)) < (n+7)/8 {
				return nil, errRuns
			}
			for i := range n {
				add(b[i/8]>>(i%8)&1 == 0, 1)
			}
			b = b[(n+7)/8:]
		default:
			return nil, errRuns
		}
	}
	if k := len(runs); k > 0 && !runs[k-1].Finished {
		runs = runs[:k-1] // says nothing
	}
	if len(runs) == 0 {
		return nil, nil
	}
	return runs, nil
}
