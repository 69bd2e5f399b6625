package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/rpc"
)

type sum struct{ A, B int }

// service gives each test a service of its own.
func service(t *testing.T) string {
	t.Helper()
	return duplextest.Unique("calc")
}

func add(service string) rpc.Method[sum, int] {
	return rpc.Method[sum, int]{Service: service, Name: "Add", Safe: true}
}

// serve runs a server until the test ends.
func serve(t *testing.T, cfg rpc.ServerConfig) *rpc.Server {
	t.Helper()
	s, err := rpc.NewServer(cfg)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-ended)
	})
	return s
}

func client(t *testing.T, cfg rpc.ClientConfig) *rpc.Client {
	t.Helper()
	if cfg.Service == "" {
		cfg.Service = "desk"
	}
	c, err := rpc.NewClient(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestCall(t *testing.T) {
	cluster, m := duplextest.Cluster(t), add(service(t))
	serve(t, rpc.ServerConfig{Cluster: cluster, Handlers: []rpc.Handler{rpc.Handle(m, func(_ context.Context, s sum) (int, error) { return s.A + s.B, nil })}})
	c := client(t, rpc.ClientConfig{Cluster: cluster, WaitForServer: true})
	got, err := rpc.Call(within(t, 20*time.Second), c, m, sum{2, 3})
	require.NoError(t, err)
	require.Equal(t, 5, got)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			got, err := rpc.Call(t.Context(), c, m, sum{i, i})
			if err != nil || got != 2*i {
				t.Errorf("%d + %d = %d, %v", i, i, got, err)
			}
		})
	}
	wg.Wait()
	counts := c.Status().Counts
	require.EqualValues(t, 201, counts["answered"])
	require.Zero(t, counts["pending"])
	require.Zero(t, counts["late"]+counts["duplicate"]+counts["unknown"])
}

func TestErrorsOfHandlers(t *testing.T) {
	cluster, m := duplextest.Cluster(t), add(service(t))
	boom := errors.New("password of the database is wrong")
	s := serve(t, rpc.ServerConfig{Cluster: cluster, Handlers: []rpc.Handler{rpc.Handle(m, func(_ context.Context, s sum) (int, error) {
		switch s.A {
		case 1:
			return 0, rpc.Errorf(rpc.NotFound, "no flight %d — %q", s.B, "☂%").WithDetail("flight", []byte{0, 1, 255})
		case 2:
			return 0, boom
		case 3:
			panic(boom)
		}
		return 0, fmt.Errorf("wrapped: %w", rpc.Errorf(rpc.Aborted, "again"))
	})}})
	c := client(t, rpc.ClientConfig{Cluster: cluster, WaitForServer: true})
	ctx := within(t, 30*time.Second)

	_, err := rpc.Call(ctx, c, m, sum{1, 7})
	require.ErrorIs(t, err, rpc.NotFound)
	e, ok := errors.AsType[*rpc.Error](err)
	require.True(t, ok)
	require.Equal(t, `no flight 7 — "☂%"`, e.Message)
	require.Equal(t, []rpc.Detail{{Type: "flight", Value: []byte{0, 1, 255}}}, e.Details)
	require.Equal(t, rpc.Completed, e.Executed)
	require.True(t, e.Remote)
	require.Contains(t, e.Server, m.Service+"/")

	for _, a := range []int{2, 3} {
		_, err = rpc.Call(ctx, c, m, sum{A: a})
		require.ErrorIs(t, err, rpc.Internal)
		require.NotContains(t, err.Error(), "password")
		require.Contains(t, err.Error(), "under ID")
		require.Equal(t, rpc.Completed, rpc.ExecutedOf(err))
	}
	_, err = rpc.Call(ctx, c, m, sum{A: 4})
	require.ErrorIs(t, err, rpc.Aborted)
	require.EqualValues(t, 1, s.Status().Counts["panics"])
	require.EqualValues(t, 4, s.Status().Counts["errors"])
}

