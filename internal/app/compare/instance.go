package compare

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/duplex-go/duplex"
)

// server is what a form runs: an rpc.Server or a consumer.Consumer.
type server interface {
	Run(ctx context.Context) error
	Status() duplex.Status
}

// instance is one server that runs, as one process of a service would.
type instance struct {
	server server
	plug   *plug
	end    context.CancelFunc
	ended  sync.WaitGroup
	err    error // of Run
}

// errServer is why a comparison ends when a server cannot go on; its instance says
// which and why.
var errServer = errors.New("compare: a server cannot go on")

// launch runs what open makes, behind a plug, until it is stopped and not until ctx
// ends. It calls failed when it cannot go on.
func launch[S server](ctx context.Context, cluster duplex.Cluster, open func(duplex.Cluster) (S, error), failed context.CancelCauseFunc) (*instance, error) {
	cluster, p := through(cluster)
	s, err := open(cluster)
	if err != nil {
		return nil, err
	}
	i := &instance{server: s, plug: p}
	ctx, i.end = context.WithCancel(context.WithoutCancel(ctx))
	i.ended.Go(func() {
		if err := s.Run(ctx); err != nil && !p.out() {
			i.err = fmt.Errorf("compare: running a server: %w", err)
			failed(errServer)
		}
	})
	return i, nil
}

// kill pulls the plug. Nobody hears of it.
func (i *instance) kill() {
	i.plug.pull()
	i.end()
}

// stop ends the instance in order, and gives what it ran into.
func (i *instance) stop() error {
	i.end()
	i.ended.Wait()
	return i.err
}

// owns reports whether the instance has all partitions of a topic.
func (i *instance) owns(topic string) bool {
	owned := 0
	for _, p := range i.server.Status().Partitions {
		if p.Topic == topic {
			owned++
		}
	}
	return owned == Partitions
}

// idle reports whether the instance has nothing to do, in any topic.
func (i *instance) idle() bool {
	for _, p := range i.server.Status().Partitions {
		if p.Lag > 0 || p.Loaded > 0 || p.Running > 0 || p.Waiting > 0 {
			return false
		}
	}
	return true
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
