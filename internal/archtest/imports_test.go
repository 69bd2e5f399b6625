package archtest

import (
	"fmt"
	"slices"
	"strings"
)

const module = "github.com/duplex-go/duplex"

// pkg is what the rules need to know of one package.
type pkg struct {
	Path    string   // import path
	Imports []string // direct
	Deps    []string // direct and indirect
}

// name is how the tables call the package: its path inside the module.
func (p pkg) name() string { return ourName(p.Path) }

// brokenImports gives one line for every import that no row allows, for every
// package without a row and for every row without a package.
func brokenImports(r rules, pkgs []pkg) []string {
	var broken []string
	used := map[string]bool{}
	for _, p := range pkgs {
		row, ok := rowFor(r.imports, p.name())
		if !ok {
			broken = append(broken, fmt.Sprintf("%s has no row in the import table", p.name()))
			continue
		}
		used[row.pattern] = true
		for _, imported := range p.Imports {
			if !allowed(r, row, imported) {
				broken = append(broken, fmt.Sprintf("%s imports %s: row `%s` does not allow it", p.name(), imported, row.pattern))
			}
		}
	}
	for _, row := range r.imports {
		if !used[row.pattern] {
			broken = append(broken, fmt.Sprintf("row `%s` of the import table fits no package", row.pattern))
		}
	}
	return broken
}

func allowed(r rules, row importRow, path string) bool {
	switch {
	case isOurs(path):
		name := ourName(path)
		return row.ours.anything || matchesAny(row.ours.names, name) && !matchesAny(row.ours.except, name)
	case isStandard(path):
		return true
	}
	if row.outside.anything {
		return true
	}
	for _, name := range row.outside.names {
		if matchesAny(r.outside[name], path) {
			return true
		}
	}
	return false
}

// forbiddenLinks gives one line for every package that links what its row of the
// link table forbids.
func forbiddenLinks(r rules, pkgs []pkg) []string {
	var broken []string
	for _, row := range r.links {
		for _, p := range pkgs {
			if !matchesAny(row.patterns, p.name()) {
				continue
			}
			for _, never := range row.never {
				if dep, links := linksTo(r, p, never); links {
					broken = append(broken, fmt.Sprintf("%s links %s (%s)", p.name(), never, dep))
				}
			}
		}
	}
	return broken
}

func linksTo(r rules, p pkg, never string) (string, bool) {
	patterns, known := r.outside[never]
	for _, dep := range p.Deps {
		switch {
		case known && matchesAny(patterns, dep), !known && isOurs(dep) && matches(never, ourName(dep)):
			return dep, true
		}
	}
	return "", false
}

// rowFor is the most specific row that fits: an exact one, else the longest.
func rowFor(rows []importRow, name string) (importRow, bool) {
	var best importRow
	for _, row := range rows {
		if row.pattern == name {
			return row, true
		}
		if matches(row.pattern, name) && len(row.pattern) > len(best.pattern) {
			best = row
		}
	}
	return best, best.pattern != ""
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, name) })
}

// matches understands a/b/... as the go command does: a/b and everything below.
func matches(pattern, name string) bool {
	below, wild := strings.CutSuffix(pattern, "/...")
	return name == below || wild && strings.HasPrefix(name, below+"/")
}

func isOurs(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

func ourName(path string) string {
	if path == module {
		return "duplex"
	}
	return strings.TrimPrefix(path, module+"/")
}

// isStandard holds for paths whose first element has no dot, as in no domain.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

// sayNothing are package names that tell a reader nothing.
var sayNothing = []string{"util", "utils", "common", "helper", "helpers", "types", "models", "pkg", "misc", "base", "shared"}

// emptyNames gives one line for every element of a package's path that says
// nothing.
func emptyNames(pkgs []pkg) []string {
	var broken []string
	for _, p := range pkgs {
		for element := range strings.SplitSeq(p.name(), "/") {
			if slices.Contains(sayNothing, element) {
				broken = append(broken, fmt.Sprintf("%s: %q says nothing of what is in it", p.name(), element))
			}
		}
	}
	return broken
}
