package duplextest

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/kafka"
)

// EnvBrokers is the environment variable that makes [Cluster] give tests a real
// Kafka: a comma-separated list of host:port addresses.
const EnvBrokers = "DUPLEX_TEST_BROKERS"

// patience is how long checks wait for what they want to become true.
const patience = 10 * time.Second

// Broker starts an embedded broker with the topics. It is closed when the test
// ends, after everything that the test cleans up later: start it first.
func Broker(t testing.TB, topics ...broker.Topic) *broker.Broker {
	t.Helper()
	b, err := broker.Start(broker.Config{Topics: topics})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// Cluster gives the test a Kafka to talk to: the one that the environment
// variable DUPLEX_TEST_BROKERS names, or else an embedded broker of its own, as
// from [Broker].
func Cluster(t testing.TB) duplex.Cluster {
	t.Helper()
	named := os.Getenv(EnvBrokers)
	if named == "" {
		return Broker(t).Cluster()
	}
	var c duplex.Cluster
	for address := range strings.SplitSeq(named, ",") {
		c.Brokers = append(c.Brokers, strings.TrimSpace(address))
	}
	require.NoError(t, c.Validate(), "%s = %q", EnvBrokers, named)
	return c
}

// client makes a Kafka client; the caller closes it.
func client(t testing.TB, c duplex.Cluster, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kafka.NewClient(c, nil, opts...)
	require.NoError(t, err)
	return cl
}
