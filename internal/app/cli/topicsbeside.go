package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/failure"
	"github.com/duplex-go/duplex/internal/kafka"
)

// besideNames are the topics for failed records of the group beside a topic.
func (o *ensureOptions) besideNames(topic string) []string {
	names := make([]string, 0, len(o.retry)+2)
	for i := range o.retry {
		names = append(names, dlq.RetryTopic(o.group, topic, i+1))
	}
	return append(names, dlq.RedriveTopic(o.group, topic), dlq.DeadTopic(o.group, topic))
}

// beside has the policy make the topics beside one that is there, as it does when a consumer
// starts. The policy also changes topics that differ; so it is not asked where one does.
func (o *ensureOptions) beside(ctx context.Context, cmd *cobra.Command, client *kgo.Client, source *ensured) ([]ensured, error) {
	before, err := o.lookBeside(ctx, client, source)
	if err != nil {
		return nil, err
	}
	isMissing := func(e ensured) bool { return e.State == stateMissing }
	switch {
	case o.dryRun || !slices.ContainsFunc(before, isMissing):
		return before, nil
	case slices.ContainsFunc(before, func(e ensured) bool { return e.State == stateDiffers }):
		fmt.Fprintf(cmd.ErrOrStderr(), "duplex: beside %s some topics differ, so the missing ones are not made: the consumer makes, and mends, all of them when it starts\n", source.Topic)
		return before, nil
	}
	_, err = o.policy().Chain(ctx, failure.Env{
		Group: o.group, Topics: []string{source.Topic}, Client: client, Logger: logger(cmd.ErrOrStderr(), false, zap.WarnLevel),
		TopicID: func(string) [16]byte { return [16]byte{} },
	})
	if err != nil {
		return before, fmt.Errorf("topics: %w", err)
	}
	after, err := o.lookBeside(ctx, client, source)
	for i := range after {
		if before[i].State == stateMissing && after[i].State == stateThere {
			after[i].State = stateMade
		}
		kafka.AwaitEverywhere(ctx, client, after[i].Topic)
	}
	return after, err
}

// lookBeside says which topics beside a source are there, and how they differ.
func (o *ensureOptions) lookBeside(ctx context.Context, client *kgo.Client, source *ensured) ([]ensured, error) {
	names, admin := o.besideNames(source.Topic), kadm.NewClient(client)
	there, err := admin.ListTopics(ctx, names...)
	if err != nil {
		return nil, kafka.Explain(fmt.Sprintf("topics: asking for the topics beside %q", source.Topic), err)
	}
	all := make([]ensured, len(names))
	for i, name := range names {
		e, d := &all[i], there[name]
		e.Topic, e.State = name, stateMissing
		switch {
		case errors.Is(d.Err, kerr.UnknownTopicOrPartition):
			e.Partitions, e.Replicas = source.Partitions, source.Replicas
			continue
		case d.Err != nil:
			return nil, kafka.Explain(fmt.Sprintf("topics: asking for topic %q", name), d.Err)
		}
		e.State, e.Partitions, e.Replicas = stateThere, len(d.Partitions), d.Partitions.NumReplicas()
		if e.Partitions < source.Partitions {
			e.differ("partitions", e.Partitions, source.Partitions)
		}
		has, err := settingsOf(ctx, admin, name)
		if err != nil {
			return nil, err
		}
		if slices.Contains(strings.Split(has["cleanup.policy"], ","), "compact") {
			e.differ("cleanup.policy", has["cleanup.policy"], "delete")
		}
	}
	return all, nil
}
