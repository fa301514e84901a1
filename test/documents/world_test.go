package documents

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/refreshd/refreshd/adapter/manifest"
	"github.com/refreshd/refreshd/test/support/postgres"
	"github.com/refreshd/refreshd/test/support/rig"
)

// builds is the directory of the service, which is built once.
var builds string

var build = sync.OnceValues(func() (rig.Program, error) {
	return rig.Build(context.Background(), builds, rig.BuildOptions{Version: "documented"})
})

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "documents-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	builds = dir
	status := postgres.Main(m)
	_ = os.RemoveAll(dir)
	os.Exit(status)
}

// kickstart is the example of CONFIGURATION.md, without the grace period: a test does not wait until it is over.
var kickstart = strings.Replace(manifest.Example, "gracePeriodInSeconds: 30", "gracePeriodInSeconds: 0", 1)

// world is a database of PostgreSQL with that kickstart file, and the program.
type world struct {
	rig.Program
	database string
}

func newWorld(t *testing.T) world {
	t.Helper()
	database := postgres.NewDatabase(t)
	p, err := build()
	if err != nil {
		t.Fatal(err)
	}
	w := world{Program: p, database: database}
	if _, err := w.Run(t.Context(), w.settings(), "migrate"); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w world) settings(env ...string) rig.Settings {
	return rig.Settings{
		Database: w.database, Kickstart: kickstart,
		Env: slices.Concat([]string{"REFRESHD_DATABASE_URL=" + w.database, "BACKEND_KEY=" + backendKey}, env),
	}
}

// serve starts a replica, which ends with the test.
func (w world) serve(t *testing.T, env ...string) *rig.Service {
	t.Helper()
	return w.start(t, w.settings(env...))
}

func (w world) start(t *testing.T, settings rig.Settings) *rig.Service {
	t.Helper()
	s, err := w.Serve(t.Context(), settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// grant is what a login gets.
type grant struct{ RefreshToken, RefreshTokenID, Token string }

// do sends a request of the backend, or of a client if key is empty.
func do(t *testing.T, s *rig.Service, method, path, key string, body map[string]string) rig.Response {
	t.Helper()
	r := rig.Request{Method: method, Path: path, Key: key}
	if key != "" {
		r.Tenant = "acme"
	}
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r.Body = string(text)
	}
	response, err := r.Do(t.Context(), rig.Client, s.API)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

func issue(t *testing.T, s *rig.Service, user, key string) (g grant) {
	t.Helper()
	r := do(t, s, http.MethodPost, "/jwt/issue", cmp.Or(key, backendKey), map[string]string{
		"applicationsId": "shop", "userId": user,
	})
	if err := r.Data(&g); err != nil {
		t.Fatal(err)
	}
	return g
}

func exchange(t *testing.T, s *rig.Service, tokenString string) rig.Response {
	t.Helper()
	return do(t, s, http.MethodPost, "/jwt/refresh", "", map[string]string{"refreshToken": tokenString})
}

// exchanged exchanges a token string that has to be accepted.
func exchanged(t *testing.T, s *rig.Service, tokenString string) (g grant) {
	t.Helper()
	if err := exchange(t, s, tokenString).Data(&g); err != nil {
		t.Fatal(err)
	}
	return g
}
