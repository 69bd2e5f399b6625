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

// promising are the pages whose tables name tests, and a row that each must have.
var promising = map[string]string{
	"docs/guarantees.md":   "| C10 |",
	"docs/engine-rules.md": "| 28 |",
}

func TestPromisesNameTestsThatExist(t *testing.T) {
	t.Parallel()
	for name, row := range promising {
		page, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		require.Contains(t, string(page), row, "the page is not what this test reads")
		requireNone(t, brokenPromises(name, string(page), root))
	}
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
		"P2 of page.md names no test",
		"P3 of page.md names `producer.TestOneAnd`, which does not exist",
		"P3 of page.md names `consumer.TestTwo`, which does not exist",
	}, brokenPromises("page.md", page, dir))
}

// brokenPromises gives one line for every row without a test of the page's tables
// that end with the column "Checked by", and for every test that they name and
// that root does not have. Names are folder.TestName, with the folder's slashes.
func brokenPromises(name, page, root string) []string {
	var broken []string
	for heading, rows := range tables(page) {
		if !strings.HasSuffix(heading, "| Checked by") {
			continue
		}
		for _, row := range rows {
			tests := quoted(row[len(row)-1])
			if len(tests) == 0 {
				broken = append(broken, fmt.Sprintf("%s of %s names no test", row[0], name))
			}
			for _, test := range tests {
				if !testExists(root, test) {
					broken = append(broken, fmt.Sprintf("%s of %s names `%s`, which does not exist", row[0], name, test))
				}
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

// The README's figures are those of one run of the benchmark, as it printed them.
func TestReadmeHasTheFiguresOfTheBenchmark(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	printed, err := os.ReadFile(filepath.Join(root, "docs", "benchmarks.md"))
	require.NoError(t, err)
	rows := 0
	for line := range strings.Lines(string(readme)) {
		if strings.HasPrefix(line, "| produce") || strings.HasPrefix(line, "| consume") || strings.HasPrefix(line, "| Duplex ÷") {
			rows++
			require.Contains(t, string(printed), line, "docs/benchmarks.md does not have this line of the README")
		}
	}
	require.GreaterOrEqual(t, rows, 6)
}
