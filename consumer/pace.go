package consumer

import "time"

// pace decides whether an assignment's records run in place or spread. It begins
// spread, changes to in place when handlers proved to be fast, and back when one
// of them is found to take its time: then the chunk that it is in is cut (see
// watch.go), and it has to prove itself for longer the next time.
type pace struct {
	inPlace bool
	fast    int // records in a row that were, more or less
	needed  int // of them to work in place
	cutAt   int64
}

const (
	// fastEnough is how long a record may take, all in all, for it to be cheaper
	// to wait for it than to give the next one to another worker.
	fastEnough = int64(5 * time.Microsecond)
	// fastRecords are needed at first, mostFast at most.
	fastRecords, mostFast = 64, 16_384
	// slowCosts is how many fast records a slow one outweighs.
	slowCosts = 8
	// forgiven is how long in place without a cut until all is as at first.
	forgiven = int64(10 * time.Second)
)

// took notes how long a record took.
func (p *pace) took(ns int64) {
	if ns >= fastEnough {
		p.fast = max(0, p.fast-slowCosts)
		return
	}
	p.fast++
	if p.fast >= max(p.needed, fastRecords) {
		p.inPlace, p.fast = true, 0
	}
}

// cut notes that a record held up those behind it.
func (p *pace) cut(now int64) {
	if now-p.cutAt > forgiven {
		p.needed = fastRecords
	} else {
		p.needed = min(2*max(p.needed, fastRecords), mostFast)
	}
	p.inPlace, p.fast, p.cutAt = false, 0, now
}
