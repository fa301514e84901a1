package oauthapi_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
)

// metadataPaths returns the addresses of a tenant's metadata.
func metadataPaths(tenantID string) []string {
	return []string{
		"/t/" + tenantID + "/.well-known/openid-configuration",
		"/.well-known/openid-configuration/t/" + tenantID,
		"/t/" + tenantID + "/.well-known/oauth-authorization-server",
		"/.well-known/oauth-authorization-server/t/" + tenantID,
	}
}

var rootPaths = []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"}

func (s *service) metadata(t *testing.T, path string) map[string]any {
	t.Helper()
	members := map[string]any{}
	if err := json.Unmarshal(s.do(t, "GET", path).want(t, 200, "").body, &members); err != nil {
		t.Fatal(err)
	}
	return members
}

// R12: one document under all forms of the address (RFC 8414, section 3.1; OpenID Connect Discovery 1.0, section 4). An
// unknown tenant is 404: Spring stops at a 5xx.
func TestR12MetadataIsUnderEveryForm(t *testing.T) {
	s := newService(t)
	for _, tenant := range []string{acme, globex} {
		paths := metadataPaths(tenant)
		if tenant == acme { // the root tenant
			paths = append(paths, rootPaths...)
		}
		want := s.metadata(t, paths[0])
		for _, path := range paths[1:] {
			if diff := cmp.Diff(want, s.metadata(t, path)); diff != "" {
				t.Errorf("%s (-first +this):\n%s", path, diff)
			}
		}
	}
	for _, path := range append(metadataPaths("unknown"), metadataPaths("not%20an%20id")...) {
		s.do(t, "GET", path).want(t, 404, "invalid_request")
	}
	s.api.RootTenant = ""
	s.mount(t)
	for _, path := range rootPaths {
		s.do(t, "GET", path).want(t, 404, "invalid_request")
	}
}

// R13: the issuer is that of the access tokens, byte for byte (RFC 8414, section 3.3), and the endpoints follow its
// host.
func TestR13TheIssuerIsThatOfTheAccessTokens(t *testing.T) {
	s := newService(t)
	for tenant, issuer := range map[string]string{acme: "https://auth.acme.example", globex: publicURL + "/t/globex"} {
		m := s.metadata(t, metadataPaths(tenant)[0])
		if got := claimsOf(t, s.login(t, tenant, "spa").AccessToken.Reveal())["iss"]; m["issuer"] != issuer || got != issuer {
			t.Errorf("%s: got the issuer %v, and %v in an access token, want %s", tenant, m["issuer"], got, issuer)
		}
		for member, path := range map[string]string{
			"token_endpoint": "/oauth2/token", "revocation_endpoint": "/oauth2/revoke",
			"introspection_endpoint": "/oauth2/introspect", "jwks_uri": "/.well-known/jwks.json",
			"revocations_endpoint": "/revocations",
		} {
			if m[member] != issuer+path {
				t.Errorf("%s: %s is %v, want %s", tenant, member, m[member], issuer+path)
			}
		}
	}
}

// R14: the members that clients and verifiers ask for (RFC 8414, section 2).
func TestR14MetadataHasTheMembersThatClientsNeed(t *testing.T) {
	m := newService(t).metadata(t, metadataPaths(globex)[0])
	methods := []any{"client_secret_basic", "client_secret_post", "private_key_jwt"}
	grants := []any{"refresh_token", "urn:ietf:params:oauth:grant-type:token-exchange"}
	algorithms := []any{"EdDSA", "ES256", "RS256", "PS256", "Ed25519"}
	for member, want := range map[string][]any{
		"response_types_supported":                                 {},
		"grant_types_supported":                                    grants,
		"token_endpoint_auth_methods_supported":                    append([]any{"none"}, methods...),
		"revocation_endpoint_auth_methods_supported":               append([]any{"none"}, methods...),
		"introspection_endpoint_auth_methods_supported":            methods,
		"token_endpoint_auth_signing_alg_values_supported":         algorithms,
		"revocation_endpoint_auth_signing_alg_values_supported":    algorithms,
		"introspection_endpoint_auth_signing_alg_values_supported": algorithms,
		"scopes_supported":                                         {"offline_access"}, "subject_types_supported": {"public"},
		"id_token_signing_alg_values_supported": {"ES256"}, "dpop_signing_alg_values_supported": algorithms,
	} {
		if diff := cmp.Diff(want, m[member]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", member, diff)
		}
	}
}

// R15: the endpoints of the operator's own login are repeated (RFC 8414, section 2), and left out if there are none.
func TestR15MetadataHasTheOperatorsLogin(t *testing.T) {
	s := newService(t)
	members := []string{"authorization_endpoint", "end_session_endpoint", "userinfo_endpoint"}
	none := s.metadata(t, metadataPaths(globex)[0])
	for _, member := range members {
		if _, ok := none[member]; ok {
			t.Errorf("a tenant without a login has %s", member)
		}
	}
	tenant, err := s.store.Tenant(t.Context(), globex)
	if err != nil {
		t.Fatal(err)
	}
	tenant.Login = domain.LoginEndpoints{
		Authorization: "https://login.example/authorize", EndSession: "https://login.example/logout",
		Userinfo: "https://login.example/me",
	}
	if err := storagetest.SaveTenant(t.Context(), s.store, tenant); err != nil {
		t.Fatal(err)
	}
	s.wait(2 * time.Minute) // the tenant is looked up again
	m := s.metadata(t, metadataPaths(globex)[0])
	if got := []any{m[members[0]], m[members[1]], m[members[2]]}; !slices.Equal(got, []any{
		tenant.Login.Authorization, tenant.Login.EndSession, tenant.Login.Userinfo,
	}) {
		t.Errorf("got %v", got)
	}
}

