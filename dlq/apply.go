package dlq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/offsets"
)

// ApplyConfig says how a job is to go about it.
type ApplyConfig struct {
	// Rate is how many records a second at most. Defaults to no limit.
	Rate float64
	// Ramp is how long it takes to get there, from a tenth of it. Defaults to none.
	Ramp time.Duration
	// Canary is how many records go first, alone, until it is known what became of them.
	// Defaults to none.
	Canary int64
	// MaxPending is how many records may be under way whose outcome is not known. Defaults to
	// no limit.
	MaxPending int64
	// AbortRate ends the job when more than this part of the records whose outcomes are known
	// is dead again, at least ten, or all. Defaults to never.
	AbortRate float64
	// Edit, unless it is nil, may change key, value and headers of letters before they are
	// published, those of one transaction at a time. Those that it changes are other records
	// from then on, and say whose edit they are. An error ends the job; what it has not come to
	// stays open.
	Edit func(context.Context, []*Letter) error
	// Await is how long to wait for outcomes once all is published. Defaults to not at all.
	Await time.Duration
	// MaxAge is how old a plan may be. Defaults to DefaultMaxPlanAge.
	MaxAge time.Duration
	// Takeover has Resume take a job from a process that still works at it: that one ends.
	Takeover bool
	// Progress, unless it is nil, is told how far the job is, after each transaction and at
	// least once a second while it waits.
	Progress func(JobProgress)

	cancel string // end it at once, for this reason
}

// DefaultMaxPlanAge is how old a plan may be to be applied.
const DefaultMaxPlanAge = 12 * time.Hour

// JobProgress is how far a job is.
type JobProgress struct {
	*Job
	// Waiting says what for, "" if it does not.
	Waiting string
	// AtLeastOnce says that there is no right to have transactions: after a crash, records
	// may be published again, with the same dlq-id.
	AtLeastOnce bool
}

// Validate reports everything that is wrong with the configuration.
func (c ApplyConfig) Validate() error {
	var errs []error
	if c.Rate < 0 || math.IsNaN(c.Rate) || math.IsInf(c.Rate, 0) {
		errs = append(errs, fmt.Errorf("dlq: ApplyConfig.Rate %v: want 0, for no limit, or more", c.Rate))
	}
	for name, n := range map[string]int64{"Canary": c.Canary, "MaxPending": c.MaxPending, "Ramp": int64(c.Ramp), "Await": int64(c.Await), "MaxAge": int64(c.MaxAge)} {
		if n < 0 {
			errs = append(errs, fmt.Errorf("dlq: ApplyConfig.%s %d: want 0 or more", name, n))
		}
	}
	if c.Ramp > 0 && c.Rate == 0 {
		errs = append(errs, errors.New("dlq: ApplyConfig.Ramp: it needs a Rate to get to"))
	}
	if c.AbortRate < 0 || c.AbortRate > 1 || math.IsNaN(c.AbortRate) {
		errs = append(errs, fmt.Errorf("dlq: ApplyConfig.AbortRate %v: want a part, from 0, for never, to 1", c.AbortRate))
	}
	return errors.Join(errs...)
}

// needsOutcomes reports whether the job has to know what becomes of its records.
func (c ApplyConfig) needsOutcomes() bool { return c.Canary > 0 || c.MaxPending > 0 || c.AbortRate > 0 }

// check refuses what does not go with a plan.
func (c ApplyConfig) check(p *Plan) error {
	errs := []error{c.Validate()}
	if c.needsOutcomes() && !p.Target.outcomes() {
		errs = append(errs, fmt.Errorf("dlq: applying plan %s: Canary, MaxPending and AbortRate need to know what becomes of records, and nobody says that of those that go to %s", p.ID, p.Target))
	}
	switch {
	case c.cancel != "":
	case p.Edited && c.Edit == nil:
		errs = append(errs, fmt.Errorf("dlq: applying plan %s: its records are to be edited: give the edit, as ApplyConfig.Edit or with --edit", p.ID))
	case !p.Edited && c.Edit != nil:
		errs = append(errs, fmt.Errorf("dlq: applying plan %s: it says nothing of an edit: make a plan that does", p.ID))
	}
	return errors.Join(errs...)
}

// Apply does what a plan says, and returns when it is done. It may be called again with the
// same plan after a crash, or after it was done: each letter is published once.
//
// Records and the job's checkpoint are written in one transaction each time, so readers of
// committed records see each of them once. Where this client may not have transactions, it
// goes on without, which Progress says: after a crash, some may be there twice then.
//
// When ctx ends, the job stops where it is, and Resume goes on.
//
// An error is coded as duplex.ErrRefused, and nothing was changed, where the plan does not
// fit any more (the message says what is different), another job of the queue is not over,
// or nobody would get the records; duplex.ErrFenced says that another process took over.
func (r *Redriver) Apply(ctx context.Context, plan *Plan, cfg ApplyConfig) (*Job, error) {
	if plan.ID != plan.hash() {
		return nil, fmt.Errorf("dlq: applying plan %q: it is not as it was made: make a new one", bounded(plan.ID, 40))
	}
	if err := cfg.check(plan); err != nil {
		return nil, err
	}
	log, err := openStates(ctx, r.client, r.cfg.Cluster, r.log, plan.Queue)
	if err != nil {
		return nil, err
	}
	defer log.close()
	w := r.newRunner(cfg, log)
	if j := log.states.byPlan(plan.ID); j != nil {
		if j.State.Over() {
			return j, nil
		}
		w.id = j.ID
		return w.run(ctx)
	}
	if err := w.free(); err != nil && plan.Records > 0 {
		return nil, err
	}
	if err := r.fits(ctx, plan, log.states, cfg); err != nil {
		return nil, err
	}
	if plan.Records == 0 {
		return &Job{Plan: *plan, State: JobDone}, nil
	}
	if err := ensureStateTopics(ctx, r.client, plan.Queue); err != nil {
		return nil, err
	}
	w.id, w.plan = newJobID(plan.Kind), plan
	return w.run(ctx)
}

