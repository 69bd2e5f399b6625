package cli_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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

// offset is what a group has committed, −1 if nothing.
func offset(t *testing.T, b *broker.Broker, group, topic string, partition int32) int64 {
	t.Helper()
	all, err := admin(t, b).FetchOffsets(t.Context(), group)
	require.NoError(t, err)
	if o, ok := all.Lookup(topic, partition); ok {
		return o.At
	}
	return -1
}

// seek runs duplex group seek billing --topic orders.
func seek(t *testing.T, b *broker.Broker, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	return duplex(t, []string{"DUPLEX_YES=true", "DUPLEX_TO=start", "DUPLEX_TOPIC=elsewhere"}, to(b, append([]string{"group", "seek", "billing", "--topic", "orders"}, args...)...)...)
}

func TestSeekShowsAndMoves(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders", Partitions: 3})
	fill(t, b, "orders", 0, 20)
	fill(t, b, "orders", 1, 10)
	trim(t, b, "orders", 1, 6)
	commit(t, b, "billing", "orders", 0, 8, commitmeta.Encode(commitmeta.Meta{
		Partitions: 3, Runs: []commitmeta.Run{{N: 2}, {Finished: true, N: 3}, {N: 1}, {Finished: true, N: 4}}, // to 18
		Heads: []commitmeta.Head{{Offset: 8, Attempt: 1}, {Offset: 9, Attempt: 1}, {Offset: 13, Attempt: 1}}, Clean: true,
	}))
	commit(t, b, "billing", "orders", 1, 2, "written by another")

	plan := func(args ...string) [][]string {
		stdout, stderr, code := seek(t, b, append(args, "--dry-run")...)
		require.Equal(t, command.OK, code, stderr)
		require.Contains(t, stderr, "--dry-run: ")
		return rows(stdout)[1:]
	}
	require.Equal(t, [][]string{
		{"orders/0", "8", "20", "0", "20", "5", "skipped,", "3", "of", "them", "waiting"}, // 8 9 13 18 19
		{"orders/1", "2", "10", "6", "10", "4", "skipped"},
		{"orders/2", "-", "0", "0", "0", "has", "no", "offset", "yet"},
	}, plan("--to", "end"))
	require.Equal(t, [][]string{{"orders/0", "8", "0", "0", "20", "15", "repeated"}}, plan("--to", "start", "--partition", "0"))
	require.Equal(t, [][]string{{"orders/0", "8", "12", "0", "20", "2", "skipped,", "2", "of", "them", "waiting,", "5", "repeated"}}, plan("--to", "12", "--partition", "0"))
	require.Equal(t, [][]string{{"orders/1", "2", "6", "6", "10", "only", "what", "was", "deleted", "is", "skipped"}}, plan("--to", "start", "-p", "1"))
	require.EqualValues(t, 8, offset(t, b, "billing", "orders", 0), "a dry run changes nothing")

	stdout, stderr, code := seek(t, b, "--to", "end", "--yes", "--json")
	require.Equal(t, command.OK, code, stderr)
	require.Equal(t, "duplex: moved 3 partitions\n", stderr)
	var done struct {
		Group, Topic string
		Applied      bool
		Partitions   []struct {
			Partition, From, To, Skipped, Repeated int64
			Waiting                                int
		}
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &done))
	require.Equal(t, "{billing orders true [{0 8 20 5 0 3} {1 2 10 4 0 0} {2 -1 0 0 0 0}]}", fmt.Sprint(done))
	all, err := admin(t, b).FetchOffsets(t.Context(), "billing")
	require.NoError(t, err)
	for p, want := range []int64{20, 10, 0} {
		o, ok := all.Lookup("orders", int32(p))
		require.True(t, ok)
		require.Equal(t, want, o.At)
		meta, err := commitmeta.Decode(o.Metadata)
		if p == 0 { // the number of partitions stays, the rest was of another place
			require.NoError(t, err)
			require.Equal(t, commitmeta.Meta{Partitions: 3}, meta)
		} else {
			require.Empty(t, o.Metadata)
		}
	}
	_, stderr, code = seek(t, b, "--to", "end")
	require.Equal(t, command.OK, code)
	require.Equal(t, "duplex: nothing to move: the group is there already\n", stderr)
}

