package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/duplex-go/duplex/internal/config"
)

// Group makes cmd one that only has other commands: without one it shows its help, and for one
// that it does not have it names the nearest.
func Group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

func unknownCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return fmt.Errorf("unknown command %q for %q%s", name, cmd.CommandPath(), meant(name, names))
}

// FlagError names the nearest flag of one that there is not. Flags of an unknown command are
// unknown too: then the command is what is wrong.
func FlagError(cmd *cobra.Command, err error) error {
	if cmd.HasSubCommands() && cmd.Flags().NArg() > 0 {
		return UsageError(unknownCommand(cmd, cmd.Flags().Arg(0)))
	}
	missing, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return UsageError(err)
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, "--"+f.Name)
		}
	})
	return UsageError(fmt.Errorf("%w%s", err, meant("--"+missing.GetSpecifiedName(), names)))
}

// OneOf says that what, such as --role, has none of the values that it may have; nil if it has
// one.
func OneOf(what, value string, words ...string) error {
	if slices.Contains(words, value) {
		return nil
	}
	last := len(words) - 1
	return fmt.Errorf("%s %q: want %s or %s%s", what, value, strings.Join(words[:last], ", "), words[last], meant(value, words))
}

func meant(word string, words []string) string {
	near := config.Nearest(word, slices.Values(words))
	if near == "" {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", near)
}
