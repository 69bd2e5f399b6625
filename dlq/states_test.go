package dlq

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"

	"github.com/duplex-go/duplex/internal/offsets"
)

// stateWorld is a queue of one partition with its state topic, and what a person would say of
// each letter who saw everything.
type stateWorld struct {
	log    []*kgo.Record // the state topic
	says   map[int64]State
	job    *Job // that is not over
	jobs   int
	chosen map[int64]bool // letters of the job
	// before is what letters of the job were before it.
	before map[int64]State
}

const (
	worldQueue   = "dlq.boards.orders"
	worldLetters = 12
)

func (w *stateWorld) write(t *rapid.T, key string, value any) {
	r, err := entry(StateTopic("boards"), key, value)
	require.NoError(t, err)
	w.append(r)
}

func (w *stateWorld) append(rs ...*kgo.Record) {
	for _, r := range rs {
		r.Offset = int64(len(w.log))
		w.log = append(w.log, r)
	}
}

// compacted is the topic as a broker may leave it: of each key, the last entry.
func (w *stateWorld) compacted() (kept []*kgo.Record) {
	last := map[string]int{}
	for i, r := range w.log {
		last[string(r.Key)] = i
	}
	for i, r := range w.log {
		if last[string(r.Key)] == i {
			kept = append(kept, r)
		}
	}
	return kept
}

// read is what a process finds that reads a topic from its beginning.
func read(t *rapid.T, log []*kgo.Record) *states {
	s := newStates(worldQueue, "id")
	for _, r := range log {
		require.NoError(t, s.apply(r))
	}
	return s
}

func worldLetter(offset int64) *Letter {
	return &Letter{Failure: Failure{ID: fmt.Sprintf("orders/0/%d@boards#AAAAAA", offset)}, Offset: offset}
}

// begin chooses some of the letters that are in the given state. It does nothing, as the others
// below, where there is nothing that it could be done to.
func (w *stateWorld) begin(t *rapid.T, kind Kind, from State) {
	if w.job != nil {
		return
	}
	var set offsets.Set
	w.chosen, w.before = map[int64]bool{}, map[int64]State{}
	for o := range int64(worldLetters) {
		if w.says[o] == from && rapid.Bool().Draw(t, "chosen") {
			set.Add(o)
			w.chosen[o], w.before[o] = true, from
		}
	}
	if set.Empty() {
		return
	}
	w.jobs++
	j := &Job{
		ID: fmt.Sprintf("j%d", w.jobs), Plan: Plan{Queue: worldQueue, QueueID: "id", Kind: kind}, State: JobRunning, seq: int64(w.jobs),
		checkpoint: map[int32]int64{}, left: map[int32]offsets.Set{}, selected: map[int32]offsets.Set{0: set},
	}
	w.write(t, jobPrefix+j.ID, jobEntry{Version: stateVersion, Seq: j.seq, Plan: j.Plan})
	w.append(selectionEntries(StateTopic("boards"), j.ID, setSelected, j.selected)...)
	if kind != KindRedrive {
		j.State, j.checkpoint[0] = JobDone, set.End()
		now := StateOpen
		if kind == KindDiscard {
			now = StateDiscarded
		}
		for o := range w.chosen {
			w.says[o] = now
		}
	} else {
		w.job = j
		for o := range w.chosen {
			w.says[o] = StateSelected
		}
	}
	w.write(t, progressPrefix+j.ID, j.progress())
}

// move publishes the next letters of the job, some of which cannot be published.
func (w *stateWorld) move(t *rapid.T) {
	if w.job == nil {
		return
	}
	end := rapid.Int64Range(w.job.checkpoint[0], worldLetters).Draw(t, "end")
	left := w.job.left[0]
	for o := w.job.checkpoint[0]; o < end; o++ {
		switch {
		case !w.chosen[o]:
		case rapid.IntRange(0, 4).Draw(t, "left") == 0:
			left.Add(o)
			w.says[o] = w.before[o]
		default:
			w.says[o] = StateRedriven
		}
	}
	w.job.left[0] = left
	w.job.checkpoint[0] = end
	w.write(t, progressPrefix+w.job.ID, w.job.progress())
}

