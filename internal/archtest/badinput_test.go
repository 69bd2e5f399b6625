package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The tests of this file show that the checks fail where they should.

const page = `
# A page

| Package | May import, of ours | May import, from outside |
|---|---|---|
| ` + "`duplex`" + ` | nothing | ` + "`kgo`" + ` |
| ` + "`producer`" + ` | ` + "`duplex`, `internal/...` except `internal/app/...`" + ` | ` + "`kgo`" + ` |
| ` + "`internal/...`" + ` | ` + "`duplex`" + ` | nothing |
| ` + "`internal/app/...`" + ` | ` + "`producer`, `internal/...`" + ` | anything |

| Name | Import paths |
|---|---|
| kgo | ` + "`github.com/twmb/franz-go/pkg/kgo`" + ` |
| testing | ` + "`testing/...`" + ` |

| Package | Never links |
|---|---|
| ` + "`duplex`, `producer`" + ` | ` + "`testing`, `internal/app/...`" + ` |
`

const kgoPath = "github.com/twmb/franz-go/pkg/kgo"

// goodPackages keep every rule of page.
func goodPackages() []pkg {
	return []pkg{
		{Path: module, Imports: []string{"fmt", kgoPath}, Deps: []string{"fmt", kgoPath}},
		{Path: module + "/producer", Imports: []string{module, module + "/internal/kafka"}, Deps: []string{module, kgoPath, "time"}},
		{Path: module + "/internal/kafka", Imports: []string{module}},
		{Path: module + "/internal/app/demo", Imports: []string{module + "/producer", "example.org/anything"}, Deps: []string{"testing"}},
	}
}

func TestGoodPackagesPass(t *testing.T) {
	t.Parallel()
	r := mustParse(t, page)
	require.Empty(t, brokenImports(r, goodPackages()))
	require.Empty(t, forbiddenLinks(r, goodPackages()))
	require.Empty(t, emptyNames(goodPackages()))
}

func TestBrokenImportsAreFound(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		breakIt func(pkgs []pkg) []pkg
		want    string
	}{
		"one of ours that the row does not have": {
			func(p []pkg) []pkg { p[0].Imports = append(p[0].Imports, module+"/producer"); return p },
			"duplex imports " + module + "/producer: row `duplex` does not allow it",
		},
		"one that the row excepts": {
			func(p []pkg) []pkg { p[1].Imports = append(p[1].Imports, module+"/internal/app/demo"); return p },
			"producer imports " + module + "/internal/app/demo: row `producer` does not allow it",
		},
		"one from outside": {
			func(p []pkg) []pkg { p[2].Imports = append(p[2].Imports, kgoPath); return p },
			"internal/kafka imports " + kgoPath + ": row `internal/...` does not allow it",
		},
		"one whose path only begins like an allowed one": {
			func(p []pkg) []pkg { p[0].Imports = append(p[0].Imports, kgoPath+"x"); return p },
			"duplex imports " + kgoPath + "x: row `duplex` does not allow it",
		},
		"a package without a row": {
			func(p []pkg) []pkg { return append(p, pkg{Path: module + "/surprise"}) },
			"surprise has no row in the import table",
		},
		"a row without a package": {
			func(p []pkg) []pkg { return append(p[:1:1], p[2:]...) },
			"row `producer` of the import table fits no package",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, []string{test.want}, brokenImports(mustParse(t, page), test.breakIt(goodPackages())))
		})
	}
}

func TestForbiddenLinksAreFound(t *testing.T) {
	t.Parallel()
	p := goodPackages()
	p[1].Deps = append(p[1].Deps, "testing", module+"/internal/app/demo")
	require.Equal(t, []string{
		"producer links testing (testing)",
		"producer links internal/app/... (" + module + "/internal/app/demo)",
	}, forbiddenLinks(mustParse(t, page), p))
}

func TestEmptyNamesAreFound(t *testing.T) {
	t.Parallel()
	require.Len(t, emptyNames([]pkg{{Path: module + "/internal/util/strings"}, {Path: module + "/pkg/producer"}, {Path: module + "/utility"}}), 2)
}

func TestBrokenTablesAreRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ from, to, want string }{
		"no import table":      {"May import, of ours", "Imports", "a table is missing: found 0 rows of imports"},
		"no link table":        {"Never links", "Links", "0 rows of links"},
		"a cell without names": {"| nothing | `kgo` |", "| duplex | `kgo` |", `cell "duplex": want`},
		"an unknown name":      {"| nothing | `kgo` |", "| nothing | `kgoo` |", "names `kgoo`"},
		"an unknown link":      {"`testing`, `internal", "`tasting`, `internal", "never links `tasting`"},
		"two rows for one":     {"| `producer` |", "| `duplex` |", "two rows for `duplex`"},
		"two packages in one":  {"| `producer` |", "| `producer`, `consumer` |", "must name one package"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := strings.Replace(page, test.from, test.to, 1)
			require.NotEqual(t, page, broken)
			_, err := parseRules(broken)
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestUndocumentedNamesAreFound(t *testing.T) {
	t.Parallel()
	fset, files := parseText(t, `// Package orders is documented.
package orders

func Naked() {}

// Dressed has a comment.
func Dressed() {}

type Bare struct{ Field int }

func (Bare) Method() {}
func (hidden) Method() {}
func (*Generic[T]) Method() {}

// Generic has a comment.
type Generic[T any] struct{}
type hidden struct{}

// Config has one, its second field has not.
type Config struct {
	// Documented has one.
	Documented int
	Forgotten int
	private int
	// User and Password go together.
	User string
	Password string
	Passphrase string
}

// Reader has one, its method has not.
type Reader interface{ Read() }

const (
	Lonely = 1
	Commented = 2 // has one
	quiet = 3
)

// These share one.
var (
	A, B int
)
`)
	var names []string
	for _, line := range undocumented(fset, module+"/orders", files) {
		_, what, _ := strings.Cut(line, ": ")
		names = append(names, strings.TrimSuffix(what, " has no doc comment"))
	}
	require.Equal(t, []string{"func Naked", "type Bare", "func Method", "func Method", "Config.Forgotten", "Config.Passphrase", "Reader.Read", "Lonely"}, names)
}

func TestMissingPackageCommentIsFound(t *testing.T) {
	t.Parallel()
	for text, broken := range map[string]bool{
		"package orders":                                    true,
		"// Orders are here.\npackage orders":               true,
		"// Package order is another.\npackage orders":      true,
		"// Package orders is here.\npackage orders":        false,
		"// Command orders sends orders.\npackage main":     false,
		"// Package main says nothing of it.\npackage main": true,
	} {
		fset, files := parseText(t, text)
		require.Len(t, undocumented(fset, module+"/internal/orders", files), map[bool]int{true: 1}[broken], text)
	}
}

func TestLongFunctionsAndFilesAreFound(t *testing.T) {
	t.Parallel()
	function := func(lines int) string { return "func f() {" + strings.Repeat("\n", lines-1) + "}\n" }
	fset, files := parseText(t, "package p\n"+function(maxFunctionLines))
	require.Empty(t, tooLong(fset, files))
	fset, files = parseText(t, "package p\n"+function(maxFunctionLines+1))
	require.Len(t, tooLong(fset, files), 1)
	fset, files = parseText(t, "package p"+strings.Repeat("\n", maxFileLines))
	require.Empty(t, tooLong(fset, files))
	fset, files = parseText(t, "package p"+strings.Repeat("\n", maxFileLines+1))
	require.Len(t, tooLong(fset, files), 1)
}

func TestRealSleepsAreFound(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"package p\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n":                                         1,
		"package p\n\nimport (\n\t\"testing/synctest\"\n\t\"time\"\n)\n\nfunc f() { time.Sleep(1) }\n":         0,
		"//go:build synctests\n\npackage p\n\nimport \"time\"\n\nfunc f() { time.Sleep(1); time.Sleep(2) }\n":  0,
		"//go:build !synctests\n\npackage p\n\nimport \"time\"\n\nfunc f() { time.Sleep(1); time.Sleep(2) }\n": 2,
	} {
		fset, files := parseText(t, text)
		require.Len(t, sleeps(fset, files), want, text)
	}
}

func TestPackagesWithoutGoleakAreFound(t *testing.T) {
	t.Parallel()
	_, with := parseText(t, "package p\n\nimport \"go.uber.org/goleak\"\n")
	_, without := parseText(t, "package p\n\nimport \"testing\"\n")
	require.Empty(t, leaky("p", append(without, with...)))
	require.Len(t, leaky("p", without), 1)
}

func mustParse(t *testing.T, text string) rules {
	t.Helper()
	r, err := parseRules(text)
	require.NoError(t, err)
	return r
}

func parseText(t *testing.T, text string) (*token.FileSet, []*ast.File) {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "p.go", text, parser.ParseComments)
	require.NoError(t, err)
	return fset, []*ast.File{f}
}
