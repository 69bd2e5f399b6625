package integration

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
)

// composeAddress is where docker-compose.yml puts its broker, and where the
// programs look for one that nobody named.
const composeAddress = loopback + ":9092"

func TestComposeFileComesUpWhereTheProgramsLook(t *testing.T) {
	if err := engineMissing(); err != nil {
		withoutKafka(t, err)
	}
	for _, needed := range [][]string{{"compose", "version"}, {"info"}} { // its client may look for the engine elsewhere
		if out, err := exec.CommandContext(t.Context(), "docker", needed...).CombinedOutput(); err != nil {
			t.Skipf("docker %s: %v: %s", strings.Join(needed, " "), err, out)
		}
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", composeAddress)
	if err != nil {
		t.Skipf("the file's port is not free: %v", err)
	}
	require.NoError(t, l.Close())
	// sweep finds the container by its labels if this run is killed.
	labels := filepath.Join(t.TempDir(), "labels.yml")
	require.NoError(t, os.WriteFile(labels, fmt.Appendf(nil, "services:\n  kafka:\n    labels: {%s: %q, %s: \"%d\"}\n",
		labelHost, hostname(), labelPID, os.Getpid()), 0o600))
	compose := func(args ...string) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), startTimeout+faultTimeout)
		defer cancel()
		args = append([]string{"compose", "-p", fmt.Sprintf("duplex-integration-%d", os.Getpid()), "-f", "../docker-compose.yml", "-f", labels}, args...)
		out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
		require.NoError(t, err, "docker %v\n%s", args, out)
	}
	t.Cleanup(func() { compose("down", "-v", "--timeout", "1") })
	compose("up", "-d", "--wait")

	topic := unique(t)
	_, stderr, code := run(t, "producer", []string{"--topic", topic, "--create", "3", "--key-field", "origin"}, departures(100))
	require.Equal(t, 0, code, stderr)
	stdout, stderr, code := run(t, "consumer", []string{"--topic", topic, "--group", unique(t), "--until-end"}, "")
	require.Equal(t, 0, code, stderr)
	require.ElementsMatch(t, split(departures(100)), values(parseLines(t, split(stdout))))
	require.Equal(t, int64(100), logSize(t, duplex.Cluster{Brokers: []string{composeAddress}}, topic))
}

// The three brokers of the profile are too much for a test run; that the file says
// what Compose understands is checked.
func TestComposeFileIsUnderstood(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := exec.CommandContext(ctx, "docker", "compose", "version").Run(); err != nil {
		t.Skipf("no docker compose: %v", err)
	}
	out, err := exec.CommandContext(ctx, "docker", "compose", "-f", "../docker-compose.yml", "--profile", "cluster", "config", "--services").CombinedOutput()
	require.NoError(t, err, string(out))
	require.ElementsMatch(t, []string{"kafka", "kafka-1", "kafka-2", "kafka-3"}, split(string(out)))
}
