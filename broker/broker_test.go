package broker_test

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/kafka"
)

func TestBrokerInsideTheProcess(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{Topics: []broker.Topic{{Name: "orders", Partitions: 3}, {Name: "audit"}}})
	topics, err := kafka.Topics(soon(t), client(t, b.Cluster()), "test", "orders", "audit")
	require.NoError(t, err)
	require.Equal(t, int32(1), topics[0].Partitions)
	require.Equal(t, int32(3), topics[1].Partitions)
	roundTrip(t, b.Cluster(), "orders", 20)

	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", b.Addrs()[0])
	if err == nil { // something else may live on that port
		require.NoError(t, conn.Close())
	}
}

func TestTwoBrokersKnowNothingOfEachOther(t *testing.T) {
	t.Parallel()
	one := start(t, broker.Config{Topics: []broker.Topic{{Name: "orders"}}})
	two := start(t, broker.Config{})
	require.Equal(t, one.Addrs(), two.Addrs(), "each has a network of its own")
	require.NoError(t, kafka.Ping(soon(t), client(t, two.Cluster()), "test"))
	_, err := kafka.Topics(soon(t), client(t, two.Cluster()), "test", "orders")
	require.ErrorIs(t, err, duplex.ErrUnknownTopic)
}

func TestBrokerOnTCPWithSeveralNodes(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{Listen: "127.0.0.1:0", Brokers: 3, Topics: []broker.Topic{{Name: "orders", Partitions: 12}}})
	require.Len(t, b.Addrs(), 3)
	require.Nil(t, b.Cluster().Dial)
	cl := client(t, b.Cluster())
	details, err := kadm.NewClient(cl).ListTopics(soon(t), "orders")
	require.NoError(t, err)
	require.Len(t, details["orders"].Partitions, 12)
	for node := range int32(3) {
		require.NoError(t, b.Kfake().MoveTopicPartition("orders", node, node))
	}
	roundTrip(t, b.Cluster(), "orders", 40)
}

func TestNodesTakeThePortsThatFollow(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{Brokers: 2})
	require.Equal(t, []string{"localhost:9092", "localhost:9093"}, b.Addrs())
	_, port, err := b.Kfake().AddNode(-1, 0)
	require.NoError(t, err)
	require.Equal(t, 9094, port)
	require.NoError(t, b.Kfake().RemoveNode(0))
	require.Equal(t, []string{"localhost:9093", "localhost:9094"}, b.Addrs())
	require.Len(t, b.Cluster().Brokers, 2)
}

func TestTakenPortIsAnError(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{Listen: "127.0.0.1:0"})
	_, err := broker.Start(broker.Config{Listen: b.Addrs()[0]})
	require.ErrorContains(t, err, "broker: starting: ")
	require.ErrorContains(t, err, "address already in use")
}

func TestValidateReportsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	_, err := broker.Start(broker.Config{
		Brokers: 65,
		Listen:  "0.0.0.0:9092",
		Topics:  []broker.Topic{{Name: "a/b"}, {Name: "x", Partitions: -1}, {Name: "x"}},
		Users:   []broker.User{{Mechanism: "GSSAPI"}, {Mechanism: duplex.SASLOAuthBearer, Name: "ann", Password: "secret"}},
	})
	for _, want := range []string{
		"Config.Brokers = 65: want 1 to 64",
		`Config.Listen = "0.0.0.0:9092": this broker is for development only`,
		`Config.Topics[0]: duplex: checking topic name "a/b": invalid-topic`,
		`Config.Topics[1]: Topic.Partitions = -1 of "x": want 1 to 10000`,
		`Config.Topics[2].Name = "x": listed twice`,
		`User.Mechanism = "GSSAPI": want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512`,
		"User.Name is empty",
		"User.Password is empty",
		"Config.Users[1]: User.Mechanism: OAUTHBEARER is not available here",
	} {
		require.ErrorContains(t, err, want)
	}
}

