package command_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"github.com/duplex-go/duplex/internal/command"
	"github.com/duplex-go/duplex/internal/config"
)

// asProgram makes this binary a program that runs the named body.
const asProgram = "COMMAND_TEST_BODY"

func TestMain(m *testing.M) {
	if body, ok := bodies[os.Getenv(asProgram)]; ok {
		root := &cobra.Command{Use: "post", RunE: command.Body(nil, body)}
		config.AddFlags(root.Flags())
		os.Exit(command.Main(root, command.FromOS()))
	}
	goleak.VerifyTestMain(m)
}

var bodies = map[string]func(*cobra.Command, []string) error{
	// until waits for a signal and returns what it was.
	"until": func(cmd *cobra.Command, _ []string) error {
		fmt.Fprintln(cmd.OutOrStdout(), "ready")
		<-cmd.Context().Done()
		return context.Cause(cmd.Context())
	},
	// drain waits for a signal, and has nothing to complain of.
	"drain": func(cmd *cobra.Command, _ []string) error {
		fmt.Fprintln(cmd.OutOrStdout(), "ready")
		<-cmd.Context().Done()
		return nil
	},
	// hang hears the first signal, and does not end.
	"hang": func(cmd *cobra.Command, _ []string) error {
		fmt.Fprintln(cmd.OutOrStdout(), "ready")
		<-cmd.Context().Done()
		fmt.Fprintln(cmd.OutOrStdout(), "asked")
		select {}
	},
	// pipe starts a command whose output nobody reads to its end.
	"pipe": func(cmd *cobra.Command, _ []string) error {
		fmt.Fprintln(cmd.OutOrStdout(), "ready")
		child := exec.CommandContext(cmd.Context(), "sh", "-c", "{ yes; echo $? >&2; } | head -n 1")
		child.Stderr = cmd.ErrOrStderr()
		return child.Run()
	},
	// write writes to standard output when standard input has ended.
	"write": func(cmd *cobra.Command, _ []string) error {
		fmt.Fprintln(cmd.OutOrStdout(), "ready")
		if _, err := io.Copy(io.Discard, cmd.InOrStdin()); err != nil {
			return err
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "a record")
		return err
	},
}
