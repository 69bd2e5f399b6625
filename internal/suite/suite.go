// Package suite is what Duplex promises to users, as scenarios that run on any
// Kafka: through the exported interface only, and with Kafka's own client to look
// at the log and the group independently. internal/suite's own tests run them on
// the embedded broker, integration's on real Kafka.
//
// A scenario uses topics and groups with names of their own, so all of them run
// at once on one cluster, and on one that others use.
package suite

import (
	"testing"
	"time"

	"github.com/duplex-go/duplex"
)

// Kafka is what scenarios run on.
type Kafka struct {
	// Cluster is the way in. Required.
	Cluster duplex.Cluster
	// Session is the session timeout of members. The shorter it is, the sooner
	// members notice a rebalance; the brokers' group.min.session.timeout.ms must
	// allow it. Required.
	Session time.Duration
	// Compact, when set, makes the brokers compact their topics now. Without,
	// they are waited for.
	Compact func()
}

// Scenario is one promise, or some that show best together.
type Scenario struct {
	// Name is that of its subtest.
	Name string
	// Promises are the rows of docs/guarantees.md that it checks.
	Promises []string
	// Run is the scenario.
	Run func(t *testing.T, k Kafka)
}

// Scenarios returns all scenarios, in the order of their files.
func Scenarios() []Scenario {
	var all []Scenario
	for _, some := range [][]Scenario{publishing(), refusing(), consuming(), isolation(), failing(), rebalancing(), steering(), chaining(), redriving(), calling()} {
		all = append(all, some...)
	}
	return all
}

// Run runs every scenario as a parallel subtest of t.
func Run(t *testing.T, k Kafka) {
	t.Helper()
	for _, s := range Scenarios() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			s.Run(t, k)
		})
	}
}

// patience is how long a scenario waits for what must come true.
const patience = 90 * time.Second
