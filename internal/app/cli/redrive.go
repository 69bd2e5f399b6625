package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/app/shell"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/terminal"
)

const redriveLong = `redrive brings dead letters back: it publishes them again, to the redrive topic of the
group that failed, which no other group reads, or where --to says. Everything is a plan
first: which letters, where to, who receives them, what is left out and why.

  duplex redrive run QUEUE       plan, ask, apply: the usual way
  duplex redrive plan QUEUE      the plan, to look at or to keep (-O FILE)
  duplex redrive apply FILE      what a plan says, if things are still as it says

A plan is frozen: letters that arrive after it are not part of it. Letters and the job's
checkpoint are written in one transaction each time, so however often a job dies and is
resumed, each letter is published once. One job at a time works at a queue.

Consumers of Duplex tell what becomes of each record: handled, or dead again. --canary,
--max-pending and --abort-rate go by that.

--edit CMD changes the records: "sh -c CMD" gets the letters of a transaction as lines of
JSON, as 'duplex dlq export' prints them, and gives back as many lines in the same order.
What it may change is key, value and headers. With jq, for example:
  --edit 'jq -c ".value |= (fromjson | .delay |= tonumber | tojson)"'
The plan shows what it makes of three letters.`

func redriveCommand(environ []string) (*cobra.Command, error) {
	root := command.Group(&cobra.Command{Use: "redrive", Short: "Bring dead letters back", Long: redriveLong})
	var errs []error
	for _, of := range []func([]string) (*cobra.Command, error){
		redrivePlan, redriveApply, redriveRun, jobStatus, jobPause, jobResume, jobCancel, jobHistory,
	} {
		cmd, err := of(environ)
		root.AddCommand(cmd)
		errs = append(errs, err)
	}
	return root, errors.Join(errs...)
}

// neverFromEnvironment are what says yes, or why: a variable that somebody set once must not.
var neverFromEnvironment = []string{"DUPLEX_YES", "DUPLEX_FORCE", "DUPLEX_REASON", "DUPLEX_FILTER", "DUPLEX_LIMIT", "DUPLEX_TO", "DUPLEX_EDIT", "DUPLEX_TAKEOVER"} //nolint:gochecknoglobals // a constant

const planLong = `plan shows what a redrive of QUEUE would do, and changes nothing. It reads the whole queue.

With -O FILE the plan is kept, for 'duplex redrive apply FILE', by somebody else if need be;
it holds for 12 hours, and only while things are as it says.

Exit codes: 0 planned, also where there is nothing to do; 1 there is no such queue, or the
cluster did not answer; 2 usage; 4 a guard refused it: a target that is a queue, or that is
not allowed; 130 interrupted.`

func redrivePlan(environ []string) (*cobra.Command, error) {
	o := &jobOptions{environ: environ}
	out := ""
	cmd := &cobra.Command{
		Use: "plan QUEUE", Short: "Show what a redrive would do", Long: planLong, Args: wants("QUEUE"),
		Example: "  duplex redrive plan dlq.billing.orders\n  duplex redrive plan dlq.billing.orders -G 'fingerprint=v1:9c11 age<1d' -O plan.json",
	}
	o.addChoice(cmd)
	o.addTarget(cmd)
	o.addEdit(cmd)
	o.addWho(cmd)
	cmd.Flags().StringVarP(&out, "out", "O", "", "keep the plan in a `file`")
	cmd.ValidArgsFunction = completion(environ, 1, queueNames)
	err := o.addFlags(cmd)
	cmd.RunE = command.Body(without(environ, neverFromEnvironment...), func(cmd *cobra.Command, args []string) error {
		return o.withRedriver(cmd, func(r *dlq.Redriver) error {
			plan, err := o.plan(cmd, r, args[0], dlq.KindRedrive)
			if err != nil {
				return err
			}
			if err := keepPlan(out, plan); err != nil {
				return err
			}
			return o.showPlan(cmd, plan)
		})
	})
	return cmd, err
}

// withRedriver runs fn with a Redriver.
func (o *jobOptions) withRedriver(cmd *cobra.Command, fn func(*dlq.Redriver) error) error {
	r, err := o.open(cmd)
	if err != nil {
		return err
	}
	err = fn(r)
	if cause := context.Cause(cmd.Context()); cause != nil && err != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	return errors.Join(err, r.Close())
}

// plan makes a plan, and shows how far the scan is.
func (o *jobOptions) plan(cmd *cobra.Command, r *dlq.Redriver, queue string, kind dlq.Kind) (*dlq.Plan, error) {
	cfg, err := o.planConfig(kind)
	if err != nil {
		return nil, err
	}
	if name := cfg.Target.Topic; name != "" {
		if err := o.cluster.Allows("redrive: planning", name); err != nil {
			return nil, err
		}
	}
	tell, done := progress(cmd.ErrOrStderr())
	defer done()
	cfg.Progress = tell
	return r.Plan(cmd.Context(), queue, cfg)
}

