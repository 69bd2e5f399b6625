package cli_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	words "github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/rpc"
)

func TestRightsAsCommands(t *testing.T) {
	t.Parallel()
	const start = "kafka-acls.sh --bootstrap-server 127.0.0.1:9092 --add --allow-principal "
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"server": {[]string{"fares"}, start + "User:fares --operation Read --operation Describe --operation Create --topic rpc.requests.fares\n" +
			start + "User:fares --operation Read --group rpc.fares\n" +
			start + "User:fares --operation Write --operation Describe --topic rpc.replies. --resource-pattern-type prefixed\n"},
		"client": {[]string{"front.desk", "--role", "client", "--calls", "fares,a.b", "--principal", "User:CN=it's"},
			start + `'User:CN=it'\''s' --operation Read --operation Describe --operation Create --topic rpc.replies.front..desk` + "\n" +
				start + `'User:CN=it'\''s' --operation Read --operation Write --operation Describe --operation Create --topic rpc.claims.front..desk` + "\n" +
				start + `'User:CN=it'\''s' --operation Write --operation Describe --topic rpc.requests.fares` + "\n" +
				start + `'User:CN=it'\''s' --operation Describe --group rpc.fares` + "\n" +
				start + `'User:CN=it'\''s' --operation Write --operation Describe --topic rpc.requests.a..b` + "\n" +
				start + `'User:CN=it'\''s' --operation Describe --group rpc.a..b` + "\n"},
		"without topics to make": {[]string{"fares", "--create=false", "--brokers", "k1:9092,k2:9092"},
			"kafka-acls.sh --bootstrap-server k1:9092,k2:9092 --add --allow-principal User:fares --operation Read --operation Describe --topic rpc.requests.fares\n" +
				"kafka-acls.sh --bootstrap-server k1:9092,k2:9092 --add --allow-principal User:fares --operation Read --group rpc.fares\n" +
				"kafka-acls.sh --bootstrap-server k1:9092,k2:9092 --add --allow-principal User:fares --operation Write --operation Describe --topic rpc.replies. --resource-pattern-type prefixed\n"},
	} {
		stdout, stderr, code := duplex(t, nil, append([]string{"rpc", "acl"}, c.args...)...)
		require.Equal(t, command.OK, code, stderr)
		require.Equal(t, c.want, stdout, name)
	}
	stdout, _, _ := duplex(t, nil, "rpc", "acl", "fares", "--create=false", "--json")
	require.JSONEq(t, `[
		{"principal":"User:fares","resource":"topic","name":"rpc.requests.fares","pattern":"literal","operation":"Read"},
		{"principal":"User:fares","resource":"topic","name":"rpc.requests.fares","pattern":"literal","operation":"Describe"},
		{"principal":"User:fares","resource":"group","name":"rpc.fares","pattern":"literal","operation":"Read"},
		{"principal":"User:fares","resource":"topic","name":"rpc.replies.","pattern":"prefixed","operation":"Write"},
		{"principal":"User:fares","resource":"topic","name":"rpc.replies.","pattern":"prefixed","operation":"Describe"}]`, stdout)
}

// right is one that acl prints.
type right struct{ Resource, Name, Pattern, Operation string }

func rightsOf(t *testing.T, args ...string) []right {
	t.Helper()
	stdout, stderr, code := duplex(t, nil, append([]string{"rpc", "acl", "--json"}, args...)...)
	require.Equal(t, command.OK, code, stderr)
	var all []right
	require.NoError(t, json.Unmarshal([]byte(stdout), &all))
	return all
}

func acls(t *testing.T, rights []right) []kfake.ACL {
	t.Helper()
	all := make([]kfake.ACL, len(rights))
	for i, r := range rights {
		resource, err := kmsg.ParseACLResourceType(r.Resource)
		require.NoError(t, err)
		pattern, err := kmsg.ParseACLResourcePatternType(r.Pattern)
		require.NoError(t, err)
		operation, err := kmsg.ParseACLOperation(r.Operation)
		require.NoError(t, err)
		all[i] = kfake.ACL{Resource: resource, Name: r.Name, Pattern: pattern, Operation: operation, Allow: true}
	}
	return all
}

// callsWith has a client with some rights call a server with some, on a cluster that
// grants nothing else, and reports what does not work as it should.
func callsWith(t *testing.T, server, client []kfake.ACL) error {
	t.Helper()
	k, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.User("PLAIN", "fares", "secret", server...), kfake.User("PLAIN", "desk", "secret", client...))
	if !assert.NoError(t, err) {
		return err
	}
	defer k.Close()
	as := func(user string) words.Cluster {
		return words.Cluster{Brokers: k.ListenAddrs(), SASL: &words.SASL{Mechanism: words.SASLPlain, Username: user, Password: "secret"}}
	}
	m := rpc.Method[string, string]{Service: "fares", Name: "Quote"}
	handled := make(chan string, 10)
	s, err := rpc.NewServer(rpc.ServerConfig{Cluster: as("fares"), DrainTimeout: 500 * time.Millisecond, Handlers: []rpc.Handler{rpc.Handle(m, func(_ context.Context, from string) (string, error) {
		handled <- from
		return from, nil
	})}})
	if !assert.NoError(t, err) {
		return err
	}
	serving, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(serving) }()

	core, logged := observer.New(zap.WarnLevel)
	c, err := rpc.NewClient(rpc.ClientConfig{Cluster: as("desk"), Service: "desk", WaitForServer: true, Logger: zap.New(core)})
	if !assert.NoError(t, err) {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	if _, err := rpc.Call(ctx, c, m, "LAX"); err != nil {
		stop()
		return cmp.Or(<-ended, err)
	}
	if _, err := rpc.OneWay(ctx, c, m, "JFK"); err != nil {
		return err
	}
	<-handled
	select {
	case <-handled:
	case <-ctx.Done():
		return errors.New("the message was not handled")
	}
	stop()
	if err := <-ended; err != nil {
		return err
	}
	if n := logged.Len(); n > 0 {
		return fmt.Errorf("the client warned %d times: %s", n, logged.All()[0].Message)
	}
	impatient, err := rpc.NewClient(rpc.ClientConfig{Cluster: as("desk"), Service: "desk"})
	if !assert.NoError(t, err) {
		return err
	}
	defer impatient.Close()
	if _, err := rpc.Call(ctx, impatient, m, "LAX"); rpc.ExecutedOf(err) != rpc.Never {
		return fmt.Errorf("it is not seen that nobody serves: %w", err)
	}
	return nil
}

func TestRightsAreEnoughAndNoneIsTooMany(t *testing.T) {
	t.Parallel()
	server, client := rightsOf(t, "fares"), rightsOf(t, "desk", "--role", "client", "--calls", "fares")
	require.NoError(t, callsWith(t, acls(t, server), acls(t, client)))
	without := func(all []right, i int) []kfake.ACL {
		return acls(t, append(append([]right{}, all[:i]...), all[i+1:]...))
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for i, r := range append(append([]right{}, server...), client...) {
		if r.Operation == "Describe" && r.Resource == "topic" {
			continue // Read and Write, which are there, too, imply it
		}
		of, from := acls(t, server), acls(t, client)
		if i < len(server) {
			of = without(server, i)
		} else {
			from = without(client, i-len(server))
		}
		wg.Go(func() { // all at once: most of it is waiting
			assert.Error(t, callsWith(t, of, from), "it works without %v", r)
		})
	}
}
