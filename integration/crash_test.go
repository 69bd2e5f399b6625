package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	hist "github.com/duplex-go/duplex/internal/history"
)

// uncommitted is how long before a crash something may have happened that is not
// with the broker: an interval of commits, and what a commit takes.
const uncommitted = commitInterval + time.Second

// C2–C6, C11: a member with a thousand handlers at work dies. What it had finished
// is repeated only as far as it was not committed, though fifty keys hold the
// committed offset back; these go on with their attempts when they are due.
func TestKilledMemberWithAThousandHandlers(t *testing.T) {
	const (
		concurrency = 1000
		records     = 40_000
		waiting     = 50
		every       = 200    // the distance of the waiting ones
		killAfter   = 25_000 // finished records: when all that wait have done so for seconds
	)
	g := newGroup(t, threeNodes(t).Cluster())
	g.defaults.Concurrency = concurrency
	g.defaults.WorkLeast, g.defaults.WorkMost = 100*time.Millisecond, 300*time.Millisecond
	g.defaults.Wait = 20 * time.Second
	g.publishAll(records, func(i int) string {
		switch n := i / every; {
		case i%every == 0 && n < waiting:
			return fmt.Sprint(waitingKeys, n)
		case i%every == 1 && n > records/every/2 && n <= records/every/2+waiting:
			return fmt.Sprint(waitingKeys, n-records/every/2-1) // the second ones of these keys
		default:
			return spread(i)
		}
	})
	first := g.join()
	require.Eventually(t, func() bool { return first.finished() >= killAfter }, groupPatience, 100*time.Millisecond)
	first.kill()
	at, all := g.committed()
	require.False(t, all, "it was to be killed in the middle")
	require.NotEmpty(t, at)
	second := g.join()
	g.drained(groupPatience)

	report := g.check(hist.Allow{
		Forget: uncommitted, Repeats: records,
		Repeat: func(r hist.Repeat) bool {
			once := r.Runs[0]
			return len(r.Runs) == 2 && once.Member == first.name && once.At.After(first.dead.Add(-uncommitted)) && r.Offset >= at[r.Partition]
		},
	})
	t.Logf("%d were finished before the kill, %d handlers were at work at it, %d of the finished ones were run again",
		first.finished(), report.Cut, report.Repeated)
	require.GreaterOrEqual(t, report.Peak, concurrency*9/10, "too few handlers at once")
	require.GreaterOrEqual(t, report.Cut, concurrency/2, "too few handlers were at work when it was killed")
	attempts := g.firstAttempts(waitingKeys, second.name)
	require.Len(t, attempts, waiting)
	for key, attempt := range attempts {
		require.Equal(t, 2, attempt, "%s did not go on with its attempts", key)
	}
}

// firstAttempts gives the attempt with which the member began on each key that
// begins so.
func (g *group) firstAttempts(prefix, member string) map[string]int {
	g.t.Helper()
	first := map[string]int{}
	for _, e := range g.events("m") {
		if e.Member == member && e.Kind == hist.Started && strings.HasPrefix(e.Key, prefix) && first[e.Key] == 0 {
			first[e.Key] = e.Attempt
		}
	}
	return first
}
