package cli_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/duplex-go/duplex/internal/app/cli"
)

// The page has a row for each command, and the examples are command lines.
func TestThePageHasEveryCommand(t *testing.T) {
	t.Parallel()
	root, err := cli.Command(nil)
	require.NoError(t, err)
	root.InitDefaultCompletionCmd()
	page, err := os.ReadFile("../../../docs/command.md")
	require.NoError(t, err)
	named := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `duplex ([a-z ]+)` \\| .+ \\| `duplex (.+)` \\|$").FindAllStringSubmatch(string(page), -1) {
		named[row[1]] = true
		cmd, args, err := root.Find(strings.Fields(row[2]))
		require.NoError(t, err, row[2])
		require.True(t, strings.HasPrefix(cmd.CommandPath(), "duplex "+row[1]), row[2])
		require.NoError(t, cmd.ParseFlags(args), row[2])
		if cmd.Args != nil {
			require.NoError(t, cmd.Args(cmd, cmd.Flags().Args()), row[2])
		}
	}
	for name, cmd := range commandsOf(root) {
		if cmd.Runnable() && !cmd.HasSubCommands() && !strings.HasPrefix(name, "completion ") && cmd.IsAvailableCommand() {
			require.True(t, named[name], "docs/command.md has no row for duplex %s", name)
			delete(named, name)
		}
	}
	delete(named, "completion")
	require.Empty(t, named, "docs/command.md has rows for commands that there are not")
}
