package compare

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/duplex-go/duplex"
)

var errPulled = errors.New("compare: the plug is pulled")

// plug is between a server and its network. Pulling it is what Kafka sees of a machine
// that dies: no goodbye, only silence.
type plug struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu     sync.Mutex
	conns  []net.Conn
	pulled bool
}

// through gives the cluster as it is seen through a plug.
func through(cluster duplex.Cluster) (duplex.Cluster, *plug) {
	p := &plug{dial: cluster.Dial}
	if p.dial == nil {
		p.dial = (&net.Dialer{}).DialContext
	}
	cluster.Dial = p.connect
	return cluster, p
}

func (p *plug) connect(ctx context.Context, network, address string) (net.Conn, error) {
	if p.out() {
		return nil, errPulled
	}
	conn, err := p.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pulled {
		_ = conn.Close()
		return nil, errPulled
	}
	p.conns = append(p.conns, conn)
	return conn, nil
}

func (p *plug) out() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pulled
}

func (p *plug) pull() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pulled = true
	for _, c := range p.conns {
		_ = c.Close()
	}
}
