package cli_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/commitmeta"
	"github.com/duplex-go/duplex/internal/kafka"
)

// admin is a client for what tests set up, and look at.
func admin(t *testing.T, b *broker.Broker) *kadm.Client {
	t.Helper()
	client, err := kafka.NewClient(b.Cluster(), nil)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

// fill writes n records to a partition.
func fill(t *testing.T, b *broker.Broker, topic string, partition int32, n int) {
	t.Helper()
	client, err := kafka.NewClient(b.Cluster(), nil, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer client.Close()
	for range n {
		require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Partition: partition, Value: []byte("x")}).FirstErr())
	}
}

// commit commits offsets for a group without members.
func commit(t *testing.T, b *broker.Broker, group, topic string, partition int32, at int64, metadata string) {
	t.Helper()
	var o kadm.Offsets
	o.Add(kadm.Offset{Topic: topic, Partition: partition, At: at, LeaderEpoch: -1, Metadata: metadata})
	resp, err := admin(t, b).CommitOffsets(t.Context(), group, o)
	require.NoError(t, err)
	require.NoError(t, resp.Error())
}

// trim deletes the records before an offset.
func trim(t *testing.T, b *broker.Broker, topic string, partition int32, before int64) {
	t.Helper()
	var o kadm.Offsets
	o.Add(kadm.Offset{Topic: topic, Partition: partition, At: before})
	resp, err := admin(t, b).DeleteRecords(t.Context(), o)
	require.NoError(t, err)
	require.NoError(t, resp.Error())
}

// member has a member in a group, until the test ends or stop is called.
func member(t *testing.T, b *broker.Broker, group string, args ...string) (stop func()) {
	t.Helper()
	p := start(t, nil, to(b, append([]string{"sub", "-g", group, "-o", "lines"}, args...)...)...)
	require.Eventually(t, func() bool {
		stdout, _, _ := duplex(t, nil, to(b, "group", "describe", group)...)
		return strings.Contains(stdout, group+": Stable, ")
	}, soon, 20*time.Millisecond, p.Stderr.String())
	return func() {
		p.Signal(command.ErrTerminated)
		require.Equal(t, command.OK, p.Wait(), p.Stderr.String())
	}
}

func TestGroupsAreListed(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders", Partitions: 2}, broker.Topic{Name: "retry.billing.orders.1"}, broker.Topic{Name: "payments"}, broker.Topic{Name: "gone"})
	stdout, stderr, code := duplex(t, nil, to(b, "group", "ls")...)
	require.Equal(t, command.OK, code, stderr)
	require.Empty(t, stdout)
	require.Equal(t, "duplex: no groups, or no right to see them\n", stderr)
	stdout, _, _ = duplex(t, nil, to(b, "group", "ls", "--json")...)
	require.Equal(t, "[]\n", stdout)

	fill(t, b, "orders", 0, 5)
	fill(t, b, "orders", 1, 2)
	fill(t, b, "retry.billing.orders.1", 0, 4)
	commit(t, b, "billing", "orders", 0, 3, "")
	commit(t, b, "billing", "retry.billing.orders.1", 0, 1, "")
	commit(t, b, "many", "gone", 0, 1, "")
	b.Kfake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "gone", Err: kerr.UnknownTopicOrPartition, Count: -1})
	_, stderr, code = duplex(t, nil, to(b, "sub", "orders", "-g", "audit", "--until-end")...)
	require.Equal(t, command.OK, code, stderr)
	stop := member(t, b, "new", "--protocol", "kip848", "payments")
	defer stop()
	stdout, stderr, code = duplex(t, nil, to(b, "group", "ls")...)
	require.Equal(t, command.OK, code, stderr)
	require.Equal(t, [][]string{
		{"GROUP", "STATE", "PROTOCOL", "MEMBERS", "LAG", "TOPICS"},
		{"audit", "Empty", "classic", "0", "0", "orders"},
		{"billing", "Empty", "classic", "0", "7", "orders"}, // 2 and 2 of orders, 3 that wait
		{"many", "Empty", "classic", "0", "0", "gone"},
		{"new", "Stable", "kip848", "1", "0", "payments"},
	}, rows(stdout))
	require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	require.Contains(t, stderr, "duplex: group many: topic gone: asking for its offsets: unknown-topic")
	stdout, _, _ = duplex(t, nil, to(b, "group", "ls", "--json")...)
	var all []struct {
		Group, State, Protocol string
		Members                int
		Lag                    int64
		Topics                 []string
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &all))
	require.Len(t, all, 4)
	require.Equal(t, "{billing Empty classic 0 7 [orders retry.billing.orders.1]}", fmt.Sprint(all[1]))
}

