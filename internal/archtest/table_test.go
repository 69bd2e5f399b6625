package archtest

import (
	"fmt"
	"regexp"
	"strings"
)

const architecture = "docs/architecture.md"

// rules are the tables of docs/architecture.md.
type rules struct {
	imports []importRow
	outside map[string][]string // name → import paths
	links   []linkRow
}

// importRow says what the packages that match pattern may import.
type importRow struct {
	pattern string
	ours    allowance
	outside allowance
}

// allowance is one cell: nothing, anything, or names with exceptions.
type allowance struct {
	anything      bool
	names, except []string
}

// linkRow says what must not be linked, however indirectly.
type linkRow struct {
	patterns, never []string
}

// parseRules finds the tables by their headings, so that the page may say other
// things in other tables.
func parseRules(page string) (rules, error) {
	r := rules{outside: map[string][]string{}}
	found := tables(page)
	for _, row := range found["Package | May import, of ours | May import, from outside"] {
		parsed, err := parseImportRow(row)
		if err != nil {
			return rules{}, err
		}
		r.imports = append(r.imports, parsed)
	}
	for _, row := range found["Name | Import paths"] {
		r.outside[row[0]] = quoted(row[1])
	}
	for _, row := range found["Package | Never links"] {
		r.links = append(r.links, linkRow{patterns: quoted(row[0]), never: quoted(row[1])})
	}
	if len(r.imports) == 0 || len(r.outside) == 0 || len(r.links) == 0 {
		return rules{}, fmt.Errorf("%s: a table is missing: found %d rows of imports, %d names from outside, %d rows of links",
			architecture, len(r.imports), len(r.outside), len(r.links))
	}
	return r, r.check()
}

// check finds names in cells that no table explains.
func (r rules) check() error {
	seen := map[string]bool{}
	for _, row := range r.imports {
		if seen[row.pattern] {
			return fmt.Errorf("%s: two rows for `%s`", architecture, row.pattern)
		}
		seen[row.pattern] = true
		for _, name := range row.outside.names {
			if _, known := r.outside[name]; !known {
				return fmt.Errorf("%s: row `%s` names `%s`, which the table of names from outside does not have", architecture, row.pattern, name)
			}
		}
	}
	for _, row := range r.links {
		for _, name := range row.never {
			if _, known := r.outside[name]; !known && !seen[name] {
				return fmt.Errorf("%s: `%s` never links `%s`, which no table explains", architecture, strings.Join(row.patterns, "`, `"), name)
			}
		}
	}
	return nil
}

func parseImportRow(cells []string) (importRow, error) {
	names := quoted(cells[0])
	if len(names) != 1 {
		return importRow{}, fmt.Errorf("%s: a row of the import table must name one package, this one has %q", architecture, cells[0])
	}
	row := importRow{pattern: names[0]}
	var err error
	if row.ours, err = parseAllowance(cells[1]); err != nil {
		return importRow{}, fmt.Errorf("%s: row `%s`: %w", architecture, row.pattern, err)
	}
	if row.outside, err = parseAllowance(cells[2]); err != nil {
		return importRow{}, fmt.Errorf("%s: row `%s`: %w", architecture, row.pattern, err)
	}
	return row, nil
}

func parseAllowance(cell string) (allowance, error) {
	switch cell {
	case "nothing":
		return allowance{}, nil
	case "anything":
		return allowance{anything: true}, nil
	}
	allowed, except, _ := strings.Cut(cell, " except ")
	a := allowance{names: quoted(allowed), except: quoted(except)}
	if len(a.names) == 0 {
		return allowance{}, fmt.Errorf("cell %q: want `names`, nothing or anything", cell)
	}
	return a, nil
}

// tables gives the rows of each table of a Markdown page by its heading row.
func tables(page string) map[string][][]string {
	found := map[string][][]string{}
	heading := ""
	for line := range strings.Lines(page) {
		line = strings.TrimSpace(line)
		switch {
		case !strings.HasPrefix(line, "|"):
			heading = ""
		case heading == "":
			heading = strings.Join(cells(line), " | ")
		case strings.Trim(line, "|-: ") == "":
		default:
			if row := cells(line); len(row) == strings.Count(heading, " | ")+1 {
				found[heading] = append(found[heading], row)
			}
		}
	}
	return found
}

func cells(line string) []string {
	parts := strings.Split(strings.Trim(line, "|"), "|")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

var backticks = regexp.MustCompile("`([^`]+)`")

func quoted(cell string) []string {
	var names []string
	for _, m := range backticks.FindAllStringSubmatch(cell, -1) {
		names = append(names, m[1])
	}
	return names
}
