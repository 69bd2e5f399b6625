package demo

import (
	"errors"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/duplex-go/duplex"
)

// history is what was recorded while the demo ran: what became of each publish,
// and each run of a handler.
type history struct {
	mu       sync.Mutex
	sent     []sending
	acked    int
	runs     []handling
	finished map[duplex.Position]bool
	// generation is the group's youngest that a handler saw. Each rebalance
	// makes one, from 1.
	generation int32
}

// sending is one publish. Its place in history.sent is its place in the input.
type sending struct {
	key   string
	due   time.Time // when it was to be published; latency counts from here
	ended time.Time // when its result came; zero before
	at    duplex.Position
	err   error
}

// handling is one run of a handler that ended without an error, in the order of
// their ends.
type handling struct {
	at    duplex.Position
	ended time.Time
}

func newHistory() *history { return &history{finished: map[duplex.Position]bool{}} }

// begin notes a publish and returns what to do with its result.
func (h *history) begin(key string, due time.Time) func(duplex.Position, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	place := len(h.sent)
	h.sent = append(h.sent, sending{key: key, due: due})
	return func(at duplex.Position, err error) {
		now := time.Now()
		h.mu.Lock()
		defer h.mu.Unlock()
		s := &h.sent[place]
		s.ended, s.at, s.err = now, at, err
		if err == nil {
			h.acked++
		}
	}
}

// handled notes a run.
func (h *history) handled(at duplex.Position, generation int32) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.runs = append(h.runs, handling{at: at, ended: now})
	h.finished[at] = true
	h.generation = max(h.generation, generation)
}

// progress counts the records that were acknowledged, those that were handled,
// and the runs that were one too many.
func (h *history) progress() (acked, handled, repeated int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.acked, len(h.finished), len(h.runs) - len(h.finished)
}

// publishedOf gives the departures of the input that were acknowledged.
func (h *history) publishedOf(input []Departure) []Departure {
	h.mu.Lock()
	defer h.mu.Unlock()
	var published []Departure
	for i := range h.sent {
		if !h.sent[i].ended.IsZero() && h.sent[i].err == nil {
			published = append(published, input[i])
		}
	}
	return published
}

// places are those of acknowledged records in the input. The mutex is held.
func (h *history) places() map[duplex.Position]int {
	places := make(map[duplex.Position]int, len(h.sent))
	for i := range h.sent {
		if s := &h.sent[i]; !s.ended.IsZero() && s.err == nil {
			places[s.at] = i
		}
	}
	return places
}

// check computes the summary's counts and latencies from what was recorded.
func (h *history) check() Summary {
	h.mu.Lock()
	defer h.mu.Unlock()
	var s Summary
	publish, endToEnd := newLatency(), newLatency()
	places := h.places()
	for i := range h.sent {
		switch one := &h.sent[i]; {
		case one.ended.IsZero(), errors.Is(one.err, duplex.ErrOutcomeUnknown):
			s.Unknown++
		case one.err != nil:
			s.Failed++
		default:
			s.Published++
			publish.record(one.ended.Sub(one.due))
		}
	}
	seen := make(map[duplex.Position]bool, len(h.runs))
	newest := map[string]int{} // by key: the place in the input of the last one handled
	for _, run := range h.runs {
		if seen[run.at] {
			s.Duplicated++
			continue
		}
		seen[run.at] = true
		place, known := places[run.at]
		if !known {
			continue // its publish was not acknowledged: nothing was promised
		}
		s.Handled++
		key := h.sent[place].key
		if !troubled(key) {
			endToEnd.record(run.ended.Sub(h.sent[place].due))
		}
		if before, later := newest[key]; later && place < before {
			s.OutOfOrder++
			continue
		}
		newest[key] = place
	}
	s.Lost = s.Published - s.Handled
	s.Rebalances = int(h.generation)
	s.PublishedPerSecond, s.HandledPerSecond = h.rates(s.Published, s.Handled)
	s.PublishP50, s.PublishP99 = publish.at(50), publish.at(99)
	s.EndToEndP50, s.EndToEndP99 = endToEnd.at(50), endToEnd.at(99)
	return s
}

// rates counts per second from the first publish, to the last acknowledgement and
// to the last run.
func (h *history) rates(published, handled int) (publishedPerSecond, handledPerSecond float64) {
	if len(h.sent) == 0 {
		return 0, 0
	}
	began := h.sent[0].due
	var acked time.Time
	for i := range h.sent {
		if h.sent[i].err == nil && h.sent[i].ended.After(acked) {
			acked = h.sent[i].ended
		}
	}
	perSecond := func(n int, until time.Time) float64 {
		return float64(n) / max(until.Sub(began).Seconds(), 0.001)
	}
	if len(h.runs) > 0 {
		handledPerSecond = perSecond(handled, h.runs[len(h.runs)-1].ended)
	}
	return perSecond(published, acked), handledPerSecond
}

// latency collects durations.
type latency struct{ histogram *hdrhistogram.Histogram }

func newLatency() latency {
	return latency{hdrhistogram.New(1, int64(10*time.Minute/time.Microsecond), 3)}
}

func (l latency) record(d time.Duration) {
	_ = l.histogram.RecordValue(min(max(d.Microseconds(), 1), l.histogram.HighestTrackableValue())) // within bounds
}

// at is the duration in milliseconds that so many percent were within.
func (l latency) at(percent float64) float64 {
	return float64(l.histogram.ValueAtPercentile(percent)) / 1000
}
