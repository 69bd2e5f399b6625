package ledger

import (
	"iter"
	"math/bits"
)

// Run is how many offsets, one after the other, are alike.
type Run struct {
	Finished bool
	N        int64
}

// Runs gives what is finished and what is not, from the watermark to the highest
// finished record, in runs that alternate and begin with an unfinished one. It is
// empty when nothing above the watermark is finished. Offsets that no record has
// count as finished.
func (l *Ledger) Runs() iter.Seq[Run] {
	return func(yield func(Run) bool) {
		var open, done int64 // the pair that is being counted
		last := l.Watermark()
		for at, r := l.head, l.first; at < l.tail; {
			for r+1 < len(l.runs) && l.runs[r+1].seq <= at {
				r++
			}
			end := l.tail
			if r+1 < len(l.runs) {
				end = l.runs[r+1].seq
			}
			offset := l.runs[r].offset + int64(at-l.runs[r].seq)
			if offset > last { // nothing was between
				done += offset - last
			}
			finished, n := l.alike(at, end)
			if !finished && done > 0 {
				if !yield(Run{N: open}) || !yield(Run{Finished: true, N: done}) {
					return
				}
				open, done = 0, 0
			}
			if finished {
				done += int64(n)
			} else {
				open += int64(n)
			}
			at, last = at+n, offset+int64(n)
		}
		if done > 0 && yield(Run{N: open}) {
			yield(Run{Finished: true, N: done})
		}
	}
}

// alike counts the records from at on, below end, that are finished if at is, or
// are not if it is not.
func (l *Ledger) alike(at, end uint64) (finished bool, n uint64) {
	word, _, _ := l.bits(at, end)
	finished = *word>>(at%64)&1 == 1
	for at < end {
		word, mask, count := l.bits(at, end)
		differ := *word & mask
		if finished {
			differ = mask &^ *word
		}
		if differ != 0 {
			return finished, n + uint64(bits.TrailingZeros64(differ)) - at%64
		}
		at, n = at+count, n+count
	}
	return finished, n
}

// Restore returns the account of a partition that is taken over: from the
// watermark on it is as runs say, and its records are still to be read.
func Restore(watermark int64, runs []Run) *Ledger {
	l := New(watermark)
	for _, r := range runs {
		for n := r.N; n > 0; {
			part := min(n, 1<<30)
			seq, _ := l.Add(l.frontier, int(part))
			if r.Finished {
				l.Finish(seq, int(part))
			}
			n -= part
		}
	}
	return l
}

// Find returns the sequence number of a record below the frontier that was
// restored; open is false if there is nothing left to do for it. It may only be
// asked while reading has not passed what was restored.
func (l *Ledger) Find(offset int64) (seq uint64, open bool) {
	if offset < l.Watermark() || offset >= l.frontier {
		return 0, false
	}
	r := l.runs[l.first]
	seq = r.seq + uint64(offset-r.offset)
	word, _, _ := l.bits(seq, seq+1)
	return seq, *word>>(seq%64)&1 == 0
}