// over ends the job: what it did not come to is what it was.
func (w *stateWorld) over(t *rapid.T) {
	if w.job == nil {
		return
	}
	w.job.State = rapid.SampledFrom([]JobState{JobDone, JobCancelled, JobAborted}).Draw(t, "state")
	for o := range w.chosen {
		if w.says[o] == StateSelected {
			w.says[o] = w.before[o]
		}
	}
	w.write(t, progressPrefix+w.job.ID, w.job.progress())
	w.job = nil
}

// outcome says what became of a redriven letter.
func (w *stateWorld) outcome(t *rapid.T) {
	o := rapid.Int64Range(0, worldLetters-1).Draw(t, "offset")
	if s := w.says[o]; s != StateRedriven && s != StateHandled && s != StateDeadAgain {
		return
	}
	what, now := OutcomeHandled, StateHandled
	if rapid.Bool().Draw(t, "dead") {
		what, now = OutcomeDeadAgain, StateDeadAgain
	}
	l := worldLetter(o)
	w.write(t, outcomeKey(l.ID, l.Generation+1), outcomeEntry{Version: stateVersion, Job: "j", Outcome: what})
	w.says[o] = now
}

// TestStatesAreWhatWasDone does things with letters at random; whoever reads the state topic
// from its beginning, compacted or not, finds each letter in the state that it is in.
func TestStatesAreWhatWasDone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		w := &stateWorld{says: map[int64]State{}}
		for o := range int64(worldLetters) {
			w.says[o] = StateOpen
		}
		t.Repeat(map[string]func(*rapid.T){
			"redrive": func(t *rapid.T) { w.begin(t, KindRedrive, StateOpen) },
			"discard": func(t *rapid.T) { w.begin(t, KindDiscard, StateOpen) },
			"restore": func(t *rapid.T) { w.begin(t, KindRestore, StateDiscarded) },
			"move":    w.move,
			"over":    w.over,
			"outcome": w.outcome,
			"": func(t *rapid.T) {
				for _, log := range [][]*kgo.Record{w.log, w.compacted()} {
					s := read(t, log)
					open := int64(0)
					for _, o := range slices.Sorted(maps.Keys(w.says)) {
						require.Equal(t, w.says[o], s.of(worldLetter(o)), "letter %d", o)
						if w.says[o] == StateOpen {
							open++
						}
					}
					require.Equal(t, worldLetters-open, s.closed(0, 0, worldLetters), "what is not open is closed")
					require.Equal(t, w.job != nil, s.active() != nil)
				}
			},
		})
	})
}

// TestSelectionsInPieces: more than one entry holds as much as one.
func TestSelectionsInPieces(t *testing.T) {
	t.Parallel()
	var set offsets.Set
	for o := int64(0); o < 1_000_000; o += 2 {
		set.Add(o)
	}
	s := newStates(worldQueue, "")
	entries := selectionEntries("x", "j1", setSelected, map[int32]offsets.Set{3: set})
	require.Greater(t, len(entries), 1)
	for _, r := range entries {
		require.LessOrEqual(t, len(r.Value), maxPiece+1)
		require.NoError(t, s.apply(r))
	}
	require.Equal(t, int64(500_000), s.all["j1"].selected[3].Len())
}

// FuzzStates: nothing that stands in a state topic crashes a reader.
func FuzzStates(f *testing.F) {
	f.Add("job/j1", []byte(`{"v":1,"seq":1,"plan":{"queue":"dlq.boards.orders"}}`))
	f.Add("progress/j1", []byte(`{"v":1,"state":"running","left":{"0":["AQE="]}}`))
	f.Add("selection/j1/selected/0/0", []byte{1, 1, 1})
	f.Add("control/j1", []byte(`{"v":1,"want":"pause"}`))
	f.Add("outcome/x/1", []byte(`{"v":1,"outcome":"handled"}`))
	f.Fuzz(func(_ *testing.T, key string, value []byte) {
		s := newStates(worldQueue, "")
		_ = s.apply(&kgo.Record{Key: []byte("job/j1"), Value: []byte(`{"v":1,"seq":1,"plan":{"queue":"dlq.boards.orders"}}`)})
		_ = s.apply(&kgo.Record{Key: []byte(key), Value: value})
		s.of(worldLetter(1))
		s.closed(0, 0, 10)
		if j := s.active(); j != nil {
			_ = j.progress()
		}
	})
}
