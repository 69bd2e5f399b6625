package consumer

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"
)

// onAssigned runs before the offsets of new partitions are fetched, onOffsets
// after that and before their first record (start.go). Whatever still belongs to
// a former assignment of them must be out of the way by then.
func (e *engine) onAssigned(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
	<-e.ready
	e.joined.Store(true)
	e.problems.forget("", -1)
	e.followed.look()
	if len(partitions) == 0 {
		return
	}
	e.counts.rebalances.Add(1)
	e.log.Info("partitions assigned", zap.Any("partitions", partitions))
	e.handoff.settled(func() {
		e.regain.keep(e.named(partitions), e.cfg.RebalanceTimeout)
		for _, a := range e.named(partitions) { // kgo never said that they are gone
			e.closeAssignment(a, ErrLost)
		}
	})
}

// onRevoked gives partitions away in good order: no handler starts, those at
// work may end, or are told to, and their work is committed.
func (e *engine) onRevoked(_ context.Context, client *kgo.Client, partitions map[string][]int32) {
	<-e.ready
	assignments := e.named(partitions)
	if len(assignments) == 0 {
		return
	}
	e.counts.rebalances.Add(1)
	e.log.Info("partitions revoked", zap.Any("partitions", partitions))
	for _, a := range assignments {
		a.halt(haltEnding)
	}
	endWork(assignments, e.cfg.RevokeGrace, ErrRevoked)
	if err := e.committer.commitUntilAcked(assignments, min(e.cfg.RebalanceTimeout/4, commitGrace)); err != nil { //nolint:contextcheck // kgo's ends with the session; this has a bound of its own
		e.log.Warn("the last offsets of revoked partitions are not committed, their next owner repeats what is missing", zap.Error(err))
	}
	e.release(client, assignments, ErrRevoked)
}

// onLost lets partitions go that may already be somebody else's: nothing is
// committed for them.
func (e *engine) onLost(_ context.Context, client *kgo.Client, partitions map[string][]int32) {
	<-e.ready
	e.joined.Store(false)
	assignments := e.named(partitions)
	if len(assignments) == 0 {
		return
	}
	e.counts.rebalances.Add(1)
	e.log.Warn("partitions lost: this member was not heard of for too long", zap.Any("partitions", partitions))
	for _, a := range assignments {
		a.halt(haltEnding)
		a.cancel(ErrLost)
	}
	awaitIdle(assignments, cancelGrace) // what is finished now need not run again if they come back
	e.release(client, assignments, ErrLost)
}

func (e *engine) release(client *kgo.Client, assignments []*assignment, cause error) {
	e.regain.keep(assignments, e.cfg.RebalanceTimeout)
	partitions := map[string][]int32{}
	for _, a := range assignments {
		e.closeAssignment(a, cause)
		e.problems.forget(a.topic, a.partition)
		partitions[a.topic] = append(partitions[a.topic], a.partition)
	}
	client.ResumeFetchPartitions(partitions) // pauses outlive an assignment in kgo (engine rule 5)
}

// named returns the open assignments of the given partitions.
func (e *engine) named(partitions map[string][]int32) []*assignment {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var named []*assignment
	for topic, numbers := range partitions {
		for _, n := range numbers {
			if a := e.open[topic][n]; a != nil {
				named = append(named, a)
			}
		}
	}
	return named
}

// openAssignment makes an assignment and puts it in the place of a former one.
func (e *engine) openAssignment(o opening) *assignment {
	if former := e.find(o.topic, o.partition); former != nil {
		e.closeAssignment(former, ErrLost)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.openLocked(o)
}

// replace is openAssignment in the place of a, unless a is not open any more.
func (e *engine) replace(a *assignment, o opening) *assignment {
	busy := a.close(ErrRevoked)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open[a.topic][a.partition] != a {
		return nil
	}
	e.openCount--
	if busy {
		e.ghosts[place{a.topic, a.partition}] = a
	}
	return e.openLocked(o)
}

func (e *engine) openLocked(o opening) *assignment {
	a := newAssignment(e, o)
	if e.pauses != nil && e.pauses.paused(o.topic, o.partition) {
		a.halt(haltPaused)
	}
	if a.handler.answers && o.unmarked() {
		a.halt(haltUnmarked)
	}
	if e.stopping.Load() {
		a.halt(haltEnding)
	}
	if e.fenced {
		a.halt(haltFenced)
	}
	at := place{o.topic, o.partition}
	if ghost := e.ghosts[at]; ghost != nil {
		a.follow(ghost)
		delete(e.ghosts, at)
	}
	if e.open[o.topic] == nil {
		e.open[o.topic] = map[int32]*assignment{}
	}
	e.open[o.topic][o.partition] = a
	e.openCount++
	e.shareOut()
	return a
}

func (e *engine) closeAssignment(a *assignment, cause error) {
	running := a.close(cause)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.open[a.topic][a.partition] == a {
		delete(e.open[a.topic], a.partition)
		e.openCount--
		e.shareOut()
	}
	if running {
		e.ghosts[place{a.topic, a.partition}] = a
	}
}

// formerAtWork returns the assignments that are closed and whose handlers have not
// returned.
func (e *engine) formerAtWork() []*assignment {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return slices.Collect(maps.Values(e.ghosts))
}

// laid forgets a ghost whose handler has returned.
func (e *engine) laid(a *assignment) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at := place{a.topic, a.partition}
	if e.ghosts[at] == a {
		delete(e.ghosts, at)
	}
}

// endWork waits until the handlers of assignments that are halted have returned:
// by themselves within grace, and then for a moment with their contexts
// cancelled. It returns the assignments whose handlers are at work all the same.
func endWork(assignments []*assignment, grace time.Duration, cause error) (busy []*assignment) {
	busy = awaitIdle(assignments, grace)
	for _, a := range busy {
		a.cancel(cause)
	}
	return awaitIdle(busy, cancelGrace)
}

// awaitIdle waits until no handler of the assignments is at work, at most for
// grace, and returns those that still are.
func awaitIdle(assignments []*assignment, grace time.Duration) (busy []*assignment) {
	timer := time.NewTimer(grace)
	defer timer.Stop()
	expired := false
	for _, a := range assignments {
		idle := a.whenIdle()
		if !expired {
			select {
			case <-idle:
				continue
			case <-timer.C:
				expired = true
			}
		}
		select {
		case <-idle:
		default:
			busy = append(busy, a)
		}
	}
	return busy
}
