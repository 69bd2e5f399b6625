package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/duplex-go/duplex/dlq"
)

// grant adds rules.
func grant(t *testing.T, n *kafkaNode, b *kadm.ACLBuilder) {
	t.Helper()
	resps, err := kadm.NewClient(rawClient(t, n.Cluster())).CreateACLs(t.Context(), b)
	require.NoError(t, err)
	for _, resp := range resps {
		require.NoError(t, resp.Err)
	}
}

func literal() *kadm.ACLBuilder { return kadm.NewACLs().ResourcePatternType(kadm.ACLPatternLiteral) }

// newUser is a broker with a user alice who may do everything but have transactions.
func newUser(t *testing.T) *kafkaNode {
	t.Helper()
	n := node(t, withRights(withPlainUser("alice", "right")))
	grant(t, n, literal().Topics("*").Groups("*").Clusters().Allow("User:alice").AllowHosts("*").Operations(kadm.OpAll))
	return n
}

// logged is a logger, and what it was told.
func logged() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zapcore.WarnLevel)
	return zap.New(core), logs
}

// Without the right to have transactions, letters come back all the same, which is said; after
// a crash some come back twice, with the same dlq-id.
func TestRedriveWithoutTheRightToHaveTransactions(t *testing.T) {
	t.Parallel()
	n := newUser(t)
	d := newDesk(t, n.Cluster(), redrivePartitions, "-said")
	log, logs := logged()
	r, err := dlq.NewRedriver(dlq.RedriverConfig{Cluster: n.SASL("alice", "right"), Logger: log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	d.fill(0, redriveLetters)
	said := false
	job, err := r.Apply(t.Context(), d.plan(r), dlq.ApplyConfig{Progress: func(p dlq.JobProgress) { said = said || p.AtLeastOnce }})
	require.NoError(t, err)
	require.EqualValues(t, redriveLetters, job.Moved)
	require.True(t, said, "it does not say that letters may come back twice")
	require.Equal(t, 1, logs.FilterMessageSnippet("no right to have transactions").Len())
	d.requireOnce("no transactions", redriveLetters)

	table := ""
	for i, point := range []redrivePoint{beforeRecords, recordsStored} {
		k := newRedriveCase(newDesk(t, n.Cluster(), redrivePartitions, fmt.Sprint("-", i)), redriveStop{atMove, 2, point})
		k.settings.Brokers, k.settings.User = n.SASL("alice", "right").Brokers, "alice"
		require.Equal(t, -1, k.start(k.dying(false)).wait(t))
		s := k.settings
		s.Takeover, s.Rate = true, 0
		again := k.start(s)
		require.Equal(t, endedDone, again.wait(t), again.stderr.tail())
		require.Contains(t, again.stdout.String(), "at least once: true")
		found := k.cameBack()
		require.Equal(t, redriveLetters, found.once, "letters were lost")
		require.Equal(t, point == recordsStored, found.copies > 0, "%d copies", found.copies)
		require.Equal(t, map[dlq.State]int{dlq.StateRedriven: redriveLetters}, k.states())
		table += fmt.Sprintf("\nno right to have transactions, killed %s: %d letters, %d of them twice", k.stop, found.once, found.copies)
	}
	t.Log(table)
}

// A consumer that may not write the state topic is not held up: what becomes of letters is
// not learnt, and that is all.
func TestConsumerWithoutTheRightToSayWhatBecameOfLetters(t *testing.T) {
	t.Parallel()
	n := newUser(t)
	const letters = 300
	d := newDesk(t, n.Cluster(), redrivePartitions, "")
	grant(t, n, literal().Topics(d.state).Deny("User:alice").DenyHosts("*").Operations(kadm.OpWrite))
	log, logs := logged()
	cfg := d.consumer(n.SASL("alice", "right"))
	cfg.Logger = log
	_, stop := running(t, cfg)
	d.fill(0, letters)
	r := d.redriver(n.Cluster())
	_, errs := d.apply(r, d.plan(r), dlq.ApplyConfig{})
	require.Empty(t, errs)
	took := d.committedAll()
	handled, again := d.seen()
	require.Equal(t, []int{letters, 0}, []int{handled, again})
	require.NoError(t, stop())
	job := d.only(r)
	require.Equal(t, []int64{0, letters}, []int64{job.Handled, job.Pending()})
	require.Equal(t, map[dlq.State]int{dlq.StateRedriven: letters}, d.states())
	said := logs.FilterMessageSnippet("what became of records").Len()
	require.NotZero(t, said)
	require.Less(t, said, 5, "a line for each letter")
	t.Logf("no right to write the state topic: %d letters handled, all committed %s after the job, %d outcomes unknown, %d log lines",
		handled, took, job.Pending(), said)
}
