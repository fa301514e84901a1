package main

import (
	"context"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/build"
	"go/importer"
	"go/parser"
	positions "go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

const root = "../../.."

// A mutant whose text is missing from the source would be the unchanged service. One that uses a name that the source
// does not have any more would end the proof after the service has passed it.
func TestEveryMutantFitsTheSource(t *testing.T) {
	c := newTypeCheck(t)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			overlay, err := m.build().Overlay(t.Context(), filepath.Join(t.TempDir(), m.name))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.compiles(t.Context(), m, overlay); err != nil {
				t.Error(err)
			}
		})
	}
}

// A checker that accepts everything would accept a mutant that does not build.
func TestAMutantThatDoesNotCompileIsFound(t *testing.T) {
	c := newTypeCheck(t)
	const file = "domain/accesstoken.go"
	const first, declaration = "package domain\n", "func jsonSize("
	for _, tc := range []struct{ before, text, want string }{
		{declaration, "func mutated() { _ = noSuchName }\n", "undefined: noSuchName"},
		{declaration, "func mutated() { unused := 1 }\n", "declared and not used"},
		{declaration, "func mutated() int {}\n", "missing return"},
		{declaration, "func mutated() {\n", "expected"},
		{declaration, "var mutated ID = \"text\"\n", "cannot use"},
		{declaration, "type RefreshToken int\n", "redeclared"},
		{declaration, "func mutated(t Tenant) { t.NoSuchMethod() }\n", "NoSuchMethod"},
		{first, "import \"os\"\n", "imported and not used"},
		{first, "import \"no/such/package\"\n", "could not import"},
	} {
		t.Run(tc.want, func(t *testing.T) {
			to := tc.text + tc.before
			if tc.before == first {
				to = tc.before + tc.text
			}
			m := mutant{name: "broken", changes: []change{{file, tc.before, to}}}
			overlay, err := m.build().Overlay(t.Context(), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if err := c.compiles(t.Context(), m, overlay); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error that says %q", err, tc.want)
			}
		})
	}
}

// typeCheck reports whether mutants compile. Type checking a package takes less time than compiling it, and finds the
// same errors.
type typeCheck struct {
	files  *positions.FileSet
	parsed map[string]*ast.File // unchanged files, by name
	types.Config
}

func newTypeCheck(t *testing.T) *typeCheck {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}",
		"./cmd/refreshd")
	list.Dir, list.Env = root, append(os.Environ(), "CGO_ENABLED=0") // as the Makefile: they are compiled
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		exports[name] = file
	}
	c := &typeCheck{files: positions.NewFileSet(), parsed: map[string]*ast.File{}}
	c.Config = types.Config{
		Importer: importer.ForCompiler(c.files, "gc", func(name string) (io.ReadCloser, error) {
			return os.Open(exports[name])
		}),
		Sizes: types.SizesFor("gc", runtime.GOARCH),
	}
	return c
}

// compiles returns an error if a package that m changes does not compile.
func (c *typeCheck) compiles(ctx context.Context, m mutant, overlay string) error {
	var dirs []string
	for _, change := range m.changes {
		if dir := path.Dir(change.file); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) > 1 { // one may use what the other one changes
		return builds(ctx, dirs, overlay)
	}
	var changed struct{ Replace map[string]string }
	text, err := os.ReadFile(overlay)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &changed); err != nil {
		return err
	}
	dir, err := filepath.Abs(filepath.Join(root, dirs[0]))
	if err != nil {
		return err
	}
	p, err := build.ImportDir(dir, 0)
	if err != nil {
		return err
	}
	var files []*ast.File
	names := p.GoFiles
	for name := range changed.Replace { // the clock's file is in no directory
		if filepath.Dir(name) == dir && !slices.Contains(names, filepath.Base(name)) {
			names = append(names, filepath.Base(name))
		}
	}
	for _, name := range names {
		file, err := c.parse(filepath.Join(dir, name), changed.Replace)
		if err != nil {
			return err
		}
		files = append(files, file)
	}
	_, err = c.Check(path.Join("github.com/refreshd/refreshd", dirs[0]), c.files, files, nil)
	return err
}

func (c *typeCheck) parse(name string, replaced map[string]string) (*ast.File, error) {
	if by, ok := replaced[name]; ok {
		return parser.ParseFile(c.files, by, nil, parser.SkipObjectResolution)
	}
	if c.parsed[name] == nil {
		file, err := parser.ParseFile(c.files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		c.parsed[name] = file
	}
	return c.parsed[name], nil
}

func builds(ctx context.Context, dirs []string, overlay string) error {
	args := []string{"build", "-overlay=" + overlay}
	for _, dir := range dirs {
		args = append(args, "./"+dir)
	}
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir, command.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	out, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w:\n%s", err, out)
	}
	return nil
}
