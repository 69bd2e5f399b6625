package consumer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
)

const (
	// commitGrace is how long a stop tries to get its last offsets acknowledged.
	commitGrace = 10 * time.Second
	// leaveGrace bounds saying goodbye to the group.
	leaveGrace = 5 * time.Second
	// cancelGrace is how long handlers have to return once their context is
	// cancelled.
	cancelGrace = time.Second
)

// stop ends the membership in good order. All of it happens while polling and
// heartbeats go on: draining inside of kgo's leave sends none, and the group
// would give the partitions away in the middle of it (engine rule 15).
//
// It returns separately that handlers are still at work, and that what is
// finished could not be committed.
func (e *engine) stop(ctx context.Context) (stuck, uncommitted error) {
	e.stopping.Store(true)
	e.client.PauseFetchTopics(e.topics...)
	assignments := e.all()
	e.log.Info("stopping", zap.Int("partitions", len(assignments)))
	for _, a := range assignments {
		a.halt(haltEnding)
	}
	busy := endWork(append(assignments, e.formerAtWork()...), e.cfg.DrainTimeout, ErrStopping)
	stuck = handlersStuck(busy, e.cfg.DrainTimeout)
	if err := e.committer.commitUntilAcked(e.all(), commitGrace); err != nil { //nolint:contextcheck // the last commit has a bound of its own
		uncommitted = fmt.Errorf("consumer: stopping: the last offsets are not committed, so finished records will be repeated: %w", err)
	}
	for _, a := range busy {
		e.closeAssignment(a, ErrStopping) // or leaving would wait for it once more
	}
	bounded, cancel := context.WithTimeout(ctx, leaveGrace)
	defer cancel()
	if err := e.client.LeaveGroupContext(bounded); err != nil {
		e.log.Warn("leaving the group, it will notice by itself when the session ends", zap.Error(err))
	}
	for _, a := range e.all() {
		e.closeAssignment(a, ErrStopping)
	}
	return stuck, uncommitted
}

func handlersStuck(busy []*assignment, after time.Duration) error {
	if len(busy) == 0 {
		return nil
	}
	names := make([]string, 0, len(busy))
	for _, a := range busy {
		names = append(names, a.headName())
	}
	return fmt.Errorf("consumer: stopping: %d handlers did not return within %s, nor when their context was cancelled: %s",
		len(busy), after, strings.Join(names, ", "))
}

// headName names the record that holds up the commit.
func (a *assignment) headName() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running == 0 {
		return fmt.Sprintf("%s/%d", a.topic, a.partition)
	}
	return fmt.Sprintf("%s/%d offset %d", a.topic, a.partition, a.ledger.Watermark())
}
