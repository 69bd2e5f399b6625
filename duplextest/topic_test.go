package duplextest_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/duplextest"
)

func TestTopicIsThereWithItsPartitions(t *testing.T) {
	t.Parallel()
	c := duplextest.Cluster(t)
	orders := duplextest.Topic(t, c, duplex.Topic[string]{Name: "orders", Codec: duplex.Text}, 3)
	require.Regexp(t, `^orders-[a-z2-7]{10}$`, orders.Name)
	require.Equal(t, duplex.Text, orders.Codec)
	opts := []kgo.Opt{kgo.SeedBrokers(c.Brokers...)}
	if c.Dial != nil {
		opts = append(opts, kgo.Dialer(c.Dial))
	}
	cl, err := kgo.NewClient(opts...)
	require.NoError(t, err)
	defer cl.Close()
	details, err := kadm.NewClient(cl).ListTopics(t.Context(), orders.Name)
	require.NoError(t, err)
	require.Len(t, details[orders.Name].Partitions, 3)
}
