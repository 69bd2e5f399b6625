package dlq

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/duplex-go/duplex/internal/offsets"
)

// The state topic has one partition, so that all readers see jobs and outcomes in one
// order. Its keys:
//
//	job/<id>                                what is to be done: the plan, who, why
//	selection/<id>/<set>/<partition>/<n>    the letters of it, in pieces
//	progress/<id>                           how far it is; written with what it did
//	control/<id>                            what somebody else wants of it
//	outcome/<dlq-id>/<generation>           what became of a record, by its consumer
const (
	jobPrefix, selectionPrefix, progressPrefix = "job/", "selection/", "progress/"
	controlPrefix, outcomePrefix               = "control/", "outcome/"
	// stateVersion is that of all entries. What a later one says is not known here.
	stateVersion = 1
	// maxPiece bounds a piece of a selection, in bytes.
	maxPiece = 512 << 10
)

// Kind is what a job does with its letters.
type Kind string

// The kinds of jobs.
const (
	KindRedrive Kind = "redrive" // publishes them again
	KindDiscard Kind = "discard" // closes them
	KindRestore Kind = "restore" // opens discarded ones again
)

// JobState is how far a job is.
//
//	          ┌──► paused ──┐
//	          │      ▲      │
//	running ──┴──────┴──────┴──► done · cancelled · aborted
//	   └── its process died ──► interrupted: whoever resumes it goes on at the checkpoint
type JobState string

// The states of a job.
const (
	JobRunning     JobState = "running"
	JobPaused      JobState = "paused"
	JobInterrupted JobState = "interrupted" // as running or paused, without a sign of life
	JobDone        JobState = "done"        // all is published; outcomes may follow
	JobCancelled   JobState = "cancelled"   // by somebody; the rest is open again
	JobAborted     JobState = "aborted"     // too many failed again; the rest is open again
)

// Over reports whether nothing more is done.
func (s JobState) Over() bool { return s == JobDone || s == JobCancelled || s == JobAborted }

const (
	// heartbeatEvery is how often a job that does nothing says that it lives; it counts as
	// interrupted heartbeatStale after the last time.
	heartbeatEvery, heartbeatStale = 3 * time.Second, 15 * time.Second
)

// Job is what was, or is being, done with letters of a queue.
type Job struct {
	ID string `json:"id"`
	// Plan is what it does, without the offsets of its letters.
	Plan Plan `json:"plan"`
	// Began is when, Owner the process that works at it, or did.
	Began time.Time `json:"began"`
	Owner string    `json:"owner"`
	State JobState  `json:"state"`
	// Heartbeat is the last sign of life, Ended when it was over.
	Heartbeat time.Time `json:"heartbeat"`
	Ended     time.Time `json:"ended,omitzero"`
	// Moved counts what was published, or closed, or opened; Expired what the queue's retention
	// deleted before; Left what could not be published and is open again. Bytes are those of
	// what moved.
	Moved   int64 `json:"moved"`
	Expired int64 `json:"expired"`
	Left    int64 `json:"left"`
	Bytes   int64 `json:"bytes"`
	// Handled and DeadAgain count the outcomes, so far as they are known: Moved less both is
	// pending, or unknown where no consumer of Duplex gets it.
	Handled   int64 `json:"handled"`
	DeadAgain int64 `json:"dead_again"`
	// Why says why it was cancelled or aborted.
	Why string `json:"why,omitempty"`

	seq        int64
	selected   map[int32]offsets.Set
	copies     map[int32]offsets.Set // second copies of what is selected
	left       map[int32]offsets.Set
	checkpoint map[int32]int64
	wants      control
	asked      int // how often somebody wanted something of it
}

// unleave takes back that a letter was left: it is published after all.
func (j *Job) unleave(l *Letter) {
	if set := j.left[l.Partition]; set.Has(l.Offset) {
		j.left[l.Partition] = set.Without(offsets.Of(l.Offset, l.Offset+1))
		j.Left = sum(j.left)
	}
}

// Pending is how many records moved whose outcome is not known.
func (j *Job) Pending() int64 { return max(j.Moved-j.Handled-j.DeadAgain, 0) }

func (j *Job) count(o Outcome, n int64) {
	if o == OutcomeHandled {
		j.Handled += n
		return
	}
	j.DeadAgain += n
}

// Selected is how many letters the job is about.
func (j *Job) Selected() int64 { return j.Plan.Records }

// reached reports whether the job is done with an offset: its letter was published, or is
// closed.
func (j *Job) reached(partition int32, offset int64) bool {
	return offset < j.checkpoint[partition]
}

// jobEntry, progressEntry and control are values in the state topic.
type jobEntry struct {
	Version int   `json:"v"`
	Seq     int64 `json:"seq"`
	Began   int64 `json:"began"`
	Plan    Plan  `json:"plan"`
}

