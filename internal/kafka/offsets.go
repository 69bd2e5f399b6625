package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// StartOffsets returns the oldest offset of each partition of the topic.
func StartOffsets(ctx context.Context, cl *kgo.Client, topic string) (map[int32]int64, error) {
	return offsets(ctx, topic, func() (kadm.ListedOffsets, error) { return kadm.NewClient(cl).ListStartOffsets(ctx, topic) })
}

// EndOffsets returns the next offset to be written of each partition of the
// topic.
func EndOffsets(ctx context.Context, cl *kgo.Client, topic string) (map[int32]int64, error) {
	return offsets(ctx, topic, func() (kadm.ListedOffsets, error) { return kadm.NewClient(cl).ListEndOffsets(ctx, topic) })
}

// CommittedEndOffsets returns, for each partition of the topic, the offset up to
// which a reader of committed records gets: all transactions below it have ended.
func CommittedEndOffsets(ctx context.Context, cl *kgo.Client, topic string) (map[int32]int64, error) {
	return offsets(ctx, topic, func() (kadm.ListedOffsets, error) { return kadm.NewClient(cl).ListCommittedOffsets(ctx, topic) })
}

// OffsetsAt returns, for each partition of the topic, the offset of the first
// record with a timestamp of t or later; the end where there is none.
func OffsetsAt(ctx context.Context, cl *kgo.Client, topic string, t time.Time) (map[int32]int64, error) {
	return offsets(ctx, topic, func() (kadm.ListedOffsets, error) {
		return kadm.NewClient(cl).ListOffsetsAfterMilli(ctx, t.UnixMilli(), topic)
	})
}

func offsets(ctx context.Context, topic string, list func() (kadm.ListedOffsets, error)) (map[int32]int64, error) {
	op := fmt.Sprintf("kafka: listing offsets of topic %q", topic)
	listed, err := within(ctx, list)
	if err != nil {
		return nil, Explain(op, err)
	}
	if err := listed.Error(); err != nil {
		return nil, Explain(op, err)
	}
	found := map[int32]int64{}
	listed.Each(func(o kadm.ListedOffset) { found[o.Partition] = o.Offset })
	return found, nil
}

// CommittedMetadata returns the metadata of every offset that the group has
// committed for the partitions 0 to partitions−1 of the topic.
func CommittedMetadata(ctx context.Context, cl *kgo.Client, group, topic string, partitions int32) ([]string, error) {
	op := fmt.Sprintf("kafka: asking for the offsets of group %q in topic %q", group, topic)
	fetched, err := within(ctx, func() (kadm.OffsetResponses, error) {
		return kadm.NewClient(cl).FetchOffsetsForTopics(ctx, group, topic)
	})
	if err != nil {
		return nil, Explain(op, err)
	}
	var metadata []string
	for p := range partitions {
		o, ok := fetched.Lookup(topic, p)
		switch {
		case !ok || o.At < 0:
		case o.Err != nil:
			return nil, Explain(op, o.Err)
		default:
			metadata = append(metadata, o.Metadata)
		}
	}
	return metadata, nil
}

// CommitErrors returns the error of each partition that a commit was refused
// for.
func CommitErrors(resp *kmsg.OffsetCommitResponse, each func(topic string, partition int32, err error)) {
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			each(t.Topic, p.Partition, kerr.ErrorForCode(p.ErrorCode))
		}
	}
}
