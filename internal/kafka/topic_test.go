package kafka_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/kafka"
)

func TestTopics(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{Topics: []broker.Topic{{Name: "orders", Partitions: 6}, {Name: "bills"}}})
	cl := client(t, b.Cluster())
	topics, err := kafka.Topics(soon(t), cl, "test", "orders", "bills")
	require.NoError(t, err)
	require.Len(t, topics, 2)
	require.Equal(t, "bills", topics[0].Name, "in order of their names")
	require.Equal(t, int32(1), topics[0].Partitions)
	require.Equal(t, "orders", topics[1].Name)
	require.Equal(t, int32(6), topics[1].Partitions)
	require.NotEqual(t, topics[0].ID, topics[1].ID)

	for range 2 { // asking twice would find it, if asking made it
		topics, err = kafka.Topics(soon(t), cl, "test", "orders", "ordres", "bils")
		require.ErrorIs(t, err, duplex.ErrUnknownTopic)
		require.ErrorContains(t, err, `test: asking for topic "ordres": unknown-topic`)
		require.ErrorContains(t, err, `test: asking for topic "bils": unknown-topic`, "every one that is missing")
		require.Len(t, topics, 1, "and those that are there")
	}
}

func TestEnsureTopic(t *testing.T) {
	t.Parallel()
	cl := client(t, start(t, broker.Config{}).Cluster())
	created, err := kafka.EnsureTopic(soon(t), cl, "test", "orders", 3)
	require.NoError(t, err)
	require.True(t, created)
	topics, err := kafka.Topics(soon(t), cl, "test", "orders")
	require.NoError(t, err, "the cluster knows of it by then")
	require.Equal(t, int32(3), topics[0].Partitions)

	created, err = kafka.EnsureTopic(soon(t), cl, "test", "orders", 9)
	require.NoError(t, err)
	require.False(t, created)
	topics, err = kafka.Topics(soon(t), cl, "test", "orders")
	require.NoError(t, err)
	require.Equal(t, int32(3), topics[0].Partitions, "one that exists is left as it is")

	_, err = kafka.EnsureTopic(soon(t), cl, "test", "a b", 1)
	require.ErrorIs(t, err, duplex.ErrInvalidTopic)
	require.ErrorContains(t, err, `test: creating topic "a b"`)
}

func TestEnsureTopicByManyAtOnce(t *testing.T) {
	t.Parallel()
	cl := client(t, start(t, broker.Config{}).Cluster())
	ctx := soon(t)
	var made atomic.Int32
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() {
			var created bool
			if created, errs[i] = kafka.EnsureTopic(ctx, cl, "test", "orders", 2); created {
				made.Add(1)
			}
		})
	}
	all.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.Equal(t, int32(1), made.Load())
}

func TestDeleteTopic(t *testing.T) {
	t.Parallel()
	cl := client(t, start(t, broker.Config{Topics: []broker.Topic{{Name: "orders"}}}).Cluster())
	require.NoError(t, kafka.DeleteTopic(soon(t), cl, "test", "orders"))
	_, err := kafka.Topics(soon(t), cl, "test", "orders")
	require.ErrorIs(t, err, duplex.ErrUnknownTopic)
	err = kafka.DeleteTopic(soon(t), cl, "test", "orders")
	require.ErrorIs(t, err, duplex.ErrUnknownTopic)
	require.ErrorContains(t, err, `test: deleting topic "orders"`)
}

func TestDeleteGroup(t *testing.T) {
	t.Parallel()
	c := start(t, broker.Config{Topics: []broker.Topic{{Name: "orders"}}}).Cluster()
	cl := client(t, c)
	require.NoError(t, kafka.DeleteGroup(soon(t), cl, "test", "boards"), "one that does not exist")

	member := client(t, c, kgo.ConsumerGroup("boards"), kgo.ConsumeTopics("orders"), kgo.DisableAutoCommit())
	require.NoError(t, cl.ProduceSync(soon(t), &kgo.Record{Topic: "orders"}).FirstErr())
	require.NoError(t, member.PollFetches(soon(t)).Err())
	require.ErrorContains(t, kafka.DeleteGroup(soon(t), cl, "test", "boards"), `test: deleting group "boards"`, "it has a member")
	require.NoError(t, member.CommitUncommittedOffsets(soon(t)))
	member.Close()

	require.NoError(t, kafka.DeleteGroup(soon(t), cl, "test", "boards"))
	groups, err := kadm.NewClient(cl).ListGroups(soon(t))
	require.NoError(t, err)
	require.NotContains(t, groups, "boards")
}
