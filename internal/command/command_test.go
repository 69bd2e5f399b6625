package command_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex"
	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
)

// outcome is what the shell gets from a program.
type outcome struct {
	code           int
	stdout, stderr string
}

// run runs a program "post" with a command "letter", whose body is body.
func run(t *testing.T, ctx context.Context, body func(cmd *cobra.Command, args []string) error, environ []string, args ...string) outcome { //nolint:revive // the context is what some tests are about
	t.Helper()
	root := &cobra.Command{Use: "post"}
	letter := &cobra.Command{Use: "letter", Args: cobra.MaximumNArgs(1), RunE: command.Body(environ, body)}
	config.AddFlags(letter.Flags())
	letter.Flags().String("to", "nobody", "")
	letter.Flags().String("seal", "", "")
	require.NoError(t, config.MarkSecret(letter.Flags(), "seal"))
	root.AddCommand(letter)
	var stdout, stderr bytes.Buffer
	code := command.Run(ctx, root, command.Process{
		Args: args, Environ: environ, Stdin: strings.NewReader("Dear all"), Stdout: &stdout, Stderr: &stderr,
	})
	return outcome{code, stdout.String(), stderr.String()}
}

func returns(err error) func(*cobra.Command, []string) error {
	return func(*cobra.Command, []string) error { return err }
}

// unreached is the body of a command that must not get so far.
func unreached(t *testing.T) func(*cobra.Command, []string) error {
	t.Helper()
	return func(*cobra.Command, []string) error {
		t.Error("the command ran")
		return nil
	}
}

const hint = "Run 'post letter --help' for usage.\n"

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want outcome
	}{
		"all went well":            {nil, outcome{code: 0}},
		"it failed":                {io.EOF, outcome{code: 1, stderr: "post: EOF\n"}},
		"and has said so":          {command.ErrFailed, outcome{code: 1}},
		"and has said so, wrapped": {fmt.Errorf("x: %w", command.ErrFailed), outcome{code: 1}},
		"with a code of its own":   {command.Exit(command.TooLate), outcome{code: 3}},
		"a guard refused it":       {&duplex.Error{Op: "posting", Codes: []duplex.Code{duplex.ErrRefused}, Hint: "no stamp"}, outcome{code: 4, stderr: "post: posting: refused (no stamp)\n"}},
		"with its own, wrapped":    {fmt.Errorf("x: %w", command.Exit(7)), outcome{code: 7}},
		"its usage is wrong":       {command.UsageError(errors.New("--to is empty")), outcome{code: 2, stderr: "post: --to is empty\n" + hint}},
		"its usage, wrapped":       {fmt.Errorf("x: %w", command.UsageError(io.EOF)), outcome{code: 2, stderr: "post: x: EOF\n" + hint}},
		"interrupted":              {command.ErrInterrupted, outcome{code: 130}},
		"interrupted, wrapped":     {fmt.Errorf("x: %w", command.ErrInterrupted), outcome{code: 130}},
		"terminated is an error":   {command.ErrTerminated, outcome{code: 1, stderr: "post: terminated\n"}},
		"its name is said once":    {errors.New("post: sending: EOF"), outcome{code: 1, stderr: "post: sending: EOF\n"}},
		"several":                  {errors.Join(io.EOF, io.ErrNoProgress), outcome{code: 1, stderr: "post: EOF\nmultiple Read calls return no data or error\n"}},
	} {
		require.Equal(t, c.want, run(t, t.Context(), returns(c.err), nil, "letter"), name)
	}
	require.NoError(t, command.UsageError(nil))
	require.ErrorIs(t, command.UsageError(io.EOF), io.EOF)
}

func TestWrongUsageDoesNotRunTheCommand(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "post.yaml")
	require.NoError(t, os.WriteFile(file, []byte("too: ann"), 0o600))
	for want, args := range map[string][]string{
		"post: unknown flag: --form\n" + hint:                      {"letter", "--form=x"},
		"post: flag needs an argument: --to\n" + hint:              {"letter", "--to"},
		"post: accepts at most 1 arg(s), received 2\n" + hint:      {"letter", "a", "b"},
		"post: config: reading " + file + ", line 1: unknown key ": {"letter", "--config", file},
		"post: config: reading --config: open nowhere.yaml":        {"letter", "--config=nowhere.yaml"},
		"post: unknown command \"leter\" for \"post\"":             {"leter"},
	} {
		got := run(t, t.Context(), unreached(t), nil, args...)
		require.Equal(t, 2, got.code, "%v", args)
		require.True(t, strings.HasPrefix(got.stderr, want), "%q\n%q", want, got.stderr)
		require.Contains(t, got.stderr, " --help' for usage.\n")
		require.Equal(t, 1, strings.Count(got.stderr, "post: "), "said once: %q", got.stderr)
		require.Empty(t, got.stdout, "errors do not go where records go")
	}
}

func TestSettingsReachTheCommand(t *testing.T) {
	t.Parallel()
	got := run(t, t.Context(), func(cmd *cobra.Command, args []string) error {
		to, err := cmd.Flags().GetString("to")
		require.NoError(t, err)
		text, err := io.ReadAll(cmd.InOrStdin())
		require.NoError(t, err)
		_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s %v to %s", text, args, to)
		return err
	}, []string{"DUPLEX_TO=ann"}, "letter", "now")
	require.Equal(t, outcome{stdout: "Dear all [now] to ann"}, got)
}

func TestPrintConfigPrintsAndDoesNotRun(t *testing.T) {
	t.Parallel()
	got := run(t, t.Context(), unreached(t), []string{"DUPLEX_TO=ann", "DUPLEX_SEAL=hunter2"}, "letter", "--print-config")
	require.Equal(t, outcome{stdout: "seal: '***'\nto: ann\n"}, got)
}

func TestHelp(t *testing.T) {
	t.Parallel()
	got := run(t, t.Context(), unreached(t), nil, "letter", "--help")
	require.Zero(t, got.code)
	require.Empty(t, got.stderr)
	require.Contains(t, got.stdout, "--print-config")
}

func TestCauseOfTheContextIsTheExitCode(t *testing.T) {
	t.Parallel()
	for cause, code := range map[error]int{command.ErrInterrupted: 130, command.ErrTerminated: 1} {
		ctx, cancel := context.WithCancelCause(t.Context())
		got := run(t, ctx, func(cmd *cobra.Command, _ []string) error {
			cancel(cause)
			<-cmd.Context().Done()
			return context.Cause(cmd.Context())
		}, nil, "letter")
		require.Equal(t, code, got.code)
	}
}
