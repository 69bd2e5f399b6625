package suite

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/duplextest"
)

func chaining() []Scenario {
	return []Scenario{
		{"failed records go through retry topics, and the rest become dead letters", []string{"R1", "R3", "R4"}, failedRecordsGoThroughTheChain},
		{"with KeepOrder a failed record waits in its place, and becomes a dead letter in the end", []string{"C4", "R1", "R4"}, chainKeepsOrder},
		{"groups whose names look alike keep their failures apart", []string{"R5"}, groupsKeepFailuresApart},
		{"a record that says what it cannot say becomes a dead letter", []string{"R4", "R6"}, badControlBecomesADeadLetter},
		{"topics for failed records that somebody deletes are made again, and what is gone is said", []string{"R10"}, deletedChainTopicsAreSaid},
		{"topics for failed records are made, grown, and refused when compacted", []string{"R7"}, chainTopicsAreLookedAfter},
	}
}

// deadLetters reads those of the group.
func (g *group) deadLetters(k Kafka) []*kgo.Record {
	g.t.Helper()
	return readAll(g.t, k, dlq.DeadTopic(g.name, g.topic))
}

// failedRecordsGoThroughTheChain: each tenth record fails, as often as its value
// says; all the others go on, without waiting for them.
func failedRecordsGoThroughTheChain(t *testing.T, k Kafka) {
	const n, retries = 200, 2
	g := newGroup(t, k, 2)
	g.publish(0, n)
	g.publish(1, n)
	var mu sync.Mutex
	handled, early := map[place]int{}, 0
	delays := []time.Duration{200 * time.Millisecond, 500 * time.Millisecond}
	m := start(t, consumer.Config{
		Cluster: k.Cluster, Group: g.name, SessionTimeout: k.Session, CommitInterval: 50 * time.Millisecond,
		Failures: dlq.Policy{Delays: delays},
		Handlers: []consumer.Handler{consumer.HandleRecord(g.topic, func(ctx context.Context, r *kgo.Record) error {
			v, err := strconv.Atoi(string(r.Value))
			if err != nil {
				return err
			}
			d := consumer.FromContext(ctx)
			mu.Lock()
			defer mu.Unlock()
			if d.Attempt > 1 && time.Since(r.Timestamp) < delays[d.Attempt-2] {
				early++
			}
			if fails := v / 10 % 4; v%10 == 0 && d.Attempt <= fails {
				return errors.New("the booking service is down")
			}
			handled[place{r.Partition, int64(v)}]++
			return nil
		})},
	})
	const dead = 2 * n / 10 / 4 // those that fail three times
	eventually(t, "each record has ended", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(handled) == 2*n-dead && len(g.deadLetters(k)) == dead
	})
	m.stop()
	require.Zero(t, early, "a record ran before it was due")
	for at, times := range handled {
		require.Equal(t, 1, times, at)
	}
	for _, r := range g.deadLetters(k) {
		attempt, _ := duplex.Header(r, dlq.HeaderAttempt)
		reason, _ := duplex.Header(r, dlq.HeaderReason)
		require.Equal(t, strconv.Itoa(retries+1), attempt)
		require.Equal(t, string(dlq.ReasonExhausted), reason)
		require.NotContains(t, handled, place{r.Partition, int64(must(strconv.Atoi(string(r.Value))))})
	}
	for _, p := range []int32{0, 1} {
		duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, p, n)
	}
}

func must(n int, err error) int {
	if err != nil {
		return -1
	}
	return n
}

func chainKeepsOrder(t *testing.T, k Kafka) {
	g := newGroup(t, k, 1)
	g.publish(0, 20)
	var mu sync.Mutex
	var order []string
	m := start(t, consumer.Config{
		Cluster: k.Cluster, Group: g.name, SessionTimeout: k.Session, CommitInterval: 50 * time.Millisecond,
		Failures: dlq.Policy{Delays: []time.Duration{100 * time.Millisecond}, KeepOrder: true},
		Handlers: []consumer.Handler{consumer.HandleRecord(g.topic, func(_ context.Context, r *kgo.Record) error {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, string(r.Value))
			if v := string(r.Value); v == "5" {
				return errors.New("no")
			}
			return nil
		})},
	})
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, 20)
	m.stop()
	require.Equal(t, []string{"4", "5", "5", "6"}, order[4:8])
	require.Len(t, order, 21)
	dead := g.deadLetters(k)
	require.Len(t, dead, 1)
	require.Equal(t, "5", string(dead[0].Value))
	require.Empty(t, readAll(t, k, dlq.RetryTopic(g.name, g.topic, 1)))
}

