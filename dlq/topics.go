package dlq

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex/internal/kafka"
)

// prepareTopics makes or checks the topics beside the sources, and finds retry
// topics of delays that the policy had once.
func (c *chain) prepareTopics(ctx context.Context) error {
	var errs []error
	for _, topic := range c.env.Topics {
		p := preparation{chain: c, source: c.sources[topic], admin: kadm.NewClient(c.env.Client)}
		if err := p.run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("dlq: preparing the topics beside %q: %w", topic, err))
			continue
		}
		p.learnTiers()
	}
	return errors.Join(errs...)
}

// MaxBytes implements failure.Chain.
func (c *chain) MaxBytes(topic string) int32 { return c.beside.of(topic).maxBytes }

// Follow implements failure.Chain.
func (c *chain) Follow(ctx context.Context, client *kgo.Client) (changed bool, err error) {
	var errs []error
	for _, topic := range c.env.Topics {
		p := preparation{chain: c, source: c.sources[topic], admin: kadm.NewClient(client), following: true}
		if err := p.run(ctx); err != nil {
			errs = append(errs, fmt.Errorf("dlq: looking after the topics beside %q: %w", topic, err))
		}
		changed = changed || p.changed
	}
	return changed, errors.Join(errs...)
}

// preparation makes, checks and grows the topics beside one source.
type preparation struct {
	*chain
	source *source
	admin  *kadm.Client
	// following is set when the consumer runs already: it says only what is new.
	following, changed bool

	there   kadm.TopicDetails
	configs kadm.ResourceConfigs // of those of ours that are there
}

// wanted is a topic that a source must have beside it.
type wanted struct {
	name      string
	retention time.Duration
	dead      bool // read by people, not by us
}

func (p *preparation) wanted() []wanted {
	group, of := p.env.Group, p.source
	waits := max(2*of.policy.horizon(), 24*time.Hour)
	all := []wanted{
		{name: DeadTopic(group, of.topic), retention: of.policy.Retention, dead: true},
		{name: RedriveTopic(group, of.topic), retention: max(waits, DefaultRetention)},
	}
	for i := range of.policy.Delays {
		all = append(all, wanted{name: RetryTopic(group, of.topic, i+1), retention: waits})
	}
	return all
}

func (p *preparation) run(ctx context.Context) error {
	want := p.wanted()
	if err := p.find(ctx, want); err != nil {
		return err
	}
	missing := p.missing(want)
	if len(missing) == 0 && p.following && !p.grown(want) {
		return nil
	}
	if len(missing) > 0 {
		if err := p.makeMissing(ctx, missing); err != nil {
			return err
		}
	}
	if err := p.checkPresent(ctx, want); err != nil {
		return err
	}
	p.learn(want)
	return nil
}

// find asks for the source and the topics beside it, at the start also for those of
// former delays.
func (p *preparation) find(ctx context.Context, want []wanted) (err error) {
	names := []string{p.source.topic}
	for _, w := range want {
		names = append(names, w.name)
	}
	for n := len(p.source.policy.Delays) + 1; n <= maxDelays && !p.following; n++ {
		names = append(names, RetryTopic(p.env.Group, p.source.topic, n))
	}
	if p.there, err = p.admin.ListTopics(ctx, names...); err != nil {
		return kafka.Explain("asking for topics", err)
	}
	if err := p.there[p.source.topic].Err; err != nil {
		return kafka.Explain(fmt.Sprintf("asking for topic %q", p.source.topic), err)
	}
	for _, w := range want {
		if err := p.there[w.name].Err; err != nil && !errors.Is(err, kerr.UnknownTopicOrPartition) {
			return kafka.Explain(fmt.Sprintf("asking for topic %q", w.name), err)
		}
	}
	return nil
}

func (p *preparation) missing(want []wanted) (missing []wanted) {
	for _, w := range want {
		if p.there[w.name].Err == nil {
			continue
		}
		missing = append(missing, w)
		if p.following {
			p.gone(w)
		}
	}
	return missing
}

// gone says that somebody deleted a topic while the consumer runs. How many records
// waited in a retry topic is known to those who read it, and said by them.
func (p *preparation) gone(w wanted) {
	if w.dead {
		letters := p.written.deleted(w.name, time.Now())
		p.env.Logger.Error("a dead-letter queue was deleted, it is made again", zap.String("topic", w.name), zap.Int64("letters_at_least", letters))
		return
	}
	p.env.Logger.Error("a topic for failed records was deleted, it is made again", zap.String("topic", w.name))
}

// grown reports whether the source has more partitions than one of the topics.
func (p *preparation) grown(want []wanted) bool {
	return slices.ContainsFunc(want, func(w wanted) bool {
		return int(p.beside.of(w.name).partitions) < len(p.there[p.source.topic].Partitions)
	})
}

// learn notes the topics as they are now.
func (p *preparation) learn(want []wanted) {
	p.changed = true
	for _, w := range want {
		of := int32(len(p.there[p.source.topic].Partitions))
		if d := p.there[w.name]; d.Err == nil {
			of = max(of, int32(len(d.Partitions)))
		}
		p.beside.set(w.name, besideTopic{partitions: of, maxBytes: int32(configInt(p.configs, w.name, "max.message.bytes"))})
	}
}

// learnTiers notes which topics are to be read.
func (p *preparation) learnTiers() {
	of := p.source
	p.tiers[RedriveTopic(p.env.Group, of.topic)] = tier{source: of.topic}
	longest := time.Duration(0)
	for i, d := range of.policy.Delays {
		p.tiers[RetryTopic(p.env.Group, of.topic, i+1)] = tier{source: of.topic, n: i + 1, delay: d}
		longest = d
	}
	for n := len(of.policy.Delays) + 1; n <= maxDelays; n++ {
		name := RetryTopic(p.env.Group, of.topic, n)
		if d := p.there[name]; d.Err == nil && len(d.Partitions) > 0 {
			p.env.Logger.Info("a retry topic of a delay that is no longer listed is read until it is empty", zap.String("topic", name))
			p.tiers[name] = tier{source: of.topic, n: n, delay: longest}
		}
	}
}

