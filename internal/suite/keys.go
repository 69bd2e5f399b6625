package suite

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/producer"
)

func steering() []Scenario {
	return []Scenario{
		{"keys run at once, each in order, failures included", []string{"C2", "C3", "C4"}, keysRunAtOnce},
		{"members of the protocol of KIP-848 share the work, and repeat nothing", []string{"C2", "C5", "C6"}, newProtocolRepeatsNothing},
		{"paused partitions stand still, and a seek goes back and forward", []string{"C2", "C9"}, pauseAndSeek},
		{"a topic that is created again is read from its beginning", []string{"C9"}, recreatedTopicIsReadAnew},
	}
}

// keyed is the history of a group by key: the values of a key count up from 0.
type keyed struct {
	mu       sync.Mutex
	next     map[string]int
	running  map[string]bool
	now      int
	most     int
	finished int
	wrong    []string
}

func newKeyed() *keyed { return &keyed{next: map[string]int{}, running: map[string]bool{}} }

func (k *keyed) run(r *kgo.Record, work func() error) error {
	key, n := string(r.Key), 0
	_, _ = fmt.Sscan(string(r.Value), &n)
	k.mu.Lock()
	if k.running[key] {
		k.wrong = append(k.wrong, key+" runs twice at once")
	}
	if n != k.next[key] {
		k.wrong = append(k.wrong, fmt.Sprintf("%s: %d runs, %d is next", key, n, k.next[key]))
	}
	k.running[key] = true
	k.now++
	k.most = max(k.most, k.now)
	k.mu.Unlock()
	err := work()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.running[key] = false
	k.now--
	if err == nil {
		k.next[key]++
		k.finished++
	}
	return err
}

func (k *keyed) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.finished
}

// publishKeyed writes n records, whose values count up for each of the keys.
func publishKeyed(t *testing.T, p *producer.Producer, topic string, from, n, keys int) {
	t.Helper()
	records := make([]*kgo.Record, n)
	for i := range records {
		at := from + i
		records[i] = &kgo.Record{Topic: topic, Key: strconv.AppendInt([]byte("key "), int64(at%keys), 10), Value: strconv.AppendInt(nil, int64(at/keys), 10)}
	}
	for _, r := range p.PublishBatch(t.Context(), records...) {
		require.NoError(t, r.Err)
	}
}

func keysRunAtOnce(t *testing.T, k Kafka) {
	const keys, rounds = 200, 25
	g := newGroup(t, k, 2)
	publishKeyed(t, g.p, g.topic, 0, keys*rounds, keys)
	h := newKeyed()
	m := start(t, consumer.Config{
		Cluster: k.Cluster, Group: g.name, SessionTimeout: k.Session, RetryMin: 50 * time.Millisecond,
		Handlers: []consumer.Handler{consumer.HandleRecord(g.topic, func(ctx context.Context, r *kgo.Record) error {
			return h.run(r, func() error {
				<-time.After(2 * time.Millisecond)
				if r.Offset%20 == 7 && consumer.FromContext(ctx).Attempt == 1 {
					return errors.New("once")
				}
				return nil
			})
		})},
	})
	eventually(t, "every record is finished", func() bool { return h.count() == keys*rounds })
	m.stop()
	require.Empty(t, h.wrong)
	require.Greater(t, h.most, 32, "on two partitions")
}

func newProtocolRepeatsNothing(t *testing.T, k Kafka) {
	const keys = 100
	g := newGroup(t, k, 4)
	h := newKeyed()
	join := func() *member {
		return start(t, consumer.Config{
			Cluster: k.Cluster, Group: g.name, Protocol: consumer.KIP848,
			Handlers: []consumer.Handler{consumer.HandleRecord(g.topic, func(_ context.Context, r *kgo.Record) error {
				return h.run(r, func() error { <-time.After(time.Millisecond); return nil })
			})},
		})
	}
	members := []*member{join(), join()}
	published := 0
	for round := range 3 {
		eventually(t, "a share for each", func() bool { return members[0].owns() == 2 && members[1].owns() == 2 })
		publishKeyed(t, g.p, g.topic, published, 1000, keys)
		published += 1000
		members[round%2].stop()
		members[round%2] = join()
	}
	eventually(t, "every record is finished", func() bool { return h.count() >= published })
	for _, m := range members {
		m.stop()
	}
	require.Empty(t, h.wrong)
	require.Equal(t, published, h.count())
}

func pauseAndSeek(t *testing.T, k Kafka) {
	g := newGroup(t, k, 2)
	var ran [2]atomic.Int64
	m := start(t, consumer.Config{
		Cluster: k.Cluster, Group: g.name, SessionTimeout: k.Session, CommitInterval: 50 * time.Millisecond,
		Handlers: []consumer.Handler{consumer.HandleRecord(g.topic, func(_ context.Context, r *kgo.Record) error {
			ran[r.Partition].Add(1)
			return nil
		})},
	})
	m.Pause(consumer.Partitions{Topic: g.topic, Numbers: []int32{1}})
	g.publish(0, 100)
	g.publish(1, 100)
	eventually(t, "the partition that is not paused", func() bool { return ran[0].Load() == 100 })
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, 100)
	require.Zero(t, ran[1].Load())
	require.Equal(t, duplex.StatusPausedByOperator, m.Status().Code)
	m.Resume()
	eventually(t, "the partition that was paused", func() bool { return ran[1].Load() == 100 })
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 1, 100)

	require.NoError(t, m.Seek(t.Context(), g.topic, 0, 70))
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, 100)
	eventually(t, "thirty run again", func() bool { return ran[0].Load() == 130 })
	m.Pause()
	g.publish(1, 100)
	require.NoError(t, m.SeekTime(t.Context(), time.Now().Add(time.Hour), consumer.Partitions{Topic: g.topic, Numbers: []int32{1}}))
	m.Resume()
	g.publish(1, 10)
	eventually(t, "what came after the jump", func() bool { return ran[1].Load() == 110 })
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 1, 210)
	m.stop()
	require.Equal(t, int64(110), ran[1].Load(), "those that were jumped over did not run")
}

func recreatedTopicIsReadAnew(t *testing.T, k Kafka) {
	g := newGroup(t, k, 1)
	var ran atomic.Int64
	m := start(t, consumer.Config{
		Cluster: k.Cluster, Group: g.name, SessionTimeout: k.Session, CommitInterval: 50 * time.Millisecond,
		Handlers: []consumer.Handler{consumer.HandleRecord(g.topic, func(context.Context, *kgo.Record) error { ran.Add(1); return nil })},
	})
	g.publish(0, 50)
	eventually(t, "the old one", func() bool { return ran.Load() == 50 })
	admin := kadm.NewClient(kafkaClient(t, k))
	deleted, err := admin.DeleteTopics(t.Context(), g.topic)
	require.NoError(t, err)
	require.NoError(t, deleted.Error())
	eventually(t, "the new one is there", func() bool {
		created, err := admin.CreateTopics(t.Context(), 1, -1, nil, g.topic)
		return err == nil && created.Error() == nil
	})
	cl := kafkaClient(t, k, kgo.DefaultProduceTopic(g.topic))
	for range 20 {
		require.NoError(t, cl.ProduceSync(t.Context(), kgo.StringRecord("new")).FirstErr())
	}
	eventually(t, "the new one is read", func() bool { return ran.Load() >= 70 })
	eventually(t, "it is said", func() bool { return m.Status().Code == duplex.StatusTopicRecreated })
	duplextest.RequireCommitted(t, k.Cluster, g.name, g.topic, 0, 20)
	m.stop()
	require.Equal(t, int64(70), ran.Load())
}
