package consumer

import "github.com/twmb/franz-go/pkg/kgo"

// queue is what waits in a lane: slices of records as they were polled, with
// their places in the ledger. Nothing is copied, neither when a slice comes nor
// when a worker takes from it. The zero value is empty.
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

// front appends the first n records to to, in as many pieces as they are in. The
// pieces stay as they are, whatever happens to the queue.
func (q *queue) front(to [][]*kgo.Record, n int) [][]*kgo.Record {
	for i := q.first; n > 0; i++ {
		piece := q.slices[i].records
		piece = piece[:min(n, len(piece))]
		to = append(to, piece)
		n -= len(piece)
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
		q.n -= len(taken.records)
		return taken
	}
	share := s.bytes * int64(n) / int64(len(s.records))
	taken := slice{records: s.records[:n:n], seq: s.seq, bytes: share}
	s.records, s.seq, s.bytes = s.records[n:], s.seq+uint64(n), s.bytes-share
	q.n -= n
	return taken
}

// putBack puts slices, in their order, in front of the others.
func (q *queue) putBack(slices []slice) {
	if len(slices) == 0 {
		return
	}
	for _, s := range slices {
		q.n += len(s.records)
	}
	q.slices = append(slices, q.slices[q.first:]...)
	q.first = 0
}
