package dlq

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
)

func headers(kv ...string) (all []kgo.RecordHeader) {
	for i := 0; i < len(kv); i += 2 {
		all = append(all, kgo.RecordHeader{Key: kv[i], Value: []byte(kv[i+1])})
	}
	return all
}

func decoded(r *kgo.Record) *Letter {
	l := new(Letter)
	newDecoder().decode(l, r)
	return l
}

func ourLetter(more ...string) *kgo.Record {
	return &kgo.Record{Topic: "dlq.boards.orders", Partition: 2, Offset: 7, Key: []byte("k"), Value: []byte("v"), Headers: append(headers(more...), headers(
		HeaderID, "orders/2/41@boards#AQIDBA", HeaderOriginTopic, "orders", HeaderOriginTopicID, "AQIDBAUGBwgJCgsMDQ4PEA",
		HeaderOriginPartition, "2", HeaderOriginOffset, "41", HeaderOriginTimestamp, "1700000000000", HeaderAttempt, "4", HeaderGroup, "boards",
		HeaderHandler, "orders", HeaderReason, "exhausted", HeaderErrorType, "t", HeaderErrorMessage, "m", HeaderErrorStack, "s",
		HeaderFirstFailedAt, "1700000001000", HeaderLastFailedAt, "1700000002000", HeaderGeneration, "1", HeaderFingerprint, "v1:0000000000000001",
		HeaderRedriveID, "rold")...)}
}

func pairs(hs []kgo.RecordHeader) (all []string) {
	for _, h := range hs {
		all = append(all, h.Key+"="+string(h.Value))
	}
	return all
}

// TestRedrivenRecordsBeginAgain: the bytes of what comes back.
func TestRedrivenRecordsBeginAgain(t *testing.T) {
	t.Parallel()
	r := Target{}.redriven(decoded(ourLetter("tenant", "acme", "tenant", "twice")), "rnew", false)
	require.Equal(t, []any{"redrive.boards.orders", "k", "v"}, []any{r.Topic, string(r.Key), string(r.Value)})
	require.Equal(t, []string{
		"tenant=acme", "tenant=twice", "dlq-id=orders/2/41@boards#AQIDBA", "dlq-origin-topic=orders", "dlq-origin-topic-id=AQIDBAUGBwgJCgsMDQ4PEA",
		"dlq-origin-partition=2", "dlq-origin-offset=41", "dlq-origin-timestamp=1700000000000", "dlq-attempt=0", "dlq-first-failed-at=1700000001000",
		"dlq-generation=2", "dlq-redrive-id=rnew",
	}, pairs(r.Headers))
	j, err := parseJourney(r)
	require.NoError(t, err)
	require.Equal(t, []any{0, 2, "rnew", ""}, []any{j.attempts, j.generation, j.redriveID, j.editOf})

	edited := Target{}.redriven(decoded(ourLetter()), "rnew", true)
	require.Contains(t, pairs(edited.Headers), "dlq-id=orders/2/41@boards#AQIDBA!rnew")
	require.Contains(t, pairs(edited.Headers), "dlq-edit-of=orders/2/41@boards#AQIDBA")
	twice := editedID("orders/2/41@boards#AQIDBA!rnew", "rnext")
	require.Equal(t, "orders/2/41@boards#AQIDBA!rnext", twice, "IDs do not grow")

	origin := Target{Origin: true}.redriven(decoded(ourLetter()), "rnew", false)
	require.Equal(t, "orders", origin.Topic)
	require.Equal(t, []string{"dlq-id=orders/2/41@boards#AQIDBA", "dlq-generation=2", "dlq-redrive-id=rnew"}, pairs(origin.Headers))
	require.Equal(t, 2, claimed(origin), "a loop through the origin is counted, too")
	require.Equal(t, 0, claimed(&kgo.Record{Headers: headers(HeaderGeneration, "7")}), "not what a publisher says without a redrive")
}

