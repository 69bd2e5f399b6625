package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/producer"
	"github.com/duplex-go/duplex/rpc"
)

const checkLong = `check says what is wrong with topics that carry messages:

  missing            there is no such topic
  no-leader          partitions can neither be written nor read
  few-in-sync        fewer replicas are in sync than min.insync.replicas: nothing can be
                     published
  one-replica        one broker lost is records lost
  min-insync-one     an acknowledged record may be on one broker only
  no-spare           min.insync.replicas is all replicas: one broker away, and nothing can
                     be published
  unclean-election   a broker that missed acknowledged records may become the leader
  compacted          of records with one key all but the last are deleted
  short-retention    records are deleted sooner than --least-retention
  small-messages     records of --record-bytes are refused

--accept leaves findings out, such as compacted for a topic that is a table. The topics
that calls have for replies keep records for minutes on purpose; of them that is no finding.

Exit codes: 0 nothing is wrong, 1 there are findings or the cluster did not answer, 2 usage,
130 interrupted.`

const checkExamples = `  duplex topics check orders payments
  duplex topics check orders --accept one-replica,min-insync-one
  duplex topics check prices --accept compacted --json | jq -r '.[].findings[].says'`

// The findings of check, the worst first.
const (
	findMissing    = "missing"
	findNoLeader   = "no-leader"
	findFewInSync  = "few-in-sync"
	findOneReplica = "one-replica"
	findMinOne     = "min-insync-one"
	findNoSpare    = "no-spare"
	findUnclean    = "unclean-election"
	findCompacted  = "compacted"
	findShort      = "short-retention"
	findSmall      = "small-messages"
)

func findings() []string {
	return []string{findMissing, findNoLeader, findFewInSync, findOneReplica, findMinOne, findNoSpare, findUnclean, findCompacted, findShort, findSmall}
}

type checkOptions struct {
	asking
	accept         []string
	leastRetention time.Duration
	recordBytes    int
}

// checked is a topic that was looked at.
type checked struct {
	Topic      string         `json:"topic"`
	Partitions int            `json:"partitions"`
	Replicas   int            `json:"replicas"`
	Findings   []topicFinding `json:"findings"`
}

// topicFinding is what is wrong with a topic, and what to do.
type topicFinding struct {
	Code string `json:"code"`
	Says string `json:"says"`
	Do   string `json:"do"`
}

func checkCommand(environ []string) (*cobra.Command, error) {
	o := &checkOptions{}
	cmd := &cobra.Command{Use: "check NAME...", Short: "Say what is wrong with topics that carry messages", Long: checkLong, Example: checkExamples, Args: wantsTopics, ValidArgsFunction: completion(environ, mostCompletions, topicNames)}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringSliceVar(&o.accept, "accept", nil, "leave this `finding` out; repeat it, or use commas, for several")
	flags.DurationVar(&o.leastRetention, "least-retention", 24*time.Hour, "how long records must be kept at least")
	flags.IntVar(&o.recordBytes, "record-bytes", producer.DefaultMaxRecordBytes, "the largest record, in `bytes`, that must be taken")
	err := errors.Join(o.addFlags(cmd, "duplex-topics"), cmd.RegisterFlagCompletionFunc("accept", cobra.FixedCompletions(findings(), cobra.ShellCompDirectiveNoFileComp)))
	cmd.RunE = command.Body(environ, func(cmd *cobra.Command, args []string) error {
		if err := o.validate(args); err != nil {
			return command.UsageError(err)
		}
		return o.run(cmd, "topics", func(ctx context.Context, cmd *cobra.Command, client *kgo.Client) error {
			return o.check(ctx, cmd, client, args)
		})
	})
	return cmd, err
}

func (o *checkOptions) validate(args []string) error {
	var errs []error
	for _, name := range args {
		if err := duplex.ValidateTopicName(name); err != nil {
			errs = append(errs, fmt.Errorf("NAME: %w", err))
		}
	}
	for _, code := range o.accept {
		errs = append(errs, command.OneOf("--accept", code, findings()...))
	}
	if o.leastRetention < 0 {
		errs = append(errs, fmt.Errorf("--least-retention %s: must not be negative", o.leastRetention))
	}
	if o.recordBytes < 0 {
		errs = append(errs, fmt.Errorf("--record-bytes %d: must not be negative", o.recordBytes))
	}
	return errors.Join(errs...)
}

func (o *checkOptions) check(ctx context.Context, cmd *cobra.Command, client *kgo.Client, names []string) error {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	admin := kadm.NewClient(client)
	there := detailsOf(ctx, admin, names)
	all := make([]checked, 0, len(names))
	var errs []error
	done, end := counting(cmd.ErrOrStderr(), "topics", len(names))
	for _, name := range names {
		c, err := o.look(ctx, admin, name, there[name])
		if errs = append(errs, err); err == nil {
			all = append(all, c)
		}
		done.Add(1)
	}
	end()
	if err := o.write(cmd, all); err != nil {
		return errors.Join(append(errs, err)...)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(c checked) bool { return len(c.Findings) > 0 }) {
		return command.ErrFailed
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "duplex: nothing is wrong with %d topics\n", len(all))
	return nil
}

