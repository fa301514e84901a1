package run

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/verify"
	"github.com/refreshd/refreshd/config"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/postgres"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// replicaOn starts a process of the service on a database, with its workers and its API on a socket.
func replicaOn(t *testing.T, environ []string) (s *service, api *httptest.Server) {
	t.Helper()
	p := process{stores: stores, stderr: io.Discard}
	c, err := config.Load(nil, environ, p.schemes()...)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = p.open(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.store.Close() })
	handler, err := s.newHandler(t.Context(), c, publicURL, s.store.Ready)
	if err != nil {
		t.Fatal(err)
	}
	api = httptest.NewServer(handler)
	t.Cleanup(api.Close)
	workers := begin(context.WithoutCancel(t.Context()), s.log, s.workers(c, io.Discard))
	t.Cleanup(func() {
		api.CloseClientConnections()
		workers.end()
		_ = workers.wait(context.Background())
	})
	return s, api
}

func keyIDOf(t *testing.T, accessToken string) string {
	t.Helper()
	header, _, _ := strings.Cut(accessToken, ".")
	text, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		t.Fatal(err)
	}
	var h struct{ Kid string }
	if err := json.Unmarshal(text, &h); err != nil {
		t.Fatal(err)
	}
	return h.Kid
}

// A signing key that is revoked through one process is refused by a resource server on the stream of another one,
// within a second of the response: a holder of the key can sign any claims. This holds for a shared key and for one of
// the tenant. By then introspection says in both processes that its tokens are not active.
func TestAResourceServerOfAnotherProcessRefusesARevokedSigningKey(t *testing.T) {
	databases := map[string]func(*testing.T) string{
		"SQLite":     newSQLite,
		"PostgreSQL": func(t *testing.T) string { return postgres.NewDatabase(t) },
	}
	for name, database := range databases {
		t.Run(name, func(t *testing.T) {
			environ := environment(t, database(t))
			if name == "PostgreSQL" {
				ran(t, environ, "migrate")
			}
			one, first := replicaOn(t, environ)
			signing := usecase.NewKey{Kind: domain.KeySigning, Algorithm: domain.ES256}
			generate := func() { // a key that signs, or one that is published for later
				t.Helper()
				if _, err := one.keys.Generate(t.Context(), domain.Service(), signing); err != nil {
					t.Fatal(err)
				}
			}
			generate()
			generate()
			permissions := domain.Permissions{
				"/jwt/issue": {"POST"}, "/oauth2/introspect": {"POST"}, domain.RevocationsPermission: {"GET"},
			}
			if _, err := one.applier().Do(t.Context(), admin.Kickstart{
				Tenants: []admin.KickstartTenant{{
					Tenant:       domain.Tenant{ID: "acme", Name: "Acme"},
					Applications: []domain.Application{{ID: "shop", Name: "Shop"}},
				}},
				APIKeys: []admin.KickstartAPIKey{{
					APIKey: domain.APIKey{Name: "api", TenantID: "acme", Permissions: permissions}, Key: domain.NewSecret(oldKey),
				}},
			}); err != nil {
				t.Fatal(err)
			}
			signing.TenantID = "acme"
			generate()
			generate()
			_, api := replicaOn(t, environ)
			v, err := verify.New(t.Context(), verify.Config{
				Issuer: publicURL + "/t/acme", Audience: "shop", APIKey: oldKey,
				FeedURL: api.URL + "/t/acme/revocations", KeysURL: api.URL + "/t/acme/.well-known/jwks.json",
			})
			if err != nil {
				t.Fatal(err)
			}
			// until waits for a result of the verifier, which comes from another process.
			until := func(what, token string, limit time.Duration, want error) {
				t.Helper()
				var got error
				for end := time.Now().Add(limit); time.Now().Before(end); {
					time.Sleep(10 * time.Millisecond) // the facts come from another process; a second is what is promised
					if _, got = v.Verify(t.Context(), token); errors.Is(got, want) {
						return
					}
				}
				t.Fatalf("%s: got %v, want %v within %s", what, got, want, limit)
			}
			isActive := func(what, token string, want bool) {
				t.Helper()
				for process, server := range map[string]*httptest.Server{"one": first, "the other": api} {
					r := httptest.NewRequest("POST", "/t/acme/oauth2/introspect",
						strings.NewReader(url.Values{"token": {token}}.Encode()))
					r.Header.Set("Authorization", "Bearer "+oldKey)
					r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
					w := httptest.NewRecorder()
					server.Config.Handler.ServeHTTP(w, r)
					var got struct{ Active *bool }
					if err := json.Unmarshal(w.Body.Bytes(), &got); w.Code != 200 || err != nil || got.Active == nil {
						t.Fatalf("%s: %s process: got %d %s", what, process, w.Code, w.Body)
					}
					if *got.Active != want {
						t.Errorf("%s: active %t in %s process", what, *got.Active, process)
					}
				}
			}
			revoked, shared, own := map[string]bool{}, 0, 0
			for shared == 0 || own == 0 {
				token := issuedToken(t, api.Config.Handler)
				kid := keyIDOf(t, token)
				if revoked[kid] {
					t.Fatalf("%s signs, which is revoked", kid)
				}
				until("before", token, time.Minute, nil)
				isActive("before", token, true)
				key, err := one.keys.Revoke(t.Context(), domain.Service(), kid, usecase.RevokeKey{})
				if err != nil {
					t.Fatal(err)
				}
				if revoked[kid] = true; key.TenantID == "" {
					shared++
				} else {
					own++
				}
				isActive("revoked", token, false)
				until("revoked", token, time.Second, verify.ErrRevoked)
				next := issuedToken(t, api.Config.Handler)
				until("the next key", next, time.Second, nil)
				set := ask(api.Config.Handler, "GET", "/t/acme/.well-known/jwks.json", "", "").Body.String()
				if strings.Contains(set, kid) || !strings.Contains(set, keyIDOf(t, next)) {
					t.Errorf("the key set is %s, want it without %s and with the next key", set, kid)
				}
			}
			// A stream that opens later has them in its first frames.
			later, err := verify.New(t.Context(), verify.Config{
				Issuer: publicURL + "/t/acme", Audience: "shop", APIKey: oldKey,
				FeedURL: api.URL + "/t/acme/revocations", KeysURL: api.URL + "/t/acme/.well-known/jwks.json",
			})
			if err != nil {
				t.Fatal(err)
			}
			for !later.State().Ready {
				time.Sleep(10 * time.Millisecond) // the view comes by a stream
			}
			if facts := later.State().Facts; facts != len(revoked) {
				t.Errorf("the first view has %d facts, want the %d revoked keys", facts, len(revoked))
			}
		})
	}
}
