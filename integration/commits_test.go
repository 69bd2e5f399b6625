package integration

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"os"

	"github.com/twmb/franz-go/pkg/kbin"

	hist "github.com/duplex-go/duplex/internal/history"
)

type dial func(ctx context.Context, network, address string) (net.Conn, error)

// watchCommits records each offset that the member asks to be committed, before a
// broker gets to see it: everything below must be finished by then.
func (m *memberProcess) watchCommits(next dial) dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := next(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return &watchedConn{Conn: conn, member: m}, nil
	}
}

// watchedConn is a connection whose requests are read along. Only one goroutine
// writes to a connection of the Kafka client.
type watchedConn struct {
	net.Conn
	member  *memberProcess
	pending []byte // the beginning of a request
}

// Write implements net.Conn.
func (w *watchedConn) Write(b []byte) (int, error) {
	const sizeBytes = 4
	w.pending = append(w.pending, b...)
	for len(w.pending) >= sizeBytes {
		end := sizeBytes + int(binary.BigEndian.Uint32(w.pending))
		if len(w.pending) < end {
			break
		}
		w.member.commits(w.pending[sizeBytes:end])
		w.pending = w.pending[end:]
	}
	return w.Conn.Write(b)
}

// commits records what a request without its size asks to be committed, if it is
// an OffsetCommit. The group has one topic.
func (m *memberProcess) commits(frame []byte) {
	const (
		offsetCommit    = 8
		oldest, newest  = 8, 10 // the versions of a broker of our time
		withTopicIDs    = 10
		uuidBytes, none = 16, 0
	)
	r := kbin.Reader{Src: frame}
	if r.Int16() != offsetCommit {
		return
	}
	version := r.Int16()
	if version < oldest || version > newest {
		fmt.Fprintln(os.Stderr, "member: OffsetCommit has the version", version, "which is not understood")
		os.Exit(1)
	}
	r.Int32() // correlation ID
	r.NullableString()
	skipTags(&r)
	r.CompactString() // group
	r.Int32()         // generation
	r.CompactString() // member
	r.CompactNullableString()
	for topics := r.CompactArrayLen(); topics > none; topics-- {
		if version >= withTopicIDs {
			r.Span(uuidBytes)
		} else {
			r.CompactString()
		}
		for partitions := r.CompactArrayLen(); partitions > none; partitions-- {
			e := hist.Event{Kind: hist.Committing, Member: m.settings.Name, Topic: m.settings.Topic, Partition: r.Int32(), Offset: r.Int64()}
			r.Int32() // leader epoch
			r.CompactNullableString()
			skipTags(&r)
			if r.Ok() {
				_ = m.recorder.Record(e) // the first error comes again when a handler records
			}
		}
		skipTags(&r)
	}
	skipTags(&r)
	if err := r.Complete(); err != nil {
		fmt.Fprintln(os.Stderr, "member: reading an OffsetCommit:", err)
		os.Exit(1)
	}
}

func skipTags(r *kbin.Reader) {
	for tags := r.Uvarint(); tags > 0; tags-- {
		r.Uvarint()
		r.Span(int(r.Uvarint()))
	}
}
