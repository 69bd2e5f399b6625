package suite

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/producer"
)

func refusing() []Scenario {
	return []Scenario{
		{"errors of publishing are told apart", []string{"P2"}, errorsAreToldApart},
		{"a full buffer refuses and takes again", []string{"P6"}, fullBufferRefuses},
		{"a group is refused a topic that is not there", []string{"C2"}, missingTopicIsRefused},
	}
}

// errorsAreToldApart: each refusal has its code, and none of the records is in
// the log.
func errorsAreToldApart(t *testing.T, k Kafka) {
	small := duplextest.NewTopic(t, k.Cluster, "small", 1, map[string]string{"max.message.bytes": "20000"})
	text := duplex.Topic[string]{Name: small, Codec: duplex.Text, Key: func(s string) string { return s }}
	p := newProducer(t, producer.Config{Cluster: k.Cluster, MaxRecordBytes: 100_000})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	publish := func(ctx context.Context, r *kgo.Record) error {
		_, err := p.Publish(ctx, r)
		return err
	}
	typed := func(v string) error {
		_, err := producer.Publish(t.Context(), p, text, v)
		return err
	}
	codes := []duplex.Code{
		duplex.ErrTooLarge, duplex.ErrUnknownTopic, duplex.ErrInvalidTopic, duplex.ErrUnauthorized, duplex.ErrUnauthenticated, duplex.ErrUnreachable,
		duplex.ErrBufferFull, duplex.ErrClosed, duplex.ErrTimeout, duplex.ErrEncode, duplex.ErrEmptyKey, duplex.ErrInvalidRecord, duplex.ErrOutcomeUnknown,
	}
	for name, test := range map[string]struct {
		err  error
		code duplex.Code
	}{
		"too large for a batch":     {publish(t.Context(), &kgo.Record{Topic: small, Value: noise(200_000)}), duplex.ErrTooLarge},
		"too large for the topic":   {publish(t.Context(), &kgo.Record{Topic: small, Value: noise(50_000)}), duplex.ErrTooLarge},
		"a topic that is not there": {publish(t.Context(), &kgo.Record{Topic: duplextest.Unique("nobody-made-this")}), duplex.ErrUnknownTopic},
		"a name no topic can have":  {publish(t.Context(), &kgo.Record{Topic: "no topic!"}), duplex.ErrInvalidTopic},
		"no topic at all":           {publish(t.Context(), &kgo.Record{}), duplex.ErrInvalidTopic},
		"no record":                 {publish(t.Context(), nil), duplex.ErrInvalidRecord},
		"given up before it began":  {publish(cancelled, &kgo.Record{Topic: small}), duplex.ErrTimeout},
		"an empty key":              {typed(""), duplex.ErrEmptyKey},
		"a value for another codec": {typed("\xff"), duplex.ErrEncode},
	} {
		for _, code := range codes {
			if code == test.code {
				require.ErrorIs(t, test.err, code, name)
			} else {
				require.NotErrorIs(t, test.err, code, name)
			}
		}
	}
	require.Empty(t, readAll(t, k, small))
}

func fullBufferRefuses(t *testing.T, k Kafka) {
	const room = 10
	topic := duplextest.NewTopic(t, k.Cluster, "suite", 1, nil)
	p := newProducer(t, producer.Config{Cluster: k.Cluster, MaxBufferedRecords: room})
	free := make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	defer release()
	var stored atomic.Int64
	slow := func(_ duplex.Position, err error) {
		<-free
		if err == nil {
			stored.Add(1)
		}
	}
	for range room {
		require.NoError(t, p.TryPublish(&kgo.Record{Topic: topic}, slow))
	}
	err := p.TryPublish(&kgo.Record{Topic: topic}, func(duplex.Position, error) { stored.Add(1000) })
	require.ErrorIs(t, err, duplex.ErrBufferFull)
	require.Equal(t, int64(room), p.Status().Counts["buffered"])
	release()
	require.NoError(t, p.Flush(t.Context()))
	require.NoError(t, p.TryPublish(&kgo.Record{Topic: topic}, slow), "there is room again")
	require.NoError(t, p.Flush(t.Context()))
	require.Equal(t, int64(room+1), stored.Load())
	require.Len(t, readAll(t, k, topic), room+1)
}

func missingTopicIsRefused(t *testing.T, k Kafka) {
	c, err := consumer.New(consumer.Config{Cluster: k.Cluster, Group: duplextest.Unique("suite"), Handlers: []consumer.Handler{
		consumer.HandleRecord(duplextest.Unique("nobody-made-this"), nothing),
	}})
	require.NoError(t, err)
	require.ErrorIs(t, c.Run(t.Context()), duplex.ErrUnknownTopic)
	require.ErrorIs(t, c.Run(t.Context()), duplex.ErrClosed, "a consumer runs once")
}
