package dlq

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
)

// RedriverConfig says whose dead letters, and what may be done with them.
type RedriverConfig struct {
	// Cluster is the Kafka cluster. Required.
	Cluster duplex.Cluster
	// Allow are the topics that a Target may name, as patterns of path.Match, such as
	// "orders" or "repair.*". Defaults to none.
	Allow []string
	// Logger hears what is swallowed. Defaults to none.
	Logger *zap.Logger
}

// Validate reports everything that is wrong with the configuration.
func (c RedriverConfig) Validate() error {
	errs := []error{kafka.Validate(c.Cluster)}
	for _, p := range c.Allow {
		if _, err := path.Match(p, ""); err != nil {
			errs = append(errs, fmt.Errorf("dlq: RedriverConfig.Allow %q: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

// Redriver plans what to do with dead letters, does it, and knows what was done. It may be
// used by several goroutines at once; what it works at in each is one job.
type Redriver struct {
	cfg       RedriverConfig
	log       *zap.Logger
	client    *kgo.Client
	inspector *Inspector
	// at is called at each step of a job, for tests: an error ends it there as a crash
	// would.
	at func(step) error
}

// NewRedriver makes a Redriver. It validates, and dials nothing.
func NewRedriver(cfg RedriverConfig) (*Redriver, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	log := cmp.Or(cfg.Logger, zap.NewNop())
	client, err := kafka.NewClient(cfg.Cluster, log)
	if err != nil {
		return nil, err
	}
	inspector, err := NewInspector(InspectorConfig{Cluster: cfg.Cluster, Logger: cfg.Logger})
	if err != nil {
		client.Close()
		return nil, err
	}
	return &Redriver{cfg: cfg, log: log, client: client, inspector: inspector, at: func(step) error { return nil }}, nil
}

// Close gives back what the Redriver has. Jobs must have ended.
func (r *Redriver) Close() error {
	r.client.Close()
	r.inspector.Close()
	return nil
}

// Jobs are the jobs of a queue, the oldest first.
func (r *Redriver) Jobs(ctx context.Context, queue string) ([]*Job, error) {
	log, err := openStates(ctx, r.client, r.cfg.Cluster, r.log, queue)
	if err != nil {
		return nil, err
	}
	defer log.close()
	jobs := make([]*Job, len(log.states.jobs))
	for i, j := range log.states.jobs {
		jobs[i] = j.seen(time.Now())
	}
	return jobs, nil
}

// Job is one of the jobs of a queue. An error that is coded as duplex.ErrRefused says that
// there is none with this ID.
func (r *Redriver) Job(ctx context.Context, queue, id string) (*Job, error) {
	jobs, err := r.Jobs(ctx, queue)
	if err != nil {
		return nil, err
	}
	for _, j := range jobs {
		if j.ID == id {
			return j, nil
		}
	}
	return nil, noJob(queue, id, jobs)
}

func noJob(queue, id string, jobs []*Job) error {
	hint := "the queue has none"
	if n := len(jobs); n > 0 {
		hint = "its last one is " + jobs[n-1].ID
	}
	return &duplex.Error{Op: fmt.Sprintf("dlq: looking for job %q of %s", bounded(id, 40), queue), Codes: []duplex.Code{duplex.ErrRefused}, Hint: "there is no such job: " + hint}
}

// Pause has a job hold until Continue. Whoever works at it does so within a second.
func (r *Redriver) Pause(ctx context.Context, queue, id, by string) error {
	return r.ask(ctx, queue, id, control{Want: wantPause, By: by})
}

// Continue has a paused job go on, at another rate if that is not 0. A job that nobody
// works at is not continued, but resumed: see Resume.
func (r *Redriver) Continue(ctx context.Context, queue, id, by string, rate float64) error {
	return r.ask(ctx, queue, id, control{Want: wantRun, By: by, Rate: rate})
}

// Cancel ends a job: what it has not come to is open again. Of what it published, nothing is
// taken back.
func (r *Redriver) Cancel(ctx context.Context, queue, id, by, why string) error {
	j, err := r.Job(ctx, queue, id)
	if err != nil {
		return err
	}
	if j.State != JobInterrupted {
		return r.ask(ctx, queue, id, control{Want: wantCancel, By: by, Why: why})
	}
	_, err = r.Resume(ctx, queue, id, ApplyConfig{cancel: cmp.Or(why, "cancelled by "+by)})
	return err
}

// ask tells whoever works at a job what is wanted of it.
func (r *Redriver) ask(ctx context.Context, queue, id string, c control) error {
	j, err := r.Job(ctx, queue, id)
	if err != nil {
		return err
	}
	if j.State.Over() || j.State == JobInterrupted {
		hint := "it is over"
		if j.State == JobInterrupted {
			hint = "nobody works at it: resume it, or cancel it"
		}
		return &duplex.Error{Op: fmt.Sprintf("dlq: asking job %s of %s to %s", id, queue, c.Want), Codes: []duplex.Code{duplex.ErrRefused}, Hint: hint}
	}
	c.Version, c.At = stateVersion, time.Now().UnixMilli()
	e, err := entry(StateTopic(ownerOf(queue)), controlPrefix+id, c)
	if err != nil {
		return err
	}
	client, err := kafka.NewClient(r.cfg.Cluster, r.log, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.AllISRAcks()))
	if err != nil {
		return err
	}
	defer client.Close()
	return kafka.Explain(fmt.Sprintf("dlq: asking job %s of %s to %s", id, queue, c.Want), client.ProduceSync(ctx, e).FirstErr())
}

// hostname is where this process runs, as far as it is known.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}
