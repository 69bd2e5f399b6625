package demo

import (
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/duplex-go/duplex"
)

// history is what was recorded while the demo ran: what became of each publish,
// and how each record ended for the groups.
type history struct {
	mu     sync.Mutex
	sent   []sending
	acked  int
	boards log
	desk   log
	// tried are the records that failed at the desk, moved those that came back
	// from a retry topic, most the attempts of the one that took most to be handled.
	tried, moved map[duplex.Position]bool
	most         int
	letters      []letter
	calls        *calls
	// generation is the boards' youngest that a handler saw. Each rebalance makes
	// one, from 1.
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

// outcome is how a record ended for a group.
type outcome uint8

// The outcomes, as a set.
const (
	handled outcome = 1 << iota
	dropped         // by the handler's decision
	dead            // read from the dead-letter queue
)

// log are the endings of one group, in their order.
type log struct {
	endings  []ending
	finished map[duplex.Position]bool
}

// ending is one end of a record; it is named by where it was read first.
type ending struct {
	at   duplex.Position
	as   outcome
	when time.Time
}

func newHistory() *history {
	set := func() map[duplex.Position]bool { return map[duplex.Position]bool{} }
	return &history{boards: log{finished: set()}, desk: log{finished: set()}, tried: set(), moved: set(), calls: newCalls()}
}

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

// ended notes the end of a record in one of the logs.
func (h *history) ended(l *log, as outcome, at duplex.Position) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	l.endings = append(l.endings, ending{at: at, as: as, when: now})
	l.finished[at] = true
}

// saw notes a generation of the boards' group.
func (h *history) saw(generation int32) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.generation = max(h.generation, generation)
}

// failed notes that a record failed at the desk.
func (h *history) failed(at duplex.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tried[at] = true
}

// retried notes that a record came to the desk out of a retry topic.
func (h *history) retried(at duplex.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.moved[at] = true
}

// took notes with how many attempts the desk handled a record.
func (h *history) took(attempts int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.most = max(h.most, attempts)
}

// died notes a dead letter of the desk.
func (h *history) died(l letter) {
	h.ended(&h.desk, dead, l.at)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.letters = append(h.letters, l)
}

// waiting counts the records that failed at the desk and have no end yet.
func (h *history) waiting() (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for at := range h.tried {
		if !h.desk.finished[at] {
			n++
		}
	}
	return n
}

// buried counts the dead letters.
func (h *history) buried() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.letters)
}

// recovered counts the records that the desk handled out of a retry topic, and gives
// the attempts of the one that took most.
func (h *history) recovered() (n, attempts int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.moved) - len(h.unrecovered()), h.most
}

// unrecovered are the records that came out of a retry topic and were not handled.
// The mutex is held.
func (h *history) unrecovered() map[duplex.Position]bool {
	left := maps.Clone(h.moved)
	for _, e := range h.desk.endings {
		if e.as == handled {
			delete(left, e.at)
		}
	}
	return left
}

// progress counts the records that were acknowledged, those that ended for each of
// the groups, and the boards' runs that were one too many.
func (h *history) progress() (acked, boards, desk, repeated int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.acked, len(h.boards.finished), len(h.desk.finished), len(h.boards.endings) - len(h.boards.finished)
}

// acknowledged gives the places in the input of what was published.
func (h *history) acknowledged() (places []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range h.sent {
		if !h.sent[i].ended.IsZero() && h.sent[i].err == nil {
			places = append(places, i)
		}
	}
	return places
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
	for _, e := range h.boards.first() {
		place, known := places[e.at]
		if !known {
			continue // its publish was not acknowledged: nothing was promised
		}
		if key := h.sent[place].key; !troubled(key) {
			endToEnd.record(e.when.Sub(h.sent[place].due))
		}
	}
	s.OutOfOrder = h.outOfOrder(places)
	boards, desk := h.boards.tally(places), h.desk.tally(places)
	s.BoardsHandled, s.Handled, s.Dropped, s.Dead = boards.handled, desk.handled, desk.dropped, desk.dead
	s.Lost, s.Duplicated = boards.lost+desk.lost, boards.twice+desk.twice
	s.Retried = len(h.moved)
	s.Recovered = s.Retried - len(h.unrecovered())
	s.Rebalances = int(h.generation)
	s.PublishedPerSecond, s.HandledPerSecond = h.rates(s.Published, s.BoardsHandled)
	s.PublishP50, s.PublishP99 = publish.at(50), publish.at(99)
	s.EndToEndP50, s.EndToEndP99 = endToEnd.at(50), endToEnd.at(99)
	h.calls.check(&s)
	return s
}

// first are the first endings of each record.
func (l *log) first() (first []ending) {
	seen := make(map[duplex.Position]bool, len(l.endings))
	for _, e := range l.endings {
		if !seen[e.at] {
			seen[e.at] = true
			first = append(first, e)
		}
	}
	return first
}

// disorder counts the records that came to the board after a later one of their
// key.
func (h *history) disorder() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.outOfOrder(h.places())
}

// outOfOrder is disorder among the records of given places. The mutex is held.
func (h *history) outOfOrder(places map[duplex.Position]int) (n int) {
	newest := map[string]int{} // by key: the place in the input of the last one
	for _, e := range h.boards.first() {
		place, known := places[e.at]
		if !known {
			continue
		}
		key := h.sent[place].key
		if before, later := newest[key]; later && place < before {
			n++
			continue
		}
		newest[key] = place
	}
	return n
}

// tally is what became of the acknowledged records in one group: each counts once
// for every way in which it ended. Lost are those that did not end, twice counts
// the endings too many.
type tally struct{ handled, dropped, dead, lost, twice int }

func (l *log) tally(places map[duplex.Position]int) (t tally) {
	seen := make(map[duplex.Position]outcome, len(places))
	for _, e := range l.endings {
		before := seen[e.at]
		seen[e.at] |= e.as
		if before != 0 {
			t.twice++
		}
	}
	for at := range places {
		as := seen[at]
		if as == 0 {
			t.lost++
		}
		for _, of := range []struct {
			as outcome
			n  *int
		}{{handled, &t.handled}, {dropped, &t.dropped}, {dead, &t.dead}} {
			if as&of.as != 0 {
				*of.n++
			}
		}
	}
	return t
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
	if n := len(h.boards.endings); n > 0 {
		handledPerSecond = perSecond(handled, h.boards.endings[n-1].when)
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
