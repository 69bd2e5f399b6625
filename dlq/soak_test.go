package dlq_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/dlq"
	"github.com/duplex-go/duplex/duplextest"
)

// many writes so many letters of five dialects, in turn, and says how many bytes they have.
func many(t testing.TB, cl *kgo.Client, topic string, partitions int32, n int) (size int64) {
	t.Helper()
	var of []*kgo.Record
	for _, dialect := range []string{"duplex", "spring", "connect", "streams", "karafka"} {
		text, err := os.ReadFile(filepath.Join("testdata", "letters", dialect+".ndjson"))
		require.NoError(t, err)
		line, _, _ := bytes.Cut(text, []byte("\n"))
		l, err := dlq.ParseLine(line)
		require.NoError(t, err)
		of = append(of, l.Record)
	}
	var failed atomic.Int64
	for i := range n {
		r := *of[i%len(of)]
		r.Topic, r.Partition = topic, int32(i)%partitions
		r.Headers = append([]kgo.RecordHeader(nil), r.Headers...)
		for j, h := range r.Headers {
			switch h.Key {
			case dlq.HeaderID:
				r.Headers[j].Value = fmt.Appendf(nil, "orders/%d/%d@boards#AQIDBA", r.Partition, i)
			case dlq.HeaderErrorMessage, "kafka_dlt-exception-message", "__connect.errors.exception.message", "__streams.errors.message":
				r.Headers[j].Value = fmt.Appendf(nil, "seat %d is taken by %q", i, strconv.Itoa(i*7))
			case dlq.HeaderFingerprint:
				r.Headers[j].Value = fmt.Appendf(nil, "v1:%016x", i%2000)
			}
		}
		for _, h := range r.Headers {
			size += int64(len(h.Key) + len(h.Value))
		}
		cl.Produce(t.Context(), &r, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Add(1)
			}
		})
	}
	require.NoError(t, cl.Flush(t.Context()))
	require.Zero(t, failed.Load())
	return size
}

// raw reads as many records and does nothing.
func raw(t testing.TB, b *broker.Broker, topic string, n int) time.Duration {
	t.Helper()
	cl := client(t, b, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	begin := time.Now()
	for read := 0; read < n; {
		fetches := cl.PollFetches(t.Context())
		require.NoError(t, fetches.Err())
		read += fetches.NumRecords()
	}
	return time.Since(begin)
}

// live is what the process held after its last garbage collection.
func live() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

// held says how much more the process held at most while something ran.
func held(during func()) (most int64) {
	runtime.GC()
	before := live()
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, live()-before)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // the broker's letters would put collections off
	during()
	close(done)
	<-stopped
	return most
}

// Letters of five dialects are grouped in bounded memory: 50,000, a million with
// DUPLEX_SOAK=1. The embedded broker holds the letters in the same process: what it holds
// before is taken off.
func TestSoakGrouping(t *testing.T) {
	n := 50_000
	if os.Getenv("DUPLEX_SOAK") != "" {
		n = 1_000_000
	}
	if v, err := strconv.Atoi(os.Getenv("DUPLEX_SOAK_LETTERS")); err == nil {
		n = v
	}
	b := duplextest.Broker(t, broker.Topic{Name: queue, Partitions: 6})
	size := many(t, client(t, b), queue, 6, n)
	consumed := raw(t, b, queue, n)
	i := inspector(t, b)
	var causes, timed dlq.Causes
	timed, err := i.Causes(t.Context(), queue, dlq.CausesConfig{})
	require.NoError(t, err)
	most := held(func() {
		var err error
		causes, err = i.Causes(t.Context(), queue, dlq.CausesConfig{})
		require.NoError(t, err)
	})
	require.EqualValues(t, n, causes.Scanned.Total().Read)
	t.Logf("%d letters, %d MB in headers, %d causes: grouped in %s, raw consume %s (%.2f of its speed); %d MB held at most",
		n, size>>20, len(causes.All), timed.Scanned.Took.Round(time.Millisecond), consumed.Round(time.Millisecond),
		consumed.Seconds()/timed.Scanned.Took.Seconds(), most>>20)
	require.Less(t, most, int64(192<<20))
}
