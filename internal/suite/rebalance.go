package suite

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/duplextest"
)

func rebalancing() []Scenario {
	return []Scenario{
		{"a rolling restart under load repeats nothing", []string{"C3", "C5", "C6", "C9"}, rollingRestartRepeatsNothing},
		{"a drain longer than the session repeats nothing", []string{"C5", "C6"}, longDrainRepeatsNothing},
		{"a completion after the revoke moves nothing", []string{"C1", "C6"}, lateCompletionMovesNothing},
	}
}

func rollingRestartRepeatsNothing(t *testing.T, k Kafka) {
	g := newGroup(t, k, 6)
	work := func(context.Context, *kgo.Record) error {
		<-time.After(time.Millisecond)
		return nil
	}
	join := func() *member { return g.join(consumer.Config{Handlers: g.handle(work)}) }
	members := []*member{join(), join(), join()}
	stopped := make(chan struct{})
	var loading sync.WaitGroup
	var failed atomic.Bool
	loading.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-stopped:
				return
			case <-tick.C:
			}
			pos, err := g.p.Publish(t.Context(), &kgo.Record{Topic: g.topic, Key: keyOf(int32(i)%6, 6)})
			if err != nil {
				failed.Store(true)
				return
			}
			g.sent(pos)
		}
	})
	t.Cleanup(loading.Wait)
	stop := sync.OnceFunc(func() { close(stopped) })
	t.Cleanup(stop)
	flows := func() {
		from := g.count()
		eventually(t, "the partitions are shared, and records come through", func() bool {
			owned := 0
			for _, m := range members {
				if m.owns() == 0 || m.owns() > 3 {
					return false
				}
				owned += m.owns()
			}
			return owned == 6 && g.count() > from+100
		})
	}
	for i := range members {
		flows()
		members[i].stop()
		members[i] = join()
	}
	flows()
	stop()
	loading.Wait()
	require.False(t, failed.Load())
	g.awaitAll()
	for _, m := range members {
		m.stop()
	}
	g.requireOnce()
}

// longDrainRepeatsNothing: a member that drains stays in the group meanwhile, so
// that nobody else takes over what it is about to finish.
func longDrainRepeatsNothing(t *testing.T, k Kafka) {
	drain := k.Session * 4 / 3
	g := newGroup(t, k, 2)
	g.publish(0, 3)
	g.publish(1, 3)
	cfg := consumer.Config{DrainTimeout: 2 * drain, SessionTimeout: k.Session, RebalanceTimeout: 10 * k.Session}
	cfg.RevokeGrace = 2 * drain
	working := make(chan struct{}, 10)
	cfg.Handlers = g.handle(func(_ context.Context, r *kgo.Record) error {
		if r.Offset == 1 {
			working <- struct{}{}
			<-time.After(drain)
		}
		return nil
	})
	first := g.join(cfg)
	for range 2 {
		receive(t, working, "both partitions are in the middle of a long record")
	}
	cfg.Handlers = g.handle(nothing)
	second := g.join(cfg)
	began := time.Now()
	first.stop()
	require.Greater(t, time.Since(began), drain-time.Second, "the handlers were at work for longer than a session")
	g.awaitAll()
	second.stop()
	g.requireOnce()
}

func lateCompletionMovesNothing(t *testing.T, k Kafka) {
	const n = 10
	g := newGroup(t, k, 2)
	g.publish(0, n)
	g.publish(1, n)
	causes := make(chan error, 2)
	free := make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	defer release()
	stubborn := func(ctx context.Context, r *kgo.Record) error {
		if r.Offset < 3 {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.finish(r)
			return nil
		}
		<-ctx.Done()
		if errors.Is(context.Cause(ctx), consumer.ErrStopping) {
			return context.Cause(ctx)
		}
		causes <- context.Cause(ctx)
		<-free // it goes on all the same
		return nil
	}
	first := g.join(consumer.Config{RevokeGrace: 200 * time.Millisecond, DrainTimeout: 200 * time.Millisecond, Handlers: []consumer.Handler{
		consumer.HandleRecord(g.topic, stubborn),
	}})
	eventually(t, "both partitions are held up", func() bool { return first.partition(0).Watermark == 3 && first.partition(1).Watermark == 3 })
	second := g.join(consumer.Config{Handlers: g.handle(nothing)})
	eventually(t, "the partition that moved is done", func() bool { return second.owns() == 1 && g.count() == 6+n-3 })
	moved := second.Status().Partitions[0].Partition
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, moved, n)
	require.ErrorIs(t, receive(t, causes, "the handler is told"), consumer.ErrRevoked)
	release()
	eventually(t, "the late completion is counted", func() bool { return first.Status().Counts["late_completions"] == 1 })
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 1-moved, 3)
	first.stop()
	g.awaitAll()
	second.stop()
	g.requireHistory()
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, moved, n)
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 1-moved, n)
}
