package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/command"
)

// topics runs duplex topics.
func topics(t *testing.T, b *broker.Broker, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return duplex(t, []string{"DUPLEX_GROUP=elsewhere", "DUPLEX_SET=x=y", "DUPLEX_REPLICATION=7"}, to(b, append([]string{"topics"}, args...)...)...)
}

// settings are those of a topic.
func settings(t *testing.T, b *broker.Broker, topic string) map[string]string {
	t.Helper()
	described, err := admin(t, b).DescribeTopicConfigs(t.Context(), topic)
	require.NoError(t, err)
	all := map[string]string{}
	for _, c := range described[0].Configs {
		all[c.Key] = c.MaybeValue()
	}
	return all
}

// joined are the lines of a table, with one space between cells.
func joined(text string) (lines []string) {
	for _, row := range rows(text) {
		lines = append(lines, strings.Join(row, " "))
	}
	return lines
}

func TestEnsureMakesWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "there", Partitions: 2})
	args := []string{"ensure", "orders:3", "there", "other", "--replication", "1", "--set", "retention.ms=1000000", "--set", "min.insync.replicas=1"}
	stdout, stderr, code := topics(t, b, append(args, "--dry-run")...)
	require.Equal(t, command.Failed, code, "there differs: %s", stderr)
	require.Equal(t, []string{
		"TOPIC STATE PARTITIONS REPLICAS DIFFERS",
		"orders would be made 3 1 -",
		"there differs 2 1 retention.ms is 604800000, not 1000000",
	}, joined(stdout)[:3])
	all, err := admin(t, b).ListTopics(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"there"}, all.Names(), "a dry run makes nothing")

	stdout, stderr, code = topics(t, b, args...)
	require.Equal(t, command.Failed, code, stderr)
	require.Equal(t, "orders made 3 1 -", joined(stdout)[1])
	require.Equal(t, "there differs 2 1 retention.ms is 604800000, not 1000000", joined(stdout)[2])
	require.Equal(t, "1000000", settings(t, b, "orders")["retention.ms"])
	require.Equal(t, "604800000", settings(t, b, "there")["retention.ms"], "what is there is not changed")

	stdout, stderr, code = topics(t, b, "ensure", "orders:3", "there")
	require.Equal(t, command.OK, code, stderr)
	require.Equal(t, []string{"TOPIC STATE PARTITIONS REPLICAS DIFFERS", "orders there 3 1 -", "there there 2 1 -"}, joined(stdout))

	stdout, _, code = topics(t, b, "ensure", "orders:6", "there:1", "--replication", "3", "--set", "no.such.setting=\x1b[2J", "--json")
	require.Equal(t, command.Failed, code)
	var got []struct {
		Topic, State string
		Differs      []struct{ What, Is, Want string }
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &got))
	require.Equal(t, "differs", got[0].State)
	require.Equal(t, []struct{ What, Is, Want string }{{"partitions", "3", "6"}, {"replicas", "1", "3"}, {"no.such.setting", "not known", "\x1b[2J"}}, got[0].Differs)
	require.Equal(t, []struct{ What, Is, Want string }{{"partitions", "2", "1"}, {"replicas", "1", "3"}, {"no.such.setting", "not known", "\x1b[2J"}}, got[1].Differs)
	stdout, _, _ = topics(t, b, "ensure", "orders", "--set", "no.such.setting=\x1b[2J")
	require.NotContains(t, stdout, "\x1b")
}

func TestEnsureMakesTheTopicsForFailedRecords(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "there", Partitions: 3})
	args := []string{"ensure", "orders:2", "there", "--group", "bill.ing", "--retry", "1s,1h", "--dead-letter-retention", "48h"}
	stdout, stderr, code := topics(t, b, append(args, "--dry-run")...)
	require.Equal(t, command.OK, code, stderr)
	lines := joined(stdout)
	require.Len(t, lines, 11)
	require.Equal(t, "retry.bill..ing.orders.1 would be made 2 1 -", lines[2])
	stdout, stderr, code = topics(t, b, args...)
	require.Equal(t, command.OK, code, stderr)
	require.Equal(t, []string{
		"TOPIC STATE PARTITIONS REPLICAS DIFFERS",
		"orders made 2 1 -",
		"retry.bill..ing.orders.1 made 2 1 -",
		"retry.bill..ing.orders.2 made 2 1 -",
		"redrive.bill..ing.orders made 2 1 -",
		"dlq.bill..ing.orders made 2 1 -",
		"there there 3 1 -",
		"retry.bill..ing.there.1 made 3 1 -",
		"retry.bill..ing.there.2 made 3 1 -",
		"redrive.bill..ing.there made 3 1 -",
		"dlq.bill..ing.there made 3 1 -",
	}, joined(stdout))
	require.Equal(t, "172800000", settings(t, b, "dlq.bill..ing.orders")["retention.ms"], "as the policy makes it")
	require.Equal(t, "delete", settings(t, b, "retry.bill..ing.orders.1")["cleanup.policy"])
	stdout, stderr, code = topics(t, b, args...)
	require.Equal(t, command.OK, code, stderr)
	require.NotContains(t, stdout, "made")
}

