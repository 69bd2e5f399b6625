package integration

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What the embedded broker does not have as Kafka does: how groups of both protocols are
// described, which commits an empty group takes and one with members refuses, and what a
// topic's settings are called.
func TestGroupsAndTopicsFromTheCommandLine(t *testing.T) {
	t.Parallel()
	c := cluster(t)
	for _, protocol := range []string{"classic", "kip848"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			topic, group := unique(t), unique(t)
			ensure := to(c, "topics", "ensure", topic+":3", "--group", group, "--retry", "1s,1m", "--set", "retention.ms=86400000")
			stdout, stderr, code := run(t, "duplex", ensure, "")
			require.Equal(t, 0, code, stderr)
			require.Equal(t, 5, strings.Count(stdout, " made "), stdout)
			stdout, stderr, code = run(t, "duplex", ensure, "")
			require.Equal(t, 0, code, stderr)
			require.NotContains(t, stdout, " made ")
			stdout, _, code = run(t, "duplex", to(c, "topics", "ensure", topic+":4"), "")
			require.Equal(t, 1, code)
			require.Contains(t, stdout, "partitions is 3, not 4")

			_, stderr, code = run(t, "duplex", to(c, "pub", topic, "--key-field", "origin"), departures(100))
			require.Equal(t, 0, code, stderr)
			sub := to(c, "sub", topic, "--group", group, "--protocol", protocol, "--client-id", "boards")
			p := start(t, "duplex", sub...)
			p.stdout.waitLines(t, 100, time.Minute)
			describe := func() (g describedGroup) {
				stdout, stderr, code := run(t, "duplex", to(c, "group", "describe", group, "--json"), "")
				require.Equal(t, 0, code, stderr)
				require.NoError(t, json.Unmarshal([]byte(stdout), &g), stdout)
				return g
			}
			require.Eventually(t, func() bool { return describe().Lag == 0 }, time.Minute, 200*time.Millisecond)
			g := describe()
			require.Equal(t, protocol, g.Protocol)
			require.Len(t, g.Members, 1)
			require.Equal(t, "boards", g.Members[0].ClientID)
			require.Len(t, g.Members[0].Partitions, 1)
			require.Equal(t, topic, g.Members[0].Partitions[0].Topic)
			require.Equal(t, []int32{0, 1, 2}, g.Members[0].Partitions[0].Partitions)
			seek := to(c, "group", "seek", group, "--topic", topic, "--to", "start", "--yes")
			_, stderr, code = run(t, "duplex", seek, "")
			require.Equal(t, 4, code, stderr)
			require.Contains(t, stderr, "the group is Stable: 1 members, such as boards at ")
			p.signal(t, syscall.SIGTERM)
			require.Equal(t, 0, p.wait(t))

			require.Eventually(t, func() bool { return describe().State == "Empty" }, time.Minute, 200*time.Millisecond)
			stdout, stderr, code = run(t, "duplex", seek, "")
			require.Equal(t, 0, code, stderr)
			require.Contains(t, stdout, " repeated")
			require.EqualValues(t, 100, describe().Lag)
			stdout, stderr, code = run(t, "duplex", append(sub, "--until-end"), "")
			require.Equal(t, 0, code, stderr)
			require.Len(t, split(stdout), 100, "all again")

			_, stderr, code = run(t, "duplex", to(c, "group", "lag", group[1:]), "")
			require.Equal(t, 1, code)
			require.Contains(t, stderr, "there is no such group")
			stdout, stderr, _ = run(t, "duplex", to(c, "group", "ls"), "")
			require.Contains(t, stdout, group, stderr)
			stdout, stderr, code = run(t, "duplex", to(c, "topics", "check", topic, "--accept", "one-replica,min-insync-one,no-spare,few-in-sync", "--least-retention", "48h", "--json"), "")
			require.Equal(t, 1, code, stderr)
			require.Contains(t, stdout, `"code": "short-retention"`)
			require.Equal(t, 1, strings.Count(stdout, `"code"`), stdout)
		})
	}
}

// describedGroup is what duplex group describe --json prints.
type describedGroup struct {
	State, Protocol string
	Lag             int64
	Members         []struct {
		ClientID   string `json:"client_id"`
		Partitions []struct {
			Topic      string
			Partitions []int32
		}
	}
}
