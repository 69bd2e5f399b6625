// Command docgen writes docs/configuration.md from the doc comments of the
// Config structs, so that the page cannot say anything else than the code.
//
//	go run ./internal/docgen         # from the repository's root: write the page
//	go run ./internal/docgen -check  # fail when the page is not what it would write
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

const page = "docs/configuration.md"

func main() {
	check := flag.Bool("check", false, "compare instead of writing")
	root := flag.String("root", ".", "the repository's root")
	flag.Parse()
	if err := run(*root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "docgen:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(root string, check bool) error {
	want, err := generate(root)
	if err != nil {
		return err
	}
	path := filepath.Join(root, filepath.FromSlash(page))
	if !check {
		return os.WriteFile(path, want, 0o644) //nolint:gosec // a page of documentation is for everybody
	}
	have, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, want) {
		return errors.New(page + " is stale: run make generate")
	}
	return nil
}
