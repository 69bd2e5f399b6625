package dlq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
)

// Trim is what can be deleted of a queue without losing a letter that somebody may still
// need: all that lies before the first letter of a partition that is open, selected, or
// redriven with an outcome that is not known.
type Trim struct {
	// Queue is the topic, QueueID its ID.
	Queue   string `json:"queue"`
	QueueID string `json:"queue_id,omitempty"`
	// Letters would be deleted, and Kept stay.
	Letters    int64           `json:"letters"`
	Kept       int64           `json:"kept"`
	Partitions []TrimPartition `json:"partitions"`

	seq int64 // of the last job when it was found out
}

// TrimPartition is what can be deleted of one partition: the offsets from Start to Before−1.
type TrimPartition struct {
	Partition int32 `json:"partition"`
	Start     int64 `json:"start"`
	Before    int64 `json:"before"`
	Letters   int64 `json:"letters"`
	// First is the state of the letter at Before, "" where nothing is left.
	First State `json:"first,omitempty"`
}

// PlanTrim finds out what Trim would delete of a queue, and changes nothing. It reads the
// whole queue. The error is coded as duplex.ErrRefused while a job of the queue is not over.
func (r *Redriver) PlanTrim(ctx context.Context, queue string, progress func(Progress)) (*Trim, error) {
	log, err := r.atRest(ctx, queue)
	if err != nil {
		return nil, err
	}
	defer log.close()
	t := &Trim{Queue: queue, QueueID: log.states.queueID, seq: log.states.lastSeq}
	first, before := map[int32]*Letter{}, map[int32]int64{}
	scan := r.inspector.newScan(queue, ScanConfig{Progress: progress}, func(l *Letter) error {
		switch {
		case first[l.Partition] != nil:
			t.Kept++
		case needed(l.State):
			first[l.Partition] = &Letter{Offset: l.Offset, State: l.State}
			t.Kept++
		default:
			t.Letters++
			before[l.Partition]++
		}
		return nil
	})
	scan.states = log.states
	scanned, err := scan.do(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range scanned.Partitions {
		part := TrimPartition{Partition: p.Partition, Start: p.From, Before: p.To, Letters: before[p.Partition]}
		if l := first[p.Partition]; l != nil {
			part.Before, part.First = l.Offset, l.State
		}
		t.Partitions = append(t.Partitions, part)
	}
	return t, nil
}

// needed reports whether a letter in this state may still be of use.
func needed(s State) bool { return s == StateOpen || s == StateSelected || s == StateRedriven }

// atRest is what is known of a queue that no job works at.
func (r *Redriver) atRest(ctx context.Context, queue string) (*stateLog, error) {
	log, err := openStates(ctx, r.client, r.cfg.Cluster, r.log, queue)
	if err != nil {
		return nil, unknownQueue("dlq: trimming "+queue, err)
	}
	if j := log.states.active(); j != nil {
		log.close()
		return nil, trimRefused(queue, fmt.Sprintf("job %s is not over: wait for it, or resume or cancel it", j.ID))
	}
	return log, nil
}

func trimRefused(queue, hint string) error {
	return &duplex.Error{Op: "dlq: trimming " + queue, Codes: []duplex.Code{duplex.ErrRefused}, Hint: hint}
}

// Trim deletes what PlanTrim found, for good, and says so in the audit before it does. An
// error may leave some partitions trimmed; to do it again does no harm. It is coded as
// duplex.ErrRefused, and nothing was deleted, while a job of the queue is not over, and where
// one was since, or the topic was made again: letters may be needed then that were not.
func (r *Redriver) Trim(ctx context.Context, t *Trim, by, reason string) error {
	log, err := r.atRest(ctx, t.Queue)
	if err != nil {
		return err
	}
	defer log.close()
	switch {
	case log.states.queueID != t.QueueID:
		return trimRefused(t.Queue, "the topic was deleted and made again meanwhile: look again")
	case log.states.lastSeq != t.seq:
		return trimRefused(t.Queue, "there was a job meanwhile: look again")
	}
	offsets := kadm.Offsets{}
	entry := Audit{At: time.Now().UTC(), Event: "trimming", Queue: t.Queue, By: by, Reason: reason, Owner: hostname(), Records: t.Letters, Offsets: map[int32][][2]int64{}}
	for _, p := range t.Partitions {
		if p.Before > p.Start {
			offsets.AddOffset(t.Queue, p.Partition, p.Before, -1)
			entry.Offsets[p.Partition] = [][2]int64{{p.Start, p.Before - 1}}
		}
	}
	if len(offsets) == 0 {
		return nil
	}
	if err := r.writeAudit(ctx, entry); err != nil {
		return err
	}
	deleted, err := kadm.NewClient(r.client).DeleteRecords(ctx, offsets)
	errs := []error{err}
	deleted.Each(func(d kadm.DeleteRecordsResponse) {
		if d.Err != nil {
			errs = append(errs, fmt.Errorf("partition %d: %w", d.Partition, d.Err))
		}
	})
	return kafka.Explain("dlq: trimming "+t.Queue, errors.Join(errs...))
}

// writeAudit writes an entry of no job.
func (r *Redriver) writeAudit(ctx context.Context, a Audit) error {
	if err := ensureStateTopics(ctx, r.client, a.Queue); err != nil {
		return err
	}
	client, err := kafka.NewClient(r.cfg.Cluster, r.log, kgo.RequiredAcks(kgo.AllISRAcks()))
	if err != nil {
		return err
	}
	defer client.Close()
	return kafka.Explain("dlq: writing to "+AuditTopic, client.ProduceSync(ctx, a.record()).FirstErr())
}