// makeMissing makes the topics that are not there, with the partitions and replicas
// of the source, and room for its largest record and our headers.
func (p *preparation) makeMissing(ctx context.Context, missing []wanted) error {
	of := p.there[p.source.topic].Partitions
	partitions, replicas := int32(len(of)), int16(of.NumReplicas())
	if p.source.policy.CheckOnly {
		return describeMissing(missing, partitions, replicas)
	}
	most, err := p.maxRecord(ctx)
	if err != nil {
		return err
	}
	for _, w := range missing {
		configs := map[string]*string{
			"cleanup.policy": new("delete"), "retention.ms": new(strconv.FormatInt(w.retention.Milliseconds(), 10)),
			"message.timestamp.type": new("CreateTime"),
		}
		if most > 0 {
			configs["max.message.bytes"] = new(strconv.Itoa(min(most+2*maxOurs, math.MaxInt32)))
		}
		resp, err := p.admin.CreateTopic(ctx, partitions, replicas, configs, w.name)
		if err == nil {
			err = resp.Err
		}
		if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return kafka.Explain(fmt.Sprintf("creating topic %q with %d partitions", w.name, partitions), err)
		}
		p.env.Logger.Info("made a topic for failed records", zap.String("topic", w.name), zap.Int32("partitions", partitions))
	}
	return p.awaitTopics(ctx, missing)
}

// awaitTopics waits until brokers know topics that were made.
func (p *preparation) awaitTopics(ctx context.Context, made []wanted) error {
	names := make([]string, len(made))
	for i, w := range made {
		names[i] = w.name
	}
	for {
		there, err := p.admin.ListTopics(ctx, names...)
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

func describeMissing(missing []wanted, partitions int32, replicas int16) error {
	var b strings.Builder
	b.WriteString("topics are missing, and CheckOnly says not to make them; make each with\n")
	for _, w := range missing {
		fmt.Fprintf(&b, "  kafka-topics.sh --create --topic %s --partitions %d --replication-factor %d --config cleanup.policy=delete --config retention.ms=%d\n",
			w.name, partitions, replicas, w.retention.Milliseconds())
	}
	return errors.New(strings.TrimRight(b.String(), "\n"))
}

// maxRecord is the source's max.message.bytes, 0 if it is not known.
func (p *preparation) maxRecord(ctx context.Context) (int, error) {
	configs, err := p.admin.DescribeTopicConfigs(ctx, p.source.topic)
	if err != nil {
		return 0, kafka.Explain(fmt.Sprintf("asking for the settings of topic %q", p.source.topic), err)
	}
	return configInt(configs, p.source.topic, "max.message.bytes"), nil
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
func (p *preparation) checkPresent(ctx context.Context, want []wanted) (err error) {
	names := make([]string, len(want))
	for i, w := range want {
		names[i] = w.name
	}
	if p.configs, err = p.admin.DescribeTopicConfigs(ctx, names...); err != nil {
		return kafka.Explain("asking for the settings of topics", err)
	}
	var errs []error
	for _, w := range want {
		if p.there[w.name].Err == nil { // it was there before
			errs = append(errs, p.checkOne(w), p.grow(ctx, w))
		}
	}
	return errors.Join(errs...)
}

func (p *preparation) checkOne(w wanted) error {
	log := p.env.Logger.With(zap.String("topic", w.name))
	if slices.Contains(strings.Split(configOf(p.configs, w.name, "cleanup.policy"), ","), "compact") {
		return fmt.Errorf("topic %q is compacted, so of failed records with one key all but the last would be lost: set cleanup.policy=delete", w.name)
	}
	horizon := p.source.policy.horizon()
	if ms := configInt(p.configs, w.name, "retention.ms"); !w.dead && ms > 0 && time.Duration(ms)*time.Millisecond < 2*horizon {
		log.Warn("records may be deleted before they are due: the topic keeps them for less than twice what all delays add up to",
			zap.Duration("retention", time.Duration(ms)*time.Millisecond), zap.Duration("set_at_least", 2*horizon))
	}
	replicas, ofSource := p.there[w.name].Partitions.NumReplicas(), p.there[p.source.topic].Partitions.NumReplicas()
	if replicas < ofSource {
		log.Warn("failed records are less safe than they were: the topic has fewer replicas than its source", zap.Int("replicas", replicas), zap.Int("of_source", ofSource))
	}
	return nil
}

// grow gives a topic as many partitions as its source has.
func (p *preparation) grow(ctx context.Context, w wanted) error {
	have, of := len(p.there[w.name].Partitions), len(p.there[p.source.topic].Partitions)
	if have >= of {
		return nil
	}
	if p.source.policy.CheckOnly {
		return fmt.Errorf("topic %q has %d partitions, its source %d: kafka-topics.sh --alter --topic %s --partitions %d", w.name, have, of, w.name, of)
	}
	resp, err := p.admin.UpdatePartitions(ctx, of, w.name)
	if err == nil {
		err = resp.Error()
	}
	if err != nil && !errors.Is(err, kerr.InvalidPartitions) { // another member was first
		return kafka.Explain(fmt.Sprintf("adding partitions to topic %q, up to %d", w.name, of), err)
	}
	p.env.Logger.Info("a topic for failed records has as many partitions as its source again", zap.String("topic", w.name), zap.Int("partitions", of))
	return nil
}
