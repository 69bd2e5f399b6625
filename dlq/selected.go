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
	"github.com/duplex-go/duplex/internal/offsets"
)

// selectedReader gives out the letters of a selection, those of each partition in order.
// They are read and decoded ahead, while those before them are published.
type selectedReader struct {
	redriver *Redriver
	queue    string
	job      *Job
	ahead    *ahead

	next  map[int32]int64 // the offset after the last one that was given out, or passed over
	read  []passed        // ahead, and not given out yet
	known bool            // it is the queue that the plan was made for
}

// readSelected begins at a job's checkpoint. Letters are decoded whole, or as far as it
// takes to redrive them.
func (r *Redriver) readSelected(ctx context.Context, j *Job, whole bool) (*selectedReader, error) {
	s := &selectedReader{redriver: r, queue: j.Plan.Queue, job: j, next: map[int32]int64{}}
	s.ahead = &ahead{rest: map[int32]offsets.Set{}, decoder: newDecoder()}
	s.ahead.decoder.failures = whole
	starts, err := kafka.StartOffsets(ctx, r.client, s.queue)
	if err != nil {
		return nil, err
	}
	from := map[int32]kgo.Offset{}
	for partition, set := range j.selected {
		s.next[partition] = max(j.checkpoint[partition], set.First())
		s.ahead.rest[partition] = set.Within(s.next[partition], set.End())
		if s.over(partition) {
			continue
		}
		s.expire(partition, starts[partition])
		if !s.over(partition) {
			from[partition] = kgo.NewOffset().At(s.next[partition])
		}
	}
	s.ahead.client, err = kafka.NewClient(r.cfg.Cluster, r.log,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.queue: from}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(2*scanFetch), kgo.FetchMaxPartitionBytes(scanFetchPartition), kgo.FetchMaxWait(glance))
	if err != nil {
		return nil, err
	}
	s.ahead.begin(ctx)
	return s, nil
}

func (s *selectedReader) close() { s.ahead.end() }

// over reports whether nothing of a partition's selection is left.
func (s *selectedReader) over(partition int32) bool {
	return s.next[partition] >= s.ahead.rest[partition].End()
}

// done reports whether nothing is left at all.
func (s *selectedReader) done() bool {
	for partition := range s.ahead.rest {
		if !s.over(partition) {
			return false
		}
	}
	return true
}

// expire counts what the queue's retention deleted, and goes on behind it.
func (s *selectedReader) expire(partition int32, start int64) {
	if start <= s.next[partition] {
		return
	}
	s.job.Expired += s.ahead.rest[partition].Within(s.next[partition], start).Len()
	s.next[partition] = start
}

// take gives at most n letters of the selection, and not many more than mostBytes, waiting
// for the first of them until ctx ends. What it passed over is in next.
func (s *selectedReader) take(ctx context.Context, n int64) (letters []*Letter, err error) {
	var until <-chan time.Time // then it is no longer waited for what fills a transaction
	for bytes := 0; int64(len(letters)) < n && bytes < mostBytes && !s.done(); {
		if len(s.read) == 0 {
			if len(letters) > 0 && until == nil {
				until = time.After(fill)
			}
			select {
			case p := <-s.ahead.pieces:
				if err := s.accept(ctx, p); err != nil {
					return letters, err
				}
			case <-until:
				return letters, nil
			case <-ctx.Done():
				return letters, nil
			}
			continue
		}
		at := s.read[0]
		s.read = s.read[1:]
		if at.offset < s.next[at.partition] {
			continue
		}
		s.next[at.partition] = at.offset + 1
		if at.letter != nil {
			letters, bytes = append(letters, at.letter), bytes+at.letter.Size
		}
	}
	return letters, nil
}

// fill is for how long it is waited for more letters, once there are some: each transaction
// costs Kafka as much as a thousand records.
const fill = 50 * time.Millisecond

// accept takes what was read ahead.
func (s *selectedReader) accept(ctx context.Context, p piece) error {
	for _, f := range p.failed {
		if !errors.Is(f.Err, kerr.OffsetOutOfRange) {
			return kafka.Explain(fmt.Sprintf("dlq: reading %s/%d from offset %d", s.queue, f.Partition, s.next[f.Partition]), f.Err)
		}
		if err := s.trimmed(ctx, f.Partition); err != nil {
			return err
		}
	}
	if !s.known && len(p.passed) > 0 {
		if err := s.know(ctx); err != nil {
			return err
		}
	}
	s.read = p.passed
	return nil
}

// know refuses letters of a queue that was deleted and made again: the same offsets have
// others. What was read before is of the queue as it is now, if it is the one that it was:
// the client goes on in no other one.
func (s *selectedReader) know(ctx context.Context) error {
	topics, err := kafka.Topics(ctx, s.redriver.client, "dlq", s.queue)
	if err != nil {
		return err
	}
	if topicIDText(topics[0].ID) != s.job.Plan.QueueID {
		return permanent{madeAgain(s.job, duplex.ErrUnknownTopic)}
	}
	s.known = true
	return nil
}

// madeAgain says that the letters of a job are gone.
func madeAgain(j *Job, code duplex.Code) error {
	return &duplex.Error{
		Op: fmt.Sprintf("dlq: working at job %s of %s", j.ID, j.Plan.Queue), Codes: []duplex.Code{code},
		Hint: "the topic was deleted and made again: its letters are others; make a new plan for these",
	}
}

// trimmed goes on behind what retention deleted under us: jumping over it without counting
// is what a Kafka client would do by itself.
func (s *selectedReader) trimmed(ctx context.Context, partition int32) error {
	starts, err := kafka.StartOffsets(ctx, s.redriver.client, s.queue)
	if err != nil {
		return err
	}
	s.expire(partition, starts[partition])
	s.ahead.client.RemoveConsumePartitions(map[string][]int32{s.queue: {partition}})
	if !s.over(partition) {
		s.ahead.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{s.queue: {partition: kgo.NewOffset().At(s.next[partition])}})
	}
	return nil
}
