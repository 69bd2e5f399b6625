package consumer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
)

// recreated notices topics that were deleted and created again. The client goes by
// a topic's ID and keeps to the one it knows, so it would report an unknown ID for
// ever (engine rule 11); offsets of the old topic mean nothing in the new one. So
// the client is made to forget the topic and is given it anew, which has the group
// assign its partitions again, from their beginnings.
type recreated struct {
	mu    sync.Mutex
	since map[string]time.Time // when the unknown ID was reported first
}

const (
	// recreatedAfter is how long an unknown ID may be a broker's that has not heard
	// of a new topic yet.
	recreatedAfter = 3 * time.Second
	// forgottenAfter is when a report counts as the first one again.
	forgottenAfter = time.Minute
)

// reported is called for each fetch that says that a topic's ID is unknown.
func (r *recreated) reported(topic string, now time.Time) (act bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since == nil {
		r.since = map[string]time.Time{}
	}
	first, known := r.since[topic]
	if !known || now.Sub(first) > forgottenAfter {
		r.since[topic] = now
		return false
	}
	if now.Sub(first) < recreatedAfter {
		return false
	}
	r.since[topic] = now.Add(recreatedAfter) // once for now
	return true
}

// unknownID deals with a topic whose ID a broker does not know.
func (e *engine) unknownID(topic string) {
	if !e.recreated.reported(topic, time.Now()) {
		return
	}
	e.background.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
		defer cancel()
		anew, err := findTopics(ctx, e.client, []string{topic})
		if err != nil || e.stopping.Load() {
			e.followed.look() // if it is the policy's
			return            // it is gone, and polls say so
		}
		e.ids.merge(anew)
		code, detail := duplex.StatusTopicRecreated, "the topic was deleted and created again, and is read from its beginning"
		if unfinished := e.forgetOffsets(ctx, topic); e.routes[topic].source != topic {
			code = duplex.StatusRetryDataLost
			detail = fmt.Sprintf("the topic was deleted and created again, with %d records that had failed and were to be tried again; those that other members had are not counted", unfinished)
		}
		e.log.Error(detail, zap.String("topic", topic), zap.String("code", string(code)))
		e.problems.set(topic, -1, code, topic+": "+detail)
		e.client.PurgeTopicsFromConsuming(topic)
		e.client.AddConsumeTopics(topic)
	})
}

// forgetOffsets closes the assignments of a topic before the client learns its new
// ID: from then on their offsets would be committed for the new topic. It returns how
// many of their records were not finished.
func (e *engine) forgetOffsets(ctx context.Context, topic string) (unfinished int64) {
	select {
	case e.committer.turn <- struct{}{}: // no commit is under way
		defer func() { <-e.committer.turn }()
	case <-ctx.Done():
		return 0
	}
	e.regain.forget(topic)
	e.handoff.settled(func() {
		for _, a := range e.all() {
			if a.topic == topic {
				unfinished += a.unfinished()
				e.closeAssignment(a, ErrLost)
				e.problems.forget(topic, a.partition)
			}
		}
	})
	return unfinished
}

// unfinished counts the records of a partition that are not finished, those that were
// not read yet included, as far as its end is known.
func (a *assignment) unfinished() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.settle()
	return int64(a.loaded) + max(0, a.end-a.ledger.Frontier())
}
