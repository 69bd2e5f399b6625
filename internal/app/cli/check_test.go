package cli_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/kafka"
)

// aged writes a record that is as old as age to partition 0.
func aged(t *testing.T, b *broker.Broker, topic string, age time.Duration, headers ...kgo.RecordHeader) {
	t.Helper()
	client, err := kafka.NewClient(b.Cluster(), nil, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	defer client.Close()
	require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Timestamp: time.Now().Add(-age), Headers: headers}).FirstErr())
}

// The exit codes of Nagios.
const (
	nagiosOK = iota
	nagiosWarning
	nagiosCritical
	nagiosUnknown
)

func TestCheckOfLag(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders", Partitions: 2}, broker.Topic{Name: "retry.billing.orders.1"}, broker.Topic{Name: "dlq.billing.orders"})
	fill(t, b, "orders", 0, 10)
	fill(t, b, "orders", 1, 4)
	fill(t, b, "retry.billing.orders.1", 0, 3)
	fill(t, b, "dlq.billing.orders", 0, 50)
	commit(t, b, "billing", "orders", 0, 2, "")
	commit(t, b, "billing", "orders", 1, 3, "")
	commit(t, b, "billing", "retry.billing.orders.1", 0, 0, "")
	for _, c := range []struct {
		args string
		code int
		line string
	}{
		{"--warn 12 --critical 100", nagiosOK, "LAG OK - group billing (Empty, 0 members): 12 records not finished|lag=12;12;100;0"},
		{"--warn 11 --critical 100", nagiosWarning, "LAG WARNING - group billing (Empty, 0 members): 12 records not finished|lag=12;11;100;0"},
		{"--warn 1 --critical 11", nagiosCritical, "LAG CRITICAL - group billing (Empty, 0 members): 12 records not finished|lag=12;1;11;0"},
		{"--critical 12", nagiosOK, "LAG OK - group billing (Empty, 0 members): 12 records not finished|lag=12;;12;0"},
		{"--topic orders --critical 9", nagiosOK, "LAG OK - group billing (Empty, 0 members): 9 records not finished|lag=9;;9;0"},
		{"--topic orders --critical 8", nagiosCritical, "LAG CRITICAL - group billing (Empty, 0 members): 9 records not finished|lag=9;;8;0"},
	} {
		stdout, stderr, code := duplex(t, nil, to(b, append([]string{"check", "lag", "billing"}, strings.Fields(c.args)...)...)...)
		require.Equal(t, c.line+"\n", stdout, c.args)
		require.Equal(t, c.code, code, c.args)
		require.Empty(t, stderr)
	}
	stdout, _, code := duplex(t, nil, to(b, "check", "lag", "billing", "--warn", "5", "--format", "prometheus")...)
	require.Equal(t, nagiosWarning, code)
	require.Equal(t, `# LAG WARNING - group billing (Empty, 0 members): 12 records not finished
# HELP duplex_check_lag Records that the group has not finished.
# TYPE duplex_check_lag gauge
duplex_check_lag{group="billing"} 12
# HELP duplex_check_lag_topic Records of a topic that the group has not finished.
# TYPE duplex_check_lag_topic gauge
duplex_check_lag_topic{group="billing",topic="orders"} 9
duplex_check_lag_topic{group="billing",topic="retry.billing.orders.1"} 3
# HELP duplex_check_state 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
# TYPE duplex_check_state gauge
duplex_check_state{check="lag"} 1
`, stdout)
	stdout, _, code = duplex(t, nil, to(b, "check", "lag", "billing", "--critical", "5", "--format", "json")...)
	require.Equal(t, nagiosCritical, code)
	var said struct {
		Check, State string
		Figures      []struct {
			Name     string
			Value    int64
			Critical *int64
		}
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &said))
	require.Equal(t, "lag CRITICAL", said.Check+" "+said.State)
	require.EqualValues(t, 12, said.Figures[0].Value)
	require.EqualValues(t, 5, *said.Figures[0].Critical)
}

