package dlq

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/offsets"
)

// states are what the state topic says of the letters of a queue. What it says nothing of
// is open. It is not safe for use by several goroutines, if one of them changes it.
type states struct {
	queue   string
	queueID string // of the topic as it is now, "" if brokers have none
	// jobs are those of the queue as it is now, in their order; all are those of the state
	// topic, by ID.
	jobs []*Job
	all  map[string]*Job
	// outcomes are by the hash of their keys.
	seed     maphash.Seed
	outcomes map[uint64]Outcome
	lastSeq  int64
	// ours is the job that this process works at: it knows more of it than it has written.
	ours string
	// ignored counts the entries that are not as Duplex writes them, and say nothing of jobs.
	ignored int
}

func newStates(queue, queueID string) *states {
	return &states{queue: queue, queueID: queueID, all: map[string]*Job{}, seed: maphash.MakeSeed(), outcomes: map[uint64]Outcome{}}
}

// apply takes over an entry of the state topic. An error means that no letter's state is
// known.
func (s *states) apply(r *kgo.Record) error {
	key := string(r.Key)
	var err error
	switch {
	case strings.HasPrefix(key, outcomePrefix):
		s.applyOutcome(key, r.Value)
	case strings.HasPrefix(key, controlPrefix):
		s.applyControl(key[len(controlPrefix):], r.Value)
	case strings.HasPrefix(key, jobPrefix):
		err = s.applyJob(key[len(jobPrefix):], r.Value)
	case strings.HasPrefix(key, progressPrefix):
		err = s.applyProgress(key[len(progressPrefix):], r.Value)
	case strings.HasPrefix(key, selectionPrefix):
		err = s.applySelection(key[len(selectionPrefix):], r.Value)
	default:
		s.ignored++
	}
	if err != nil {
		return fmt.Errorf("entry %d of %s: %w", r.Offset, r.Topic, err)
	}
	return nil
}

func (s *states) applyOutcome(key string, value []byte) {
	hash := maphash.String(s.seed, key)
	if value == nil {
		delete(s.outcomes, hash)
		return
	}
	var o outcomeEntry
	if decodeEntry(value, &o, &o.Version) != nil || (o.Outcome != OutcomeHandled && o.Outcome != OutcomeDeadAgain) {
		s.ignored++
		return
	}
	before, again := s.outcomes[hash]
	if j := s.all[o.Job]; j != nil {
		if again { // a crash had it handled twice: the last time counts
			j.count(before, -1)
		}
		j.count(o.Outcome, 1)
	}
	s.outcomes[hash] = o.Outcome
}

func (s *states) applyControl(id string, value []byte) {
	var c control
	j := s.all[id]
	if j == nil || value == nil || decodeEntry(value, &c, &c.Version) != nil {
		s.ignored++
		return
	}
	j.wants = c
	j.asked++
}

func (s *states) applyJob(id string, value []byte) error {
	if value == nil {
		delete(s.all, id)
		s.jobs = slices.DeleteFunc(s.jobs, func(j *Job) bool { return j.ID == id })
		return nil
	}
	var e jobEntry
	if err := decodeEntry(value, &e, &e.Version); err != nil {
		return err
	}
	j := s.job(id)
	j.Plan, j.seq, j.Began = e.Plan, e.Seq, time.UnixMilli(e.Began)
	s.lastSeq = max(s.lastSeq, e.Seq)
	if j.Plan.Queue == s.queue && j.Plan.QueueID == s.queueID && !slices.Contains(s.jobs, j) {
		s.jobs = append(s.jobs, j)
		slices.SortStableFunc(s.jobs, func(a, b *Job) int { return int(a.seq - b.seq) })
	}
	return nil
}

// job is the one with an ID, known or not.
func (s *states) job(id string) *Job {
	if s.all[id] == nil {
		s.all[id] = &Job{
			ID: id, selected: map[int32]offsets.Set{}, copies: map[int32]offsets.Set{},
			left: map[int32]offsets.Set{}, checkpoint: map[int32]int64{},
		}
	}
	return s.all[id]
}

func (s *states) applyProgress(id string, value []byte) error {
	if value == nil || id == s.ours {
		return nil
	}
	var p progressEntry
	if err := decodeEntry(value, &p, &p.Version); err != nil {
		return err
	}
	return s.job(id).take(p)
}

func (s *states) applySelection(key string, value []byte) error {
	id, of, partition, err := parseSelectionKey(key)
	if err != nil || value == nil {
		return err
	}
	if len(value) > 0 && value[0] != stateVersion {
		return newerError(value[0])
	}
	if len(value) > maxPiece+1 {
		return fmt.Errorf("the selection has %d bytes, and at most %d are written", len(value), maxPiece+1)
	}
	set, err := offsets.Decode(value[min(1, len(value)):])
	if err != nil {
		return err
	}
	sets := s.job(id).selected
	if of == setCopies {
		sets = s.job(id).copies
	}
	all := sets[partition]
	all.Join(set)
	sets[partition] = all
	return nil
}

