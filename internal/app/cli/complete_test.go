package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/broker"
	"github.com/duplex-go/duplex/internal/app/apptest"
	"github.com/duplex-go/duplex/internal/command"
)

// completed is what a shell would offer.
func completed(t *testing.T, environ []string, args ...string) []string {
	t.Helper()
	stdout, _, code := duplex(t, environ, append([]string{"__complete"}, args...)...)
	require.Equal(t, command.OK, code)
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	require.Equal(t, ":4", lines[len(lines)-1], "no names of files") // cobra's ShellCompDirectiveNoFileComp
	return lines[:len(lines)-1]
}

func TestShellsComplete(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "profiles.yaml")
	require.NoError(t, os.WriteFile(path, []byte("profiles: {dev: {}, prod: {}}"), 0o600))
	environ := []string{"DUPLEX_PROFILES_FILE=" + path}
	require.Equal(t, []string{"dev", "prod"}, completed(t, environ, "call", "-C", ""))
	require.Equal(t, []string{"dev", "prod"}, completed(t, environ, "profile", "use", ""))
	require.Empty(t, completed(t, environ, "profile", "use", "dev", ""))
	require.Equal(t, []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"}, completed(t, nil, "call", "--sasl-mechanism", ""))
	require.Equal(t, []string{"server", "client"}, completed(t, nil, "rpc", "acl", "--role", ""))
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		stdout, _, code := duplex(t, nil, "completion", shell)
		require.Equal(t, command.OK, code)
		require.Contains(t, stdout, "__complete")
	}
}

func TestShellsCompleteWhatTheClusterHas(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "rpc.requests.fares"}, broker.Topic{Name: "rpc.requests.seats"}, broker.Topic{Name: "orders"})
	require.Equal(t, []string{"fares", "seats"}, completed(t, nil, "call", "--brokers", strings.Join(b.Addrs(), ","), ""))
	require.Equal(t, []string{"seats"}, completed(t, nil, "rpc", "info", "--brokers", strings.Join(b.Addrs(), ","), "s"))
	require.Empty(t, completed(t, nil, "call", "--brokers", strings.Join(b.Addrs(), ","), "fares", ""), "a method")
	require.Equal(t, []string{"orders"}, completed(t, nil, "pub", "--brokers", strings.Join(b.Addrs(), ","), "o"))
	require.Equal(t, []string{"rpc.requests.fares", "rpc.requests.seats"}, completed(t, []string{"DUPLEX_BROKERS=" + b.Addrs()[0]}, "sub", "orders", ""))
}

func TestShellsCompleteGroups(t *testing.T) {
	t.Parallel()
	b := apptest.Listen(t, broker.Topic{Name: "orders"})
	for _, group := range []string{"billing", "audit", "bad name", "$(reboot)"} {
		commit(t, b, group, "orders", 0, 0, "")
	}
	environ := []string{"DUPLEX_BROKERS=" + b.Addrs()[0]}
	for _, command := range []string{"describe", "lag", "seek"} {
		require.Equal(t, []string{"audit", "billing"}, completed(t, environ, "group", command, ""))
	}
	require.Equal(t, []string{"orders"}, completed(t, environ, "group", "seek", "billing", "--topic", ""))
	require.Equal(t, []string{"orders"}, completed(t, environ, "topics", "ensure", "o"))
	require.Equal(t, []string{"orders"}, completed(t, environ, "topics", "check", ""))
	require.Contains(t, completed(t, environ, "topics", "check", "--accept", ""), "compacted")
}

func TestNobodyWaitsForACompletion(t *testing.T) {
	t.Parallel()
	for _, address := range []string{apptest.Nobody(t), apptest.Silence(t), "nonsense"} {
		began := time.Now()
		stdout, stderr, code := duplex(t, nil, "__complete", "call", "--brokers", address, "")
		require.Equal(t, command.OK, code)
		require.Equal(t, ":4\n", stdout)
		require.Equal(t, "Completion ended with directive: ShellCompDirectiveNoFileComp\n", stderr, "errors are not said")
		require.Less(t, time.Since(began), 10*time.Second) // 1 s, and what a busy machine adds
	}
	_, stderr, _ := duplex(t, []string{"DUPLEX_TLS=maybe"}, "__complete", "call", "")
	require.NotContains(t, stderr, "DUPLEX_TLS")
}