func TestEnsureNeverChangesTheTopicsForFailedRecords(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders", Partitions: 3}, broker.Topic{Name: "dlq.billing.orders", Partitions: 2},
		broker.Topic{Name: "payments"}, broker.Topic{Name: "redrive.billing.payments", Configs: map[string]string{"cleanup.policy": "compact"}})
	stdout, stderr, code := topics(t, b, "ensure", "orders", "payments", "--group", "billing", "--retry", "1s")
	require.Equal(t, command.Failed, code, stderr)
	require.Equal(t, []string{
		"TOPIC STATE PARTITIONS REPLICAS DIFFERS",
		"orders there 3 1 -",
		"retry.billing.orders.1 missing 3 1 -",
		"redrive.billing.orders missing 3 1 -",
		"dlq.billing.orders differs 2 1 partitions is 2, not 3",
		"payments there 1 1 -",
		"retry.billing.payments.1 missing 1 1 -",
		"redrive.billing.payments differs 1 1 cleanup.policy is compact, not delete",
		"dlq.billing.payments missing 1 1 -",
	}, joined(stdout))
	require.Contains(t, stderr, "duplex: beside orders some topics differ, so the missing ones are not made")
	all, err := admin(t, b).ListTopics(t.Context(), "dlq.billing.orders")
	require.NoError(t, err)
	require.Len(t, all["dlq.billing.orders"].Partitions, 2, "it is not grown")
}

func TestTopicsUsage(t *testing.T) {
	t.Parallel()
	for says, args := range map[string][]string{
		"want at least one NAME":                          {"ensure"},
		`NAME "a:0": "0" is not a number of partitions`:   {"ensure", "a:0"},
		`NAME "a:99999999999": "99999999999" is not a`:    {"ensure", "a:99999999999"},
		`NAME "a:": "" is not a number`:                   {"ensure", "a:"},
		`NAME "a": is there twice`:                        {"ensure", "a", "a:2"},
		"NAME: duplex: checking topic name":               {"ensure", "a\x1b[2J"},
		"--replication 0: must be at least 1":             {"ensure", "a", "--replication", "0"},
		"--replication -1: must be at least 1":            {"ensure", "a", "--replication", "-1"},
		`--set "x": want name=value`:                      {"ensure", "a", "--set", "x"},
		`--set "=x": want name=value`:                     {"ensure", "a", "--set", "=x"},
		"--retry: only with --group":                      {"ensure", "a", "--retry", "1s"},
		"--dead-letter-retention: only with --group":      {"ensure", "a", "--dead-letter-retention", "1h"},
		"--group is empty":                                {"ensure", "a", "--group", ""},
		`--group "a/b": cannot be part of a topic's name`: {"ensure", "a", "--group", "a/b"},
		"want them in rising order":                       {"ensure", "a", "--group", "g", "--retry", "1m,1s"},
		"want at least one NAME of a topic":               {"check"},
		"NAME: duplex: checking topic name \"a b\"":       {"check", "a b"},
		`, did you mean "compacted"?`:                     {"check", "a", "--accept", "compactd"},
		`--accept "everything": want missing, no-leader`:  {"check", "a", "--accept", "everything"},
		"--least-retention -1s: must not be negative":     {"check", "a", "--least-retention", "-1s"},
		"--record-bytes -1: must not be negative":         {"check", "a", "--record-bytes", "-1"},
		"--timeout 0s: must be positive":                  {"check", "a", "--timeout", "0"},
		"Available Commands":                              nil,
		`unknown command "list" for "duplex topics"`:      {"list"},
	} {
		stdout, stderr, code := duplex(t, nil, append([]string{"topics"}, args...)...)
		if args == nil {
			require.Equal(t, command.OK, code)
		} else {
			require.Equal(t, command.Usage, code, stderr)
		}
		require.Contains(t, stdout+stderr, says)
		require.NotContains(t, stderr, "\x1b")
	}
}

func TestCheckSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	b, err := broker.Start(broker.Config{Listen: "127.0.0.1:0", Brokers: 3})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	create := func(name string, replication int16, configs map[string]string) {
		values := map[string]*string{}
		for k, v := range configs {
			values[k] = &v
		}
		resp, err := admin(t, b).CreateTopic(t.Context(), 2, replication, values, name)
		require.NoError(t, err)
		require.NoError(t, resp.Err)
	}
	good := map[string]string{"min.insync.replicas": "2"}
	create("good", 3, good)
	create("alone", 1, nil)
	create("acked-by-one", 3, nil)
	create("tight", 2, good)
	create("refused", 2, map[string]string{"min.insync.replicas": "3"})
	create("table", 3, map[string]string{"min.insync.replicas": "2", "cleanup.policy": "compact", "retention.ms": "1000"})
	create("unclean", 3, map[string]string{"min.insync.replicas": "2", "unclean.leader.election.enable": "true"})
	create("short", 3, map[string]string{"min.insync.replicas": "2", "retention.ms": "3600000"})
	create("small", 3, map[string]string{"min.insync.replicas": "2", "max.message.bytes": "1000"})
	create("rpc.replies.desk", 3, map[string]string{"min.insync.replicas": "2", "retention.ms": "600000"})
	found := func(args ...string) (codes []string, code int) {
		stdout, stderr, code := topics(t, b, append([]string{"check", "--json"}, args...)...)
		var all []struct {
			Topic    string
			Findings []struct{ Code, Says, Do string }
		}
		require.NoError(t, json.Unmarshal([]byte(stdout), &all), stderr)
		for _, c := range all {
			for _, f := range c.Findings {
				require.NotEmpty(t, f.Says)
				require.NotEmpty(t, f.Do)
				codes = append(codes, f.Code)
			}
		}
		return codes, code
	}
	for name, want := range map[string][]string{
		"good": nil, "rpc.replies.desk": nil, "alone": {"one-replica"}, "acked-by-one": {"min-insync-one"}, "tight": {"no-spare"},
		"refused": {"few-in-sync", "no-spare"}, "table": {"compacted"}, "unclean": {"unclean-election"}, "short": {"short-retention"},
		"small": {"small-messages"}, "nowhere": {"missing"},
	} {
		codes, code := found(name)
		require.Equal(t, want, codes, name)
		require.Equal(t, want != nil, code == command.Failed, name)
	}
	codes, code := found("table", "short", "--accept", "compacted", "--least-retention", "1h")
	require.Empty(t, codes)
	require.Equal(t, command.OK, code)
	codes, _ = found("small", "--record-bytes", "1000")
	require.Empty(t, codes)
	codes, _ = found("good", "--record-bytes", "2000000")
	require.Equal(t, []string{"small-messages"}, codes)

	stdout, stderr, code := topics(t, b, "check", "shortt", "short", "good")
	require.Equal(t, command.Failed, code, stderr)
	require.Equal(t, []string{
		"short: 2 partitions, 3 replicas",
		"short-retention records are deleted after 1h0m0s, want them for 24h0m0s",
		"set retention.ms=86400000",
		"shortt",
		"missing there is no such topic, or no right to see it",
		`did you mean "short"? or duplex topics ensure shortt`,
	}, joined(stdout))
	stdout, stderr, code = topics(t, b, "check", "good", "good")
	require.Equal(t, command.OK, code)
	require.Empty(t, stdout)
	require.Equal(t, "duplex: nothing is wrong with 1 topics\n", stderr)
}

func TestTopicsWithoutRights(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"}, broker.Topic{Name: "payments"})
	for _, test := range []struct {
		fault kfake.Fault
		args  []string
		says  string
	}{
		{kfake.Fault{Topic: "orders", Err: kerr.TopicAuthorizationFailed}, []string{"ensure", "orders"}, `asking for topic "orders": unauthorized`},
		{kfake.Fault{Topic: "new", Err: kerr.TopicAuthorizationFailed, Keys: []kmsg.Key{kmsg.CreateTopics}}, []string{"ensure", "new"}, `creating topic "new": unauthorized`},
		{kfake.Fault{Topic: "orders", Err: kerr.TopicAuthorizationFailed}, []string{"check", "orders"}, `asking for topic "orders": unauthorized`},
		{kfake.Fault{Resource: "orders", Err: kerr.TopicAuthorizationFailed}, []string{"check", "orders"}, `asking for the settings of topic "orders": unauthorized`},
		{kfake.Fault{Resource: "orders", Err: kerr.TopicAuthorizationFailed}, []string{"ensure", "orders", "--set", "a=b"}, `asking for the settings of topic "orders": unauthorized`},
		{kfake.Fault{Topic: "dlq.g.orders", Err: kerr.TopicAuthorizationFailed, Keys: []kmsg.Key{kmsg.CreateTopics}}, []string{"ensure", "orders", "-g", "g"}, `creating topic "dlq.g.orders" with 1 partitions: unauthorized`},
	} {
		test.fault.Count = -1
		handle := b.Kfake().Fault(test.fault)
		stdout, stderr, code := topics(t, b, append(test.args, "payments")...)
		require.Equal(t, command.Failed, code, "%q", test.args)
		require.Contains(t, stderr, test.says)
		if test.args[0] == "ensure" {
			require.Contains(t, stdout, "payments", "the others are looked at all the same")
		}
		handle.Remove()
	}
	_, stderr, code := duplex(t, nil, "topics", "check", "orders", "--brokers", apptest.Nobody(t), "--timeout", "300ms")
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, "topics: reaching the cluster")
}