func keepPlan(file string, plan *dlq.Plan) error {
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(plan, "", "  ")
	if err == nil {
		err = os.WriteFile(file, append(text, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("redrive: keeping the plan in %q: %w", file, err)
	}
	return nil
}

const applyLong = `apply does what a plan in FILE says, if things are still as they were: else it is refused,
with what is different. It may be called again with the same plan, after a crash or after
it was done: each letter is published once.

Exit codes: 0 done, or nothing to do; 1 records are dead again or could not be published,
or the cluster did not answer; 2 usage; 4 a guard refused it: the plan does not fit any
more, another job works at the queue, nobody would receive the records, nobody said yes, or
the settings are read-only; 130 interrupted: 'duplex redrive resume' goes on.`

func redriveApply(environ []string) (*cobra.Command, error) {
	o := &jobOptions{environ: environ}
	cmd := &cobra.Command{
		Use: "apply FILE", Short: "Do what a plan says", Long: applyLong, Args: wants("FILE"),
		Example: "  duplex redrive apply plan.json --rate 50/s --canary 10 --abort-rate 20%",
	}
	o.addPace(cmd)
	o.addEdit(cmd)
	o.addConsent(cmd)
	err := o.addFlags(cmd)
	cmd.RunE = command.Body(without(environ, neverFromEnvironment...), func(cmd *cobra.Command, args []string) error {
		if !o.consent.dryRun {
			if err := o.cluster.Writes("redrive: applying the plan in " + args[0]); err != nil {
				return err
			}
		}
		plan, err := readPlan(args[0])
		if err != nil {
			return command.UsageError(err)
		}
		return o.withRedriver(cmd, func(r *dlq.Redriver) error { return o.apply(cmd, r, plan) })
	})
	return cmd, err
}

// mostPlan bounds a plan that is read.
const mostPlan = 256 << 20

func readPlan(file string) (*dlq.Plan, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("reading the plan: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mostPlan))
	if err != nil {
		return nil, fmt.Errorf("reading the plan: %w", err)
	}
	var plan dlq.Plan
	if err := json.Unmarshal(text, &plan); err != nil {
		return nil, fmt.Errorf("reading the plan in %q: %w: make it with 'duplex redrive plan -O'", file, err)
	}
	return &plan, nil
}

const runLong = `run makes a plan for QUEUE, shows it, asks, and applies it. With --yes it does not ask; a
script has to give that.

Exit codes: 0 done, or nothing to do; 1 records are dead again or could not be published,
there is no such queue, or the cluster did not answer; 2 usage; 4 a guard refused it: see
'duplex redrive apply --help'; 130 interrupted: 'duplex redrive resume' goes on.`

func redriveRun(environ []string) (*cobra.Command, error) {
	o := &jobOptions{environ: environ}
	cmd := &cobra.Command{
		Use: "run QUEUE", Short: "Plan, ask, apply", Long: runLong, Args: wants("QUEUE"),
		Example: "  duplex redrive run dlq.billing.orders -G reason=exhausted --rate 50/s\n" +
			`  duplex redrive run dlq.billing.orders --edit 'jq -c ".value |= sub(\"NaN\"; \"0\")"' --yes`,
	}
	o.addChoice(cmd)
	o.addTarget(cmd)
	o.addEdit(cmd)
	o.addPace(cmd)
	o.addConsent(cmd)
	o.addWho(cmd)
	cmd.ValidArgsFunction = completion(environ, 1, queueNames)
	err := o.addFlags(cmd)
	cmd.RunE = command.Body(without(environ, neverFromEnvironment...), func(cmd *cobra.Command, args []string) error {
		return o.planAndApply(cmd, args[0], dlq.KindRedrive)
	})
	return cmd, err
}

// planAndApply is a whole job.
func (o *jobOptions) planAndApply(cmd *cobra.Command, queue string, kind dlq.Kind) error {
	if !o.consent.dryRun {
		if err := o.cluster.Writes(fmt.Sprintf("dlq: to %s letters of %s", kind, queue)); err != nil {
			return err
		}
	}
	if _, err := o.applyConfig(shell.NewLines(io.Discard, "")); err != nil { // before the queue is read
		return err
	}
	return o.withRedriver(cmd, func(r *dlq.Redriver) error {
		plan, err := o.plan(cmd, r, queue, kind)
		if err != nil {
			return err
		}
		return o.apply(cmd, r, plan)
	})
}

// apply shows a plan, asks, and applies it.
func (o *jobOptions) apply(cmd *cobra.Command, r *dlq.Redriver, plan *dlq.Plan) error {
	op := fmt.Sprintf("dlq: to %s %s letters of %s", plan.Kind, terminal.Count(plan.Records), plan.Queue)
	cfg, err := o.applyConfig(shell.NewLines(cmd.ErrOrStderr(), "edit: "))
	if err != nil {
		return err
	}
	if o.consent.dryRun {
		return o.showPlan(cmd, plan)
	}
	if plan.Records > 0 && (!o.consent.yes || !o.json) {
		if err := o.writePlan(cmd, cmd.ErrOrStderr(), plan); err != nil {
			return err
		}
	}
	if plan.Records > 0 && !o.consent.yes {
		if err := confirm(cmd, op, fmt.Sprintf("To %s these %s letters?", plan.Kind, terminal.Count(plan.Records))); err != nil {
			return err
		}
	}
	show, done := showJob(cmd)
	defer done()
	cfg.Progress = show
	job, err := r.Apply(cmd.Context(), plan, cfg)
	done()
	return o.ended(cmd, job, err)
}

// ended says what became of a job.
func (o *jobOptions) ended(cmd *cobra.Command, job *dlq.Job, err error) error {
	if job == nil || (err != nil && job.ID == "") {
		return err
	}
	if shown := o.showJobs(cmd, job); shown != nil {
		return shown
	}
	switch {
	case err != nil && !job.State.Over():
		fmt.Fprintf(cmd.ErrOrStderr(), "job %s is not over: duplex redrive resume %s %s\n", job.ID, job.Plan.Queue, job.ID)
		return err
	case err != nil:
		return err
	case job.State == dlq.JobAborted, job.DeadAgain > 0, job.Left > 0:
		return command.ErrFailed
	}
	return nil
}
