package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/consumer"
)

// parcel is what the poisoned topic holds.
type parcel struct {
	Name  string
	Panic bool
	Load  string `json:",omitempty"`
}

// poisons are records that some consumers do not survive, each the first of a
// partition of its own. Those that are held have the code with which they are.
func poisons(t *testing.T) map[string]struct {
	record kgo.Record
	held   string
} {
	t.Helper()
	const tenMB, manyHeaders = 10_000_000, 10_000
	text := func(p parcel) []byte {
		b, err := json.Marshal(p)
		require.NoError(t, err)
		return b
	}
	headers := make([]kgo.RecordHeader, manyHeaders)
	for i := range headers {
		headers[i] = kgo.RecordHeader{Key: "header-" + strconv.Itoa(i), Value: []byte("value")}
	}
	key := []byte("poison")
	return map[string]struct {
		record kgo.Record
		held   string
	}{
		"undecodable":           {kgo.Record{Key: key, Value: []byte(`{"Name":`)}, "undecodable"},
		"undecodable, null key": {kgo.Record{Value: []byte{0xff, 0}}, "undecodable"},
		"null value":            {kgo.Record{Key: key}, "undecodable"},
		"panic":                 {kgo.Record{Key: key, Value: text(parcel{Name: "poison", Panic: true})}, "panic"},
		"null key":              {kgo.Record{Value: text(parcel{Name: "poison"})}, ""},
		"10 MB":                 {kgo.Record{Key: key, Value: text(parcel{Name: "poison", Load: strings.Repeat("x", tenMB)})}, ""},
		"10,000 headers":        {kgo.Record{Key: key, Headers: headers, Value: text(parcel{Name: "poison"})}, ""},
	}
}

// C2–C4, C9: a record that cannot be handled holds up its key, with a code that says
// why, and nothing else; what is merely large or without a key is handled.
func TestPoisonHoldsItsKeyAndNothingElse(t *testing.T) {
	const others = 50
	c := threeNodes(t).Cluster()
	all := poisons(t)
	topic := duplex.Topic[parcel]{Name: newTopic(t, c, int32(len(all)), "max.message.bytes", strconv.Itoa(16<<20))}
	names := make([]string, 0, len(all)) // by partition
	cl := rawClient(t, c, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchMaxBytes(16<<20))
	var failed atomic.Pointer[error]
	produce := func(partition int, r kgo.Record) {
		r.Topic, r.Partition = topic.Name, int32(partition)
		cl.Produce(t.Context(), &r, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	for name, poison := range all {
		partition := len(names)
		names = append(names, name)
		produce(partition, poison.record)
		for i := range others {
			value := fmt.Appendf(nil, `{"Name":"other-%d"}`, i)
			key := fmt.Appendf(nil, "key-%d", i%5)
			if i%5 == 0 {
				key = nil
			}
			produce(partition, kgo.Record{Key: key, Value: value})
		}
		produce(partition, kgo.Record{Key: []byte("poison"), Value: []byte(`{"Name":"behind the poison"}`)})
	}

	require.NoError(t, cl.Flush(t.Context()))
	if err := failed.Load(); err != nil {
		require.NoError(t, *err)
	}

	var mu sync.Mutex
	handled := map[string]map[string]int{} // by the name of the partition and that of the parcel
	for _, name := range names {
		handled[name] = map[string]int{}
	}
	var cured atomic.Bool
	k, err := consumer.New(consumer.Config{
		Cluster: c, Group: unique(t), RetryMax: time.Second,
		Handlers: []consumer.Handler{consumer.Handle(topic, func(ctx context.Context, p parcel) error {
			if p.Panic && !cured.Load() {
				panic("a parcel that must not be opened")
			}
			mu.Lock()
			defer mu.Unlock()
			handled[names[consumer.FromContext(ctx).Record.Partition]][p.Name]++
			return nil
		})},
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	var ended error
	running.Go(func() { ended = k.Run(ctx) })
	t.Cleanup(func() { stop(); running.Wait() })

	counts := func(name string) (total int, poison, behind int) {
		mu.Lock()
		defer mu.Unlock()
		of := handled[name]
		return len(of), of["poison"], of["behind the poison"]
	}
	holds := func(name string) bool { return all[name].held != "" && all[name].record.Key != nil }
	for _, name := range names {
		want := others + 2
		switch {
		case holds(name):
			want = others
		case all[name].held != "":
			want = others + 1
		}
		require.Eventually(t, func() bool { total, _, _ := counts(name); return total == want }, groupPatience, 20*time.Millisecond, "%s: not all others were handled", name)
	}
	held := func(status duplex.Status) map[string]string {
		found := map[string]string{}
		for i := range status.Partitions {
			if p := &status.Partitions[i]; p.Waiting > 0 {
				found[names[p.Partition]] = p.LastError
			}
		}
		return found
	}
	var status duplex.Status
	require.Eventually(t, func() bool { status = k.Status(); return len(held(status)) == 4 }, groupPatience, 10*time.Millisecond)
	require.Equal(t, duplex.StatusRetrying, status.Code)
	for name, why := range held(status) {
		require.Contains(t, why, all[name].held, name)
		_, poison, behind := counts(name)
		require.Zero(t, poison, name)
		require.Equal(t, holds(name), behind == 0, "%s: a record behind the poison, of its key", name)
	}
	for name, poison := range all {
		require.Equal(t, poison.held != "", held(status)[name] != "", name)
	}
	for _, p := range status.Partitions {
		if all[names[p.Partition]].held != "" {
			require.Zero(t, p.Watermark, "%s: the offset passes the poison", names[p.Partition])
		}
	}
	// What can be cured goes on by itself.
	cured.Store(true)
	require.Eventually(t, func() bool { _, poison, behind := counts("panic"); return poison == 1 && behind == 1 }, groupPatience, 20*time.Millisecond)
	stop()
	running.Wait()
	require.NoError(t, ended)
	for name, of := range handled {
		for parcel, times := range of {
			require.Equal(t, 1, times, "%s: %s", name, parcel)
		}
	}
}
