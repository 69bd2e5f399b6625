package dlq

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/backoff"
	"github.com/duplex-go/duplex/internal/offsets"
)

// runner works at a job. What is done lies in the state topic; the runner may die anywhere,
// and another one goes on.
//
//	open the outlet ──► read the states ──► claim the job ──► letters ──► a transaction ─┐
//	      ▲    (shuts out whoever               │                ▲                       │
//	      │     worked at it before)            │                └───── not over ────────┤
//	      └────────── an error ◄────────────────┴──────────────────── over: done ◄───────┘
type runner struct {
	*Redriver
	cfg  ApplyConfig
	log  *stateLog
	pace pace

	id    string
	plan  *Plan // of a job that is to begin
	owner string
	owned bool // the job was ours once

	job     *Job
	out     *outlet
	reader  *selectedReader
	heard   int // how often it was heard that somebody wants something of the job
	waiting string
	beat    time.Time // when something was written last
	told    time.Time // when progress was told last
}

// giveUp is for how long errors of Kafka are put up with, without anything getting on.
const giveUp = 2 * time.Minute

// fencedWait is how long a job waits that was shut out, before it looks who did.
const fencedWait = 2 * time.Second

// run works at the job until it is over.
func (w *runner) run(ctx context.Context) (*Job, error) {
	defer w.shut()
	for try, since, moved := 1, time.Now(), int64(0); ; try++ {
		err := w.session(ctx, try > 1)
		w.shut()
		if j := w.job; j != nil && j.Moved > moved {
			try, since, moved = 1, time.Now(), j.Moved
		}
		if err == nil || errors.Is(err, errCrash) || !w.mayPass(err) || time.Since(since) > giveUp {
			return w.job, err
		}
		w.Redriver.log.Warn("a job met an error, and goes on from its checkpoint", zap.String("job", w.id), zap.Error(err))
		wait := backoff.Exponential(try, 100*time.Millisecond, 5*time.Second)
		if fenced(err) { // whoever opened an outlet may be about to claim the job
			wait = max(wait, fencedWait)
		}
		select {
		case <-ctx.Done():
			return w.job, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// errCrash ends a job as a crash does, in tests.
var errCrash = errors.New("crash")

// permanent marks errors that no further try can mend.
type permanent struct{ error }

// Unwrap gives the error.
func (p permanent) Unwrap() error { return p.error }

// mayPass reports whether an error may be gone at the next try.
func (w *runner) mayPass(err error) bool {
	var final permanent
	return !errors.As(err, &final) && !errors.Is(err, duplex.ErrRefused) && !errors.Is(err, context.Canceled) &&
		!errors.Is(err, duplex.ErrUnauthorized) && !errors.Is(err, duplex.ErrUnauthenticated) && !errors.Is(err, duplex.ErrUnknownTopic)
}

func (w *runner) shut() {
	if w.reader != nil {
		w.reader.close()
	}
	if w.out != nil {
		w.out.close()
	}
	w.reader, w.out = nil, nil
}

// session works at the job until it is over, or there is an error.
func (w *runner) session(ctx context.Context, again bool) (err error) {
	if again { // what was not written, or may not have been, is forgotten
		w.log.forget()
	}
	if err := w.log.catchUp(ctx); err != nil {
		return err
	}
	if j := w.log.states.all[w.id]; j != nil && j.State.Over() { // whoever opens an outlet shuts others out
		w.job = j
		return nil
	}
	if err := w.free(); err != nil { // before anybody is shut out
		return err
	}
	if w.out, err = w.openOutlet(ctx, w.log.states.queue); err != nil {
		return err
	}
	if !w.out.transactional {
		w.Redriver.log.Warn("there is no right to have transactions: after a crash, records may be published again, with the same dlq-id", zap.String("job", w.id))
	}
	if err := w.at(stepOpened); err != nil {
		return err
	}
	if err := w.log.catchUpWhole(ctx); err != nil {
		return err
	}
	if err := w.free(); err != nil {
		return err
	}
	if err := w.claim(ctx); err != nil {
		return err
	}
	if err := w.prune(ctx); err != nil {
		return err
	}
	if w.job.State.Over() {
		return nil
	}
	if w.cfg.cancel != "" {
		return w.end(ctx, JobCancelled, w.cfg.cancel)
	}
	if w.reader, err = w.readSelected(ctx, w.job, w.cfg.Edit != nil); err != nil {
		return err
	}
	if err := w.work(ctx); err != nil {
		return w.stopped(ctx, err)
	}
	return w.await(ctx)
}

// work publishes letters until none is left, or it is told to stop.
func (w *runner) work(ctx context.Context) error {
	for {
		if err := w.log.follow(ctx, 0); err != nil {
			return err
		}
		if over, err := w.obey(ctx); over || err != nil {
			return err
		}
		if w.reader.done() {
			if err := w.at(stepOver); err != nil {
				return err
			}
			w.job.checkpoint = w.passed()
			return w.end(ctx, JobDone, "")
		}
		n, wait, why := w.pace.allow(time.Now(), w.job)
		if w.job.State == JobPaused {
			n, wait, why = 0, glance, "to be continued"
		}
		w.waiting = why
		if n <= 0 {
			if err := w.idle(ctx, wait); err != nil {
				return err
			}
			continue
		}
		if err := w.batch(ctx, n); err != nil {
			return err
		}
	}
}

// idle waits, and says that the job lives.
func (w *runner) idle(ctx context.Context, wait time.Duration) error {
	w.tell(false)
	if err := w.log.follow(ctx, wait); err != nil {
		return err
	}
	if time.Since(w.beat) >= heartbeatEvery {
		return w.write(ctx, nil, nil, "")
	}
	return nil
}

// obey does what somebody else wants of the job, and ends it if too many are dead again. It
// reports whether the job is over.
func (w *runner) obey(ctx context.Context) (over bool, err error) {
	j := w.job
	if rate := w.cfg.AbortRate; rate > 0 {
		known := j.Handled + j.DeadAgain
		enough := min(10, j.Selected())
		if w.cfg.Canary > 0 {
			enough = min(enough, w.cfg.Canary)
		}
		if known >= enough && float64(j.DeadAgain) > rate*float64(known) {
			return true, w.end(ctx, JobAborted, fmt.Sprintf("of %d records %d were dead again", known, j.DeadAgain))
		}
	}
	c := j.wants
	if j.asked <= w.heard { // by the order of the topic, not by clocks
		return false, nil
	}
	w.heard = j.asked
	switch {
	case c.Want == wantCancel:
		why := c.Why
		if why == "" {
			why = "cancelled by " + c.By
		}
		return true, w.end(ctx, JobCancelled, why)
	case c.Want == wantPause && j.State == JobRunning:
		j.State = JobPaused
		return false, w.write(ctx, nil, nil, "paused")
	case c.Want == wantRun:
		if c.Rate > 0 {
			w.pace.set(c.Rate, time.Now())
		}
		if j.State == JobPaused {
			j.State = JobRunning
			return false, w.write(ctx, nil, nil, "continued")
		}
	}
	return false, nil
}

// batch publishes at most n letters in a transaction.
func (w *runner) batch(ctx context.Context, n int64) error {
	bounded, cancel := context.WithTimeout(ctx, heartbeatEvery)
	defer cancel()
	letters, err := w.reader.take(bounded, n)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	if err := w.at(stepRead); err != nil {
		return err
	}
	records, moving, err := w.records(ctx, letters)
	if err != nil {
		return err
	}
	err = w.move(ctx, records, moving)
	var large *errTooLarge
	if errors.As(err, &large) {
		return w.oneByOne(ctx, records, moving)
	}
	return err
}

// records are what letters become; moving are those of them that do.
func (w *runner) records(ctx context.Context, letters []*Letter) (records []*kgo.Record, moving []*Letter, err error) {
	for _, l := range letters {
		if l.Pointer {
			gone, err := w.fetch(ctx, l)
			if err != nil {
				return nil, nil, err
			}
			if gone != "" {
				w.leave(l, errors.New(gone))
				continue
			}
		}
		moving = append(moving, l)
	}
	if w.job.Left > mostLeft {
		return nil, nil, permanent{fmt.Errorf("dlq: redriving %s: more than %d letters cannot be published: see the log for why", w.job.Plan.Queue, mostLeft)}
	}
	edited, err := w.edit(ctx, moving)
	if err != nil {
		return nil, nil, permanent{err}
	}
	for i, l := range moving {
		r := w.job.Plan.Target.redriven(l, w.id, edited[i])
		r.Partition = w.job.Plan.Target.partitionOf(l, w.partitions(r.Topic))
		records = append(records, r)
	}
	return records, moving, nil
}

// partitions is how many a topic had when the plan was made, 0 if that is not known.
func (w *runner) partitions(topic string) int32 {
	for _, to := range w.job.Plan.To {
		if to.Topic == topic {
			return to.Partitions
		}
	}
	return 0
}

// edit has letters edited, and says which were.
func (w *runner) edit(ctx context.Context, letters []*Letter) ([]bool, error) {
	edited := make([]bool, len(letters))
	if w.cfg.Edit == nil || len(letters) == 0 {
		return edited, nil
	}
	seed := maphash.MakeSeed()
	before := make([]uint64, len(letters))
	for i, l := range letters {
		before[i] = digest(seed, l.Record)
	}
	if err := w.cfg.Edit(ctx, letters); err != nil {
		return nil, fmt.Errorf("dlq: editing letters of %s: %w", w.job.Plan.Queue, err)
	}
	for i, l := range letters {
		edited[i] = digest(seed, l.Record) != before[i]
	}
	return edited, nil
}

// digest is of what an edit may change.
func digest(seed maphash.Seed, r *kgo.Record) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	part := func(b []byte) {
		maphash.WriteComparable(&h, len(b)*2+int(isNil(b)))
		_, _ = h.Write(b)
	}
	part(r.Key)
	part(r.Value)
	for _, header := range r.Headers {
		part([]byte(header.Key))
		part(header.Value)
	}
	return h.Sum64()
}

func isNil(b []byte) byte {
	if b == nil {
		return 1
	}
	return 0
}

// mostLeft bounds the letters of a job that cannot be published.
const mostLeft = 10_000

// leave leaves a letter open that cannot be published.
func (w *runner) leave(l *Letter, why error) {
	w.Redriver.log.Warn("a letter cannot be redriven, it stays open", zap.String("job", w.id), zap.Int32("partition", l.Partition), zap.Int64("offset", l.Offset), zap.Error(why))
	set := w.job.left[l.Partition]
	set.Add(l.Offset)
	w.job.left[l.Partition] = set
	w.job.Left = sum(w.job.left)
}

// move publishes records with the checkpoint behind them.
func (w *runner) move(ctx context.Context, records []*kgo.Record, letters []*Letter) error {
	j := w.job
	before, moved, bytes := j.checkpoint, j.Moved, j.Bytes
	j.checkpoint = w.passed()
	j.Moved += int64(len(records))
	for _, l := range letters {
		j.Bytes += int64(l.Size)
		j.unleave(l)
	}
	var entries []*kgo.Record
	if len(letters) > 0 {
		a := j.audit("moved")
		a.Records, a.Offsets = int64(len(letters)), runsOf(letters)
		entries = append(entries, a.record())
	}
	if err := w.write(ctx, records, entries, ""); err != nil {
		j.checkpoint, j.Moved, j.Bytes = before, moved, bytes
		return err
	}
	w.pace.moved(int64(len(records)))
	return nil
}

// passed is the checkpoint when all letters that were taken are published.
func (w *runner) passed() map[int32]int64 {
	checkpoint := maps.Clone(w.job.checkpoint)
	for partition, next := range w.reader.next {
		checkpoint[partition] = max(next, checkpoint[partition])
	}
	return checkpoint
}

// oneByOne publishes records each in a transaction of its own, since one of them is too
// large for its topic: that one is left.
func (w *runner) oneByOne(ctx context.Context, records []*kgo.Record, letters []*Letter) error {
	next := w.reader.next
	defer func() { w.reader.next = next }()
	for i, l := range letters {
		w.reader.next = maps.Clone(w.job.checkpoint)
		w.reader.next[l.Partition] = l.Offset + 1
		r := *records[i]
		err := w.move(ctx, []*kgo.Record{{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: r.Headers}}, letters[i:i+1])
		var large *errTooLarge
		if errors.As(err, &large) {
			w.leave(l, err)
			err = w.move(ctx, nil, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// runsOf are the offsets of letters, as the audit has them.
func runsOf(letters []*Letter) map[int32][][2]int64 {
	sets := map[int32]offsets.Set{}
	for _, l := range letters {
		set := sets[l.Partition]
		set.Add(l.Offset)
		sets[l.Partition] = set
	}
	runs := map[int32][][2]int64{}
	for partition, set := range sets {
		for first, end := range set.Runs() {
			runs[partition] = append(runs[partition], [2]int64{first, end - 1})
		}
	}
	return runs
}

// write commits records with the job's progress, other entries, and the event for the
// audit, if there is one.
func (w *runner) write(ctx context.Context, records, entries []*kgo.Record, event string) error {
	j := w.job
	j.Heartbeat = time.Now()
	progress, err := entry(w.log.topic, progressPrefix+j.ID, j.progress())
	if err != nil {
		return permanent{err}
	}
	entries = append(entries, progress)
	if event != "" {
		a := j.audit(event)
		if event == "done" || j.State.Over() {
			a.Records = j.Moved
		}
		entries = append(entries, a.record())
	}
	if err := w.out.commit(ctx, records, entries, w.at); err != nil {
		return err
	}
	w.beat = j.Heartbeat
	w.tell(true)
	return nil
}

// end ends the job.
func (w *runner) end(ctx context.Context, as JobState, why string) error {
	j := w.job
	j.State, j.Why, j.Ended = as, why, time.Now()
	if err := w.write(ctx, nil, nil, string(as)); err != nil {
		j.State, j.Why, j.Ended = JobRunning, "", time.Time{}
		return err
	}
	return nil
}

// stopped says that the job is interrupted, if nothing will be tried again: so it may be
// resumed, or cancelled, at once.
func (w *runner) stopped(ctx context.Context, err error) error {
	if (ctx.Err() == nil && w.mayPass(err)) || errors.Is(err, errCrash) || w.job.State.Over() {
		return err
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	w.job.State = JobInterrupted
	if writing := w.write(bounded, nil, nil, string(JobInterrupted)); writing != nil {
		w.Redriver.log.Warn("it could not be written that a job was stopped", zap.String("job", w.id), zap.Error(writing))
	}
	return err
}

// await waits for outcomes, once all is published.
func (w *runner) await(ctx context.Context) error {
	if !w.job.Plan.Target.outcomes() || w.job.Plan.Kind != KindRedrive {
		return nil
	}
	for end := time.Now().Add(w.cfg.Await); w.job.Pending() > 0 && time.Now().Before(end); {
		w.waiting = "outcomes"
		w.tell(false)
		if err := w.log.follow(ctx, min(glance, time.Until(end))); err != nil {
			return err
		}
	}
	w.waiting = ""
	w.tell(true)
	return nil
}

// tell tells how far the job is: always, or once a second.
func (w *runner) tell(always bool) {
	if w.cfg.Progress == nil || (!always && time.Since(w.told) < time.Second) {
		return
	}
	w.told = time.Now()
	j := *w.job
	w.cfg.Progress(JobProgress{Job: &j, Waiting: w.waiting, AtLeastOnce: w.out != nil && !w.out.transactional})
}
