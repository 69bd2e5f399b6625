package examples_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	// What the examples are made of is imported, and their files are read, so that
	// "go test" does not remember a result after they have changed.
	_ "github.com/duplex-go/duplex/broker"
	_ "github.com/duplex-go/duplex/consumer"
	_ "github.com/duplex-go/duplex/producer"
)

// shown is what each example must print, by the name of its folder.
var shown = map[string][]string{
	"departures": {"published 12 departures", "FRA last departure DX 109", "NRT last departure DX 111"},
	"workqueue": {
		"upload, attempt 1: connection reset", "upload, attempt 2: done", "invoice, attempt 3: done", "unreadable, attempt 1: makes no sense, dropped",
		"every job has its verdict",
	},
	"batch": {"p000 pays nothing: dropped", "p500 row is locked: again, and only this one", "stored 999 payments, 499500 cents"},
	"failures": {
		"grace, attempt 2: sent", "joan, attempt 3: the server is busy", "dead letter, permanent after 1: permanent: no such address",
		"every mail has ended, once", `in the queue: {"To":"joan"}, exhausted, from mails at`,
	},
	"outcome": {"too large:   refused", "buffer full: refused", "no answer:   unknown", "found the order twice and handled it once"},
}

// build makes the programs, all at once.
func build(t *testing.T) (folder string) {
	t.Helper()
	sources, err := filepath.Glob(filepath.Join("*", "*.go"))
	require.NoError(t, err)
	for _, path := range sources {
		_, err := os.ReadFile(path)
		require.NoError(t, err)
	}
	folder = t.TempDir()
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", folder+string(filepath.Separator), "./...").CombinedOutput()
	require.NoError(t, err, string(out))
	return folder
}

// run runs a program to its end.
func run(t *testing.T, path string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "DUPLEX_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	require.NoError(t, ctx.Err(), "%s does not end:\n%s%s", path, out.String(), errs.String())
	if err != nil {
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestExamplesShowWhatTheySay(t *testing.T) {
	t.Parallel()
	folder := build(t)
	programs, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, programs, len(shown), "every example is checked")
	for name, lines := range shown {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, code := run(t, filepath.Join(folder, name))
			require.Zero(t, code, stdout+stderr)
			require.Empty(t, stderr)
			for _, line := range lines {
				require.Contains(t, stdout, line)
			}
			// It must not be content with what it cannot do.
			_, stderr, code = run(t, filepath.Join(folder, name), "-brokers", "127.0.0.1:1", "-within", "1s")
			require.Equal(t, 1, code)
			require.True(t, strings.HasPrefix(stderr, name+": "), stderr)
		})
	}
}
