//go:build unix

package push_test

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/internal/app/apptest"
)

func TestSIGUSR1WritesTheStatus(t *testing.T) {
	t.Parallel()
	b := orders(t, 2, numbered("orders", 10, 2)...)
	binary, err := os.Executable()
	require.NoError(t, err)
	var stdout, stderr apptest.Output
	cmd := exec.CommandContext(t.Context(), binary, to(b, "-t", "orders", "-g", "g")...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), asProgram+"=yes"), &stdout, &stderr
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return len(stdout.Lines()) == 10 }, soon, 5*time.Millisecond)
	for i := 1; i <= 2; i++ {
		require.NoError(t, cmd.Process.Signal(syscall.SIGUSR1))
		require.Eventually(t, func() bool { return strings.Count(stderr.String(), `group "g" is ok`) == i }, soon, 5*time.Millisecond, stderr.String())
	}
	require.Contains(t, stderr.String(), "\n  orders/1 ")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, cmd.Wait())
}
