package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/kafka"
)

const checkLagLong = `check lag says how far GROUP is behind: in records, and with --age in time. Records that
wait in its retry topics count too, unless --topic names other topics; its dead letters do
not. More than --warn or --critical is too much; one of these, or --age, must be there.

Exit codes: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN: there is no such group, something of
it is not known and the rest is not critical, no answer within --timeout, or usage;
130 interrupted.`

const checkLagExamples = `  duplex check lag billing --warn 100 --critical 1000
  duplex check lag billing --topic orders --age 5m
  duplex check lag billing --critical 1000 --format prometheus > lag.prom`

type lagCheck struct {
	limits
	cluster *config.ClusterFlags
	topics  []string
	timeout time.Duration
}

func checkLagCommand(environ []string) (*cobra.Command, error) {
	c := &lagCheck{}
	cmd := &cobra.Command{
		Use: "lag GROUP", Short: "Check how far a group is behind", Long: checkLagLong, Example: checkLagExamples,
		Args: wants("GROUP"), ValidArgsFunction: completion(environ, 1, groupNames),
	}
	flags := cmd.Flags()
	c.addFlags(flags, -1, "records are not finished", "these")
	flags.StringSliceVarP(&c.topics, "topic", "t", nil, "look only at these `topics`; several with commas")
	flags.DurationVar(&c.timeout, "timeout", 10*time.Second, "how long all of it may take")
	var err error
	c.cluster, err = config.AddClusterFlags(flags, "duplex-check")
	config.AddFlags(flags)
	return cmd, errors.Join(err, checking(environ, cmd, &c.limits, func(cmd *cobra.Command, args []string) (*outcome, error) { return c.look(cmd, args[0]) }),
		cmd.RegisterFlagCompletionFunc("topic", flagCompletion(environ, topicNames)))
}

func (c *lagCheck) look(cmd *cobra.Command, group string) (*outcome, error) {
	if c.warn < 0 && c.critical < 0 && c.age == 0 {
		return nil, errors.New("nothing to compare with: want --warn, --critical or --age")
	}
	return inTime(cmd, c.cluster.Cluster(), c.timeout, func(ctx context.Context, _ duplex.Cluster, client *kgo.Client) (*outcome, error) {
		v, err := findGroup(ctx, client, group)
		if err != nil {
			return nil, err
		}
		measure(ctx, kadm.NewClient(client), []*groupView{v})
		return c.judgeGroup(ctx, v)
	})
}

// judgeGroup adds up what was asked for.
func (c *lagCheck) judgeGroup(ctx context.Context, v *groupView) (*outcome, error) {
	o := &outcome{}
	problem := v.Error
	lag := int64(0)
	heads := map[string]map[int32]kgo.Offset{}
	there := map[string]bool{}
	for i := range v.Topics {
		t := &v.Topics[i]
		if !t.read || len(c.topics) > 0 && !slices.Contains(c.topics, t.Topic) {
			continue
		}
		there[t.Topic] = true
		problem = cmp.Or(problem, t.Error)
		lag += t.Lag
		o.Figures = append(o.Figures, figure{Name: "topic", Value: t.Lag, Labels: map[string]string{"group": v.Group, "topic": t.Topic}, help: "Records of a topic that the group has not finished.", detail: true})
		for _, p := range t.Partitions {
			problem = cmp.Or(problem, p.Error)
			if p.Lag > 0 && heads[t.Topic] == nil {
				heads[t.Topic] = map[int32]kgo.Offset{}
			}
			if p.Lag > 0 {
				heads[t.Topic][p.Partition] = kgo.NewOffset().At(max(p.Committed, p.Start))
			}
		}
	}
	for _, topic := range c.topics {
		if !there[topic] {
			return nil, fmt.Errorf("group %s does not read topic %s", v.Group, topic)
		}
	}
	total := figure{Name: "lag", Value: lag, Warn: threshold(c.warn), Critical: threshold(c.critical), Labels: map[string]string{"group": v.Group}, help: "Records that the group has not finished."}
	o.Figures = append([]figure{total}, o.Figures...)
	o.Text = fmt.Sprintf("group %s (%s, %d members): %d records not finished", v.Group, v.State, len(v.Members), lag)
	o.worse(c.judge(lag))
	if c.age > 0 {
		problem = cmp.Or(problem, c.judgeAge(ctx, o, v.Group, heads))
	}
	if problem != "" {
		o.worse(checkUnknown)
		o.Text += "; not all is known: " + problem
	}
	return o, nil
}

// judgeAge looks at the first record of each partition that is not finished; what keeps it
// from that is given back.
func (c *lagCheck) judgeAge(ctx context.Context, o *outcome, group string, heads map[string]map[int32]kgo.Offset) (problem string) {
	oldest, err := c.oldest(ctx, heads)
	if err != nil {
		problem = err.Error()
	}
	age := int64(0)
	if !oldest.IsZero() {
		age = seconds(time.Since(oldest))
		o.Text += fmt.Sprintf(", the oldest for %ds", age)
	}
	if age > seconds(c.age) {
		o.worse(checkCritical)
	}
	o.Figures = append(o.Figures, figure{
		Name: "age", Value: age, Unit: "s", Critical: threshold(seconds(c.age)), Labels: map[string]string{"group": group},
		help: "How long ago the oldest record was written that the group has not finished.",
	})
	return problem
}

// oldest is the time of the oldest record of those at the offsets.
func (c *lagCheck) oldest(ctx context.Context, at map[string]map[int32]kgo.Offset) (oldest time.Time, err error) {
	left := 0
	for _, partitions := range at {
		left += len(partitions)
	}
	if left == 0 {
		return oldest, nil
	}
	const enough = 64 << 10 // the first batch is given whole
	reader, err := kafka.NewClient(c.cluster.Cluster(), nil, kgo.ConsumePartitions(at), kgo.KeepControlRecords(), kgo.FetchMaxPartitionBytes(enough))
	if err != nil {
		return oldest, err
	}
	defer reader.Close()
	seen := map[string]map[int32]bool{}
	for left > 0 {
		fetches := reader.PollFetches(ctx)
		if ctx.Err() != nil {
			return oldest, fmt.Errorf("reading the oldest records: no answer for %d partitions in time", left)
		}
		var failed error
		fetches.EachError(func(topic string, partition int32, err error) {
			failed = kafka.Explain(fmt.Sprintf("reading %s/%d", topic, partition), err)
		})
		if failed != nil {
			return oldest, failed
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if len(p.Records) == 0 || seen[p.Topic][p.Partition] {
				return
			}
			if seen[p.Topic] == nil {
				seen[p.Topic] = map[int32]bool{}
			}
			seen[p.Topic][p.Partition] = true
			left--
			if first := p.Records[0].Timestamp; oldest.IsZero() || first.Before(oldest) {
				oldest = first
			}
			reader.PauseFetchPartitions(map[string][]int32{p.Topic: {p.Partition}})
		})
	}
	return oldest, nil
}
