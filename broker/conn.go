package broker

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	// helloTimeout bounds the time from accepting a connection to its first
	// whole request, TLS included. Clients speak at once.
	helloTimeout = 10 * time.Second

	// frameTimeout bounds the time from the first byte of a later request to
	// its last.
	frameTimeout = 30 * time.Second

	// readAhead is how much is read at once; a request of usual size takes one
	// read.
	readAhead = 16 << 10

	// keepBuffer is how large a buffer may be to be kept for the next frame.
	keepBuffer = 1 << 20
)

// conn is one client's connection. Reading gives the bytes of frames that were
// checked, and fails at the first that breaks a rule.
type conn struct {
	net.Conn
	network *network
	once    sync.Once
	opened  time.Time

	in      *bufio.Reader
	buffer  []byte
	pending []byte // what is left of the checked frame
	spoke   bool   // a whole frame came before
}

func newConn(c net.Conn, n *network) *conn {
	return &conn{Conn: c, network: n, in: bufio.NewReaderSize(c, readAhead), opened: time.Now()}
}

// Read implements net.Conn. Like most of them it serves one reader at a time.
func (c *conn) Read(p []byte) (int, error) {
	if len(c.pending) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

// next reads and checks one frame.
func (c *conn) next() error {
	if err := c.hello(); err != nil {
		return err
	}
	if _, err := c.in.Peek(1); err != nil {
		return c.ended(err)
	}
	if err := c.bound(); err != nil {
		return err
	}
	start, err := c.in.Peek(4 + 2)
	if err != nil {
		return c.ended(err)
	}
	length := binary.BigEndian.Uint32(start)
	if err := checkLength(length, start[4:]); err != nil {
		return c.refuse(err)
	}
	if err := c.fill(4 + int(length)); err != nil {
		return c.ended(err)
	}
	if err := checkFrame(c.buffer[4:]); err != nil {
		return c.refuse(err)
	}
	c.pending, c.spoke = c.buffer, true
	return c.SetReadDeadline(time.Time{})
}

// hello bounds the wait for the first frame, and shakes hands if there is TLS.
func (c *conn) hello() error {
	if c.spoke {
		return nil
	}
	deadline := c.opened.Add(helloTimeout)
	if secured, ok := c.Conn.(*tls.Conn); ok {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		if err := secured.HandshakeContext(ctx); err != nil {
			return c.refuse(fmt.Errorf("TLS handshake: %w", err))
		}
	}
	return c.SetReadDeadline(deadline)
}

// bound starts the clock of a frame that is not there as a whole. The first
// frame has the clock of hello.
func (c *conn) bound() error {
	if !c.spoke {
		return nil
	}
	if there, _ := c.in.Peek(c.in.Buffered()); len(there) >= 4 && len(there)-4 >= int(binary.BigEndian.Uint32(there)) {
		return nil
	}
	return c.SetReadDeadline(time.Now().Add(frameTimeout))
}

// fill reads size bytes into the buffer, which grows with what arrives, never
// with what was announced.
func (c *conn) fill(size int) error {
	if cap(c.buffer) > keepBuffer {
		c.buffer = nil
	}
	c.buffer = c.buffer[:0]
	for len(c.buffer) < size {
		c.buffer = slices.Grow(c.buffer, min(size-len(c.buffer), max(readAhead, len(c.buffer))))
		room := c.buffer[len(c.buffer):min(cap(c.buffer), size)]
		n, err := c.in.Read(room)
		c.buffer = c.buffer[:len(c.buffer)+n]
		if err != nil && len(c.buffer) < size {
			return err
		}
	}
	return nil
}

// ended passes on the end of a connection, and refuses one that timed out or
// stopped inside a frame.
func (c *conn) ended(err error) error {
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return c.refuse(errors.New("no whole frame came in time"))
	case errors.Is(err, io.EOF) && c.in.Buffered() > 0:
		return c.refuse(errors.New("the connection ended inside a frame"))
	default:
		return err
	}
}

// refuse makes the reason known. kfake closes the connection when reading
// fails.
func (c *conn) refuse(reason error) error {
	c.network.refuse(c, reason)
	return fmt.Errorf("broker: refusing a connection: %w", reason)
}

// Close ends the connection and takes it off the books.
func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { c.network.remove(c) })
	return err
}
