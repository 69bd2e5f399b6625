package dlq_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/duplextest"
)

func filter(t testing.TB, text string) dlq.Filter {
	t.Helper()
	f, err := dlq.ParseFilter(text)
	require.NoError(t, err)
	return f
}

func create(t testing.TB, cl *kgo.Client, topic string, configs map[string]string) {
	t.Helper()
	with := map[string]*string{}
	for k, v := range configs {
		with[k] = &v
	}
	_, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 1, with, topic)
	require.NoError(t, err)
}

func remove(t testing.TB, cl *kgo.Client, topic string) {
	t.Helper()
	_, err := kadm.NewClient(cl).DeleteTopic(t.Context(), topic)
	require.NoError(t, err)
}

func TestInspectorChecksItsConfig(t *testing.T) {
	t.Parallel()
	_, err := dlq.NewInspector(dlq.InspectorConfig{})
	require.ErrorContains(t, err, "Cluster.Brokers is empty")
	_, err = dlq.NewInspector(dlq.InspectorConfig{Cluster: duplex.Cluster{Brokers: []string{"127.0.0.1:1"}}, Timeout: -1})
	require.ErrorContains(t, err, "InspectorConfig.Timeout = -1ns: must not be negative")
	i, err := dlq.NewInspector(dlq.InspectorConfig{Cluster: duplex.Cluster{Brokers: []string{"127.0.0.1:1"}}, Timeout: time.Second})
	require.NoError(t, err, "it dials nothing")
	defer i.Close()
	begin := time.Now()
	_, err = i.Scan(soon(t), queue, dlq.ScanConfig{}, nil)
	require.ErrorIs(t, err, duplex.ErrUnreachable)
	require.Less(t, time.Since(begin), 10*time.Second)
	_, err = i.Queues(soon(t))
	require.ErrorIs(t, err, duplex.ErrUnreachable)
}

// allDialects writes the letters of all dialects into one queue.
func allDialects(t testing.TB, cl *kgo.Client, topic string) (n int) {
	t.Helper()
	files, err := filepath.Glob("testdata/letters/*.ndjson")
	require.NoError(t, err)
	for _, name := range files {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for line := range bytes.Lines(text) {
			l, err := dlq.ParseLine(line)
			require.NoError(t, err)
			l.Record.Topic, l.Record.Partition, l.Record.Offset = topic, 0, 0
			require.NoError(t, cl.ProduceSync(soon(t), l.Record).FirstErr())
			n++
		}
	}
	return n
}

