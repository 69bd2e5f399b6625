package consumer

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// followEvery is the least time between two looks at the topics of the policy.
const followEvery = time.Second

// follow has the policy look at its topics again, soon: after a rebalance, because a
// source may have grown, and when one of them is not there any more.
func (e *engine) follow() {
	if e.chain != nil {
		signal(e.followed)
	}
}

// followTopics does so until ctx ends.
func (e *engine) followTopics(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for until(ctx, e.followed) && until(ctx, pause.C) {
		e.followOnce(ctx)
		pause.Reset(followEvery)
	}
}

// until waits for c, and reports false if ctx ends first.
func until[T any](ctx context.Context, c <-chan T) bool {
	select {
	case <-ctx.Done():
		return false
	case <-c:
		return true
	}
}

func (e *engine) followOnce(ctx context.Context) {
	bounded, cancel := context.WithTimeoutCause(ctx, e.cfg.StartTimeout, errors.New("StartTimeout has passed"))
	defer cancel()
	changed, err := e.chain.Follow(bounded, e.client)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		e.log.Warn("the topics for failed records are not as they should be, looking again", zap.Error(err))
		e.follow()
		return
	case changed:
		e.client.ForceMetadataRefresh() // the client would notice within minutes only
	}
}
