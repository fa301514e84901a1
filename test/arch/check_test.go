package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// check reads every Go file below root and returns what breaks a rule, as "file:line: what".
func check(root fs.FS) (problems []string, err error) {
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == working):
			return fs.SkipDir
		case d.IsDir() && path.Dir(name) == "." && name != "." && !slices.Contains(folders, name):
			problems = append(problems, name+": not a folder of the layout: "+strings.Join(folders, " "))
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, name, text, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			return err
		}
		report := func(pos token.Pos, format string, args ...any) {
			at := files.Position(pos)
			problems = append(problems, fmt.Sprintf("%s:%d: ", at.Filename, at.Line)+fmt.Sprintf(format, args...))
		}
		if path.Dir(name) != skipping {
			checkSkips(f, report)
		}
		if strings.HasSuffix(name, "_test.go") {
			checkTiming(f, files, report)
			return nil
		}
		checkImports(path.Dir(name), f, report)
		checkComparisons(f, report)
		if within(path.Dir(name), "domain") {
			checkPure(f, report)
		}
		return nil
	})
	return problems, err
}

type reporter func(pos token.Pos, format string, args ...any)

func checkImports(dir string, f *ast.File, report reporter) {
	from := ruleOf(dir)
	if from == nil {
		report(f.Package, "package %s has no row in the table of import directions", dir)
		return
	}
	for _, spec := range f.Imports {
		imported := importPath(spec)
		switch own, ours := strings.CutPrefix(imported, module+"/"); {
		case ours:
			if !mayImport(dir, own) {
				report(spec.Pos(), "%s imports %s", dir, own)
			}
		case !strings.Contains(strings.Split(imported, "/")[0], "."):
			forbidden := func(p string) bool { return p == imported || p == path.Dir(imported)+"/..." }
			if slices.ContainsFunc(from.notStdlib, forbidden) {
				report(spec.Pos(), "%s imports %s of the standard library", dir, imported)
			}
		default:
			owner := slices.IndexFunc(owned, func(o owner) bool { return within(imported, o.library) })
			if owner >= 0 && slices.Contains(owned[owner].by, from.dir) {
				continue
			}
			if owner >= 0 || !from.libraries.has(imported) {
				report(spec.Pos(), "%s imports %s", dir, imported)
			}
		}
	}
}

// checkPure holds the domain to what it says of itself: no clock, no logger, no tag of an outer format. Randomness and
// I/O cannot get in past the imports.
func checkPure(f *ast.File, report reporter) {
	names := map[string]string{}
	for _, spec := range f.Imports {
		imported := importPath(spec)
		names[path.Base(imported)] = imported
		if spec.Name != nil {
			names[spec.Name.Name] = imported
			if spec.Name.Name == "." {
				report(spec.Pos(), "dot import of %s hides where a name comes from", imported)
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			if n.Tag != nil {
				report(n.Tag.Pos(), "struct tag in the domain")
			}
		case *ast.SelectorExpr:
			x, ok := n.X.(*ast.Ident)
			if !ok {
				return true
			}
			switch names[x.Name] {
			case "time":
				if slices.Contains(clock, n.Sel.Name) {
					report(n.Pos(), "the domain uses time.%s", n.Sel.Name)
				}
			case "log/slog":
				if !strings.HasSuffix(n.Sel.Name, "Value") && n.Sel.Name != "LogValuer" {
					report(n.Pos(), "the domain uses slog.%s", n.Sel.Name)
				}
			}
		}
		return true
	})
}

// skipping is the package that leaves tests out of `go test -short`, and out of nothing else.
const skipping = "test/support/short"

// checkSkips looks in every file, because helpers outside of test files take a testing.TB too.
func checkSkips(f *ast.File, report reporter) {
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.SelectorExpr)
		if !ok || !slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, call.Sel.Name) {
			return true
		}
		if x, ok := call.X.(*ast.Ident); ok && slices.Contains([]string{"t", "b", "f", "tb"}, x.Name) {
			report(call.Pos(), "%s.%s: a test that skips hides what it does not test", x.Name, call.Sel.Name)
		}
		return true
	})
}

