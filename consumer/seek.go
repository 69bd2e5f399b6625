package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/commitmeta"
	"github.com/duplex-go/duplex/internal/kafka"
)

// ErrNotOwned is the code of a Seek for a partition that this member does not own,
// or stopped owning meanwhile: ask the member that does.
const ErrNotOwned duplex.Code = "not-owned"

// Seek has the group go on from the given offset of a partition that this member
// owns, be it forward or back: it waits for the partition's handlers as a
// revocation does (RevokeGrace), begins anew there, and commits that. What was
// waiting for its next attempt is forgotten; records behind the offset run again,
// those before it are skipped. It returns once the commit is acknowledged.
//
// The error's code is [ErrNotOwned], or what the cluster said; an offset that the
// partition does not have is refused, and so is a Seek when Run is not under way
// ([duplex.ErrClosed]).
func (c *Consumer) Seek(ctx context.Context, topic string, partition int32, offset int64) error {
	e, err := c.running("consumer: seeking")
	if err != nil {
		return err
	}
	return e.seek(ctx, topic, map[int32]int64{partition: offset})
}

// SeekTime is Seek to the first record whose timestamp is at or after t, or to the
// end where there is none, for the given partitions that this member owns, or for
// all that it owns. It goes on after an error and joins them.
func (c *Consumer) SeekTime(ctx context.Context, t time.Time, of ...Partitions) error {
	e, err := c.running("consumer: seeking")
	if err != nil {
		return err
	}
	if len(of) == 0 {
		of = []Partitions{{}}
	}
	to := map[string]map[int32]int64{}
	for _, a := range e.all() {
		for _, p := range of {
			if p.covers(a.topic, a.partition) {
				if to[a.topic] == nil {
					to[a.topic] = map[int32]int64{}
				}
				to[a.topic][a.partition] = -1
			}
		}
	}
	var errs []error
	for topic, partitions := range to {
		at, err := kafka.OffsetsAt(ctx, e.client, topic, t)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for p := range partitions {
			partitions[p] = at[p]
		}
		errs = append(errs, e.seek(ctx, topic, partitions))
	}
	return errors.Join(errs...)
}

// running returns the engine of Run.
func (c *Consumer) running(op string) (*engine, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.engine == nil || c.ended {
		return nil, &duplex.Error{Op: op, Codes: []duplex.Code{duplex.ErrClosed}, Hint: "only while Run is under way"}
	}
	return c.engine, nil
}

func (e *engine) seek(ctx context.Context, topic string, to map[int32]int64) error {
	starts, err := kafka.StartOffsets(ctx, e.client, topic)
	if err != nil {
		return err
	}
	ends, err := kafka.EndOffsets(ctx, e.client, topic)
	if err != nil {
		return err
	}
	var errs []error
	for p, offset := range to {
		start, known := starts[p]
		switch a := e.find(topic, p); {
		case !known || a == nil:
			errs = append(errs, notOwned(topic, p))
		case offset < start || offset > ends[p]:
			errs = append(errs, fmt.Errorf("consumer: seeking: %s/%d has offsets %d to %d, not %d", topic, p, start, ends[p], offset))
		default:
			errs = append(errs, e.seekOne(ctx, a, offset))
		}
	}
	return errors.Join(errs...)
}

func notOwned(topic string, partition int32) error {
	return &duplex.Error{
		Op: fmt.Sprintf("consumer: seeking %s/%d", topic, partition), Codes: []duplex.Code{ErrNotOwned},
		Hint: "this member does not own the partition (now): ask the member that does",
	}
}

// seekOne puts a new assignment in the place of a, at the offset.
func (e *engine) seekOne(ctx context.Context, a *assignment, offset int64) error {
	a.halt(haltEnding)
	endWork([]*assignment{a}, e.cfg.RevokeGrace, ErrRevoked)
	var next *assignment
	e.handoff.settled(func() {
		next = e.replace(a, opening{
			topic: a.topic, partition: a.partition, generation: a.generation, offset: offset, committed: -1, epoch: -1,
			meta: commitmeta.Meta{Partitions: a.origin},
		})
		if next != nil {
			e.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{a.topic: {a.partition: {Epoch: -1, Offset: offset}}})
			e.client.ResumeFetchPartitions(map[string][]int32{a.topic: {a.partition}})
		}
	})
	if next == nil {
		return notOwned(a.topic, a.partition) // it was revoked meanwhile
	}
	within := commitGrace
	if at, ok := ctx.Deadline(); ok {
		within = min(within, time.Until(at))
	}
	return e.committer.commitUntilAcked([]*assignment{next}, within) //nolint:contextcheck // it has the deadline
}
