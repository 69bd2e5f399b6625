package consumer

import "github.com/twmb/franz-go/pkg/kgo"

// queue is what was loaded and not yet given to a worker: slices of records as
// they were polled, with their places in the ledger. Nothing is copied, neither
// when a slice comes nor when it is taken from. The zero value is empty.
type queue struct {
	slices []slice // slices[first:] wait; none of them is empty
	first  int
	n      int // records
}

// slice is records whose sequence numbers in the ledger follow each other.
type slice struct {
	records []*kgo.Record
	seq     uint64 // of the first
	bytes   int64  // of all
}

func (q *queue) len() int { return q.n }

// head is the first record; there must be one.
func (q *queue) head() *kgo.Record { return q.slices[q.first].records[0] }

// push puts a slice at the end.
func (q *queue) push(s slice) {
	if q.first > 16 && q.first > len(q.slices)/2 { // mostly gone
		kept := copy(q.slices, q.slices[q.first:])
		clear(q.slices[kept:])
		q.slices, q.first = q.slices[:kept], 0
	}
	q.slices = append(q.slices, s)
	q.n += len(s.records)
}

// records appends all of them to to, in as many pieces as they are in. The pieces
// stay as they are, whatever happens to the queue.
func (q *queue) records(to [][]*kgo.Record) [][]*kgo.Record {
	for _, s := range q.slices[q.first:] {
		to = append(to, s.records)
	}
	return to
}

// pop takes the first records off, at most n and all from one slice.
func (q *queue) pop(n int) slice {
	s := &q.slices[q.first]
	if n >= len(s.records) {
		taken := *s
		*s = slice{} // or it would keep a whole fetch in memory
		q.first++
		if q.first == len(q.slices) {
			q.slices, q.first = q.slices[:0], 0
		}
		q.n -= len(taken.records)
		return taken
	}
	share := s.bytes * int64(n) / int64(len(s.records))
	taken := slice{records: s.records[:n:n], seq: s.seq, bytes: share}
	s.records, s.seq, s.bytes = s.records[n:], s.seq+uint64(n), s.bytes-share
	q.n -= n
	return taken
}

// popOne takes the first record off.
func (q *queue) popOne() item {
	s := q.pop(1)
	return item{record: s.records[0], seq: s.seq, bytes: s.bytes}
}

// moveTo takes the first n records off and puts them at the end of to.
func (q *queue) moveTo(to *queue, n int) {
	for n > 0 {
		s := q.pop(n)
		to.push(s)
		n -= len(s.records)
	}
}

// putBack puts what is left of other, in its order, in front; other is empty
// afterwards.
func (q *queue) putBack(other *queue) {
	if other.n == 0 {
		return
	}
	back := other.slices[other.first:]
	if q.first >= len(back) { // there is room where they came from
		q.first -= len(back)
		copy(q.slices[q.first:], back)
	} else {
		q.slices = append(append(make([]slice, 0, len(back)+len(q.slices)-q.first), back...), q.slices[q.first:]...)
		q.first = 0
	}
	q.n += other.n
	other.clear()
}

// clear forgets everything, and keeps a little room.
func (q *queue) clear() {
	clear(q.slices)
	q.slices, q.first, q.n = q.slices[:0], 0, 0
	if cap(q.slices) > 64 {
		q.slices = nil
	}
}
