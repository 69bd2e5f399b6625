package consumer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// flow holds fetching back while too much is loaded. kgo fetches ahead by
// itself only as far as one answer per broker, so not polling for a moment is
// enough as long as every partition has something to do: a pause would throw away
// what is fetched already (engine rules 8 and 18). When a partition has run dry
// while others stay over their share for longer than hold, these are paused, and
// the rest goes on.
type flow struct {
	client *kgo.Client
	dry    func(held time.Duration) bool // some partition has nothing loaded
	room   chan struct{}                 // capacity 1: some partition is no longer over its share

	mu      sync.Mutex
	resumes map[string][]int32
	wanted  chan struct{} // capacity 1: resumes is not empty
	paused  atomic.Int64  // how often a partition was paused
}

const (
	hold = 20 * time.Millisecond
	// chainedHold is the same for partitions of the policy's topics: for so long what
	// comes to be due there may not be read.
	chainedHold = 100 * time.Millisecond
)

func newFlow(client *kgo.Client, dry func(held time.Duration) bool) *flow {
	return &flow{client: client, dry: dry, room: make(chan struct{}, 1), wanted: make(chan struct{}, 1), resumes: map[string][]int32{}}
}

func (f *flow) roomMade() { signal(f.room) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // is signalled already
	}
}

// resume has the partition fetched again, soon and on another goroutine: the
// caller holds an assignment's mutex, under which kgo must not be called.
func (f *flow) resume(topic string, partition int32) {
	f.mu.Lock()
	f.resumes[topic] = append(f.resumes[topic], partition)
	f.mu.Unlock()
	signal(f.wanted)
}

// run resumes partitions until ctx ends.
func (f *flow) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.wanted:
		}
		f.mu.Lock()
		resumes := f.resumes
		f.resumes = map[string][]int32{}
		f.mu.Unlock()
		f.client.ResumeFetchPartitions(resumes)
	}
}

// await is called by the poller with the assignments that are over their share.
// It returns when all of them have room again, or have been paused.
func (f *flow) await(ctx context.Context, over []*assignment) {
	if over = stillOver(over); len(over) == 0 {
		return
	}
	timer := time.NewTimer(hold)
	defer timer.Stop()
	for held := hold; len(over) > 0; {
		select {
		case <-ctx.Done():
			return
		case <-f.room:
			over = stillOver(over)
		case <-timer.C:
			if f.dry(held) {
				f.pause(over)
				return
			}
			over = stillOver(over)
			timer.Reset(hold)
			held += hold
		}
	}
}

func stillOver(assignments []*assignment) []*assignment {
	kept := assignments[:0]
	for _, a := range assignments {
		a.mu.Lock()
		a.settle()
		if a.over && !a.closed {
			kept = append(kept, a)
		}
		a.mu.Unlock()
	}
	return kept
}

func (f *flow) pause(assignments []*assignment) {
	partitions := map[string][]int32{}
	for _, a := range assignments {
		partitions[a.topic] = append(partitions[a.topic], a.partition)
	}
	f.client.PauseFetchPartitions(partitions)
	for _, a := range assignments {
		f.paused.Add(1)
		a.mu.Lock()
		// Whoever relieves it from now on resumes it; if that happened already,
		// or the partition went to somebody else, it is for us to do.
		if a.over && !a.closed {
			a.paused = true
		} else {
			f.resume(a.topic, a.partition)
		}
		a.mu.Unlock()
	}
}
