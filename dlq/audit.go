package dlq

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Audit is an entry of the audit topic: what was done with dead letters. It is written with
// what it speaks of, in one transaction, as JSON.
type Audit struct {
	At     time.Time `json:"at"`
	Event  string    `json:"event"` // began, moved, paused, continued, taken over, interrupted, done, cancelled or aborted
	Queue  string    `json:"queue"`
	Job    string    `json:"job"`
	Kind   Kind      `json:"kind"`
	Plan   string    `json:"plan"`
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
	return &kgo.Record{Topic: AuditTopic, Key: []byte(a.Job), Value: text}
}

// ParseAudit reads the value of a record of the audit topic.
func ParseAudit(value []byte) (a Audit, err error) {
	if err := json.Unmarshal(value, &a); err != nil {
		return Audit{}, fmt.Errorf("dlq: reading an entry of %s: %w", AuditTopic, err)
	}
	return a, nil
}
