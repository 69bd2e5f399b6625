package integration

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/duplex-go/duplex"
)

// The tests of this file check the harness: what the fault tests rest on.

func TestSharedClusterAnswers(t *testing.T) {
	c := cluster(t)
	require.NoError(t, rawClient(t, c).Ping(t.Context()))
}

func TestKilledBrokerComesBackOnItsDataAndAddress(t *testing.T) {
	n := node(t)
	cl := rawClient(t, n.Cluster())
	_, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, nil, "survives")
	require.NoError(t, err)
	want := kgo.StringRecord("written before the kill")
	want.Topic = "survives"
	require.NoError(t, cl.ProduceSync(t.Context(), want).FirstErr())

	n.Kill(t)
	require.Error(t, ping(t.Context(), n.Cluster().Brokers), "a killed broker answered")
	n.Start(t)

	reader := rawClient(t, n.Cluster(), kgo.ConsumeTopics("survives"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	fetches := reader.PollFetches(t.Context())
	require.NoError(t, fetches.Err())
	require.Equal(t, string(want.Value), string(fetches.Records()[0].Value))
}

func TestPausedBrokerHangsAndGoesOn(t *testing.T) {
	n := node(t)
	require.NoError(t, ping(t.Context(), n.Cluster().Brokers))

	n.Pause(t)
	var frozen net.Error
	require.ErrorAs(t, ping(t.Context(), n.Cluster().Brokers), &frozen)
	require.True(t, frozen.Timeout(), "a frozen broker must hang, not refuse: %v", frozen)

	n.Unpause(t)
	require.Eventually(t, func() bool { return ping(t.Context(), n.Cluster().Brokers) == nil }, 10*time.Second, 100*time.Millisecond)
}

func TestListenerWithCredentialsRefusesTheWrongPassword(t *testing.T) {
	n := node(t, withPlainUser("alice", "right"))
	require.NoError(t, rawClient(t, n.SASL("alice", "right")).Ping(t.Context()))
	require.ErrorIs(t, rawClient(t, n.SASL("alice", "wrong")).Ping(t.Context()), kerr.SaslAuthenticationFailed)
}

func TestListenerWithTLSIsTrustedThroughItsFile(t *testing.T) {
	l, ca := withTLS(t)
	n := node(t, l)
	require.NoError(t, rawClient(t, n.TLS(ca)).Ping(t.Context()))
	require.ErrorAs(t, rawClient(t, n.TLS("")).Ping(t.Context()), new(*tls.CertificateVerificationError))
}

// rawClient is Kafka's client without any of Duplex, to look at the broker
// independently of what is tested.
func rawClient(t *testing.T, c duplex.Cluster, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	opts := []kgo.Opt{kgo.SeedBrokers(c.Brokers...)}
	if c.SASL != nil {
		opts = append(opts, kgo.SASL(plain.Auth{User: c.SASL.Username, Pass: string(c.SASL.Password)}.AsMechanism()))
	}
	if c.TLS != nil {
		config := &tls.Config{MinVersion: tls.VersionTLS12}
		if c.TLS.CAFile != "" {
			pem, err := os.ReadFile(c.TLS.CAFile)
			require.NoError(t, err)
			config.RootCAs = x509.NewCertPool()
			require.True(t, config.RootCAs.AppendCertsFromPEM(pem))
		}
		opts = append(opts, kgo.DialTLSConfig(config))
	}
	cl, err := kgo.NewClient(append(opts, more...)...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}
