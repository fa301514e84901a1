package run_test

import (
	"bytes"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/test/support/rig"
)

// pluggedStore is a store of another module. It writes the URL that it was opened with to a file, so that a test sees
// that it was used.
const pluggedStore = `package mystore

import (
	"context"
	"os"

	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

type Store struct {
	port.Store
	name string
}

var _ port.Store = (*Store)(nil)

func Open(name string) *Store { return &Store{memstore.New(), name} }

func (s *Store) note(what string) error {
	f, err := os.OpenFile(s.name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(what + "\n"); err != nil {
		return err
	}
	return f.Close()
}

func (s *Store) Advance(ctx context.Context, id domain.ID, c domain.Call) (domain.RefreshToken, domain.Policy, error) {
	if err := s.note("advance"); err != nil {
		return domain.RefreshToken{}, domain.Policy{}, err
	}
	return s.Store.Advance(ctx, id, c)
}

func (s *Store) Close() error { return s.note("close") }
`

const pluggedKickstart = `tenants:
- {id: acme, name: Acme, applications: [{id: web, name: Web, cookieOnly: false}]}
apiKeys:
- {name: backend, key: ak_backend_backend_backend_backend, permissions: {endpoints: {/jwt/issue: [POST]}}}
`

var (
	pluggedMain = regexp.MustCompile("(?s)```go\n(package main\n[^`]*run\\.Main\\([^`]*)```")
	moduleLine  = regexp.MustCompile(`(?m)^module .*$`)
	toolBlock   = regexp.MustCompile(`(?ms)^tool (\(.*?^\)|.*?$)`)
)

// plugged builds the program of CONTRIBUTING.md in a module of its own, which requires this one as any module does.
func plugged(t *testing.T) rig.Program {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	program := pluggedMain.FindSubmatch(read("CONTRIBUTING.md"))
	if program == nil {
		t.Fatal("CONTRIBUTING.md has no main that calls run.Main")
	}
	// With the versions that are required here, all of which are on this machine: nothing is downloaded.
	module := toolBlock.ReplaceAll(moduleLine.ReplaceAll(read("go.mod"), []byte("module example.com/mystore")), nil)
	module = append(module, "\nrequire github.com/refreshd/refreshd v0.0.0\n"+
		"replace github.com/refreshd/refreshd => "+root+"\n"...)
	dir := t.TempDir()
	for name, text := range map[string][]byte{
		"go.mod": module, "go.sum": read("go.sum"), "mystore.go": []byte(pluggedStore), "mine/main.go": program[1],
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := rig.Program{Path: filepath.Join(dir, "mine", "mine"), Dir: t.TempDir()}
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", p.Path, "./mine")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOWORK=off", "CGO_ENABLED=0") // as the Makefile
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build a program with a store of its own: %v\n%s", err, out)
	}
	return p
}

type tokens struct{ RefreshToken, Token string }

// post sends a request that has to succeed, and returns what is in the response.
func post(t *testing.T, s *rig.Service, r rig.Request) (got tokens) {
	t.Helper()
	r.Method = http.MethodPost
	response, err := r.Do(t.Context(), rig.Client, s.API)
	if err == nil {
		err = response.Data(&got)
	}
	if err != nil {
		t.Fatalf("%s: %v", r.Path, err)
	}
	return got
}

// A store is plugged in without a fork: by a module that imports this one, with the few lines of
// CONTRIBUTING.md.
func TestAProgramWithAStoreOfItsOwnIssuesAndExchanges(t *testing.T) {
	program := plugged(t)
	trace := filepath.Join(program.Dir, "trace")
	s, err := program.Serve(t.Context(), rig.Settings{Database: "mystore:" + trace, Kickstart: pluggedKickstart})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Kill() }()
	issued := post(t, s, rig.Request{
		Path: "/jwt/issue", Key: "ak_backend_backend_backend_backend", Tenant: "acme",
		Body: `{"userId": "alice", "applicationsId": "web"}`,
	})
	exchanged := post(t, s, rig.Request{
		Path: "/jwt/refresh", Media: "application/x-www-form-urlencoded",
		Body: url.Values{"refreshToken": {issued.RefreshToken}}.Encode(),
	})
	if exchanged.Token == "" || exchanged.RefreshToken == "" || exchanged.RefreshToken == issued.RefreshToken {
		t.Errorf("the exchange answered %+v", exchanged)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(trace); err != nil || !bytes.Equal(got, []byte("advance\nclose\n")) {
		t.Errorf("the store noted %q, %v; want one exchange and that it was closed", got, err)
	}
	if log := s.Log(); !strings.Contains(log, `"database":"mystore:[redacted]"`) || strings.Contains(log, trace) {
		t.Errorf("the log shows what may be secret in the URL, or not the scheme:\n%s", log)
	}
	_, err = program.Run(t.Context(), rig.Settings{Database: "another:x"}, "serve")
	if err == nil || !strings.Contains(err.Error(), "also as postgresql:// and mystore:NAME") {
		t.Errorf("an unknown scheme: %v, want the known ones", err)
	}
	_, err = program.Run(t.Context(), rig.Settings{Database: "mystore:x"}, "migrate")
	if err == nil || !strings.Contains(err.Error(), "mystore:[redacted] has no schema") {
		t.Errorf("migrate: %v, want that there is nothing to do", err)
	}
}