func TestGroupIsDescribedWhateverItsProtocol(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders", Partitions: 2})
	fill(t, b, "orders", 1, 3)
	for _, protocol := range []string{"classic", "kip848"} {
		stop := member(t, b, protocol, "--protocol", protocol, "--instance-id", "one-"+protocol, "--client-id", "desk", "orders")
		want := []string{"orders/1", "3", "3", "0"}
		require.Eventually(t, func() bool {
			stdout, _, _ := duplex(t, nil, to(b, "group", "describe", protocol)...)
			got := rows(stdout)
			return len(got) == 6 && slices.Equal(got[5][:4], want)
		}, soon, 20*time.Millisecond)
		stdout, stderr, code := duplex(t, nil, to(b, "group", "describe", protocol)...)
		require.Equal(t, command.OK, code, stderr)
		got := rows(stdout)
		require.Regexp(t, "^"+protocol+": Stable, "+protocol+", .+, 1 members, lag 0$", strings.Join(got[0], " "))
		require.Equal(t, []string{"MEMBER", "CLIENT", "HOST", "INSTANCE", "PARTITIONS"}, got[1])
		require.Equal(t, "desk", got[2][1])
		require.Equal(t, []string{"one-" + protocol, "orders/0,1"}, got[2][3:])
		require.Equal(t, []string{"PARTITION", "COMMITTED", "END", "LAG", "MEMBER", "BESIDE"}, got[3])
		require.Equal(t, got[2][0], got[5][4], "who has it")
		stdout, _, code = duplex(t, nil, to(b, "group", "describe", protocol, "--json")...)
		require.Equal(t, command.OK, code)
		var shown struct {
			Members []struct {
				ClientID   string `json:"client_id"`
				InstanceID string `json:"instance_id"`
				Partitions []struct {
					Topic      string
					Partitions []int32
				}
			}
		}
		require.NoError(t, json.Unmarshal([]byte(stdout), &shown))
		require.Equal(t, "[{desk one-"+protocol+" [{orders [0 1]}]}]", fmt.Sprint(shown.Members))
		stop()
	}
}

