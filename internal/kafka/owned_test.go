package kafka

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/duplex-go/duplex"
)

// uses has a use of each owned option.
func uses() map[string]kgo.Opt {
	partitions := func(context.Context, *kgo.Client, map[string][]int32) {}
	return map[string]kgo.Opt{
		"SeedBrokers":                        kgo.SeedBrokers("kafka:9092"),
		"ClientID":                           kgo.ClientID("other"),
		"Dialer":                             kgo.Dialer(func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }),
		"DialTimeout":                        kgo.DialTimeout(time.Minute),
		"DialTLSConfig":                      kgo.DialTLSConfig(&tls.Config{MinVersion: tls.VersionTLS13}),
		"SASL":                               kgo.SASL(plain.Auth{User: "ann", Pass: "x"}.AsMechanism()),
		"WithLogger":                         kgo.WithLogger(kgo.BasicLogger(nil, kgo.LogLevelNone, nil)),
		"WithContext":                        kgo.WithContext(context.Background()),
		"AllowAutoTopicCreation":             kgo.AllowAutoTopicCreation(),
		"RequiredAcks":                       kgo.RequiredAcks(kgo.LeaderAck()),
		"DisableIdempotentWrite":             kgo.DisableIdempotentWrite(),
		"AllowIdempotentProduceCancellation": kgo.AllowIdempotentProduceCancellation(),
		"MaxBufferedRecords":                 kgo.MaxBufferedRecords(5),
		"MaxBufferedBytes":                   kgo.MaxBufferedBytes(5),
		"ProducerLinger":                     kgo.ProducerLinger(time.Second),
		"ManualFlushing":                     kgo.ManualFlushing(),
		"RecordPartitioner":                  kgo.RecordPartitioner(kgo.RoundRobinPartitioner()),
		"ProducerBatchCompression":           kgo.ProducerBatchCompression(kgo.ZstdCompression()),
		"ProducerBatchMaxBytes":              kgo.ProducerBatchMaxBytes(5000),
		"RecordDeliveryTimeout":              kgo.RecordDeliveryTimeout(time.Minute),
		"ProduceRequestTimeout":              kgo.ProduceRequestTimeout(time.Minute),
		"UnknownTopicRetries":                kgo.UnknownTopicRetries(9),
		"DefaultProduceTopic":                kgo.DefaultProduceTopic("orders"),
		"FetchMaxBytes":                      kgo.FetchMaxBytes(5 << 20),
		"FetchMaxWait":                       kgo.FetchMaxWait(time.Minute),
		"HeartbeatInterval":                  kgo.HeartbeatInterval(time.Second),
		"GroupProtocol":                      kgo.GroupProtocol("other"),
		"ServerSideBalancer":                 kgo.ServerSideBalancer(),
		"DialTLS":                            kgo.DialTLS(),
		"TransactionalID":                    kgo.TransactionalID("tx"),
		"ConsumerGroup":                      kgo.ConsumerGroup("boards"),
		"ShareGroup":                         kgo.ShareGroup("boards"),
		"ConsumeTopics":                      kgo.ConsumeTopics("orders"),
		"ConsumePartitions":                  kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"orders": {0: kgo.NewOffset()}}),
		"ConsumeRegex":                       kgo.ConsumeRegex(),
		"ConsumeStartOffset":                 kgo.ConsumeStartOffset(kgo.NewOffset().AtEnd()),
		"ConsumeResetOffset":                 kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()),
		"FetchIsolationLevel":                kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		"KeepControlRecords":                 kgo.KeepControlRecords(),
		"SessionTimeout":                     kgo.SessionTimeout(time.Minute),
		"RebalanceTimeout":                   kgo.RebalanceTimeout(time.Second),
		"InstanceID":                         kgo.InstanceID("one"),
		"BlockRebalanceOnPoll":               kgo.BlockRebalanceOnPoll(),
		"AdjustFetchOffsetsFn": kgo.AdjustFetchOffsetsFn(
			func(_ context.Context, o map[string]map[int32]kgo.Offset) (map[string]map[int32]kgo.Offset, error) {
				return o, nil
			}),
		"OnPartitionsAssigned": kgo.OnPartitionsAssigned(partitions),
		"OnPartitionsRevoked":  kgo.OnPartitionsRevoked(partitions),
		"OnPartitionsLost":     kgo.OnPartitionsLost(partitions),
		"OnOffsetsFetched":     kgo.OnOffsetsFetched(func(context.Context, *kgo.Client, *kmsg.OffsetFetchResponse) error { return nil }),
		"DisableAutoCommit":    kgo.DisableAutoCommit(),
		"GreedyAutoCommit":     kgo.GreedyAutoCommit(),
		"AutoCommitMarks":      kgo.AutoCommitMarks(),
		"AutoCommitInterval":   kgo.AutoCommitInterval(time.Minute),
		"Balancers":            kgo.Balancers(kgo.RangeBalancer()),
	}
}