func TestUnknownMethodsAndBadRequests(t *testing.T) {
	cluster, m := duplextest.Cluster(t), add(service(t))
	serve(t, rpc.ServerConfig{Cluster: cluster, Handlers: []rpc.Handler{rpc.Handle(m, func(context.Context, sum) (int, error) { return 0, nil })}})
	c := client(t, rpc.ClientConfig{Cluster: cluster, WaitForServer: true})
	ctx := within(t, 20*time.Second)
	other := m
	other.Name = "Subtract"
	_, err := rpc.Call(ctx, c, other, sum{})
	require.ErrorIs(t, err, rpc.Unimplemented)
	require.Equal(t, rpc.Never, rpc.ExecutedOf(err))

	text := rpc.Method[string, string]{Service: m.Service, Name: m.Name}
	_, err = rpc.Call(ctx, c, text, "not a sum")
	require.ErrorIs(t, err, rpc.InvalidArgument)
	require.Equal(t, rpc.Never, rpc.ExecutedOf(err))
}

func TestNobodyServes(t *testing.T) {
	cluster, m := duplextest.Cluster(t), add(service(t))
	c := client(t, rpc.ClientConfig{Cluster: cluster})
	ctx := within(t, 20*time.Second)
	require.NoError(t, c.Ready(ctx))
	_, err := rpc.Call(ctx, c, m, sum{})
	require.ErrorIs(t, err, rpc.Unavailable, "there is no topic")
	require.Equal(t, rpc.Never, rpc.ExecutedOf(err))

	s, err := rpc.NewServer(rpc.ServerConfig{Cluster: cluster, Handlers: []rpc.Handler{rpc.Handle(m, func(context.Context, sum) (int, error) { return 1, nil })}})
	require.NoError(t, err)
	serving, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(serving) }()
	require.Eventually(t, func() bool { _, err := rpc.Call(ctx, c, m, sum{}); return err == nil }, 20*time.Second, 50*time.Millisecond)
	stop()
	require.NoError(t, <-ended)
	require.Eventually(t, func() bool {
		_, err := rpc.Call(within(t, time.Second), c, m, sum{})
		return errors.Is(err, rpc.Unavailable) && rpc.ExecutedOf(err) == rpc.Never
	}, 20*time.Second, 50*time.Millisecond, "its group is empty")
}

func TestDeadlines(t *testing.T) {
	cluster, m := duplextest.Cluster(t), add(service(t))
	release := make(chan struct{})
	serve(t, rpc.ServerConfig{Cluster: cluster, Handlers: []rpc.Handler{rpc.Handle(m, func(ctx context.Context, s sum) (int, error) {
		if s.A > 0 {
			<-ctx.Done() // the caller's deadline is ours
			<-release
		}
		return 0, nil
	})}})
	c := client(t, rpc.ClientConfig{Cluster: cluster, WaitForServer: true})
	_, err := rpc.Call(within(t, 20*time.Second), c, m, sum{})
	require.NoError(t, err)
	began := time.Now()
	_, err = rpc.Call(within(t, 300*time.Millisecond), c, m, sum{A: 1})
	require.ErrorIs(t, err, rpc.DeadlineExceeded)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, rpc.Maybe, rpc.ExecutedOf(err))
	require.Less(t, time.Since(began), 5*time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = rpc.Call(ctx, c, m, sum{A: 1})
	require.ErrorIs(t, err, rpc.Canceled)
	close(release)
	require.Eventually(t, func() bool { return c.Status().Counts["late"] == 1 }, 20*time.Second, 10*time.Millisecond)
}

