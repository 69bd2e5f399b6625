package suite

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
	"github.com/duplex-go/duplex/duplextest"
	"github.com/duplex-go/duplex/producer"
)

func publishing() []Scenario {
	return []Scenario{
		{"published record is at its position", []string{"P1"}, publishedRecordIsAtItsPosition},
		{"typed values arrive as they were", []string{"P1", "C2"}, typedValuesArriveAsTheyWere},
		{"batch results are in the order of the input", []string{"P1", "P2"}, batchResultsAreInOrder},
		{"callbacks run once each, in order by key", []string{"P3", "P4"}, callbacksRunOnceInOrder},
		{"records of one key keep their order beside others", []string{"P3", "P4"}, keysKeepTheirOrder},
		{"a caller who gives up harms nobody", []string{"P2", "P3", "P5"}, cancelledCallersHarmNobody},
		{"closing publishes what was taken over", []string{"P1", "P5"}, closingPublishesTheRest},
	}
}

func publishedRecordIsAtItsPosition(t *testing.T, k Kafka) {
	topic := duplextest.NewTopic(t, k.Cluster, "suite", 3, nil)
	p := newProducer(t, producer.Config{Cluster: k.Cluster})
	at := time.UnixMilli(time.Now().UnixMilli() - 5000)
	headers := []kgo.RecordHeader{
		{Key: "trace", Value: []byte("one")}, {Key: "empty", Value: []byte{}}, {Key: "trace", Value: []byte("two")}, {Key: "", Value: []byte{0xff, 0}},
	}
	sent := map[duplex.Position]kgo.Record{}
	for i, r := range []*kgo.Record{
		{Key: []byte("key"), Value: []byte("value"), Headers: headers},
		{Key: []byte{0, 0xff}, Value: []byte{0xfe, 0, 1}},
		{Value: []byte("no key")},
		{Key: []byte("tombstone")},
		{Key: []byte{}, Value: []byte{}},
		{Key: []byte("large"), Value: noise(500_000)},
	} {
		r.Topic, r.Timestamp = topic, at.Add(time.Duration(i)*time.Millisecond)
		before := *r
		before.Key, before.Value, before.Headers = slices.Clone(r.Key), slices.Clone(r.Value), slices.Clone(r.Headers)
		pos, err := p.Publish(t.Context(), r)
		require.NoError(t, err)
		require.Equal(t, topic, pos.Topic)
		require.NotContains(t, sent, pos)
		sent[pos] = before
	}
	stored := readAll(t, k, topic)
	require.Len(t, stored, len(sent))
	for _, got := range stored {
		want, acked := sent[positionOf(got)]
		require.True(t, acked, "nothing was acknowledged at %v", positionOf(got))
		require.Equal(t, want.Key, got.Key)
		require.Equal(t, want.Value, got.Value)
		require.Equal(t, want.Timestamp.UnixMilli(), got.Timestamp.UnixMilli())
		require.Len(t, got.Headers, len(want.Headers))
		for i, h := range want.Headers {
			require.Equal(t, h.Key, got.Headers[i].Key)
			require.Equal(t, h.Value, got.Headers[i].Value)
		}
	}
}

// flight is a value with what JSON readers in other languages get wrong.
type flight struct {
	Number int64     `json:"number"`
	Name   string    `json:"name"`
	At     time.Time `json:"at"`
}

