package dlq_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/internal/kafka"
)

func inspector(t testing.TB, b *broker.Broker) *dlq.Inspector {
	t.Helper()
	i, err := dlq.NewInspector(dlq.InspectorConfig{Cluster: b.Cluster()})
	require.NoError(t, err)
	t.Cleanup(i.Close)
	return i
}

func client(t testing.TB, b *broker.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kafka.NewClient(b.Cluster(), nil, append([]kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(cl.Close)
	return cl
}

// letter is a dead letter as Duplex writes it, the n-th.
func letter(topic string, partition int32, n int) *kgo.Record {
	r := &kgo.Record{Topic: topic, Partition: partition, Key: []byte("k" + strconv.Itoa(n)), Value: []byte("value")}
	for _, h := range [][2]string{
		{dlq.HeaderID, fmt.Sprintf("orders/%d/%d@boards#AQIDBA", partition, n)}, {dlq.HeaderOriginTopic, "orders"},
		{dlq.HeaderOriginPartition, strconv.Itoa(int(partition))}, {dlq.HeaderOriginOffset, strconv.Itoa(n)},
		{dlq.HeaderOriginTimestamp, "1700000000000"}, {dlq.HeaderAttempt, "4"}, {dlq.HeaderGroup, "boards"}, {dlq.HeaderHandler, "orders"},
		{dlq.HeaderReason, "exhausted"}, {dlq.HeaderErrorType, "*errors.errorString"}, {dlq.HeaderErrorMessage, fmt.Sprintf("seat %d is taken", n)},
		{dlq.HeaderFingerprint, "v1:00000000000000" + fmt.Sprintf("%02x", n%3)}, {dlq.HeaderFirstFailedAt, "1700000001000"}, {dlq.HeaderLastFailedAt, "1700000002000"},
	} {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h[0], Value: []byte(h[1])})
	}
	return r
}

func fill(t testing.TB, cl *kgo.Client, topic string, partitions int32, from, to int) {
	t.Helper()
	var all []*kgo.Record
	for n := from; n < to; n++ {
		all = append(all, letter(topic, int32(n)%partitions, n))
	}
	require.NoError(t, cl.ProduceSync(t.Context(), all...).FirstErr())
}

func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

const queue = "dlq.boards.orders"

func TestScanReadsAllInOrder(t *testing.T) {
	t.Parallel()
	b := duplextest.Broker(t, broker.Topic{Name: queue, Partitions: 3})
	cl := client(t, b)
	fill(t, cl, queue, 3, 0, 20_000)
	last := map[int32]int64{}
	var told []dlq.Progress
	scanned, err := inspector(t, b).Scan(soon(t), queue, dlq.ScanConfig{Progress: func(p dlq.Progress) { told = append(told, p) }}, func(l *dlq.Letter) error {
		require.Equal(t, last[l.Partition], l.Offset)
		require.Nil(t, l.Record.Value)
		require.Equal(t, dlq.StateOpen, l.State)
		last[l.Partition]++
		return nil
	})
	require.NoError(t, err)
	require.Len(t, scanned.Partitions, 3)
	total := scanned.Total()
	require.EqualValues(t, 20_000, total.Read)
	require.EqualValues(t, 20_000, total.Matched)
	require.Zero(t, total.Duplicates)
	require.EqualValues(t, 20_000, last[0]+last[1]+last[2])
	final := told[len(told)-1]
	require.EqualValues(t, 20_000, final.Read)
	require.Equal(t, final.Read, final.Of)
	require.Equal(t, total.Bytes, final.Bytes)
	t.Log(scanned.Took)
}

func TestScanOfNothing(t *testing.T) {
	t.Parallel()
	b := duplextest.Broker(t, broker.Topic{Name: queue, Partitions: 3})
	i := inspector(t, b)
	scanned, err := i.Scan(soon(t), queue, dlq.ScanConfig{}, nil)
	require.NoError(t, err)
	require.Zero(t, scanned.Total().Read)
	_, err = i.Scan(soon(t), "dlq.boards.order", dlq.ScanConfig{}, nil)
	require.ErrorIs(t, err, duplex.ErrUnknownTopic)
	require.ErrorContains(t, err, "dlq.<group>.<topic>")
	_, err = i.Scan(soon(t), "a/b", dlq.ScanConfig{}, nil)
	require.ErrorIs(t, err, duplex.ErrInvalidTopic)
	_, err = i.Scan(soon(t), queue, dlq.ScanConfig{Partitions: []int32{3}}, nil)
	require.ErrorContains(t, err, "there is no partition 3, it has 3")
}