func TestAnswersThatComeTooLate(t *testing.T) {
	cluster, m := duplextest.Cluster(t), add(service(t))
	s := serve(t, rpc.ServerConfig{Cluster: cluster, Handlers: []rpc.Handler{rpc.Handle(m, func(ctx context.Context, s sum) (int, error) {
		if s.A > 0 {
			<-ctx.Done()
			<-time.After(2100 * time.Millisecond) // beyond what clocks may differ by
		}
		return s.B, nil
	})}})
	c := client(t, rpc.ClientConfig{Cluster: cluster, WaitForServer: true})
	_, err := rpc.Call(within(t, 20*time.Second), c, m, sum{})
	require.NoError(t, err)
	_, err = rpc.Call(within(t, 200*time.Millisecond), c, m, sum{A: 1})
	require.ErrorIs(t, err, rpc.DeadlineExceeded)
	require.Eventually(t, func() bool {
		n := s.Status().Counts
		return n["replies_lost"]+n["answered"] == 2
	}, 20*time.Second, 10*time.Millisecond)
	got, err := rpc.Call(within(t, 20*time.Second), c, m, sum{B: 7})
	require.NoError(t, err)
	require.Equal(t, 7, got)
}

// An error says of all attempts whether the call ran, and not of the last one only.
func TestErrorsOfLaterAttempts(t *testing.T) {
	cluster, m := duplextest.Cluster(t), add(service(t))
	var runs atomic.Int64
	serve(t, rpc.ServerConfig{Cluster: cluster, Handlers: []rpc.Handler{rpc.Handle(m, func(_ context.Context, s sum) (int, error) {
		if runs.Add(1) == 1 && s.A > 0 {
			return 0, &rpc.Error{Code: rpc.Unavailable, Executed: rpc.Maybe}
		}
		return 0, &rpc.Error{Code: rpc.Aborted, Executed: rpc.Never}
	})}})
	c := client(t, rpc.ClientConfig{Cluster: cluster, WaitForServer: true})
	ctx := within(t, 20*time.Second)
	_, err := rpc.Call(ctx, c, m, sum{A: 1})
	require.ErrorIs(t, err, rpc.Aborted)
	require.EqualValues(t, 2, runs.Load())
	require.Equal(t, rpc.Maybe, rpc.ExecutedOf(err), "the first attempt may have run")
	_, err = rpc.Call(ctx, c, m, sum{})
	require.Equal(t, rpc.Never, rpc.ExecutedOf(err))
}

func TestOneWay(t *testing.T) {
	cluster, m := duplextest.Cluster(t), add(service(t))
	c := client(t, rpc.ClientConfig{Cluster: cluster})
	ctx := within(t, 20*time.Second)
	got := make(chan sum, 1)
	serve(t, rpc.ServerConfig{Cluster: cluster, Handlers: []rpc.Handler{rpc.Handle(m, func(ctx context.Context, s sum) (int, error) {
		if rpc.FromContext(ctx).OneWay {
			got <- s
		}
		return 0, nil
	})}})
	require.Eventually(t, func() bool {
		at, err := rpc.OneWay(ctx, c, m, sum{4, 2})
		return err == nil && at.Topic == rpc.RequestTopic(m.Service)
	}, 20*time.Second, 50*time.Millisecond, "once the server has made the topic")
	select {
	case s := <-got:
		require.Equal(t, sum{4, 2}, s)
	case <-ctx.Done():
		t.Fatal("it was not handled")
	}
}

