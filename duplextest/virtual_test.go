//go:build synctests

package duplextest_test

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/producer"
)

type order struct {
	ID    string
	Items []string
	At    time.Time
}

func orders(key func(order) string) duplex.Topic[order] {
	return duplex.Topic[order]{Name: "orders", Key: key}
}

func byID(o order) string { return o.ID }

func publish[T any](t *testing.T, b *broker.Broker, topic duplex.Topic[T], values ...T) {
	t.Helper()
	p, err := producer.New(producer.Config{Cluster: b.Cluster()})
	require.NoError(t, err)
	defer p.Close()
	for _, v := range values { // one by one: their order is that of the log
		_, err := producer.Publish(t.Context(), p, topic, v)
		require.NoError(t, err)
	}
}

func inTopic(t *testing.T, partitions int32, fn func(t *testing.T, b *broker.Broker)) {
	t.Helper()
	duplextest.VirtualTime(t, func(t *testing.T, b *broker.Broker) {
		require.NoError(t, b.CreateTopic(broker.Topic{Name: "orders", Partitions: partitions}))
		fn(t, b)
	})
}

func some(ids ...string) []order {
	var all []order
	for _, id := range ids {
		all = append(all, order{ID: id})
	}
	return all
}

func TestVirtualRequireRecordsTakesWhatIsThere(t *testing.T) {
	inTopic(t, 1, func(t *testing.T, b *broker.Broker) {
		duplextest.RequireRecords(t, b.Cluster(), orders(nil)) // nothing
		// A time with a zone and a clock reading, and an empty slice, are not
		// equal to what a reader gets by reflect.DeepEqual.
		v := order{ID: "a", Items: []string{}, At: time.Now().In(time.FixedZone("here", 3600))}
		publish(t, b, orders(nil), v, order{ID: "b"}, v)
		began := time.Now()
		duplextest.RequireRecords(t, b.Cluster(), orders(nil), v, order{ID: "b"}, v)
		require.Less(t, time.Since(began), time.Second, "it waits for nothing")
	})
}

func TestVirtualRequireRecordsWaitsForWhatIsMissing(t *testing.T) {
	inTopic(t, 3, func(t *testing.T, b *broker.Broker) {
		go func() {
			time.Sleep(9 * time.Second)
			publish(t, b, orders(byID), some("a", "b")...)
		}()
		duplextest.RequireRecords(t, b.Cluster(), orders(byID), some("b", "a")...)
	})
}

func TestVirtualRequireRecordsSaysWhatIsWrong(t *testing.T) {
	for name, test := range map[string]struct {
		partitions  int32
		key         func(order) string
		there, want []order
		says        []string
	}{
		"one is missing":     {1, nil, some("a"), some("a", "b"), []string{"2 wanted, 1 there", "1 missing:", "want[1]: {ID:b"}},
		"one too many":       {1, nil, some("a", "b"), some("a"), []string{"1 wanted, 2 there", "1 not wanted:", "partition 0 offset 1: {ID:b"}},
		"another one":        {1, nil, some("a"), some("b"), []string{"1 missing:", "1 not wanted:", "want[0]: {ID:b", "offset 0: {ID:a"}},
		"twice":              {1, nil, some("a", "a"), some("a"), []string{"1 not wanted:", "partition 0 offset 1"}},
		"only once":          {1, nil, some("a", "b"), some("a", "a"), []string{"1 missing:", "1 not wanted:", "want[1]: {ID:a"}},
		"nothing was wanted": {3, nil, some("a"), nil, []string{"0 wanted, 1 there"}},
		"another order":      {1, nil, some("a", "b", "c"), some("a", "c", "b"), []string{"another order", "position 1", "want[1]: {ID:c", "offset 1: {ID:b"}},
		"another order of a key": {3, byID,
			[]order{{ID: "k", Items: []string{"1"}}, {ID: "k", Items: []string{"2"}}},
			[]order{{ID: "k", Items: []string{"2"}}, {ID: "k", Items: []string{"1"}}}, []string{`key "k": `, "another order"}},
	} {
		t.Run(name, func(t *testing.T) {
			inTopic(t, test.partitions, func(t *testing.T, b *broker.Broker) {
				publish(t, b, orders(test.key), test.there...)
				text := failure(t, func(t testing.TB) { duplextest.RequireRecords(t, b.Cluster(), orders(test.key), test.want...) })
				for _, says := range append(test.says, `topic "orders" does not hold the wanted records`) {
					require.Contains(t, text, says)
				}
			})
		})
	}
}

