package demo

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/duplex-go/duplex"
)

var errCut = errors.New("demo: the line is cut")

// line is the network of one process. When it is cut, its connections are gone and
// there are no others, as when the process is killed.
type line struct {
	mu    sync.Mutex
	isCut bool
	open  []net.Conn
}

// to is a cluster that is reached through the line.
func (l *line) to(c duplex.Cluster) duplex.Cluster {
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.isCut {
			_ = conn.Close()
			return nil, errCut
		}
		l.open = append(l.open, conn)
		return conn, nil
	}
	return c
}

func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.isCut = true
	for _, conn := range l.open {
		_ = conn.Close()
	}
}
