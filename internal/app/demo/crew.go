package demo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

// work is how long a member takes for one departure: enough that a member which
// is stopped has some at hand.
const work = 4 * time.Millisecond

// sessionTimeout is the shortest that Kafka allows by default. Members hear of a
// rebalance with their next heartbeat, three of which go into a session.
const sessionTimeout = 6 * time.Second

// errMember is why the story ends when a member cannot go on; disband says which
// and why.
var errMember = errors.New("demo: a member of the group cannot go on")

// crew are the members of the group.
type crew struct {
	cfg     *Config
	topic   duplex.Topic[Departure]
	board   *board
	history *history
	failed  context.CancelCauseFunc // ends the story when a member cannot go on

	trouble trouble

	members map[string]*member // those that were not stopped
	former  []*member
}

// member is one consumer of the group, as one process of a service would be.
type member struct {
	name     string
	consumer *consumer.Consumer
	stop     context.CancelFunc
	ended    sync.WaitGroup
	handled  atomic.Int64
	err      error // of Run
}

// join starts a member.
func (c *crew) join(ctx context.Context, name string) error {
	m := &member{name: name}
	var err error
	m.consumer, err = consumer.New(consumer.Config{
		Cluster: c.cfg.Cluster, Group: c.cfg.Group, SessionTimeout: sessionTimeout,
		RetryMin: retryMin, RetryMax: retryMax,
		Handlers: []consumer.Handler{consumer.Handle(c.topic, func(ctx context.Context, d Departure) error { return c.handle(ctx, m, d) })},
	})
	if err != nil {
		return err
	}
	ctx, m.stop = context.WithCancel(context.WithoutCancel(ctx))
	m.ended.Go(func() {
		if err := m.consumer.Run(ctx); err != nil {
			m.err = fmt.Errorf("demo: running member %s: %w", m.name, err)
			c.failed(errMember)
		}
	})
	c.members[name] = m
	return nil
}

// handle is what a member does with a departure.
func (c *crew) handle(ctx context.Context, m *member, d Departure) error {
	delivery := consumer.FromContext(ctx)
	if d.Origin == brokenOrigin && c.trouble.down.Load() {
		c.trouble.attempts.Store(max(c.trouble.attempts.Load(), int64(delivery.Attempt)))
		return errDown
	}
	takes := work
	if d.Origin == slowOrigin {
		takes = slowWork
	}
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	c.board.update(d)
	r := delivery.Record
	c.history.handled(duplex.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}, delivery.Generation)
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
	m.stop()
	m.ended.Wait()
	return m.handled.Load() - before
}

// disband stops everybody.
func (c *crew) disband() error {
	for _, m := range c.members {
		m.stop()
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
func (c *crew) share(ctx context.Context) string {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		shares, complete := c.shares()
		if complete || ctx.Err() != nil {
			return shares
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

func (c *crew) shares() (shares string, complete bool) {
	owned, idle := 0, 0
	parts := make([]string, 0, len(c.members))
	for _, name := range slices.Sorted(maps.Keys(c.members)) {
		partitions := c.members[name].consumer.Status().Partitions
		owned += len(partitions)
		if len(partitions) == 0 {
			idle++
		}
		numbers := make([]string, 0, len(partitions))
		for _, p := range partitions {
			numbers = append(numbers, strconv.Itoa(int(p.Partition)))
		}
		parts = append(parts, name+" "+strings.Join(numbers, ","))
	}
	return strings.Join(parts, " · "), owned == Partitions && idle == 0
}
