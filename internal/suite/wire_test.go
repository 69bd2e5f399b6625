package suite_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/suite"
)

// trickle is a connection to a broker whose answers come a byte at a time.
type trickle struct {
	net.Conn
	answers []byte
}

func (c *trickle) Write(b []byte) (int, error) { return len(b), nil }

func (c *trickle) Read(b []byte) (int, error) {
	if len(c.answers) == 0 {
		return 0, io.EOF
	}
	b[0], c.answers = c.answers[0], c.answers[1:]
	return 1, nil
}

// An answer is seen when all of it is there, and the client has none of it; one that
// refuses something is not. The client gets all, as it came.
func TestWireSeesWholeAnswersThatRefuseNothing(t *testing.T) {
	t.Parallel()
	conn := &trickle{}
	var got []byte
	var seen []int // how many bytes the client has when an answer is seen
	w := &suite.Wire{Keys: []kmsg.Key{kmsg.OffsetCommit}, Answered: func(kmsg.Request) { seen = append(seen, len(got)) }}
	client, err := w.Watch(duplex.Cluster{Dial: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}).Dial(t.Context(), "", "")
	require.NoError(t, err)
	var all []byte
	var begins []int
	for i, code := range []int16{0, kerr.RebalanceInProgress.Code, 0} {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version = 8
		_, err := client.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, int32(i)))
		require.NoError(t, err)
		begins = append(begins, len(all))
		all = append(all, commitAnswer(int32(i), code)...)
	}
	conn.answers = append(conn.answers, all...)
	for b := make([]byte, 7); ; {
		n, err := client.Read(b)
		got = append(got, b[:n]...)
		if err != nil {
			require.ErrorIs(t, err, io.EOF)
			break
		}
	}
	require.Equal(t, all, got)
	require.Equal(t, []int{begins[0], begins[2]}, seen)
}

// commitAnswer is the answer to the request of that number, for one partition.
func commitAnswer(number int32, code int16) []byte {
	resp := kmsg.NewPtrOffsetCommitResponse()
	resp.Version = 8
	topic := kmsg.NewOffsetCommitResponseTopic()
	topic.Topic = "orders"
	partition := kmsg.NewOffsetCommitResponseTopicPartition()
	partition.ErrorCode = code
	topic.Partitions = append(topic.Partitions, partition)
	resp.Topics = append(resp.Topics, topic)
	body := resp.AppendTo(append(binary.BigEndian.AppendUint32(nil, uint32(number)), 0)) // no tags
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}
