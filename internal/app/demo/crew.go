package demo

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
)

// work is how long a member takes for one departure, slowWork for one of the slow
// airport: enough that a member which is stopped has some at hand.
const (
	work       = 4 * time.Millisecond
	slowWork   = 150 * time.Millisecond
	slowOrigin = "SEA"
)

// The system of one airport is down for a while. Its records wait; nobody else's do.
const (
	brokenOrigin = "DEN"
	brokenRetry  = 400 * time.Millisecond // how soon its departures are tried again
)

var errBroken = errors.New("demo: the system of " + brokenOrigin + " is down")

// sessionTimeout is the shortest that Kafka allows by default. Members hear of a
// rebalance with their next heartbeat, three of which go into a session.
const sessionTimeout = 6 * time.Second

// boardPolicy has a departure that fails wait in its place, and those of its airport
// behind it: a board says what left last. It is tried for as long as any outage of
// the demo can take.
func boardPolicy() dlq.Policy {
	return dlq.Policy{KeepOrder: true, Delays: []time.Duration{}, MaxAttempts: 10_000}
}

// crew are the members of the group that keeps the boards.
type crew struct {
	cfg     *Config
	board   *board
	history *history
	failed  context.CancelCauseFunc // ends the story when a member cannot go on

	down     atomic.Bool  // the broken airport's system
	attempts atomic.Int64 // of the departure that failed most often

	members map[string]*member // those that were not stopped
	former  []*member
}

// join starts a member.
func (c *crew) join(ctx context.Context, name string) error {
	m := &member{name: name}
	topic := duplex.Topic[Flight]{Name: c.cfg.Names.Topic}
	err := m.start(ctx, consumer.Config{
		Cluster: c.cfg.Cluster, Group: c.cfg.Names.Boards, SessionTimeout: sessionTimeout, Failures: boardPolicy(),
		Handlers: []consumer.Handler{consumer.Handle(topic, func(ctx context.Context, f Flight) error { return c.handle(ctx, m, f) })},
	}, c.failed)
	if err != nil {
		return err
	}
	c.members[name] = m
	return nil
}

// handle is what a member does with a departure.
func (c *crew) handle(ctx context.Context, m *member, f Flight) error {
	delivery := consumer.FromContext(ctx)
	if f.Origin == brokenOrigin && c.down.Load() {
		c.attempts.Store(max(c.attempts.Load(), int64(delivery.Attempt)))
		return duplex.RetryAfter(brokenRetry, errBroken)
	}
	takes := work
	if f.Origin == slowOrigin {
		takes = slowWork
	}
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.board.update(f)
	r := delivery.Record
	c.history.ended(&c.history.boards, handled, life{at: duplex.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}})
	c.history.saw(delivery.Generation)
	m.handled.Add(1)
	return nil
}

// leave stops a member gracefully. It returns how many departures the member
// finished on the way out.
func (c *crew) leave(name string) (drained int64) {
	m := c.members[name]
	delete(c.members, name)
	c.former = append(c.former, m)
	before := m.handled.Load()
	_ = m.stop() // disband tells
	return m.handled.Load() - before
}

// disband stops everybody.
func (c *crew) disband() error {
	for _, m := range c.members {
		m.cancel()
	}
	for _, name := range slices.Sorted(maps.Keys(c.members)) {
		c.leave(name)
	}
	var errs []error
	for _, m := range c.former {
		errs = append(errs, m.err)
	}
	return errors.Join(errs...)
}

// share waits until every member has partitions and every partition a member, at
// most until ctx ends. It returns who has which.
func (c *crew) share(ctx context.Context) (shares string) {
	await(ctx, func() (complete bool) {
		shares, complete = c.shares()
		return complete
	})
	return shares
}

func (c *crew) shares() (shares string, complete bool) {
	owned, idle := 0, 0
	parts := make([]string, 0, len(c.members))
	for _, name := range slices.Sorted(maps.Keys(c.members)) {
		partitions := c.members[name].owned(c.cfg.Names.Topic)
		owned += len(partitions)
		if len(partitions) == 0 {
			idle++
		}
		numbers := make([]string, 0, len(partitions))
		for _, p := range partitions {
			numbers = append(numbers, strconv.Itoa(int(p)))
		}
		parts = append(parts, name+" "+strings.Join(numbers, ","))
	}
	return strings.Join(parts, " · "), owned == Partitions && idle == 0
}
