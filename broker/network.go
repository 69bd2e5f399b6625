package broker

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/zap"
)

// firstVirtualPort is the port of the first node on the network inside the
// process. It only has to look like Kafka's.
const firstVirtualPort = 9092

// maxConns bounds the open connections of all nodes. A client has up to six to
// a node.
const maxConns = 4096

// network is where the nodes listen, and keeps account of their listeners and
// connections.
type network struct {
	host    string // "" = inside the process
	tls     *tls.Config
	log     *zap.Logger
	virtual kfake.VirtualNetwork
	refused atomic.Int64

	mu        sync.Mutex
	nextPort  int
	listeners []*listener
	conns     map[*conn]struct{}
	gone      *sync.Cond // signalled when conns shrinks
	closed    bool
}

func newNetwork(host string, port int, config *tls.Config, log *zap.Logger) *network {
	n := &network{host: host, tls: config, log: log, nextPort: port, conns: map[*conn]struct{}{}}
	if host == "" {
		n.nextPort = firstVirtualPort
	}
	n.gone = sync.NewCond(&n.mu)
	return n
}

// listen opens the listener of one more node; kfake calls it with the port that
// the node should have, 0 for any.
func (n *network) listen(_, address string) (net.Listener, error) {
	_, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("splitting address %q: %w", address, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, net.ErrClosed
	}
	if service == "0" {
		service = strconv.Itoa(n.takePort())
	}
	inner, err := n.open(service)
	if err != nil {
		return nil, err
	}
	l := &listener{Listener: inner, network: n}
	n.listeners = append(n.listeners, l)
	return l, nil
}

// takePort gives the port of the next node.
func (n *network) takePort() int {
	port := n.nextPort
	if port != 0 {
		n.nextPort++
	}
	return port
}

func (n *network) open(service string) (net.Listener, error) {
	if n.host == "" {
		return n.virtual.Listen("tcp", net.JoinHostPort("localhost", service))
	}
	var config net.ListenConfig
	return config.Listen(context.Background(), "tcp", net.JoinHostPort(n.host, service))
}

// addresses are those of the nodes that listen.
func (n *network) addresses() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	addresses := make([]string, 0, len(n.listeners))
	for _, l := range n.listeners {
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

// close ends every listener and connection and waits until kfake let go of
// them.
func (n *network) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	for c := range n.conns {
		_ = c.Conn.Close() // its owner, kfake, sees the error of the next read
	}
	for len(n.conns) > 0 {
		n.gone.Wait()
	}
}

func (n *network) add(c net.Conn) (*conn, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, false
	}
	if len(n.conns) >= maxConns {
		n.refuse(c, fmt.Errorf("%d connections are open already", maxConns))
		return nil, false
	}
	tracked := newConn(c, n)
	n.conns[tracked] = struct{}{}
	return tracked, true
}

func (n *network) remove(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.conns, c)
	n.gone.Broadcast()
}

// refuse counts a connection that broke a rule, and logs the first: the rest
// would only fill the log.
func (n *network) refuse(c net.Conn, reason error) {
	if n.refused.Add(1) == 1 {
		n.log.Warn("refusing a connection that does not speak Kafka; further ones are only counted",
			zap.Stringer("remote", c.RemoteAddr()), zap.Error(reason))
	}
}

// listener is the door of one node.
type listener struct {
	net.Listener
	network *network
}

// Accept waits for the next connection.
func (l *listener) Accept() (net.Conn, error) {
	for {
		inner, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.network.tls != nil {
			inner = tls.Server(inner, l.network.tls)
		}
		if c, ok := l.network.add(inner); ok {
			return c, nil
		}
		_ = inner.Close() // nobody waits for it
	}
}

// Close stops the node from being reached.
func (l *listener) Close() error {
	l.network.mu.Lock()
	defer l.network.mu.Unlock()
	for i, known := range l.network.listeners {
		if known == l {
			l.network.listeners = append(l.network.listeners[:i:i], l.network.listeners[i+1:]...)
			break
		}
	}
	return l.Listener.Close()
}
