package dlq

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex/internal/kafka"
)

// prepareTopics makes or checks the topics beside the sources, and finds retry
// topics of delays that the policy had once.
func (c *chain) prepareTopics(ctx context.Context) error {
	admin := kadm.NewClient(c.env.Client)
	var errs []error
	for _, source := range c.env.Topics {
		if err := c.prepareBeside(ctx, admin, source); err != nil {
			errs = append(errs, fmt.Errorf("dlq: preparing the topics beside %q: %w", source, err))
		}
	}
	return errors.Join(errs...)
}

// wanted is a topic that a source must have beside it.
type wanted struct {
	name      string
	retention time.Duration
	dead      bool // read by people, not by us
}

func (c *chain) wanted(source string) []wanted {
	group, waits := c.env.Group, max(2*c.policy.horizon(), 24*time.Hour)
	all := []wanted{
		{name: DeadTopic(group, source), retention: c.policy.Retention, dead: true},
		{name: RedriveTopic(group, source), retention: max(waits, DefaultRetention)},
	}
	for i := range c.policy.Delays {
		all = append(all, wanted{name: RetryTopic(group, source, i+1), retention: waits})
	}
	return all
}

func (c *chain) prepareBeside(ctx context.Context, admin *kadm.Client, source string) error {
	want := c.wanted(source)
	names := []string{source}
	for _, w := range want {
		names = append(names, w.name)
	}
	for n := len(c.policy.Delays) + 1; n <= maxDelays; n++ {
		names = append(names, RetryTopic(c.env.Group, source, n))
	}
	there, err := admin.ListTopics(ctx, names...)
	if err != nil {
		return kafka.Explain("asking for topics", err)
	}
	if err := there[source].Err; err != nil {
		return kafka.Explain(fmt.Sprintf("asking for topic %q", source), err)
	}
	if err := c.makeMissing(ctx, admin, there, source, want); err != nil {
		return err
	}
	if err := c.checkPresent(ctx, admin, there, source, want); err != nil {
		return err
	}
	c.learn(there, source, want)
	return nil
}

// learn notes the topics that are there now.
func (c *chain) learn(there kadm.TopicDetails, source string, want []wanted) {
	of := int32(len(there[source].Partitions))
	for _, w := range want {
		c.partitions[w.name] = of
		if d := there[w.name]; d.Err == nil && len(d.Partitions) > 0 {
			c.partitions[w.name] = max(of, int32(len(d.Partitions)))
		}
	}
	c.tiers[RedriveTopic(c.env.Group, source)] = tier{source: source}
	longest := time.Duration(0)
	for i, d := range c.policy.Delays {
		c.tiers[RetryTopic(c.env.Group, source, i+1)] = tier{source: source, n: i + 1, delay: d}
		longest = d
	}
	for n := len(c.policy.Delays) + 1; n <= maxDelays; n++ {
		name := RetryTopic(c.env.Group, source, n)
		if d := there[name]; d.Err == nil && len(d.Partitions) > 0 {
			c.env.Logger.Info("a retry topic of a delay that is no longer listed is read until it is empty", zap.String("topic", name))
			c.tiers[name] = tier{source: source, n: n, delay: longest}
		}
	}
}

