package kafka_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/kafka"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		code duplex.Code
		hint string
	}{
		{kerr.MessageTooLarge, duplex.ErrTooLarge, "max.message.bytes"},
		{kerr.RecordListTooLarge, duplex.ErrTooLarge, "segment.bytes"},
		{kerr.UnknownTopicOrPartition, duplex.ErrUnknownTopic, "Duplex never creates one by itself"},
		{kerr.UnknownTopicID, duplex.ErrUnknownTopic, "created again"},
		{kerr.InvalidTopicException, duplex.ErrInvalidTopic, "a-z A-Z 0-9"},
		{kerr.TopicAuthorizationFailed, duplex.ErrUnauthorized, "rights on the topic"},
		{kerr.GroupAuthorizationFailed, duplex.ErrUnauthorized, "READ on the group"},
		{kerr.ClusterAuthorizationFailed, duplex.ErrUnauthorized, "rights on the cluster"},
		{kerr.SaslAuthenticationFailed, duplex.ErrUnauthenticated, "user name, password and mechanism"},
		{kerr.IllegalSaslState, duplex.ErrUnauthenticated, "other credentials, or none"},
		{kerr.UnsupportedSaslMechanism, duplex.ErrUnauthenticated, "does not offer this mechanism"},
		{kerr.InvalidRecord, duplex.ErrInvalidRecord, "cleanup.policy"},
		{kerr.InvalidTimestamp, duplex.ErrInvalidRecord, "message.timestamp"},
		{kerr.UnsupportedForMessageFormat, duplex.ErrInvalidRecord, "message format"},
		{kerr.FencedInstanceID, duplex.ErrFenced, "instance ID"},
		{kerr.ProducerFenced, duplex.ErrFenced, "transactional ID"},
		{kerr.InvalidGroupID, "", "the group's name"},
		{kerr.InconsistentGroupProtocol, "", "use another group"},
		{kerr.GroupMaxSizeReached, "", "as many members"},
		{kerr.InvalidSessionTimeout, "", "session.timeout.ms"},
		{kerr.NotEnoughReplicas, "", "too few replicas"},
		{kerr.NotEnoughReplicasAfterAppend, "", "too few replicas"},
		{tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}, duplex.ErrUnreachable, "does not speak TLS"},
		{&tls.CertificateVerificationError{Err: io.EOF}, duplex.ErrUnreachable, "set the CA file"},
		{x509.HostnameError{Certificate: &x509.Certificate{}, Host: "kafka"}, duplex.ErrUnreachable, "set the server name"},
		{&kgo.ErrFirstReadEOF{}, duplex.ErrUnreachable, "TLS or SASL"},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, duplex.ErrUnreachable, "a broker listens"},
		{&net.DNSError{Err: "no such host", Name: "kafka"}, duplex.ErrUnreachable, "a broker listens"},
		{kgo.ErrClientClosed, duplex.ErrClosed, ""},
		{kgo.ErrMaxBuffered, duplex.ErrBufferFull, ""},
		{kerr.NotLeaderForPartition, "", ""},
		{context.Canceled, "", ""},
		{io.EOF, "", ""},
	} {
		for _, cause := range []error{c.err, fmt.Errorf("deeper: %w", c.err), errors.Join(io.ErrNoProgress, c.err)} {
			err := kafka.Explain("test: asking", cause)
			require.Equal(t, c.code, duplex.CodeOf(err), "%v", cause)
			require.ErrorIs(t, err, c.err, "the cause stays")
			var e *duplex.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, "test: asking", e.Op)
			require.Contains(t, e.Hint, c.hint)
			require.Equal(t, c.hint == "", e.Hint == "")
		}
	}
}

func TestExplainNothing(t *testing.T) {
	t.Parallel()
	require.NoError(t, kafka.Explain("test: asking", nil))
}

func TestExplainKeepsTheCodesOfACause(t *testing.T) {
	t.Parallel()
	inner := &duplex.Error{Op: "inner", Codes: []duplex.Code{duplex.ErrEncode}}
	require.Equal(t, duplex.ErrEncode, duplex.CodeOf(kafka.Explain("test: asking", inner)))
}