func typedValuesArriveAsTheyWere(t *testing.T, k Kafka) {
	flights := duplextest.Topic(t, k.Cluster, duplex.Topic[*flight]{Name: "flights", Key: func(f *flight) string { return f.Name }}, 3)
	notes := duplextest.Topic(t, k.Cluster, duplex.Topic[string]{Name: "notes", Codec: duplex.Text}, 1)
	blobs := duplextest.Topic(t, k.Cluster, duplex.Topic[[]byte]{Name: "blobs", Codec: duplex.Bytes}, 1)
	sentFlights := []*flight{{math.MaxInt64, "ÖSD → 東京 <&>", time.Now().UTC()}, {math.MinInt64, "second", time.Time{}}}
	sentNotes, sentBlobs := []string{"plain", "", "\x00 ünï"}, [][]byte{{0, 0xff}, {}, []byte("{")}

	p := newProducer(t, producer.Config{Cluster: k.Cluster})
	requireStored(t, producer.PublishBatch(t.Context(), p, flights, sentFlights...))
	requireStored(t, producer.PublishBatch(t.Context(), p, notes, sentNotes...))
	for _, b := range sentBlobs {
		_, err := producer.Publish(t.Context(), p, blobs, b)
		require.NoError(t, err)
	}

	var gotFlights collected[*flight]
	var gotNotes collected[string]
	var gotBlobs collected[[]byte]
	m := start(t, consumer.Config{Cluster: k.Cluster, Group: duplextest.Unique("suite"), SessionTimeout: k.Session, Handlers: []consumer.Handler{
		consumer.Handle(flights, gotFlights.one),
		consumer.HandleBatch(notes, gotNotes.many),
		consumer.Handle(blobs, gotBlobs.one),
	}})
	eventually(t, "all values", func() bool { return gotFlights.len()+gotNotes.len()+gotBlobs.len() == 8 })
	m.stop()
	require.ElementsMatch(t, sentFlights, gotFlights.values)
	require.Equal(t, sentNotes, gotNotes.values)
	require.Equal(t, sentBlobs, gotBlobs.values)
	for _, r := range readAll(t, k, flights.Name) {
		contentType, _ := duplex.Header(r, duplex.HeaderContentType)
		require.Equal(t, duplex.JSON.ContentType(), contentType)
	}
}

func batchResultsAreInOrder(t *testing.T, k Kafka) {
	const n, tooLarge, unknown = 100, 33, 66
	topic := duplextest.NewTopic(t, k.Cluster, "suite", 3, nil)
	p := newProducer(t, producer.Config{Cluster: k.Cluster, MaxRecordBytes: 10_000})
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Key: strconv.AppendInt(nil, int64(i%7), 10), Value: strconv.AppendInt(nil, int64(i), 10)}
	}
	records[tooLarge].Value = noise(20_000)
	records[unknown].Topic = duplextest.Unique("nobody-made-this")
	results := p.PublishBatch(t.Context(), records...)
	require.Len(t, results, n)
	valueAt := map[duplex.Position]string{}
	for _, r := range readAll(t, k, topic) {
		valueAt[positionOf(r)] = string(r.Value)
	}
	require.Len(t, valueAt, n-2)
	for i, r := range results {
		switch i {
		case tooLarge:
			require.ErrorIs(t, r.Err, duplex.ErrTooLarge)
			require.NotErrorIs(t, r.Err, duplex.ErrOutcomeUnknown)
		case unknown:
			require.ErrorIs(t, r.Err, duplex.ErrUnknownTopic)
		default:
			require.NoError(t, r.Err)
			require.Equal(t, strconv.Itoa(i), valueAt[r.Position])
		}
	}
}

func callbacksRunOnceInOrder(t *testing.T, k Kafka) {
	const n, keys = 3000, 10
	topic := duplextest.NewTopic(t, k.Cluster, "suite", 3, nil)
	p := newProducer(t, producer.Config{Cluster: k.Cluster})
	var mu sync.Mutex
	called, last := make([]int, n), map[int]int64{}
	var wrong []error
	for i := range n {
		r := &kgo.Record{Topic: topic, Key: strconv.AppendInt(nil, int64(i%keys), 10), Value: strconv.AppendInt(nil, int64(i), 10)}
		p.PublishAsync(t.Context(), r, func(pos duplex.Position, err error) {
			if !mu.TryLock() {
				panic("two callbacks run at once") //nolint:forbidigo // a callback cannot fail a test
			}
			defer mu.Unlock()
			called[i]++
			if before, seen := last[i%keys]; err != nil || (seen && pos.Offset <= before) {
				wrong = append(wrong, fmt.Errorf("record %d at %v, before it %d: %w", i, pos, before, err))
			}
			last[i%keys] = pos.Offset
		})
	}
	require.NoError(t, p.Flush(t.Context()))
	mu.Lock()
	defer mu.Unlock()
	require.NoError(t, errors.Join(wrong...))
	for i, times := range called {
		require.Equal(t, 1, times, "callback of record %d", i)
	}
	require.Len(t, readAll(t, k, topic), n)
}