// TestOnlyWhatWeWroteIsKept: what somebody else says in our headers is not, and values are
// each their own.
func TestOnlyWhatWeWroteIsKept(t *testing.T) {
	t.Parallel()
	changed := decoded(ourLetter())
	for i, h := range changed.Record.Headers { // by an edit
		if h.Key == HeaderOriginOffset || h.Key == HeaderGeneration {
			changed.Record.Headers[i].Value = []byte("0")
		}
	}
	r := Target{}.redriven(changed, "rnew", true)
	require.Subset(t, pairs(r.Headers), []string{"dlq-origin-offset=41", "dlq-generation=2"})
	for _, h := range r.Headers {
		require.Equal(t, len(h.Value), cap(h.Value), h.Key)
	}

	twice := decoded(ourLetter())
	twice.Record.Headers = append(twice.Record.Headers, headers(HeaderOriginPartition, "2x")...)
	newDecoder().decode(twice, twice.Record)
	require.NotEmpty(t, twice.Trouble)
	r = Target{}.redriven(twice, "rnew", false)
	require.NotContains(t, pairs(r.Headers), "dlq-origin-partition=2x")

	other := ourLetter() // it came back, and died in Spring
	other.Headers = append(other.Headers, headers("kafka_dlt-original-topic", "redrive.boards.orders")...)
	other.Headers = append(other.Headers, kgo.RecordHeader{Key: "kafka_dlt-original-partition", Value: []byte{0, 0, 0, 3}},
		kgo.RecordHeader{Key: "kafka_dlt-original-offset", Value: []byte{0, 0, 0, 0, 0, 0, 0, 9}})
	l := decoded(other)
	require.Equal(t, DialectSpring, l.Dialect)
	r = Target{Topic: "repair"}.redriven(l, "rnew", false)
	require.Contains(t, pairs(r.Headers), "dlq-id="+l.ID)
	require.NotContains(t, pairs(r.Headers), "dlq-id=orders/2/41@boards#AQIDBA")
}

// TestLettersOfOthersBecomeRecordsOfOurs: without what made them letters.
func TestLettersOfOthersBecomeRecordsOfOurs(t *testing.T) {
	t.Parallel()
	spring := decoded(&kgo.Record{Topic: "orders-dlt", Value: []byte("v"), Headers: append(headers("tenant", "acme",
		"kafka_dlt-original-topic", "orders", "kafka_dlt-original-consumer-group", "boards", "kafka_dlt-exception-message", "m",
		"kafka_dlt-exception-fqcn", "java.lang.IllegalStateException"),
		kgo.RecordHeader{Key: "kafka_dlt-original-partition", Value: []byte{0, 0, 0, 3}},
		kgo.RecordHeader{Key: "kafka_dlt-original-offset", Value: []byte{0, 0, 0, 0, 0, 0, 0, 9}})})
	require.Equal(t, DialectSpring, spring.Dialect)
	r := Target{}.redriven(spring, "rnew", false)
	require.Equal(t, "redrive.boards.orders", r.Topic)
	require.Equal(t, "tenant=acme", pairs(r.Headers)[0])
	for _, h := range r.Headers[1:] {
		require.True(t, ours(h.Key), "%s is left", h.Key)
	}
	j, err := parseJourney(r)
	require.NoError(t, err)
	require.Equal(t, []any{int32(3), int64(9), 1}, []any{j.origin.Partition, j.origin.Offset, j.generation})
	require.Empty(t, Target{}.of(decoded(&kgo.Record{Topic: "orders-dlt"})), "it says nothing")
	silent := decoded(&kgo.Record{Topic: "orders-dlt", Partition: 5, Value: []byte("v")})
	require.Equal(t, "repair", Target{Topic: "repair"}.of(silent), "but anything may go where somebody says")
	require.Equal(t, int32(1), Target{Topic: "repair"}.partitionOf(silent, 4))
	require.Equal(t, []string{"dlq-id=orders-dlt/5/0@#AAAAAA", "dlq-generation=1", "dlq-redrive-id=rnew"}, pairs(Target{Topic: "repair"}.redriven(silent, "rnew", false).Headers))
	require.Equal(t, "repair", Target{Topic: "repair"}.of(decoded(ourLetter())))
}

// TestRedrivenCallsWantNoReply: whoever called was told long ago.
func TestRedrivenCallsWantNoReply(t *testing.T) {
	t.Parallel()
	r := Target{}.redriven(decoded(ourLetter("rpc-v", "1", "rpc-kind", "request", "kafka_replyTopic", "rpc.replies.desk", "kafka_replyPartition", "\x00\x00\x00\x01",
		"rpc-deadline", "1700000000000", "rpc-timeout-ms", "5000", "rpc-method", "fares/Quote")), "rnew", false)
	for _, gone := range []string{"kafka_replyTopic", "kafka_replyPartition", "rpc-deadline", "rpc-timeout-ms"} {
		_, there := duplex.Header(r, gone)
		require.False(t, there, gone)
	}
	kind, _ := duplex.Header(r, "rpc-kind")
	require.Equal(t, "oneway", kind)
}

func TestOwnersOfQueues(t *testing.T) {
	t.Parallel()
	for queue, owner := range map[string]string{
		"dlq.boards.orders": "boards", "dlq.billing..eu.orders.v1": "billing.eu", "dlq.a..b..c.x": "a.b.c", "orders-dlt": "orders-dlt", "dlq.boards": "dlq.boards",
		"dlq..x": "dlq..x", "dlq.x.": "dlq.x.", "dlq.": "dlq.",
	} {
		require.Equal(t, owner, ownerOf(queue), queue)
	}
	require.Equal(t, "dlq-state.billing..eu", StateTopic(ownerOf(DeadTopic("billing.eu", "orders"))))
}
