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

// selectedReader reads the letters of a selection, those of each partition in order.
type selectedReader struct {
	redriver *Redriver
	queue    string
	job      *Job
	client   *kgo.Client

	next   map[int32]int64 // the offset after the last one that was given out, or passed over
	polled []*kgo.Record   // and not given out yet
	known  bool            // it is the queue that the plan was made for

	decoder *decoder
}

// readSelected begins at a job's checkpoint.
func (r *Redriver) readSelected(ctx context.Context, j *Job) (*selectedReader, error) {
	s := &selectedReader{redriver: r, queue: j.Plan.Queue, job: j, next: map[int32]int64{}, decoder: newDecoder()}
	starts, err := kafka.StartOffsets(ctx, r.client, s.queue)
	if err != nil {
		return nil, err
	}
	from := map[int32]kgo.Offset{}
	for partition, set := range j.selected {
		at := max(j.checkpoint[partition], set.First())
		s.next[partition] = at
		if s.over(partition) {
			continue
		}
		s.expire(partition, starts[partition])
		if !s.over(partition) {
			from[partition] = kgo.NewOffset().At(s.next[partition])
		}
	}
	s.client, err = kafka.NewClient(r.cfg.Cluster, r.log,
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{s.queue: from}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxBytes(2*scanFetch), kgo.FetchMaxPartitionBytes(scanFetchPartition), kgo.FetchMaxWait(glance))
	return s, err
}

func (s *selectedReader) close() { s.client.Close() }

// over reports whether nothing of a partition's selection is left.
func (s *selectedReader) over(partition int32) bool {
	return s.next[partition] >= s.job.selected[partition].End()
}

// done reports whether nothing is left at all.
func (s *selectedReader) done() bool {
	for partition := range s.job.selected {
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
	set := s.job.selected[partition]
	s.job.Expired += set.Within(s.next[partition], start).Len()
	s.next[partition] = start
}

// take gives at most n letters of the selection, and not many more than mostBytes, waiting
// for the first of them until ctx ends. What it passed over is in next.
func (s *selectedReader) take(ctx context.Context, n int64) (letters []*Letter, err error) {
	var until time.Time // then it is no longer waited for what fills a transaction
	for bytes := 0; int64(len(letters)) < n && bytes < mostBytes && !s.done(); {
		if len(s.polled) == 0 {
			wait := openTimeout // ctx ends before
			if len(letters) > 0 {
				if until.IsZero() {
					until = time.Now().Add(fill)
				}
				wait = time.Until(until)
			}
			if err := s.poll(ctx, wait); err != nil || len(s.polled) == 0 {
				return letters, err
			}
		}
		r := s.polled[0]
		s.polled = s.polled[1:]
		if r.Offset < s.next[r.Partition] {
			continue
		}
		s.next[r.Partition] = r.Offset + 1
		if !r.Attrs.IsControl() && s.job.selected[r.Partition].Has(r.Offset) {
			l := new(Letter)
			s.decoder.decode(l, r)
			letters, bytes = append(letters, l), bytes+l.Size
		}
	}
	return letters, nil
}

// fill is for how long it is waited for more letters, once there are some: each transaction
// costs Kafka as much as a thousand records.
const fill = 50 * time.Millisecond

// poll reads on, and waits for letters so long, or until ctx ends.
func (s *selectedReader) poll(ctx context.Context, wait time.Duration) error {
	polling, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	fetches := s.client.PollFetches(polling) // all, so that the next fetch is under way
	var failed error
	fetches.EachError(func(topic string, partition int32, err error) {
		switch {
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), failed != nil:
		case errors.Is(err, kerr.OffsetOutOfRange):
			failed = s.trimmed(ctx, partition)
		default:
			failed = kafka.Explain(fmt.Sprintf("dlq: reading %s/%d from offset %d", topic, partition, s.next[partition]), err)
		}
	})
	if failed != nil {
		return failed
	}
	if !s.known && fetches.NumRecords() > 0 {
		if err := s.know(ctx); err != nil {
			return err
		}
	}
	s.polled = fetches.Records()
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
	s.client.RemoveConsumePartitions(map[string][]int32{s.queue: {partition}})
	if !s.over(partition) {
		s.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{s.queue: {partition: kgo.NewOffset().At(s.next[partition])}})
	}
	return nil
}
