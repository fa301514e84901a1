package oauthapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/cli"
	"github.com/refreshd/refreshd/adapter/httpapi"
	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
)

// R16: the key set of the metadata is JSON, for pages of every origin, and each key has its id, its use and its
// algorithm (RFC 7517, sections 4 and 8.5.2): verifiers choose a key by them.
func TestR16KeysSayWhatTheyAreFor(t *testing.T) {
	s := newService(t)
	keys, err := web.New(s.options, (&httpapi.API{Publish: s.api.Publish}).Undocumented())
	if err != nil {
		t.Fatal(err)
	}
	for tenant, issuer := range map[string]string{acme: "https://auth.acme.example", globex: publicURL + "/t/globex"} {
		uri, _ := s.metadata(t, metadataPaths(tenant)[0])["jwks_uri"].(string)
		path, ok := strings.CutPrefix(uri, issuer)
		if !ok {
			t.Fatalf("jwks_uri is %q", uri)
		}
		r := httptest.NewRequest("GET", "/t/"+tenant+path, nil)
		r.Header.Set("Origin", "https://anywhere.example")
		rec := httptest.NewRecorder()
		keys.ServeHTTP(rec, r)
		h := rec.Header()
		if rec.Code != http.StatusOK || h.Get("Content-Type") != "application/json" ||
			h.Get("Access-Control-Allow-Origin") != "*" || h.Get("Access-Control-Allow-Credentials") != "" {
			t.Fatalf("%s: got %d with %v", uri, rec.Code, h)
		}
		var set struct{ Keys []map[string]any }
		if err := json.Unmarshal(rec.Body.Bytes(), &set); err != nil {
			t.Fatal(err)
		}
		kids := map[any]bool{}
		for _, key := range set.Keys {
			kids[key["kid"]] = true
			if key["kid"] == "" || key["alg"] != "ES256" || key["use"] != "sig" || key["kty"] != "EC" || key["d"] != nil {
				t.Errorf("%s: got the key %v", uri, key)
			}
		}
		if len(kids) != len(set.Keys) || len(kids) == 0 {
			t.Errorf("%s: %d keys with %d different ids", uri, len(set.Keys), len(kids))
		}
	}
}

// R19: an issuer is an https URL (RFC 8414, section 2), and clients refuse another one unless they are told. The first
// run says so, because it has none.
func TestR19AFirstRunSaysThatClientsRefuseHTTP(t *testing.T) {
	for url, says := range map[string]bool{"http://127.0.0.1:3000": true, publicURL: false} {
		var out strings.Builder
		cli.PrintFirstRun(&out, cli.FirstRunNotice{BaseURL: url, TenantID: "default", ApplicationID: "demo"})
		const sentence = "OAuth libraries refuse http: use --public-url https://auth.example.com behind a TLS proxy.\n"
		if strings.Contains(out.String(), sentence) != says {
			t.Errorf("at %s it says %s", url, out.String())
		}
	}
}

// R21: a client with a secret need not rotate, because a thief lacks its secret (RFC 9700, section
// 4.14.2). INTEGRATING.md says for whom that is; the default is to rotate.
func TestR21AClientWithASecretNeedNotRotate(t *testing.T) {
	s := newService(t)
	secret := s.secrets[acme+" backend"]
	exchange := func(tokenString domain.Secret) string {
		t.Helper()
		s.wait(time.Minute) // after the grace period
		return s.token(t, refresh(tokenString), basic("backend", secret)).want(t, 200, "").text("refresh_token")
	}
	first := s.login(t, acme, "backend").TokenString
	if exchange(first) == first.Reveal() {
		t.Error("by default it does not rotate")
	}
	usage := domain.Reusable
	s.set(t, "backend", func(settings *domain.Settings) { settings.Usage = &usage })
	kept := s.login(t, acme, "backend").TokenString
	var got []string
	for range 4 {
		got = append(got, exchange(kept))
	}
	if !slices.Equal(got, []string{kept.Reveal(), kept.Reveal(), kept.Reveal(), kept.Reveal()}) {
		t.Error("a reusable refresh token changed")
	}
	s.token(t, refresh(kept, "client_id", "backend")).want(t, 401, "invalid_client")

	text, err := os.ReadFile("../../INTEGRATING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Use an OAuth 2 client\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, word := range []string{"need not rotate", "`Reusable`", "RFC 9700"} {
		if !strings.Contains(section, word) {
			t.Errorf("INTEGRATING.md does not say %q in its section on OAuth", word)
		}
	}
}
