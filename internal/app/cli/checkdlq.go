package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/config"
)

const checkDeadLong = `check dlq says how many dead letters are open, how old the oldest is, and when the first
will be deleted by its topic's retention: in the queues that are named, or in all.

A letter is open until it was redriven and handled, or discarded.

Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN: there is no such queue, something of
one is not known and the rest is not critical, no answer within --timeout, or usage;
130 interrupted.`

const checkDeadExamples = `  duplex check dlq
  duplex check dlq dlq.billing.orders --warn 0 --critical 100 --age 24h
  duplex check dlq --loss 72h --format json`

type deadCheck struct {
	limits
	cluster *config.ClusterFlags
	loss    time.Duration
	timeout time.Duration
}

func checkDeadCommand(environ []string) (*cobra.Command, error) {
	c := &deadCheck{}
	cmd := &cobra.Command{
		Use: "dlq [TOPIC]...", Short: "Check how many dead letters are open, and for how long", Long: checkDeadLong, Example: checkDeadExamples,
		Args: cobra.ArbitraryArgs, ValidArgsFunction: completion(environ, mostCompletions, topicNames),
	}
	flags := cmd.Flags()
	c.addFlags(flags, 0, "letters are open", "these")
	flags.DurationVar(&c.loss, "loss", 24*time.Hour, "CRITICAL if an open letter may be deleted within this time; 0 for never")
	flags.DurationVar(&c.timeout, "timeout", time.Minute, "how long all of it may take: letters are read until the first open one")
	var err error
	c.cluster, err = config.AddClusterFlags(flags, "duplex-check")
	config.AddFlags(flags)
	return cmd, errors.Join(err, checking(environ, cmd, &c.limits, c.look))
}

func (c *deadCheck) look(cmd *cobra.Command, topics []string) (*outcome, error) {
	if c.loss < 0 {
		return nil, fmt.Errorf("--loss %s: must not be negative", c.loss)
	}
	return inTime(cmd, c.cluster.Cluster(), c.timeout, func(ctx context.Context, cluster duplex.Cluster, _ *kgo.Client) (*outcome, error) {
		inspector, err := dlq.NewInspector(dlq.InspectorConfig{Cluster: cluster, Timeout: c.timeout})
		if err != nil {
			return nil, err
		}
		defer inspector.Close()
		queues, err := inspector.Queues(ctx, topics...)
		if err != nil {
			return nil, err
		}
		if len(topics) > 0 {
			queues = slices.DeleteFunc(queues, func(q dlq.Queue) bool { return !slices.Contains(topics, q.Topic) })
		}
		return c.judgeQueues(queues), nil
	})
}

// judgeQueues adds up queues.
func (c *deadCheck) judgeQueues(queues []dlq.Queue) *outcome {
	o := &outcome{}
	var details []figure
	open, filled, age, loss, problem := int64(0), 0, int64(0), time.Duration(-1), ""
	for _, q := range queues {
		of := map[string]string{"topic": q.Topic}
		if q.Trouble != "" {
			problem = cmp.Or(problem, q.Topic+": "+q.Trouble)
			continue
		}
		details = append(details, figure{Name: "queue", Value: q.Open, Labels: of, help: "Open dead letters of a queue.", detail: true})
		if q.Open == 0 {
			continue
		}
		open, filled = open+q.Open, filled+1
		if !q.Oldest.IsZero() {
			age = max(age, seconds(time.Since(q.Oldest)))
		}
		if q.TimeToLoss >= 0 && (loss < 0 || q.TimeToLoss < loss) {
			loss = q.TimeToLoss
		}
	}
	o.Text = fmt.Sprintf("%d letters open in %d of %d queues", open, filled, len(queues))
	o.worse(c.judge(open))
	o.Figures = append(o.Figures, figure{Name: "open", Value: open, Warn: threshold(c.warn), Critical: threshold(c.critical), help: "Open dead letters."},
		figure{Name: "age", Value: age, Unit: "s", help: "How long ago the oldest open dead letter was written."})
	if c.age > 0 {
		o.Figures[1].Critical = threshold(seconds(c.age))
	}
	if open > 0 {
		o.Text += fmt.Sprintf(", the oldest for %ds", age)
	}
	if c.age > 0 && age > seconds(c.age) {
		o.worse(checkCritical)
	}
	if loss >= 0 {
		o.Text += fmt.Sprintf(", the first may be deleted in %ds", seconds(loss))
		o.Figures = append(o.Figures, figure{Name: "loss", Value: seconds(loss), Unit: "s", help: "In how long the first open dead letter may be deleted."})
		if c.loss > 0 && loss < c.loss {
			o.worse(checkCritical)
		}
	}
	o.Figures = append(o.Figures, details...)
	if problem != "" {
		o.worse(checkUnknown)
		o.Text += "; not all is known: " + problem
	}
	return o
}