func keysKeepTheirOrder(t *testing.T, k Kafka) {
	const writers, n = 8, 300
	topic := duplextest.NewTopic(t, k.Cluster, "suite", 3, nil)
	p := newProducer(t, producer.Config{Cluster: k.Cluster})
	var failed atomic.Int64
	var writing sync.WaitGroup
	for w := range writers {
		writing.Go(func() {
			for i := range n {
				r := &kgo.Record{Topic: topic, Key: strconv.AppendInt(nil, int64(w), 10), Value: strconv.AppendInt(nil, int64(i), 10)}
				if i%50 == 0 { // all kinds of publish keep the order together
					if _, err := p.Publish(t.Context(), r); err != nil {
						failed.Add(1)
					}
					continue
				}
				p.PublishAsync(t.Context(), r, func(_ duplex.Position, err error) {
					if err != nil {
						failed.Add(1)
					}
				})
			}
		})
	}
	writing.Wait()
	require.NoError(t, p.Flush(t.Context()))
	require.Zero(t, failed.Load())
	next := map[string]int{}
	for _, r := range readAll(t, k, topic) {
		key := string(r.Key)
		require.Equal(t, strconv.Itoa(next[key]), string(r.Value), "key %s", key)
		next[key]++
	}
	for w := range writers {
		require.Equal(t, n, next[strconv.Itoa(w)])
	}
}

// cancelledCallersHarmNobody has many callers share batches, some of whom give up
// while their records are under way.
func cancelledCallersHarmNobody(t *testing.T, k Kafka) {
	const callers = 400
	topic := duplextest.NewTopic(t, k.Cluster, "suite", 1, nil)
	p := newProducer(t, producer.Config{Cluster: k.Cluster})
	results := make([]error, callers)
	positions := make([]duplex.Position, callers)
	var calling sync.WaitGroup
	for i := range callers {
		calling.Go(func() {
			ctx := t.Context()
			if i%2 == 1 {
				bounded, cancel := context.WithTimeout(ctx, time.Duration(i*20)*time.Microsecond)
				defer cancel()
				ctx = bounded
			}
			positions[i], results[i] = p.Publish(ctx, &kgo.Record{Topic: topic, Value: strconv.AppendInt(nil, int64(i), 10)})
		})
	}
	calling.Wait()
	require.NoError(t, p.Flush(t.Context()))
	_, err := p.Publish(t.Context(), &kgo.Record{Topic: topic, Value: []byte("last")}) // what was given up is in the log before it, or never
	require.NoError(t, err)
	stored := map[string][]duplex.Position{}
	for _, r := range readAll(t, k, topic) {
		stored[string(r.Value)] = append(stored[string(r.Value)], positionOf(r))
	}
	for i, err := range results {
		there := stored[strconv.Itoa(i)]
		switch {
		case err == nil:
			require.Equal(t, []duplex.Position{positions[i]}, there)
		case errors.Is(err, duplex.ErrOutcomeUnknown):
			require.LessOrEqual(t, len(there), 1)
			require.Equal(t, 1, i%2, "caller %d did not give up: %v", i, err)
		default:
			require.ErrorIs(t, err, duplex.ErrTimeout)
			require.Equal(t, 1, i%2, "caller %d did not give up: %v", i, err)
			require.Empty(t, there, "record %d was refused and is in the log", i)
		}
	}
}

func closingPublishesTheRest(t *testing.T, k Kafka) {
	const n = 1000
	topic := duplextest.NewTopic(t, k.Cluster, "suite", 3, nil)
	p := newProducer(t, producer.Config{Cluster: k.Cluster})
	var stored atomic.Int64
	for i := range n {
		p.PublishAsync(t.Context(), &kgo.Record{Topic: topic, Value: strconv.AppendInt(nil, int64(i), 10)}, func(_ duplex.Position, err error) {
			if err == nil {
				stored.Add(1)
			}
		})
	}
	require.NoError(t, p.Close())
	require.Equal(t, int64(n), stored.Load(), "callbacks that ran before Close returned")
	require.Len(t, readAll(t, k, topic), n)
	_, err := p.Publish(t.Context(), &kgo.Record{Topic: topic})
	require.ErrorIs(t, err, duplex.ErrClosed)
	require.ErrorIs(t, p.TryPublish(&kgo.Record{Topic: topic}, nil), duplex.ErrClosed)
}