// Among records without keys, or with different ones, several partitions have no
// order that could be wrong.
func TestVirtualRequireRecordsKnowsNoOrderBetweenPartitions(t *testing.T) {
	inTopic(t, 3, func(t *testing.T, b *broker.Broker) {
		publish(t, b, orders(byID), some("a", "b", "c", "d", "e")...)
		duplextest.RequireRecords(t, b.Cluster(), orders(byID), some("e", "d", "c", "b", "a")...)
	})
}

func TestVirtualRequireRecordsListsNotAll(t *testing.T) {
	inTopic(t, 1, func(t *testing.T, b *broker.Broker) {
		var many []order
		for i := range 50 {
			many = append(many, order{ID: strconv.Itoa(i)})
		}
		text := failure(t, func(t testing.TB) { duplextest.RequireRecords(t, b.Cluster(), orders(nil), many...) })
		require.Contains(t, text, "50 missing:")
		require.Contains(t, text, "want[19]")
		require.NotContains(t, text, "want[20]")
	})
}

func TestVirtualRequireRecordsGivesUpAfterTenSeconds(t *testing.T) {
	inTopic(t, 1, func(t *testing.T, b *broker.Broker) {
		began := time.Now()
		failure(t, func(t testing.TB) { duplextest.RequireRecords(t, b.Cluster(), orders(nil), some("a")...) })
		require.GreaterOrEqual(t, time.Since(began), 10*time.Second)
		require.Less(t, time.Since(began), 11*time.Second)
	})
}

func TestVirtualRequireRecordsNamesTheUndecodable(t *testing.T) {
	inTopic(t, 1, func(t *testing.T, b *broker.Broker) {
		publish(t, b, duplex.Topic[string]{Name: "orders", Codec: duplex.Text}, "no JSON")
		text := failure(t, func(t testing.TB) { duplextest.RequireRecords(t, b.Cluster(), orders(nil), some("a")...) })
		require.Contains(t, text, "undecodable")
		require.Contains(t, text, "orders/0 offset 0")
	})
}

func TestVirtualRequireRecordsLeavesOutWhatWasAborted(t *testing.T) {
	inTopic(t, 1, func(t *testing.T, b *broker.Broker) {
		publish(t, b, orders(nil), some("a")...)
		c := b.Cluster()
		client, err := kgo.NewClient(kgo.SeedBrokers(c.Brokers...), kgo.Dialer(c.Dial), kgo.TransactionalID("t"), kgo.DisableClientMetrics())
		require.NoError(t, err)
		defer client.Close()
		require.NoError(t, client.BeginTransaction())
		r, err := orders(nil).Record(order{ID: "never"})
		require.NoError(t, err)
		require.NoError(t, client.ProduceSync(t.Context(), r).FirstErr())
		require.NoError(t, client.EndTransaction(t.Context(), kgo.TryAbort))
		duplextest.RequireRecords(t, c, orders(nil), some("a")...)
	})
}

func TestVirtualMissingTopicIsNamed(t *testing.T) {
	inTopic(t, 1, func(t *testing.T, b *broker.Broker) {
		text := failure(t, func(t testing.TB) { duplextest.RequireRecords(t, b.Cluster(), duplex.Topic[order]{Name: "ordres"}) })
		require.Contains(t, text, `"ordres"`)
		require.Contains(t, text, "unknown-topic")
	})
}

func TestVirtualRequireCommitted(t *testing.T) {
	inTopic(t, 1, func(t *testing.T, b *broker.Broker) {
		c := b.Cluster()
		duplextest.RequireCommitted(t, c, "boards", "orders", 0, -1) // it never committed
		publish(t, b, orders(nil), some("a", "b")...)
		boards, err := consumer.New(consumer.Config{Cluster: c, Group: "boards", Handlers: []consumer.Handler{
			consumer.Handle(orders(nil), func(context.Context, order) error { time.Sleep(4 * time.Second); return nil }),
		}})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- boards.Run(ctx) }()
		duplextest.RequireCommitted(t, c, "boards", "orders", 0, 2) // some eight seconds from now
		stop()
		require.NoError(t, <-ended)

		began := time.Now()
		text := failure(t, func(t testing.TB) { duplextest.RequireCommitted(t, c, "boards", "orders", 0, 3) })
		require.GreaterOrEqual(t, time.Since(began), 10*time.Second)
		require.Contains(t, text, `committed offset of group "boards" for orders/0`)
		require.Equal(t, []string{"3", "2"}, numbers(text, "expected: ", "actual  : "))
	})
}

// numbers gives what stands behind each of the words.
func numbers(text string, words ...string) []string {
	var found []string
	for _, w := range words {
		_, rest, _ := strings.Cut(text, w)
		found = append(found, rest[:strings.IndexAny(rest, "\n ")])
	}
	return found
}
