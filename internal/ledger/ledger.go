// Package ledger keeps the account of one assignment of a partition: which of
// the records that were read are finished, and so up to where the group may
// commit.
//
//	offsets   … 7   8   9  11  12  13 │ 14 …       (10 was compacted away)
//	            ✓   ✓   ·   ✓   ·   ✓  │
//	                    ▲               ▲
//	                    watermark = 9   frontier = 14
package ledger

import "math/bits"

// Ledger is the account. Offsets are added in the order they are read and
// finished in any order. It takes a bit for each record, and two words for each
// gap between offsets. It is not safe for concurrent use.
type Ledger struct {
	frontier int64
	// Records have sequence numbers; those in [head, tail) are in the account.
	// Below head everything is finished.
	head, tail uint64
	unfinished int
	// done is a ring of bits, indexed by sequence numbers modulo its size, a
	// power of two of words.
	done []uint64
	// runs tell offsets from sequence numbers: from each one's on, both count up
	// by one, until the next begins. runs[first] is that of head.
	runs  []run
	first int
}

type run struct {
	seq    uint64
	offset int64
}

// keptRuns is how many runs an account without records keeps room for.
const keptRuns = 256

// New returns the account of a partition that is read from start on.
func New(start int64) *Ledger { return &Ledger{frontier: start} }

// Add enters the next n records that were read, whose offsets follow each other
// from the given one on, and returns the sequence number of the first. Gaps
// between calls are fine: what compaction or a transaction took away is finished
// by definition. An offset behind the frontier is not entered, and ok is false.
func (l *Ledger) Add(offset int64, n int) (seq uint64, ok bool) {
	if offset < l.frontier {
		return 0, false
	}
	for l.tail-l.head+uint64(n) > l.size() {
		l.grow()
	}
	seq = l.tail
	if l.head == l.tail {
		l.empty()
	}
	if k := len(l.runs); k == l.first || l.runs[k-1].offset+int64(seq-l.runs[k-1].seq) != offset {
		if l.first > keptRuns && l.first > k/2 { // mostly behind head
			l.runs, l.first = l.runs[:copy(l.runs, l.runs[l.first:])], 0
		}
		l.runs = append(l.runs, run{seq, offset})
	}
	l.tail += uint64(n)
	for at := seq; at < l.tail; {
		word, mask, count := l.bits(at, l.tail)
		*word &^= mask
		at += count
	}
	l.unfinished += n
	l.frontier = offset + int64(n)
	return seq, true
}

// Skip moves the frontier to offset without a record: nothing below it is left
// to read. It never moves back.
func (l *Ledger) Skip(offset int64) { l.frontier = max(l.frontier, offset) }

// Finish marks n records as finished, those with this sequence number and the
// following ones. Doing it twice changes nothing.
func (l *Ledger) Finish(seq uint64, n int) {
	for at, end := max(seq, l.head), min(seq+uint64(n), l.tail); at < end; {
		word, mask, count := l.bits(at, end)
		l.unfinished -= bits.OnesCount64(mask &^ *word)
		*word |= mask
		at += count
	}
	for l.head < l.tail {
		word, mask, count := l.bits(l.head, l.tail)
		if open := mask &^ *word; open != 0 {
			l.head += uint64(bits.TrailingZeros64(open)) - l.head%64
			break
		}
		l.head += count
	}
	for l.first+1 < len(l.runs) && l.runs[l.first+1].seq <= l.head {
		l.first++
	}
}

// Watermark is the offset below which everything is finished: what the group
// may commit.
func (l *Ledger) Watermark() int64 {
	if l.head == l.tail {
		return l.frontier
	}
	r := l.runs[l.first]
	return r.offset + int64(l.head-r.seq)
}

// Frontier is the offset below which everything was read.
func (l *Ledger) Frontier() int64 { return l.frontier }

// Unfinished counts the records that were added and not finished.
func (l *Ledger) Unfinished() int { return l.unfinished }

func (l *Ledger) size() uint64 { return uint64(len(l.done)) * 64 }

// bits returns the word that has seq's bit, and a mask of count bits: those of
// seq and of the ones below end that are in the same word.
func (l *Ledger) bits(seq, end uint64) (word *uint64, mask, count uint64) {
	at := seq % 64
	count = min(64-at, end-seq)
	return &l.done[seq/64&uint64(len(l.done)-1)], ^uint64(0) >> (64 - count) << at, count
}

// empty forgets the runs of an account without records.
func (l *Ledger) empty() {
	if cap(l.runs) > keptRuns {
		l.runs = nil
	}
	l.runs, l.first = l.runs[:0], 0
}

func (l *Ledger) grow() {
	old := *l
	l.done = make([]uint64, max(1, 2*len(old.done)))
	for seq := l.head; seq < l.tail; {
		from, mask, count := old.bits(seq, l.tail)
		to, _, _ := l.bits(seq, l.tail)
		*to |= *from & mask
		seq += count
	}
	l.runs, l.first = append([]run(nil), l.runs[l.first:]...), 0
}