func TestCheckOfAge(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"}, broker.Topic{Name: "payments"})
	for _, age := range []time.Duration{3 * time.Hour, time.Hour, time.Minute} {
		aged(t, b, "orders", age)
	}
	aged(t, b, "payments", 10*time.Minute)
	commit(t, b, "billing", "orders", 0, 1, "")
	commit(t, b, "billing", "payments", 0, 0, "")
	age := func(args ...string) (int, int) {
		stdout, stderr, code := duplex(t, nil, to(b, append([]string{"check", "lag", "billing"}, args...)...)...)
		_, rest, found := strings.Cut(stdout, " age=")
		require.True(t, found, stdout+stderr)
		seconds, _, _ := strings.Cut(rest, "s;;")
		n, err := strconv.Atoi(seconds)
		require.NoError(t, err, stdout)
		return n, code
	}
	n, code := age("--age", "50m")
	require.Equal(t, nagiosCritical, code)
	require.InDelta(t, 3600, n, 60, "the one at the offset, not the one that is finished")
	_, code = age("--age", "2h")
	require.Equal(t, nagiosOK, code)
	n, code = age("--age", "20m", "--topic", "payments")
	require.Equal(t, nagiosOK, code)
	require.InDelta(t, 600, n, 60)
	commit(t, b, "billing", "payments", 0, 1, "")
	n, code = age("--age", "1s", "--topic", "payments")
	require.Equal(t, nagiosOK, code)
	require.Zero(t, n, "nothing is not finished")
	b.Kfake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Topic: "orders", Err: kerr.TopicAuthorizationFailed, Count: -1})
	stdout, _, code := duplex(t, nil, to(b, "check", "lag", "billing", "--age", "2h", "--timeout", "3s")...)
	require.Equal(t, nagiosUnknown, code, stdout)
	require.Contains(t, stdout, "LAG UNKNOWN - ")
}

func TestChecksThatCannotLook(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"}, broker.Topic{Name: "gone"})
	fill(t, b, "orders", 0, 3)
	commit(t, b, "billing", "orders", 0, 1, "")
	commit(t, b, "half", "orders", 0, 1, "")
	commit(t, b, "half", "gone", 0, 0, "")
	b.Kfake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Metadata}, Topic: "gone", Err: kerr.UnknownTopicOrPartition, Count: -1})
	here := strings.Join(b.Addrs(), ",")
	for says, args := range map[string]string{
		`LAG UNKNOWN - group: asking for group "biling": there is no such group (did you mean "billing"?)`: "lag biling --warn 1 --brokers " + here,
		"LAG UNKNOWN - nothing to compare with: want --warn, --critical or --age":                          "lag billing --brokers " + here,
		"LAG UNKNOWN - group billing does not read topic payments":                                         "lag billing --warn 1 --topic payments --brokers " + here,
		"LAG UNKNOWN - want GROUP, got 0 arguments":                                                        "lag --warn 1",
		`LAG UNKNOWN - unknown flag: --wran, did you mean "--warn"?`:                                       "lag billing --wran 1",
		`LAG UNKNOWN - invalid argument "many" for "--warn" flag`:                                          "lag billing --warn many",
		"LAG UNKNOWN - --warn 5 is more than --critical 4":                                                 "lag billing --warn 5 --critical 4",
		"LAG UNKNOWN - --warn -2, --critical -1: want numbers":                                             "lag billing --warn=-2",
		"LAG UNKNOWN - --timeout 0s: must be positive":                                                     "lag billing --warn 1 --timeout 0s",
		`LAG UNKNOWN - --format "jsn": want nagios, json or prometheus, did you mean "json"?`:              "lag billing --warn 1 --format jsn",
		"LAG UNKNOWN - Cluster.Brokers[0] = \"nonsense\": want host:port":                                  "lag billing --warn 1 --brokers nonsense",
		`LAG UNKNOWN - config: using profile "x": there is no file of profiles`:                            "lag billing --warn 1 -C x",
		"LAG UNKNOWN - check: reaching the cluster at ":                                                    "lag billing --warn 1 --timeout 300ms --brokers " + apptest.Nobody(t),
		"DLQ UNKNOWN - check: reaching the cluster at ":                                                    "dlq --timeout 300ms --brokers " + apptest.Silence(t),
		"DLQ UNKNOWN - --loss -1s: must not be negative":                                                   "dlq --loss=-1s",
		"unknown-topic": "dlq nothing.there --brokers " + here,
		"records not finished; not all is known: asking for its offsets: unknown-topic": "lag half --warn 10 --brokers " + here,
	} {
		began := time.Now()
		stdout, _, code := duplex(t, nil, append([]string{"check"}, strings.Fields(args)...)...)
		require.Less(t, time.Since(began), 5*time.Second, "a monitor does not wait for --dial-timeout")
		require.Contains(t, stdout, says)
		require.Equal(t, nagiosUnknown, code, stdout)
		require.Equal(t, 1, strings.Count(stdout, "\n"), stdout)
	}
	stdout, _, code := duplex(t, nil, "check", "lag", "half", "--critical", "1", "--brokers", here)
	require.Equal(t, nagiosCritical, code, "what is critical stays so: %s", stdout)
	stdout, _, code = duplex(t, nil, "check", "lag", "biling", "--warn", "1", "--format", "json", "--brokers", here)
	require.Equal(t, nagiosUnknown, code)
	require.True(t, json.Valid([]byte(stdout)), stdout)
	stdout, _, code = duplex(t, nil, "check", "lag", "--help")
	require.Equal(t, nagiosOK, code)
	require.Contains(t, stdout, "3 UNKNOWN")
}

