package consumer

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/commitmeta"
	"github.com/duplex-go/duplex/internal/failure"
)

// What stands beside a committed offset lets the next owner of a partition go on
// as if it had been there: what is finished above the watermark is read again and
// not run again, and a record that failed keeps its attempts and waits for the rest
// of its time. See docs/wire-format.md.

// meta is what to write beside the watermark. The mutex is held.
func (a *assignment) meta() commitmeta.Meta {
	m := commitmeta.Meta{Partitions: a.origin, Runs: slices.Collect(a.ledger.Runs()), Clean: a.clean()}
	for l := a.lanes.first; l != nil; l = l.next {
		if !l.failed() {
			continue
		}
		if l.publish != nil {
			m.Heads = appendHop(m.Heads, l.head, l.attempt-1, l.publish)
			continue
		}
		for i := range int(l.together) {
			m.Heads = append(m.Heads, commitmeta.Head{Offset: l.at(i).record.Offset, Attempt: int(l.attempt) - 1, Due: milli(l.due)})
		}
	}
	for f := a.flights.first; f != nil && len(m.Heads) < maxWaiting; f = f.next {
		if f.cause != nil {
			m.Heads = appendHop(m.Heads, f.item, f.attempt, f.hop)
		}
	}
	m.Heads = append(m.Heads, a.heads...) // they are still to be run again
	slices.SortFunc(m.Heads, func(a, b commitmeta.Head) int { return cmp.Compare(a.Offset, b.Offset) })
	return m
}

// clean reports whether nothing has begun that is not finished, and nothing will begin
// any more. It is of use for sources that Answer only: where the next owner reads it,
// or that nothing was ever committed, none of their handlers starts before a commit is
// acknowledged that says otherwise, or the owner after that one would take what began
// until the first commit for what never did.
func (a *assignment) clean() bool {
	return a.handler.answers && a.halts.Load()&haltEnding != 0 && !a.busy() && !a.gaveUp && a.after == nil && a.begun <= a.ledger.Watermark()
}

// appendHop appends what the next owner has to know of a record that failed in so many
// attempts, and is on its way to another topic. If that does not happen, one that is to
// run again waits until then all the same. One that is to be dead fails once more, in
// the attempt that was its last: so that it is not tried more often than it may be, and
// its letters are alike if there are two.
func appendHop(heads []commitmeta.Head, it item, attempts int32, h *failure.Hop) []commitmeta.Head {
	head := commitmeta.Head{Offset: it.record.Offset, Attempt: int(attempts)}
	switch {
	case h.Kind == failure.HopDead:
		head.Attempt--
	case !h.Due.IsZero():
		head.Due = milli(h.Due.UnixNano())
	}
	return append(heads, head)
}

// milli rounds up: nothing runs early with the next owner.
func milli(ns int64) int64 { return (ns + int64(time.Millisecond) - 1) / int64(time.Millisecond) }

// reload takes the records off that a former owner had read, and puts those it had
// not finished into the queue. The mutex is held.
func (a *assignment) reload(records []*kgo.Record) []*kgo.Record {
	for len(records) > 0 {
		first, frontier := records[0], a.ledger.Frontier()
		a.passed(min(first.Offset, frontier))
		if first.Offset >= frontier {
			return records
		}
		seq, open := a.ledger.Find(first.Offset)
		a.read, records = first.Offset+1, records[1:]
		if open {
			a.again(first, seq)
		}
	}
	return nil
}

// again has a record run that its former owner had not finished.
func (a *assignment) again(r *kgo.Record, seq uint64) {
	if r.Attrs.IsControl() {
		a.ledger.Finish(seq, 1)
		return
	}
	a.enqueue(slice{records: []*kgo.Record{r}, seq: seq, bytes: recordSize(r)})
}

// passed notes that no record below offset will come any more: what is not there
// now was compacted away meanwhile, and is finished by definition.
func (a *assignment) passed(offset int64) {
	for ; a.read < offset; a.read++ {
		if seq, open := a.ledger.Find(a.read); open {
			a.ledger.Finish(seq, 1)
		}
	}
}

// maxDue is the last millisecond that counts in nanoseconds, in the year 2262.
const maxDue = math.MaxInt64 / int64(time.Millisecond)

var errFormerOwner = errors.New("it failed while another member had the partition")

// headOf returns what is known of a record that is taken from the queue and failed
// with a former owner; ok is false if it did not. The mutex is held.
func (a *assignment) headOf(r *kgo.Record) (h commitmeta.Head, ok bool) {
	for len(a.heads) > 0 && a.heads[0].Offset < r.Offset {
		a.heads = a.heads[1:] // it was compacted away
	}
	if len(a.heads) == 0 || a.heads[0].Offset != r.Offset {
		return commitmeta.Head{}, false
	}
	h, a.heads = a.heads[0], a.heads[1:]
	return h, true
}

// resume has a new lane wait as its head did with the former owner.
func (a *assignment) resume(l *lane, h commitmeta.Head) {
	l.attempt, l.due, l.lastErr = int32(min(h.Attempt, math.MaxInt32-1)+1), min(h.Due, maxDue)*int64(time.Millisecond), errFormerOwner
	for a.ordering == ByPartition && a.mayJoin(l) && a.queue.len() > 0 && a.sameHead(a.queue.head(), h) {
		a.heads = a.heads[1:]
		l.push(a.queue.popOne())
		l.together++
	}
	a.putOff(l)
}

// mayJoin reports whether one more record may run together with the head of a lane.
func (a *assignment) mayJoin(l *lane) bool {
	return a.handler.batch != nil && int(l.together) < a.engine.cfg.MaxBatch
}

func (a *assignment) sameHead(r *kgo.Record, h commitmeta.Head) bool {
	return len(a.heads) > 0 && a.heads[0].Offset == r.Offset && a.heads[0].Attempt == h.Attempt
}

// joinHead is called when the last record of a lane failed with the former owner:
// it runs together with those that failed with it. If it does not stand at the
// head, it begins anew.
func (a *assignment) joinHead(l *lane, h commitmeta.Head) {
	if a.mayJoin(l) && l.state == laneWaiting && int(l.together) == l.len()-1 && int(l.attempt) == h.Attempt+1 {
		l.together++
	}
}
