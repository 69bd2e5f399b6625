package integration

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	hist "github.com/duplex-go/duplex/internal/history"
)

// C2–C6, C11: each second a member joins or leaves, and some that leave are killed.
// Keys stay in order, nothing is lost, and only what a killed one had finished and
// the coordinator did not know of is repeated. That is what it finished in an interval
// of commits, or since the group began to be joined, for which commits have to wait:
// while one that was killed before is missed, its session has to end.
func TestRebalanceStorm(t *testing.T) {
	const fewest, most, killEvery = 2, 6, 4
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	luck := rand.New(rand.NewPCG(seed, 0))

	g := newGroup(t, threeNodes(t).Cluster())
	for range fewest + 1 {
		g.join()
	}
	load := g.publish(groupRate)
	g.working()
	var leaving []*member
	killed := map[string]time.Time{}
	changes, departures := 0, 0
	for began := time.Now(); time.Since(began) < shortOr(30*time.Second, time.Minute); changes++ {
		g.pass(time.Second)
		n := len(g.members)
		if n <= fewest || (n < most && luck.IntN(2) == 0) {
			g.join()
			continue
		}
		who := g.members[luck.IntN(n)]
		departures++
		if departures%killEvery == 0 {
			who.kill()
			killed[who.name] = who.dead
			continue
		}
		who.stop()
		who.gone()
		leaving = append(leaving, who)
	}
	load.stop()
	for _, m := range leaving {
		m.left()
	}
	g.drained(groupPatience)
	report := g.check(hist.Allow{
		Forget: unjoined, Repeats: len(killed) * groupRate * int(unjoined/time.Second),
		Repeat: func(r hist.Repeat) bool {
			at, was := killed[r.Runs[0].Member]
			return was && r.Runs[0].At.After(at.Add(-unjoined)) && !g.knew(r.Partition, r.Offset, at)
		},
	})
	t.Logf("%d changes, %d of them kills, %d repeats; longest gap of each partition: %s", changes, len(killed), report.Repeated, gapsOf(report))
	require.NotEmpty(t, killed)
}

// unjoined is how long before a kill a member may have had no chance to commit.
const unjoined = uncommitted + sessionTimeout + 4*time.Second
