package integration

import (
	"crypto/rand"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
	hist "github.com/duplex-go/duplex/internal/history"
)

// C2–C4, C8, C9: what handlers need is gone for a while, so all of them fail. The
// member loads no more than it may, and when all is well again it handles everything
// in order, without having dropped anything.
func TestEveryHandlerFailsForAWhile(t *testing.T) {
	const (
		records   = 120_000
		valueSize = 2 << 10 // as much as 240 MB in all, not to be compressed
		maxLoaded = 4_000   // records
		maxBytes  = 8 << 20 // of them
		// Memory, in MiB. While nothing is read: what is loaded, what three brokers
		// answered, and a process. Later also what is being read and decoded, twice,
		// until it is collected; the log would be 500.
		mostBlocked, most, race = 150, 350, 3
	)
	g := newGroup(t, threeNodes(t).Cluster())
	g.defaults.WorkMost, g.defaults.FailPercent = 0, 0
	g.defaults.MaxLoaded, g.defaults.MaxBytes, g.defaults.RetryMax = maxLoaded, maxBytes, 2*time.Second
	slack := 1
	if raceEnabled {
		slack = race
	}
	noise := make([]byte, valueSize)
	g.value = func() []byte { _, _ = rand.Read(noise); return append([]byte(nil), noise...) }
	g.publishAll(1000, spread)
	m := g.join()
	m.tell("fail")
	m.says("fails")
	m.says("working")
	g.publishAll(records-1000, spread)
	g.pass(shortOr(20*time.Second, time.Minute))

	status := m.status()
	require.Contains(t, []duplex.StatusCode{duplex.StatusRetrying, duplex.StatusHeadOfLineBlocked}, status.Code, "%v", status.Problems)
	require.Zero(t, status.Counts["handled"])
	loaded, paused := 0, 0
	for _, p := range status.Partitions {
		loaded += p.Loaded
		if p.Paused {
			paused++
		}
		require.Positive(t, p.Waiting, "partition %d has nothing to wait for", p.Partition)
		require.Contains(t, p.LastError, errFails.Error())
	}
	require.Positive(t, paused)
	require.LessOrEqual(t, loaded, maxLoaded+groupPartitions*maxLoaded/2, "more than the share of each partition, and a poll")
	require.Less(t, m.peakMemory()>>10, mostBlocked*slack)
	t.Logf("%d records loaded, %d of %d partitions paused, peak memory %d MiB", loaded, paused, len(status.Partitions), m.peakMemory()>>10)
	m.tell("work")
	m.says("works")
	g.drained(2 * groupPatience)

	t.Logf("peak memory %d MiB", m.peakMemory()>>10)
	require.Less(t, m.peakMemory()>>10, most*slack)
	status = m.status()
	require.Zero(t, status.Counts["dropped"])
	require.Zero(t, status.Counts["moved"])
	require.Equal(t, int64(records), status.Counts["handled"])
	report := g.check(hist.Allow{})
	require.Equal(t, records, report.Finished)
	require.Positive(t, report.Failures)
}

// C4, C9: a key waits for its retry in each partition, and one of these partitions
// has as many records of it as may be loaded. The other keys of the others go on.
func TestKeysThatWaitHoldUpNoOthers(t *testing.T) {
	const (
		waiting   = 20 * groupPartitions // keys, so that each partition has some
		behind    = 1_000
		others    = 6_000
		maxLoaded = 100 * groupPartitions
		wait      = 30 * time.Second
	)
	g := newGroup(t, threeNodes(t).Cluster())
	g.defaults.MaxLoaded, g.defaults.Wait, g.defaults.FailPercent = maxLoaded, wait, 0
	m := g.join()
	g.publishAll(waiting, func(i int) string { return waitingKeys + strconv.Itoa(i) })
	began := time.Now()
	require.Eventually(t, func() bool {
		all := 0
		for _, p := range m.status().Partitions {
			if p.Waiting > 0 {
				all++
			}
		}
		return all == groupPartitions
	}, groupPatience, 100*time.Millisecond)
	g.publishAll(behind, func(int) string { return waitingKeys + "0" })
	var full int32
	require.Eventually(t, func() bool {
		for _, p := range m.status().Partitions {
			if p.Paused {
				full = p.Partition
				return true
			}
		}
		return false
	}, groupPatience, 100*time.Millisecond)
	g.publishAll(others, spread)
	of := g.publishedOutside(full)
	require.Eventually(t, func() bool { return m.finished() >= of }, wait/2, 100*time.Millisecond,
		"keys that do not wait were held up: fewer than %d records were handled", of)
	require.Less(t, time.Since(began), wait, "nobody waits any more")
	g.drained(groupPatience)
	g.check(hist.Allow{})
}

// publishedOutside counts the records without a waiting key that were published to
// other partitions.
func (g *group) publishedOutside(partition int32) (n int) {
	g.t.Helper()
	for _, e := range g.events("published") {
		if e.Partition != partition && !strings.HasPrefix(e.Key, waitingKeys) {
			n++
		}
	}
	return n
}

// status asks the member for its status.
func (m *member) status() (s duplex.Status) {
	m.group.t.Helper()
	before := len(m.stdout.lines())
	m.tell("status")
	var line string
	require.Eventually(m.group.t, func() bool {
		for _, l := range m.stdout.lines()[before:] {
			if after, found := strings.CutPrefix(l, "status "); found {
				line = after
				return true
			}
		}
		return false
	}, groupPatience, 20*time.Millisecond, "no status came")
	require.NoError(m.group.t, json.Unmarshal([]byte(line), &s), line)
	return s
}