// A name cannot forge figures, nor move a cursor.
func TestChecksOfOddNames(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	fill(t, b, "orders", 0, 3)
	commit(t, b, "a|lag=0;\"\\\x1b[2J\nb", "orders", 0, 1, "")
	stdout, _, code := duplex(t, nil, to(b, "check", "lag", "a|lag=0;\"\\\x1b[2J\nb", "--warn", "1")...)
	require.Equal(t, nagiosWarning, code, stdout)
	require.Equal(t, "LAG WARNING - group a/lag=0;\"\\ [2J b (Empty, 0 members): 2 records not finished|lag=2;1;;0\n", stdout)
	stdout, _, _ = duplex(t, nil, to(b, "check", "lag", "a|lag=0;\"\\\x1b[2J\nb", "--warn", "1", "--format", "prometheus")...)
	require.Contains(t, stdout, "duplex_check_lag{group=\"a|lag=0;\\\"\\\\ [2J b\"} 2\n")
}

func TestCheckOfDeadLetters(t *testing.T) {
	t.Parallel()
	day := strconv.Itoa(24 * 3600 * 1000)
	b := apptest.Listen(t,
		broker.Topic{Name: "dlq.g.orders", Configs: map[string]string{"retention.ms": day}},
		broker.Topic{Name: "dlq.g.payments", Configs: map[string]string{"retention.ms": "-1"}}, broker.Topic{Name: "orders"})
	check := func(args string) (string, int) {
		stdout, _, code := duplex(t, nil, to(b, append([]string{"check", "dlq"}, strings.Fields(args)...)...)...)
		return stdout, code
	}
	line, code := check("")
	require.Equal(t, nagiosOK, code, line)
	require.Equal(t, "DLQ OK - 0 letters open in 0 of 2 queues|open=0;0;;0 age=0s;;;0\n", line)

	aged(t, b, "dlq.g.payments", 2*time.Hour)
	aged(t, b, "dlq.g.payments", time.Hour)
	line, code = check("")
	require.Equal(t, nagiosWarning, code, line)
	require.Regexp(t, `^DLQ WARNING - 2 letters open in 1 of 2 queues, the oldest for 72\d\ds\|open=2;0;;0 age=72\d\ds;;;0\n$`, line)
	_, code = check("--warn 2 --critical 2")
	require.Equal(t, nagiosOK, code)
	_, code = check("--critical 1")
	require.Equal(t, nagiosCritical, code)
	line, code = check("--age 1h")
	require.Equal(t, nagiosCritical, code)
	require.Contains(t, line, ";;3600;0")
	_, code = check("--age 3h --warn -1")
	require.Equal(t, nagiosOK, code)
	line, code = check("dlq.g.orders")
	require.Equal(t, nagiosOK, code, "only what is named")
	require.Contains(t, line, "0 of 1 queues")

	aged(t, b, "dlq.g.orders", 20*time.Hour) // 4 h are left
	line, code = check("--warn 100")
	require.Equal(t, nagiosCritical, code, line)
	require.Regexp(t, `, the first may be deleted in 14\d\d\ds\|`, line)
	require.Regexp(t, ` loss=14\d\d\ds;;;0\n$`, line)
	_, code = check("--warn 100 --loss 3h")
	require.Equal(t, nagiosOK, code)
	_, code = check("--warn 100 --loss 0")
	require.Equal(t, nagiosOK, code)
	require.NoError(t, b.CreateTopic(broker.Topic{Name: "dlq.a.orders", Configs: map[string]string{"retention.ms": "2592000000"}}))
	aged(t, b, "dlq.a.orders", time.Hour)
	line, code = check("--warn 100")
	require.Equal(t, nagiosCritical, code, "the first that is lost counts: %s", line)
	b.Kfake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.ListOffsets}, Topic: "dlq.a.orders", Err: kerr.TopicAuthorizationFailed, Count: -1})
	line, code = check("--warn 100 --loss 0")
	require.Equal(t, nagiosUnknown, code, line)
	require.Contains(t, line, "; not all is known: dlq.a.orders: ")
	line, _ = check("--format prometheus")
	for _, says := range []string{"\nduplex_check_dlq_open 3\n", "\nduplex_check_dlq_loss_seconds 14", "\nduplex_check_dlq_queue{topic=\"dlq.g.payments\"} 2\n", "\nduplex_check_state{check=\"dlq\"} 2\n"} {
		require.Contains(t, line, says)
	}
}
