package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
)

const ensureLong = `ensure makes the topics that are missing, and changes none that is there. It says what
differs from what was asked for: partitions and replicas that were named, and settings.

NAME:PARTITIONS names a number; without one, and without --replication, the cluster's
defaults hold.

--group G makes the topics for failed records of G beside each topic, as a consumer with
package dlq does when it starts: retry.G.NAME.1 and so on for each of --retry,
redrive.G.NAME, and dlq.G.NAME. Where one of them differs, those beside it that are
missing are not made: the consumer puts all of them right when it starts.

What is made is said by arguments and flags only: DUPLEX_GROUP and the like are not read.

Exit codes: 0 all are there; 1 one differs, or could not be made; 2 usage; 4 the settings are
read-only; 130 interrupted.`

const ensureExamples = `  duplex topics ensure orders:12 payments:6 --replication 3 --set min.insync.replicas=2
  duplex topics ensure orders --group billing --retry 5s,1m,10m
  duplex topics ensure orders:12 --dry-run`

type ensureOptions struct {
	asking
	replication int16
	settings    []string
	group       string
	retry       []time.Duration
	retention   time.Duration
	dryRun      bool
}

func topicsCommand(environ []string) (*cobra.Command, error) {
	root := command.Group(&cobra.Command{Use: "topics", Short: "Make the topics that programs need, and check them"})
	ensure, ensureErr := ensureCommand(environ)
	check, checkErr := checkCommand(environ)
	root.AddCommand(ensure, check)
	return root, errors.Join(ensureErr, checkErr)
}

func ensureCommand(environ []string) (*cobra.Command, error) {
	o := &ensureOptions{}
	cmd := &cobra.Command{Use: "ensure NAME[:PARTITIONS]...", Short: "Make the topics that are missing", Long: ensureLong, Example: ensureExamples, Args: wantsTopics, ValidArgsFunction: completion(environ, mostCompletions, topicNames)}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Int16Var(&o.replication, "replication", 0, "`number` of replicas (default: the cluster's)")
	flags.StringArrayVar(&o.settings, "set", nil, "a topic's setting, `name=value`; repeatable")
	flags.StringVarP(&o.group, "group", "g", "", "make the topics for failed records of this `group`, too")
	flags.DurationSliceVar(&o.retry, "retry", dlq.DefaultDelays(), "with --group: how long a failed record waits before each further attempt; a topic for each")
	flags.DurationVar(&o.retention, "dead-letter-retention", dlq.DefaultRetention, "with --group: how long dead letters are kept")
	flags.BoolVarP(&o.dryRun, "dry-run", "n", false, "say what would be made, and make nothing")
	err := o.addFlags(cmd, "duplex-topics")
	hidden := []string{"DUPLEX_REPLICATION", "DUPLEX_SET", "DUPLEX_GROUP", "DUPLEX_RETRY", "DUPLEX_DEAD_LETTER_RETENTION"}
	cmd.RunE = command.Body(without(environ, hidden...), func(cmd *cobra.Command, args []string) error {
		wanted, err := o.wanted(args)
		if err := errors.Join(err, o.validate(cmd)); err != nil {
			return command.UsageError(err)
		}
		if !o.dryRun {
			if err := o.cluster.Writes("topics: making topics"); err != nil {
				return err
			}
		}
		return o.run(cmd, "topics", func(ctx context.Context, cmd *cobra.Command, client *kgo.Client) error {
			return o.ensure(ctx, cmd, client, wanted)
		})
	})
	return cmd, err
}

// wantsTopics is for commands whose arguments are at least one name of a topic.
func wantsTopics(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return errors.New("want at least one NAME of a topic")
	}
	return nil
}