// look looks at one topic.
func (o *checkOptions) look(ctx context.Context, admin *kadm.Client, name string, d kadm.TopicDetail) (checked, error) {
	c := checked{Topic: name, Findings: []topicFinding{}}
	switch {
	case errors.Is(d.Err, kerr.UnknownTopicOrPartition):
		do := "duplex topics ensure " + name
		if all, err := admin.ListTopics(ctx); err == nil {
			if near := config.Nearest(name, slices.Values(all.Names())); near != "" {
				do = fmt.Sprintf("did you mean %q? or %s", near, do)
			}
		}
		o.find(&c, findMissing, do, "there is no such topic, or no right to see it")
		return c, nil
	case d.Err != nil:
		return c, kafka.Explain(fmt.Sprintf("topics: asking for topic %q", name), d.Err)
	}
	has, err := settingsOf(ctx, admin, name)
	if err != nil {
		return c, err
	}
	c.Partitions, c.Replicas = len(d.Partitions), d.Partitions.NumReplicas()
	o.lookAtReplicas(&c, d.Partitions, settingOf(has["min.insync.replicas"], 1))
	o.lookAtSettings(&c, has)
	return c, nil
}

// settingOf reads a setting that is a number.
func settingOf(text string, without int64) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return without
	}
	return n
}

func (o *checkOptions) find(c *checked, code, do, says string, args ...any) {
	if !slices.Contains(o.accept, code) {
		c.Findings = append(c.Findings, topicFinding{code, fmt.Sprintf(says, args...), do})
	}
}

func (o *checkOptions) lookAtReplicas(c *checked, partitions kadm.PartitionDetails, least int64) {
	var headless, few []int32
	inSync := c.Replicas
	for _, p := range partitions.Sorted() {
		if p.Err != nil || p.Leader < 0 {
			headless = append(headless, p.Partition)
		}
		if int64(len(p.ISR)) < least {
			few, inSync = append(few, p.Partition), min(inSync, len(p.ISR))
		}
	}
	if len(headless) > 0 {
		o.find(c, findNoLeader, "start the brokers that have their replicas", "partitions %s have no leader", someNumbers(headless))
	}
	if len(few) > 0 {
		o.find(c, findFewInSync, "start the brokers that are missing, or lower min.insync.replicas",
			"partitions %s have too few replicas in sync, one only %d, and min.insync.replicas is %d: nothing can be published there", someNumbers(few), inSync, least)
	}
	switch replicas := int64(c.Replicas); {
	case replicas <= 1:
		o.find(c, findOneReplica, "add replicas: kafka-reassign-partitions.sh", "there is one replica: if its broker is lost, so are the records")
	case least <= 1:
		o.find(c, findMinOne, "set min.insync.replicas=2", "min.insync.replicas is %d: a record may be acknowledged when one of %d replicas has it", least, replicas)
	case least >= replicas:
		o.find(c, findNoSpare, fmt.Sprintf("set min.insync.replicas=%d, or add a replica", max(replicas-1, 1)),
			"min.insync.replicas is %d of %d replicas: while one broker is away nothing can be published", least, replicas)
	}
}

func (o *checkOptions) lookAtSettings(c *checked, has map[string]string) {
	if has["unclean.leader.election.enable"] == "true" {
		o.find(c, findUnclean, "set unclean.leader.election.enable=false", "a broker that missed acknowledged records may become the leader, and they are lost")
	}
	compacted := slices.Contains(strings.Split(has["cleanup.policy"], ","), "compact")
	if compacted {
		o.find(c, findCompacted, "set cleanup.policy=delete", "cleanup.policy is %s: of records with one key all but the last are deleted", has["cleanup.policy"])
	}
	least := o.leastRetention.Milliseconds()
	deletes := !compacted || strings.Contains(has["cleanup.policy"], "delete")
	if ms := settingOf(has["retention.ms"], -1); ms >= 0 && ms < least && deletes && !shortLived(c.Topic) {
		o.find(c, findShort, fmt.Sprintf("set retention.ms=%d", least), "records are deleted after %s, want them for %s", time.Duration(ms)*time.Millisecond, o.leastRetention)
	}
	if most := settingOf(has["max.message.bytes"], -1); most >= 0 && most < int64(o.recordBytes) {
		o.find(c, findSmall, fmt.Sprintf("set max.message.bytes=%d", o.recordBytes), "records above %d bytes are refused, want %d", most, o.recordBytes)
	}
}

// shortLived are the topics of calls in which nothing is of use for longer than minutes.
func shortLived(topic string) bool {
	return slices.ContainsFunc([]func(string) string{rpc.ReplyTopic, rpc.ClaimTopic, rpc.CancelTopic}, func(of func(string) string) bool {
		return strings.HasPrefix(topic, strings.TrimSuffix(of("x"), "x"))
	})
}

func (o *checkOptions) write(cmd *cobra.Command, all []checked) error {
	if o.json {
		return printJSON(cmd.OutOrStdout(), all)
	}
	for i := range all {
		c := &all[i]
		if len(c.Findings) == 0 {
			continue
		}
		fmt.Fprintln(cmd.OutOrStdout(), c.title())
		err := table(cmd.OutOrStdout(), "  ", func(row func(cells ...any)) {
			for _, f := range c.Findings {
				row(f.Code, f.Says)
				row("", f.Do)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *checked) title() string {
	if c.Partitions == 0 {
		return c.Topic
	}
	return fmt.Sprintf("%s: %d partitions, %d replicas", c.Topic, c.Partitions, c.Replicas)
}

// mostNumbers is how many partitions are named.
const mostNumbers = 20

// someNumbers are partitions with commas, not all where they are many.
func someNumbers(partitions []int32) string {
	if more := len(partitions) - mostNumbers; more > 0 {
		return fmt.Sprintf("%s and %d more", numbers(partitions[:mostNumbers]), more)
	}
	return numbers(partitions)
}
