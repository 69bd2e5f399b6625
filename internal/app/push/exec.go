package push

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/app/shell"
)

// The values of --order.
const (
	orderKey       = "key"
	orderPartition = "partition"
	orderNone      = "none"
)

const defaultRetryMin = time.Second

func orderings() map[string]consumer.Ordering {
	return map[string]consumer.Ordering{orderKey: consumer.ByKey, orderPartition: consumer.ByPartition, orderNone: consumer.Unordered}
}

// validateExec looks at --exec and at what belongs to it.
func (o *options) validateExec() error {
	if o.exec == "" {
		return o.validateLines()
	}
	var errs []error
	if err := shell.Check(o.exec); err != nil {
		errs = append(errs, fmt.Errorf("--exec %w", err))
	}
	if o.output != outputJSON {
		errs = append(errs, fmt.Errorf("--output %s: not with --exec, whose command gets the value as it is and writes what it likes", o.output))
	}
	if _, ok := orderings()[o.order]; !ok {
		errs = append(errs, fmt.Errorf("--order %q: want %s", o.order, strings.Join(slices.Sorted(maps.Keys(orderings())), ", ")))
	}
	if o.concurrency < 1 {
		errs = append(errs, fmt.Errorf("--concurrency %d: must be at least 1", o.concurrency))
	}
	if o.handlerTimeout < 0 {
		errs = append(errs, fmt.Errorf("--handler-timeout %s: must not be negative", o.handlerTimeout))
	}
	if o.retryMin <= 0 || o.retryMax < o.retryMin {
		errs = append(errs, fmt.Errorf("--retry-min %s, --retry-max %s: want 0 < min <= max", o.retryMin, o.retryMax))
	}
	return errors.Join(append(errs, o.validateDLQ())...)
}

// validateDLQ refuses what would have no effect, and what the policy does.
func (o *options) validateDLQ() error {
	var errs []error
	retries := !slices.Equal(o.retry, dlq.DefaultDelays())
	for _, flag := range []struct {
		name   string
		set    bool
		wanted bool
		why    string
	}{
		{"retry", retries, true, "only with --dlq"}, {"max-attempts", o.maxAttempts != 0, true, "only with --dlq"}, {"keep-order", o.keepOrder, true, "only with --dlq"},
		{"retry-min", o.retryMin != defaultRetryMin, false, "not with --dlq, which waits as long as --retry says"},
		{"retry-max", o.retryMax != consumer.DefaultRetryMax, false, "not with --dlq, which waits as long as --retry says"},
	} {
		if flag.set && flag.wanted != o.dlq {
			errs = append(errs, fmt.Errorf("--%s: %s", flag.name, flag.why))
		}
	}
	if o.dlq {
		if err := o.policy().Validate(); err != nil {
			errs = append(errs, fmt.Errorf("--dlq, --retry, --max-attempts: %w", err))
		}
	}
	return errors.Join(errs...)
}

// validateLines refuses what would have no effect without --exec.
func (o *options) validateLines() error {
	var errs []error
	for _, flag := range []struct {
		name string
		set  bool
	}{
		{"order", o.order != orderKey}, {"concurrency", o.concurrency != consumer.DefaultConcurrency},
		{"dlq", o.dlq}, {"keep-order", o.keepOrder}, {"max-attempts", o.maxAttempts != 0}, {"retry", !slices.Equal(o.retry, dlq.DefaultDelays())},
		{"handler-timeout", o.handlerTimeout != 0}, {"retry-min", o.retryMin != defaultRetryMin}, {"retry-max", o.retryMax != consumer.DefaultRetryMax},
	} {
		if flag.set {
			errs = append(errs, fmt.Errorf("--%s: only with --exec: without it records are written one line after the other", flag.name))
		}
	}
	return errors.Join(errs...)
}

// requireCommand refuses an --exec that is there and empty, such as that of a
// variable that is not set: records would be written, and committed, instead.
func (o *options) requireCommand(cmd *cobra.Command) error {
	if o.exec == "" && cmd.Flags().Changed("exec") {
		return errors.New("--exec is empty: want a command, or no --exec")
	}
	return nil
}

func (o *options) runner(ctx context.Context, stop context.CancelCauseFunc, cmd *cobra.Command) *runner {
	return &runner{
		command: o.exec, environ: inherited(o.environ), out: newOutlet(cmd.OutOrStdout()), stderr: cmd.ErrOrStderr(),
		quota: newQuota(o.limit, ctx.Done()), stop: stop,
	}
}