func TestInterceptorsAndRawHandlers(t *testing.T) {
	cluster, name := duplextest.Cluster(t), service(t)
	stamp := func(by string) rpc.Interceptor {
		return func(next rpc.Next) rpc.Next {
			return func(ctx context.Context, r *kgo.Record) (*kgo.Record, error) {
				duplex.AddHeader(r, "by", by)
				resp, err := next(ctx, r)
				if resp != nil {
					duplex.AddHeader(resp, "by", by)
				}
				return resp, err
			}
		}
	}
	serve(t, rpc.ServerConfig{Cluster: cluster, Interceptors: []rpc.Interceptor{stamp("server")}, Handlers: []rpc.Handler{
		rpc.HandleRecord(name, "", func(ctx context.Context, r *kgo.Record) (*kgo.Record, error) {
			info := rpc.FromContext(ctx)
			return &kgo.Record{Value: fmt.Appendf(nil, "%s %s %q", info.Method, r.Value, duplex.HeaderValues(r, "by"))}, nil
		}),
	}})
	var reply *kgo.Record
	c := client(t, rpc.ClientConfig{Cluster: cluster, WaitForServer: true, Interceptors: []rpc.Interceptor{stamp("outer"), stamp("inner"),
		func(next rpc.Next) rpc.Next {
			return func(ctx context.Context, r *kgo.Record) (resp *kgo.Record, err error) {
				reply, err = next(ctx, r)
				return reply, err
			}
		}}})
	m := rpc.Method[string, string]{Service: name, Name: "Any", Codec: duplex.Text}
	got, err := rpc.Call(within(t, 20*time.Second), c, m, "x")
	require.NoError(t, err)
	require.Equal(t, name+`/Any x ["outer" "inner" "server"]`, got)
	require.Equal(t, [][]byte{[]byte("server"), []byte("inner"), []byte("outer")}, duplex.HeaderValues(reply, "by"))
}