// makeMissing makes the topics that are not there, with the partitions and replicas
// of the source, and room for its largest record and our headers.
func (c *chain) makeMissing(ctx context.Context, admin *kadm.Client, there kadm.TopicDetails, source string, want []wanted) error {
	var missing []wanted
	for _, w := range want {
		switch err := there[w.name].Err; {
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			missing = append(missing, w)
		case err != nil:
			return kafka.Explain(fmt.Sprintf("asking for topic %q", w.name), err)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	partitions, replicas := int32(len(there[source].Partitions)), int16(there[source].Partitions.NumReplicas())
	if c.policy.CheckOnly {
		return c.describeMissing(missing, partitions, replicas)
	}
	most, err := maxRecord(ctx, admin, source)
	if err != nil {
		return err
	}
	for _, w := range missing {
		configs := map[string]*string{
			"cleanup.policy": new("delete"), "retention.ms": new(strconv.FormatInt(w.retention.Milliseconds(), 10)),
			"message.timestamp.type": new("CreateTime"),
		}
		if most > 0 {
			configs["max.message.bytes"] = new(strconv.Itoa(most + 2*maxOurs))
		}
		resp, err := admin.CreateTopic(ctx, partitions, replicas, configs, w.name)
		if err == nil {
			err = resp.Err
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return kafka.Explain(fmt.Sprintf("creating topic %q with %d partitions", w.name, partitions), err)
		}
		c.env.Logger.Info("made a topic for failed records", zap.String("topic", w.name), zap.Int32("partitions", partitions))
	}
	return c.awaitTopics(ctx, admin, missing)
}

// awaitTopics waits until brokers know topics that were made.
func (c *chain) awaitTopics(ctx context.Context, admin *kadm.Client, made []wanted) error {
	names := make([]string, len(made))
	for i, w := range made {
		names[i] = w.name
	}
	for {
		there, err := admin.ListTopics(ctx, names...)
		if err == nil {
			err = there.Error()
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return kafka.Explain(fmt.Sprintf("waiting for topics %s, which were made", strings.Join(names, ", ")), errors.Join(ctx.Err(), err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (c *chain) describeMissing(missing []wanted, partitions int32, replicas int16) error {
	var b strings.Builder
	b.WriteString("topics are missing, and CheckOnly says not to make them; make each with\n")
	for _, w := range missing {
		fmt.Fprintf(&b, "  kafka-topics.sh --create --topic %s --partitions %d --replication-factor %d --config cleanup.policy=delete --config retention.ms=%d\n",
			w.name, partitions, replicas, w.retention.Milliseconds())
	}
	return errors.New(strings.TrimRight(b.String(), "\n"))
}

// maxRecord is the source's max.message.bytes, 0 if it is not known.
func maxRecord(ctx context.Context, admin *kadm.Client, source string) (int, error) {
	configs, err := admin.DescribeTopicConfigs(ctx, source)
	if err != nil {
		return 0, kafka.Explain(fmt.Sprintf("asking for the settings of topic %q", source), err)
	}
	return configInt(configs, source, "max.message.bytes"), nil
}

func configInt(configs kadm.ResourceConfigs, topic, key string) int {
	n, _ := strconv.Atoi(configOf(configs, topic, key))
	return n
}

func configOf(configs kadm.ResourceConfigs, topic, key string) string {
	for _, resource := range configs {
		if resource.Name != topic || resource.Err != nil {
			continue
		}
		for _, config := range resource.Configs {
			if config.Key == key {
				return config.MaybeValue()
			}
		}
	}
	return ""
}

// checkPresent refuses topics that would lose records, has those grow that have
// fewer partitions than their source, and says what else is not as it should be.
func (c *chain) checkPresent(ctx context.Context, admin *kadm.Client, there kadm.TopicDetails, source string, want []wanted) error {
	var present []wanted
	for _, w := range want {
		if there[w.name].Err == nil {
			present = append(present, w)
		}
	}
	if len(present) == 0 {
		return nil
	}
	names := make([]string, len(present))
	for i, w := range present {
		names[i] = w.name
	}
	configs, err := admin.DescribeTopicConfigs(ctx, names...)
	if err != nil {
		return kafka.Explain("asking for the settings of topics", err)
	}
	var errs []error
	for _, w := range present {
		errs = append(errs, c.checkOne(ctx, admin, there, source, w, configs))
	}
	return errors.Join(errs...)
}

func (c *chain) checkOne(ctx context.Context, admin *kadm.Client, there kadm.TopicDetails, source string, w wanted, configs kadm.ResourceConfigs) error {
	log := c.env.Logger.With(zap.String("topic", w.name))
	if slices.Contains(strings.Split(configOf(configs, w.name, "cleanup.policy"), ","), "compact") {
		return fmt.Errorf("topic %q is compacted, so of failed records with one key all but the last would be lost: set cleanup.policy=delete", w.name)
	}
	if ms := configInt(configs, w.name, "retention.ms"); !w.dead && ms > 0 && time.Duration(ms)*time.Millisecond < 2*c.policy.horizon() {
		log.Warn("records may be deleted before they are due: the topic keeps them for less than twice what all delays add up to",
			zap.Duration("retention", time.Duration(ms)*time.Millisecond), zap.Duration("set_at_least", 2*c.policy.horizon()))
	}
	have, of := len(there[w.name].Partitions), len(there[source].Partitions)
	if replicas, ofSource := there[w.name].Partitions.NumReplicas(), there[source].Partitions.NumReplicas(); replicas < ofSource {
		log.Warn("failed records are less safe than they were: the topic has fewer replicas than its source", zap.Int("replicas", replicas), zap.Int("of_source", ofSource))
	}
	if have >= of {
		return nil
	}
	if c.policy.CheckOnly {
		return fmt.Errorf("topic %q has %d partitions, its source %d: kafka-topics.sh --alter --topic %s --partitions %d", w.name, have, of, w.name, of)
	}
	resp, err := admin.UpdatePartitions(ctx, of, w.name)
	if err == nil {
		err = resp.Error()
	}
	if err != nil && !errors.Is(err, kerr.InvalidPartitions) { // another member was first
		return kafka.Explain(fmt.Sprintf("adding partitions to topic %q, up to %d", w.name, of), err)
	}
	log.Info("a topic for failed records has as many partitions as its source again", zap.Int("partitions", of))
	return nil
}
