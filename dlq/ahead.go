package dlq

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/offsets"
)

// ahead reads a queue and decodes the letters of a selection, in a goroutine of its own, so
// that they are there once the transaction before them is committed.
//
//	Kafka ──► records ──► letters ──► pieces ──► whoever publishes them
type ahead struct {
	client  *kgo.Client
	rest    map[int32]offsets.Set // selected, and not passed when it began
	decoder *decoder
	pieces  chan piece
	stop    context.CancelFunc
	ended   chan struct{}
}

// piece is some of what was read, in order.
type piece struct {
	passed []passed
	bytes  int
	failed []kgo.FetchError
}

func (p *piece) add(at passed) {
	p.passed = append(p.passed, at)
	if at.letter != nil {
		p.bytes += at.letter.Size
	}
}

func (p *piece) full() bool { return len(p.passed) >= pieceSize || p.bytes >= pieceBytes }

// passed is an offset that was read, with its letter if that is selected.
type passed struct {
	partition int32
	offset    int64
	letter    *Letter
}

const (
	// pieceSize and pieceBytes bound a piece; one letter may be larger.
	pieceSize, pieceBytes = mostAtOnce / 4, mostBytes / 4
	// mostPieces are ready at most: with the one that is being made, a transaction.
	mostPieces = 3
)

func (a *ahead) begin(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	a.pieces, a.ended, a.stop = make(chan piece, mostPieces), make(chan struct{}), stop
	go a.read(ctx)
}

func (a *ahead) end() {
	a.stop()
	<-a.ended
	a.client.Close()
}

func (a *ahead) read(ctx context.Context) {
	defer close(a.ended)
	for {
		fetches := a.client.PollFetches(ctx) // all, so that the next fetch is under way
		if ctx.Err() != nil {
			return // it was stopped, which is no failure of reading
		}
		if failed := fetches.Errors(); len(failed) > 0 {
			a.give(ctx, piece{failed: failed})
		}
		var p piece
		for records := fetches.RecordIter(); !records.Done() && ctx.Err() == nil; {
			p.add(a.decode(records.Next()))
			if p.full() || records.Done() {
				a.give(ctx, p)
				p = piece{}
			}
		}
	}
}

func (a *ahead) give(ctx context.Context, p piece) {
	select {
	case a.pieces <- p:
	case <-ctx.Done():
	}
}

func (a *ahead) decode(r *kgo.Record) passed {
	p := passed{partition: r.Partition, offset: r.Offset}
	if a.rest[r.Partition].Has(r.Offset) {
		p.letter = new(Letter)
		a.decoder.decode(p.letter, r)
	}
	return p
}
