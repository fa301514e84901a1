package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// Operators search the log for events, which are constants whose names begin with event. OPERATING.md lists them.
var (
	isEvent   = regexp.MustCompile(`^event[A-Z]`)
	eventName = regexp.MustCompile(`^[a-z]+(\.[a-z_]+)+$`)
	eventRow  = regexp.MustCompile("(?m)^\\| `([a-z]+\\.[a-z_.]+)` \\|")
)

// The names of what writes a line. Error with one argument is echo's, and http.Error is no line.
var logging = []string{
	"Debug", "Info", "Warn", "Error", "DebugContext", "InfoContext", "WarnContext", "ErrorContext",
	"Log", "LogAttrs", "NewLogLogger",
}

// othersLog is a package that logs for a program that imports it: those lines are not in the service's log.
const othersLog = "adapter/verify"

// eventsOf returns the events that the files of cmd and adapter have, by name, and which lines of the log have none.
func eventsOf(tree fs.FS) (events map[string]bool, problems []string, err error) {
	events = map[string]bool{}
	err = fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") ||
			!within(name, "cmd") && !within(name, "adapter") || within(name, othersLog) {
			return err
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, name, text, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		report := func(pos token.Pos, format string, args ...any) {
			problems = append(problems, fmt.Sprintf("%s:%d: ", name, files.Position(pos).Line)+fmt.Sprintf(format, args...))
		}
		for _, declaration := range f.Decls {
			switch d := declaration.(type) {
			case *ast.GenDecl:
				constants(d, events, report)
			case *ast.FuncDecl:
				if d.Body != nil {
					linesWithoutEvent(d.Body, report)
				}
			}
		}
		return nil
	})
	return events, problems, err
}

// constants adds the events among the constants of d.
func constants(d *ast.GenDecl, events map[string]bool, report reporter) {
	for _, spec := range d.Specs {
		v, ok := spec.(*ast.ValueSpec)
		if d.Tok != token.CONST || !ok {
			continue
		}
		for i, name := range v.Names {
			if !isEvent.MatchString(name.Name) || i >= len(v.Values) {
				continue
			}
			literal, ok := v.Values[i].(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				report(name.Pos(), "%s is no string", name.Name)
				continue
			}
			value, _ := strconv.Unquote(literal.Value)
			if !eventName.MatchString(value) {
				report(name.Pos(), "%q is no event", value)
			}
			events[value] = true
		}
	}
}

// linesWithoutEvent reports the lines that body writes without an event. Where the attributes of a line are made
// before, as many of its function's attributes have to be events as it has such lines.
func linesWithoutEvent(body *ast.BlockStmt, report reporter) {
	var spread []*ast.CallExpr
	inside := 0 // events that are arguments of a line themselves
	ast.Inspect(body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || !writesALine(call) {
			return true
		}
		switch found := eventsIn(call, report); {
		case found > 0:
			inside += found
		case call.Ellipsis.IsValid():
			spread = append(spread, call)
		default:
			report(call.Pos(), "a line of the log has no event")
		}
		return true
	})
	if missing := len(spread) - (eventsIn(body, func(token.Pos, string, ...any) {}) - inside); missing > 0 {
		report(spread[0].Pos(), "a line of the log has no event")
	}
}

// writesALine reports whether call is one of slog's.
func writesALine(call *ast.CallExpr) bool {
	s, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains(logging, s.Sel.Name) || len(call.Args) == 0 {
		return false
	}
	x, _ := s.X.(*ast.Ident)
	isEchos := s.Sel.Name == "Error" && len(call.Args) == 1 && !isText(call.Args[0])
	return !isEchos && (x == nil || x.Name != "http")
}

func isText(e ast.Expr) bool {
	literal, ok := e.(*ast.BasicLit)
	return ok && literal.Kind == token.STRING
}

// eventsIn counts the attributes below n that are events, and reports those whose value is written there.
func eventsIn(n ast.Node, report reporter) (found int) {
	ast.Inspect(n, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		for i, argument := range call.Args {
			literal, ok := argument.(*ast.BasicLit)
			if !ok || literal.Value != `"event"` || i+1 == len(call.Args) {
				continue
			}
			found++
			if isText(call.Args[i+1]) {
				report(argument.Pos(), "an event is no constant")
			}
		}
		return true
	})
	return found
}

// An operator who searches for an event must find it, and has to know which there are.
func TestEveryLineOfTheLogHasAnEventThatOPERATINGLists(t *testing.T) {
	tree := os.DirFS("../..")
	events, problems, err := eventsOf(tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
	if len(events) < 20 {
		t.Errorf("%d events were found", len(events))
	}
	text, err := fs.ReadFile(tree, "OPERATING.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, row := range eventRow.FindAllSubmatch(text, -1) {
		listed[string(row[1])] = true
		if !events[string(row[1])] {
			t.Errorf("OPERATING.md lists %s, and no line has it", row[1])
		}
	}
	for event := range events {
		if !listed[event] {
			t.Errorf("OPERATING.md does not list %s", event)
		}
	}
}

func TestALineOfAnotherProgramsLogNeedsNoEvent(t *testing.T) {
	text := []byte("package a\nfunc f() { log.Info(`x`) }")
	for name, want := range map[string]int{othersLog + "/a.go": 0, "adapter/a.go": 1} {
		_, problems, err := eventsOf(fstest.MapFS{name: {Data: text}})
		if err != nil {
			t.Fatal(err)
		}
		if len(problems) != want {
			t.Errorf("%s: got %q, want %d", name, problems, want)
		}
	}
}

func TestALineWithoutAnEventIsFound(t *testing.T) {
	const at, none = "cmd/a.go:2: ", "cmd/a.go:2: a line of the log has no event"
	for text, want := range map[string]string{
		`func f() { log.Info("x", "event", eventA) }`:                                            "",
		`func f() { log.LogAttrs(c, l, "x", slog.String("event", eventA)) }`:                     "",
		`func f() { log.LogAttrs(c, l, "x", slog.String("event", r.Event)) }`:                    "",
		`func f() { a := []slog.Attr{slog.String("event", e)}; s.log.LogAttrs(c, l, "", a...) }`: "",
		`func f() { http.Error(w, "x", 503); c.Error(err); _ = err.Error() }`:                    "",
		`func f() { slog.NewLogLogger(h.WithAttrs(slog.String("event", eventA)), l) }`:           "",
		`const eventA = "a.b"`:                                                  "",
		`const eventA = "A b"`:                                                  at + `"A b" is no event`,
		`func f() { s.log.Info("x") }`:                                          none,
		`func f() { s.log.Error("x") }`:                                         none,
		`func f() { slog.NewLogLogger(h, l) }`:                                  none,
		`func f() { log.LogAttrs(c, l, "x", a...) }`:                            none,
		`func f() { log.Info("x", "event", "log.lost") }`:                       at + "an event is no constant",
		`func f() { g(func() { log.Warn(x, "error", e) }) }`:                    none,
		`func f() { log.Info("x", "event", e); log.LogAttrs(c, l, "x", a...) }`: none,
	} {
		_, problems, err := eventsOf(fstest.MapFS{"cmd/a.go": {Data: []byte("package a\n" + text)}})
		if err != nil {
			t.Fatal(err)
		}
		var wanted []string
		if want != "" {
			wanted = []string{want}
		}
		if !slices.Equal(problems, wanted) {
			t.Errorf("%s: got %q, want %q", text, problems, wanted)
		}
	}
}