func (o *ensureOptions) validate(cmd *cobra.Command) error {
	var errs []error
	if o.replication < 0 || o.replication == 0 && cmd.Flags().Changed("replication") {
		errs = append(errs, fmt.Errorf("--replication %d: must be at least 1", o.replication))
	}
	if _, err := o.configs(); err != nil {
		errs = append(errs, err)
	}
	if o.group == "" {
		for _, flag := range []string{"group", "retry", "dead-letter-retention"} {
			switch {
			case flag == "group" && cmd.Flags().Changed(flag):
				errs = append(errs, errors.New("--group is empty: want the name of a group, or no --group"))
			case cmd.Flags().Changed(flag):
				errs = append(errs, fmt.Errorf("--%s: only with --group", flag))
			}
		}
		return errors.Join(errs...)
	}
	if err := duplex.ValidateTopicName(o.group); err != nil { // it becomes part of one
		errs = append(errs, fmt.Errorf("--group %q: cannot be part of a topic's name: %w", o.group, err))
	}
	if err := o.policy().Validate(); err != nil {
		errs = append(errs, fmt.Errorf("--retry, --dead-letter-retention: %w", err))
	}
	return errors.Join(errs...)
}

// wanted reads the arguments.
func (o *ensureOptions) wanted(args []string) (topics []ensured, err error) {
	var errs []error
	seen := map[string]bool{}
	for _, arg := range args {
		name, partitions, err := nameAndPartitions(arg)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("NAME %w", err))
			continue
		case seen[name]:
			errs = append(errs, fmt.Errorf("NAME %q: is there twice", name))
			continue
		}
		if err := duplex.ValidateTopicName(name); err != nil {
			errs = append(errs, fmt.Errorf("NAME: %w", err))
		}
		seen[name] = true
		topics = append(topics, ensured{Topic: name, want: partitions})
	}
	return topics, errors.Join(errs...)
}

func (o *ensureOptions) configs() (map[string]*string, error) {
	configs := map[string]*string{}
	for _, s := range o.settings {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--set %q: want name=value", s)
		}
		configs[name] = &value
	}
	return configs, nil
}

func (o *ensureOptions) policy() dlq.Policy {
	return dlq.Policy{Delays: o.retry, Retention: o.retention}
}

// What ensure finds, and does.
const (
	stateMade    = "made"
	stateThere   = "there"
	stateDiffers = "differs"
	stateMissing = "missing"
)

// ensured is a topic that is to be there.
type ensured struct {
	Topic      string       `json:"topic"`
	State      string       `json:"state"` // made, there, differs, missing
	Partitions int          `json:"partitions"`
	Replicas   int          `json:"replicas"`
	Differs    []difference `json:"differs,omitempty"`

	want int32 // partitions, 0 for any
}

// difference is what a topic has that was not asked for.
type difference struct {
	What string `json:"what"`
	Is   string `json:"is"`
	Want string `json:"want"`
}

func (e *ensured) differ(what string, is, want any) {
	if is, want := fmt.Sprint(is), fmt.Sprint(want); is != want {
		e.State, e.Differs = stateDiffers, append(e.Differs, difference{what, is, want})
	}
}