func TestWhatStandsBesideAnOffsetIsShown(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders", Partitions: 4})
	fill(t, b, "orders", 0, 20)
	due := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	commit(t, b, "billing", "orders", 0, 5, commitmeta.Encode(commitmeta.Meta{
		Partitions: 4, Runs: []commitmeta.Run{{N: 2}, {Finished: true, N: 7}, {N: 1}, {Finished: true, N: 1}},
		Heads: []commitmeta.Head{{Offset: 5, Attempt: 2, Due: due.UnixMilli() + 1000}, {Offset: 6, Attempt: 1, Due: due.UnixMilli()}},
	}))
	commit(t, b, "billing", "orders", 1, 0, "written\x1b[2J by\n"+strings.Repeat("n", 100))
	commit(t, b, "billing", "orders", 2, 0, "d1:!!!")
	commit(t, b, "billing", "orders", 3, 0, commitmeta.Encode(commitmeta.Meta{Partitions: 4, Clean: true}))
	stdout, stderr, code := duplex(t, nil, to(b, "group", "describe", "billing")...)
	require.Equal(t, command.OK, code, stderr)
	require.NotContains(t, stdout, "\x1b")
	require.Contains(t, stdout, "8 finished ahead of 3; 2 failed and waiting, the first again at 2026-01-02T15:04:05Z\n")
	require.Contains(t, stdout, "of another client: written [2J by nnnn")
	require.Contains(t, stdout, "n…\n")
	require.Contains(t, stdout, "cannot be read: commitmeta: reading base64")
	require.Regexp(t, `orders/3 +0 +0 +0 +- +-\n`, stdout)
	stdout, _, _ = duplex(t, nil, to(b, "group", "describe", "billing", "--json")...)
	var shown struct {
		Topics []struct {
			Partitions []struct {
				Beside struct {
					Text                 string
					Finished, Unfinished int64
					Clean                bool
					Waiting              []struct {
						Offset   int64
						Attempts int
						Due      time.Time
					}
				}
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &shown))
	p := shown.Topics[0].Partitions
	require.Equal(t, "8 3 [{5 2 2026-01-02 15:04:06 +0000 UTC} {6 1 2026-01-02 15:04:05 +0000 UTC}]", fmt.Sprint(p[0].Beside.Finished, p[0].Beside.Unfinished, p[0].Beside.Waiting))
	require.Equal(t, "written\x1b[2J by\n"+strings.Repeat("n", 100), p[1].Beside.Text, "as it is")
	require.True(t, p[3].Beside.Clean)
}

func TestLagNamesTheTopicsOfAGroupAndWhatItLost(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t)
	for _, topic := range []string{"orders", "retry.bill..ing.orders.1", "retry.bill..ing.orders.2", "redrive.bill..ing.orders", "dlq.bill..ing.orders", "retry.other.orders.1", "retry.bill..ing.orders.01", "retry.bill..ing.orders.x", "a.b"} {
		require.NoError(t, b.CreateTopic(broker.Topic{Name: topic}))
	}
	group := "bill.ing"
	fill(t, b, "orders", 0, 20)
	trim(t, b, "orders", 0, 12)
	commit(t, b, group, "orders", 0, 5, "")
	fill(t, b, "retry.bill..ing.orders.2", 0, 3)
	commit(t, b, group, "retry.bill..ing.orders.2", 0, 1, "")
	commit(t, b, group, "retry.bill..ing.orders.1", 0, 0, "")
	commit(t, b, group, "redrive.bill..ing.orders", 0, 0, "")
	commit(t, b, group, "retry.other.orders.1", 0, 0, "")      // of another group: to this one, a topic as any
	commit(t, b, group, "retry.bill..ing.orders.01", 0, 0, "") // and so are these
	commit(t, b, group, "retry.bill..ing.orders.x", 0, 0, "")
	commit(t, b, group, "a.b", 0, 0, "")
	fill(t, b, "dlq.bill..ing.orders", 0, 4)
	stdout, stderr, code := duplex(t, nil, to(b, "group", "lag", group)...)
	require.Equal(t, command.OK, code, stderr)
	require.Equal(t, "duplex: orders/0 lost records: 7 were deleted before the group had come to them: it is at 5, and the oldest that is kept is 12\n", stderr)
	var lines []string
	for _, row := range rows(stdout) {
		if len(row) > 0 {
			lines = append(lines, strings.Join(row, " "))
		}
	}
	require.Equal(t, []string{
		"bill.ing: Empty, classic, 0 members, lag 10",
		"TOPIC WHAT PARTITIONS LAG KEPT LOST",
		"a.b source 1 0 0 0",
		"orders source 1 8 8 7",
		"retry.bill..ing.orders.1 retry 1 of orders 1 0 0 0",
		"retry.bill..ing.orders.2 retry 2 of orders 1 2 3 0",
		"redrive.bill..ing.orders redriven to orders 1 0 0 0",
		"dlq.bill..ing.orders dead letters of orders 1 - 4 0",
		"retry.bill..ing.orders.01 source 1 0 0 0",
		"retry.bill..ing.orders.x source 1 0 0 0",
		"retry.other.orders.1 source 1 0 0 0",
		"PARTITION START COMMITTED END LAG LOST",
		"a.b/0 0 0 0 0 0",
		"orders/0 12 5 20 8 7",
		"retry.bill..ing.orders.1/0 0 0 0 0 0",
		"retry.bill..ing.orders.2/0 0 1 3 2 0",
		"redrive.bill..ing.orders/0 0 0 0 0 0",
		"retry.bill..ing.orders.01/0 0 0 0 0 0",
		"retry.bill..ing.orders.x/0 0 0 0 0 0",
		"retry.other.orders.1/0 0 0 0 0 0",
	}, lines)
	stdout, _, _ = duplex(t, nil, to(b, "group", "lag", group, "--json")...)
	var shown struct {
		Lag    int64
		Topics []struct {
			Topic, Kind, Source string
			Lag, Kept, Lost     int64
		}
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &shown))
	require.EqualValues(t, 10, shown.Lag)
	require.Equal(t, "{orders source  8 8 7}", fmt.Sprint(shown.Topics[1]))
	require.Equal(t, "{dlq.bill..ing.orders dlq orders 0 4 0}", fmt.Sprint(shown.Topics[5]))
}

func TestUnknownGroupsNameTheNearest(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	commit(t, b, "billing", "orders", 0, 0, "")
	for _, command := range [][]string{{"describe"}, {"lag"}, {"seek", "--topic", "orders", "--to", "end", "--yes"}} {
		_, stderr, code := duplex(t, nil, to(b, append([]string{"group", command[0], "biling"}, command[1:]...)...)...)
		require.Equal(t, 1, code, stderr)
		require.Equal(t, `duplex: group: asking for group "biling": there is no such group (did you mean "billing"?)`+"\n", stderr)
		_, stderr, code = duplex(t, nil, to(b, append([]string{"group", command[0], "no\x1b[2J\nne"}, command[1:]...)...)...)
		require.Equal(t, 1, code, stderr)
		require.Contains(t, stderr, "(or no right to see it)")
		require.NotContains(t, stderr, "\x1b")
	}
}

