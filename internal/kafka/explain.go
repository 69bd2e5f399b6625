package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

// Explain turns an error of the Kafka client into one that says in Duplex's
// words what is wrong and what to do. op says what was being done. An error
// without a code of ours is returned with op in front; nil stays nil.
func Explain(op string, err error) error {
	if err == nil {
		return nil
	}
	e := &duplex.Error{Op: op, Err: err}
	code, hint := classify(err)
	if code != "" {
		e.Codes = []duplex.Code{code}
	}
	e.Hint = hint
	return e
}

//nolint:gochecknoglobals // a table that nobody writes
var kafkaCodes = map[*kerr.Error]struct {
	code duplex.Code
	hint string
}{
	kerr.MessageTooLarge:              {duplex.ErrTooLarge, "send less, or raise max.message.bytes of the topic"},
	kerr.RecordListTooLarge:           {duplex.ErrTooLarge, "send less, or raise segment.bytes of the topic"},
	kerr.UnknownTopicOrPartition:      {duplex.ErrUnknownTopic, "create the topic, or check its name; Duplex never creates one by itself"},
	kerr.UnknownTopicID:               {duplex.ErrUnknownTopic, "the topic was deleted, or deleted and created again"},
	kerr.InvalidTopicException:        {duplex.ErrInvalidTopic, "use only a-z A-Z 0-9 . _ - in a topic's name"},
	kerr.TopicAuthorizationFailed:     {duplex.ErrUnauthorized, "grant this client the rights on the topic"},
	kerr.GroupAuthorizationFailed:     {duplex.ErrUnauthorized, "grant this client READ on the group"},
	kerr.ClusterAuthorizationFailed:   {duplex.ErrUnauthorized, "grant this client the rights on the cluster"},
	kerr.SaslAuthenticationFailed:     {duplex.ErrUnauthenticated, "check user name, password and mechanism"},
	kerr.IllegalSaslState:             {duplex.ErrUnauthenticated, "the listener may want other credentials, or none"},
	kerr.UnsupportedSaslMechanism:     {duplex.ErrUnauthenticated, "the listener does not offer this mechanism"},
	kerr.InvalidRecord:                {duplex.ErrInvalidRecord, "the topic's rules refuse the record, such as a missing key where cleanup.policy is compact"},
	kerr.InvalidTimestamp:             {duplex.ErrInvalidRecord, "the timestamp is outside the topic's message.timestamp bounds"},
	kerr.UnsupportedForMessageFormat:  {duplex.ErrInvalidRecord, "the topic's message format is too old"},
	kerr.FencedInstanceID:             {duplex.ErrFenced, "another member uses the same instance ID"},
	kerr.ProducerFenced:               {duplex.ErrFenced, "another producer uses the same transactional ID"},
	kerr.InvalidGroupID:               {"", "the group's name is not legal"},
	kerr.InconsistentGroupProtocol:    {"", "the group's members use another protocol, such as range: stop them first, or use another group"},
	kerr.GroupMaxSizeReached:          {"", "the group has as many members as the broker allows"},
	kerr.InvalidSessionTimeout:        {"", "the broker's group.min/max.session.timeout.ms do not allow this session timeout"},
	kerr.NotEnoughReplicas:            {"", "too few replicas are in sync for acks=all"},
	kerr.NotEnoughReplicasAfterAppend: {"", "too few replicas are in sync for acks=all"},
}

func classify(err error) (duplex.Code, string) {
	if ke, ok := errors.AsType[*kerr.Error](err); ok {
		if known, ok := kafkaCodes[ke]; ok {
			return known.code, known.hint
		}
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return duplex.ErrUnreachable, "the port does not speak TLS: remove TLS, or use the broker's TLS port"
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return duplex.ErrUnreachable, "the broker's certificate is not trusted: set the CA file, and check the server name"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return duplex.ErrUnreachable, "the broker's certificate is for another name: set the server name"
	}
	if _, ok := errors.AsType[*kgo.ErrFirstReadEOF](err); ok {
		return duplex.ErrUnreachable, "the broker closed the connection at once: it may want TLS or SASL, or not be Kafka"
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne != context.DeadlineExceeded { // which is one too
		return duplex.ErrUnreachable, "check that a broker listens at this address"
	}
	switch {
	case errors.Is(err, kgo.ErrClientClosed):
		return duplex.ErrClosed, ""
	case errors.Is(err, kgo.ErrMaxBuffered):
		return duplex.ErrBufferFull, ""
	case errors.Is(err, context.DeadlineExceeded):
		return duplex.ErrTimeout, ""
	}
	return "", ""
}
