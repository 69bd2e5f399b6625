package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/app/shell"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/internal/terminal"
)

// jobOptions are the flags of commands that plan, or work at, a job.
type jobOptions struct {
	environ []string
	cluster *config.ClusterFlags
	timeout time.Duration
	json    bool

	filter, reason, by string
	limit              int64
	force, yes, dryRun bool
	maxGeneration      int

	to    string
	allow []string
	edit  string

	rate       string
	ramp       time.Duration
	canary     int64
	maxPending int64
	abortRate  string
	await      time.Duration
	takeover   bool
	out        string
}

// addFlags adds those that all have.
func (o *jobOptions) addFlags(cmd *cobra.Command) (err error) {
	flags := cmd.Flags()
	flags.BoolVar(&o.json, "json", false, "print JSON")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long the cluster may take to be found")
	o.cluster, err = config.AddClusterFlags(flags, "duplex-redrive")
	config.AddFlags(flags)
	return err
}

// addChoice adds those that choose letters.
func (o *jobOptions) addChoice(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&o.filter, "filter", "G", "", "only letters that fit, such as `'reason=exhausted error~timeout age<1d'`, see 'duplex dlq --help'")
	flags.Int64VarP(&o.limit, "limit", "n", 0, "at most so many, the oldest of each partition first")
	flags.StringVarP(&o.reason, "reason", "r", "", "why, for the audit")
	flags.StringVar(&o.by, "by", "", "who, for the audit (default: your name and host)")
}

// addTarget adds those that say where letters go.
func (o *jobOptions) addTarget(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.to, "to", "retry", "`where` to: retry, the redrive topic of the group that failed, which nobody else reads; origin, where all groups see the records again; topic:NAME")
	flags.StringSliceVar(&o.allow, "allow", nil, "topics that --to topic:NAME may name, as `patterns` such as repair.*")
	flags.StringVar(&o.edit, "edit", "", "change the records with a `command`, see above")
	flags.BoolVar(&o.force, "force", false, "also letters that came back too often, and a group that nobody runs; needs --reason")
	flags.IntVar(&o.maxGeneration, "max-generation", dlq.DefaultMaxGeneration, "how often a letter may have come back")
}

// addPace adds those that say how fast.
func (o *jobOptions) addPace(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.rate, "rate", "", "at most so many `records` a second, such as 50 or 50/s (default: as fast as it goes)")
	flags.DurationVar(&o.ramp, "ramp", 0, "how long it takes to get to --rate, from a tenth of it")
	flags.Int64Var(&o.canary, "canary", 0, "send so many first, and go on once it is known what became of them")
	flags.Int64Var(&o.maxPending, "max-pending", 0, "have at most so many under way whose outcome is not known")
	flags.StringVar(&o.abortRate, "abort-rate", "", "stop when more than this `part` of the outcomes is dead again, such as 20%")
	flags.DurationVar(&o.await, "await", 30*time.Second, "how long to wait for outcomes once all is sent")
}

// addConsent adds those that say yes or no.
func (o *jobOptions) addConsent(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "show the plan, and change nothing")
}

// open makes a Redriver, once the cluster answers.
func (o *jobOptions) open(cmd *cobra.Command) (*dlq.Redriver, error) {
	if o.timeout <= 0 {
		return nil, command.UsageError(fmt.Errorf("--timeout %s: must be positive", o.timeout))
	}
	r, err := dlq.NewRedriver(dlq.RedriverConfig{Cluster: o.cluster.Cluster(), Allow: o.allow, Logger: logger(cmd.ErrOrStderr(), false, 0)})
	if err != nil {
		return nil, command.UsageError(err)
	}
	client, err := kafka.NewClient(o.cluster.Cluster(), nil)
	if err != nil {
		return nil, errors.Join(command.UsageError(err), r.Close())
	}
	defer client.Close()
	if err := kafka.Reach(cmd.Context(), client, "redrive", o.timeout); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// plan is what the flags ask for.
func (o *jobOptions) planConfig(kind dlq.Kind) (c dlq.PlanConfig, err error) {
	var errs []error
	c = dlq.PlanConfig{
		Kind: kind, Limit: o.limit, By: cmp.Or(o.by, whoAmI()), Reason: o.reason, Force: o.force, Edited: o.edit != "", MaxGeneration: o.maxGeneration,
	}
	if c.Filter, err = dlq.ParseFilter(o.filter); err != nil {
		errs = append(errs, fmt.Errorf("--filter: %w", err))
	}
	if kind == dlq.KindRedrive {
		if c.Target, err = dlq.ParseTarget(o.to); err != nil {
			errs = append(errs, fmt.Errorf("--to: %w", err))
		}
	}
	if o.edit != "" {
		errs = append(errs, checkEdit(o.edit))
	}
	return c, command.UsageError(errors.Join(append(errs, c.Validate())...))
}

func checkEdit(line string) error {
	if err := shell.Check(line); err != nil {
		return fmt.Errorf("--edit: %w", err)
	}
	return nil
}

// applyConfig is how the flags have a job go about it.
func (o *jobOptions) applyConfig(stderr *shell.Lines) (c dlq.ApplyConfig, err error) {
	c = dlq.ApplyConfig{Ramp: o.ramp, Canary: o.canary, MaxPending: o.maxPending, Await: o.await, Takeover: o.takeover}
	var rateErr, abortErr error
	if c.Rate, rateErr = parseRate(o.rate); rateErr != nil {
		rateErr = fmt.Errorf("--rate %q: want a number of records a second, such as 50 or 50/s", o.rate)
	}
	if c.AbortRate, abortErr = parsePart(o.abortRate); abortErr != nil {
		abortErr = fmt.Errorf("--abort-rate %q: want a part, such as 20%% or 0.2", o.abortRate)
	}
	if o.edit != "" {
		c.Edit = editWith(o.edit, o.environ, stderr)
	}
	return c, command.UsageError(errors.Join(rateErr, abortErr, c.Validate()))
}

func parseRate(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(text, "/s"), 64)
	if err == nil && (v <= 0 || math.IsInf(v, 0) || math.IsNaN(v)) {
		err = strconv.ErrRange
	}
	return v, err
}

func parsePart(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err == nil && !(v > 0 && v <= 1) {
		err = strconv.ErrRange
	}
	return v, err
}

// whoAmI is a person's name and host, as far as they are known.
func whoAmI() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}

// scanning shows how far a scan is.
type scanning struct {
	progress *terminal.Progress
	latest   chan dlq.Progress
}

// showScan shows a line on a terminal, until close is called.
func showScan(cmd *cobra.Command) (tell func(dlq.Progress), done func()) {
	latest := make(chan dlq.Progress, 1)
	shown := dlq.Progress{}
	p := terminal.Show(cmd.ErrOrStderr(), func() string {
		select {
		case shown = <-latest:
		default:
		}
		return fmt.Sprintf("reading: %s of %s, %s letters fit", terminal.Count(shown.Read), terminal.Count(shown.Of), terminal.Count(shown.Matched))
	})
	return func(s dlq.Progress) {
		select {
		case <-latest:
		default:
		}
		latest <- s
	}, p.Close
}

// refuse is the error of a guard.
func refuse(op, hint string) error {
	return &duplex.Error{Op: op, Codes: []duplex.Code{duplex.ErrRefused}, Hint: hint}
}

// within is ctx for as long as the cluster may take to answer.
func (o *jobOptions) within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, o.timeout)
}