func TestPromises(t *testing.T) {
	cluster, m := duplextest.Cluster(t), add(service(t))
	release := make(chan struct{})
	serve(t, rpc.ServerConfig{Cluster: cluster, Concurrency: 2000, Handlers: []rpc.Handler{rpc.Handle(m, func(_ context.Context, s sum) (int, error) {
		if s.A >= 0 {
			<-release
		}
		return s.A + s.B, nil
	})}})
	open := sync.OnceFunc(func() { close(release) })
	defer open()
	c := client(t, rpc.ClientConfig{Cluster: cluster, WaitForServer: true})
	got, err := rpc.Go(t.Context(), c, m, sum{-1, 3}).Wait(within(t, 20*time.Second)) // the first one asks who serves
	require.NoError(t, err)
	require.Equal(t, 2, got)

	const n = 1000
	before := runtime.NumGoroutine()
	promises := make([]*rpc.Promise[int], n)
	for i := range promises {
		promises[i] = rpc.Go(within(t, time.Minute), c, m, sum{i, i})
	}
	require.EqualValues(t, n, c.Status().Counts["pending"])
	require.Less(t, runtime.NumGoroutine()-before, n+n/2, "handlers have one each, calls have none")
	cancelled, cancel := context.WithCancel(t.Context())
	given := rpc.Go(cancelled, c, m, sum{1, 1})
	cancel()
	_, err = given.Wait(within(t, 20*time.Second))
	require.ErrorIs(t, err, rpc.Canceled)
	_, err = rpc.Go(within(t, 100*time.Millisecond), c, m, sum{1, 1}).Wait(within(t, 20*time.Second))
	require.ErrorIs(t, err, rpc.DeadlineExceeded)
	_, err = promises[0].Wait(cancelled)
	require.ErrorIs(t, err, context.Canceled, "of the wait, not of the call")

	open()
	for i, p := range promises {
		got, err := p.Wait(within(t, 20*time.Second))
		require.NoError(t, err)
		require.Equal(t, 2*i, got)
		again, err := p.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
	counts := c.Status().Counts
	require.Zero(t, counts["pending"])
	require.EqualValues(t, n+1, counts["answered"])
	require.EqualValues(t, 2, counts["errors"])
}

// A caller that gives up has its call end on the server, too, wherever that is.
func TestCancels(t *testing.T) {
	cluster, m := duplextest.Cluster(t), add(service(t))
	var ran, ended atomic.Int64
	s := serve(t, rpc.ServerConfig{Cluster: cluster, Concurrency: 1, Handlers: []rpc.Handler{rpc.Handle(m, func(ctx context.Context, s sum) (int, error) {
		ran.Add(1)
		if s.A > 0 {
			<-ctx.Done()
			ended.Add(1)
		}
		return 0, ctx.Err()
	})}})
	c := client(t, rpc.ClientConfig{Cluster: cluster, WaitForServer: true})
	_, err := rpc.Call(within(t, 20*time.Second), c, m, sum{})
	require.NoError(t, err)
	// The server reads cancels a moment after it has its partitions.
	require.Eventually(t, func() bool {
		ctx, giveUp := context.WithCancel(within(t, time.Second))
		call, before := rpc.Go(ctx, c, m, sum{A: 1}), ran.Load()
		require.Eventually(t, func() bool { return ran.Load() > before }, 20*time.Second, time.Millisecond)
		giveUp()
		_, err := call.Wait(t.Context())
		require.Error(t, err)
		return s.Status().Counts["cancelled"] > 0
	}, 20*time.Second, 50*time.Millisecond)
	ran.Store(0)
	told := s.Status().Counts["cancelled"]
	m.Timeout = time.Minute // nothing ends by it
	ctx, giveUp := context.WithCancel(t.Context())
	running := rpc.Go(ctx, c, m, sum{A: 1})
	require.Eventually(t, func() bool { return ran.Load() == 1 }, 20*time.Second, time.Millisecond)
	queued := rpc.Go(ctx, c, m, sum{A: 1})
	require.Eventually(t, func() bool { return s.Status().Counts["requests"] > 0 && c.Status().Counts["pending"] == 2 }, 20*time.Second, time.Millisecond)
	giveUp()
	for _, p := range []*rpc.Promise[int]{running, queued} {
		_, err := p.Wait(t.Context())
		require.ErrorIs(t, err, rpc.Canceled)
	}
	_, err = rpc.Call(within(t, 20*time.Second), c, m, sum{})
	require.NoError(t, err)
	require.Greater(t, s.Status().Counts["cancelled"], told)
	require.LessOrEqual(t, ran.Load(), int64(3))
	require.Positive(t, ended.Load())
}

// Nothing is left of calls, however many there were and however they ended.
func TestNothingIsLeftOfCalls(t *testing.T) {
	n := 20_000
	if os.Getenv("DUPLEX_SOAK") != "" {
		n = 1_000_000
	}
	cluster, m := duplextest.Cluster(t), add(service(t))
	s := serve(t, rpc.ServerConfig{Cluster: cluster, Handlers: []rpc.Handler{rpc.Handle(m, func(_ context.Context, s sum) (int, error) {
		if s.A%10 == 1 {
			return 0, rpc.Errorf(rpc.NotFound, "no %d", s.A)
		}
		return s.A + s.B, nil
	})}})
	c := client(t, rpc.ClientConfig{Cluster: cluster, WaitForServer: true})
	_, err := rpc.Call(within(t, 20*time.Second), c, m, sum{})
	require.NoError(t, err)
	before := runtime.NumGoroutine()
	var next, answered, refused, given atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				p := rpc.Go(ctx, c, m, sum{i, i})
				if i%3 == 0 {
					cancel()
				}
				got, err := p.Wait(t.Context())
				cancel()
				switch {
				case err == nil && got == 2*i:
					answered.Add(1)
				case errors.Is(err, rpc.NotFound) && i%10 == 1:
					refused.Add(1)
				case errors.Is(err, rpc.Canceled) && i%3 == 0:
					given.Add(1)
				default:
					t.Errorf("call %d: %d, %v", i, got, err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d answered, %d refused, %d given up", answered.Load(), refused.Load(), given.Load())
	require.EqualValues(t, n, answered.Load()+refused.Load()+given.Load())
	require.Zero(t, c.Status().Counts["pending"])
	require.Eventually(t, func() bool {
		// A server keeps some idle workers, and connections have goroutines: not calls.
		return runtime.NumGoroutine() <= before+64
	}, 20*time.Second, 10*time.Millisecond, "goroutines of calls are left")
	require.Positive(t, s.Status().Counts["answered"])
}
