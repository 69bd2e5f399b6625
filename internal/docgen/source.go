package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// section is one struct that users fill.
type section struct {
	pkg, name string
	doc       string
	fields    []field
}

// field is one comment of a struct, with the fields that it speaks of.
type field struct {
	names, kinds []string
	doc          string
	required     bool // says the comment of the struct
}

// readStructs reads the named structs of the package in dir, in the order asked
// for. A struct or a comment that is missing is an error: the page is made of
// them.
func readStructs(dir string, names []string) ([]section, error) {
	p, err := readPackage(dir)
	if err != nil {
		return nil, err
	}
	var sections []section
	var errs []error
	for _, name := range names {
		s, err := readStruct(p, name)
		sections, errs = append(sections, s), append(errs, err)
	}
	return sections, errors.Join(errs...)
}

func readPackage(dir string) (*doc.Package, error) {
	fset := token.NewFileSet()
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var files []*ast.File
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("reading package in %s: %w", dir, fs.ErrNotExist)
	}
	return doc.NewFromFiles(fset, files, dir)
}

func readStruct(p *doc.Package, name string) (section, error) {
	for _, t := range p.Types {
		if t.Name != name {
			continue
		}
		for _, spec := range t.Decl.Specs {
			s, ok := spec.(*ast.TypeSpec)
			if !ok || s.Name.Name != name {
				continue
			}
			fields, ok := s.Type.(*ast.StructType)
			if !ok {
				return section{}, fmt.Errorf("%s.%s is not a struct", p.Name, name)
			}
			found := section{pkg: p.Name, name: name, doc: t.Doc}
			var err error
			found.fields, err = readFields(p.Name+"."+name, fields.Fields.List)
			found.markRequired()
			return found, err
		}
	}
	return section{}, fmt.Errorf("there is no type %s.%s", p.Name, name)
}

func readFields(of string, list []*ast.Field) ([]field, error) {
	var fields []field
	var errs []error
	for _, f := range list {
		var names []string
		for _, n := range f.Names {
			if n.IsExported() {
				names = append(names, n.Name)
			}
		}
		if len(names) == 0 {
			continue
		}
		text := f.Doc.Text()
		if text == "" {
			text = f.Comment.Text()
		}
		if last := len(fields) - 1; text == "" && last >= 0 && mentions(fields[last].doc, names) {
			// As in "Username and Password are …" above two lines.
			fields[last].names = append(fields[last].names, names...)
			fields[last].kinds = append(fields[last].kinds, kind(f.Type))
			continue
		}
		if text == "" {
			errs = append(errs, fmt.Errorf("%s.%s has no comment", of, strings.Join(names, ", ")))
		}
		fields = append(fields, field{names: names, kinds: []string{kind(f.Type)}, doc: text})
	}
	return fields, errors.Join(errs...)
}

func mentions(text string, names []string) bool {
	words := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	for _, n := range names {
		if !slices.Contains(words, n) {
			return false
		}
	}
	return true
}

// kind is the type as it is written in the source, on one line.
func kind(e ast.Expr) string {
	var b strings.Builder
	// Printing to a string builder cannot fail.
	_ = printer.Fprint(&b, token.NewFileSet(), e)
	return strings.Join(strings.Fields(b.String()), " ")
}

var (
	defaults = regexp.MustCompile(`\s*\bDefaults? to (.*?)\.(\s|$)`)
	required = regexp.MustCompile(`\s*\bRequired\.`)
	requires = regexp.MustCompile(`([^.;]*) (?:is|are) required\b`)
)

// meaning parts a comment into what the field means and its default: "required",
// what stands behind "Defaults to", or else the zero value, since that works
// wherever no field is required.
func (f field) meaning() (text, otherwise string) {
	text = prose(f.doc)
	if m := defaults.FindStringSubmatchIndex(text); m != nil {
		return strings.TrimSpace(text[:m[0]] + " " + text[m[1]:]), text[m[2]:m[3]]
	}
	if m := required.FindStringIndex(text); m != nil {
		return strings.TrimSpace(text[:m[0]] + text[m[1]:]), "required"
	}
	if f.required || requires.MatchString(text) {
		return text, "required"
	}
	switch kind := f.kinds[0]; {
	case kind == "bool":
		return text, "false"
	case strings.HasPrefix(kind, "int"), kind == "time.Duration":
		return text, "0"
	default:
		return text, "none"
	}
}

// markRequired looks for what the struct's own comment says of its fields, such
// as "Cluster and Group are required".
func (s section) markRequired() {
	for _, m := range requires.FindAllStringSubmatch(prose(s.doc), -1) {
		for i := range s.fields {
			if mentions(m[1], s.fields[i].names) {
				s.fields[i].required = true
			}
		}
	}
}
