package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const guarantees = "docs/guarantees.md"

func TestGuaranteesNameTestsThatExist(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, guarantees))
	require.NoError(t, err)
	require.Contains(t, string(page), "| C10 |", "the page is not what this test reads")
	requireNone(t, brokenPromises(string(page), root))
}

func TestBrokenPromisesAreFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "producer"), 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "producer", "a_test.go"),
		[]byte("package producer\n\nfunc TestOne(t *testing.T) {}\nfunc TestOneAndAHalf(t *testing.T) {}\n"), 0o600))
	page := "|  | Promise | Checked by |\n|---|---|---|\n" +
		"| P1 | kept | `producer.TestOne` |\n" +
		"| P2 | kept in words | |\n" +
		"| P3 | half kept | `producer.TestOne`, `producer.TestOneAnd`, `consumer.TestTwo` |\n"
	require.Equal(t, []string{
		"P2 of docs/guarantees.md names no test",
		"P3 of docs/guarantees.md names `producer.TestOneAnd`, which does not exist",
		"P3 of docs/guarantees.md names `consumer.TestTwo`, which does not exist",
	}, brokenPromises(page, dir))
}

// brokenPromises gives one line for every promise of the page without a test,
// and for every test that it names and that root does not have. Names are
// folder.TestName, with the folder's slashes.
func brokenPromises(page, root string) []string {
	var broken []string
	for _, row := range tables(page)[" | Promise | Checked by"] {
		tests := quoted(row[2])
		if len(tests) == 0 {
			broken = append(broken, fmt.Sprintf("%s of %s names no test", row[0], guarantees))
		}
		for _, test := range tests {
			if !testExists(root, test) {
				broken = append(broken, fmt.Sprintf("%s of %s names `%s`, which does not exist", row[0], guarantees, test))
			}
		}
	}
	return broken
}

func testExists(root, name string) bool {
	folder, function, ok := strings.Cut(name, ".")
	if !ok {
		return false
	}
	// A pattern with a star in it is the only error of Glob.
	files, _ := filepath.Glob(filepath.Join(root, filepath.FromSlash(folder), "*_test.go"))
	declared := regexp.MustCompile(`(?m)^func ` + regexp.QuoteMeta(function) + `\(`)
	for _, f := range files {
		if source, err := os.ReadFile(f); err == nil && declared.Match(source) {
			return true
		}
	}
	return false
}