type progressEntry struct {
	Version    int                `json:"v"`
	State      JobState           `json:"state"`
	Owner      string             `json:"owner"`
	Heartbeat  int64              `json:"heartbeat"`
	Ended      int64              `json:"ended,omitempty"`
	Checkpoint map[int32]int64    `json:"checkpoint"`
	Moved      int64              `json:"moved"`
	Expired    int64              `json:"expired,omitempty"`
	Bytes      int64              `json:"bytes"`
	Left       map[int32][][]byte `json:"left,omitempty"`
	Why        string             `json:"why,omitempty"`
}

// control is what somebody wants of a job that another process works at.
type control struct {
	Version int     `json:"v"`
	Want    want    `json:"want"`
	Rate    float64 `json:"rate,omitempty"` // 0 leaves it as it is
	By      string  `json:"by"`
	Why     string  `json:"why,omitempty"`
	At      int64   `json:"at"`
}

type want string

const (
	wantRun    want = "run"
	wantPause  want = "pause"
	wantCancel want = "cancel"
)

// progress is what is written of a job.
func (j *Job) progress() progressEntry {
	p := progressEntry{
		Version: stateVersion, State: j.State, Owner: j.Owner, Heartbeat: j.Heartbeat.UnixMilli(), Checkpoint: j.checkpoint,
		Moved: j.Moved, Expired: j.Expired, Bytes: j.Bytes, Why: j.Why,
	}
	if !j.Ended.IsZero() {
		p.Ended = j.Ended.UnixMilli()
	}
	for partition, set := range j.left {
		if p.Left == nil {
			p.Left = map[int32][][]byte{}
		}
		p.Left[partition] = set.Encode(maxPiece)
	}
	return p
}

// take takes over what was written of a job.
func (j *Job) take(p progressEntry) error {
	j.left = map[int32]offsets.Set{}
	for partition, pieces := range p.Left {
		var all offsets.Set
		for _, piece := range pieces {
			set, err := offsets.Decode(piece)
			if err != nil {
				return fmt.Errorf("what was left of partition %d: %w", partition, err)
			}
			all.Join(set)
		}
		j.left[partition] = all
	}
	j.Left = sum(j.left)
	j.State, j.Owner, j.Heartbeat = p.State, p.Owner, time.UnixMilli(p.Heartbeat)
	j.Moved, j.Expired, j.Bytes, j.Why = p.Moved, p.Expired, p.Bytes, p.Why
	if j.checkpoint = p.Checkpoint; j.checkpoint == nil {
		j.checkpoint = map[int32]int64{}
	}
	if p.Ended > 0 {
		j.Ended = time.UnixMilli(p.Ended)
	}
	return nil
}

// seen is the job as it is at a time: one without a sign of life is interrupted.
func (j *Job) seen(now time.Time) *Job {
	shown := *j
	if !j.State.Over() && now.Sub(j.Heartbeat) > heartbeatStale {
		shown.State = JobInterrupted
	}
	return &shown
}

func sum(sets map[int32]offsets.Set) (n int64) {
	for _, set := range sets {
		n += set.Len()
	}
	return n
}

// newJobID is short, since people type it.
func newJobID(kind Kind) string {
	return string(kind[:1]) + strings.ToLower(rand.Text()[:9])
}

func selectionKey(job, set string, partition int32, n int) string {
	return selectionPrefix + job + "/" + set + "/" + strconv.Itoa(int(partition)) + "/" + strconv.Itoa(n)
}

// The sets of a selection.
const setSelected, setCopies = "selected", "copies"

// parseSelectionKey reads what is behind the prefix.
func parseSelectionKey(key string) (job, set string, partition int32, err error) {
	parts := strings.Split(key, "/")
	if len(parts) != 4 || (parts[1] != setSelected && parts[1] != setCopies) {
		return "", "", 0, fmt.Errorf("the key %q is none of ours", selectionPrefix+bounded(key, 80))
	}
	n, err := strconv.ParseInt(parts[2], 10, 32)
	if err != nil || n < 0 {
		return "", "", 0, fmt.Errorf("the key %q names no partition", selectionPrefix+bounded(key, 80))
	}
	return parts[0], parts[1], int32(n), nil
}

// decodeEntry reads an entry's value. One of a later version is refused.
func decodeEntry(value []byte, into any, version *int) error {
	if err := json.Unmarshal(value, into); err != nil {
		return fmt.Errorf("its value is not as Duplex writes it: %w", err)
	}
	if *version != stateVersion {
		return newerError(*version)
	}
	return nil
}

// newerError says that a later Duplex wrote something.
type newerError int

// Error implements error.
func (e newerError) Error() string {
	return fmt.Sprintf("it has version %d, and this Duplex reads version %d", int(e), stateVersion)
}
