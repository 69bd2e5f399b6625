package cli_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
	"github.com/duplex-go/duplex/rpc"
)

// produce writes a record to partition 0 of a topic.
func produce(t *testing.T, b *broker.Broker, topic string, values ...string) {
	t.Helper()
	client, err := kafka.NewClient(b.Cluster(), nil, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer client.Close()
	for _, v := range values {
		require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(v)}).FirstErr())
	}
}

// served serves a service that answers nothing but its own name, until the test ends or
// stop is called.
func served(t *testing.T, b *broker.Broker, service string) (stop func()) {
	t.Helper()
	s, err := rpc.NewServer(rpc.ServerConfig{Cluster: b.Cluster(), Partitions: 2, Handlers: []rpc.Handler{
		rpc.HandleRecord(service, "", func(context.Context, *kgo.Record) (*kgo.Record, error) {
			return &kgo.Record{Value: []byte(service)}, nil
		}),
	}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = func() {
		cancel()
		if err, first := <-ended; first {
			require.NoError(t, err)
			close(ended)
		}
	}
	t.Cleanup(stop)
	stdout, stderr, code := call(t, b, service, "Any", "--wait")
	require.Equal(t, command.OK, code, stderr)
	require.Equal(t, service, stdout)
	return stop
}

// rows are the cells of a table.
func rows(text string) [][]string {
	var all [][]string
	for line := range strings.Lines(text) {
		all = append(all, strings.Fields(line))
	}
	return all
}

func TestServicesAreListed(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	stdout, stderr, code := duplex(t, nil, to(b, "rpc", "ls")...)
	require.Equal(t, command.OK, code)
	require.Empty(t, stdout)
	require.Equal(t, "duplex: no services: no topic begins with rpc.requests.\n", stderr)
	stdout, _, _ = duplex(t, nil, to(b, "rpc", "ls", "--json")...)
	require.Equal(t, "[]\n", stdout)

	served(t, b, "a.b..c")
	stop := served(t, b, "seats")
	stop()
	for _, topic := range []string{"rpc.requests.never", "rpc.requests.not.ours", "rpc.requests.", "orders"} {
		require.NoError(t, b.CreateTopic(broker.Topic{Name: topic}))
	}
	produce(t, b, "rpc.requests.never", "1", "2", "3")
	want := [][]string{
		{"SERVICE", "STATE", "SERVERS", "PARTITIONS", "LAG"},
		{"a.b..c", "Stable", "1", "2", "0"},
		{"never", "-", "0", "1", "3"},
		{"seats", "Empty", "0", "2", "0"},
	}
	require.Eventually(t, func() bool { // what was called is committed in a moment
		stdout, stderr, code = duplex(t, nil, to(b, "rpc", "ls")...)
		return slices.EqualFunc(rows(stdout), want, slices.Equal)
	}, soon, 20*time.Millisecond)
	require.Equal(t, command.OK, code, stderr)
	require.Empty(t, stderr)

	stdout, _, _ = duplex(t, nil, to(b, "rpc", "ls", "--json")...)
	var all []struct {
		Service, Topic, Group, State string
		Members                      int
		Lag                          int64
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &all))
	require.Len(t, all, 3)
	require.Equal(t, "rpc.requests.a..b....c rpc.a..b....c Stable 1 0", fmt.Sprint(all[0].Topic, " ", all[0].Group, " ", all[0].State, " ", all[0].Members, " ", all[0].Lag))
	require.Equal(t, "never  0 3", fmt.Sprint(all[1].Service, " ", all[1].State, " ", all[1].Members, " ", all[1].Lag))
}

func TestInfoOfAServiceThatIsServed(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	served(t, b, "fares")
	stdout, stderr, code := duplex(t, nil, to(b, "rpc", "info", "fares")...)
	require.Equal(t, command.OK, code, stderr)
	got := rows(stdout)
	require.Regexp(t, `^fares is served: group rpc\.fares, state Stable, 1 servers, lag [01]$`, strings.Join(got[0], " "))
	require.Equal(t, []string{"PARTITION", "COMMITTED", "END", "LAG", "SERVER"}, got[1])
	require.Equal(t, "rpc.requests.fares/0", got[2][0])
	require.Equal(t, "rpc.requests.fares/1", got[3][0])
	require.Equal(t, []string{"SERVER", "CLIENT", "HOST", "PARTITIONS"}, got[4])
	require.Equal(t, got[2][4], got[5][0], "the server of its partitions")
	require.Equal(t, "0,1", got[5][3])
	require.Len(t, got, 6)

	stdout, _, code = duplex(t, nil, to(b, "rpc", "info", "fares", "--json")...)
	require.Equal(t, command.OK, code)
	var shown struct {
		Service string
		Serves  struct {
			Partitions []struct{ Partition, End int64 }
			Servers    []struct{ Partitions []int32 }
		}
		Calls *struct{}
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &shown))
	require.Equal(t, "fares", shown.Service)
	require.Nil(t, shown.Calls)
	require.Len(t, shown.Serves.Partitions, 2)
	require.EqualValues(t, 1, shown.Serves.Partitions[0].End+shown.Serves.Partitions[1].End, "one call")
	require.Equal(t, []int32{0, 1}, shown.Serves.Servers[0].Partitions)
}

