package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/rpc"
)

func calling() []Scenario {
	return []Scenario{
		{"a call that is made as soon as its client is there gets its reply", []string{"Q1", "Q2"}, earlyCallsAreAnswered},
		{"many instances share few partitions of replies evenly, and get none of the others'", []string{"Q2", "Q3"}, instancesShareReplies},
		{"servers that are restarted one after the other answer every call, once", []string{"Q1", "Q6"}, rollingServersAnswerAll},
		{"a call that a dead server had begun runs again only if it is safe", []string{"Q1", "Q5"}, deadServersCallsAreTold},
		{"a server that takes over runs nothing before the group knows", []string{"Q5"}, successorsSayThatTheyBegin},
		{"a server writes replies only where they may go", []string{"Q7"}, forgedReplyTopicsAreRefused},
		{"replies that nobody waits for reach nobody", []string{"Q3"}, strangeRepliesAreCounted},
		{"a reply topic that is deleted ends the calls under way, and is made again", []string{"Q1", "Q10"}, deletedReplyTopicEndsCalls},
		{"a topic of replies that grows has its new partitions used at once", []string{"Q1", "Q2"}, grownReplyTopicIsUsed},
		{"a call that is too old is not run", []string{"Q4"}, oldCallsAreNotRun},
	}
}

// earlyCallsAreAnswered: a thousand clients, some at a time, call when they are made.
func earlyCallsAreAnswered(t *testing.T, k Kafka) {
	const clients, atOnce = 1000, 20
	c := newCalls(t, k)
	s := c.serve()
	s.ignoreBegins()
	require.NoError(t, c.ask(c.client(rpc.ClientConfig{}), c.echo, question{ID: "the server is there"}))
	var wg sync.WaitGroup
	var n atomic.Int64
	for range atOnce {
		wg.Go(func() {
			for i := n.Add(1); i <= clients && !t.Failed(); i = n.Add(1) {
				cl, err := rpc.NewClient(rpc.ClientConfig{Cluster: k.Cluster, Service: c.service})
				if err == nil {
					err = errors.Join(c.ask(cl, c.echo, question{ID: fmt.Sprint("early ", i)}), cl.Close())
				}
				if err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	for i := range clients {
		require.Equal(t, 1, c.times(fmt.Sprint("early ", i+1)))
	}
}

func instancesShareReplies(t *testing.T, k Kafka) {
	const instances, partitions, each = 50, 8, 20
	c := newCalls(t, k)
	s := c.serve()
	s.ignoreBegins()
	clients := make([]*rpc.Client, instances)
	for i := range clients {
		clients[i] = c.client(rpc.ClientConfig{ReplyPartitions: partitions, Instance: fmt.Sprint("pod-", i)})
		if i%10 == 0 { // ten at a time come together
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			require.NoError(t, clients[i].Ready(ctx))
			cancel()
		}
	}
	var wg sync.WaitGroup
	for i, cl := range clients {
		wg.Go(func() {
			for j := range each {
				if err := c.ask(cl, c.echo, question{ID: fmt.Sprint(i, " asks ", j)}); err != nil {
					t.Errorf("instance %d, call %d: %v", i, j, err)
				}
			}
		})
	}
	wg.Wait()
	var foreign int64
	for _, cl := range clients {
		st := cl.Status()
		foreign += st.Counts["foreign"]
		require.Equal(t, []int64{each, 0, 0, 0, 0, 0}, counts(st, "answered", "pending", "late", "duplicate", "stale", "unknown"))
	}
	require.Positive(t, foreign, "they share partitions")
	requireEven(t, k, c.service, instances, partitions)
}

// requireEven checks what instances have claimed in the end.
func requireEven(t *testing.T, k Kafka, service string, instances, partitions int) {
	t.Helper()
	last, load := map[string]int32{}, make([]int, partitions)
	for _, r := range readAll(t, k, rpc.ClaimTopic(service)) {
		var claim struct {
			Instance  string
			Partition int32
		}
		require.NoError(t, json.Unmarshal(r.Value, &claim))
		last[claim.Instance] = claim.Partition
	}
	require.Len(t, last, instances)
	for _, p := range last {
		load[p]++
	}
	t.Log("instances on each partition:", load)
	require.LessOrEqual(t, slices.Max(load)-slices.Min(load), 3, "instances on each partition: %v", load)
}

func rollingServersAnswerAll(t *testing.T, k Kafka) {
	c := newCalls(t, k)
	serve := func() *answering {
		s := c.serve()
		s.ignoreBegins()
		return s
	}
	servers := []*answering{serve(), serve(), serve()}
	cl := c.client(rpc.ClientConfig{})
	require.NoError(t, c.ask(cl, c.echo, question{ID: "the servers are there"}))
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var n atomic.Int64
	for caller := range 8 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := c.ask(cl, c.echo, question{ID: fmt.Sprint(caller, "/", i)}); err != nil { //nolint:contextcheck // the last one is to end, too
					t.Errorf("caller %d, call %d: %v", caller, i, err)
					return
				}
				n.Add(1)
			}
		})
	}
	for range 2 {
		for i := range servers {
			before := n.Load()
			eventually(t, "calls are answered", func() bool { return n.Load() > before+50 || t.Failed() })
			servers[i].stop()
			servers[i] = serve()
		}
	}
	stop()
	wg.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, times := range c.ran {
		require.Equal(t, 1, times, id)
	}
	require.Len(t, c.ran, int(n.Load())+1)
	require.Zero(t, cl.Status().Counts["errors"])
}

