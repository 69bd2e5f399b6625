package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/dlq"
)

// refusal is a group whose dead-letter queue takes nothing for a while.
type refusal struct {
	t           *testing.T
	cluster     duplex.Cluster // that may do everything
	producer    *kgo.Client
	admin       *kadm.Client
	topic       string
	group       string
	retry, dead string // topics
	sent        int

	consumer *consumer.Consumer
	stop     func() error

	mu       sync.Mutex
	runs     map[string]int // by key
	finished map[string]time.Time
}

// newRefusal makes the topics; configs are those of the queue.
func newRefusal(t *testing.T, c duplex.Cluster, configs ...string) *refusal {
	t.Helper()
	r := &refusal{t: t, cluster: c, topic: newTopic(t, c, 2), group: unique(t), runs: map[string]int{}, finished: map[string]time.Time{}}
	r.retry, r.dead = dlq.RetryTopic(r.group, r.topic, 1), dlq.DeadTopic(r.group, r.topic)
	r.producer = rawClient(t, c)
	r.admin = kadm.NewClient(r.producer)
	if len(configs) > 0 {
		r.makeTopic(r.dead, configs...)
	}
	return r
}

func (r *refusal) makeTopic(name string, configs ...string) {
	r.t.Helper()
	set := map[string]*string{}
	for i := 0; i+1 < len(configs); i += 2 {
		set[configs[i]] = &configs[i+1]
	}
	_, err := r.admin.CreateTopic(r.t.Context(), 2, -1, set, name)
	require.NoError(r.t, err)
}

// alter changes a setting of the queue; no value takes it back.
func (r *refusal) alter(name string, value *string) {
	r.t.Helper()
	change := kadm.AlterConfig{Name: name, Value: value, Op: kadm.SetConfig}
	if value == nil {
		change.Op = kadm.DeleteConfig
	}
	resps, err := r.admin.AlterTopicConfigs(r.t.Context(), []kadm.AlterConfig{change}, r.dead)
	require.NoError(r.t, err)
	for _, resp := range resps {
		require.NoError(r.t, resp.Err)
	}
}

// consume starts the group with one retry, through a way into the cluster.
func (r *refusal) consume(through duplex.Cluster) {
	r.t.Helper()
	r.consumer, r.stop = running(r.t, consumer.Config{
		Cluster: through, Group: r.group, SessionTimeout: sessionTimeout,
		Failures: dlq.Policy{Delays: []time.Duration{200 * time.Millisecond}, MaxDeadRatio: 1},
		Handlers: []consumer.Handler{consumer.HandleRecord(r.topic, r.handle)},
	})
}

func (r *refusal) handle(ctx context.Context, record *kgo.Record) error {
	key := string(record.Key)
	err := verdictOfKey(key, consumer.FromContext(ctx).Attempt)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs[key]++
	if err == nil {
		r.finished[key] = time.Now()
	}
	return err
}

// publish writes records with keys of their own that begin so, n of each, and gives
// the keys.
func (r *refusal) publish(n int, value []byte, kinds ...string) (keys []string) {
	r.t.Helper()
	var records []*kgo.Record
	for range n {
		for _, kind := range kinds {
			r.sent++
			keys = append(keys, fmt.Sprintf("%s:%d", kind, r.sent))
			records = append(records, &kgo.Record{Topic: r.topic, Key: []byte(keys[len(keys)-1]), Value: value})
		}
	}
	require.NoError(r.t, r.producer.ProduceSync(r.t.Context(), records...).FirstErr())
	return keys
}

// flows publishes n healthy records and n that fail once, and waits until all are
// handled. It returns how long that took at most.
func (r *refusal) flows(n int) time.Duration {
	r.t.Helper()
	began := time.Now()
	keys := r.publish(n, []byte("v"), keyFine, keyOnce)
	require.Eventually(r.t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, key := range keys {
			if r.finished[key].IsZero() {
				return false
			}
		}
		return true
	}, healthyPatience, 10*time.Millisecond, "healthy records are held up: %v", printed{func() any { return r.consumer.Status() }})
	return time.Since(began)
}

// healthyPatience is how long healthy records may take in a queue's trouble.
const healthyPatience = 10 * time.Second

// holds waits until the status says that the queue cannot be written.
func (r *refusal) holds() {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		status := r.consumer.Status()
		return status.Code == duplex.StatusDLQUnavailable && strings.Contains(fmt.Sprint(status.Problems), r.dead)
	}, groupPatience, 20*time.Millisecond, "the status does not say %s: %v", duplex.StatusDLQUnavailable, printed{func() any { return r.consumer.Status() }})
}

// ends waits until everything has ended, and gives the dead letter of each key.
func (r *refusal) ends() map[string]*kgo.Record {
	r.t.Helper()
	var missing string
	require.Eventually(r.t, func() bool {
		missing = ended(r.t.Context(), r.admin, r.group, r.topic, r.retry)
		return missing == ""
	}, groupPatience, 100*time.Millisecond, "not everything has ended: %s", printed{func() any { return missing }})
	require.Equal(r.t, duplex.StatusOK, r.consumer.Status().Code)
	require.NoError(r.t, r.stop())
	dead := map[string]*kgo.Record{}
	for id, attempts := range letters(r.t, r.cluster, r.dead).copies {
		require.Len(r.t, attempts, 1, id)
		for _, copies := range attempts {
			require.Len(r.t, copies, 1, id)
			dead[string(copies[0].Key)] = copies[0]
		}
	}
	return dead
}

