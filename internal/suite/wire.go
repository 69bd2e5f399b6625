package suite

import (
	"context"
	"encoding/binary"
	"net"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
)

// watchCommits returns c with connections that show every OffsetCommit request
// to saw, before a broker gets it.
func watchCommits(c duplex.Cluster, saw func(*kmsg.OffsetCommitRequest)) duplex.Cluster {
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: c.DialTimeout}).DialContext
	}
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &watched{Conn: conn, saw: saw}, nil
	}
	return c
}

// watched is a connection whose requests are read along. Only one goroutine
// writes to a connection of the Kafka client.
type watched struct {
	net.Conn
	saw     func(*kmsg.OffsetCommitRequest)
	pending []byte // the beginning of a request
}

// Write implements net.Conn.
func (w *watched) Write(b []byte) (int, error) {
	const sizeBytes = 4
	w.pending = append(w.pending, b...)
	for len(w.pending) >= sizeBytes {
		end := sizeBytes + int(binary.BigEndian.Uint32(w.pending))
		if len(w.pending) < end {
			break
		}
		if req := offsetCommit(w.pending[sizeBytes:end]); req != nil {
			w.saw(req)
		}
		w.pending = w.pending[end:]
	}
	return w.Conn.Write(b)
}

// offsetCommit decodes a request without its size, if it is one.
func offsetCommit(frame []byte) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	r := kbin.Reader{Src: frame}
	if r.Int16() != req.Key() {
		return nil
	}
	req.SetVersion(r.Int16())
	r.Int32() // correlation ID
	r.NullableString()
	if req.IsFlexible() {
		kmsg.SkipTags(&r)
	}
	if r.Complete() != nil || req.ReadFrom(r.Src) != nil {
		return nil
	}
	return req
}
