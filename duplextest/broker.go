package duplextest

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
)

// EnvBrokers is the environment variable that makes [Cluster] give tests a real
// Kafka: a comma-separated list of host:port addresses.
const EnvBrokers = "DUPLEX_TEST_BROKERS"

// Broker starts an embedded broker with the topics. It is closed when the test
// ends, so call it before starting what uses it.
func Broker(t testing.TB, topics ...broker.Topic) *broker.Broker {
	t.Helper()
	b, err := broker.Start(broker.Config{Topics: topics})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// Cluster gives the test a Kafka to talk to: the one that the environment
// variable DUPLEX_TEST_BROKERS names, or else an embedded broker of its own.
// A test that uses names from [Topic] and [Unique] passes on both.
func Cluster(t testing.TB) duplex.Cluster {
	t.Helper()
	if named := os.Getenv(EnvBrokers); named != "" {
		c := duplex.Cluster{Brokers: strings.Split(named, ",")}
		require.NoError(t, c.Validate(), "%s = %q", EnvBrokers, named)
		return c
	}
	return Broker(t).Cluster()
}

