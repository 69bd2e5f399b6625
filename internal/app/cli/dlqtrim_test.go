package cli_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/kafka"
)

func TestTrimShowsAsksAndDeletes(t *testing.T) {
	t.Parallel()
	b := seats(t, 5)
	trim := func(args ...string) (stdout, stderr string, code int) {
		return duplex(t, nil, to(b, append([]string{"dlq", "trim", deskQueue}, args...)...)...)
	}
	stdout, stderr, code := trim()
	require.Equal(t, []any{command.OK, "nothing to trim in " + deskQueue + "\n"}, []any{code, stdout}, stderr)
	_, stderr, code = redrive(t, b, "run", deskQueue, "--edit", mend, "--yes")
	require.Equal(t, command.OK, code, stderr)

	_, stderr, code = trim()
	require.Equal(t, command.Refused, code)
	require.Contains(t, stderr, "5 letters would be deleted, 0 stay")
	require.Contains(t, stderr, "give --yes")
	stdout, _, code = trim("--dry-run")
	require.Equal(t, command.OK, code)
	require.Equal(t, []string{"PARTITION", "FROM", "BEFORE", "LETTERS", "UP", "TO"}, rows(stdout)[1])
	stdout, _, code = trim("--dry-run", "--json", "--read-only")
	require.Equal(t, command.OK, code)
	var said struct {
		Applied       bool
		Letters, Kept int64
	}
	require.NoError(t, json.Unmarshal([]byte(stdout), &said))
	require.Equal(t, []any{false, int64(5), int64(0)}, []any{said.Applied, said.Letters, said.Kept})
	require.Equal(t, int64(5), left(t, b), "nothing was deleted so far")

	stdout, stderr, code = trim("--yes", "--by", "ann", "--reason", "all handled")
	require.Equal(t, command.OK, code, stderr)
	require.Equal(t, "deleted 5 letters of "+deskQueue+", 0 are left\n", stdout)
	require.Zero(t, left(t, b))
	stdout, _, _ = redrive(t, b, "history", deskQueue, "--audit")
	require.Contains(t, stdout, `"event":"trimming"`)
	require.Contains(t, stdout, `"reason":"all handled"`)
	stdout, _, code = trim("--yes", "--json")
	require.Equal(t, command.OK, code)
	require.Contains(t, stdout, `"applied": false`)
	_, stderr, code = duplex(t, nil, to(b, "dlq", "trim", "dlq.desk.booking")...)
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, "unknown-topic")
}

// left is how many letters the queue has.
func left(t *testing.T, b *broker.Broker) (n int64) {
	t.Helper()
	client := kafkaClient(t, b)
	starts, err := kafka.StartOffsets(t.Context(), client, deskQueue)
	require.NoError(t, err)
	ends, err := kafka.EndOffsets(t.Context(), client, deskQueue)
	require.NoError(t, err)
	for p, end := range ends {
		n += end - starts[p]
	}
	return n
}

func TestTrimIsRefusedWhileAJobWorks(t *testing.T) {
	t.Parallel()
	b := seats(t, 5)
	p := start(t, nil, to(b, "redrive", "run", deskQueue, "--yes", "--rate", "1")...)
	require.Eventually(t, func() bool {
		stdout, _, _ := redrive(t, b, "status", deskQueue)
		return strings.Contains(stdout, "running")
	}, soon, 20*time.Millisecond)
	_, stderr, code := duplex(t, nil, to(b, "dlq", "trim", deskQueue, "--yes")...)
	require.Equal(t, command.Refused, code, stderr)
	require.Contains(t, stderr, "is not over: wait for it, or resume or cancel it")
	_, stderr, code = redrive(t, b, "cancel", deskQueue)
	require.Equal(t, command.OK, code, stderr)
	p.Wait()
}