func TestInfoOfAServiceThatCalls(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	for _, instance := range []string{"one", "two"} {
		c, err := rpc.NewClient(rpc.ClientConfig{Cluster: b.Cluster(), Service: "front.desk", Instance: instance, ReplyPartitions: 2})
		require.NoError(t, err)
		require.NoError(t, c.Ready(t.Context()))
		if instance == "one" {
			t.Cleanup(func() { _ = c.Close() })
			continue
		}
		require.NoError(t, c.Close()) // it gives its partition back
	}
	client, err := kafka.NewClient(b.Cluster(), nil)
	require.NoError(t, err)
	topics, err := kafka.Topics(t.Context(), client, "test", "rpc.replies.front..desk")
	client.Close()
	require.NoError(t, err)
	id := base64.RawURLEncoding.EncodeToString(topics[0].ID[:])
	claim := func(instance, name, topicID string, partition int) string {
		text, err := json.Marshal(map[string]any{"instance": instance, "name": name, "topic_id": topicID, "partition": partition})
		require.NoError(t, err)
		return string(text)
	}
	produce(t, b, "rpc.claims.front..desk", // whoever may write there can write anything
		"", "{", "[]", `{"partition":"x"}`, "\xff\xfe", strings.Repeat("x", 900_000),
		claim("", "nobody", id, 0), claim("i1", "elsewhere", "of-another-topic", 0), claim("i2", "beyond", id, 2), claim("i3", "below", id, -1),
		claim("i4", "hostile\x1b[2J\n"+strings.Repeat("n", 1000), id, 1))
	stdout, stderr, code := duplex(t, nil, to(b, "rpc", "info", "front.desk")...)
	require.Equal(t, command.OK, code, stderr)
	require.NotContains(t, stdout, "\x1b")
	got := rows(stdout)
	require.Equal(t, "front.desk calls: topic rpc.replies.front..desk with 2 partitions, read by 2 clients", strings.Join(got[0], " "))
	require.Equal(t, []string{"PARTITION", "CLIENT", "INSTANCE", "SAID", "SO"}, got[1])
	require.Len(t, got, 4)
	lines := strings.Split(stdout, "\n")
	require.Regexp(t, `^  [01] +front\.desk/one `, lines[2]+lines[3])
	require.Regexp(t, regexp.MustCompile(`(?m)^ +1 +hostile \[2J n{100,}… +i4 +\d{4}-`), stdout)
}

func TestInfoOfNobody(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	stdout, stderr, code := duplex(t, nil, to(b, "rpc", "info", "a.b")...)
	require.Equal(t, command.Failed, code)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "it neither is served nor calls: there is no topic rpc.requests.a..b and no topic rpc.claims.a..b")
	for _, args := range [][]string{{"ls"}, {"info", "fares"}} {
		address := apptest.Nobody(t)
		_, stderr, code = duplex(t, nil, append(append([]string{"rpc"}, args...), "--brokers", address, "--timeout", "300ms")...)
		require.Equal(t, command.Failed, code)
		require.Contains(t, stderr, "unreachable")
	}
}