func TestSeekToATime(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	client, err := kafka.NewClient(b.Cluster(), nil)
	require.NoError(t, err)
	defer client.Close()
	now := time.Now().Truncate(time.Second)
	for _, ago := range []time.Duration{3 * time.Hour, 2 * time.Hour, 30 * time.Minute, time.Minute} {
		require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: "orders", Timestamp: now.Add(-ago)}).FirstErr())
	}
	commit(t, b, "billing", "orders", 0, 1, "")
	for _, at := range []struct {
		where string
		want  int64
	}{
		{"-1h", 2},
		{now.Add(-2 * time.Hour).Format(time.RFC3339), 1},
		{"@" + strconv.FormatInt(now.Add(-2*time.Hour).UnixMilli()+1, 10), 2},
		{"-10s", 4}, // after the last: the end
		{"@0", 0},
	} {
		_, stderr, code := seek(t, b, "--to", at.where, "--yes")
		require.Equal(t, command.OK, code, stderr)
		require.Equal(t, at.want, offset(t, b, "billing", "orders", 0), at.where)
	}
}

func TestSeekIsRefusedWithoutAYes(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	fill(t, b, "orders", 0, 5)
	commit(t, b, "billing", "orders", 0, 2, "")
	stdout, stderr, code := seek(t, b, "--to", "end")
	require.Equal(t, command.Refused, code, "not by DUPLEX_YES either")
	require.Contains(t, stdout, "3 skipped", "what would change is shown")
	require.Contains(t, stderr, `group: seeking in topic "orders" for group "billing": refused (look at what would change, and give --yes`)
	require.EqualValues(t, 2, offset(t, b, "billing", "orders", 0))
}

func TestWhoMayOnlyReadMayLookAtAPlan(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	commit(t, b, "billing", "orders", 0, 0, "")
	fill(t, b, "orders", 0, 3)
	stdout, stderr, code := seek(t, b, "--to", "end", "--read-only", "--dry-run")
	require.Equal(t, command.OK, code, stderr)
	require.Contains(t, stdout, "3 skipped")
	stdout, stderr, code = topics(t, b, "ensure", "new:2", "--read-only", "--dry-run")
	require.Equal(t, command.OK, code, stderr)
	require.Contains(t, stdout, "would be made")
}

func TestSeekIsRefusedWhileTheGroupHasMembers(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"classic", "kip848"} {
		b := apptest.Listen(t, broker.Topic{Name: "orders"})
		fill(t, b, "orders", 0, 5)
		stop := member(t, b, "billing", "orders", "--protocol", protocol, "--client-id", "desk", "--instance-id", "i")
		require.Eventually(t, func() bool { return offset(t, b, "billing", "orders", 0) == 5 }, soon, 20*time.Millisecond)
		for _, how := range []string{"--yes", "--dry-run"} {
			_, stderr, code := seek(t, b, "--to", "start", how)
			require.Equal(t, command.Refused, code, stderr)
			require.Contains(t, stderr, "refused: the group is Stable: 1 members, such as desk at ")
			require.Contains(t, stderr, "a running Duplex consumer moves itself by Consumer.Seek; a member with an instance id goes only")
		}
		require.EqualValues(t, 5, offset(t, b, "billing", "orders", 0))
		stop()
	}
}

func TestSeekThatAMemberForestallsIsRefused(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	fill(t, b, "orders", 0, 5)
	commit(t, b, "billing", "orders", 0, 2, "")
	for _, err := range []*kerr.Error{kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.RebalanceInProgress, kerr.StaleMemberEpoch} {
		b.Kfake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.OffsetCommit}, Topic: "orders", Err: err})
		_, stderr, code := seek(t, b, "--to", "end", "--yes")
		require.Equal(t, command.Refused, code, stderr)
		require.Contains(t, stderr, "a member has joined the group meanwhile")
	}
}