// checkTiming requires a reason where a test sleeps or compares how long something took, in a comment on that line or
// the line before. A test must not depend on how much is done in a few seconds, because a busy machine does less. Few
// reasons are sound: a generous bound, and of what; a pause between two requests; work that takes time, such as that of
// a slow client. Time in a bubble of testing/synctest is free.
//
// The bound of a context is not found: in the syntax it looks like one that only ends a test that is stuck.
func checkTiming(f *ast.File, files *token.FileSet, report reporter) {
	if slices.ContainsFunc(f.Imports, func(s *ast.ImportSpec) bool { return importPath(s) == "testing/synctest" }) {
		return
	}
	commented := map[int]bool{} // lines, and those after a comment
	for _, group := range f.Comments {
		for line := files.Position(group.Pos()).Line; line <= files.Position(group.End()).Line+1; line++ {
			commented[line] = true
		}
	}
	isTime := func(n ast.Node, names ...string) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok || !slices.Contains(names, s.Sel.Name) {
			return false
		}
		x, ok := s.X.(*ast.Ident)
		return ok && x.Name == "time"
	}
	measures := func(n ast.Node) (found bool) {
		ast.Inspect(n, func(n ast.Node) bool {
			found = found || isTime(n, "Since", "Until")
			return !found
		})
		return found
	}
	wants := func(pos token.Pos, what string) {
		if !commented[files.Position(pos).Line] {
			report(pos, "%s: a comment here has to give a reason", what)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if isTime(n.Fun, "Sleep", "After", "Tick") {
				wants(n.Pos(), "time."+n.Fun.(*ast.SelectorExpr).Sel.Name)
			}
		case *ast.BinaryExpr:
			switch n.Op {
			case token.LSS, token.GTR, token.LEQ, token.GEQ:
				if measures(n) {
					wants(n.Pos(), "a comparison of how long it took")
				}
			}
		case *ast.IfStmt:
			if assign, ok := n.Init.(*ast.AssignStmt); ok && measures(assign) {
				wants(n.Pos(), "a comparison of how long it took")
			}
		}
		return true
	})
}

// secretCalls return a secret's value or a MAC. A comparison of these must not take longer the more of it is equal.
var secretCalls = []string{"Reveal", "mac", "Sum"}

// comparing are functions that end at the first difference.
var comparing = map[string][]string{
	"bytes": {"Equal", "Compare", "EqualFold", "HasPrefix"}, "strings": {"Compare", "EqualFold"},
	"slices": {"Equal", "Compare", "Index", "Contains"}, "reflect": {"DeepEqual"}, "maps": {"Equal"}, "cmp": {"Compare"},
}

// checkComparisons reports secrets and MACs that are compared by anything but crypto/subtle or hmac.Equal, also through
// a variable of the same function. A comparison with the empty value is allowed.
//
// A test that measures times would be weaker: the difference is nanoseconds, below the noise of a network and a
// scheduler. The syntax shows that a comparison takes constant time.
func checkComparisons(f *ast.File, report reporter) {
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		secret := map[string]bool{} // variables of this function
		holds := func(e ast.Node) (found bool) {
			ast.Inspect(e, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.Ident:
					found = found || secret[n.Name]
				case *ast.CallExpr:
					if s, ok := n.Fun.(*ast.SelectorExpr); ok {
						if slices.Contains(secretCalls, s.Sel.Name) {
							found = true
						}
						if x, ok := s.X.(*ast.Ident); ok && (x.Name == "subtle" || x.Name == "hmac" ||
							x.Name == "strings" && s.Sel.Name != "TrimSpace") {
							return false // what it gives is no secret any more
						}
					}
					if id, ok := n.Fun.(*ast.Ident); ok && id.Name == "len" {
						return false
					}
				}
				return !found
			})
			return found
		}
		ast.Inspect(fn.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				for i, left := range n.Lhs {
					if id, ok := left.(*ast.Ident); ok && len(n.Lhs) == len(n.Rhs) && holds(n.Rhs[i]) {
						secret[id.Name] = true
					}
				}
			case *ast.BinaryExpr:
				if n.Op != token.EQL && n.Op != token.NEQ {
					return true
				}
				for _, pair := range [][2]ast.Expr{{n.X, n.Y}, {n.Y, n.X}} {
					if literal, ok := pair[1].(*ast.BasicLit); holds(pair[0]) && !(ok && literal.Value == `""`) {
						report(n.Pos(), "a secret is compared with %s: use crypto/subtle or hmac.Equal", n.Op)
						break
					}
				}
			case *ast.CallExpr:
				s, ok := n.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				x, ok := s.X.(*ast.Ident)
				if ok && slices.Contains(comparing[x.Name], s.Sel.Name) &&
					slices.ContainsFunc(n.Args, func(e ast.Expr) bool { return holds(e) }) {
					report(n.Pos(), "a secret is compared by %s.%s: use crypto/subtle or hmac.Equal", x.Name, s.Sel.Name)
				}
			}
			return true
		})
	}
}
