package integration

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	hist "github.com/duplex-go/duplex/internal/history"
)

// C2–C6, C11: ten members are replaced one after the other under load, and nobody
// notices: nothing is lost, nothing repeated, each key is in order, with one in
// twenty records failing at first.
func TestRollingDeployOfTenClassicMembers(t *testing.T) {
	rollingDeploy(t, func(*memberSettings) {})
}

// The same by the protocol in which the broker decides.
func TestRollingDeployOfTenKIP848Members(t *testing.T) {
	rollingDeploy(t, func(s *memberSettings) { s.KIP848 = true })
}

func rollingDeploy(t *testing.T, protocol func(*memberSettings)) {
	const members = 10
	g := newGroup(t, threeNodes(t).Cluster())
	protocol(&g.defaults)
	for range members {
		g.join()
	}
	load := g.publish(groupRate)
	g.working()
	for _, old := range slices.Clone(g.members) {
		old.leave()
		g.join().says("working")
		if longForms() {
			g.pass(sessionTimeout)
		}
	}
	load.stop()
	g.drained(groupPatience)
	report := g.check(hist.Allow{})
	t.Logf("longest gap of each partition: %s", gapsOf(report))
	require.Greater(t, report.Failures, report.Finished/40, "too few records failed at first")
}
