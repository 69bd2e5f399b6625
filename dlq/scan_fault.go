package dlq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
)

// failures looks at what went wrong with a fetch: what has passed by itself is nothing,
// what was deleted is counted, and the rest ends the scan.
func (s *scan) failures(ctx context.Context, fetches kgo.Fetches) error {
	look := false
	for _, f := range fetches.Errors() {
		switch {
		case errors.Is(f.Err, context.DeadlineExceeded), errors.Is(f.Err, context.Canceled):
			// nothing came
		case errors.Is(f.Err, kerr.OffsetOutOfRange), errors.As(f.Err, new(*kgo.ErrDataLoss)),
			errors.Is(f.Err, kerr.UnknownTopicOrPartition), errors.Is(f.Err, kerr.UnknownTopicID):
			look = true
		case errors.Is(f.Err, kgo.ErrClientClosed), !kerr.IsRetriable(f.Err) && isKafka(f.Err), errors.As(f.Err, new(*kgo.ErrDecompressTooLarge)):
			return kafka.Explain(fmt.Sprintf("%s, partition %d", s.op(), f.Partition), f.Err)
		}
	}
	if !look {
		return nil
	}
	return s.look(ctx)
}

func isKafka(err error) bool {
	_, ok := errors.AsType[*kerr.Error](err)
	return ok
}

// look asks what became of the log below the scan.
func (s *scan) look(ctx context.Context) error {
	id, starts, ends, err := s.inspector.bounds(ctx, s.scanned.Topic)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, duplex.ErrUnknownTopic):
		return s.gone("the topic was deleted while it was read")
	case err != nil:
		return err
	case id != s.scanned.TopicID:
		return s.gone("the topic was deleted and made again while it was read")
	}
	again := map[int32]kgo.EpochOffset{}
	for p, at := range s.at {
		if at.Next >= at.To {
			continue
		}
		if ends[p] < at.Next {
			return s.gone(fmt.Sprintf("partition %d ends at offset %d now, the scan is at %d: its log was cut", p, ends[p], at.Next))
		}
		if start := starts[p]; start > at.Next {
			start = min(start, at.To)
			at.Expired += start - at.Next
			s.pass(at, start)
			again[p] = kgo.EpochOffset{Epoch: -1, Offset: start}
		}
	}
	if len(again) > 0 {
		s.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{s.scanned.Topic: again})
	}
	return nil
}

func (s *scan) gone(why string) error {
	return &duplex.Error{
		Op: s.op(), Codes: []duplex.Code{duplex.ErrUnknownTopic}, Err: errors.New(why),
		Hint: "what was read so far is true of what was there; find out who deletes, and read again",
	}
}

// stalled says that nothing came for too long.
func (s *scan) stalled(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, s.inspector.cfg.Timeout)
	defer cancel()
	if err := kafka.Ping(bounded, s.inspector.client, s.op()); err != nil {
		return err
	}
	return &duplex.Error{
		Op: s.op(), Codes: []duplex.Code{duplex.ErrUnreachable},
		Err:  fmt.Errorf("nothing came for %s, though the cluster answers: a partition may be without a leader", s.inspector.cfg.Timeout.Round(time.Second)),
		Hint: "look at the topic's leaders and read again",
	}
}