func deadServersCallsAreTold(t *testing.T, k Kafka) {
	c := newCalls(t, k)
	first := c.serve()
	cl := c.client(rpc.ClientConfig{})
	ended := map[string]chan error{}
	for _, m := range []rpc.Method[question, string]{c.echo, c.careful} {
		ended[m.Name] = make(chan error, 1)
		go func() { ended[m.Name] <- c.ask(cl, m, question{ID: m.Name, Wait: true}) }()
		require.Equal(t, m.Name, receive(t, first.began, m.Name+" begins"))
	}
	first.cut()
	second := c.serve()
	second.release()
	require.NoError(t, receive(t, ended["Careful"], "the safe call is answered"))
	require.Equal(t, 2, c.times("Careful"))
	err := receive(t, ended["Echo"], "the other call ends")
	require.ErrorIs(t, err, rpc.Unavailable)
	require.Equal(t, rpc.Maybe, rpc.ExecutedOf(err), "it has run")
	require.Equal(t, 1, c.times("Echo"))
	require.NoError(t, c.ask(cl, c.echo, question{ID: "and so on"}))
}

// successorsSayThatTheyBegin: what is committed says that nothing has begun, where a server
// stopped in order, or nothing is, since there was none before. A server that comes then,
// and dies before it has committed anything else, must not have run what the one after
// it takes for fresh.
func successorsSayThatTheyBegin(t *testing.T, k Kafka) {
	mute := &Wire{Keys: []kmsg.Key{kmsg.OffsetCommit}, Loses: func(kmsg.Request) bool { return true }}
	type service struct {
		*calls
		mute  *answering
		ended chan error
	}
	var services []service
	for _, before := range []bool{false, true} {
		c := newCalls(t, k)
		cl := c.client(rpc.ClientConfig{})
		if before {
			s := c.serve()
			require.NoError(t, c.ask(cl, c.echo, question{ID: "before"}))
			s.stop()
		}
		s := service{c, c.serveOver(mute.Watch(k.Cluster)), make(chan error, 1)}
		go func() { s.ended <- c.ask(cl, c.echo, question{ID: "one", Wait: true}) }()
		services = append(services, s)
	}
	for _, s := range services {
		eventually(t, "the call is fetched", func() bool {
			return slices.ContainsFunc(s.mute.Status().Partitions, func(p duplex.PartitionStatus) bool { return p.Loaded > 0 })
		})
		s.mute.cut()
	}
	for _, s := range services {
		s.serve().release()
		require.NoError(t, receive(t, s.ended, "the call is answered"))
		require.Equal(t, 1, s.times("one"))
	}
}

