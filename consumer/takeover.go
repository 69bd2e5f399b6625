package consumer

import (
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/commitmeta"
)

// What stands beside a committed offset lets the next owner of a partition go on
// as if it had been there: what is finished above the watermark is read again and
// not run again, and a record that failed keeps its attempts and waits for the rest
// of its time. See docs/wire-format.md.

// meta is what to write beside the watermark. The mutex is held.
func (a *assignment) meta() commitmeta.Meta {
	m := commitmeta.Meta{Partitions: a.origin, Runs: slices.Collect(a.ledger.Runs())}
	l := &a.lane
	for _, piece := range l.queue.front(nil, min(l.retry, l.queue.len())) {
		for _, r := range piece {
			m.Heads = append(m.Heads, commitmeta.Head{Offset: r.Offset, Attempt: l.attempt - 1, Due: unixMilli(l.due)})
		}
	}
	m.Heads = append(m.Heads, a.heads...) // they are still to be read again
	return m
}

func unixMilli(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// reload takes the records off that a former owner had read, and puts those it had
// not finished into the lane. The mutex is held.
func (a *assignment) reload(records []*kgo.Record) []*kgo.Record {
	for len(records) > 0 {
		first, frontier := records[0], a.ledger.Frontier()
		a.passed(min(first.Offset, frontier))
		var seq uint64
		open := true
		switch {
		case first.Offset < frontier:
			seq, open = a.ledger.Find(first.Offset)
		case len(a.heads) > 0 && first.Offset <= a.heads[len(a.heads)-1].Offset:
			seq, _ = a.ledger.Add(first.Offset, 1)
		default:
			a.heads = nil
			return records
		}
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
	a.resumeHead(r)
	s := slice{records: []*kgo.Record{r}, seq: seq, bytes: recordSize(r)}
	a.bytes += s.bytes
	a.lane.queue.push(s)
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

var errFormerOwner = errors.New("it failed while another member had the partition")

// resumeHead has a record that comes to stand at the head of the lane wait as it did
// with the former owner, together with those that failed with it.
func (a *assignment) resumeHead(r *kgo.Record) {
	for len(a.heads) > 0 && a.heads[0].Offset < r.Offset {
		a.heads = a.heads[1:]
	}
	if len(a.heads) == 0 || a.heads[0].Offset != r.Offset {
		return
	}
	l, h := &a.lane, a.heads[0]
	a.heads = a.heads[1:]
	if l.queue.len() != l.retry || a.turn != nil || (l.retry > 0 && l.attempt != h.Attempt+1) {
		return // it does not stand at the head: it begins anew
	}
	l.attempt = h.Attempt + 1
	due := time.Time{}
	if h.Due > 0 {
		due = time.UnixMilli(h.Due)
	}
	l.headFailed(l.retry+1, due, errFormerOwner)
}
