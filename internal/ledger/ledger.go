// Package ledger keeps the account of one assignment of a partition: which of
// the records that were read are finished, and so up to where the group may
// commit.
//
//	offsets   … 7   8   9  11  12  13 │ 14 …       (10 was compacted away)
//	            ✓   ✓   ·   ✓   ·   ✓  │
//	                    ▲               ▲
//	                    watermark = 9   frontier = 14
package ledger

// Ledger is the account. Offsets are added in the order they are read and
// finished in any order. It is not safe for concurrent use.
type Ledger struct {
	frontier int64
	// offsets and done are rings, indexed by the sequence number that Add gave,
	// modulo their size, a power of two. Entries live in [head, tail).
	offsets    []int64
	done       []uint64 // one bit each
	head, tail uint64
	unfinished int
}

const smallest = 64 // entries: one word of done

// New returns the account of a partition that is read from start on.
func New(start int64) *Ledger { return &Ledger{frontier: start} }

// Add enters the next record that was read and returns its sequence number.
// Gaps are fine: what compaction or a transaction took away is finished by
// definition. An offset behind the frontier is not entered, and ok is false.
func (l *Ledger) Add(offset int64) (seq uint64, ok bool) {
	if offset < l.frontier {
		return 0, false
	}
	if l.tail-l.head == uint64(len(l.offsets)) {
		l.grow()
	}
	seq = l.tail
	at := seq & uint64(len(l.offsets)-1)
	l.offsets[at] = offset
	l.done[at/64] &^= 1 << (at % 64)
	l.tail++
	l.unfinished++
	l.frontier = offset + 1
	return seq, true
}

// Skip moves the frontier to offset without a record: nothing below it is left
// to read. It never moves back.
func (l *Ledger) Skip(offset int64) { l.frontier = max(l.frontier, offset) }

// Finish marks the record with this sequence number as finished. Doing it twice
// changes nothing.
func (l *Ledger) Finish(seq uint64) {
	if seq < l.head || seq >= l.tail {
		return
	}
	mask := uint64(len(l.offsets) - 1)
	at := seq & mask
	word, bit := &l.done[at/64], uint64(1)<<(at%64)
	if *word&bit != 0 {
		return
	}
	*word |= bit
	l.unfinished--
	for l.head < l.tail {
		at = l.head & mask
		if l.done[at/64]&(1<<(at%64)) == 0 {
			return
		}
		l.head++
	}
}

// Watermark is the offset below which everything is finished: what the group
// may commit.
func (l *Ledger) Watermark() int64 {
	if l.head == l.tail {
		return l.frontier
	}
	return l.offsets[l.head&uint64(len(l.offsets)-1)]
}

// Frontier is the offset below which everything was read.
func (l *Ledger) Frontier() int64 { return l.frontier }

// Unfinished counts the records that were added and not finished.
func (l *Ledger) Unfinished() int { return l.unfinished }

func (l *Ledger) grow() {
	size := max(smallest, 2*len(l.offsets))
	offsets, done := make([]int64, size), make([]uint64, size/64)
	for seq := l.head; seq < l.tail; seq++ {
		from, to := seq&uint64(len(l.offsets)-1), seq&uint64(size-1)
		offsets[to] = l.offsets[from]
		if l.done[from/64]&(1<<(from%64)) != 0 {
			done[to/64] |= 1 << (to % 64)
		}
	}
	l.offsets, l.done = offsets, done
}