func forgedReplyTopicsAreRefused(t *testing.T, k Kafka) {
	c := newCalls(t, k)
	s := c.serve()
	cl := c.client(rpc.ClientConfig{})
	require.NoError(t, c.ask(cl, c.echo, question{ID: "before"}))
	victim := duplextest.NewTopic(t, k.Cluster, duplextest.Unique("payments"), 1, nil)
	topic, body := rpc.RequestTopic(c.service), []byte(`{"ID":"forged"}`)
	for _, to := range [][]string{
		{"__consumer_offsets", "0"}, {victim, "0"}, {topic, "0"}, {rpc.ReplyTopic(duplextest.Unique("nobody")), "0"},
		{rpc.ReplyTopic(c.service), "16"}, {rpc.ReplyTopic(c.service), "2000000000"}, {"rpc.replies.", "0"}, {"rpc.replies.\x00", "0"},
	} {
		c.write(&kgo.Record{Topic: topic, Value: body, Headers: headers(rpc.HeaderCorrelationID, "x", rpc.HeaderReplyTopic, to[0],
			rpc.HeaderReplyPartition, to[1], rpc.HeaderMethod, c.service+"/Echo", rpc.HeaderTimeout, "60000")})
	}
	// One that says nothing useful is not answered either, and nothing breaks.
	c.write(&kgo.Record{Topic: topic, Headers: headers(rpc.HeaderReplyTopic, rpc.ReplyTopic(c.service))},
		&kgo.Record{Topic: topic, Headers: headers(rpc.HeaderReplyTopic, rpc.ReplyTopic(c.service), rpc.HeaderCorrelationID, strings.Repeat("c", 64<<10))},
		&kgo.Record{Topic: topic, Value: make([]byte, 500_000), Headers: headers("x", strings.Repeat("h", 400_000))})
	eventually(t, "all are refused", func() bool { return s.Status().Counts["refused_addresses"] == 8 })
	require.NoError(t, c.ask(cl, c.echo, question{ID: "after"}))
	require.Zero(t, c.times("forged"))
	require.Empty(t, readAll(t, k, victim))
	admin := kadm.NewClient(kafkaClient(t, k))
	there, err := admin.ListTopics(t.Context())
	require.NoError(t, err)
	for name := range there {
		require.NotContains(t, name, "nobody", "no topic was made")
	}
}

func strangeRepliesAreCounted(t *testing.T, k Kafka) {
	c := newCalls(t, k)
	s := c.serve()
	var request *kgo.Record
	cl := c.client(rpc.ClientConfig{ReplyPartitions: 1})
	require.NoError(t, c.ask(cl, c.echo, question{ID: "one"}))
	for _, r := range readAll(t, k, rpc.RequestTopic(c.service)) {
		request = r
	}
	id, _ := duplex.Header(request, rpc.HeaderCorrelationID)
	reply := func(id string) *kgo.Record {
		return &kgo.Record{Topic: rpc.ReplyTopic(c.service), Value: []byte(`"forged"`), Headers: headers(rpc.HeaderCorrelationID, id)}
	}
	// A call under way, which none of them must end.
	ended := make(chan error, 1)
	go func() { ended <- c.ask(cl, c.echo, question{ID: "two", Wait: true}) }()
	s.awaitBegin(t, "two")
	swap := func(from, to int, with string) string { return id[:from] + with + id[to:] }
	c.write(
		reply(id),                                    // a duplicate
		reply(swap(9, 15, "AAAAAA")),                 // of an earlier run
		reply(swap(0, 8, "AAAAAAAA")),                // another instance's
		reply(swap(16, 37, strings.Repeat("A", 21))), // ours, of a call that never was
		reply("guess"), reply(""), reply(strings.Repeat("x", 64<<10)),
		&kgo.Record{Topic: rpc.ReplyTopic(c.service)},
	)
	eventually(t, "all are counted", func() bool {
		st := cl.Status()
		return st.Counts["duplicate"] == 1 && st.Counts["stale"] == 1 && st.Counts["foreign"] == 1 && st.Counts["unknown"] == 5
	})
	require.Empty(t, ended)
	s.release()
	require.NoError(t, receive(t, ended, "the call is answered"))
	require.Zero(t, cl.Status().Counts["pending"])
}

