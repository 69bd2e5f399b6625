package integration

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The tests of this file check how processes are driven, on this test's own
// binary in the place of a program.

const helperVariable = "INTEGRATION_HELPER"

// TestHelperProcess is the program: it repeats its input in capitals and reports
// SIGTERM.
func TestHelperProcess(t *testing.T) {
	mode := os.Getenv(helperVariable)
	if mode == "" {
		t.Skip("only a program for the other tests")
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(strings.ToUpper(in.Text()))
	}
	fmt.Fprintln(os.Stderr, "input ended")
	if mode == "wait" {
		<-term
		fmt.Println("terminated")
	}
	os.Exit(7)
}

func helper(mode string) (path string, args, env []string) {
	return os.Args[0], []string{"-test.run=^TestHelperProcess$"}, []string{helperVariable + "=" + mode}
}

func TestRunGivesOutputAndCode(t *testing.T) {
	t.Parallel()
	path, args, env := helper("run")
	stdout, stderr, code := runPath(t, path, args, env, "a\nb\n")
	require.Equal(t, "A\nB\n", stdout)
	require.Equal(t, "input ended\n", stderr)
	require.Equal(t, 7, code)
}

func TestStartedProcessTakesSignals(t *testing.T) {
	t.Parallel()
	path, args, env := helper("wait")
	p := startPath(t, path, args, env)
	_, err := fmt.Fprintln(p.Stdin, "first")
	require.NoError(t, err)
	require.Equal(t, []string{"FIRST"}, p.stdout.waitLines(t, 1, 10*time.Second))
	require.NoError(t, p.Stdin.Close())
	p.stderr.waitLines(t, 1, 10*time.Second)
	p.signal(t, syscall.SIGTERM)
	require.Equal(t, 7, p.wait(t))
	require.Equal(t, []string{"FIRST", "terminated"}, p.stdout.lines())
}

func TestKilledProcessHasNoCode(t *testing.T) {
	t.Parallel()
	path, args, env := helper("wait")
	p := startPath(t, path, args, env)
	p.signal(t, syscall.SIGKILL)
	require.Equal(t, -1, p.wait(t))
}

func TestProcessesDoNotInheritSettings(t *testing.T) {
	t.Setenv("DUPLEX_BROKERS", "elsewhere:9092")
	require.NotContains(t, strings.Join(cleanEnvironment(), "\n"), "DUPLEX_BROKERS")
}

// The checker of the fault tests must find what it is there for.
func TestHistoryFindsLossReorderingAndRepeats(t *testing.T) {
	t.Parallel()
	const second = numberedKeys // the place in the stream of the second record of key 0
	for name, test := range map[string]struct {
		order            []int
		wrong            string
		repeats, handled int
	}{
		"all in order":   {[]int{0, 1, second, second + 1, 2 * second}, "", 0, 5},
		"keys mixed":     {[]int{1, 0, second + 1, second}, "", 0, 4},
		"one lost":       {[]int{0, 2 * second}, "key 0: 2 came where 1 should", 0, 1},
		"places changed": {[]int{second, 0}, "key 0: 1 came where 0 should", 0, 1},
		"repeated":       {[]int{0, second, 0, second}, "", 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &history{next: map[string]uint64{}}
			for _, i := range test.order {
				h.add(numbered("t", i))
			}
			require.Equal(t, test.repeats, h.repeats)
			require.Equal(t, int64(test.handled), h.handled.Load())
			if test.wrong == "" {
				require.NoError(t, h.wrong)
				return
			}
			require.ErrorContains(t, h.wrong, test.wrong)
		})
	}
}
