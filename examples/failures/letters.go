package main

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
)

// readDeadLetters prints the three that there are. A dead-letter queue is a topic like
// any other: the record is as it was, and headers say what happened to it.
func readDeadLetters(ctx context.Context, cluster duplex.Cluster, topic string) error {
	reading, done := context.WithCancel(ctx)
	defer done()
	left := 3
	c, err := consumer.New(consumer.Config{
		Cluster: cluster, Group: topic + "-reader", Concurrency: 1,
		Handlers: []consumer.Handler{consumer.HandleRecord(topic, func(_ context.Context, r *kgo.Record) error {
			what := map[string]string{}
			for _, name := range []string{dlq.HeaderReason, dlq.HeaderOriginTopic, dlq.HeaderOriginOffset} {
				what[name], _ = duplex.Header(r, name)
			}
			fmt.Printf("in the queue: %s, %s, from %s at %s\n", r.Value, what[dlq.HeaderReason], what[dlq.HeaderOriginTopic], what[dlq.HeaderOriginOffset])
			left--
			if left == 0 {
				done()
			}
			return nil
		})},
	})
	if err != nil {
		return err
	}
	if err := c.Run(reading); err != nil {
		return err
	}
	if left > 0 {
		return fmt.Errorf("the dead-letter queue lacks %d letters: %w", left, context.Cause(ctx))
	}
	return nil
}