// Resume goes on with a job whose process died, or was stopped. It is refused while another
// process works at it, unless cfg.Takeover is set.
func (r *Redriver) Resume(ctx context.Context, queue, id string, cfg ApplyConfig) (*Job, error) {
	log, err := openStates(ctx, r.client, r.cfg.Cluster, r.log, queue)
	if err != nil {
		return nil, err
	}
	defer log.close()
	j := log.states.all[id]
	if j == nil || j.Plan.Queue != queue {
		return nil, noJob(queue, id, log.states.jobs)
	}
	if j.Plan.QueueID != log.states.queueID {
		return nil, madeAgain(j, duplex.ErrRefused)
	}
	if err := cfg.check(&j.Plan); err != nil {
		return nil, err
	}
	w := r.newRunner(cfg, log)
	w.id = id
	return w.run(ctx)
}

func (r *Redriver) newRunner(cfg ApplyConfig, log *stateLog) *runner {
	return &runner{
		Redriver: r, cfg: cfg, log: log, owner: fmt.Sprintf("%s/%d/%s", hostname(), os.Getpid(), newJobID("owner")),
		pace: pace{rate: cfg.Rate, ramp: cfg.Ramp, canary: cfg.Canary, maxPending: cfg.MaxPending},
	}
}

// fits refuses a plan that is not as things are.
func (r *Redriver) fits(ctx context.Context, plan *Plan, s *states, cfg ApplyConfig) error {
	if s.queueID != plan.QueueID {
		return misfit(plan, "the topic was deleted and made again since the plan: make a new one")
	}
	selected, _, err := plan.selection()
	if err != nil {
		return err
	}
	plan = new(*plan) // who receives it is found out again
	plan.To = slices.Clone(plan.To)
	differences, err := r.differences(ctx, plan, selected, s, cmp.Or(cfg.MaxAge, DefaultMaxPlanAge))
	if err != nil {
		return err
	}
	if len(differences) > 0 {
		return misfit(plan, "since the plan: "+strings.Join(differences, "; ")+": make a new one")
	}
	for _, to := range plan.To {
		if hint := nobody(to); hint != "" && !plan.Forced {
			return misfit(plan, hint)
		}
	}
	return nil
}

// misfit refuses a plan.
func misfit(plan *Plan, hint string) error {
	return &duplex.Error{Op: fmt.Sprintf("dlq: applying plan %s to %s", plan.ID, plan.Queue), Codes: []duplex.Code{duplex.ErrRefused}, Hint: hint}
}

// nobody says that no group would get what is sent to a topic, "" if one would.
func nobody(to PlanTopic) string {
	for _, g := range to.Receivers {
		if g.Members > 0 {
			return ""
		}
	}
	if len(to.Receivers) == 0 {
		return fmt.Sprintf("nobody reads %s: start a consumer of the group, or send the records elsewhere, or use force", to.Topic)
	}
	return fmt.Sprintf("nobody runs group %s, which reads %s: start it first, or use force", to.Receivers[0].Group, to.Topic)
}

// differences say what is not as it was when a plan was made.
func (r *Redriver) differences(ctx context.Context, plan *Plan, selected map[int32]offsets.Set, s *states, maxAge time.Duration) (all []string, err error) {
	starts, err := kafka.StartOffsets(ctx, r.client, plan.Queue)
	if err != nil {
		return nil, err
	}
	ends, err := kafka.CommittedEndOffsets(ctx, r.client, plan.Queue)
	if err != nil {
		return nil, err
	}
	var expired, newer int64
	for _, part := range plan.Partitions {
		set := selected[part.Partition]
		expired += set.Within(0, starts[part.Partition]).Len()
		newer += max(ends[part.Partition]-part.End, 0)
	}
	if expired > 0 {
		all = append(all, fmt.Sprintf("%d of its letters have expired", expired))
	}
	if taken := s.taken(plan, selected); taken > 0 {
		all = append(all, fmt.Sprintf("another job had %d of its letters", taken))
	}
	for i, to := range plan.To {
		now, err := r.partitionsNow(ctx, to.Topic)
		if err != nil {
			return nil, err
		}
		if now != to.Partitions {
			all = append(all, fmt.Sprintf("topic %s had %d partitions and has %d", to.Topic, to.Partitions, now))
			continue
		}
		if plan.To[i].Receivers, err = r.readers(ctx, to.Topic); err != nil {
			return nil, err
		}
	}
	if age := time.Since(plan.Made); age > maxAge {
		all = append(all, fmt.Sprintf("it is %s old, and at most %s is allowed", age.Round(time.Minute), maxAge))
		if newer > 0 {
			all = append(all, fmt.Sprintf("%d letters arrived", newer))
		}
	}
	return all, nil
}

// partitionsNow is how many partitions a topic has, 0 if it is not there.
func (r *Redriver) partitionsNow(ctx context.Context, topic string) (int32, error) {
	topics, err := kafka.Topics(ctx, r.client, "dlq", topic)
	if errors.Is(err, duplex.ErrUnknownTopic) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return topics[0].Partitions, nil
}
