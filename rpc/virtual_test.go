//go:build synctests

package rpc_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/rpc"
)

// A call ends exactly at its deadline, whatever its server does.
func TestVirtualDeadlinesAreExact(t *testing.T) {
	duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
		m := rpc.Method[time.Duration, bool]{Service: "clock", Name: "Wait", Timeout: 3 * time.Second}
		serve(t, rpc.ServerConfig{Cluster: b.Cluster(), Handlers: []rpc.Handler{rpc.Handle(m, func(_ context.Context, d time.Duration) (bool, error) {
			time.Sleep(d)
			return true, nil
		})}})
		c := client(t, rpc.ClientConfig{Cluster: b.Cluster(), WaitForServer: true})
		_, err := rpc.Call(within(t, time.Minute), c, m, 0)
		require.NoError(t, err)
		for _, d := range []time.Duration{time.Millisecond, 100 * time.Millisecond, 7 * time.Second} {
			for _, call := range []func(ctx context.Context) error{
				func(ctx context.Context) error { _, err := rpc.Call(ctx, c, m, d+time.Second); return err },
				func(ctx context.Context) error {
					_, err := rpc.Go(ctx, c, m, d+time.Second).Wait(t.Context())
					return err
				},
			} {
				began := time.Now()
				err := call(within(t, d))
				require.ErrorIs(t, err, rpc.DeadlineExceeded)
				require.Equal(t, d, time.Since(began))
			}
		}
		began := time.Now()
		_, err = rpc.Call(t.Context(), c, m, time.Minute)
		require.ErrorIs(t, err, rpc.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(began), "the method's own")
		began = time.Now()
		_, err = rpc.Go(t.Context(), c, m, time.Minute).Wait(t.Context())
		require.ErrorIs(t, err, rpc.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(began), "the method's own")
		time.Sleep(2 * time.Minute)
		require.Zero(t, c.Status().Counts["pending"])
	})
}

// With ten times as many calls as a server can do, nearly all that it does is in time:
// what waits too long is turned away.
func TestVirtualGoodputUnderABacklog(t *testing.T) {
	duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
		const (
			concurrency = 4
			median      = 20 * time.Millisecond
			sigma       = 0.6 // of the logarithm of handler times
			timeout     = time.Second
			load        = 10
			lasts       = 20 * time.Second
		)
		capacity := concurrency / (median.Seconds() * math.Exp(sigma*sigma/2))
		r := rand.New(rand.NewPCG(7, 7))
		type work struct {
			Takes    time.Duration
			Deadline time.Time
		}
		var late, ran atomic.Int64
		m := rpc.Method[work, bool]{Service: "busy", Name: "Work", Timeout: timeout}
		serve(t, rpc.ServerConfig{Cluster: b.Cluster(), Concurrency: concurrency, Handlers: []rpc.Handler{rpc.Handle(m, func(_ context.Context, w work) (bool, error) {
			ran.Add(1)
			if time.Since(w.Deadline) > 2*time.Second {
				late.Add(1)
			}
			time.Sleep(w.Takes)
			return true, nil
		})}})
		c := client(t, rpc.ClientConfig{Cluster: b.Cluster(), WaitForServer: true})
		_, err := rpc.Call(within(t, time.Minute), c, m, work{Deadline: time.Now().Add(time.Minute)})
		require.NoError(t, err)

		began, calls := time.Now(), []*rpc.Promise[bool]{}
		for every := time.Duration(float64(time.Second) / (capacity * load)); time.Since(began) < lasts; time.Sleep(every) {
			takes := time.Duration(float64(median) * math.Exp(sigma*r.NormFloat64()))
			calls = append(calls, rpc.Go(t.Context(), c, m, work{takes, time.Now().Add(timeout)}))
		}
		var answered int
		for _, p := range calls {
			_, err := p.Wait(t.Context())
			switch {
			case err == nil:
				answered++
			case errors.Is(err, rpc.DeadlineExceeded), errors.Is(err, rpc.ResourceExhausted):
			default:
				t.Fatal(err)
			}
		}
		goodput := float64(answered) / (capacity * lasts.Seconds())
		t.Logf("%d calls, %d ran, %d answered in time: %.2f of the capacity", len(calls), ran.Load(), answered, goodput)
		require.Greater(t, goodput, 0.8)
		require.Zero(t, late.Load(), "nothing begins 2 s after its deadline")
		synctest.Wait()
	})
}

// A message whose deadline has passed before a server gets to it is a dead letter, and
// says why; one that was in time runs, and so does one without a deadline.
func TestVirtualOneWayPastItsDeadline(t *testing.T) {
	duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
		m := rpc.Method[string, bool]{Service: "mail", Name: "Send"}
		var ran sync.Map
		cfg := rpc.ServerConfig{Cluster: b.Cluster(), Failures: dlq.NoRetry, Handlers: []rpc.Handler{rpc.Handle(m, func(_ context.Context, text string) (bool, error) {
			ran.Store(text, true)
			return true, nil
		})}}
		first, err := rpc.NewServer(cfg)
		require.NoError(t, err)
		running, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- first.Run(running) }()
		c := client(t, rpc.ClientConfig{Cluster: b.Cluster(), WaitForServer: true})
		send := func(ctx context.Context, text string) {
			_, err := rpc.OneWay(ctx, c, m, text)
			require.NoError(t, err)
		}
		_, err = rpc.Call(within(t, time.Minute), c, m, "warm")
		require.NoError(t, err)
		stop()
		require.NoError(t, <-ended)
		send(within(t, 10*time.Second), "late")
		send(within(t, time.Hour), "in time")
		send(t.Context(), "whenever")
		time.Sleep(12*time.Second + time.Millisecond) // 2 s more than it had, for clocks
		serve(t, cfg)
		reader, err := kafka.NewClient(b.Cluster(), zap.NewNop(), kgo.ConsumeTopics(dlq.DeadTopic(rpc.Group("mail"), rpc.RequestTopic("mail"))))
		require.NoError(t, err)
		defer reader.Close()
		letters := reader.PollFetches(within(t, time.Minute)).Records()
		require.Len(t, letters, 1)
		reason, _ := duplex.Header(letters[0], dlq.HeaderReason)
		require.Equal(t, string(dlq.ReasonExpired), reason)
		require.JSONEq(t, `"late"`, string(letters[0].Value))
		require.Eventually(t, func() bool {
			_, in := ran.Load("in time")
			_, when := ran.Load("whenever")
			return in && when
		}, time.Minute, time.Second)
		_, late := ran.Load("late")
		require.False(t, late)
	})
}