// One queue may have the letters of anybody: none is dropped, and what is exported is
// what was read.
func TestMixedQueue(t *testing.T) {
	t.Parallel()
	b := duplextest.Broker(t, broker.Topic{Name: queue, Partitions: 1})
	n := allDialects(t, client(t, b), queue)
	i := inspector(t, b)
	seen := map[dlq.Dialect]bool{}
	scanned, err := i.Scan(soon(t), queue, dlq.ScanConfig{KeepValues: true}, func(l *dlq.Letter) error {
		seen[l.Dialect] = true
		return nil
	})
	require.NoError(t, err)
	require.EqualValues(t, n, scanned.Total().Read)
	require.Len(t, seen, 9)
	require.EqualValues(t, 1, scanned.Total().Duplicates, "the pointer of testdata has the ID of another")

	var text bytes.Buffer
	scanned, err = i.Export(soon(t), queue, dlq.ScanConfig{Filter: filter(t, "!dialect=unknown")}, &text)
	require.NoError(t, err)
	require.EqualValues(t, n-2, scanned.Total().Matched)
	lines := 0
	for line := range bytes.Lines(text.Bytes()) {
		read, err := dlq.ParseLine(line)
		require.NoError(t, err)
		again, err := dlq.AppendLine(nil, read)
		require.NoError(t, err)
		require.Equal(t, string(line), string(again))
		if read.Offset == 0 { // the first of Connect
			require.Equal(t, "not json", string(read.Record.Value))
		}
		lines++
	}
	require.Equal(t, n-2, lines)

	broken := fmt.Errorf("disk full")
	_, err = i.Export(soon(t), queue, dlq.ScanConfig{}, writer(func([]byte) (int, error) { return 0, broken }))
	require.Equal(t, broken, err)
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

func TestCauses(t *testing.T) {
	t.Parallel()
	b := duplextest.Broker(t)
	cl := client(t, b)
	create(t, cl, queue, map[string]string{"retention.ms": "3600000"})
	fill(t, cl, queue, 1, 0, 10) // fingerprints 0, 1, 2, 0 …
	fill(t, cl, queue, 1, 0, 1)  // a second copy
	late := letter(queue, 0, 11)
	for n := range late.Headers {
		switch late.Headers[n].Key {
		case dlq.HeaderLastFailedAt:
			late.Headers[n].Value = []byte("1700000009000")
		case dlq.HeaderGroup:
			late.Headers[n].Value = []byte("archive")
		}
	}
	late.Headers = append(late.Headers, kgo.RecordHeader{Key: dlq.HeaderGeneration, Value: []byte("2")})
	require.NoError(t, cl.ProduceSync(soon(t), late).FirstErr())
	i := inspector(t, b)
	causes, err := i.Causes(soon(t), queue, dlq.CausesConfig{})
	require.NoError(t, err)
	require.Len(t, causes.All, 3)
	counts := func() (c [][2]int64) {
		for _, a := range causes.All {
			c = append(c, [2]int64{a.Count, a.Open})
		}
		return c
	}
	require.Equal(t, [][2]int64{{5, 4}, {4, 4}, {3, 3}}, counts())
	first, second := causes.All[0], causes.All[1]
	require.Equal(t, "v1:0000000000000000", first.Fingerprint)
	require.Equal(t, "v1:0000000000000002", second.Fingerprint)
	require.Equal(t, []string{"archive", "boards"}, second.Groups)
	require.Equal(t, []string{"orders"}, second.Handlers)
	require.Equal(t, []string{"orders"}, second.Origins)
	require.Equal(t, []int{0, 2}, second.Generations)
	require.EqualValues(t, 1700000001000, second.First.UnixMilli())
	require.EqualValues(t, 1700000009000, second.Last.UnixMilli())
	require.Equal(t, dlq.ReasonExhausted, second.Reason)
	require.Equal(t, "seat 11 is taken", second.Message, "the fourth is the sample")
	require.Equal(t, "k11", string(second.Sample.Record.Key))
	require.Nil(t, second.Sample.Record.Value)
	require.InDelta(t, time.Hour, second.TimeToLoss, float64(time.Minute))
	require.WithinDuration(t, time.Now(), second.Oldest, time.Minute)

	causes, err = i.Causes(soon(t), queue, dlq.CausesConfig{Most: 1, Filter: filter(t, "offset>0")})
	require.NoError(t, err)
	require.Equal(t, [][2]int64{{3, 3}}, counts(), "that of the first letter")
	require.Equal(t, "v1:0000000000000001", causes.All[0].Fingerprint)
	require.EqualValues(t, 7, causes.OtherCount)
	require.EqualValues(t, 7, causes.OtherOpen)
	_, err = i.Causes(soon(t), queue, dlq.CausesConfig{Most: -1})
	require.ErrorContains(t, err, "must not be negative")
	_, err = i.Causes(soon(t), "dlq.nobody", dlq.CausesConfig{})
	require.ErrorIs(t, err, duplex.ErrUnknownTopic)
}

func TestCausesKeepSmallSamples(t *testing.T) {
	t.Parallel()
	b := duplextest.Broker(t, broker.Topic{Name: queue, Partitions: 1})
	r := letter(queue, 0, 0)
	r.Headers = append(r.Headers, kgo.RecordHeader{Key: "large", Value: make([]byte, 32<<10)})
	require.NoError(t, client(t, b).ProduceSync(soon(t), r).FirstErr())
	causes, err := inspector(t, b).Causes(soon(t), queue, dlq.CausesConfig{})
	require.NoError(t, err)
	require.Nil(t, causes.All[0].Sample.Record)
	require.Equal(t, "boards", causes.All[0].Sample.Group)
}

func TestIsQueue(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"dlq.boards.orders", "orders-dlt", "orders.DLT", "orders-dlq", "orders.dlq", "dead-letter-topic-movies"} {
		require.True(t, dlq.IsQueue(name), name)
	}
	for _, name := range []string{"orders", "dlq-state.boards", "dlq-state.boards.dlq", "dlq-audit", "redrive.g.orders-dlq", "retry.g.dlq.1", "dlqs", "dead-letter"} {
		require.False(t, dlq.IsQueue(name), name)
	}
}