// R17: pages of every origin read metadata, without credentials (RFC 6454; Fetch standard), refusals included.
func TestR17PagesOfEveryOriginReadMetadata(t *testing.T) {
	s := newService(t)
	for path, status := range map[string]int{metadataPaths(acme)[0]: 200, rootPaths[0]: 200, metadataPaths("x")[0]: 404} {
		a := s.do(t, "GET", path, header("Origin", "https://anywhere.example"))
		if a.status != status || a.header.Get("Access-Control-Allow-Origin") != "*" ||
			a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: got %d with %v", path, a.status, a.header)
		}
	}
}

// R18: a page uses a client only from an origin of the client or of the process (RFC 6454, section 7). A page of
// another one reads why not, and nothing is written. A preflight allows what clients send (Fetch standard, CORS
// protocol).
func TestR18APageUsesAClientFromItsOriginsOnly(t *testing.T) {
	s := newService(t)
	s.client(t, acme, "spa", func(c *domain.Client) { c.Origins = []string{"https://spa.example"} })
	const headers = "authorization,dpop,content-type,auth0-client"
	for _, path := range []string{"/t/acme/oauth2/token", "/oauth2/token", "/t/acme/oauth2/revoke"} {
		for origin, status := range map[string]int{
			"": 200, ourOrigin: 200, publicURL: 200, "https://spa.example": 200, "https://other.example": 400, "null": 400,
		} {
			grant := s.login(t, acme, "spa")
			var sent []option
			if origin != "" {
				sent = append(sent, header("Origin", origin))
			}
			fields := []string{"client_id", "spa", "token", grant.TokenString.Reveal()}
			if strings.HasSuffix(path, "token") {
				fields = []string{"client_id", "spa", "grant_type", "refresh_token", "refresh_token", grant.TokenString.Reveal()}
			}
			a := s.do(t, "POST", path, append(sent, form(fields...))...)
			if a.status != status {
				t.Errorf("%s from %q: got %d %s, want %d", path, origin, a.status, a.body, status)
			}
			if origin != "" && (a.header.Get("Access-Control-Allow-Origin") != "*" ||
				a.header.Get("Access-Control-Allow-Credentials") != "") {
				t.Errorf("%s from %q: the page cannot read the response: %v", path, origin, a.header)
			}
			if calls := s.store.took(); status == 400 && (calls["Advance"] > 0 || calls["Revoke"] > 0) {
				t.Errorf("%s from %q: the store was called: %v", path, origin, calls)
			}
		}
		pre := s.do(t, "OPTIONS", path, header("Origin", "https://other.example"),
			header("Access-Control-Request-Method", "POST"),
			header("Access-Control-Request-Headers", headers))
		if pre.status != 204 || pre.header.Get("Access-Control-Allow-Headers") != headers ||
			!strings.Contains(pre.header.Get("Access-Control-Allow-Methods"), "POST") {
			t.Errorf("%s: preflight: got %d %v", path, pre.status, pre.header)
		}
	}
}

func TestMetadataIsCachedAndRefusesInTheDialect(t *testing.T) {
	s := newService(t)
	all := append(metadataPaths(acme), rootPaths...)
	for _, path := range all {
		a := s.do(t, "GET", path).want(t, 200, "")
		if a.header.Get("Cache-Control") != "public, max-age=300" {
			t.Errorf("%s: got %v", path, a.header)
		}
		s.do(t, "GET", path, header("If-None-Match", a.header.Get("ETag"))).want(t, 304, "")
		s.do(t, "GET", path, raw("text/plain", strings.Repeat("x", 40_000))).want(t, 413, "invalid_request")
	}
	before := s.store.tenants
	for _, path := range all {
		s.do(t, "GET", path).want(t, 200, "")
	}
	if n := s.store.tenants - before; n > 0 {
		t.Errorf("the store was asked %d times within a minute", n)
	}
	for _, path := range all {
		fresh := newService(t)
		fresh.store.fail = errors.New("the store is down")
		fresh.do(t, "GET", path).want(t, 503, "temporarily_unavailable")
		fresh.store.fail, fresh.store.panic = nil, true
		fresh.do(t, "GET", path).want(t, 500, "server_error")
		fresh.store.panic = false
		fresh.options.Guard = web.NewGuard(web.RateLimits{Address: 1}, nil, fresh.clock, nil)
		fresh.mount(t)
		for range 100 {
			if a := fresh.do(t, "GET", path); a.status == 429 {
				break
			}
		}
	}
}