// of is the state of a letter: as the last job says that has it in its selection.
func (s *states) of(l *Letter) State {
	for _, j := range slices.Backward(s.jobs) {
		if j.State == JobDone && j.copies[l.Partition].Has(l.Offset) {
			return s.copied(j, l)
		}
		if !j.selected[l.Partition].Has(l.Offset) || j.left[l.Partition].Has(l.Offset) {
			continue
		}
		switch {
		case j.Plan.Kind == KindRestore:
			return s.after(l)
		case j.Plan.Kind == KindDiscard:
			return StateDiscarded
		case j.reached(l.Partition, l.Offset):
			return s.redriven(j, l)
		case !j.State.Over():
			return StateSelected
		}
	}
	return s.after(l)
}

// copied is the state of a second copy of a letter that a job had.
func (s *states) copied(j *Job, l *Letter) State {
	if j.Plan.Kind == KindRestore {
		return s.after(l)
	}
	return StateDuplicate
}

// after is the state of a letter that no job has: it may be a copy of one that came back,
// whose first is gone already.
func (s *states) after(l *Letter) State {
	if o, known := s.outcome(l.ID, l.Generation+1); known && o == OutcomeHandled {
		return StateHandled
	}
	return StateOpen
}

func (s *states) redriven(j *Job, l *Letter) State {
	o, known := s.outcome(l.ID, l.Generation+1)
	if !known && j.Plan.Edited {
		o, known = s.outcome(editedID(l.ID, j.ID), l.Generation+1)
	}
	switch {
	case !known:
		return StateRedriven
	case o == OutcomeDeadAgain:
		return StateDeadAgain
	}
	return StateHandled
}

func (s *states) outcome(id string, generation int) (Outcome, bool) {
	if len(s.outcomes) == 0 {
		return "", false
	}
	o, known := s.outcomes[maphash.String(s.seed, outcomeKey(id, generation))]
	return o, known
}

// shut are the offsets of a partition whose letters are not open.
func (s *states) shut(partition int32) (set offsets.Set) {
	for _, j := range s.jobs {
		selected := j.selected[partition].Without(j.left[partition])
		switch {
		case j.Plan.Kind == KindRestore:
			set = set.Without(selected).Without(j.copies[partition])
			continue
		case j.Plan.Kind == KindRedrive && j.State.Over():
			selected = selected.Within(0, j.checkpoint[partition])
		}
		set.Join(selected)
		if j.State == JobDone {
			set.Join(j.copies[partition])
		}
	}
	return set
}

// closed is how many of the offsets from first to end−1 have letters that are not open.
func (s *states) closed(partition int32, first, end int64) int64 {
	set := s.shut(partition)
	return set.Within(first, end).Len()
}

// taken is how many of a plan's letters are not any more what they were when it was made:
// open, or, to be restored, discarded.
func (s *states) taken(plan *Plan, selected map[int32]offsets.Set) (n int64) {
	for partition, set := range selected {
		if rest := set.Without(s.shut(partition)).Len(); plan.Kind == KindRestore {
			n += rest
		} else {
			n += set.Len() - rest
		}
	}
	return n
}

// active is the job that is not over, if there is one.
func (s *states) active() *Job {
	for _, j := range slices.Backward(s.jobs) {
		if !j.State.Over() {
			return j
		}
	}
	return nil
}

// byPlan is the job that a plan became, if it did.
func (s *states) byPlan(id string) *Job {
	for _, j := range slices.Backward(s.jobs) {
		if j.Plan.ID == id {
			return j
		}
	}
	return nil
}

// editedID is the ID of a letter that a job edited: it is another record from then on.
func editedID(id, job string) string {
	base, _, _ := strings.Cut(id, "!")
	return base + "!" + job
}

// entry is a record of the state topic.
func entry(topic, key string, value any) (*kgo.Record, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("dlq: writing %s: %w", key, err)
	}
	return &kgo.Record{Topic: topic, Key: []byte(key), Value: text}, nil
}

// selectionEntries are the records that hold a selection.
func selectionEntries(topic, job, set string, of map[int32]offsets.Set) (all []*kgo.Record) {
	for partition, letters := range of {
		for n, piece := range letters.Encode(maxPiece) {
			all = append(all, &kgo.Record{
				Topic: topic, Key: []byte(selectionKey(job, set, partition, n)), Value: append([]byte{stateVersion}, piece...),
			})
		}
	}
	return all
}

// loadStates reads what the state topic says of a queue.
func (i *Inspector) loadStates(ctx context.Context, queue string) (*states, error) {
	log, err := openStates(ctx, i.client, i.cfg.Cluster, i.log, queue)
	if err != nil {
		return nil, err
	}
	log.close()
	return log.states, nil
}
