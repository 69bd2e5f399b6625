package consumer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// followed has the policy look at its topics while the consumer runs, at times, and
// soon after a rebalance, because a source may have grown, and when one of them is not
// there any more.
type followed struct {
	wanted chan struct{} // capacity 1

	mu      sync.Mutex
	missing map[string]bool // what could not be published to
}

// followEvery is the least time between two looks, followSeldom the most: the client
// says nothing of a topic that it reads and that is not there any more.
const followEvery, followSeldom = time.Second, 15 * time.Second

func newFollowed() followed { return followed{wanted: make(chan struct{}, 1)} }

func (f *followed) look() { signal(f.wanted) }

// gone is called when a topic of the policy's is not there.
func (f *followed) gone(topic string) {
	f.mu.Lock()
	if f.missing == nil {
		f.missing = map[string]bool{}
	}
	f.missing[topic] = true
	f.mu.Unlock()
	f.look()
}

func (f *followed) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	topics := slices.Collect(maps.Keys(f.missing))
	f.missing = nil
	return topics
}

// follow does the looking, until ctx ends.
func (e *engine) follow(ctx context.Context) {
	if e.chain == nil {
		return
	}
	pause, seldom := time.NewTimer(followEvery), time.NewTicker(followSeldom)
	defer pause.Stop()
	defer seldom.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-seldom.C:
		case <-e.followed.wanted:
		}
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		e.followOnce(ctx)
		pause.Reset(followEvery)
	}
}

func (e *engine) followOnce(ctx context.Context) {
	bounded, cancel := context.WithTimeoutCause(ctx, e.cfg.StartTimeout, errors.New("StartTimeout has passed"))
	defer cancel()
	missing := e.followed.take()
	changed, err := e.chain.Follow(bounded, e.client)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		e.log.Warn("the topics for failed records are not as they should be, looking again in a while", zap.Duration("in", followSeldom), zap.Error(err))
	case changed:
		e.client.ForceMetadataRefresh() // the client would notice within minutes only
	}
	// The client would go by the ID that the topic had.
	e.client.PurgeTopicsFromProducing(missing...)
}
