package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/duplex-go/duplex/internal/config"
	"github.com/duplex-go/duplex/internal/kafka"
)

// clockSoon is how far a broker's clock may seem to be ahead.
const clockSoon = time.Second

// lookAtTopic says what may be done with the topic of --topic.
func (d *checkup) lookAtTopic(ctx context.Context) {
	if d.topic == "" {
		return
	}
	m, err := d.admin.Metadata(kadm.WithAuthorizedOps(ctx), d.topic)
	t := m.Topics[d.topic]
	if err == nil {
		err = t.Err
	}
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		fix := "create it, or check its name"
		if near := config.Nearest(d.topic, slices.Values(d.metadata.Topics.Names())); near != "" {
			fix = fmt.Sprintf("did you mean %q?", near)
		}
		d.wrong("topic", fix, "%s: it is not there, or hidden from us", d.topic)
		return
	case err != nil:
		d.failed("topic", "", kafka.Explain("", fmt.Errorf("%s: %w", d.topic, err)))
		return
	}
	text := fmt.Sprintf("%s: %d partitions, %d replicas; we may %s", d.topic, len(t.Partitions), t.Partitions.NumReplicas(), operations(t.AuthorizedOperations))
	reads, writes := slices.Contains(t.AuthorizedOperations, kadm.OpRead), slices.Contains(t.AuthorizedOperations, kadm.OpWrite)
	switch {
	case len(t.AuthorizedOperations) == 0:
		d.warn("topic", "", "%s: %d partitions; the broker does not say what we may do", d.topic, len(t.Partitions))
	case !reads && !writes:
		d.wrong("topic", "grant READ to consume it, or WRITE to publish to it", "%s", text)
	case !reads:
		d.warn("topic", "grant READ, if it is to be consumed too", "%s, not read it", text)
	case !writes:
		d.warn("topic", "grant WRITE, if it is to be published to too", "%s, not write to it", text)
	default:
		d.ok("topic", "%s", text)
	}
	d.lookAtClock(ctx)
}

// operations are rights as people say them.
func operations(ops []kadm.ACLOperation) string {
	words := make([]string, len(ops))
	for i, op := range ops {
		words[i] = strings.ToLower(strings.ReplaceAll(op.String(), "_", " "))
	}
	return orWord(strings.Join(words, ", "), "do nothing")
}

// lookAtClock compares our clock with the broker's, where the topic's records have the time of
// that: nothing of the past can tell more than that it is ahead.
func (d *checkup) lookAtClock(ctx context.Context) {
	configs, err := d.admin.DescribeTopicConfigs(ctx, d.topic)
	if err != nil || len(configs) != 1 || setting(configs[0], "message.timestamp.type") != "LogAppendTime" {
		return
	}
	latest, err := d.admin.ListMaxTimestampOffsets(ctx, d.topic)
	if err != nil {
		return
	}
	last := time.Time{}
	for _, p := range latest[d.topic] {
		if at := time.UnixMilli(p.Timestamp); p.Err == nil && p.Timestamp > 0 && at.After(last) {
			last = at
		}
	}
	switch ahead := time.Until(last); {
	case last.IsZero():
	case ahead > clockSoon:
		d.warn("clock", "synchronize both clocks", "the broker's is ahead of ours by %s or more: deadlines of calls and delays of retries are off by that", ahead.Round(time.Second))
	default:
		d.ok("clock", "the broker's is not ahead of ours: the last record of %s has its time", d.topic)
	}
}

// lookAtGroup says what may be done with the group of --group.
func (d *checkup) lookAtGroup(ctx context.Context) {
	if d.group == "" {
		return
	}
	state, ops, err := d.describe(ctx)
	switch {
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		d.wrong("group", "grant READ on it to be a member, or DESCRIBE to look at it", "%s: we may not even look at it", d.group)
	case err != nil:
		d.failed("group", "", kafka.Explain("", fmt.Errorf("%s: %w", d.group, err)))
	case len(ops) == 0:
		d.warn("group", "", "%s: %s; the broker does not say what we may do", d.group, state)
	case !slices.Contains(ops, kadm.OpRead):
		d.wrong("group", "grant READ on it", "%s: %s; we may %s, not be a member or commit", d.group, state, operations(ops))
	default:
		d.ok("group", "%s: %s; we may %s", d.group, state, operations(ops))
	}
}

// describe asks for the group in its own protocol. A group need not be there yet.
func (d *checkup) describe(ctx context.Context) (state string, ops []kadm.ACLOperation, err error) {
	all, err := d.admin.DescribeGroups(ctx, d.group)
	g := all[d.group]
	if err == nil {
		err = g.Err
	}
	if err == nil && g.State != "Dead" {
		return g.State, g.AuthorizedOperations, nil
	}
	if newer, newErr := d.admin.DescribeConsumerGroups(ctx, d.group); newErr == nil && newer[d.group].Err == nil && newer[d.group].State != "" {
		return newer[d.group].State, newer[d.group].AuthorizedOperations, nil
	}
	if err == nil || errors.Is(err, kerr.GroupIDNotFound) {
		return "not there yet", g.AuthorizedOperations, nil
	}
	return "", nil, err
}