func TestSeekBeyondTheLog(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders", Partitions: 2})
	fill(t, b, "orders", 0, 5)
	trim(t, b, "orders", 0, 2)
	commit(t, b, "billing", "orders", 0, 3, "")
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"--to", "6"}, "seeking in orders/0: it has no offset 6: it begins at 2 and ends before 5"},
		{[]string{"--to", "6"}, "seeking in orders/1: it has no offset 6: it begins at 0 and ends before 0"},
		{[]string{"--to", "1", "-p", "0"}, "it has no offset 1: it begins at 2 and ends before 5"},
		{[]string{"--to", "9223372036854775807", "-p", "0"}, "it has no offset 9223372036854775807"},
		{[]string{"--to", "1700000000000", "-p", "0"}, "for a time in milliseconds write --to @1700000000000"},
		{[]string{"--to", "start", "-p", "2"}, "seeking in orders/2: there is no such partition: the topic has 0 to 1"},
		{[]string{"--to", "start", "--topic", "order"}, `group: asking for topic "order": unknown-topic: there is no such topic (did you mean "orders"?)`},
		{[]string{"--to", "start", "--topic", "nothing-like-it"}, "or no right to see it"},
	} {
		_, stderr, code := seek(t, b, append(test.args, "--yes")...)
		require.Equal(t, command.Failed, code, stderr)
		require.Contains(t, stderr, test.says)
	}
	require.EqualValues(t, 3, offset(t, b, "billing", "orders", 0))
	require.EqualValues(t, -1, offset(t, b, "billing", "orders", 1))
	_, stderr, code := seek(t, b, "--to", "5", "-p", "0", "--yes")
	require.Equal(t, command.OK, code, stderr)
	require.EqualValues(t, 5, offset(t, b, "billing", "orders", 0), "the end is an offset to be at")
}

func TestSeekUsage(t *testing.T) {
	t.Parallel()
	for says, args := range map[string][]string{
		"--topic is missing":                         {"--to", "end"},
		"--to is missing":                            {"--topic", "t"},
		"only a-z A-Z 0-9":                           {"--topic", "a b", "--to", "end"},
		"--partition -1: must not be negative":       {"--topic", "t", "--to", "end", "--partition", "-1"},
		`--to "later": want start, end, an offset`:   {"--topic", "t", "--to", "later"},
		"is larger than any offset":                  {"--topic", "t", "--to", "9223372036854775808"},
		`--to "-1": want how long ago, such as -90m`: {"--topic", "t", "--to", "-1"},
		`--to "--1h": want how long ago`:             {"--topic", "t", "--to", "--1h"},
		`--to "@": want milliseconds`:                {"--topic", "t", "--to", "@"},
		`--to "@-5": want milliseconds`:              {"--topic", "t", "--to", "@-5"},
		`--to "@99999999999999999": want millisecon`: {"--topic", "t", "--to", "@99999999999999999"},
		"that time is to come":                       {"--topic", "t", "--to", "2199-01-01T00:00:00Z"},
		"that is before 1970":                        {"--topic", "t", "--to", "1969-12-31T23:59:59Z"},
		`to "-2540400h`:                              {"--topic", "t", "--to", "-2540400h10m10000000000000000s"},
		"--timeout 0s: must be positive":             {"--topic", "t", "--to", "end", "--timeout", "0"},
		"want GROUP, got 2 arguments":                {"--topic", "t", "--to", "end", "h"},
	} {
		_, stderr, code := duplex(t, nil, append([]string{"group", "seek", "g"}, args...)...)
		require.Equal(t, command.Usage, code, stderr)
		require.Contains(t, stderr, says)
	}
}