// groupsKeepFailuresApart: group a.b with topic c and group a with topic b.c.
func groupsKeepFailuresApart(t *testing.T, k Kafka) {
	base := duplextest.Unique("suite")
	cl := kafkaClient(t, k)
	admin := kadm.NewClient(cl)
	pairs := []struct{ group, topic string }{{base + ".eu", "orders-" + base}, {base, "eu.orders-" + base}}
	for _, of := range pairs {
		_, err := admin.CreateTopic(t.Context(), 1, -1, nil, of.topic)
		require.NoError(t, err)
		require.NoError(t, cl.ProduceSync(t.Context(), &kgo.Record{Topic: of.topic, Value: []byte(of.group)}).FirstErr())
		m := start(t, consumer.Config{
			Cluster: k.Cluster, Group: of.group, SessionTimeout: k.Session, CommitInterval: 50 * time.Millisecond, Failures: dlq.NoRetry,
			Handlers: []consumer.Handler{consumer.HandleRecord(of.topic, func(context.Context, *kgo.Record) error { return errors.New("no") })},
		})
		duplextest.RequireCommitted(t, k.Cluster, of.group, of.topic, 0, 1)
		m.stop()
	}
	for _, of := range pairs {
		dead := readAll(t, k, dlq.DeadTopic(of.group, of.topic))
		require.Len(t, dead, 1)
		require.Equal(t, of.group, string(dead[0].Value))
		group, _ := duplex.Header(dead[0], dlq.HeaderGroup)
		require.Equal(t, of.group, group)
		require.NoError(t, errors.Join(deleteTopics(t, admin, of.topic, dlq.DeadTopic(of.group, of.topic), dlq.RedriveTopic(of.group, of.topic))))
	}
}

func deleteTopics(t *testing.T, admin *kadm.Client, topics ...string) error {
	resps, err := admin.DeleteTopics(t.Context(), topics...)
	return errors.Join(err, resps.Error())
}

func badControlBecomesADeadLetter(t *testing.T, k Kafka) {
	g := newGroup(t, k, 1)
	ran := make(chan string, 10)
	m := start(t, consumer.Config{
		Cluster: k.Cluster, Group: g.name, SessionTimeout: k.Session, CommitInterval: 50 * time.Millisecond,
		Failures: dlq.Policy{Delays: []time.Duration{100 * time.Millisecond}},
		Handlers: []consumer.Handler{consumer.HandleRecord(g.topic, func(_ context.Context, r *kgo.Record) error {
			ran <- string(r.Value)
			return nil
		})},
	})
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, 0)
	retry := dlq.RetryTopic(g.name, g.topic, 1)
	cl := kafkaClient(t, k, kgo.DefaultProduceTopic(retry))
	require.NoError(t, cl.ProduceSync(t.Context(),
		&kgo.Record{Value: []byte("none of ours")},
		&kgo.Record{Value: []byte("at once, for ever"), Headers: []kgo.RecordHeader{{Key: dlq.HeaderAttempt, Value: []byte("-1")}}},
	).FirstErr())
	duplextest.RequireCommitted(t, k.Cluster, g.name, retry, 0, 2)
	m.stop()
	require.Empty(t, ran)
	dead := g.deadLetters(k)
	require.Len(t, dead, 2)
	for _, r := range dead {
		reason, _ := duplex.Header(r, dlq.HeaderReason)
		require.Equal(t, string(dlq.ReasonBadControl), reason)
	}
}

