package cli

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/app/shell"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/kafka"
)

// jobOptions are the flags of commands that plan, or work at, a job on dead letters.
type jobOptions struct {
	environ []string
	cluster *config.ClusterFlags
	timeout time.Duration
	json    bool

	choice  choice
	consent consent
	by      string
	reason  string

	to            string
	allow         []string
	edit          string
	force         bool
	maxGeneration int

	pace pacing
}

// choice says which letters.
type choice struct {
	filter string
	limit  int64
}

// consent says yes, or that nothing is to be changed.
type consent struct{ yes, dryRun bool }

// pacing says how fast.
type pacing struct {
	rate, abortRate    string
	ramp, await        time.Duration
	canary, maxPending int64
	takeover           bool
}

// addFlags adds those that all have.
func (o *jobOptions) addFlags(cmd *cobra.Command) (err error) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVar(&o.json, "json", false, "print JSON")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Second, "how long the cluster may take to be found")
	o.cluster, err = config.AddClusterFlags(flags, "duplex-redrive")
	config.AddFlags(flags)
	return err
}

func (o *jobOptions) addChoice(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVarP(&o.choice.filter, "filter", "G", "", "only letters that fit, such as `'reason=exhausted age<1d'`, see 'duplex dlq --help'")
	flags.Int64VarP(&o.choice.limit, "limit", "n", 0, "at most so many, the oldest of each partition first")
	flags.StringVarP(&o.reason, "reason", "r", "", "why, for the audit")
}

// addWho adds who it is.
func (o *jobOptions) addWho(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.by, "by", "", "who, for the audit (default: your name and host)")
}

func (o *jobOptions) addTarget(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.to, "to", "retry", "`where` to: retry, the redrive topic of the group that failed, which nobody else reads; origin, where all groups see the records again; topic:NAME")
	flags.StringSliceVar(&o.allow, "allow", nil, "topics that --to topic:NAME may name, as `patterns` such as repair.*; those of a profile weigh more")
	flags.BoolVar(&o.force, "force", false, "also letters that came back too often, and for a group that nobody runs; needs --reason")
	flags.IntVar(&o.maxGeneration, "max-generation", dlq.DefaultMaxGeneration, "how often a letter may have come back")
}

func (o *jobOptions) addEdit(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.edit, "edit", "", "change the records with a `command`, see above")
}

func (o *jobOptions) addPace(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.pace.rate, "rate", "", "at most so many `records` a second, such as 50 or 50/s (default: as fast as it goes)")
	flags.DurationVar(&o.pace.ramp, "ramp", 0, "how long it takes to get to --rate, from a tenth of it")
	flags.Int64Var(&o.pace.canary, "canary", 0, "send so many first, and go on once it is known what became of them")
	flags.Int64Var(&o.pace.maxPending, "max-pending", 0, "have at most so many under way whose outcome is not known")
	flags.StringVar(&o.pace.abortRate, "abort-rate", "", "stop when more than this `part` of the outcomes is dead again, such as 20%")
	flags.DurationVar(&o.pace.await, "await", 30*time.Second, "how long to wait for outcomes once all is sent")
}

func (o *jobOptions) addConsent(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&o.consent.yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&o.consent.dryRun, "dry-run", false, "show the plan, and change nothing")
}

// open makes a Redriver, once the cluster answers.
func (o *jobOptions) open(cmd *cobra.Command) (*dlq.Redriver, error) {
	if o.timeout <= 0 {
		return nil, command.UsageError(fmt.Errorf("--timeout %s: must be positive", o.timeout))
	}
	allow := o.allow
	if globs, listed := o.cluster.Allow(); listed {
		allow = globs
	}
	r, err := dlq.NewRedriver(dlq.RedriverConfig{Cluster: o.cluster.Cluster(), Allow: allow, Logger: logger(cmd.ErrOrStderr(), false, zap.WarnLevel)})
	if err != nil {
		return nil, command.UsageError(err)
	}
	client, err := kafka.NewClient(o.cluster.Cluster(), nil)
	if err == nil {
		defer client.Close()
		err = kafka.Reach(cmd.Context(), client, "dlq", o.timeout)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// planConfig is what the flags ask for.
func (o *jobOptions) planConfig(kind dlq.Kind) (c dlq.PlanConfig, err error) {
	c = dlq.PlanConfig{
		Kind: kind, Limit: o.choice.limit, By: o.who(), Reason: o.reason, Force: o.force, Edited: o.edit != "", MaxGeneration: o.maxGeneration,
	}
	var errs []error
	if c.Filter, err = dlq.ParseFilter(o.choice.filter); err != nil {
		errs = append(errs, fmt.Errorf("--filter: %w", err))
	}
	if kind == dlq.KindRedrive {
		if c.Target, err = dlq.ParseTarget(o.to); err != nil {
			errs = append(errs, fmt.Errorf("--to: %w", err))
		}
	}
	return c, command.UsageError(errors.Join(append(errs, o.checkEdit(), c.Validate())...))
}

func (o *jobOptions) checkEdit() error {
	if o.edit == "" {
		return nil
	}
	if err := shell.Check(o.edit); err != nil {
		return fmt.Errorf("--edit: %w", err)
	}
	return nil
}

// applyConfig is how the flags have a job go about it.
func (o *jobOptions) applyConfig(stderr *shell.Lines) (c dlq.ApplyConfig, err error) {
	p := o.pace
	c = dlq.ApplyConfig{Ramp: p.ramp, Canary: p.canary, MaxPending: p.maxPending, Await: p.await, Takeover: p.takeover}
	var rateErr, abortErr error
	if c.Rate, rateErr = parseRate(p.rate); rateErr != nil {
		rateErr = fmt.Errorf("--rate %q: want a number of records a second, such as 50 or 50/s", p.rate)
	}
	if c.AbortRate, abortErr = parsePart(p.abortRate); abortErr != nil {
		abortErr = fmt.Errorf("--abort-rate %q: want a part, such as 20%% or 0.2", p.abortRate)
	}
	if o.edit != "" {
		c.Edit = editWith(o.edit, o.environ, stderr)
	}
	return c, command.UsageError(errors.Join(rateErr, abortErr, o.checkEdit(), c.Validate()))
}

func parseRate(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(text, "/s"), 64)
	if err == nil && !(v > 0 && v <= math.MaxInt32) {
		err = strconv.ErrRange
	}
	return v, err //nolint:wrapcheck // said in other words
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
	return v, err //nolint:wrapcheck // said in other words
}

// who is a person's name and host, as far as they are known.
func (o *jobOptions) who() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return cmp.Or(o.by, name)
}
