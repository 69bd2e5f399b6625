package main

import (
	"context"
	"net"
	"sync"
)

// network carries requests at any time, but answers only while it is whole.
type network struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error) // nil for net.Dialer

	mu     sync.Mutex
	healed chan struct{} // while it is cut, closed by heal
}

func (n *network) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.healed = make(chan struct{})
}

func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	close(n.healed)
	n.healed = nil
}

// open has the type of duplex.Cluster.Dial.
func (n *network) open(ctx context.Context, network, address string) (net.Conn, error) {
	dial := n.dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, network, address)
	return &connection{Conn: conn, network: n}, err
}

type connection struct {
	net.Conn
	network *network
}

func (c *connection) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.network.mu.Lock()
	healed := c.network.healed
	c.network.mu.Unlock()
	if healed != nil {
		<-healed
	}
	return n, err
}
