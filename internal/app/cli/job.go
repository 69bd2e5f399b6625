package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/app/shell"
	"github.com/duplex-go/duplex/internal/command"
)

const exitsOfJobs = `

Exit codes: 0 all went well; 1 the cluster did not answer; 2 usage; 4 there is no such job,
or it is over, or the settings are read-only; 130 interrupted.`

// jobCommand is one about a job of a queue: ID may be left out where it is the one that is not
// over, or the last one. writes says what it does that changes something, "" if it does not.
func jobCommand(use, short, long string, o *jobOptions, writes string, more func(*cobra.Command), run func(*cobra.Command, *dlq.Redriver, *dlq.Job) error) (*cobra.Command, error) {
	cmd := &cobra.Command{Use: use + " QUEUE [ID]", Short: short, Long: long, Example: "  duplex redrive " + use + " dlq.billing.orders", Args: cobra.RangeArgs(1, 2)}
	cmd.Flags().SortFlags = false
	if more != nil {
		more(cmd)
	}
	cmd.ValidArgsFunction = completion(o.environ, 1, queueNames)
	err := o.addFlags(cmd)
	cmd.RunE = command.Body(without(o.environ, neverFromEnvironment...), func(cmd *cobra.Command, args []string) error {
		if writes != "" {
			if err := o.cluster.Writes("redrive: " + writes + " a job of " + args[0]); err != nil {
				return err
			}
		}
		return o.withRedriver(cmd, func(r *dlq.Redriver) error {
			j, err := findJob(cmd.Context(), r, args)
			if err != nil {
				return err
			}
			return run(cmd, r, j)
		})
	})
	return cmd, err
}

// findJob is the job that arguments name.
func findJob(ctx context.Context, r *dlq.Redriver, args []string) (*dlq.Job, error) {
	if len(args) == 2 {
		return r.Job(ctx, args[0], args[1])
	}
	jobs, err := r.Jobs(ctx, args[0])
	if err != nil {
		return nil, err
	}
	if len(jobs) == 0 {
		return nil, &duplex.Error{Op: "dlq: looking for the last job of " + args[0], Codes: []duplex.Code{duplex.ErrRefused}, Hint: "there was none"}
	}
	return jobs[len(jobs)-1], nil
}

func jobStatus(environ []string) (*cobra.Command, error) {
	o := &jobOptions{environ: environ}
	return jobCommand("status", "Show how far a job is", "status shows how far a job of QUEUE is: the one with the ID, or the last one."+exitsOfJobs, o, "", nil,
		func(cmd *cobra.Command, _ *dlq.Redriver, j *dlq.Job) error { return o.showJobs(cmd, j) })
}

func jobPause(environ []string) (*cobra.Command, error) {
	o := &jobOptions{environ: environ}
	return jobCommand("pause", "Have a job hold", "pause has a job of QUEUE hold, within a second, until 'duplex redrive resume'."+exitsOfJobs, o, "pausing", o.addWho,
		func(cmd *cobra.Command, r *dlq.Redriver, j *dlq.Job) error {
			if err := r.Pause(cmd.Context(), j.Plan.Queue, j.ID, o.who()); err != nil {
				return err
			}
			return o.awaitState(cmd, r, j, dlq.JobPaused)
		})
}

const cancelLong = `cancel ends a job of QUEUE: what it has not come to is open again. What it published is not
taken back.` + exitsOfJobs

func jobCancel(environ []string) (*cobra.Command, error) {
	o := &jobOptions{environ: environ}
	more := func(cmd *cobra.Command) {
		o.addWho(cmd)
		cmd.Flags().StringVarP(&o.reason, "reason", "r", "", "why, for the audit")
	}
	return jobCommand("cancel", "End a job", cancelLong, o, "cancelling", more, func(cmd *cobra.Command, r *dlq.Redriver, j *dlq.Job) error {
		if err := r.Cancel(cmd.Context(), j.Plan.Queue, j.ID, o.who(), o.reason); err != nil {
			return err
		}
		return o.awaitState(cmd, r, j, dlq.JobCancelled)
	})
}