func deletedReplyTopicEndsCalls(t *testing.T, k Kafka) {
	c := newCalls(t, k)
	s := c.serve()
	cl := c.client(rpc.ClientConfig{})
	require.NoError(t, c.ask(cl, c.echo, question{ID: "before"}))
	ended := make(chan error, 1)
	go func() { ended <- c.ask(cl, c.echo, question{ID: "meanwhile", Wait: true}) }()
	s.awaitBegin(t, "meanwhile")
	require.NoError(t, deleteTopics(t, kadm.NewClient(kafkaClient(t, k)), rpc.ReplyTopic(c.service)))
	err := receive(t, ended, "the call under way ends")
	require.ErrorIs(t, err, rpc.Unavailable)
	require.Equal(t, rpc.Maybe, rpc.ExecutedOf(err))
	s.release()
	eventually(t, "calls are answered again", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		got, err := rpc.Call(ctx, cl, c.echo, question{ID: "after"})
		return err == nil && got == "re: after"
	})
	require.Zero(t, cl.Status().Counts["pending"])
}

func grownReplyTopicIsUsed(t *testing.T, k Kafka) {
	const partitions, soon = 4, 20 * time.Second // a server that took the topic to be as it was would do so for a minute
	c := newCalls(t, k)
	s := c.serve()
	s.ignoreBegins()
	first := c.client(rpc.ClientConfig{ReplyPartitions: 1})
	require.NoError(t, c.ask(first, c.echo, question{ID: "before"}))
	topic, admin := rpc.ReplyTopic(c.service), kadm.NewClient(kafkaClient(t, k))
	_, err := admin.UpdatePartitions(t.Context(), partitions, topic)
	require.NoError(t, err)
	eventually(t, "the topic has grown", func() bool {
		found, err := admin.ListTopics(t.Context(), topic)
		return err == nil && len(found[topic].Partitions) == partitions
	})
	for i := range partitions - 1 {
		cl := c.client(rpc.ClientConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		got, err := rpc.Call(ctx, cl, c.careful, question{ID: fmt.Sprint("instance ", i)})
		cancel()
		require.NoError(t, err, "instance %d", i)
		require.Equal(t, fmt.Sprint("re: instance ", i), got)
		require.Zero(t, cl.Status().Counts["sharing"], "instance %d", i)
	}
	require.NoError(t, c.ask(first, c.echo, question{ID: "after"}))
}

func oldCallsAreNotRun(t *testing.T, k Kafka) {
	c := newCalls(t, k)
	s := c.serve()
	cl := c.client(rpc.ClientConfig{})
	require.NoError(t, c.ask(cl, c.echo, question{ID: "before"}))
	now := time.Now()
	request := func(id string, pairs ...string) *kgo.Record {
		return &kgo.Record{Topic: rpc.RequestTopic(c.service), Value: []byte(`{"ID":"` + id + `"}`), Headers: headers(append(pairs,
			rpc.HeaderCorrelationID, "x", rpc.HeaderReplyTopic, rpc.ReplyTopic(c.service), rpc.HeaderReplyPartition, "0", rpc.HeaderMethod, c.service+"/Echo")...)}
	}
	millis := func(at time.Time) string { return strconv.FormatInt(at.UnixMilli(), 10) }
	c.write(
		request("old", rpc.HeaderDeadline, millis(now.Add(-10*time.Second))),
		request("old, it says otherwise", rpc.HeaderDeadline, millis(now.Add(-10*time.Second)), rpc.HeaderTimeout, "60000"),
		request("a clock is behind", rpc.HeaderDeadline, millis(now.Add(-time.Second)), rpc.HeaderTimeout, "60000"),
		request("fresh", rpc.HeaderDeadline, millis(now.Add(time.Minute)), rpc.HeaderTimeout, "60000"),
	)
	eventually(t, "those in time ran", func() bool { return c.times("fresh") == 1 && c.times("a clock is behind") == 1 })
	eventually(t, "the others are counted", func() bool { return s.Status().Counts["expired"] == 2 })
	require.Zero(t, c.times("old"))
	require.Zero(t, c.times("old, it says otherwise"))
}
