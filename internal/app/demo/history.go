package demo

import (
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/dlq"
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
	// letters are the desk's, as their queue says how far they are; back are the departures
	// that came back, as they were then.
	letters map[life]dlq.State
	back    map[duplex.Position]Departure
	calls   *calls
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
	dead            // read from the dead-letter queue; a redrive begins another life
)

// log are the endings of one group, in their order.
type log struct {
	endings  []ending
	finished map[duplex.Position]bool
}

// ending is the end of one life of a record.
type ending struct {
	life
	as   outcome
	when time.Time
}

func newHistory() *history {
	set := func() map[duplex.Position]bool { return map[duplex.Position]bool{} }
	return &history{boards: log{finished: set()}, desk: log{finished: set()}, tried: set(), moved: set(), calls: newCalls(),
		letters: map[life]dlq.State{}, back: map[duplex.Position]Departure{}}
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

// ended notes the end of a life of a record in one of the logs.
func (h *history) ended(l *log, as outcome, of life) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	l.endings = append(l.endings, ending{life: of, as: as, when: now})
	l.finished[of.at] = true
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
func (h *history) died(l life) {
	h.ended(&h.desk, dead, l)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.letters[l] == "" {
		h.letters[l] = dlq.StateOpen
	}
}

// found notes how far a dead letter is, as its queue says.
func (h *history) found(l life, is dlq.State) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.letters[l] = is
}

// read reports whether the inbox has read every dead letter that was found.
func (h *history) read() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := map[life]bool{}
	for _, e := range h.desk.endings {
		seen[e.life] = seen[e.life] || e.as == dead
	}
	for l := range h.letters {
		if !seen[l] {
			return false
		}
	}
	return true
}

// cameBack notes what a record was when it came back from a redrive.
func (h *history) cameBack(at duplex.Position, as Departure) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.back[at] = as
}

// wrongEdits counts the records that came back as something else than the input has.
func (h *history) wrongEdits(input []Departure) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	places := h.places()
	for at, as := range h.back {
		if place, known := places[at]; known && input[place] != as {
			n++
		}
	}
	return n
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

// buried counts the dead letters, whatever became of them.
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
	boards, desk := h.boards.tally(places, nil), h.desk.tally(places, h.letters)
	s.Redriven, s.Open = h.redriven()
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
// for every way in which its last life ended, and for every life that was handled or
// dropped. Lost are those that did not end, also those that a redrive sent back and nobody
// saw again; twice counts the endings too many: a second one of the same life, and those of
// lives that should not have begun, since the one before was handled or dropped.
type tally struct{ handled, dropped, dead, lost, twice int }

func (l *log) tally(places map[duplex.Position]int, letters map[life]dlq.State) (t tally) {
	lives := make(map[duplex.Position][]ending, len(places))
	for _, e := range l.endings {
		lives[e.at] = append(lives[e.at], e)
	}
	for _, endings := range lives {
		t.twice += tooMany(endings)
	}
	for at := range places {
		as := becameOf(lives[at], letters)
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

// tooMany counts the endings of a record that should not be: a life has one, and none
// follows one that was handled or dropped.
func tooMany(endings []ending) (n int) {
	closed := -1 // the first life that was handled or dropped
	for _, e := range endings {
		if e.as != dead && (closed < 0 || e.generation < closed) {
			closed = e.generation
		}
	}
	seen := map[int]bool{}
	for _, e := range endings {
		if seen[e.generation] || (closed >= 0 && e.generation > closed) {
			n++
		}
		seen[e.generation] = true
	}
	return n
}

// becameOf are the ways in which a record ended: that a life before the last one is dead is
// none of them, nor that the last one is if a redrive sent it back.
func becameOf(endings []ending, letters map[life]dlq.State) (as outcome) {
	last := 0
	for _, e := range endings {
		last = max(last, e.generation)
	}
	for _, e := range endings {
		if e.as != dead || (e.generation == last && !wentBack(letters[e.life])) {
			as |= e.as
		}
	}
	return as
}

// wentBack reports whether a redrive sent a dead letter back.
func wentBack(is dlq.State) bool {
	return is == dlq.StateRedriven || is == dlq.StateHandled || is == dlq.StateDeadAgain
}

// redriven counts the dead letters that a redrive sent back, and those that are open: which
// nobody has closed, or of whose redrive nobody knows what came. The mutex is held.
func (h *history) redriven() (redriven, open int) {
	for _, is := range h.letters {
		if wentBack(is) {
			redriven++
		}
		if is == dlq.StateOpen || is == dlq.StateSelected || is == dlq.StateRedriven {
			open++
		}
	}
	return redriven, open
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