// What transactions left open or aborted is not read, and a log that ends in their
// markers has an end all the same.
func TestScanReadsWhatIsCommitted(t *testing.T) {
	t.Parallel()
	b := duplextest.Broker(t, broker.Topic{Name: queue, Partitions: 1})
	write := func(how string) {
		cl := client(t, b, kgo.TransactionalID(how))
		require.NoError(t, cl.BeginTransaction())
		require.NoError(t, cl.ProduceSync(soon(t), &kgo.Record{Topic: queue, Key: []byte(how)}).FirstErr())
		switch how {
		case "committed":
			require.NoError(t, cl.EndTransaction(soon(t), kgo.TryCommit))
		case "aborted":
			require.NoError(t, cl.EndTransaction(soon(t), kgo.TryAbort))
		}
	}
	var keys []string
	scan := func() dlq.ScannedPartition {
		keys = nil
		scanned, err := inspector(t, b).Scan(soon(t), queue, dlq.ScanConfig{}, func(l *dlq.Letter) error {
			keys = append(keys, string(l.Record.Key))
			return nil
		})
		require.NoError(t, err)
		return scanned.Partitions[0]
	}
	write("committed")
	require.EqualValues(t, 2, scan().Next)
	require.Equal(t, []string{"committed"}, keys)
	write("aborted")
	require.EqualValues(t, 4, scan().Next)
	require.Equal(t, []string{"committed"}, keys)
	write("open")
	require.EqualValues(t, 4, scan().Next)
	require.Equal(t, []string{"committed"}, keys)
}

func trim(t testing.TB, cl *kgo.Client, topic string, at int64) {
	t.Helper()
	_, err := kadm.NewClient(cl).DeleteRecords(t.Context(), kadm.Offsets{topic: {0: {Topic: topic, Partition: 0, At: at}}})
	require.NoError(t, err)
}

// What is deleted before it is read is counted, whether it was there when the scan began
// or not.
func TestScanCountsWhatExpired(t *testing.T) {
	t.Parallel()
	b := duplextest.Broker(t, broker.Topic{Name: queue, Partitions: 1})
	cl := client(t, b)
	fill(t, cl, queue, 1, 0, 100)
	trim(t, cl, queue, 10)
	i := inspector(t, b)
	scanned, err := i.Scan(soon(t), queue, dlq.ScanConfig{From: map[int32]int64{0: 4}, To: map[int32]int64{0: 50}}, func(*dlq.Letter) error { return nil })
	require.NoError(t, err)
	require.Equal(t, dlq.ScannedPartition{From: 4, To: 50, Next: 50, Read: 40, Matched: 40, Expired: 6, Bytes: scanned.Partitions[0].Bytes}, scanned.Partitions[0])

	scanned, err = i.Scan(soon(t), queue, dlq.ScanConfig{}, func(*dlq.Letter) error { return nil })
	require.NoError(t, err)
	require.Equal(t, dlq.ScannedPartition{From: 10, To: 100, Next: 100, Read: 90, Matched: 90, Bytes: scanned.Partitions[0].Bytes}, scanned.Partitions[0])
}

func TestScanOfTheLast(t *testing.T) {
	t.Parallel()
	b := duplextest.Broker(t, broker.Topic{Name: queue, Partitions: 2})
	fill(t, client(t, b), queue, 2, 0, 100)
	for last, want := range map[int64]int64{0: 100, 1: 2, 7: 14, 1000: 100, -1: 0} {
		scanned, err := inspector(t, b).Scan(soon(t), queue, dlq.ScanConfig{Last: last}, func(*dlq.Letter) error { return nil })
		require.NoError(t, err)
		require.Equal(t, want, scanned.Total().Read, "last %d", last)
		require.Zero(t, scanned.Total().Expired)
		require.EqualValues(t, 50, scanned.Partitions[1].Next)
	}
}