func clusterWith(opts ...kgo.Opt) duplex.Cluster {
	return duplex.Cluster{Brokers: []string{"127.0.0.1:9092"}, KafkaOptions: opts}
}

func TestEveryOwnedOptionIsRefusedByName(t *testing.T) {
	t.Parallel()
	all := uses()
	require.Len(t, owned, len(all))
	for _, o := range owned {
		name := optionName(o.option)
		require.Contains(t, all, name, "add a use of the option to this test")
		cl, err := NewClient(clusterWith(all[name]), nil)
		require.Nil(t, cl, name)
		require.ErrorContains(t, err, "Cluster.KafkaOptions: kgo."+name+" is refused: "+o.why)
	}
}

func TestEveryOwnedOptionOfAListIsNamed(t *testing.T) {
	t.Parallel()
	_, err := NewClient(clusterWith(kgo.MetadataMaxAge(time.Minute), kgo.ClientID("other"), kgo.Rack("a"), kgo.AllowAutoTopicCreation()), nil)
	require.EqualError(t, err, `Cluster.KafkaOptions: kgo.ClientID is refused: set Cluster.ClientID
Cluster.KafkaOptions: kgo.AllowAutoTopicCreation is refused: a mistyped topic must be an error, not a new topic`)
}

func TestAGroupIsRefusedAndNothingThatComesWithIt(t *testing.T) {
	t.Parallel()
	_, err := NewClient(clusterWith(kgo.ConsumerGroup("boards")), nil)
	require.EqualError(t, err, "Cluster.KafkaOptions: kgo.ConsumerGroup is refused: set consumer.Config.Group")
}

func TestOtherOptionsReachTheClient(t *testing.T) {
	t.Parallel()
	// A partitioner and balancers of one's own are functions and pointers:
	// those of two clients are never the same, yet alike.
	cl, err := NewClient(clusterWith(kgo.MetadataMaxAge(time.Second), kgo.Rack("a"), kgo.FetchMinBytes(1000), kgo.RequiredAcks(kgo.AllISRAcks())), nil)
	require.NoError(t, err)
	defer cl.Close()
	require.Equal(t, time.Second, cl.OptValue(kgo.MetadataMaxAge), "it needs our MetadataMinAge beside it")
	require.Equal(t, "a", cl.OptValue(kgo.Rack))
	require.Equal(t, int32(1000), cl.OptValue(kgo.FetchMinBytes))
}

func TestComponentsWeighMoreThanOptions(t *testing.T) {
	t.Parallel()
	cl, err := NewClient(clusterWith(kgo.FetchMinBytes(1000)), nil, kgo.FetchMinBytes(2000))
	require.NoError(t, err)
	defer cl.Close()
	require.Equal(t, int32(2000), cl.OptValue(kgo.FetchMinBytes))
}

func TestOptionsThatCannotBeAreRefused(t *testing.T) {
	t.Parallel()
	_, err := NewClient(clusterWith(kgo.MetadataMaxAge(time.Nanosecond)), nil)
	require.ErrorContains(t, err, "kafka: applying Cluster.KafkaOptions: metadata max age")
	_, err = NewClient(clusterWith(), nil, kgo.MetadataMaxAge(time.Nanosecond))
	require.ErrorContains(t, err, "kafka: making a client: metadata max age")
}

// once is a hook that bears one client, as those that register metrics do.
type once struct{ clients int }

func (o *once) OnNewClient(*kgo.Client) { o.clients++ }

func TestOptionsAreLookedAtWithoutSideEffects(t *testing.T) {
	t.Parallel()
	hook := &once{}
	cl, err := NewClient(clusterWith(kgo.WithHooks(hook), kgo.Rack("a")), nil)
	require.NoError(t, err)
	cl.Close()
	require.Equal(t, 1, hook.clients, "hooks see the client that is used, and no other")

	dialled := make(chan string, 100)
	_, err = NewClient(clusterWith(kgo.ConsumerGroup("boards"), kgo.ConsumeTopics("orders"),
		kgo.Dialer(func(_ context.Context, _, address string) (net.Conn, error) {
			dialled <- address
			return nil, net.ErrClosed
		})), nil)
	require.ErrorContains(t, err, "kgo.ConsumerGroup is refused")
	require.Never(t, func() bool { return len(dialled) > 0 }, 50*time.Millisecond, 5*time.Millisecond, "New dials nothing")
}
