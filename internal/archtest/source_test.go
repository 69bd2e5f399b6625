package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

const (
	maxFunctionLines = 60
	maxFileLines     = 600
)

// undocumented gives one line for every exported name of a package without a doc
// comment, and for a package whose own comment is missing or begins otherwise
// than Go tools expect. Fields of Config structs count as names: the generated
// documentation is made of their comments.
func undocumented(fset *token.FileSet, path string, files []*ast.File) []string {
	var broken []string
	bad := func(n ast.Node, what string) {
		broken = append(broken, fmt.Sprintf("%s: %s has no doc comment", fset.Position(n.Pos()), what))
	}
	broken = append(broken, packageComment(path, files)...)
	if isInternal(path) || len(files) == 0 || files[0].Name.Name == "main" {
		return broken
	}
	for _, f := range files {
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
					bad(d, "func "+d.Name.Name)
				}
			case *ast.GenDecl:
				undocumentedSpecs(d, bad)
			}
		}
	}
	return broken
}

func packageComment(path string, files []*ast.File) []string {
	var text string
	for _, f := range files {
		if f.Doc != nil {
			text += f.Doc.Text()
		}
	}
	if len(files) == 0 {
		return nil
	}
	want := "Package " + files[0].Name.Name + " "
	if files[0].Name.Name == "main" {
		want = "Command "
		if strings.Contains(path+"/", "/examples/") {
			want = "" // an example's comment says what it shows
		}
	}
	if text == "" || !strings.HasPrefix(text, want) {
		return []string{fmt.Sprintf("%s: no package comment that begins with %q", path, want)}
	}
	return nil
}

func undocumentedSpecs(d *ast.GenDecl, bad func(ast.Node, string)) {
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			if !s.Name.IsExported() {
				continue
			}
			if d.Doc == nil && s.Doc == nil {
				bad(s, "type "+s.Name.Name)
			}
			undocumentedMembers(s, bad)
		case *ast.ValueSpec:
			// One comment may speak for a group, as in the standard library.
			if d.Doc != nil || s.Doc != nil || s.Comment != nil {
				continue
			}
			for _, n := range s.Names {
				if n.IsExported() {
					bad(s, n.Name)
				}
			}
		}
	}
}

func undocumentedMembers(s *ast.TypeSpec, bad func(ast.Node, string)) {
	var members *ast.FieldList
	switch t := s.Type.(type) {
	case *ast.InterfaceType:
		members = t.Methods
	case *ast.StructType:
		if strings.HasSuffix(s.Name.Name, "Config") {
			members = t.Fields
		}
	}
	if members == nil {
		return
	}
	above := ""
	for _, m := range members.List {
		if m.Doc != nil || m.Comment != nil {
			above = m.Doc.Text()
			continue
		}
		for _, n := range m.Names {
			// One comment may speak of the fields below it, if it names them.
			if n.IsExported() && !slices.Contains(strings.Fields(above), n.Name) {
				bad(m, s.Name.Name+"."+n.Name)
			}
		}
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

// tooLong gives one line for every function and file beyond the limits.
func tooLong(fset *token.FileSet, files []*ast.File) []string {
	var broken []string
	for _, f := range files {
		if file := fset.File(f.Pos()); file.LineCount() > maxFileLines {
			broken = append(broken, fmt.Sprintf("%s: %d lines, at most %d", file.Name(), file.LineCount(), maxFileLines))
		}
		ast.Inspect(f, func(n ast.Node) bool {
			d, ok := n.(*ast.FuncDecl)
			if !ok {
				return true
			}
			first, last := fset.Position(d.Pos()).Line, fset.Position(d.End()).Line
			if lines := last - first + 1; lines > maxFunctionLines {
				broken = append(broken, fmt.Sprintf("%s: func %s has %d lines, at most %d", fset.Position(d.Pos()), d.Name.Name, lines, maxFunctionLines))
			}
			return false
		})
	}
	return broken
}

// sleeps gives one line for every time.Sleep of a test file that has nothing to do
// with virtual time.
func sleeps(fset *token.FileSet, files []*ast.File) []string {
	var broken []string
	for _, f := range files {
		if virtual(f) {
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "Sleep" {
				if p, ok := s.X.(*ast.Ident); ok && p.Name == "time" {
					broken = append(broken, fmt.Sprintf("%s: time.Sleep outside virtual time: wait for a condition", fset.Position(s.Pos())))
				}
			}
			return true
		})
	}
	return broken
}

// leaky gives a line when none of a package's test files imports goleak.
func leaky(path string, tests []*ast.File) []string {
	for _, f := range tests {
		for _, i := range f.Imports {
			if i.Path.Value == `"go.uber.org/goleak"` {
				return nil
			}
		}
	}
	return []string{path + ": no test looks for leaked goroutines (goleak)"}
}

// virtual holds for files that import testing/synctest or are built for it alone.
func virtual(f *ast.File) bool {
	for _, i := range f.Imports {
		if i.Path.Value == `"testing/synctest"` {
			return true
		}
	}
	for _, group := range f.Comments {
		for _, c := range group.List {
			if c.Text == "//go:build synctests" {
				return true
			}
		}
	}
	return false
}

func isInternal(path string) bool {
	return strings.Contains(path+"/", "/internal/")
}
