package kafka_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/kafka"
)

func TestOffsets(t *testing.T) {
	t.Parallel()
	c := start(t, broker.Config{Topics: []broker.Topic{{Name: "orders", Partitions: 2}}}).Cluster()
	cl := client(t, c, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for minute := range 5 { // one record a minute, each in a batch of its own
		r := &kgo.Record{Topic: "orders", Partition: 1, Timestamp: noon.Add(time.Duration(minute) * time.Minute)}
		require.NoError(t, cl.ProduceSync(soon(t), r).FirstErr())
	}
	_, err := kadm.NewClient(cl).DeleteRecords(soon(t), kadm.Offsets{"orders": {1: {Topic: "orders", Partition: 1, At: 2}}})
	require.NoError(t, err)

	starts, err := kafka.StartOffsets(soon(t), cl, "orders")
	require.NoError(t, err)
	require.Equal(t, map[int32]int64{0: 0, 1: 2}, starts)
	ends, err := kafka.EndOffsets(soon(t), cl, "orders")
	require.NoError(t, err)
	require.Equal(t, map[int32]int64{0: 0, 1: 5}, ends)
	for at, want := range map[time.Duration]int64{
		-time.Hour: 2, 2 * time.Minute: 2, 2*time.Minute + 1: 2, 150 * time.Second: 3, 4 * time.Minute: 4, time.Hour: 5,
	} {
		found, err := kafka.OffsetsAt(soon(t), cl, "orders", noon.Add(at))
		require.NoError(t, err)
		require.Equal(t, map[int32]int64{0: 0, 1: want}, found, "the first record at or after noon + %s, else the end", at)
	}
}

func TestCommittedEndOffsetsStopAtAnOpenTransaction(t *testing.T) {
	t.Parallel()
	c := start(t, broker.Config{Topics: []broker.Topic{{Name: "orders"}}}).Cluster()
	cl := client(t, c)
	require.NoError(t, cl.ProduceSync(soon(t), &kgo.Record{Topic: "orders"}).FirstErr())
	other := client(t, c, kgo.TransactionalID("other"))
	require.NoError(t, other.BeginTransaction())
	require.NoError(t, other.ProduceSync(soon(t), &kgo.Record{Topic: "orders"}).FirstErr())

	committed, err := kafka.CommittedEndOffsets(soon(t), cl, "orders")
	require.NoError(t, err)
	require.Equal(t, map[int32]int64{0: 1}, committed)
	ends, err := kafka.EndOffsets(soon(t), cl, "orders")
	require.NoError(t, err)
	require.Equal(t, map[int32]int64{0: 2}, ends)
	require.NoError(t, other.EndTransaction(soon(t), kgo.TryAbort))
	committed, err = kafka.CommittedEndOffsets(soon(t), cl, "orders")
	require.NoError(t, err)
	require.Equal(t, map[int32]int64{0: 3}, committed, "the marker of the end counts too")
}

func TestOffsetsOfATopicThatIsNotThere(t *testing.T) {
	t.Parallel()
	cl := client(t, start(t, broker.Config{}).Cluster())
	for name, ask := range map[string]func() (map[int32]int64, error){
		"start":     func() (map[int32]int64, error) { return kafka.StartOffsets(soon(t), cl, "orders") },
		"end":       func() (map[int32]int64, error) { return kafka.EndOffsets(soon(t), cl, "orders") },
		"committed": func() (map[int32]int64, error) { return kafka.CommittedEndOffsets(soon(t), cl, "orders") },
		"time":      func() (map[int32]int64, error) { return kafka.OffsetsAt(soon(t), cl, "orders", time.Now()) },
	} {
		_, err := ask()
		require.ErrorIs(t, err, duplex.ErrUnknownTopic, name)
		require.ErrorContains(t, err, `kafka: listing offsets of topic "orders"`)
	}
}

func TestCommittedMetadata(t *testing.T) {
	t.Parallel()
	cl := client(t, start(t, broker.Config{Topics: []broker.Topic{{Name: "orders", Partitions: 3}, {Name: "bills"}}}).Cluster())
	var offsets kadm.Offsets
	for p := range int32(2) {
		offsets.Add(kadm.Offset{Topic: "orders", Partition: p, At: 0, LeaderEpoch: -1, Metadata: fmt.Sprintf("note %d", p)})
	}
	require.NoError(t, kadm.NewClient(cl).CommitAllOffsets(soon(t), "boards", offsets))
	metadata, err := kafka.CommittedMetadata(soon(t), cl, "boards", "orders", 3)
	require.NoError(t, err)
	require.Equal(t, []string{"note 0", "note 1"}, metadata, "nothing was committed for partition 2")
	metadata, err = kafka.CommittedMetadata(soon(t), cl, "boards", "bills", 1)
	require.NoError(t, err)
	require.Empty(t, metadata)
}

func TestCommitErrors(t *testing.T) {
	t.Parallel()
	resp := kmsg.NewPtrOffsetCommitResponse()
	for i, codes := range [][]int16{{0, kerr.IllegalGeneration.Code}, {kerr.TopicAuthorizationFailed.Code}} {
		topic := kmsg.NewOffsetCommitResponseTopic()
		topic.Topic = fmt.Sprint("topic-", i)
		for p, code := range codes {
			partition := kmsg.NewOffsetCommitResponseTopicPartition()
			partition.Partition, partition.ErrorCode = int32(p), code
			topic.Partitions = append(topic.Partitions, partition)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	found := map[string]error{}
	kafka.CommitErrors(resp, func(topic string, partition int32, err error) { found[fmt.Sprintf("%s/%d", topic, partition)] = err })
	require.Equal(t, map[string]error{
		"topic-0/0": nil, "topic-0/1": kerr.IllegalGeneration, "topic-1/0": kerr.TopicAuthorizationFailed,
	}, found)
}
