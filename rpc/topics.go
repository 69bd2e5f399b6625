package rpc

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/kafka"
)

// wantedTopic is a topic that a server or a client needs.
type wantedTopic struct {
	name       string
	partitions int32
	retention  time.Duration
	// appendTime has the broker's clock say when a record came.
	appendTime bool
}

func requestTopic(service string, partitions int32) wantedTopic {
	return wantedTopic{name: RequestTopic(service), partitions: partitions, retention: 7 * 24 * time.Hour, appendTime: true}
}

// Replies and claims are of use for minutes. Kafka deletes nothing from the segment that
// is written to, so segments end early, too.
func replyTopicOf(service string, partitions int32) wantedTopic {
	return wantedTopic{name: ReplyTopic(service), partitions: partitions, retention: shortRetention, appendTime: true}
}

func cancelTopic(service string, partitions int32) wantedTopic {
	return wantedTopic{name: CancelTopic(service), partitions: partitions, retention: shortRetention, appendTime: true}
}

func claimTopicOf(service string) wantedTopic {
	return wantedTopic{name: ClaimTopic(service), partitions: 1, retention: shortRetention, appendTime: true}
}

const (
	shortRetention = 10 * time.Minute
	shortSegment   = shortRetention / 4
	segmentBytes   = 64 << 20
)

// ensureTopic makes a topic unless it is there, and waits until the cluster knows it.
func ensureTopic(ctx context.Context, client *kgo.Client, want wantedTopic) error {
	_, err := kafka.Topics(ctx, client, "rpc", want.name)
	if err == nil || !isMissing(err) {
		return err
	}
	configs := map[string]*string{"cleanup.policy": new("delete"), "retention.ms": new(strconv.FormatInt(want.retention.Milliseconds(), 10))}
	if want.retention == shortRetention {
		configs["segment.ms"] = new(strconv.FormatInt(shortSegment.Milliseconds(), 10))
		configs["segment.bytes"] = new(strconv.Itoa(segmentBytes))
	}
	if want.appendTime {
		configs["message.timestamp.type"] = new("LogAppendTime")
	}
	resp, err := kadm.NewClient(client).CreateTopic(ctx, want.partitions, -1, configs, want.name)
	if err == nil {
		err = resp.Err
	}
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return kafka.Explain(fmt.Sprintf("rpc: creating topic %q with %d partitions", want.name, want.partitions), err)
	}
	for {
		if _, err = kafka.Topics(ctx, client, "rpc", want.name); err == nil || !isMissing(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return kafka.Explain(fmt.Sprintf("rpc: waiting for topic %q, which was made", want.name), errors.Join(context.Cause(ctx), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}