func TestOnlyTheLoopbackInterface(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{
		":9092", "0.0.0.0:0", "[::]:0", "192.168.1.7:9092", "example.com:9092", "localhost.example.com:1",
		"127.0.0.1", "127.0.0.1:x", "127.0.0.1:-1", "127.0.0.1:65536", "[::ffff:10.0.0.1]:0",
	} {
		_, err := broker.Start(broker.Config{Listen: listen})
		require.ErrorContains(t, err, "Config.Listen", listen)
	}
	for _, listen := range []string{"localhost:0", "127.0.0.2:0", "[::1]:0"} {
		b, err := broker.Start(broker.Config{Listen: listen})
		if err != nil {
			require.NotContains(t, err.Error(), "Config.Listen") // a machine may lack IPv6
			continue
		}
		require.NoError(t, kafka.Ping(soon(t), client(t, b.Cluster()), "test"), listen)
		require.NoError(t, b.Close())
	}
}

func TestCloseEndsEverythingAndMayBeRepeated(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"", "127.0.0.1:0"} {
		b, err := broker.Start(broker.Config{Listen: listen, Topics: []broker.Topic{{Name: "orders"}}})
		require.NoError(t, err)
		cl := client(t, b.Cluster())
		require.NoError(t, kafka.Ping(soon(t), cl, "test"))
		require.NoError(t, b.Close())
		require.NoError(t, b.Close())
		require.Empty(t, b.Addrs())
		require.Error(t, kafka.Ping(soon(t), cl, "test"))
		require.ErrorIs(t, b.CreateTopic(broker.Topic{Name: "late"}), duplex.ErrClosed)
	}
}

func TestCreateTopic(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{})
	require.NoError(t, b.CreateTopic(broker.Topic{Name: "orders", Partitions: 2, Configs: map[string]string{"max.message.bytes": "2000"}}))
	require.ErrorIs(t, b.CreateTopic(broker.Topic{Name: "orders"}), kerr.TopicAlreadyExists)
	require.ErrorIs(t, b.CreateTopic(broker.Topic{Name: ".."}), duplex.ErrInvalidTopic)
	require.ErrorContains(t, b.CreateTopic(broker.Topic{Name: "huge", Partitions: 10_001}), "want 1 to 10000")
	cl := client(t, b.Cluster(), kgo.ProducerBatchCompression(kgo.NoCompression()))
	r := &kgo.Record{Topic: "orders", Value: make([]byte, 5000)}
	require.ErrorIs(t, cl.ProduceSync(soon(t), r).FirstErr(), kerr.MessageTooLarge)
}

func TestClientsCannotCreateWhatKafkaRefusesOrMemoryCannotHold(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{Topics: []broker.Topic{{Name: "orders"}}})
	admin := kadm.NewClient(client(t, b.Cluster()))
	_, err := admin.CreateTopic(soon(t), 2_000_000_000, 1, nil, "huge")
	require.ErrorIs(t, err, kerr.InvalidPartitions)
	_, err = admin.CreateTopic(soon(t), 1, 1, nil, "a/b")
	require.ErrorIs(t, err, kerr.InvalidTopicException)
	grown, err := admin.UpdatePartitions(soon(t), 2_000_000_000, "orders")
	require.NoError(t, err)
	require.ErrorIs(t, grown["orders"].Err, kerr.InvalidPartitions)

	_, err = admin.CreateTopic(soon(t), 3, 1, nil, "fine")
	require.NoError(t, err)
	grown, err = admin.UpdatePartitions(soon(t), 2, "orders")
	require.NoError(t, err)
	require.NoError(t, grown["orders"].Err)
	_, err = admin.CreateTopic(soon(t), 2_000_000_000, 1, nil, "huge")
	require.ErrorIs(t, err, kerr.InvalidPartitions, "and again")
}

func TestPublishingNeverCreatesATopic(t *testing.T) {
	t.Parallel()
	b := start(t, broker.Config{})
	cl := client(t, b.Cluster(), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(1))
	require.ErrorIs(t, cl.ProduceSync(soon(t), &kgo.Record{Topic: "mistyped"}).FirstErr(), kerr.UnknownTopicOrPartition)
}
