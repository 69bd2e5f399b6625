package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/duplex-go/duplex/consumer"
)

// errMember is why the story ends when a member of a group cannot go on; its stop
// says which and why.
var errMember = errors.New("demo: a member of a group cannot go on")

// member is one consumer, as one process of a service would be.
type member struct {
	name     string
	consumer *consumer.Consumer
	cancel   context.CancelFunc
	ended    sync.WaitGroup
	handled  atomic.Int64
	err      error // of Run
}

// start makes the member's consumer and runs it, until it is stopped and not until
// ctx ends. It calls failed when the consumer cannot go on.
func (m *member) start(ctx context.Context, cfg consumer.Config, failed context.CancelCauseFunc) error {
	c, err := consumer.New(cfg)
	if err != nil {
		return err
	}
	m.consumer = c
	ctx, m.cancel = context.WithCancel(context.WithoutCancel(ctx))
	m.ended.Go(func() {
		if err := c.Run(ctx); err != nil {
			m.err = fmt.Errorf("demo: running member %s: %w", m.name, err)
			failed(errMember)
		}
	})
	return nil
}

// stop ends the member gracefully, if it was started, and gives what it ran into.
func (m *member) stop() error {
	if m.cancel == nil {
		return nil
	}
	m.cancel()
	m.ended.Wait()
	return m.err
}

// owned are the numbers of the topic's partitions that the member has.
func (m *member) owned(topic string) (numbers []int32) {
	for _, p := range m.consumer.Status().Partitions {
		if p.Topic == topic {
			numbers = append(numbers, p.Partition)
		}
	}
	return numbers
}

// await waits until something is so, at most until ctx ends, and says whether it is.
func await(ctx context.Context, so func() bool) bool {
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !so() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return so()
		}
	}
	return true
}
