package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/dlq"
)

// since has the dead letters of this telling: another one may have left some in the queue.
func since(began time.Time) (dlq.Filter, error) {
	return dlq.ParseFilter("failed>=" + began.UTC().Format("2006-01-02T15:04:05.000Z"))
}

// letters tells of the dead letters by their causes, once there are as many as lines were
// damaged.
func (r *run) letters(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if len(r.damaged) == 0 || !await(bounded, func() bool { return r.history.buried() >= len(r.damaged) }) {
		return nil
	}
	causes, err := r.inspector.Causes(ctx, r.cfg.Names.queue(), dlq.CausesConfig{Filter: r.ours})
	if err != nil {
		return err
	}
	for _, c := range causes.All {
		r.story.tell("dead", "%s × %s, %s%s", count(int(c.Open)), c.Reason, c.Fingerprint, one(len(causes.All)))
		r.story.tell("dead", "%s", why(c))
	}
	return nil
}

// one says so when all dead letters have one cause.
func one(causes int) string {
	if causes == 1 {
		return " (one cause)"
	}
	return ""
}

// why is the message of a cause without what Duplex says in front of it.
func why(c dlq.Cause) string {
	if _, why, found := strings.Cut(c.Message, string(c.Reason)+": "); found {
		return why
	}
	return c.Message
}

// openQueue makes what reads the queue.
func (r *run) openQueue() (err error) {
	if r.ours, err = since(r.story.began); err != nil {
		return err
	}
	r.inspector, err = dlq.NewInspector(dlq.InspectorConfig{Cluster: r.cfg.Cluster})
	return err
}

// redrive mends the dead letters and sends them back to the desk, and nobody else, as
// 'duplex redrive run --edit' does; then once more, which must move nothing.
func (r *run) redrive(ctx context.Context) error {
	if r.history.buried() == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	r.story.chapter("REDRIVE", "planned, mended, handled by the group that failed")
	redriver, err := dlq.NewRedriver(dlq.RedriverConfig{Cluster: r.cfg.Cluster})
	if err != nil {
		return err
	}
	if err = r.cancelEarlier(ctx, redriver); err == nil {
		err = r.bringBack(ctx, redriver)
	}
	return errors.Join(err, redriver.Close(), r.look(ctx))
}

// teller says in the audit who it was.
const teller = "duplex demo"

// cancelEarlier ends what an earlier telling, on the same queue, did not end: until then no
// other redrive of it may begin.
func (r *run) cancelEarlier(ctx context.Context, redriver *dlq.Redriver) error {
	jobs, err := redriver.Jobs(ctx, r.cfg.Names.queue())
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if j.State != dlq.JobInterrupted || j.Plan.By != teller {
			continue
		}
		if err := redriver.Cancel(ctx, j.Plan.Queue, j.ID, teller, "another telling began"); err != nil {
			return err
		}
		r.story.tell("cancel", "job %s of an earlier telling, which was interrupted", j.ID)
	}
	return nil
}

// bringBack is the redrive, and the same again.
func (r *run) bringBack(ctx context.Context, redriver *dlq.Redriver) error {
	m := mender{mended: []byte(r.cfg.mended), letters: map[life]bool{}}
	redrive := func() (*dlq.Plan, *dlq.Job, error) {
		plan, err := redriver.Plan(ctx, r.cfg.Names.queue(), dlq.PlanConfig{Filter: r.ours, Edited: true, By: teller, Reason: "delays came as text"})
		if err != nil {
			return nil, nil, err
		}
		r.tellPlan(plan)
		job, err := redriver.Apply(ctx, plan, dlq.ApplyConfig{Edit: m.edit, Await: patience})
		return plan, job, err
	}
	plan, job, err := redrive()
	if err != nil {
		return err
	}
	r.story.tell("edit", "%s × %s → %s", count(len(m.letters)), damaged, r.cfg.mended)
	r.story.tell("apply", "%s of %s moved, %s handled, %s dead again", count(int(job.Moved)), count(int(plan.Records)), count(int(job.Handled)), count(int(job.DeadAgain)))
	_, job, err = redrive()
	if err != nil {
		return err
	}
	r.story.tell("again", "the same redrive: %s moved", count(int(job.Moved)))
	return nil
}

// tellPlan tells what a redrive is about to do, and who gets it.
func (r *run) tellPlan(plan *dlq.Plan) {
	for _, to := range plan.To {
		where := to.Topic
		if where == dlq.RedriveTopic(r.cfg.Names.Rebookings, r.cfg.Names.Topic) {
			where = "the desk's redrive topic" // whose name is long on a cluster
		}
		r.story.tell("plan", "%s letters to %s: %s", count(int(to.Records)), where, r.readers(to.Receivers))
	}
}

// readers says who gets what is redriven.
func (r *run) readers(groups []dlq.Receiver) string {
	names := make([]string, len(groups))
	for i, g := range groups {
		names[i] = g.Group
	}
	if slices.Equal(names, []string{r.cfg.Names.Rebookings}) {
		return "only its group gets them"
	}
	return strings.Join(names, " and ") + " get them"
}

// mender makes delays numbers again.
type mender struct {
	mended  []byte // what damaged becomes
	letters map[life]bool
}

// edit mends letters; it may get some again when a transaction was not committed.
func (m *mender) edit(_ context.Context, letters []*dlq.Letter) error {
	for _, l := range letters {
		mended := bytes.Replace(l.Record.Value, []byte(damaged), m.mended, 1)
		if !bytes.Equal(mended, l.Record.Value) {
			l.Record.Value, m.letters[lifeOf(l)] = mended, true
		}
	}
	return nil
}

// lifeOf is the life of a record that ended with a dead letter.
func lifeOf(l *dlq.Letter) life {
	o := l.Origin
	return life{at: duplex.Position{Topic: o.Topic, Partition: o.Partition, Offset: o.Offset}, generation: l.Generation}
}

// look notes how far each dead letter is, and waits until the inbox has seen all of them.
func (r *run) look(ctx context.Context) error {
	_, err := r.inspector.Scan(ctx, r.cfg.Names.queue(), dlq.ScanConfig{Filter: r.ours}, func(l *dlq.Letter) error {
		if l.State != dlq.StateDuplicate {
			r.history.found(lifeOf(l), l.State)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("demo: looking how far the dead letters are: %w", err)
	}
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	await(bounded, r.history.read)
	return nil
}