func TestScanCountsWhatExpiresMeanwhile(t *testing.T) {
	t.Parallel()
	for name, upTo := range map[string]int64{"some": 9_000, "all": 10_000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := duplextest.Broker(t, broker.Topic{Name: queue, Partitions: 1})
			cl := client(t, b, kgo.ProducerBatchMaxBytes(64<<10), kgo.ProducerBatchCompression(kgo.NoCompression()))
			value := make([]byte, 8<<10) // so that one fetch does not have it all
			for n := range 10_000 {
				r := letter(queue, 0, n)
				r.Value = value
				cl.Produce(t.Context(), r, nil)
			}
			require.NoError(t, cl.Flush(soon(t)))
			read := int64(0)
			scanned, err := inspector(t, b).Scan(soon(t), queue, dlq.ScanConfig{}, func(*dlq.Letter) error {
				read++
				if read == 1 {
					trim(t, cl, queue, upTo)
				}
				return nil
			})
			require.NoError(t, err)
			p := scanned.Partitions[0]
			require.Positive(t, p.Expired)
			require.Equal(t, read, p.Read)
			require.EqualValues(t, 10_000, p.Read+p.Expired)
			require.EqualValues(t, 10_000, p.Next)
		})
	}
}

func TestScanOfATopicThatIsDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]bool{"deleted": false, "made again": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := duplextest.Broker(t, broker.Topic{Name: queue, Partitions: 1})
			cl := client(t, b, kgo.ProducerBatchCompression(kgo.NoCompression()))
			fill(t, cl, queue, 1, 0, 100)
			value := make([]byte, 512<<10)
			for n := range 100 {
				r := letter(queue, 0, n)
				r.Value = value
				require.NoError(t, cl.ProduceSync(soon(t), r).FirstErr())
			}
			first := true
			scanned, err := inspector(t, b).Scan(soon(t), queue, dlq.ScanConfig{}, func(*dlq.Letter) error {
				if first {
					first = false
					admin := kadm.NewClient(cl)
					_, err := admin.DeleteTopic(t.Context(), queue)
					require.NoError(t, err)
					if again {
						_, err = admin.CreateTopic(t.Context(), 1, 1, nil, queue)
						require.NoError(t, err)
					}
				}
				return nil
			})
			require.ErrorIs(t, err, duplex.ErrUnknownTopic)
			require.ErrorContains(t, err, name)
			require.Less(t, scanned.Partitions[0].Next, int64(200))
		})
	}
}

func TestScanEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := duplextest.Broker(t, broker.Topic{Name: queue, Partitions: 1})
	fill(t, client(t, b), queue, 1, 0, 5_000)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	var at time.Time
	read := 0
	scanned, err := inspector(t, b).Scan(ctx, queue, dlq.ScanConfig{}, func(*dlq.Letter) error {
		read++
		if read == 1000 {
			at = time.Now()
			cancel(why)
		}
		return nil
	})
	require.Equal(t, why, err)
	require.Less(t, time.Since(at), time.Second)
	require.Less(t, read, 1500)
	require.EqualValues(t, read, scanned.Total().Read)
	require.EqualValues(t, read, scanned.Partitions[0].Next)

	stop := errors.New("stop")
	scanned, err = inspector(t, b).Scan(soon(t), queue, dlq.ScanConfig{}, func(*dlq.Letter) error { return stop })
	require.Equal(t, stop, err)
	require.EqualValues(t, 1, scanned.Total().Read)
}

// A crash leaves a second copy of a letter; one that came back and died again is none.
func TestScanMarksSecondCopies(t *testing.T) {
	t.Parallel()
	b := duplextest.Broker(t, broker.Topic{Name: queue, Partitions: 1})
	cl := client(t, b)
	again := letter(queue, 0, 1)
	again.Headers = append(again.Headers, kgo.RecordHeader{Key: dlq.HeaderGeneration, Value: []byte("1")})
	require.NoError(t, cl.ProduceSync(soon(t), letter(queue, 0, 0), letter(queue, 0, 1), letter(queue, 0, 0), again).FirstErr())
	var states []dlq.State
	scanned, err := inspector(t, b).Scan(soon(t), queue, dlq.ScanConfig{}, func(l *dlq.Letter) error {
		states = append(states, l.State)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, []dlq.State{dlq.StateOpen, dlq.StateOpen, dlq.StateDuplicate, dlq.StateOpen}, states)
	require.EqualValues(t, 1, scanned.Total().Duplicates)
	open, err := dlq.ParseFilter("state=open")
	require.NoError(t, err)
	scanned, err = inspector(t, b).Scan(soon(t), queue, dlq.ScanConfig{Filter: open}, func(*dlq.Letter) error { return nil })
	require.NoError(t, err)
	require.EqualValues(t, 3, scanned.Total().Matched)
}
