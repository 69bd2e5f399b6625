package consumer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/commitmeta"
)

// inUse is how many bytes are in use.
func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A key that is at work or waits costs at most 200 bytes beside its records, and one
// that is not costs nothing.
//
//nolint:paralleltest // it looks at the heap of the process
func TestMemoryOfKeys(t *testing.T) {
	const n = 100_000
	a := opened(Config{MaxSpan: 10 * n}, commitmeta.Meta{})
	rs := make([]*kgo.Record, n)
	for i := range rs {
		rs[i] = &kgo.Record{Topic: "orders", Offset: 10 + int64(i), Key: fmt.Append(nil, i)}
	}
	a.load(rs)
	a.restored = 10 + n // the gate is another test's
	idle := inUse()
	var w worker
	for range n {
		require.NotNil(t, a.takeOne(&w))
	}
	perKey := (inUse() - idle) / n
	require.LessOrEqual(t, perKey, int64(200))
	t.Logf("%d bytes a key at work", perKey)
	err := errors.New("not yet")
	a.engine.timers.closed = false
	for l := a.lanes.first; l != nil; l = l.next {
		a.engine.tryAgain(l, time.Now().Add(time.Hour), duplex.Verdict{}, err)
	}
	perKey = (inUse() - idle) / n
	require.LessOrEqual(t, perKey, int64(200))
	t.Logf("%d bytes a key that waits", perKey)
	a.engine.timers.take(time.Now().Add(2 * time.Hour))
	a.engine.timers.close()
	for l := a.lanes.first; l != nil; l = a.lanes.first {
		require.True(t, a.advance(l))
	}
	require.Less(t, inUse(), idle+n, "bytes that idle keys keep")
	runtime.KeepAlive(rs)
	runtime.KeepAlive(a)
}

// An idle partition costs at most 10 KB, what the client keeps for it aside.
//
//nolint:paralleltest // it looks at the heap of the process
func TestMemoryOfPartitions(t *testing.T) {
	const n = 10_000
	e := opened(Config{}, commitmeta.Meta{}).engine
	e.open, e.ghosts, e.flow = map[string]map[int32]*assignment{}, map[place]*assignment{}, newFlow(nil, nil)
	before := inUse()
	for i := range int32(n) {
		e.openAssignment(opening{topic: "orders", partition: i, offset: 5, committed: 5})
	}
	fresh := (inUse() - before) / n
	for _, a := range e.all() { // and once it has had something to do
		var rs []*kgo.Record
		for i := range int64(300) {
			rs = append(rs, &kgo.Record{Topic: "orders", Offset: 5 + i})
		}
		a.accept(&kgo.FetchTopicPartition{Topic: "orders", FetchPartition: kgo.FetchPartition{Records: rs}})
		var w worker
		a.pace.inPlace = true
		for a.enter(&w) {
			w.turn.ended = w.turn.size
			a.leave(&w)
		}
		require.Zero(t, a.loaded)
	}
	e.pool.ready, e.pool.first = nil, 0
	used := (inUse() - before) / n
	t.Logf("%d bytes a fresh partition, %d bytes one that was used", fresh, used)
	require.LessOrEqual(t, used, int64(10_000))
	runtime.KeepAlive(e)
}

// A record that runs in place, and one that gets a lane, cost no allocation but for
// the context that its handler may keep.
//
//nolint:paralleltest // it counts the allocations of the process
func TestAllocationsOfARecord(t *testing.T) {
	for name, inPlace := range map[string]bool{"in place": true, "spread": false} {
		t.Run(name, func(t *testing.T) {
			a := opened(Config{}, commitmeta.Meta{})
			a.handler.single = func(context.Context, *kgo.Record) error { return nil }
			next := int64(10)
			rs := make([]*kgo.Record, 256)
			for i := range rs {
				rs[i] = &kgo.Record{Topic: "orders", Key: fmt.Append(nil, i)}
			}
			var w worker
			perChunk := testing.AllocsPerRun(200, func() {
				for i := range rs {
					rs[i].Offset = next + int64(i)
				}
				next += int64(len(rs))
				a.load(rs)
				a.pace.inPlace, a.pace.fast = inPlace, 0
				for a.queue.len() > 0 {
					a.engine.visit(&w, a)
					a.engine.pool.ready, a.engine.pool.first = a.engine.pool.ready[:0], 0
					a.engine.pool.waiting.Store(0)
				}
			})
			t.Logf("%.3f allocations a record", perChunk/float64(len(rs)))
			require.LessOrEqual(t, perChunk/float64(len(rs)), 0.1)
		})
	}
}
