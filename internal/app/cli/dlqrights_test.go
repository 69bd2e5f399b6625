package cli_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/duplex-go/duplex/internal/command"
)

// granted is one of those that docs/failures.md lists, such as "topic dlq-audit write".
type granted string

func (r granted) acl() kfake.ACL {
	words := strings.Fields(string(r))
	return kfake.ACL{
		Resource: map[string]kmsg.ACLResourceType{"topic": kmsg.ACLResourceTypeTopic, "group": kmsg.ACLResourceTypeGroup, "id": kmsg.ACLResourceTypeTransactionalId}[words[0]],
		Name:     words[1], Pattern: kmsg.ACLResourcePatternTypeLiteral, Allow: true,
		Operation: map[string]kmsg.ACLOperation{
			"read": kmsg.ACLOperationRead, "write": kmsg.ACLOperationWrite, "create": kmsg.ACLOperationCreate,
			"describe": kmsg.ACLOperationDescribe, "configs": kmsg.ACLOperationDescribeConfigs, "delete": kmsg.ACLOperationDelete,
		}[words[2]],
	}
}

// guarded is a cluster with a queue of letters, where users have these rights each.
func guarded(t *testing.T, users map[string][]granted) *kfake.Cluster {
	t.Helper()
	options := []kfake.Opt{
		kfake.NumBrokers(1), kfake.EnableACLs(), kfake.EnableSASL(), kfake.Superuser("PLAIN", "root", "x"),
		kfake.SeedTopics(1, queue, "redrive.boards.orders", "orders"),
	}
	for name, rights := range users {
		var acls []kfake.ACL
		for _, r := range rights {
			acls = append(acls, r.acl())
		}
		options = append(options, kfake.User("PLAIN", name, "x", acls...))
	}
	c, err := kfake.NewCluster(options...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.SASL(plain.Auth{User: "root", Pass: "x"}.AsMechanism()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	letters(t, client, queue, 1, "duplex")
	return c
}

// The rights that docs/failures.md says are enough, and each of them is needed.
func TestRightsOfDeadLettersAreEnoughAndNeeded(t *testing.T) {
	t.Parallel()
	reads := []granted{"topic dlq.boards.orders read", "topic dlq.boards.orders configs", "topic dlq-state.boards read"}
	redrives := slices.Concat(reads[:1], reads[2:], []granted{
		"topic redrive.boards.orders write", "topic dlq-state.boards write", "topic dlq-audit write",
		"topic dlq-state.boards create", "topic dlq-audit create", "id dlq-redrive.dlq.boards.orders write",
	})
	users := map[string][]granted{
		"reader": reads, "planner": append(slices.Clip(reads), "topic redrive.boards.orders describe"), "redriver": redrives,
		"auditor": {"topic dlq-audit read"},
	}
	for name, all := range map[string][]granted{"reader": reads, "redriver": redrives} {
		for i, r := range all {
			users[name+" without "+string(r)] = slices.Delete(slices.Clone(all), i, i+1)
		}
	}
	as := func(c *kfake.Cluster, name string, code int, args ...string) string {
		stdout, stderr, got := duplex(t, nil, append(args, "--brokers", c.ListenAddrs()[0], "--sasl-username", name, "--sasl-password", "x")...)
		require.Equal(t, code, got, "%s: %v: %s", name, args, stderr)
		if code == command.Failed {
			require.Regexp(t, "unauthorized|not all is known", stderr)
		}
		return stdout + stderr
	}
	run := []string{"redrive", "run", queue, "-G", "reason=exhausted", "--force", "--reason", "a test", "--yes", "--await", "0s"}
	for _, r := range reads {
		as(guarded(t, users), "reader without "+string(r), command.Failed, "dlq", "ls", queue)
	}
	for _, r := range redrives {
		code, says := command.Failed, ""
		if strings.HasPrefix(string(r), "id ") {
			code, says = command.OK, "WITHOUT transactions"
		}
		require.Contains(t, as(guarded(t, users), "redriver without "+string(r), code, run...), says)
	}

	c := guarded(t, users)
	for _, args := range [][]string{{"dlq", "ls"}, {"dlq", "groups", queue}, {"dlq", "show", queue, "0/0"}} {
		as(c, "reader", command.OK, args...)
	}
	as(c, "reader", command.Failed, "redrive", "plan", queue)
	as(c, "planner", command.OK, "redrive", "plan", queue)
	as(c, "planner", command.Failed, run...)
	require.NotContains(t, as(c, "redriver", command.OK, run...), "WITHOUT")
	as(c, "redriver", command.OK, "dlq", "discard", queue, "--reason", "a test", "--yes")
	as(c, "redriver", command.Failed, "redrive", "history", queue, "--audit")
	require.Contains(t, as(c, "auditor", command.OK, "redrive", "history", queue, "--audit"), `"event":"moved"`)
}

// Nothing is deleted by those who may not.
func TestRightToTrim(t *testing.T) {
	t.Parallel()
	redrives := []granted{
		"topic dlq.boards.orders read", "topic dlq-state.boards read", "topic dlq-state.boards write", "topic dlq-audit write",
		"topic dlq-state.boards create", "topic dlq-audit create", "id dlq-redrive.dlq.boards.orders write",
	}
	c := guarded(t, map[string][]granted{"ann": redrives, "bob": append(slices.Clip(redrives), "topic dlq.boards.orders delete")})
	as := func(name string, args ...string) (string, int) {
		stdout, stderr, code := duplex(t, nil, append(args, "--brokers", c.ListenAddrs()[0], "--sasl-username", name, "--sasl-password", "x")...)
		return stdout + stderr, code
	}
	out, code := as("ann", "dlq", "discard", queue, "--reason", "a test", "--yes")
	require.Equal(t, command.OK, code, out)
	out, code = as("ann", "dlq", "trim", queue, "--yes")
	require.Equal(t, command.Failed, code, out)
	require.Contains(t, out, "unauthorized")
	out, code = as("bob", "dlq", "trim", queue, "--yes")
	require.Equal(t, command.OK, code, out)
	require.Contains(t, out, "deleted 3 letters")
}
