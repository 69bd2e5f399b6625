// Command man writes docs/man: a manual page for each command of the programs, made of their
// help texts, so that the pages cannot say anything else.
//
//	go run ./internal/docgen/man         # from the repository's root: write the pages
//	go run ./internal/docgen/man -check  # fail when the pages are not what it would write
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/duplex-go/duplex/internal/app/cli"
	"github.com/duplex-go/duplex/internal/app/ingest"
	"github.com/duplex-go/duplex/internal/app/push"
)

const folder = "docs/man"

func main() {
	check := flag.Bool("check", false, "compare instead of writing")
	root := flag.String("root", ".", "the repository's root")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "man:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// pages gives all pages by the names of their files. Commands are made without an environment:
// nothing of this machine is in them.
func pages() (map[string][]byte, error) {
	all := map[string][]byte{}
	for _, of := range []func(environ []string) (*cobra.Command, error){cli.Command, ingest.Command, push.Command} {
		cmd, err := of(nil)
		if err != nil {
			return nil, err
		}
		if cmd.HasSubCommands() {
			cmd.InitDefaultCompletionCmd()
		}
		add(all, cmd)
	}
	return all, nil
}

func add(all map[string][]byte, cmd *cobra.Command) {
	if !cmd.IsAvailableCommand() && cmd.HasParent() {
		return
	}
	cmd.InitDefaultHelpFlag()
	all[pageName(cmd)+".1"] = page(cmd)
	for _, below := range cmd.Commands() {
		add(all, below)
	}
}

func run(root string, check bool) error {
	want, err := pages()
	if err != nil {
		return err
	}
	dir := filepath.Join(root, filepath.FromSlash(folder))
	there, err := os.ReadDir(dir)
	if err != nil && (check || !errors.Is(err, os.ErrNotExist)) {
		return err
	}
	have := map[string]bool{}
	for _, f := range there {
		if _, wanted := want[f.Name()]; !wanted && check {
			return fmt.Errorf("%s/%s is of no command: run make generate", folder, f.Name())
		} else if !wanted {
			err = errors.Join(err, os.Remove(filepath.Join(dir, f.Name())))
		}
		have[f.Name()] = true
	}
	if check {
		return compare(dir, want)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // documentation is for everybody
		return err
	}
	for name, text := range want {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil { //nolint:gosec // the same
			return err
		}
	}
	return nil
}

func compare(dir string, want map[string][]byte) error {
	for name, text := range want {
		have, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if !slices.Equal(have, text) {
			return fmt.Errorf("%s/%s is stale: run make generate", folder, name)
		}
	}
	return nil
}
