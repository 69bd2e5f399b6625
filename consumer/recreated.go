package consumer

import (
	"context"
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
			return // it is gone, and polls say so
		}
		e.ids.merge(anew)
		e.log.Error("a topic was deleted and created again: it is read from its beginning", zap.String("topic", topic))
		e.problems.set(topic, -1, duplex.StatusTopicRecreated, topic+": the topic was deleted and created again, and is read from its beginning")
		e.forgetOffsets(ctx, topic)
		e.client.PurgeTopicsFromConsuming(topic)
		e.client.AddConsumeTopics(topic)
	})
}

// forgetOffsets closes the assignments of a topic before the client learns its new
// ID: from then on their offsets would be committed for the new topic.
func (e *engine) forgetOffsets(ctx context.Context, topic string) {
	select {
	case e.committer.turn <- struct{}{}: // no commit is under way
		defer func() { <-e.committer.turn }()
	case <-ctx.Done():
		return
	}
	e.regain.forget(topic)
	e.handoff.settled(func() {
		for _, a := range e.all() {
			if a.topic == topic {
				e.closeAssignment(a, ErrLost)
				e.problems.forget(topic, a.partition)
			}
		}
	})
}