func TestDoctorOfAQueue(t *testing.T) {
	t.Parallel()
	day, compacted := "86400000", "compact"
	b := apptest.Listen(t,
		broker.Topic{Name: "orders", Partitions: 3, Configs: map[string]string{"retention.ms": "864000000"}},
		broker.Topic{Name: "dlq.a..b.orders", Partitions: 3, Configs: map[string]string{"retention.ms": "691200000"}},
		broker.Topic{Name: "redrive.a..b.orders", Partitions: 3},
		broker.Topic{Name: "dlq.g.orders", Partitions: 2, Configs: map[string]string{"retention.ms": day}},
		broker.Topic{Name: "dlq-state.g", Partitions: 2},
		broker.Topic{Name: "old-dlq", Configs: map[string]string{"cleanup.policy": compacted}},
		broker.Topic{Name: "fine-dlq", Configs: map[string]string{"retention.ms": "-1"}},
	)
	client := kafkaClient(t, b)
	require.NoError(t, client.ProduceSync(t.Context(), &kgo.Record{Topic: "old-dlq", Key: []byte("k"), Value: []byte("v")}).FirstErr())
	letters(t, client, "fine-dlq", 1, "karafka")
	for queue, want := range map[string][][2]string{
		"dlq.a..b.orders": {{"retention warning", "keeps letters for 192h0m0s, and orders what they were for 240h0m0s: set retention.ms=864000000"}},
		"dlq.g.orders": {
			{"retention warning", "dlq.g.orders keeps letters for 24h0m0s: raise retention.ms"},
			{"partitions warning", "dlq.g.orders has 2 partitions, orders has 3"},
			{"redrive problem", "redrive.g.orders is not there, or hidden from us: letters have nowhere to come back to: start a consumer of group g with a dlq.Policy, or duplex topics ensure orders --group g"},
			{"state problem", "dlq-state.g has 2 partitions"},
			{"state problem", "dlq-state.g has cleanup.policy=delete"},
		},
		"old-dlq":  {{"cleanup problem", "old-dlq is compacted"}, {"origin warning", "1 open letters do not say where they came from, such as 0/0"}},
		"fine-dlq": {},
	} {
		stdout, stderr, code := duplex(t, nil, to(b, "dlq", "doctor", queue, "--json")...)
		var said struct {
			OK       bool
			Findings []struct{ Check, State, Text, Fix string }
		}
		require.NoError(t, json.Unmarshal([]byte(stdout), &said), stderr)
		if len(want) == 0 {
			require.Equal(t, command.OK, code, stdout)
			require.True(t, said.OK)
			require.Contains(t, said.Findings[0].Text, "fine-dlq: nothing is wrong with it")
			continue
		}
		require.Equal(t, command.Failed, code, stdout)
		require.False(t, said.OK)
		require.Len(t, said.Findings, len(want), stdout)
		for i, f := range said.Findings {
			require.Equal(t, want[i][0], f.Check+" "+f.State)
			require.Contains(t, f.Text+": "+f.Fix, want[i][1])
		}
	}
	stdout, _, _ := duplex(t, nil, to(b, "dlq", "doctor", "old-dlq")...)
	require.Regexp(t, `(?m)^✗ cleanup      old-dlq is compacted: .+: set cleanup\.policy=delete$`, stdout)
	_, stderr, code := duplex(t, nil, to(b, "dlq", "doctor", "older-dlq")...)
	require.Equal(t, command.Failed, code)
	require.Contains(t, stderr, "unknown-topic")
}

// What a consumer makes, and a job after it, is as it should be.
// Without the state topic all letters are open again.
func TestDoctorMissesAStateTopic(t *testing.T) {
	t.Parallel()
	b := seats(t, 1)
	_, stderr, code := duplex(t, nil, to(b, "dlq", "discard", deskQueue, "--reason", "a test", "--yes")...)
	require.Equal(t, command.OK, code, stderr)
	_, stderr, code = duplex(t, nil, to(b, "dlq", "doctor", deskQueue)...)
	require.Equal(t, command.OK, code, stderr)
	_, err := kadm.NewClient(kafkaClient(t, b)).DeleteTopics(t.Context(), dlq.StateTopic("desk"))
	require.NoError(t, err)
	stdout, stderr, code := duplex(t, nil, to(b, "dlq", "doctor", deskQueue)...)
	require.Equal(t, command.Failed, code, stderr)
	require.Regexp(t, `^✗ state +dlq-state.desk is not there, and dlq.desk.bookings had a job, d\w+ of \S+: all its letters count as open`, stdout)
	require.Contains(t, stdout, "redrive history dlq.desk.bookings --audit")
}

func TestDoctorOfOurOwnQueue(t *testing.T) {
	t.Parallel()
	b := seats(t, 1)
	_, stderr, code := redrive(t, b, "run", deskQueue, "--edit", mend, "--yes")
	require.Equal(t, command.OK, code, stderr)
	there, err := kadm.NewClient(kafkaClient(t, b)).ListTopics(t.Context())
	require.NoError(t, err)
	require.Contains(t, there.Names(), dlq.StateTopicOf(deskQueue))
	stdout, stderr, code := duplex(t, nil, to(b, "dlq", "doctor", deskQueue)...)
	require.Equal(t, command.OK, code, stdout+stderr)
	require.Equal(t, "✓ queue        "+deskQueue+": nothing is wrong with it, 1 letters were read\n", stdout)
}

func TestDoctorOfAQueueOnOneBrokerOfThree(t *testing.T) {
	t.Parallel()
	b, err := broker.Start(broker.Config{Listen: "127.0.0.1:0", Brokers: 3, Topics: []broker.Topic{{Name: "x-dlq"}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	_, err = kadm.NewClient(kafkaClient(t, b)).CreateTopic(t.Context(), 1, 1, nil, "y-dlq")
	require.NoError(t, err)
	stdout, _, code := duplex(t, nil, to(b, "dlq", "doctor", "y-dlq")...)
	require.Equal(t, command.Failed, code, stdout)
	require.Contains(t, stdout, "! replicas     y-dlq has one replica of 3 brokers: what that one loses is lost: raise its number of replicas\n")
}