func TestGroupsWithoutRights(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	fill(t, b, "orders", 0, 3)
	commit(t, b, "billing", "orders", 0, 1, "")
	for _, test := range []struct {
		fault kfake.Fault
		args  []string
		says  string
	}{
		{kfake.Fault{Group: "billing", Err: kerr.GroupAuthorizationFailed}, []string{"describe", "billing"}, `asking for group "billing": unauthorized`},
		{kfake.Fault{Group: "billing", Err: kerr.GroupAuthorizationFailed, Keys: []kmsg.Key{kmsg.ConsumerGroupDescribe}}, []string{"describe", "billing"}, `asking for group "billing": unauthorized`},
		{kfake.Fault{Group: "billing", Err: kerr.GroupAuthorizationFailed, Keys: []kmsg.Key{kmsg.OffsetFetch}}, []string{"lag", "billing"}, `asking for group "billing": asking for its offsets: unauthorized`},
		{kfake.Fault{Topic: "orders", Err: kerr.TopicAuthorizationFailed, Keys: []kmsg.Key{kmsg.ListOffsets}}, []string{"lag", "billing"}, "topic orders: asking for its offsets: unauthorized"},
		{kfake.Fault{Topic: "orders", Err: kerr.TopicAuthorizationFailed, Keys: []kmsg.Key{kmsg.ListOffsets}}, []string{"ls"}, "group billing: topic orders: asking for its offsets: unauthorized"},
		{kfake.Fault{Group: "billing", Err: kerr.GroupAuthorizationFailed, Keys: []kmsg.Key{kmsg.OffsetFetch}}, []string{"ls"}, "group billing: asking for its offsets: unauthorized"},
		{kfake.Fault{Group: "billing", Err: kerr.GroupAuthorizationFailed, Keys: []kmsg.Key{kmsg.DescribeGroups}}, []string{"ls"}, "group billing: asking for its members: unauthorized"},
		{kfake.Fault{TopLevel: true, Err: kerr.ClusterAuthorizationFailed, Keys: []kmsg.Key{kmsg.ListGroups}}, []string{"ls"}, "listing groups: unauthorized"},
		{kfake.Fault{Topic: "orders", Err: kerr.TopicAuthorizationFailed, Keys: []kmsg.Key{kmsg.Metadata}}, []string{"seek", "billing", "--topic", "orders", "--to", "end", "--yes"}, `asking for topic "orders": unauthorized`},
		{kfake.Fault{Topic: "orders", Err: kerr.TopicAuthorizationFailed, Keys: []kmsg.Key{kmsg.OffsetCommit}}, []string{"seek", "billing", "--topic", "orders", "--to", "end", "--yes"}, `seeking in topic "orders" for group "billing": unauthorized`},
		{kfake.Fault{Group: "billing", Err: kerr.GroupAuthorizationFailed, Keys: []kmsg.Key{kmsg.OffsetCommit}}, []string{"seek", "billing", "--topic", "orders", "--to", "end", "--yes"}, `for group "billing": unauthorized`},
	} {
		test.fault.Count = -1
		handle := b.Kfake().Fault(test.fault)
		_, stderr, code := duplex(t, nil, to(b, append([]string{"group"}, test.args...)...)...)
		require.Contains(t, stderr, test.says, "%q", test.args)
		require.Positive(t, handle.Hits())
		if partly := test.fault.Topic != "" && test.args[0] != "seek"; !partly {
			require.Equal(t, command.Failed, code, "%q", test.args)
		}
		handle.Remove()
	}
	require.EqualValues(t, 1, offset(t, b, "billing", "orders", 0), "nothing was changed")
}

func TestGroupsWhereNobodyAnswers(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"ls"}, {"describe", "g"}, {"lag", "g"}, {"seek", "g", "--topic", "t", "--to", "end"}} {
		_, stderr, code := duplex(t, nil, append(append([]string{"group"}, args...), "--brokers", apptest.Nobody(t), "--timeout", "300ms")...)
		require.Equal(t, command.Failed, code)
		require.Contains(t, stderr, "group: reaching the cluster")
		require.Contains(t, stderr, "unreachable")
	}
}
