package run

import (
	"bytes"
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/config"
)

// operateIn runs a command line on the database in dir, and returns what it printed.
func operateIn(t *testing.T, dir string, args ...string) (stdout string, err error) {
	t.Helper()
	var out bytes.Buffer
	err = Run(t.Context(), Options{
		Args: args, Stdout: &out, Stderr: io.Discard,
		Environ: []string{"REFRESHD_DATABASE_URL=sqlite:" + filepath.Join(dir, "data", "refreshd.db")},
	})
	return out.String(), err
}

// onMemory returns a service over a store in memory, and its handler.
func onMemory(t *testing.T, environ ...string) (*service, http.Handler) {
	t.Helper()
	t.Chdir(t.TempDir())
	c, err := config.Load(nil, append(environ, "REFRESHD_DATABASE_URL=memory:"), config.Memory)
	if err != nil {
		t.Fatal(err)
	}
	p := process{stores: stores, stdout: io.Discard, stderr: io.Discard}
	s, err := p.open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.store.Close() })
	h, err := s.newHandler(t.Context(), c, c.PublicURL, func(context.Context) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return s, h
}

// A service has no operator: a request without a credential is refused on every route that asks for one.
func TestAServiceHasNoOperator(t *testing.T) {
	_, h := onMemory(t)
	for _, path := range []string{
		"/jwt/refresh", "/jwt/refresh?userId=a", "/jwt/refresh/01981e2c-9a38-7b4d-8a8e-d5a2f1a4c0de",
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("X-Stencil-TenantId", "acme")
		if h.ServeHTTP(w, r); w.Code != http.StatusUnauthorized {
			t.Errorf("GET %s without a credential: %d, want 401", path, w.Code)
		}
	}
}

// Only the command line makes its caller the operator. Anything else that did would open the store to everybody.
func TestOnlyTheCommandLineSetsTheOperator(t *testing.T) {
	var found []string
	for _, root := range []string{"../../adapter", "../../cmd", "../../usecase"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			sets := func(e ast.Expr) bool {
				switch e := e.(type) {
				case *ast.SelectorExpr:
					return e.Sel.Name == "Operator"
				case *ast.Ident:
					return e.Name == "Operator"
				}
				return false
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.AssignStmt:
					if slices.ContainsFunc(n.Lhs, sets) {
						found = append(found, filepath.ToSlash(path))
					}
				case *ast.KeyValueExpr:
					if sets(n.Key) {
						found = append(found, filepath.ToSlash(path))
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// The use case copies it to the caller that it identifies, and the API of administration from that caller.
	want := []string{
		"../../adapter/adminapi/resource.go", "../../cmd/run/operate.go", "../../usecase/authenticate.go",
	}
	if found = slices.Compact(found); !slices.Equal(found, want) {
		t.Errorf("the operator is set in %q, want %q", found, want)
	}
}

// A command that reads makes no database and changes no file.
func TestACommandThatReadsWritesNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := operateIn(t, dir, "token", "list", "--tenant=acme"); err == nil || status(err) != 1 ||
		!strings.Contains(err.Error(), "there is no database at sqlite:") {
		t.Errorf("without a database: %v", err)
	}
	if made, err := os.ReadDir(dir); err != nil || len(made) > 0 {
		t.Errorf("a command that reads made %v (%v)", made, err)
	}
	if _, err := applying(t, dir, applied); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	for args, want := range map[string]string{
		"":              "ID\tAPPLICATION\tUSER\tSTATE\tCREATED\tLAST USED\tEXPIRES\n",
		"--output=json": "[]\n", "--output=yaml": "[]\n",
	} {
		got, err := operateIn(t, dir, append([]string{"token", "list", "--tenant=acme"}, strings.Fields(args)...)...)
		if err != nil || got != want {
			t.Errorf("token list %s: %q, %v, want %q", args, got, err, want)
		}
	}
	if contents(t, dir) != before {
		t.Error("a command that reads changed a file")
	}
	if _, err := operateIn(t, dir, "token", "list", "--tenant=other"); err == nil || status(err) != 3 ||
		err.Error() != "there is no tenant other" {
		t.Errorf("another tenant: %v", err)
	}
	if _, err := operateIn(t, dir, "token", "list", "--tenant=acme", "--database-url=memory:"); err == nil ||
		!strings.Contains(err.Error(), "--server") {
		t.Errorf("in memory: %v", err)
	}
}