// awaitState waits until whoever works at a job has done what was asked of it, and shows it.
func (o *jobOptions) awaitState(cmd *cobra.Command, r *dlq.Redriver, j *dlq.Job, want dlq.JobState) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
	defer cancel()
	for {
		now, err := r.Job(ctx, j.Plan.Queue, j.ID)
		if err == nil && (now.State == want || now.State.Over()) {
			return o.showJobs(cmd, now)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("redrive: job %s was asked, and does not answer: %w", j.ID, errors.Join(context.Cause(ctx), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

const resumeLong = `resume has a job of QUEUE go on: a paused one where it runs, at another --rate if there is
one; one whose process ended in this process, from its checkpoint. --takeover takes a job
from a process that still works at it, which ends then.` + exitsOfJobs

func jobResume(environ []string) (*cobra.Command, error) {
	o := &jobOptions{environ: environ}
	more := func(cmd *cobra.Command) {
		o.addPace(cmd)
		o.addEdit(cmd)
		o.addWho(cmd)
		cmd.Flags().BoolVar(&o.pace.takeover, "takeover", false, "take it from a process that works at it")
	}
	return jobCommand("resume", "Have a job go on", resumeLong, o, "resuming", more, func(cmd *cobra.Command, r *dlq.Redriver, j *dlq.Job) error {
		cfg, err := o.applyConfig(shell.NewLines(cmd.ErrOrStderr(), "edit: "))
		if err != nil {
			return err
		}
		if !o.pace.takeover && (j.State == dlq.JobPaused || j.State == dlq.JobRunning) {
			if err := r.Continue(cmd.Context(), j.Plan.Queue, j.ID, o.who(), cfg.Rate); err != nil {
				return err
			}
			return o.awaitState(cmd, r, j, dlq.JobRunning)
		}
		show, done := showJob(cmd)
		defer done()
		cfg.Progress = show
		job, err := r.Resume(cmd.Context(), j.Plan.Queue, j.ID, cfg)
		done()
		return o.ended(cmd, job, err)
	})
}

const historyLong = `history lists the jobs of QUEUE, the oldest first. --audit prints instead what was done, and
by whom, as lines of JSON: each transaction with the offsets of its letters.

Exit codes: 0 listed; 1 there is no such queue, or the cluster did not answer; 2 usage; 130
interrupted.`

func jobHistory(environ []string) (*cobra.Command, error) {
	o := &jobOptions{environ: environ}
	audit := false
	cmd := &cobra.Command{
		Use: "history QUEUE", Short: "List the jobs of a queue", Long: historyLong, Args: wants("QUEUE"),
		Example: "  duplex redrive history dlq.billing.orders\n  duplex redrive history dlq.billing.orders --audit > audit.ndjson",
	}
	cmd.Flags().SortFlags = false
	cmd.Flags().BoolVar(&audit, "audit", false, "print the audit instead")
	cmd.ValidArgsFunction = completion(environ, 1, queueNames)
	err := o.addFlags(cmd)
	cmd.RunE = command.Body(environ, func(cmd *cobra.Command, args []string) error {
		return o.withRedriver(cmd, func(r *dlq.Redriver) error {
			if audit {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				return r.Audit(cmd.Context(), args[0], func(a dlq.Audit) error { return encoder.Encode(a) })
			}
			jobs, err := r.Jobs(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), jobs)
			}
			return jobTable(cmd.OutOrStdout(), jobs)
		})
	})
	return cmd, err
}

const discardLong = `discard closes letters of QUEUE: they stay where they are until they expire, and are not
redriven any more. It shows its plan and asks; --reason is required. 'duplex dlq restore'
opens them again.

Exit codes: 0 done, or nothing to do; 1 there is no such queue, or the cluster did not
answer; 2 usage; 4 a guard refused it: another job works at the queue, nobody said yes, or
the settings are read-only; 130 interrupted.`

const restoreLong = `restore opens letters of QUEUE again that were discarded. It shows its plan and asks.

Exit codes: as 'duplex dlq discard'.`

func discardCommand(environ []string) (*cobra.Command, error) {
	return closing(environ, dlq.KindDiscard, "Close letters, with a reason", discardLong, "  duplex dlq discard dlq.billing.orders -G fingerprint=v1:9c11 --reason 'test data'")
}

func restoreCommand(environ []string) (*cobra.Command, error) {
	return closing(environ, dlq.KindRestore, "Open letters that were discarded", restoreLong, "  duplex dlq restore dlq.billing.orders -G fingerprint=v1:9c11")
}

func closing(environ []string, kind dlq.Kind, short, long, example string) (*cobra.Command, error) {
	o := &jobOptions{environ: environ}
	cmd := &cobra.Command{Use: string(kind) + " QUEUE", Short: short, Long: long, Example: example, Args: wants("QUEUE")}
	o.addChoice(cmd)
	o.addConsent(cmd)
	o.addWho(cmd)
	cmd.ValidArgsFunction = completion(environ, 1, queueNames)
	err := o.addFlags(cmd)
	cmd.RunE = command.Body(without(environ, neverFromEnvironment...), func(cmd *cobra.Command, args []string) error {
		return o.planAndApply(cmd, args[0], kind)
	})
	return cmd, err
}
