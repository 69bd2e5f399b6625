package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// gate is the network between one process and the brokers. While it is shut,
// nothing comes through in either direction and nobody is told: what was sent
// arrives when it opens, as after a cable was put back.
type gate struct {
	listener net.Listener
	running  sync.WaitGroup
	away     atomic.Bool // the brokers; see leave

	mu    sync.Mutex
	open  chan struct{} // closed while the gate is open
	conns map[net.Conn]struct{}
	ended bool
}

func newGate(t *testing.T) *gate {
	t.Helper()
	l, err := net.Listen("tcp", loopback+":0")
	require.NoError(t, err)
	g := &gate{listener: l, open: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	close(g.open)
	g.running.Go(g.accept)
	t.Cleanup(g.close)
	return g
}

// through is a duplex.Cluster.Dial that goes through the gate at the address.
func through(gate string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, network, gate)
		if err != nil {
			return nil, err
		}
		if _, err := fmt.Fprintln(conn, address); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return conn, nil
	}
}

func (g *gate) address() string { return g.listener.Addr().String() }

// shut cuts the process off, until unshut.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = make(chan struct{})
}

func (g *gate) unshut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.open:
	default:
		close(g.open)
	}
}

// leave takes the brokers away behind the gate, until comeBack: all connections end,
// and those that are made do so before anything is answered.
func (g *gate) leave() {
	g.away.Store(true)
	g.mu.Lock()
	defer g.mu.Unlock()
	for conn := range g.conns {
		_ = conn.Close()
	}
}

func (g *gate) comeBack() { g.away.Store(false) }

func (g *gate) accept() {
	for {
		conn, err := g.listener.Accept()
		if err != nil {
			return
		}
		if g.keep(conn) {
			g.running.Go(func() { g.serve(conn) })
		}
	}
}

// keep notes a connection to be closed at the end.
func (g *gate) keep(conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ended {
		_ = conn.Close()
		return false
	}
	g.conns[conn] = struct{}{}
	return true
}

func (g *gate) drop(conn net.Conn) {
	_ = conn.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, conn)
}

func (g *gate) serve(from net.Conn) {
	defer g.drop(from)
	in := bufio.NewReader(from)
	address, err := in.ReadString('\n')
	if err != nil {
		return
	}
	g.wait()
	if g.away.Load() {
		hangUp(from)
		return
	}
	to, err := net.DialTimeout("tcp", strings.TrimSpace(address), time.Second)
	if err != nil || !g.keep(to) {
		return
	}
	defer g.drop(to)
	var both sync.WaitGroup
	both.Go(func() { g.copy(to, in); _ = to.Close(); _ = from.Close() })
	both.Go(func() { g.copy(from, to); _ = to.Close(); _ = from.Close() })
	both.Wait()
}

// hangUp does what proxies, published ports and load balancers do with whoever wants
// a broker that is away: the connection was made, and is at its end.
func hangUp(from net.Conn) {
	if tcp, ok := from.(*net.TCPConn); ok {
		_ = tcp.CloseWrite()
	}
	_, _ = io.Copy(io.Discard, from) // what is left unread would have it reset instead
}

func (g *gate) copy(to io.Writer, from io.Reader) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		g.wait()
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// wait lets nothing pass while the gate is shut.
func (g *gate) wait() {
	for {
		g.mu.Lock()
		open := g.open
		g.mu.Unlock()
		<-open
		g.mu.Lock()
		same := g.open == open
		g.mu.Unlock()
		if same {
			return
		}
	}
}

func (g *gate) close() {
	g.unshut()
	_ = g.listener.Close()
	g.mu.Lock()
	g.ended = true
	for conn := range g.conns {
		_ = conn.Close()
	}
	g.mu.Unlock()
	g.running.Wait()
}

func TestGateHoldsWhatIsSentWhileItIsShut(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	echo, err := net.Listen("tcp", loopback+":0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		conn, err := echo.Accept()
		if err == nil {
			_, _ = io.Copy(conn, conn)
			_ = conn.Close()
		}
	})
	conn, err := through(g.address())(t.Context(), "tcp", echo.Addr().String())
	require.NoError(t, err)
	in := bufio.NewReader(conn)
	said := func(what string) {
		_, err := fmt.Fprintln(conn, what)
		require.NoError(t, err)
	}
	heard := func() string {
		line, err := in.ReadString('\n')
		require.NoError(t, err)
		return strings.TrimSpace(line)
	}
	said("first")
	require.Equal(t, "first", heard())
	g.shut()
	said("second")
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(200*time.Millisecond)))
	_, err = in.ReadString('\n')
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout(), "something came through: %v", err)
	require.NoError(t, conn.SetReadDeadline(time.Time{}))
	g.unshut()
	require.Equal(t, "second", heard())
	require.NoError(t, conn.Close())
	serving.Wait()
	require.NoError(t, echo.Close())
}