// through has the queue refuse for a while, and checks that records which fail wait for
// it, and nothing else does.
func (r *refusal) through(refuse, allow func()) map[string]*kgo.Record {
	const healthy, failing = 100, 20
	r.t.Helper()
	before := r.flows(healthy)
	keys := r.publish(1, []byte("v"), keyAlways)
	require.Eventually(r.t, func() bool { return len(letters(r.t, r.cluster, r.dead).copies) == len(keys) }, groupPatience, 100*time.Millisecond)
	refuse()
	keys = append(keys, r.publish(failing, []byte("v"), keyAlways)...)
	r.holds()
	during := r.flows(healthy)
	r.holds()
	allow()
	allowed := time.Now()
	dead := r.ends()
	r.t.Logf("200 healthy records took %s, and %s while the queue refused; all had ended %s after it did not",
		before.Round(time.Millisecond), during.Round(time.Millisecond), time.Since(allowed).Round(time.Millisecond))
	require.Len(r.t, dead, len(keys))
	for _, key := range keys {
		require.NotNil(r.t, dead[key], key)
		require.Equal(r.t, "2", header(dead[key], dlq.HeaderAttempt), "attempts were counted again")
		require.Equal(r.t, 2, r.runs[key], "%s ran again while it waited", key)
	}
	return dead
}

// R2, C12: the right to write the queue is taken back, and given again.
func TestQueueThatMayNotBeWritten(t *testing.T) {
	t.Parallel()
	n := node(t, withRights(withPlainUser("alice", "right")))
	r := newRefusal(t, n.Cluster())
	grant := func(b *kadm.ACLBuilder) {
		resps, err := r.admin.CreateACLs(t.Context(), b)
		require.NoError(t, err)
		for _, resp := range resps {
			require.NoError(t, resp.Err)
		}
	}
	all := func() *kadm.ACLBuilder { return kadm.NewACLs().ResourcePatternType(kadm.ACLPatternLiteral) }
	grant(all().Topics("*").Groups("*").Clusters().Allow("User:alice").AllowHosts("*").Operations(kadm.OpAll))
	r.consume(n.SASL("alice", "right"))
	deny := all().Topics(r.dead).Deny("User:alice").DenyHosts("*").Operations(kadm.OpWrite)
	dead := r.through(
		func() { grant(deny) },
		func() {
			resps, err := r.admin.DeleteACLs(t.Context(), deny)
			require.NoError(t, err)
			for _, resp := range resps {
				require.NoError(t, resp.Err)
				require.Len(t, resp.Deleted, 1)
			}
		})
	requireReason(t, dlq.ReasonExhausted, dead)
}

// R2, C12: too few brokers have the queue's records, and then enough again.
func TestQueueWithTooFewReplicas(t *testing.T) {
	c := threeNodes(t)
	r := newRefusal(t, c.Cluster(), "min.insync.replicas", "3")
	r.consume(c.Cluster())
	var victim *kafkaNode
	dead := r.through(
		func() {
			keeper := c.coordinator(t, r.group)
			for _, n := range c.nodes {
				if n != keeper {
					victim = n
				}
			}
			victim.Kill(t)
		},
		func() { victim.Start(t); c.inSync(t) })
	requireReason(t, dlq.ReasonExhausted, dead)
}

// R9: not even a pointer fits into the queue, and then everything does.
func TestQueueThatTakesNothing(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	r := newRefusal(t, c, "cleanup.policy", "delete")
	r.consume(c)
	tiny := "100"
	dead := r.through(func() { r.alter("max.message.bytes", &tiny) }, func() { r.alter("max.message.bytes", nil) })
	requireReason(t, dlq.ReasonTooLarge, dead)
}

// R9: what a topic does not take because it is too large is a dead letter, as a whole
// where the queue takes it and as a pointer where it does not; nothing waits.
func TestTooLargeForItsTopic(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	value := make([]byte, 16<<10)
	for i := range value {
		value[i] = byte(rand.Uint32()) // or compression would make it small
	}
	for name, small := range map[string]func(r *refusal) string{
		"retry topic": func(r *refusal) string { return r.retry },
		"queue":       func(r *refusal) string { return r.dead },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRefusal(t, c)
			r.makeTopic(small(r), "max.message.bytes", "4096")
			r.consume(c)
			keys := r.publish(5, value, keyAlways)
			r.flows(100) // many of which would be too large together
			dead := r.ends()
			require.Len(t, dead, len(keys))
			requireReason(t, dlq.ReasonTooLarge, dead)
			for _, key := range keys {
				if small(r) == r.retry {
					require.Equal(t, value, dead[key].Value)
					continue
				}
				require.Empty(t, dead[key].Value, "a pointer has no value")
				require.Contains(t, header(dead[key], dlq.HeaderErrorMessage), "a pointer only (exhausted)")
			}
		})
	}
}

// requireReason checks why they are dead. The first one was so before the trouble.
func requireReason(t *testing.T, want dlq.Reason, dead map[string]*kgo.Record) {
	t.Helper()
	other := 0
	for _, r := range dead {
		if header(r, dlq.HeaderReason) != string(want) {
			other++
		}
	}
	require.LessOrEqual(t, other, 1, "dead letters have another reason than %s", want)
}
