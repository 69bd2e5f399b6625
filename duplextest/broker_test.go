package duplextest_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/duplextest"
)

func TestBrokerEndsWithTheTest(t *testing.T) {
	t.Parallel()
	var b *broker.Broker
	t.Run("the test", func(t *testing.T) {
		b = duplextest.Broker(t, broker.Topic{Name: "orders", Partitions: 3})
		require.NotEmpty(t, b.Addrs())
		require.Len(t, b.Kfake().PartitionInfos("orders"), 3)
	})
	require.Empty(t, b.Addrs())
}

func TestClusterIsTheNamedOne(t *testing.T) {
	t.Setenv(duplextest.EnvBrokers, "a:9092, b:9092")
	require.Equal(t, duplex.Cluster{Brokers: []string{"a:9092", "b:9092"}}, duplextest.Cluster(t))
	t.Setenv(duplextest.EnvBrokers, "nonsense")
	text := failure(t, func(t testing.TB) { duplextest.Cluster(t) })
	require.Contains(t, text, `DUPLEX_TEST_BROKERS = "nonsense"`)
}

func TestUniqueNamesAreLegalAndDiffer(t *testing.T) {
	t.Parallel()
	a, b := duplextest.Unique("boards"), duplextest.Unique("boards")
	require.NotEqual(t, a, b)
	require.NoError(t, duplex.ValidateTopicName(a))
}

func TestTopicEndsWithTheTest(t *testing.T) {
	t.Parallel()
	c := duplextest.Cluster(t)
	var name string
	t.Run("the test", func(t *testing.T) {
		name = duplextest.NewTopic(t, c, "orders", 0, map[string]string{"cleanup.policy": "compact"})
		require.True(t, exists(t, c, name))
	})
	require.False(t, exists(t, c, name))
}

func TestTopicThatCannotBeMadeFailsTheTest(t *testing.T) {
	t.Parallel()
	c := duplextest.Cluster(t)
	text := failure(t, func(t testing.TB) { duplextest.NewTopic(t, c, "no good name", 1, nil) })
	require.Contains(t, text, `creating topic "no good name-`)
}

func exists(t *testing.T, c duplex.Cluster, topic string) bool {
	t.Helper()
	opts := []kgo.Opt{kgo.SeedBrokers(c.Brokers...)}
	if c.Dial != nil {
		opts = append(opts, kgo.Dialer(c.Dial))
	}
	cl, err := kgo.NewClient(opts...)
	require.NoError(t, err)
	defer cl.Close()
	details, err := kadm.NewClient(cl).ListTopics(t.Context(), topic)
	require.NoError(t, err)
	return details.Has(topic)
}
