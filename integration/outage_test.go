package integration

import (
	"math"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	hist "github.com/duplex-go/duplex/internal/history"
)

const (
	outageMembers = 3
	outageRate    = 1_000
)

// C1–C6, C9: a broker that leads partitions dies and comes back. It does not keep the
// group, so nobody leaves it, and nothing is handled again.
func TestLeaderOfAPartitionIsKilled(t *testing.T) {
	brokerKilled(t, func(c *kafkaCluster, g *group) *kafkaNode {
		keeper := c.coordinator(t, g.defaults.Group)
		for p := range int32(groupPartitions) {
			if leader := c.leader(t, g.defaults.Topic, p); leader != keeper {
				return leader
			}
		}
		require.FailNow(t, "one broker leads all partitions and keeps the group")
		return nil
	}, func(time.Time, time.Time) hist.Allow { return hist.Allow{} })
}

// C1–C6, C9: the broker that keeps the group dies and comes back. Until another one
// has the group, nothing can be committed, and a member that finds it later than a
// session takes is thrown out: what it finished meanwhile is repeated where its
// partitions go to others, and only there.
func TestCoordinatorOfTheGroupIsKilled(t *testing.T) {
	brokerKilled(t, func(c *kafkaCluster, g *group) *kafkaNode { return c.coordinator(t, g.defaults.Group) },
		func(killed, back time.Time) hist.Allow {
			from, until := killed.Add(-uncommitted), back.Add(sessionTimeout)
			return hist.Allow{
				Forget: uncommitted, Repeats: outageRate * int(until.Sub(from)/time.Second),
				Repeat: func(r hist.Repeat) bool {
					first, second := r.Runs[0], r.Runs[1]
					return len(r.Runs) == 2 && first.Member != second.Member && first.At.After(from) && first.At.Before(until)
				},
			}
		})
}

func brokerKilled(t *testing.T, which func(*kafkaCluster, *group) *kafkaNode, allowed func(killed, back time.Time) hist.Allow) {
	c := threeNodes(t)
	g := newGroup(t, c.Cluster())
	for range outageMembers {
		g.join()
	}
	load := g.publish(outageRate)
	g.working()
	g.pass(3 * time.Second)
	victim := which(c, g)
	for _, m := range g.members {
		g.note(hist.Cut, m.name) // from a broker that it may need for its commits
	}
	killed := time.Now()
	victim.Kill(t)
	g.pass(shortOr(10*time.Second, time.Minute))
	victim.Start(t)
	c.inSync(t)
	back := time.Now()
	for _, m := range g.members {
		g.note(hist.Healed, m.name)
	}
	g.pass(3 * time.Second)
	load.stop()
	g.drained(groupPatience)
	report := g.check(allowed(killed, back))
	t.Logf("longest gap of each partition: %s", gapsOf(report))
}

// C1–C6: a member is cut off from all brokers for several sessions. It stops before
// the next owner of its partitions starts, and comes back as one of the group.
func TestMemberIsCutOff(t *testing.T) {
	const waiting = 20 * groupPartitions // keys
	g := newGroup(t, threeNodes(t).Cluster())
	g.defaults.Wait, g.defaults.WaitWork = sessionTimeout+6*time.Second, time.Second
	for range outageMembers - 1 {
		g.join()
	}
	cut := g.join(func(s *memberSettings) { s.Gate = behindGate })
	load := g.publish(outageRate)
	g.working()
	// These are due again soon after its session: with their next owner, not with it.
	g.publishAll(waiting, func(i int) string { return waitingKeys + strconv.Itoa(i) })
	g.pass(3 * time.Second)
	g.note(hist.Cut, cut.name)
	began := time.Now()
	cut.gate.shut()
	g.pass(shortOr(30*time.Second, time.Minute))
	g.note(hist.Healed, cut.name)
	cut.gate.unshut()
	healed := cut.finished()
	require.Eventually(t, func() bool { return cut.finished() > healed }, groupPatience, 100*time.Millisecond, "it does not come back")
	load.stop()
	g.drained(groupPatience)
	g.check(hist.Allow{Forget: uncommitted, Repeats: math.MaxInt, Repeat: unheard(cut, began)})
	require.Positive(t, g.takenOver(cut, began), "it was cut off, and kept its partitions")
}

// C1, C2, C4–C6: a member is stopped in its tracks for longer than its session. The
// handlers that were at work in it may overlap with the next owner's, and that is
// all.
func TestMemberIsFrozen(t *testing.T) {
	g := newGroup(t, threeNodes(t).Cluster())
	for range outageMembers - 1 {
		g.join()
	}
	frozen := g.join()
	load := g.publish(outageRate)
	g.working()
	g.pass(3 * time.Second)
	g.note(hist.Frozen, frozen.name)
	began := time.Now()
	frozen.signal(t, syscall.SIGSTOP)
	g.pass(shortOr(2*sessionTimeout, 10*sessionTimeout))
	before := frozen.finished()
	g.note(hist.Thawed, frozen.name)
	frozen.signal(t, syscall.SIGCONT)
	g.pass(thaw)
	stale := frozen.finished() - before
	require.Eventually(t, func() bool { return frozen.finished() > before+stale }, groupPatience, 100*time.Millisecond, "it does not come back")
	load.stop()
	g.drained(groupPatience)
	report := g.check(hist.Allow{Forget: uncommitted, Thaw: thaw, Repeats: math.MaxInt, Repeat: unheard(frozen, began)})
	t.Logf("%d runs overlapped with one of the frozen member", report.Excused)
	require.Positive(t, g.takenOver(frozen, began), "it was frozen, and kept its partitions")
}

// thaw is how long a member may take to notice that it was frozen.
const thaw = time.Second

// takenOver counts the partitions in which m finished records before that time, and
// others did after it.
func (g *group) takenOver(m *member, since time.Time) int {
	g.t.Helper()
	had, taken := map[int32]bool{}, map[int32]bool{}
	events := g.events("m")
	for _, e := range events {
		if e.Kind == hist.Finished && e.Member == m.name && e.At < since.UnixNano() {
			had[e.Partition] = true
		}
	}
	for _, e := range events {
		if e.Kind == hist.Finished && e.Member != m.name && e.At > since.UnixNano() && had[e.Partition] {
			taken[e.Partition] = true
		}
	}
	return len(taken)
}

// unheard says which records may be repeated after a member could not be heard:
// those that it had a part in, from shortly before.
func unheard(m *member, since time.Time) func(hist.Repeat) bool {
	return func(r hist.Repeat) bool {
		for _, run := range r.Runs {
			if run.Member == m.name && run.At.After(since.Add(-uncommitted)) {
				return true
			}
		}
		return false
	}
}
