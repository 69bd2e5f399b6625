package kafka

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/backoff"
)

// Ping asks any broker of the cluster for an answer, once.
func Ping(ctx context.Context, cl *kgo.Client, op string) error {
	_, err := within(ctx, func() (struct{}, error) { return struct{}{}, cl.Ping(ctx) })
	if err == nil {
		return nil
	}
	code, hint := classify(err)
	if code == "" || code == duplex.ErrTimeout {
		code, hint = duplex.ErrUnreachable, "check that a broker listens at this address"
	}
	return &duplex.Error{
		Op: fmt.Sprintf("%s: reaching the cluster at %s", op, seeds(cl)), Codes: []duplex.Code{code}, Hint: hint, Err: err,
	}
}

// within returns what ask does, or an error when ctx ends: kgo does not look at
// ctx while a new connection waits for its first answer. ask goes on until then,
// or until the client is closed.
func within[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := ask()
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		var none T
		return none, fmt.Errorf("no answer: %w", ctx.Err())
	}
}

// Reach pings until the cluster answers, it refuses us, or timeout has passed;
// then the last answer is returned. A cancelled ctx returns its cause.
func Reach(ctx context.Context, cl *kgo.Client, op string, timeout time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var last error
	for try := 1; ; try++ {
		err := Ping(bounded, cl, op)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if last == nil || bounded.Err() == nil {
			last = err // not the error of a ping that the deadline cut short
		}
		if errors.Is(err, duplex.ErrUnauthenticated) || errors.Is(err, duplex.ErrUnauthorized) {
			return last
		}
		select {
		case <-bounded.Done():
			return last
		case <-time.After(backoff.Exponential(try, 50*time.Millisecond, time.Second)):
		}
	}
}

func seeds(cl *kgo.Client) string {
	brokers, _ := cl.OptValue(kgo.SeedBrokers).([]string)
	return strings.Join(brokers, ",")
}

// Topic is what a cluster says of a topic.
type Topic struct {
	Name       string
	ID         [16]byte
	Partitions int32
}

// Topics describes the named topics. One that is missing or hidden from us is
// an error that names it; nothing is created.
func Topics(ctx context.Context, cl *kgo.Client, op string, names ...string) ([]Topic, error) {
	req := kmsg.NewPtrMetadataRequest()
	for _, n := range names {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(n)
		req.Topics = append(req.Topics, t)
	}
	resp, err := within(ctx, func() (*kmsg.MetadataResponse, error) { return req.RequestWith(ctx, cl) })
	if err != nil {
		return nil, Explain(fmt.Sprintf("%s: asking for topics %s", op, strings.Join(names, ", ")), err)
	}
	var topics []Topic
	var errs []error
	for _, t := range resp.Topics {
		name := ""
		if t.Topic != nil {
			name = *t.Topic
		}
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
			errs = append(errs, Explain(fmt.Sprintf("%s: asking for topic %q", op, name), err))
			continue
		}
		topics = append(topics, Topic{Name: name, ID: t.TopicID, Partitions: int32(len(t.Partitions))})
	}
	slices.SortFunc(topics, func(a, b Topic) int { return strings.Compare(a.Name, b.Name) })
	return topics, errors.Join(errs...)
}

// everywhereTimeout bounds what AwaitEverywhere waits, everywhereAnswer how long a broker may
// take to answer, and everywhereEvery is between two questions.
const everywhereTimeout, everywhereAnswer, everywhereEvery = 5 * time.Second, 500 * time.Millisecond, 50 * time.Millisecond

// AwaitEverywhere waits until all brokers that answer know a topic that one of them knows,
// such as one that was made a moment ago: whoever looks for it next may ask any of them, and
// be told that it does not exist. It gives up after five seconds.
func AwaitEverywhere(ctx context.Context, cl *kgo.Client, topic string) {
	ctx, cancel := context.WithTimeout(ctx, everywhereTimeout)
	defer cancel()
	for _, b := range cl.DiscoveredBrokers() {
		for !knows(ctx, b, topic) {
			select {
			case <-ctx.Done():
				return
			case <-time.After(everywhereEvery):
			}
		}
	}
}

