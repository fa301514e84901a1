package usecase_test

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const module = "github.com/refreshd/refreshd/"

// eventMethods returns the methods of the store that take an event.
func eventMethods() (methods []string) {
	event := reflect.TypeFor[domain.Event]()
	for m := range reflect.TypeFor[port.Store]().Methods() {
		for in := range m.Type.Ins() {
			if in == event {
				methods = append(methods, m.Name)
			}
		}
	}
	return methods
}

// writers returns, for every exported function and method of the use cases from which the source reaches a method of
// the store that takes an event, the names of these methods.
func writers(t *testing.T) map[string][]string {
	t.Helper()
	takes := eventMethods()
	exports := exportData(t)
	uses := map[string]map[string]bool{} // by function: what it names
	exported := map[string]string{}      // by function: its name in a row
	for _, dir := range []string{"usecase", "usecase/admin"} {
		files := token.NewFileSet()
		parsed := parsedPackage(t, files, filepath.Join("..", dir))
		info := &types.Info{Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{}}
		config := types.Config{Importer: importer.ForCompiler(files, "gc", func(path string) (io.ReadCloser, error) {
			return os.Open(exports[path])
		})}
		_, err := config.Check(module+dir, files, parsed, info)
		must(t, err)
		for _, file := range parsed {
			for _, declaration := range file.Decls {
				function, ok := declaration.(*ast.FuncDecl)
				if !ok || function.Body == nil {
					continue
				}
				f := info.Defs[function.Name].(*types.Func)
				uses[f.FullName()] = map[string]bool{}
				if name, ok := rowName(f); ok {
					exported[f.FullName()] = name
				}
				ast.Inspect(function.Body, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok {
						if used, ok := info.Uses[id].(*types.Func); ok {
							uses[f.FullName()][used.FullName()] = true
						}
					}
					return true
				})
			}
		}
	}
	found := map[string][]string{}
	for f, name := range exported {
		reached := map[string]bool{}
		var visit func(string)
		visit = func(f string) {
			if !reached[f] {
				reached[f] = true
				for used := range uses[f] {
					visit(used)
				}
			}
		}
		visit(f)
		for r := range reached {
			if of, method, ok := strings.Cut(r, ")."); ok && strings.HasPrefix(of, "("+module+"port.") &&
				slices.Contains(takes, method) {
				found[name] = append(found[name], method)
			}
		}
	}
	for _, methods := range found {
		slices.Sort(methods)
	}
	return found
}

// rowName returns the name of an exported function, or of an exported method of an exported type.
func rowName(f *types.Func) (string, bool) {
	name, exported := f.Pkg().Name()+".", f.Exported()
	if receiver := f.Signature().Recv(); receiver != nil {
		of := receiver.Type()
		if p, ok := of.(*types.Pointer); ok {
			of = p.Elem()
		}
		object := of.(*types.Named).Obj()
		name, exported = name+object.Name()+".", exported && object.Exported()
	}
	return name + f.Name(), exported
}

func parsedPackage(t *testing.T, files *token.FileSet, dir string) (parsed []*ast.File) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	must(t, err)
	for _, name := range names {
		if !strings.HasSuffix(name, "_test.go") {
			file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
			must(t, err)
			parsed = append(parsed, file)
		}
	}
	return parsed
}

// exportData returns the files with the compiled types of what the use cases import.
func exportData(t *testing.T) map[string]string {
	t.Helper()
	list := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}", module+"usecase/admin")
	list.Env = append(os.Environ(), "CGO_ENABLED=0") // as the Makefile: they are compiled
	out, err := list.Output()
	must(t, err)
	exports := map[string]string{}
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		exports[path] = file
	}
	return exports
}