func (o *ensureOptions) ensure(ctx context.Context, cmd *cobra.Command, client *kgo.Client, topics []ensured) error {
	var all []ensured
	var errs []error
	done, end := counting(cmd.ErrOrStderr(), "topics", len(topics))
	for i := range topics {
		e := &topics[i]
		err := o.one(ctx, client, e)
		if err != nil {
			errs = append(errs, err)
			done.Add(1)
			continue
		}
		all = append(all, *e)
		if o.group != "" {
			besides, err := o.beside(ctx, cmd, client, e)
			all, errs = append(all, besides...), append(errs, err)
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
	if slices.ContainsFunc(all, func(e ensured) bool { return e.State == stateDiffers || e.State == stateMissing && !o.dryRun }) {
		return command.ErrFailed
	}
	return nil
}

// one makes a topic, or compares it with what is wanted.
func (o *ensureOptions) one(ctx context.Context, client *kgo.Client, e *ensured) error {
	_, err := kafka.Topics(ctx, client, "topics", e.Topic)
	switch {
	case err == nil:
		return o.compare(ctx, client, e)
	case !errors.Is(err, duplex.ErrUnknownTopic):
		return err
	}
	configs, err := o.configs()
	if err != nil {
		return err
	}
	admin, create := kadm.NewClient(client), (*kadm.Client).CreateTopics
	if o.dryRun {
		create = (*kadm.Client).ValidateCreateTopics
	}
	resp, err := create(admin, ctx, cmp.Or(e.want, -1), cmp.Or(o.replication, -1), configs, e.Topic)
	made := resp[e.Topic]
	switch err = cmp.Or(err, made.Err); {
	case errors.Is(err, kerr.TopicAlreadyExists): // somebody was first
		return o.compare(ctx, client, e)
	case err != nil:
		if made.ErrMessage != "" {
			err = fmt.Errorf("%w: %s", err, made.ErrMessage)
		}
		return kafka.Explain(fmt.Sprintf("topics: creating topic %q", e.Topic), err)
	case o.dryRun:
		e.State, e.Partitions, e.Replicas = stateMissing, int(max(made.NumPartitions, 0)), int(max(made.ReplicationFactor, 0))
		return nil
	}
	e.State = stateMade
	return o.await(ctx, client, e)
}

// await waits until the cluster knows a topic that was made.
func (o *ensureOptions) await(ctx context.Context, client *kgo.Client, e *ensured) error {
	for {
		there, err := kadm.NewClient(client).ListTopics(ctx, e.Topic)
		d := there[e.Topic]
		if err = cmp.Or(err, d.Err); err == nil && len(d.Partitions) > 0 {
			e.Partitions, e.Replicas = len(d.Partitions), d.Partitions.NumReplicas()
			kafka.AwaitEverywhere(ctx, client, e.Topic)
			return nil
		}
		select {
		case <-ctx.Done():
			return kafka.Explain(fmt.Sprintf("topics: waiting for topic %q, which was made", e.Topic), errors.Join(context.Cause(ctx), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// compare says how a topic that is there differs from what is wanted.
func (o *ensureOptions) compare(ctx context.Context, client *kgo.Client, e *ensured) error {
	admin := kadm.NewClient(client)
	there, err := admin.ListTopics(ctx, e.Topic)
	d := there[e.Topic]
	if err = cmp.Or(err, d.Err); err != nil {
		return kafka.Explain(fmt.Sprintf("topics: asking for topic %q", e.Topic), err)
	}
	e.State, e.Partitions, e.Replicas = stateThere, len(d.Partitions), d.Partitions.NumReplicas()
	if e.want > 0 {
		e.differ("partitions", e.Partitions, e.want)
	}
	if o.replication > 0 {
		e.differ("replicas", e.Replicas, o.replication)
	}
	configs, err := o.configs()
	if err != nil || len(configs) == 0 {
		return err
	}
	has, err := settingsOf(ctx, admin, e.Topic)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		e.differ(name, cmp.Or(has[name], "not known"), *configs[name])
	}
	return nil
}

// settingsOf are the settings of a topic.
func settingsOf(ctx context.Context, admin *kadm.Client, topic string) (map[string]string, error) {
	described, err := admin.DescribeTopicConfigs(ctx, topic)
	has := map[string]string{}
	for _, resource := range described {
		if resource.Name == topic {
			err = cmp.Or(err, resource.Err)
			for _, c := range resource.Configs {
				has[c.Key] = c.MaybeValue()
			}
		}
	}
	return has, kafka.Explain(fmt.Sprintf("topics: asking for the settings of topic %q", topic), err)
}

func (o *ensureOptions) write(cmd *cobra.Command, all []ensured) error {
	if o.json {
		if all == nil {
			all = []ensured{}
		}
		return printJSON(cmd.OutOrStdout(), all)
	}
	if len(all) == 0 {
		return nil
	}
	return table(cmd.OutOrStdout(), "", func(row func(cells ...any)) {
		row("TOPIC", "STATE", "PARTITIONS", "REPLICAS", "DIFFERS")
		for i := range all {
			e := &all[i]
			state := e.State
			if state == stateMissing && o.dryRun {
				state = "would be made"
			}
			words := []string{}
			for _, d := range e.Differs {
				words = append(words, fmt.Sprintf("%s is %s, not %s", short(d.What), short(d.Is), short(d.Want)))
			}
			row(e.Topic, state, positive(e.Partitions), positive(e.Replicas), cmp.Or(strings.Join(words, "; "), "-"))
		}
	})
}

// positive is a number, or - where it is not known.
func positive(n int) any {
	if n <= 0 {
		return "-"
	}
	return n
}
