package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex/internal/backoff"
	"github.com/duplex-go/duplex/internal/commitmeta"
	"github.com/duplex-go/duplex/internal/kafka"
)

// committer tells the group how far each assignment is. Only it commits, one
// request at a time, and only for open assignments: a partition that is gone is
// never committed for.
type committer struct {
	engine *engine
	turn   chan struct{} // capacity 1: held for the length of a commit
	wanted chan struct{} // capacity 1: commit before the interval is over

	// metadata of the offsets fetched last; only on kgo's goroutine.
	metadata map[place]string
}

// commitTimeout bounds the wait for one commit. kgo makes commits wait while the
// group is being joined, for as long as the slowest member takes (engine rule
// 16); the next one has what this one had.
const commitTimeout = 30 * time.Second

func (c *committer) init(e *engine) {
	c.engine, c.wanted, c.turn = e, make(chan struct{}, 1), make(chan struct{}, 1)
}

// now asks for a commit before the interval is over.
func (c *committer) now() { signal(c.wanted) }

// meta is what stands beside the committed offset of a partition; nothing if it is
// not ours.
func (c *committer) meta(topic string, partition int32) commitmeta.Meta {
	m, err := commitmeta.Decode(c.metadata[place{topic, partition}])
	if err == nil {
		return m
	}
	if !errors.Is(err, commitmeta.ErrForeign) {
		c.engine.log.Warn("the metadata of a committed offset is not readable, and ignored",
			zap.String("topic", topic), zap.Int32("partition", partition), zap.Error(err))
	}
	return commitmeta.Meta{}
}

func (c *committer) run(ctx context.Context) {
	ticker := time.NewTicker(c.engine.cfg.CommitInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-c.wanted:
		}
		c.awaitSession(ctx)
		bounded, cancel := context.WithTimeout(ctx, commitTimeout)
		err := c.commit(bounded, c.engine.all())
		cancel()
		if err != nil && ctx.Err() == nil {
			c.engine.log.Warn("committing offsets, trying again", zap.Error(err))
		}
	}
}

// awaitSession waits until the client is done with the offsets that it was given for
// new partitions: it warns of the answer to a commit that comes before that, as if we
// had been thrown out. That is a moment in which somebody is slow, so it is not waited
// for longer.
func (c *committer) awaitSession(ctx context.Context) {
	const look, looks = 5 * time.Millisecond, 200
	for range looks {
		if len(c.engine.all()) == 0 || c.engine.client.CommittedOffsets() != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(look):
		}
	}
}

// commitUntilAcked commits again and again until the broker has acknowledged the
// watermark of every assignment, or within has passed.
func (c *committer) commitUntilAcked(assignments []*assignment, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for try := 1; ; try++ {
		err := c.commit(ctx, assignments)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(backoff.Exponential(try, 20*time.Millisecond, 500*time.Millisecond)):
		}
	}
}

// commit sends the watermarks that the broker does not have. The error joins
// what was refused.
func (c *committer) commit(ctx context.Context, assignments []*assignment) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return fmt.Errorf("consumer: committing offsets: waiting for the commit before: %w", context.Cause(ctx))
	}
	offsets := map[string]map[int32]kgo.EpochOffset{}
	sent := map[place]progress{}
	for _, a := range assignments {
		p, changed := a.progress()
		if !changed {
			continue
		}
		if offsets[a.topic] == nil {
			offsets[a.topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[a.topic][a.partition] = p.at
		sent[place{a.topic, a.partition}] = p
		p.toCommit()
	}
	if len(sent) == 0 {
		return nil
	}
	var failure error
	began := time.Now()
	ctx = kgo.PreCommitFnContext(ctx, func(req *kmsg.OffsetCommitRequest) error { return describe(req, sent) })
	c.engine.client.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			failure = kafka.Explain("consumer: committing offsets", err)
			return
		}
		failure = c.acknowledge(resp, sent)
	})
	c.engine.telemetry.Commit(time.Since(began), failure) //nolint:contextcheck // a measurement has none
	return failure
}

func (c *committer) acknowledge(resp *kmsg.OffsetCommitResponse, sent map[place]progress) error {
	var errs []error
	kafka.CommitErrors(resp, func(topic string, partition int32, err error) {
		p, ours := sent[place{topic, partition}]
		switch {
		case err != nil:
			errs = append(errs, kafka.Explain(fmt.Sprintf("consumer: committing offset %d of %s/%d", p.at.Offset, topic, partition), err))
		case ours:
			p.acknowledged()
		}
	})
	c.engine.counts.commits.Add(1)
	return errors.Join(errs...)
}

// describe writes our metadata beside each offset; kgo puts the member's ID
// there otherwise (engine rule 17).
func describe(req *kmsg.OffsetCommitRequest, sent map[place]progress) error {
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if s, ours := sent[place{t.Topic, p.Partition}]; ours {
				p.Metadata = &s.metadata
			}
		}
	}
	return nil
}
