package dlq

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// free refuses to touch a queue that somebody else works at.
func (w *runner) free() error {
	j := w.log.states.active()
	refused := func(hint string) error {
		return &duplex.Error{Op: "dlq: working at letters of " + w.log.states.queue, Codes: []duplex.Code{duplex.ErrRefused}, Hint: hint}
	}
	switch {
	case j == nil || j.Owner == w.owner:
		return nil
	case j.ID == w.id && w.owned:
		return permanent{&duplex.Error{Op: "dlq: working at job " + w.id, Codes: []duplex.Code{duplex.ErrFenced}, Hint: fmt.Sprintf("%s took over", j.Owner)}}
	case j.seen(time.Now()).State == JobInterrupted:
		if j.ID == w.id {
			return nil
		}
		return refused(fmt.Sprintf("job %s was interrupted, and is not over: resume or cancel it first", j.ID))
	case j.ID == w.id && w.cfg.Takeover:
		return nil
	case j.ID == w.id:
		return refused(fmt.Sprintf("%s works at job %s, the last time %s ago: take over if that is not so", j.Owner, j.ID, time.Since(j.Heartbeat).Round(time.Second)))
	}
	return refused(fmt.Sprintf("job %s is not over, and %s works at it: wait, or cancel it", j.ID, j.Owner))
}

// claim begins the job, or takes it up where it is.
func (w *runner) claim(ctx context.Context) error {
	now := time.Now()
	j := w.log.states.all[w.id]
	if j == nil {
		if w.owned { // begun anew, it would publish all again
			return permanent{&duplex.Error{
				Op: "dlq: working at job " + w.id, Codes: []duplex.Code{duplex.ErrUnknownTopic},
				Hint: fmt.Sprintf("nothing is known of it any more: somebody deleted topic %s; see what came back, and make a new plan for the rest", w.log.topic),
			}}
		}
		if w.plan == nil {
			return permanent{noJob(w.log.states.queue, w.id, w.log.states.jobs)}
		}
		return w.begin(ctx, now)
	}
	if w.job = j; !w.owned {
		w.heard = j.asked // was wanted of somebody else
	}
	w.heard = min(w.heard, j.asked)
	if j.State.Over() {
		return nil
	}
	event := "continued"
	if j.Owner != w.owner {
		event = "taken over"
	}
	if !w.owned || j.State != JobPaused { // an error does not end a pause
		j.State = JobRunning
	}
	j.Owner, w.owned = w.owner, true
	w.log.states.ours = w.id
	if err := w.write(ctx, nil, nil, event); err != nil {
		return err
	}
	return w.at(stepClaimed)
}

// begin writes a new job down.
func (w *runner) begin(ctx context.Context, now time.Time) error {
	selected, copies, err := w.plan.selection()
	if err != nil {
		return permanent{err}
	}
	s := w.log.states
	if n := s.taken(w.plan, selected); n > 0 { // by a job that is over already
		return misfit(w.plan, fmt.Sprintf("since the plan: another job had %d of its letters: make a new one", n))
	}
	j := s.job(w.id)
	j.Plan, j.Began, j.Owner, j.State = w.plan.bare(), now, w.owner, JobRunning
	j.selected, j.copies, j.seq = selected, copies, s.lastSeq+1
	w.job, w.owned, s.ours, w.heard = j, true, w.id, 0
	event := "began"
	if w.plan.Kind != KindRedrive { // that is all there is to do
		j.State, j.Ended, event = JobDone, now, "done"
		j.Moved = w.plan.Records
		for partition, set := range selected {
			j.checkpoint[partition] = max(set.End(), copies[partition].End())
		}
	}
	topic := w.log.topic
	e, err := entry(topic, jobPrefix+j.ID, jobEntry{Version: stateVersion, Seq: j.seq, Began: now.UnixMilli(), Plan: j.Plan})
	if err != nil {
		return permanent{err}
	}
	entries := append([]*kgo.Record{e}, selectionEntries(topic, j.ID, setSelected, selected)...)
	entries = append(entries, selectionEntries(topic, j.ID, setCopies, copies)...)
	if err := w.write(ctx, nil, entries, event); err != nil {
		w.job, w.owned = nil, false // as far as is known, nobody knows of it
		return err
	}
	return w.at(stepClaimed)
}
