package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// cluster prepares and checks what the arms work on; it does so with raw kgo, so
// that no arm is judged by itself.
type cluster struct {
	brokers []string
	admin   *kadm.Client
	client  *kgo.Client
}

func connect(ctx context.Context, brokers []string) (*cluster, error) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(buffered), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		return nil, err
	}
	if err := cl.Ping(ctx); err != nil {
		cl.Close()
		return nil, fmt.Errorf("reaching %q: %w", brokers, err)
	}
	return &cluster{brokers: brokers, admin: kadm.NewClient(cl), client: cl}, nil
}

func (c *cluster) close() { c.client.Close() }

// create makes a topic and one for warming up, and waits until all partitions
// have leaders.
func (c *cluster) create(ctx context.Context, topic string, partitions int) error {
	for name, n := range map[string]int{topic: partitions, warmTopic(topic): 1} {
		if _, err := c.admin.CreateTopic(ctx, int32(n), -1, nil, name); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return fmt.Errorf("creating topic %q: %w", name, err)
		}
	}
	return until(ctx, func() bool {
		listed, err := c.admin.ListEndOffsets(ctx, topic, warmTopic(topic))
		return err == nil && listed.Error() == nil && len(listed[topic]) == partitions
	})
}

// remove deletes topics; what cannot be deleted stays, and harms nobody.
func (c *cluster) remove(ctx context.Context, topic string) {
	_, _ = c.admin.DeleteTopics(ctx, topic, warmTopic(topic))
}

// ends are the end offsets by partition.
func (c *cluster) ends(ctx context.Context, topic string, partitions int) ([]int64, error) {
	listed, err := c.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	if err := listed.Error(); err != nil {
		return nil, err
	}
	ends := make([]int64, partitions)
	listed.Each(func(o kadm.ListedOffset) { ends[o.Partition] = o.Offset })
	return ends, nil
}

// fill publishes the first n records of the workload.
func (c *cluster) fill(ctx context.Context, topic string, w workload) error {
	return c.publish(ctx, w.Records, newSource(topic, w).record)
}

// publish publishes n records and waits until they are acknowledged.
func (c *cluster) publish(ctx context.Context, n int, record func(i int) *kgo.Record) error {
	var a acks
	for i := range n {
		c.client.Produce(ctx, record(i), func(_ *kgo.Record, err error) { a.done(err) })
	}
	if err := c.client.Flush(ctx); err != nil {
		return err
	}
	if failed := a.failed.Load(); failed != nil {
		return *failed
	}
	return nil
}

// verify reads the topic once and compares it with what should be in it: as many
// records by the end offsets, and each with its bytes.
func (c *cluster) verify(ctx context.Context, topic string, w workload, partitions int, want tally) error {
	ends, err := c.ends(ctx, topic, partitions)
	if err != nil {
		return err
	}
	var left int64
	for _, end := range ends {
		left += end
	}
	if left != int64(w.Records) {
		return fmt.Errorf("the log has %d records, want %d", left, w.Records)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.brokers...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return err
	}
	defer cl.Close()
	var got tally
	for ; left > 0 && ctx.Err() == nil; left = int64(w.Records) - got.Count {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return fmt.Errorf("reading the topic again: %w", err)
		}
		fetches.EachRecord(got.addAll)
	}
	if got != want {
		return fmt.Errorf("the records in the log are not those that were published: %+v, want %+v", got, want)
	}
	return nil
}

// committed checks that the group's committed offsets are the ends.
func (c *cluster) committed(ctx context.Context, group, topic string, ends []int64) error {
	offsets, err := c.admin.FetchOffsetsForTopics(ctx, group, topic)
	if err != nil {
		return fmt.Errorf("asking for the committed offsets: %w", err)
	}
	for p, end := range ends {
		if at, ok := offsets.Lookup(topic, int32(p)); end > 0 && (!ok || at.At != end) {
			return fmt.Errorf("partition %d: the committed offset is %d, want %d", p, at.At, end)
		}
	}
	return nil
}

func until(ctx context.Context, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the topic: %w", ctx.Err())
		}
	}
	return nil
}
