package push

import (
	"context"
	"sync"
)

// quota counts the records that --limit still allows, exactly: a command runs only
// if its success would be within the limit.
type quota struct {
	limit    int64 // 0 = none
	stopping <-chan struct{}

	mu      sync.Mutex
	running int64
	done    int64
	changed chan struct{} // closed at each end of a command
}

func newQuota(limit int64, stopping <-chan struct{}) *quota {
	return &quota{limit: limit, stopping: stopping, changed: make(chan struct{})}
}

// take waits until a command may run, and is false when none will.
func (q *quota) take(ctx context.Context) bool {
	if q.limit == 0 {
		return true
	}
	for {
		q.mu.Lock()
		changed, full := q.changed, q.done >= q.limit
		if may := q.running+q.done < q.limit; may {
			q.running++
			q.mu.Unlock()
			return true
		}
		q.mu.Unlock()
		if full {
			return false
		}
		select {
		case <-changed:
		case <-q.stopping:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// give ends what take began, and says whether the limit is reached.
func (q *quota) give(handled bool) bool {
	if q.limit == 0 {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	if handled {
		q.done++
	}
	close(q.changed)
	q.changed = make(chan struct{})
	return q.done >= q.limit
}