func chainTopicsAreLookedAfter(t *testing.T, k Kafka) {
	g := newGroup(t, k, 2)
	g.publish(0, 5)
	g.publish(1, 5)
	cfg := consumer.Config{
		Cluster: k.Cluster, Group: g.name, SessionTimeout: k.Session, CommitInterval: 50 * time.Millisecond,
		Failures: dlq.Policy{Delays: []time.Duration{100 * time.Millisecond}, CheckOnly: true},
		Handlers: []consumer.Handler{consumer.HandleRecord(g.topic, func(context.Context, *kgo.Record) error { return errors.New("no") })},
	}
	require.ErrorContains(t, runBriefly(t, cfg), "kafka-topics.sh --create --topic "+dlq.DeadTopic(g.name, g.topic)+" --partitions 2")

	admin := kadm.NewClient(kafkaClient(t, k))
	_, err := admin.CreateTopic(t.Context(), 1, -1, nil, dlq.DeadTopic(g.name, g.topic))
	require.NoError(t, err)
	cfg.Failures = dlq.Policy{Delays: []time.Duration{100 * time.Millisecond}}
	m := start(t, cfg)
	for _, p := range []int32{0, 1} {
		duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, p, 5)
	}
	eventually(t, "all are dead letters, in the partitions that they came from", func() bool {
		in := map[int32]int{}
		for _, r := range g.deadLetters(k) {
			in[r.Partition]++
		}
		return in[0] == 5 && in[1] == 5
	})
	m.stop()

	other := newGroup(t, k, 1)
	compact := "compact"
	_, err = admin.CreateTopic(t.Context(), 1, -1, map[string]*string{"cleanup.policy": &compact}, dlq.DeadTopic(other.name, other.topic))
	require.NoError(t, err)
	cfg.Group, cfg.Handlers = other.name, []consumer.Handler{consumer.HandleRecord(other.topic, func(context.Context, *kgo.Record) error { return nil })}
	require.ErrorContains(t, runBriefly(t, cfg), "is compacted")
}

// runBriefly is Run of a consumer that is to refuse to start: if it does not, it is
// stopped soon, and returns nil.
func runBriefly(t *testing.T, cfg consumer.Config) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := consumer.New(cfg)
	require.NoError(t, err)
	return c.Run(ctx)
}

// deletedChainTopicsAreSaid: first the queue is deleted, then the retry topic, with
// records in each.
func deletedChainTopicsAreSaid(t *testing.T, k Kafka) {
	const n = 5
	g := newGroup(t, k, 1)
	retry, dead := dlq.RetryTopic(g.name, g.topic, 1), dlq.DeadTopic(g.name, g.topic)
	var hopeless atomic.Bool
	hopeless.Store(true)
	m := start(t, consumer.Config{
		Cluster: k.Cluster, Group: g.name, SessionTimeout: k.Session, CommitInterval: 50 * time.Millisecond,
		Failures: dlq.Policy{Delays: []time.Duration{time.Hour}, MaxDeadRatio: 1},
		Handlers: []consumer.Handler{consumer.HandleRecord(g.topic, func(context.Context, *kgo.Record) error {
			if hopeless.Load() {
				return duplex.Permanent(errors.New("no"))
			}
			return errors.New("not now")
		})},
	})
	eventually(t, "it has its partitions", func() bool { return m.owns() == 3 })
	g.publish(0, n)
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, n)
	admin := kadm.NewClient(kafkaClient(t, k))
	require.NoError(t, deleteTopics(t, admin, dead))
	g.publish(0, n)
	eventually(t, "the queue that was made again has the new ones", func() bool {
		ends, err := admin.ListEndOffsets(t.Context(), dead)
		end, there := ends.Lookup(dead, 0)
		return err == nil && there && end.Err == nil && end.Offset == n
	})
	require.Contains(t, m.said(duplex.StatusRetryDataLost), dead+": the topic was deleted")
	require.Contains(t, m.said(duplex.StatusRetryDataLost), fmt.Sprintf("with %d dead letters", n))

	hopeless.Store(false)
	g.publish(0, n)
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, 3*n)
	eventually(t, "those that wait were read", func() bool {
		for _, p := range m.Status().Partitions {
			if p.Topic == retry && p.Frontier == n {
				return true
			}
		}
		return false
	})
	require.NoError(t, deleteTopics(t, admin, retry))
	eventually(t, "it is said how many are gone", func() bool {
		return strings.Contains(m.said(duplex.StatusRetryDataLost), fmt.Sprintf("%s: the topic was deleted and created again, with %d records", retry, n))
	})
	g.publish(0, n)
	eventually(t, "the topic that was made again is read", func() bool {
		for _, p := range m.Status().Partitions {
			if p.Topic == retry && p.Frontier == n && p.Loaded == n {
				return true
			}
		}
		return false
	})
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, 4*n)
	m.stop()
}

// said is what the status says of problems of a code.
func (m *member) said(code duplex.StatusCode) string {
	var all []string
	for _, p := range m.Status().Problems {
		if p.Code == code {
			all = append(all, p.Detail)
		}
	}
	return strings.Join(all, "\n")
}
