package dlq

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
)

// stateLog reads the state topic of a queue, to its end and then on. Only one goroutine may
// use it.
type stateLog struct {
	states *states
	topic  string

	cluster duplex.Cluster
	log     *zap.Logger
	admin   *kgo.Client // somebody else's
	reader  *kgo.Client // nil for as long as there is no topic
	next    int64       // offset
}

// openStates finds out what is known of the letters of a queue. The queue must be there.
func openStates(ctx context.Context, admin *kgo.Client, cluster duplex.Cluster, log *zap.Logger, queue string) (*stateLog, error) {
	topics, err := kafka.Topics(ctx, admin, "dlq", queue)
	if err != nil {
		return nil, err
	}
	l := &stateLog{
		states: newStates(queue, topicIDText(topics[0].ID)), topic: StateTopic(ownerOf(queue)),
		cluster: cluster, log: log, admin: admin,
	}
	if err := l.catchUp(ctx); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// topicIDText is how headers and plans have a topic's ID.
func topicIDText(id [16]byte) string {
	if id == [16]byte{} {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(id[:])
}

func (l *stateLog) close() {
	if l.reader != nil {
		l.reader.Close()
	}
}

// forget has all be read again.
func (l *stateLog) forget() {
	l.close()
	l.reader, l.states = nil, newStates(l.states.queue, l.states.queueID)
}

// catchUp reads up to where the topic ends now. That it does not exist means that there was
// no job yet. What lies behind a transaction that does not end soon is left for later.
func (l *stateLog) catchUp(ctx context.Context) error { return l.readTo(ctx, l.soon) }

// catchUpWhole reads all that was written before, and waits for transactions of others, such
// as of a job of another queue of the group, that it may lie behind.
func (l *stateLog) catchUpWhole(ctx context.Context) error { return l.readTo(ctx, l.whole) }

func (l *stateLog) readTo(ctx context.Context, where func(context.Context) (int64, error)) error {
	end, err := where(ctx)
	if err != nil || end == 0 {
		return err
	}
	if err := l.open(ctx); err != nil {
		return err
	}
	for l.next < end {
		if err := l.poll(ctx); err != nil {
			return err
		}
	}
	return nil
}

const (
	// settle is how long a reader waits for transactions that have ended, and whose readers are
	// not told yet, or that are about to end.
	settle = 2 * time.Second
	// aborted is until when brokers have aborted a transaction whose process died: they look
	// every ten seconds, unless they are told otherwise.
	aborted = transactionTimeout + 15*time.Second
)

// soon is where the topic ends, 0 if it is not there. What was written before is below it,
// unless its transaction does not end.
func (l *stateLog) soon(ctx context.Context) (int64, error) {
	committed, _, err := l.end(ctx, settle)
	return committed, err
}

// whole is where the topic ends. What was written before is below it.
func (l *stateLog) whole(ctx context.Context) (int64, error) {
	committed, written, err := l.end(ctx, aborted)
	if err == nil && committed < written {
		err = fmt.Errorf("dlq: reading what was done with the letters of %s: since %s a transaction is open in %s at offset %d, and what lies behind it cannot be read: see who writes there",
			l.states.queue, aborted, l.topic, committed)
	}
	return committed, err
}

// end is where the topic ended when it was asked, and up to where that may be read within the
// given time; 0 if it is not there.
func (l *stateLog) end(ctx context.Context, within time.Duration) (committed, written int64, err error) {
	// The client remembers for a moment that a topic was not there, so this is asked first.
	_, err = kafka.Topics(ctx, l.admin, "dlq", l.topic)
	if errors.Is(err, duplex.ErrUnknownTopic) {
		return 0, 0, nil
	}
	for began := time.Now(); err == nil; {
		var ends, readable map[int32]int64
		if written == 0 {
			ends, err = kafka.EndOffsets(ctx, l.admin, l.topic)
			written = ends[0]
		}
		if err == nil {
			readable, err = kafka.CommittedEndOffsets(ctx, l.admin, l.topic)
		}
		committed = readable[0]
		late := time.Since(began) > settle
		switch {
		case err == nil && (committed >= written || time.Since(began) > within):
			return committed, written, nil
		case errors.Is(err, duplex.ErrUnknownTopic) && !late:
			err = nil
		}
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return 0, 0, fmt.Errorf("dlq: reading what was done with the letters of %s: %w", l.states.queue, err)
}

// open makes the reader.
func (l *stateLog) open(ctx context.Context) error {
	if l.reader != nil {
		return nil
	}
	starts, err := kafka.StartOffsets(ctx, l.admin, l.topic)
	if err != nil {
		return err
	}
	l.next = starts[0]
	l.reader, err = kafka.NewClient(l.cluster, l.log,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{l.topic: {0: kgo.NewOffset().At(l.next)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxWait(250*time.Millisecond))
	return err
}

// poll takes over what comes next, and waits for it until ctx ends.
func (l *stateLog) poll(ctx context.Context) error {
	fetches := l.reader.PollFetches(ctx)
	if ctx.Err() != nil && fetches.NumRecords() == 0 {
		return context.Cause(ctx)
	}
	var failed error
	fetches.EachError(func(_ string, _ int32, err error) {
		if failed == nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
			failed = kafka.Explain(fmt.Sprintf("dlq: reading %s from offset %d", l.topic, l.next), err)
		}
	})
	if failed != nil {
		return failed
	}
	for it := fetches.RecordIter(); !it.Done(); {
		r := it.Next()
		l.next = r.Offset + 1
		if r.Attrs.IsControl() {
			continue
		}
		if err := l.states.apply(r); err != nil {
			return l.unreadable(err)
		}
	}
	return nil
}

func (l *stateLog) unreadable(err error) error {
	e := &duplex.Error{Op: "dlq: reading what was done with the letters of " + l.states.queue, Err: err, Hint: "somebody else writes there, or it is damaged: letters may be redriven twice if it is deleted"}
	var newer newerError
	if errors.As(err, &newer) {
		e.Codes, e.Hint = []duplex.Code{duplex.ErrRefused}, "a later Duplex was here: use that one"
	}
	return e
}

// follow takes over what comes within the given time.
func (l *stateLog) follow(ctx context.Context, within time.Duration) error {
	if l.reader == nil {
		if err := l.catchUp(ctx); err != nil || l.reader == nil {
			return err
		}
	}
	bounded, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for more := true; more; more = bounded.Err() == nil { // at least what was fetched already
		if err := l.poll(bounded); err != nil && bounded.Err() == nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// ensureStateTopics makes the state topic of a queue and the audit topic, unless they are
// there, with the replicas of the queue.
func ensureStateTopics(ctx context.Context, client *kgo.Client, queue string) error {
	admin := kadm.NewClient(client)
	there, err := admin.ListTopics(ctx, queue)
	if err == nil {
		err = there.Error()
	}
	if err != nil {
		return kafka.Explain(fmt.Sprintf("dlq: asking for topic %q", queue), err)
	}
	replicas := int16(there[queue].Partitions.NumReplicas())
	for topic, configs := range map[string]map[string]*string{
		StateTopic(ownerOf(queue)): {"cleanup.policy": new("compact"), "message.timestamp.type": new("CreateTime")},
		AuditTopic:                 {"cleanup.policy": new("delete"), "retention.ms": new("7776000000")}, // 90 days
	} {
		if err := duplex.ValidateTopicName(topic); err != nil {
			return fmt.Errorf("dlq: making the topic for what is done with the letters of %s: %w", queue, err)
		}
		resp, err := admin.CreateTopic(ctx, 1, replicas, configs, topic)
		if err == nil {
			err = resp.Err
		}
		switch {
		case errors.Is(err, kerr.TopicAlreadyExists):
		case err != nil && isThere(ctx, admin, topic): // whoever made it has the rights
		case err != nil:
			return kafka.Explain(fmt.Sprintf("dlq: making topic %q", topic), err)
		default:
			kafka.AwaitEverywhere(ctx, client, topic)
		}
	}
	return nil
}

func isThere(ctx context.Context, admin *kadm.Client, topic string) bool {
	there, err := admin.ListTopics(ctx, topic)
	return err == nil && there.Error() == nil
}
