package dlq

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// Audit is an entry of the audit topic: what was done with dead letters. It is written as
// JSON with what it speaks of, in one transaction; one about a trim, which has no job, before.
type Audit struct {
	At     time.Time `json:"at"`
	Event  string    `json:"event"` // began, moved, paused, continued, taken over, interrupted, done, cancelled, aborted, or trimming
	Queue  string    `json:"queue"`
	Job    string    `json:"job,omitempty"`
	Kind   Kind      `json:"kind,omitempty"`
	Plan   string    `json:"plan,omitempty"`
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	// Owner is the process that did it.
	Owner   string `json:"owner"`
	Records int64  `json:"records,omitempty"`
	// Offsets are those of the letters that moved, by partition, each run from its first to
	// its last.
	Offsets map[int32][][2]int64 `json:"offsets,omitempty"`
}

// audit is an entry about a job.
func (j *Job) audit(event string) Audit {
	return Audit{
		At: time.Now().UTC(), Event: event, Queue: j.Plan.Queue, Job: j.ID, Kind: j.Plan.Kind, Plan: j.Plan.ID,
		By: j.Plan.By, Reason: j.Plan.Reason, Owner: j.Owner,
	}
}

// record is the entry as it is written.
func (a Audit) record() *kgo.Record {
	text, err := json.Marshal(a)
	if err != nil {
		text = nil // there is nothing in it that could not be written
	}
	return &kgo.Record{Topic: AuditTopic, Key: []byte(cmp.Or(a.Job, a.Queue)), Value: text}
}

// ParseAudit reads the value of a record of the audit topic.
func ParseAudit(value []byte) (a Audit, err error) {
	if err := json.Unmarshal(value, &a); err != nil {
		return Audit{}, fmt.Errorf("dlq: reading an entry of %s: %w", AuditTopic, err)
	}
	return a, nil
}

// Audit gives each entry of the audit topic about a queue to the function, the oldest first.
// That there is no such topic means that nothing was done.
func (r *Redriver) Audit(ctx context.Context, queue string, each func(Audit) error) error {
	scan := r.inspector.newScan(AuditTopic, ScanConfig{KeepValues: true}, func(l *Letter) error {
		a, err := ParseAudit(l.Record.Value)
		if err != nil || a.Queue != queue { // somebody else's, or not as it is written
			return nil //nolint:nilerr // it says nothing of this queue
		}
		return each(a)
	})
	scan.bare = true
	_, err := scan.do(ctx)
	if errors.Is(err, duplex.ErrUnknownTopic) {
		return nil
	}
	return err
}
