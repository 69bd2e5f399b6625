package suite

import (
	"context"
	"encoding/binary"
	"net"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
)

// Wire sees the requests of a client on its connections, and their answers come. Its
// functions are called by the goroutines that read and write a connection, which go
// on when they return; those that are nil are not called. Answers to what is sent
// before a function is set are not noticed.
type Wire struct {
	// Keys are the API keys of the requests to look at; the others pass unseen.
	Keys []kmsg.Key
	// Sends is called before the last byte of a request is written, so that no
	// broker has it yet.
	Sends func(kmsg.Request)
	// Loses reports whether a request is to be lost, after Sends: the client takes it
	// for sent, and no broker ever gets it. The client sends one at a time.
	Loses func(kmsg.Request) bool
	// Sent is called when all of a request is written.
	Sent func(kmsg.Request)
	// Answered is called when an answer was read, which the client does not have yet.
	// One that refuses something is not an answer: the client will ask again.
	Answered func(kmsg.Request)
}

// Watch returns c with connections that w sees. Those with encryption cannot be seen.
func (w *Wire) Watch(c duplex.Cluster) duplex.Cluster {
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: c.DialTimeout}).DialContext
	}
	c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &watched{Conn: conn, wire: w, asked: map[int32]kmsg.Request{}}, nil
	}
	return c
}

// watchCommits returns c with connections that show every OffsetCommit request
// to saw, before a broker gets it.
func watchCommits(c duplex.Cluster, saw func(*kmsg.OffsetCommitRequest)) duplex.Cluster {
	w := &Wire{Keys: []kmsg.Key{kmsg.OffsetCommit}, Sends: func(r kmsg.Request) {
		if commit, is := r.(*kmsg.OffsetCommitRequest); is {
			saw(commit)
		}
	}}
	return w.Watch(c)
}

// watched is a connection whose requests are read along. Only one goroutine
// writes to a connection of the Kafka client, and only one reads.
type watched struct {
	net.Conn
	wire    *Wire
	pending []byte // the beginning of a request

	answer []byte // the beginning of an answer
	whole  []byte // answers that the client may have

	mu    sync.Mutex
	asked map[int32]kmsg.Request // by correlation ID
}

const sizeBytes = 4

// Write implements net.Conn.
func (w *watched) Write(b []byte) (int, error) {
	w.pending = append(w.pending, b...)
	var all []kmsg.Request
	lost := false
	for len(w.pending) >= sizeBytes {
		end := sizeBytes + int(binary.BigEndian.Uint32(w.pending))
		if len(w.pending) < end {
			break
		}
		if correlation, req := w.wire.request(w.pending[sizeBytes:end]); req != nil {
			all = append(all, req)
			w.ask(correlation, req)
			if w.wire.Sends != nil {
				w.wire.Sends(req)
			}
			lost = lost || (w.wire.Loses != nil && w.wire.Loses(req))
		}
		w.pending = w.pending[end:]
	}
	if lost {
		return len(b), nil
	}
	n, err := w.Conn.Write(b)
	if err == nil && w.wire.Sent != nil {
		for _, req := range all {
			w.wire.Sent(req)
		}
	}
	return n, err
}

func (w *watched) ask(correlation int32, req kmsg.Request) {
	if w.wire.Answered == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[correlation] = req
}

func (w *watched) take(correlation int32) kmsg.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	req := w.asked[correlation]
	delete(w.asked, correlation)
	return req
}

// Read implements net.Conn.
func (w *watched) Read(b []byte) (int, error) {
	if w.wire.Answered == nil {
		return w.Conn.Read(b)
	}
	for len(w.whole) == 0 {
		n, err := w.Conn.Read(b)
		w.answer = append(w.answer, b[:n]...)
		w.read()
		if err != nil && len(w.whole) == 0 {
			return 0, err
		}
	}
	n := copy(b, w.whole)
	w.whole = w.whole[n:]
	return n, nil
}

// read looks at the answers of which all is there.
func (w *watched) read() {
	for len(w.answer) >= sizeBytes {
		end := sizeBytes + int(binary.BigEndian.Uint32(w.answer))
		if len(w.answer) < end {
			return
		}
		if req := w.take(int32(binary.BigEndian.Uint32(w.answer[sizeBytes:]))); req != nil && !refuses(req, w.answer[2*sizeBytes:end]) {
			w.wire.Answered(req)
		}
		w.whole, w.answer = append(w.whole, w.answer[:end]...), w.answer[end:]
	}
}

// refuses reports whether an answer, without its size and number, says that some of what
// was asked was not done.
func refuses(req kmsg.Request, answer []byte) bool {
	r := kbin.Reader{Src: answer}
	if req.IsFlexible() {
		kmsg.SkipTags(&r)
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if r.Complete() != nil || resp.ReadFrom(slices.Clone(r.Src)) != nil {
		return true
	}
	refused := false
	switch resp := resp.(type) {
	case *kmsg.ProduceResponse:
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				refused = refused || p.ErrorCode != 0
			}
		}
	case *kmsg.OffsetCommitResponse:
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				refused = refused || p.ErrorCode != 0
			}
		}
	case *kmsg.InitProducerIDResponse:
		return resp.ErrorCode != 0
	case *kmsg.EndTxnResponse:
		return resp.ErrorCode != 0
	}
	return refused
}

// request decodes a request without its size, if it is to be looked at.
func (w *Wire) request(frame []byte) (correlation int32, req kmsg.Request) {
	r := kbin.Reader{Src: frame}
	key, version := r.Int16(), r.Int16()
	if !slices.Contains(w.Keys, kmsg.Key(key)) {
		return 0, nil
	}
	req = kmsg.RequestForKey(key)
	req.SetVersion(version)
	correlation = r.Int32()
	r.NullableString()
	if req.IsFlexible() {
		kmsg.SkipTags(&r)
	}
	if r.Complete() != nil || req.ReadFrom(slices.Clone(r.Src)) != nil {
		return 0, nil
	}
	return correlation, req
}
