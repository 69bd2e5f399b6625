package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPageIsFresh(t *testing.T) {
	t.Parallel()
	require.NoError(t, run("../..", true))
}

func TestTableIsMadeOfComments(t *testing.T) {
	t.Parallel()
	s, err := readStructs(write(t, `// Package p is here.
package p

// Config says how. See [p.New]. Dial is
// required; Quiet is not.
//
// Second paragraph.
type Config struct {
	// Name of the thing. Required.
	Name string
	// Wait is how long, a|b or [Forever]
	// in words. Defaults
	// to 1.5 s. Longer is slower.
	Wait time.Duration

	// Min and Max bound it. Default to 1 and 2.
	Min, Max int
	Quiet bool // says nothing
	// User and Pass go together. User is required.
	User string
	Pass Secret
	private int
	// Dial replaces it.
	//
	// With care.
	Dial func(
		ctx context.Context,
	) error
}
`), []string{"Config"})
	require.NoError(t, err)
	require.Len(t, s, 1)
	require.Equal(t, "Config says how. See `p.New`. Dial is required; Quiet is not.\n\nSecond paragraph.", prose(s[0].doc))
	var rows [][]string
	for _, f := range s[0].fields {
		text, otherwise := f.meaning()
		rows = append(rows, append(append(f.names, f.kinds...), cell(text), cell(otherwise)))
	}
	require.Equal(t, [][]string{
		{"Name", "string", "Name of the thing.", "required"},
		{"Wait", "time.Duration", `Wait is how long, a\|b or ` + "`Forever` in words. Longer is slower.", "1.5 s"},
		{"Min", "Max", "int", "Min and Max bound it.", "1 and 2"},
		{"Quiet", "bool", "says nothing", "false"},
		{"User", "Pass", "string", "Secret", "User and Pass go together. User is required.", "required"},
		{"Dial", "func(ctx context.Context) error", "Dial replaces it.<br>With care.", "required"},
	}, rows)
}

func TestMissingPartsAreErrors(t *testing.T) {
	t.Parallel()
	dir := write(t, "// Package p is here.\npackage p\n\n// Config says how.\ntype Config struct {\n\tBare int\n}\n\n// Name is one.\ntype Name string\n")
	_, err := readStructs(dir, []string{"Config", "Gone", "Name"})
	require.EqualError(t, err, "p.Config.Bare has no comment\nthere is no type p.Gone\np.Name is not a struct")
	_, err = readStructs(t.TempDir(), []string{"Config"})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestStalePageIsFound(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, "docs"), 0o750))
	for _, part := range contents() {
		require.NoError(t, os.MkdirAll(filepath.Join(root, part.dir), 0o750))
		paths, err := filepath.Glob(filepath.Join("..", "..", part.dir, "*.go"))
		require.NoError(t, err)
		for _, path := range paths {
			source, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(root, part.dir, filepath.Base(path)), source, 0o600))
		}
	}
	require.NoError(t, run(root, false))
	require.NoError(t, run(root, true))
	path := filepath.Join(root, "cluster.go")
	source, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(source, "\n// Other is not on the page.\ntype Other struct{}\n"...), 0o600))
	require.NoError(t, run(root, true))
	changed := strings.Replace(string(source), "Defaults to \"duplex\"", "Defaults to \"other\"", 1)
	require.NotEqual(t, string(source), changed)
	require.NoError(t, os.WriteFile(path, []byte(changed), 0o600))
	require.ErrorContains(t, run(root, true), "stale: run make generate")
}

func write(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "p.go"), []byte(source), 0o600))
	return dir
}
