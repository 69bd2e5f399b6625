package consumer

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/commitmeta"
	"github.com/duplex-go/duplex/internal/kafka"
)

// poll is the poll goroutine: it moves slices of records from the client to
// their assignments and never waits for a handler.
func (e *engine) poll(ctx context.Context) {
	for ctx.Err() == nil {
		fetches := e.client.PollRecords(e.handoff.enter(ctx), e.pollSize())
		over := e.handOver(fetches) //nolint:contextcheck // what it starts has bounds of its own
		e.handoff.leave()
		e.flow.await(ctx, over)
	}
}

const (
	mostPolled = 10_000
	// typicalSize is how large records are thought to be before one was seen: the
	// first poll begins before it is known how many partitions there are.
	typicalSize = 16 << 10
)

// pollSize is how many records to take from the client at a time: a partition that
// has less than its share gets at most another share, in records and, as those
// before were, in bytes. More would break the bounds of memory, less would have
// what the client has fetched thrown away more often. Half of everything is the
// most, because there may be more partitions when the poll returns.
func (e *engine) pollSize() int {
	loaded, bytes := e.shares()
	loaded = min(loaded, max(e.cfg.MaxLoaded/2, leastShare), mostPolled)
	return int(min(int64(loaded), max(bytes/e.typical, 1)))
}

// weigh learns how large records are. Large ones are not forgotten at once.
func (e *engine) weigh(fetches kgo.Fetches) {
	e.typical -= e.typical / 8
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if n := len(p.Records); n > 0 {
			e.typical = max(e.typical, recordSize(p.Records[0]), recordSize(p.Records[n-1]), 1)
		}
	})
}

func (e *engine) handOver(fetches kgo.Fetches) (over []*assignment) {
	e.weigh(fetches)
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if p.Err != nil {
			e.fetchFailed(p.Topic, p.Partition, p.Err)
		}
		if len(p.Records) == 0 {
			return
		}
		a := e.find(p.Topic, p.Partition)
		if a == nil {
			return // polled before it was revoked; the next owner reads it
		}
		if a.expects(p) {
			e.problems.clear(p.Topic, p.Partition)
		} else if a = e.reopen(a, p); a == nil {
			return
		}
		if a.accept(&p) {
			over = append(over, a)
		}
	})
	return over
}

// expects reports whether a slice continues where the assignment's reading
// ended. Gaps are normal: compaction, aborted transactions. But a first offset
// behind the frontier means that the log was cut off and written anew, and one
// beyond it with the log's start in between means that the broker deleted
// records before they were read.
func (a *assignment) expects(p kgo.FetchTopicPartition) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := p.Records[0].Offset
	return first >= a.read && (first == a.read || p.LogStartOffset <= a.read)
}

// reopen deals with a slice that does not continue the assignment: it reports
// what is lost, and where the log goes back it begins a new assignment there.
func (e *engine) reopen(a *assignment, p kgo.FetchTopicPartition) *assignment {
	a.mu.Lock()
	first, frontier := p.Records[0].Offset, a.read
	a.mu.Unlock()
	if first > frontier {
		e.dataLost(a, fmt.Sprintf("%s/%d: the broker deleted %d records, offsets %d to %d, before they were read", a.topic, a.partition, first-frontier, frontier, first-1))
		return a
	}
	e.dataLost(a, fmt.Sprintf("%s/%d: the log was cut off at or before offset %d and goes on from %d", a.topic, a.partition, frontier, first))
	return e.openAssignment(opening{
		topic: a.topic, partition: a.partition, generation: a.generation, offset: first, committed: -1, epoch: -1,
		meta: commitmeta.Meta{Partitions: a.origin},
	})
}

func (e *engine) dataLost(a *assignment, detail string) {
	code := duplex.StatusDataLost
	if a.chained {
		code = duplex.StatusRetryDataLost
	}
	e.problems.set(a.topic, a.partition, code, detail)
	e.log.Error("data was lost", zap.String("code", string(code)), zap.String("topic", a.topic), zap.Int32("partition", a.partition), zap.String("detail", detail))
}

// fetchFailed turns what a poll reports into a problem, or ends Run where no
// waiting helps (engine rule 7: kgo would try for ever).
func (e *engine) fetchFailed(topic string, partition int32, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, kgo.ErrClientClosed) {
		return
	}
	if ge, ok := errors.AsType[*kgo.ErrGroupSession](err); ok {
		coded := kafka.Explain(fmt.Sprintf("consumer: being a member of group %q", e.cfg.Group), ge.Err)
		if hopeless(ge.Err) {
			e.fail(coded)
			return
		}
		e.problems.set("", -1, statusOf(coded, duplex.StatusDisconnected), coded.Error())
		e.log.Warn("the group does not hold together, trying again", zap.Error(coded))
		return
	}
	if errors.Is(err, kerr.UnknownTopicID) {
		e.unknownID(topic)
	}
	coded := kafka.Explain(fmt.Sprintf("consumer: reading %s/%d", topic, partition), err)
	e.problems.set(topic, partition, statusOf(coded, duplex.StatusDisconnected), coded.Error())
	e.log.Warn("a partition cannot be read", zap.String("topic", topic), zap.Int32("partition", partition), zap.Error(coded))
}

func statusOf(err error, otherwise duplex.StatusCode) duplex.StatusCode {
	switch {
	case errors.Is(err, duplex.ErrUnauthorized), errors.Is(err, duplex.ErrUnauthenticated):
		return duplex.StatusUnauthorized
	case errors.Is(err, duplex.ErrFenced):
		return duplex.StatusFenced
	default:
		return otherwise
	}
}

// hopeless reports whether a group error stays for as long as nobody changes
// something.
func hopeless(err error) bool {
	for _, e := range []error{
		kerr.FencedInstanceID, kerr.GroupAuthorizationFailed, kerr.TopicAuthorizationFailed, kerr.ClusterAuthorizationFailed,
		kerr.SaslAuthenticationFailed, kerr.InconsistentGroupProtocol, kerr.InvalidGroupID, kerr.InvalidSessionTimeout,
		kerr.UnsupportedSaslMechanism,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
