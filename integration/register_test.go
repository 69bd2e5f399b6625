package integration

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/rpc"
)

// change adds to a register, and is told what that comes to; adding nothing reads it.
type change struct {
	Register string
	Add      int
}

// registers are behind the servers, as a database would be.
type registers struct {
	mu     sync.Mutex
	values map[string]int
	ran    atomic.Int64
}

func (r *registers) apply(_ context.Context, c change) (int, error) {
	r.ran.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.values[c.Register] += c.Add
	return r.values[c.Register], nil
}

// registerServer is one that can be cut off, as when its machine dies, or stopped.
type registerServer struct {
	stop func() error
	cut  atomic.Bool

	mu   sync.Mutex
	open []net.Conn
}

func (s *registerServer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if s.cut.Load() {
		return nil, errors.New("the line is cut")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err == nil {
		s.mu.Lock()
		s.open = append(s.open, conn)
		s.mu.Unlock()
	}
	return conn, err
}

func (s *registerServer) die() {
	s.cut.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.open {
		_ = conn.Close()
	}
}

func serveRegisters(t *testing.T, c duplex.Cluster, handlers ...rpc.Handler) *registerServer {
	t.Helper()
	s := &registerServer{}
	c.Dial = s.dial
	server, err := rpc.NewServer(rpc.ServerConfig{Cluster: c, Handlers: handlers, SessionTimeout: 6 * time.Second, DrainTimeout: 2 * time.Second})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	s.stop = sync.OnceValue(func() error {
		cancel()
		if err := <-ended; !s.cut.Load() {
			return err
		}
		return nil
	})
	t.Cleanup(func() { require.NoError(t, s.stop()) })
	return s
}

// registerModel is one register, as it should be. What a call came to that may have run is
// not known (nil): it may have happened at any time after, or never.
func registerModel() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
			by := map[string][]porcupine.Operation{}
			for _, op := range history {
				of := op.Input.(change).Register //nolint:forcetypeassert // nothing else is in it
				by[of] = append(by[of], op)
			}
			var all [][]porcupine.Operation
			for _, some := range by {
				all = append(all, some)
			}
			return all
		},
		Init: func() any { return 0 },
		Step: func(state, input, output any) (bool, any) {
			next := state.(int) + input.(change).Add //nolint:forcetypeassert // nothing else is in it
			return output == nil || output == next, next
		},
	}
}

// A register behind calls is linearizable while its servers die and are restarted: no
// change happens twice, none that is said to have happened is lost, and none happens of
// which an error says never.
func TestRegisterBehindCallsIsLinearizable(t *testing.T) {
	t.Parallel()
	const callers, names = 6, 4
	c, service := cluster(t), duplextest.Unique("registers")
	key := func(c change) string { return c.Register }
	add := rpc.Method[change, int]{Service: service, Name: "Add", Key: key}
	read := rpc.Method[change, int]{Service: service, Name: "Read", Key: key, Safe: true}
	behind := &registers{values: map[string]int{}}
	serve := func() *registerServer {
		return serveRegisters(t, c, rpc.Handle(add, behind.apply), rpc.Handle(read, behind.apply))
	}
	servers := []*registerServer{serve(), serve()}
	client, err := rpc.NewClient(rpc.ClientConfig{Cluster: c, Service: service, WaitForServer: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, client.Close()) }()

	h := &registerHistory{began: time.Now()}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				m, ask := add, change{fmt.Sprint("register ", (caller+i)%names), 1 + i%3}
				if i%4 == 0 {
					m, ask.Add = read, 0
				}
				h.call(client, m, ask, caller)
			}
		})
	}
	for round := range 4 {
		before := h.answered.Load()
		require.Eventually(t, func() bool { return h.answered.Load() > before+300 }, time.Minute, time.Millisecond)
		if i := round % len(servers); round < 2 {
			servers[i].die()
			servers[i] = serve()
		} else {
			require.NoError(t, servers[i].stop())
			servers[i] = serve()
		}
	}
	stop()
	wg.Wait()
	t.Logf("%d calls ran; %d answered, %d may have run, %d did not", behind.ran.Load(), h.answered.Load(), h.maybe, h.never)
	require.Positive(t, h.maybe, "two servers died with calls at work or waiting")
	require.Equal(t, porcupine.Ok, porcupine.CheckOperationsTimeout(registerModel(), h.all, 2*time.Minute))
}

// registerHistory is what callers saw.
type registerHistory struct {
	began    time.Time
	answered atomic.Int64

	mu           sync.Mutex
	all          []porcupine.Operation
	maybe, never int
}

func (h *registerHistory) call(client *rpc.Client, m rpc.Method[change, int], ask change, caller int) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	op := porcupine.Operation{ClientId: caller, Input: ask, Call: int64(time.Since(h.began))}
	got, err := rpc.Call(ctx, client, m, ask)
	op.Return = int64(time.Since(h.began))
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err == nil:
		op.Output = got
		h.answered.Add(1)
	case rpc.ExecutedOf(err) == rpc.Never:
		h.never++
		return
	default:
		h.maybe++
		op.Return = math.MaxInt64
	}
	h.all = append(h.all, op)
}