func TestQueues(t *testing.T) {
	t.Parallel()
	b := duplextest.Broker(t)
	cl := client(t, b)
	queues, err := inspector(t, b).Queues(soon(t))
	require.NoError(t, err)
	require.Empty(t, queues)
	i := inspector(t, b)
	create(t, cl, queue, map[string]string{"retention.ms": "7200000"})
	create(t, cl, "orders-dlt", map[string]string{"retention.ms": "-1", "cleanup.policy": "compact"})
	create(t, cl, "parked", nil)
	create(t, cl, "dlq-state.boards", nil)
	fill(t, cl, queue, 1, 0, 7)
	trim(t, cl, queue, 2)
	queues, err = i.Queues(soon(t), "parked")
	require.NoError(t, err)
	require.Len(t, queues, 3)
	q := queues[0]
	require.Equal(t, queue, q.Topic)
	require.Equal(t, 1, q.Partitions)
	require.EqualValues(t, 5, q.Letters)
	require.EqualValues(t, 5, q.Open)
	require.Equal(t, 2*time.Hour, q.Retention)
	require.WithinDuration(t, time.Now(), q.Oldest, time.Minute)
	require.InDelta(t, 2*time.Hour, q.TimeToLoss, float64(time.Minute))
	require.Equal(t, "delete", q.CleanupPolicy)
	require.Empty(t, q.Trouble)
	q = queues[1]
	require.Equal(t, "orders-dlt", q.Topic)
	require.Equal(t, "compact", q.CleanupPolicy)
	require.Zero(t, q.Letters)
	require.True(t, q.Oldest.IsZero())
	require.Negative(t, q.TimeToLoss)
	require.Negative(t, q.Retention)
	require.Equal(t, "parked", queues[2].Topic)
	_, err = i.Queues(soon(t), "nowhere")
	require.ErrorIs(t, err, duplex.ErrUnknownTopic)
}

func TestFindLetter(t *testing.T) {
	t.Parallel()
	b := duplextest.Broker(t, broker.Topic{Name: queue, Partitions: 2})
	cl := client(t, b)
	fill(t, cl, queue, 2, 0, 20)
	trim(t, cl, queue, 2)
	i := inspector(t, b)
	for _, ref := range []string{"1/3", "orders/1/7@boards#AQIDBA"} {
		f, err := i.Letter(soon(t), queue, ref)
		require.NoError(t, err, ref)
		require.Equal(t, "orders/1/7@boards#AQIDBA", f.ID)
		require.EqualValues(t, 3, f.Offset)
		require.Equal(t, "value", string(f.Record.Value))
		require.Nil(t, f.Source)
		require.Empty(t, f.Gone)
	}
	for ref, why := range map[string]string{
		"0/1": "has expired", "0/10": "no letter at this offset", "2/0": "there is no partition 2", "0/x": "none of its 18 letters has this ID",
	} {
		_, err := i.Letter(soon(t), queue, ref)
		require.ErrorContains(t, err, why, ref)
	}
}

// A letter without a value of its own is shown with the record that it points to, or with
// why that is gone.
func TestPointers(t *testing.T) {
	t.Parallel()
	b := duplextest.Broker(t, broker.Topic{Name: "dlq.workers", Partitions: 1}, broker.Topic{Name: "orders", Partitions: 1})
	cl := client(t, b)
	for n := range 3 {
		require.NoError(t, cl.ProduceSync(soon(t), &kgo.Record{Topic: "orders", Key: []byte("k"), Value: fmt.Appendf(nil, "order %d", n)}).FirstErr())
		require.NoError(t, cl.ProduceSync(soon(t), &kgo.Record{Topic: "dlq.workers", Headers: []kgo.RecordHeader{
			{Key: "__dlq.errors.topic", Value: []byte("orders")}, {Key: "__dlq.errors.partition", Value: []byte("0")}, {Key: "__dlq.errors.offset", Value: fmt.Appendf(nil, "%d", n)},
		}}).FirstErr())
	}
	i := inspector(t, b)
	f, err := i.Letter(soon(t), "dlq.workers", "0/1")
	require.NoError(t, err)
	require.True(t, f.Pointer)
	require.Nil(t, f.Record.Value)
	require.Equal(t, "order 1", string(f.Source.Value))
	gone := func(ref string) string {
		f, err := i.Letter(soon(t), "dlq.workers", ref)
		require.NoError(t, err)
		require.Nil(t, f.Source)
		return f.Gone
	}
	trim(t, cl, "orders", 1)
	require.Contains(t, gone("0/0"), "below the start of its log")
	ours := letter("dlq.workers", 0, 2)
	ours.Value = nil
	for n, h := range ours.Headers {
		if h.Key == dlq.HeaderReason {
			ours.Headers[n].Value = []byte("too-large")
		}
	}
	ours.Headers = append(ours.Headers, kgo.RecordHeader{Key: dlq.HeaderOriginTopicID, Value: []byte("AQIDBAUGBwgJCgsMDQ4PEA")})
	require.NoError(t, cl.ProduceSync(soon(t), ours).FirstErr())
	require.Contains(t, gone("0/3"), "deleted and made again")
	remove(t, cl, "orders")
	require.Contains(t, gone("0/2"), "does not exist")
	create(t, cl, "orders", nil)
	require.Contains(t, gone("0/2"), "has no record at offset 2")
}
