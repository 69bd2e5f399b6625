package main

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/dlq"
)

// failByHand is what one writes on raw kgo: what fails is produced to another topic,
// without waiting for each, and offsets are committed when all of it is
// acknowledged; a second consumer reads the retry topic and waits until each record
// is due.
func failByHand(ctx context.Context, s spec, f *failing) error {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(s.Brokers...), kgo.ConsumerGroup(s.Group), kgo.ConsumeTopics(s.Topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.DisableAutoCommit(), kgo.FetchMaxBytes(fetchMax),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(linger), kgo.MaxBufferedRecords(buffered),
	)
	if err != nil {
		return err
	}
	defer cl.Close()
	reading, stop := context.WithCancel(ctx)
	var a acks
	followed, retried := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(followed)
		f.follow(reading, a.good.Load, stop)
	}()
	go func() { retried <- retryByHand(ctx, reading, s, f) }()
	err = consumeByHand(ctx, reading, cl, s, f, &a)
	stop()
	<-followed
	return errors.Join(err, <-retried)
}

func consumeByHand(ctx, reading context.Context, cl *kgo.Client, s spec, f *failing, a *acks) error {
	same := headersByHand(s)
	headers := func(*kgo.Record, error) []kgo.RecordHeader { return same }
	if by, _ := s.Arm.share(); by == armWriting {
		headers = func(r *kgo.Record, err error) []kgo.RecordHeader { return headersOf(same, s, r, err) }
	}
	done := func(_ *kgo.Record, err error) { a.done(err) }
	committed := time.Now()
	for reading.Err() == nil {
		fetches := cl.PollFetches(reading)
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.Canceled) {
				return e.Err
			}
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if err := f.first(r.Partition, r.Offset, r.Value); err != nil {
				cl.Produce(ctx, &kgo.Record{Topic: s.Beside, Partition: r.Partition, Key: r.Key, Value: r.Value, Headers: headers(r, err)}, done)
			}
		})
		if time.Since(committed) < commitEvery {
			continue
		}
		if err := commitByHand(ctx, cl, a); err != nil {
			return err
		}
		committed = time.Now()
	}
	return commitByHand(ctx, cl, a)
}

// commitByHand commits what was polled, once what failed of it is acknowledged.
func commitByHand(ctx context.Context, cl *kgo.Client, a *acks) error {
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	if failed := a.failed.Load(); failed != nil {
		return *failed
	}
	return cl.CommitUncommittedOffsets(ctx)
}

func retryByHand(ctx, reading context.Context, s spec, f *failing) error {
	if !s.Workload.retries() {
		return nil
	}
	delay := s.Workload.Delay
	s.Topic, s.Group = s.Beside, retryGroup(s.Group)
	due := time.NewTimer(0)
	defer due.Stop()
	return pollRaw(ctx, reading, s, func(r *kgo.Record) {
		if wait := time.Until(r.Timestamp.Add(delay)); wait > 0 {
			due.Reset(wait)
			select {
			case <-due.C:
			case <-reading.Done():
				return
			}
		}
		f.retry(r.Partition, r.Value)
	})
}

func retryGroup(group string) string { return group + "-retry" }

// headersByHand have as many bytes as those that Duplex writes; they are made once,
// which is as little as such headers can cost.
func headersByHand(s spec) []kgo.RecordHeader {
	const ms = "1700000000000"
	values := [][2]string{
		{dlq.HeaderID, s.Topic + "/3/54321@" + s.Group + "#abcdef"},
		{dlq.HeaderOriginTopic, s.Topic}, {dlq.HeaderOriginTopicID, strings.Repeat("i", 22)}, {dlq.HeaderOriginPartition, "3"},
		{dlq.HeaderOriginOffset, "54321"}, {dlq.HeaderOriginTimestamp, ms}, {dlq.HeaderAttempt, "1"}, {dlq.HeaderFirstFailedAt, ms},
		{dlq.HeaderGeneration, "0"}, {dlq.HeaderGroup, s.Group}, {dlq.HeaderHandler, s.Topic},
		{dlq.HeaderErrorType, "*errors.errorString"}, {dlq.HeaderErrorMessage, errFailing.Error()}, {dlq.HeaderLastFailedAt, ms},
	}
	if s.Workload.Dead {
		values = append(values, [2]string{dlq.HeaderReason, string(dlq.ReasonExhausted)},
			[2]string{dlq.HeaderFingerprint, "v1:0123456789abcdef"})
	}
	headers := make([]kgo.RecordHeader, len(values))
	for i, v := range values {
		headers[i] = kgo.RecordHeader{Key: v[0], Value: []byte(v[1])}
	}
	return headers
}

// headersOf are those of one record: what is the same for all is there already.
func headersOf(same []kgo.RecordHeader, s spec, r *kgo.Record, err error) []kgo.RecordHeader {
	now := strconv.AppendInt(nil, time.Now().UnixMilli(), 10)
	partition, offset := strconv.AppendInt(nil, int64(r.Partition), 10), strconv.AppendInt(nil, r.Offset, 10)
	id := append(append(append([]byte(s.Topic), '/'), partition...), '/')
	id = append(append(append(append(id, offset...), '@'), s.Group...), "#abcdef"...)
	headers := slices.Clone(same)
	for i := range headers {
		h := &headers[i]
		switch h.Key {
		case dlq.HeaderID:
			h.Value = id
		case dlq.HeaderOriginPartition:
			h.Value = partition
		case dlq.HeaderOriginOffset:
			h.Value = offset
		case dlq.HeaderOriginTimestamp:
			h.Value = strconv.AppendInt(nil, r.Timestamp.UnixMilli(), 10)
		case dlq.HeaderFirstFailedAt, dlq.HeaderLastFailedAt:
			h.Value = now
		case dlq.HeaderErrorMessage:
			h.Value = []byte(err.Error())
		}
	}
	return headers
}

func headerBytes(headers []kgo.RecordHeader) (n int) {
	for _, h := range headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}