// knows reports whether a broker knows a topic, or does not answer: others do not hear from
// it either.
func knows(ctx context.Context, b *kgo.Broker, topic string) bool {
	ctx, cancel := context.WithTimeout(ctx, everywhereAnswer)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = kmsg.StringPtr(topic)
	req.Topics = append(req.Topics, t)
	resp, err := within(ctx, func() (kmsg.Response, error) { return b.Request(ctx, req) })
	if err != nil {
		return true
	}
	metadata, ok := resp.(*kmsg.MetadataResponse)
	return !ok || len(metadata.Topics) != 1 || metadata.Topics[0].ErrorCode != kerr.UnknownTopicOrPartition.Code
}

// EnsureTopic creates the topic with the given number of partitions, and the
// cluster's default replication, unless it exists. It returns whether it did, once
// the cluster knows of it.
func EnsureTopic(ctx context.Context, cl *kgo.Client, op, name string, partitions int32) (created bool, err error) {
	op = fmt.Sprintf("%s: creating topic %q", op, name)
	resp, err := within(ctx, func() (kadm.CreateTopicResponse, error) {
		return kadm.NewClient(cl).CreateTopic(ctx, partitions, -1, nil, name)
	})
	switch {
	case errors.Is(err, kerr.TopicAlreadyExists):
		return false, nil
	case err != nil:
		return false, Explain(op, err)
	case resp.Err != nil:
		return false, Explain(op, resp.Err)
	}
	for try := 1; ; try++ {
		topics, err := Topics(ctx, cl, op, name)
		if err == nil && len(topics) == 1 && topics[0].Partitions >= partitions {
			return true, nil
		}
		select {
		case <-ctx.Done():
			return true, Explain(op+": waiting until the cluster knows of it", context.Cause(ctx))
		case <-time.After(backoff.Exponential(try, 10*time.Millisecond, 500*time.Millisecond)):
		}
	}
}

// DeleteTopic deletes the topic and what is in it. One that does not exist is an
// error with code duplex.ErrUnknownTopic.
func DeleteTopic(ctx context.Context, cl *kgo.Client, op, name string) error {
	resp, err := within(ctx, func() (kadm.DeleteTopicResponse, error) { return kadm.NewClient(cl).DeleteTopic(ctx, name) })
	return Explain(fmt.Sprintf("%s: deleting topic %q", op, name), cmp.Or(err, resp.Err))
}

// DeleteGroup deletes the group and its offsets. One that does not exist is fine,
// one that has members is an error.
func DeleteGroup(ctx context.Context, cl *kgo.Client, op, name string) error {
	resp, err := within(ctx, func() (kadm.DeleteGroupResponse, error) { return kadm.NewClient(cl).DeleteGroup(ctx, name) })
	if err = cmp.Or(err, resp.Err); errors.Is(err, kerr.GroupIDNotFound) {
		return nil
	}
	return Explain(fmt.Sprintf("%s: deleting group %q", op, name), err)
}

// SupportsKIP848 reports whether all brokers that answer have the group protocol of
// KIP-848 in the version that kgo speaks.
func SupportsKIP848(ctx context.Context, cl *kgo.Client, op string) error {
	versions, err := kadm.NewClient(cl).ApiVersions(ctx)
	if err != nil {
		return Explain(op+": asking for the cluster's versions", err)
	}
	for _, v := range versions {
		if v.Err != nil {
			continue
		}
		if highest, ok := v.KeyMaxVersion(int16(kmsg.ConsumerGroupHeartbeat)); !ok || highest < 1 {
			return &duplex.Error{
				Op: op + ": checking Config", Err: fmt.Errorf("broker %d does not have the group protocol of KIP-848", v.NodeID),
				Hint: "it comes with Kafka 4.0: use Protocol = Classic, or upgrade the cluster",
			}
		}
	}
	return nil
}
