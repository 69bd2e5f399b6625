package consumer

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex/internal/commitmeta"
	"github.com/duplex-go/duplex/internal/kafka"
)

// onOffsetsFetched sees the committed offsets of newly assigned partitions with
// their metadata, which kgo does not hand on to onOffsets. Both run on kgo's
// goroutine, one after the other.
func (e *engine) onOffsetsFetched(_ context.Context, _ *kgo.Client, resp *kmsg.OffsetFetchResponse) error {
	<-e.ready
	e.committer.metadata = map[place]string{}
	for _, g := range resp.Groups {
		for _, t := range g.Topics {
			for _, p := range t.Partitions {
				if p.Metadata != nil {
					e.committer.metadata[place{t.Topic, p.Partition}] = *p.Metadata
				}
			}
		}
	}
	return nil
}

// onOffsets opens the assignments of newly assigned partitions, each at an exact
// offset: the committed one, or, without one, where the group begins.
func (e *engine) onOffsets(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
	fresh := map[string][]int32{}
	for topic, partitions := range offsets {
		for p, o := range partitions {
			if o.EpochOffset().Offset < 0 {
				fresh[topic] = append(fresh[topic], p)
			}
		}
	}
	origins, starts, err := e.begin(ctx, fresh)
	if err != nil {
		e.log.Warn("the start offsets of new partitions are not known yet, trying again", zap.Error(err))
		return nil, err
	}
	ends, err := e.answeredEnds(ctx, offsets)
	if err != nil {
		e.log.Warn("the end offsets of partitions whose requests are answered are not known yet, trying again", zap.Error(err))
		return nil, err
	}
	e.logForeign(offsets)
	_, generation := e.client.GroupMetadata()
	unmarked := false
	for topic, partitions := range offsets {
		for p, o := range partitions {
			at := o.EpochOffset()
			open := opening{topic: topic, partition: p, generation: generation, offset: at.Offset, committed: at.Offset, epoch: at.Epoch}
			if at.Offset < 0 {
				open.offset, open.committed, open.epoch = starts[place{topic, p}], -1, -1
				open.meta.Partitions = origins[topic]
				partitions[p] = kgo.NewOffset().At(open.offset)
			} else {
				open.metadata, open.meta = e.committer.metadata[place{topic, p}], e.committer.meta(topic, p)
				if open.clean = open.meta.Clean; !open.clean {
					open.end = ends[place{topic, p}]
				}
			}
			if k, ok := e.regain.take(place{topic, p}, commitState{open.committed, open.metadata}); ok {
				open.offset, open.epoch, open.meta = k.watermark, k.epoch, k.meta
				partitions[p] = kgo.NewOffset().At(k.watermark).WithEpoch(k.epoch)
			}
			e.openAssignment(open)
			unmarked = unmarked || open.unmarked()
		}
	}
	if unmarked {
		e.committer.now() // so that the start holds, whatever happens next
	}
	return offsets, nil
}

// answeredEnds are the ends of partitions that had an owner, of sources that Answer: up
// to there that may have begun records. Those that come later it never sees, since the
// group has thrown it out.
func (e *engine) answeredEnds(ctx context.Context, offsets map[string]map[int32]kgo.Offset) (ends map[place]int64, err error) {
	ends = map[place]int64{}
	for topic, partitions := range offsets {
		if !e.routes[topic].answers {
			continue
		}
		all, err := kafka.EndOffsets(ctx, e.client, topic)
		if err != nil {
			return nil, err
		}
		for p := range partitions {
			ends[place{topic, p}] = all[p]
		}
	}
	return ends, nil
}

// logForeign says once of many partitions that another client committed their
// offsets: what that had finished out of order is not known.
func (e *engine) logForeign(offsets map[string]map[int32]kgo.Offset) {
	foreign, example := 0, ""
	for topic, partitions := range offsets {
		for p, o := range partitions {
			text := e.committer.metadata[place{topic, p}]
			if _, err := commitmeta.Decode(text); o.EpochOffset().Offset > 0 && errors.Is(err, commitmeta.ErrForeign) {
				foreign, example = foreign+1, subject(topic, p)
			}
		}
	}
	if foreign > 0 {
		e.log.Info("offsets that another client committed: their partitions go on exactly there", zap.Int("partitions", foreign), zap.String("such_as", example))
	}
}

// begin resolves where the given partitions, which have no committed offset, are
// to be read from.
//
// A group's start offset is for its beginning. A partition that was added to the
// topic later is read from its own beginning, or what was published to it before
// anybody noticed it would be skipped. To tell the two apart, every commit
// carries how many partitions the topic had when the group first saw it: a
// partition below that number belongs to the group's beginning, even if another
// member began with its partitions a moment earlier.
func (e *engine) begin(ctx context.Context, fresh map[string][]int32) (origins map[string]int32, starts map[place]int64, err error) {
	if len(fresh) == 0 {
		return nil, nil, nil
	}
	names := make([]string, 0, len(fresh))
	for topic := range fresh {
		names = append(names, topic)
	}
	topics, err := kafka.Topics(ctx, e.client, "consumer", names...)
	if err != nil {
		return nil, nil, err
	}
	origins, starts = map[string]int32{}, map[place]int64{}
	for _, t := range topics {
		committed, err := kafka.CommittedMetadata(ctx, e.client, e.cfg.Group, t.Name, t.Partitions)
		if err != nil {
			return nil, nil, err
		}
		origins[t.Name] = origin(committed, t.Partitions)
		if err := e.resolve(ctx, t.Name, fresh[t.Name], origins[t.Name], starts); err != nil {
			return nil, nil, err
		}
	}
	return origins, starts, nil
}

// origin is how many partitions the topic had when the group first saw it, by
// the metadata of what is committed: the least number found, the present one
// when nothing is committed, and 0 when only other clients committed.
func origin(committed []string, now int32) int32 {
	if len(committed) == 0 {
		return now
	}
	least := int32(math.MaxInt32)
	for _, text := range committed {
		m, err := commitmeta.Decode(text)
		if err == nil && m.Partitions > 0 {
			least = min(least, m.Partitions)
		}
	}
	if least == math.MaxInt32 {
		return 0
	}
	return least
}

func (e *engine) resolve(ctx context.Context, topic string, partitions []int32, origin int32, starts map[place]int64) error {
	earliest, err := kafka.StartOffsets(ctx, e.client, topic)
	if err != nil {
		return err
	}
	chosen := earliest
	switch e.cfg.StartOffset.kind {
	case startLatest:
		chosen, err = kafka.EndOffsets(ctx, e.client, topic)
	case startTime:
		chosen, err = kafka.OffsetsAt(ctx, e.client, topic, e.cfg.StartOffset.at)
	case startEarliest:
	}
	if err != nil {
		return err
	}
	for _, p := range partitions {
		from := chosen
		if p >= origin || e.routes[topic].source != topic {
			from = earliest // nothing in a retry topic is skipped either
		}
		offset, ok := from[p]
		if !ok {
			return fmt.Errorf("consumer: resolving the start of %s/%d: %w", topic, p, errNoOffset)
		}
		starts[place{topic, p}] = offset
	}
	return nil
}

var errNoOffset = errors.New("the cluster does not know the partition yet")
