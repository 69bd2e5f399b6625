package history_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex/internal/history"
)

func TestFilesOfSeveralProcessesAreMerged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	paths := []string{filepath.Join(dir, "m1"), filepath.Join(dir, "m2"), filepath.Join(dir, "publisher")}
	recorders := make([]*history.Recorder, len(paths))
	for i, path := range paths {
		r, err := history.Create(path)
		require.NoError(t, err)
		recorders[i] = r
	}
	record := func(i int, e history.Event) { require.NoError(t, recorders[i].Record(e)) }
	const records = 100
	for offset := range int64(records) {
		r := &kgo.Record{Topic: "t", Partition: 3, Offset: offset, Key: []byte{0xff, '"', '\n'}}
		one := history.Of(r, fmt.Sprintf("m%d", offset%2+1), 1)
		record(2, one.Published(offset+1, history.OK))
		record(int(offset%2), one.Started())
		record(int(offset%2), one.Finished())
	}
	record(2, history.Event{Kind: history.Committed, Topic: "t", Partition: 3, Offset: records})
	for _, r := range recorders {
		require.NoError(t, r.Close())
		require.ErrorContains(t, r.Record(history.Event{}), "the recorder is closed")
	}
	// The process was killed while it wrote.
	f, err := os.OpenFile(paths[0], os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"at":1,"kind":"sta`)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	h, err := history.Read(paths...)
	require.NoError(t, err)
	report := h.Check(history.Allow{})
	require.NoError(t, report.Err())
	require.Equal(t, records, report.Published)
	require.Equal(t, records, report.Finished)
	require.Equal(t, 1, report.Commits)

	h, err = history.Read(paths[0], paths[2])
	require.NoError(t, err)
	report = h.Check(history.Allow{})
	require.Equal(t, records/2, report.Broken[history.Lost])
	require.Contains(t, report.Violations[history.Lost][0], `t/3: offset 1, key "\"\\xff\\\"\\n\"", was never started`)
}

func TestWhatIsNoHistoryIsRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{}\nnothing\n":                "line 2: invalid character",
		"{\"kind\":\"unheard of\"}\n":  `"unheard of" is no kind of event`,
		"{\"kind\":\"\",\"at\":1}\n":   `"" is no kind of event`,
		"{\"offset\":\"five\"}\n":      "cannot unmarshal string",
		"{\"kind\":\"started\"}{}\n\n": "line 1: invalid character",
	} {
		path := filepath.Join(t.TempDir(), "h")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := history.Read(path)
		require.ErrorContains(t, err, "history: reading "+path)
		require.ErrorContains(t, err, want)
	}
	_, err := history.Read(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = history.Create(t.TempDir())
	require.ErrorContains(t, err, "history: opening a file to record in")
}

func TestManyHandlersShareARecorder(t *testing.T) {
	t.Parallel()
	r := history.NewRecorder()
	var running sync.WaitGroup
	const handlers, runs = 8, 200
	for i := range handlers {
		running.Go(func() {
			for n := range runs {
				one := history.Of(&kgo.Record{Topic: "t", Partition: int32(i), Offset: int64(n)}, "m", 1)
				_ = r.Record(one.Started())
				_ = r.Record(one.Finished())
			}
		})
	}
	running.Wait()
	var h history.History
	h.Add(r.Events()...)
	report := h.Check(history.Allow{})
	require.NoError(t, report.Err())
	require.Equal(t, handlers*runs, report.Finished)
	require.NoError(t, r.Close())
}

// Millions of events fit into memory: a run of a handler, with its publish, costs
// some 200 bytes.
func TestMemoryOfAMillionEvents(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a few seconds")
	}
	const events, keys, most = 1_000_000, 20_000, 120 << 20
	var h history.History
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	part := make([]history.Event, 0, 3000)
	for offset := range int64(events / 3) {
		one := history.Event{
			Topic: "t", Partition: int32(offset % 12), Offset: offset / 12, Key: fmt.Sprint(offset % keys), Member: "m", Attempt: 1, At: time.Now().UnixNano(),
		}
		part = append(part, one.Published(offset, history.OK), one.Started(), one.Finished())
		if len(part) == cap(part) {
			h.Add(part...)
			part = part[:0]
		}
	}
	h.Add(part...)
	report := h.Check(history.Allow{})
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.NoError(t, report.Err())
	require.Equal(t, events/3, report.Finished)
	require.Less(t, int(after.HeapAlloc-before.HeapAlloc), most)
	runtime.KeepAlive(&h)
}
