package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// root is the repository, seen from this package.
const root = "../.."

func TestImportsAreThoseOfTheTable(t *testing.T) {
	t.Parallel()
	requireNone(t, brokenImports(readRules(t), asPackages(listAll(t))))
}

func TestNothingForbiddenIsLinked(t *testing.T) {
	t.Parallel()
	requireNone(t, forbiddenLinks(readRules(t), asPackages(listAll(t))))
}

func TestPackageNamesSaySomething(t *testing.T) {
	t.Parallel()
	requireNone(t, emptyNames(asPackages(listAll(t))))
}

func TestExportedNamesAreDocumented(t *testing.T) {
	t.Parallel()
	for _, l := range listAll(t) {
		fset, files := parse(t, l.Dir, l.files())
		requireNone(t, undocumented(fset, l.ImportPath, files))
	}
}

func TestFunctionsAndFilesAreShort(t *testing.T) {
	t.Parallel()
	for _, l := range listAll(t) {
		fset, files := parse(t, l.Dir, l.files())
		requireNone(t, tooLong(fset, files))
	}
}

func TestSleepsAreVirtual(t *testing.T) {
	t.Parallel()
	for _, l := range listAll(t) {
		fset, files := parse(t, l.Dir, l.testFiles())
		requireNone(t, sleeps(fset, files))
	}
}

func TestEveryPackageLooksForLeakedGoroutines(t *testing.T) {
	t.Parallel()
	for _, l := range listAll(t) {
		if tests := l.testFiles(); len(tests) > 0 {
			_, files := parse(t, l.Dir, tests)
			requireNone(t, leaky(l.ImportPath, files))
		}
	}
}

func requireNone(t *testing.T, broken []string) {
	t.Helper()
	if len(broken) > 0 {
		t.Errorf("%d broken rules:\n%s", len(broken), strings.Join(broken, "\n"))
	}
}

func readRules(t *testing.T) rules {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, architecture))
	require.NoError(t, err)
	r, err := parseRules(string(page))
	require.NoError(t, err)
	return r
}

// listed is a package as go list describes it.
type listed struct {
	ImportPath, Dir                    string
	GoFiles, CgoFiles, IgnoredGoFiles  []string
	TestGoFiles, XTestGoFiles          []string
	Imports, TestImports, XTestImports []string
	Deps                               []string
}

// listAll lists the packages of the root module and of those modules beside it
// whose code has rows in the table.
func listAll(t *testing.T) []listed {
	t.Helper()
	all := list(t, root)
	for _, nested := range []string{"integration", "bench"} {
		if _, err := os.Stat(filepath.Join(root, nested, "go.mod")); err != nil {
			require.ErrorIs(t, err, os.ErrNotExist)
			continue
		}
		for _, l := range list(t, filepath.Join(root, nested)) {
			// Nothing of these modules is shipped: their tests have to keep the rules too.
			l.Imports = append(append(l.Imports, l.TestImports...), l.XTestImports...)
			all = append(all, l)
		}
	}
	return all
}

func list(t *testing.T, dir string) []listed {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off") // only then is each module looked at by itself
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	require.NoError(t, err, "go list in %s: %s", dir, problems.String())
	var found []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		err := d.Decode(&l)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		found = append(found, l)
	}
	require.NotEmpty(t, found, "go list found no package in %s", dir)
	return found
}

func asPackages(all []listed) []pkg {
	pkgs := make([]pkg, 0, len(all))
	for _, l := range all {
		pkgs = append(pkgs, pkg{Path: l.ImportPath, Imports: l.Imports, Deps: l.Deps})
	}
	return pkgs
}

// files are the package's files that are not tests, those for other systems and
// build tags included.
func (l listed) files() []string { return l.pick(false) }

// testFiles are the others.
func (l listed) testFiles() []string { return l.pick(true) }

func (l listed) pick(tests bool) []string {
	var names []string
	for _, name := range slices.Concat(l.GoFiles, l.CgoFiles, l.IgnoredGoFiles, l.TestGoFiles, l.XTestGoFiles) {
		if strings.HasSuffix(name, "_test.go") == tests {
			names = append(names, name)
		}
	}
	return names
}

func parse(t *testing.T, dir string, names []string) (*token.FileSet, []*ast.File) {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(fset, filepath.Join(dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		require.NoError(t, err)
		files = append(files, f)
	}
	return fset, files
}
