package oauthapi_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// places are the prefixes of the endpoints of acme: its own, and the root.
var places = []string{"/t/acme", ""}

// A public client names itself in the body. The exchange costs one call of the store, as in the JSON API.
func TestAPublicClientExchangesItsTokenWithOneCallOfTheStore(t *testing.T) {
	s := newService(t)
	for _, place := range places {
		g := s.login(t, acme, "spa", "orders:read")
		a := s.do(t, "POST", place+"/oauth2/token", refresh(g.TokenString, "client_id", "spa")).want(t, 200, "")
		if a.text("refresh_token") == "" || a.text("refresh_token") == g.TokenString.Reveal() {
			t.Errorf("%s: no new refresh token in %s", place, a.body)
		}
		if got := a.claims(t)["aud"]; got != "spa" {
			t.Errorf("aud: got %v", got)
		}
		if calls := s.store.took(); !maps.Equal(calls, map[string]int{"Advance": 1}) {
			t.Errorf("got the calls %v", calls)
		}
	}
}

// R1: a form with a charset is a form, nothing else is, and success is 200 (RFC 6749, section 4.1.3 and appendix B).
func TestR01FormsAreAcceptedWithTheirCharset(t *testing.T) {
	s := newService(t)
	for _, mediaType := range []string{
		"application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=UTF-8",
		"Application/X-WWW-Form-URLEncoded;charset=utf-8",
	} {
		g := s.login(t, acme, "spa")
		body := encode("grant_type", "refresh_token", "refresh_token", g.TokenString.Reveal(), "client_id", "spa")
		s.token(t, raw(mediaType, body)).want(t, 200, "")
	}
	for _, mediaType := range []string{"application/json", "", "application/x-www-form-urlencoded; charset=latin1"} {
		s.token(t, raw(mediaType, "{}")).want(t, 415, "invalid_request")
	}
}

// R2: a parameter without a value is absent, an unknown one is ignored, and one that is repeated is refused (RFC 6749,
// sections 3.1 and 3.2).
func TestR02ParametersWithoutAValueAndUnknownOnesAreIgnored(t *testing.T) {
	s := newService(t)
	g := s.login(t, acme, "spa", "orders:read")
	s.token(t, refresh(g.TokenString, "client_id", "spa", "client_secret", "", "scope", "", "resource", "",
		"redirect_uri", "https://app.example/back", "user_code", "", "tenantId", "globex", "client_info", "1",
		"client_assertion", "")).want(t, 200, "")
	for _, name := range []string{"grant_type", "refresh_token", "client_id", "scope"} {
		again := s.login(t, acme, "spa", "orders:read")
		body := encode("grant_type", "refresh_token", "refresh_token", again.TokenString.Reveal(), "client_id", "spa",
			"scope", "orders:read")
		twice := raw("application/x-www-form-urlencoded", body+"&"+name+"=again")
		if a := s.token(t, twice).want(t, 400, "invalid_request"); a.text("refreshd_code") != "[repeated]"+name {
			t.Errorf("%s twice: got %s", name, a.body)
		}
		if calls := s.store.took(); len(calls) > 0 {
			t.Errorf("%s twice: got the calls %v", name, calls)
		}
	}
	for missing, pairs := range map[string][]string{
		"grant_type":    {"refresh_token", "rt", "client_id", "spa"},
		"refresh_token": {"grant_type", "refresh_token", "client_id", "spa"},
		"client_id":     {"grant_type", "refresh_token", "refresh_token", "rt"},
	} {
		if a := s.token(t, form(pairs...)).want(t, 400, "invalid_request"); a.text("refreshd_code") != "[blank]"+missing {
			t.Errorf("without %s: got %s", missing, a.body)
		}
	}
	for _, grant := range []string{"password", "authorization_code", "client_credentials", "refresh-token"} {
		s.token(t, form("grant_type", grant, "client_id", "spa")).want(t, 400, "unsupported_grant_type")
	}
}

// R3: Basic with an empty password is a public client (RFC 6749, section 2.3.1), and another scheme is ignored.
func TestR03BasicWithAnEmptyPasswordIsAPublicClient(t *testing.T) {
	s := newService(t)
	for name, test := range map[string]struct {
		authorization option
		body          []string
	}{
		"Basic alone":               {basic("spa", ""), nil},
		"and the body":              {basic("spa", ""), []string{"client_id", "spa"}},
		"an old access token":       {header("Authorization", "Bearer a.b.c"), []string{"client_id", "spa"}},
		"an empty user":             {basic("", ""), []string{"client_id", "spa"}},
		"another scheme":            {header("Authorization", "Negotiate abc"), []string{"client_id", "spa"}},
		"Basic in another spelling": {header("Authorization", "bAsIc   c3BhOg=="), nil},
	} {
		g := s.login(t, acme, "spa")
		if a := s.token(t, refresh(g.TokenString, test.body...), test.authorization); a.status != 200 {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
		if calls := s.store.took(); !maps.Equal(calls, map[string]int{"Advance": 1}) {
			t.Errorf("%s: got the calls %v", name, calls)
		}
	}
}

// R4: both parts of Basic are taken form-encoded and as they are (RFC 6749, section 2.3.1).
func TestR04BasicIsTakenEncodedAndRaw(t *testing.T) {
	s := newService(t)
	const id = "a b%2Fc"
	secret := s.secrets["encoded"]
	imported := "100%41 +/=:odd-secret~of-another-product"
	s.addSecret(t, acme, id, imported)
	dashed := strings.ReplaceAll(url.QueryEscape(imported), "-", "%2D")
	for name, o := range map[string]option{
		"encoded":                basic(url.QueryEscape(id), secret),
		"raw":                    basic(id, secret),
		"imported, encoded":      basic(url.QueryEscape(id), url.QueryEscape(imported)),
		"imported, more encoded": basic(url.QueryEscape(id), dashed),
		"imported, raw":          basic(id, imported),
	} {
		g := s.login(t, acme, id)
		if a := s.token(t, refresh(g.TokenString), o); a.status != 200 {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
		if calls := s.store.took(); calls["Application"] > 2 {
			t.Errorf("%s: got the calls %v", name, calls)
		}
	}
	g := s.login(t, acme, id)
	s.token(t, refresh(g.TokenString, "client_id", id, "client_secret", imported)).want(t, 200, "")
}

// R5: the body may repeat the client of Basic, and neither name another one nor authenticate again (RFC 6749, sections
// 2.3 and 3.2.1).
func TestR05TheBodyMayRepeatTheClientOfBasic(t *testing.T) {
	s := newService(t)
	secret := s.secrets["acme backend"]
	g := s.login(t, acme, "backend")
	s.token(t, refresh(g.TokenString, "client_id", "spa"), basic("backend", secret)).want(t, 400, "invalid_request")
	s.token(t, refresh(g.TokenString, "client_secret", secret), basic("backend", secret)).
		want(t, 400, "invalid_request")
	s.token(t, refresh(g.TokenString, "client_assertion", "a.b.c", "client_assertion_type",
		"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"), basic("backend", secret)).
		want(t, 400, "invalid_request")
	s.token(t, refresh(g.TokenString, "client_id", "backend"), basic("backend", secret),
		header("Authorization", "Basic again")).want(t, 400, "invalid_request")
	if calls := s.store.took(); len(calls) > 0 {
		t.Errorf("got the calls %v", calls)
	}
	s.token(t, refresh(g.TokenString, "client_id", "backend"), basic("backend", secret)).want(t, 200, "")
	other := s.login(t, acme, "backend")
	s.token(t, refresh(other.TokenString, "client_id", "backend", "client_secret", secret)).want(t, 200, "")
	third := s.login(t, acme, "backend")
	s.token(t, refresh(third.TokenString, "client_secret", secret), basic("backend", "")).want(t, 200, "")
}

// R6: the members of the answer, of which none is ever null (RFC 6749, section 5.1).
func TestR06TheAnswerHasItsMembers(t *testing.T) {
	s := newService(t)
	for _, scopes := range [][]string{{"orders:read", "orders:write"}, nil} {
		g := s.login(t, acme, "spa", scopes...)
		s.wait(time.Minute)
		a := s.token(t, refresh(g.TokenString, "client_id", "spa")).want(t, 200, "")
		names := slices.Sorted(maps.Keys(a.members))
		want := []string{"access_token", "expires_in", "refresh_token", "scope", "token_type"}
		if !slices.Equal(names, want) {
			t.Errorf("got the members %v, want %v", names, want)
		}
		if a.text("token_type") != "Bearer" || a.members["expires_in"] != 900.0 ||
			a.members["scope"] != strings.Join(scopes, " ") || bytes.Contains(a.body, []byte("null")) {
			t.Errorf("got %s", a.body)
		}
		if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" ||
			a.header.Get("Refreshd-Outcome") != "rotated" {
			t.Errorf("got the header %v", a.header)
		}
	}
}

// R7: scopes that were granted are accepted again, those of a login are ignored, and wider ones are refused (RFC 6749,
// section 6).
func TestR07ScopeMayBeRepeated(t *testing.T) {
	s := newService(t)
	for asked, want := range map[string]string{
		"":                                 "orders:read orders:write",
		"orders:read orders:write":         "orders:read orders:write",
		"orders:write orders:read":         "orders:read orders:write",
		"orders:read":                      "orders:read",
		" orders:read  orders:read ":       "orders:read",
		"openid offline_access":            "orders:read orders:write",
		"openid profile email orders:read": "orders:read",
	} {
		g := s.login(t, acme, "spa", "orders:read", "orders:write")
		a := s.token(t, refresh(g.TokenString, "client_id", "spa", "scope", asked)).want(t, 200, "")
		claims := a.claims(t)
		if a.text("scope") != want || claims["scope"] != want {
			t.Errorf("%q: got %q, and %v in the access token; want %q", asked, a.text("scope"), claims["scope"], want)
		}
	}
	g := s.login(t, acme, "spa", "orders:read")
	a := s.token(t, refresh(g.TokenString, "client_id", "spa", "scope", "orders:read admin")).
		want(t, 400, "invalid_scope")
	if calls := s.store.took(); !maps.Equal(calls, map[string]int{"Snapshot": 1}) {
		t.Errorf("a wider scope: got the calls %v; %s", calls, a.body)
	}
	s.token(t, refresh(g.TokenString, "client_id", "spa")).want(t, 200, "") // it is as good as before

	// A wider scope does not hide a replay.
	thief := s.login(t, acme, "strict", "orders:read")
	s.token(t, refresh(thief.TokenString, "client_id", "strict")).want(t, 200, "")
	s.wait(time.Hour)
	a = s.token(t, refresh(thief.TokenString, "client_id", "strict", "scope", "admin")).want(t, 400, "invalid_grant")
	if a.text("refreshd_code") != "[reused]refreshToken" {
		t.Errorf("a replay: got %s", a.body)
	}
}

// A narrower access token narrows nothing for later: the session keeps its scopes.
func TestANarrowerAccessTokenLeavesTheSessionItsScopes(t *testing.T) {
	s := newService(t)
	g := s.login(t, acme, "spa", "orders:read", "orders:write")
	a := s.token(t, refresh(g.TokenString, "client_id", "spa", "scope", "orders:read")).want(t, 200, "")
	s.wait(time.Hour)
	next := s.token(t, refresh(domain.NewSecret(a.text("refresh_token")), "client_id", "spa")).want(t, 200, "")
	if next.text("scope") != "orders:read orders:write" {
		t.Errorf("got the scopes %q", next.text("scope"))
	}
}

// R8: a refusal of the refresh token is 400 in JSON, without a challenge (RFC 6749, section 5.2).
func TestR08ARefusalIsJSONWithoutAChallenge(t *testing.T) {
	s := newService(t)
	used := s.login(t, acme, "strict")
	s.token(t, refresh(used.TokenString, "client_id", "strict")).want(t, 200, "")
	s.wait(time.Hour)
	foreign := s.login(t, globex, "spa")
	revoked := s.login(t, acme, "spa")
	s.do(t, "POST", "/oauth2/revoke", form("client_id", "spa", "token", revoked.TokenString.Reveal())).want(t, 200, "")
	of := s.login(t, acme, "spa")
	for name, test := range map[string]struct {
		token  domain.Secret
		client string
		code   string
	}{
		"no token string":   {domain.NewSecret("nothing"), "spa", "[invalid]refreshToken"},
		"of another tenant": {foreign.TokenString, "spa", "[invalid]refreshToken"},
		"of another client": {of.TokenString, "strict", "[invalid]refreshToken"},
		"revoked":           {revoked.TokenString, "spa", "[revoked]refreshToken"},
		"used again":        {used.TokenString, "strict", "[reused]refreshToken"},
	} {
		a := s.token(t, refresh(test.token, "client_id", test.client), basic(test.client, "")).
			want(t, 400, "invalid_grant")
		if a.text("refreshd_code") != test.code || a.text("error_description") == "" {
			t.Errorf("%s: got %s", name, a.body)
		}
		if got := a.header.Values("WWW-Authenticate"); len(got) > 0 {
			t.Errorf("%s: got the challenge %q", name, got)
		}
		if a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got the header %v", name, a.header)
		}
		if strings.ContainsFunc(a.text("error_description"), func(r rune) bool {
			return r < ' ' || r > '~' || r == '"' || r == '\\'
		}) {
			t.Errorf("%s: the description %q has characters that RFC 6749 does not allow", name, a.text("error_description"))
		}
	}
	s.token(t, refresh(of.TokenString, "client_id", "spa")).want(t, 200, "") // the other client could not use it up
}

// R8: a client that is unknown or fails to authenticate is 401, with a challenge only if it used Basic (RFC 6749,
// section 5.2).
func TestR08OnlyAClientThatUsedBasicIsChallenged(t *testing.T) {
	s := newService(t)
	g := s.login(t, acme, "backend")
	locked := s.login(t, acme, "locked")
	const wrong = wrongSecret
	inBody := func(pairs ...string) []option {
		return []option{refresh(g.TokenString, append([]string{"client_id", "backend"}, pairs...)...)}
	}
	inHeader := func(authorization string) []option {
		return []option{refresh(g.TokenString), header("Authorization", authorization)}
	}
	for name, test := range map[string]struct {
		options []option
		basic   bool
	}{
		"a confidential client without secret": {[]option{refresh(g.TokenString, "client_id", "backend")}, false},
		"by Basic without secret":              {[]option{refresh(g.TokenString), basic("backend", "")}, true},
		"a wrong secret":                       {inBody("client_secret", wrong), false},
		"a wrong secret by Basic":              {[]option{refresh(g.TokenString), basic("backend", wrong)}, true},
		"another client's secret": {[]option{refresh(g.TokenString), basic("backend",
			s.secrets["globex backend"])}, true},
		"no secret at all":            {[]option{refresh(g.TokenString), basic("backend", "short")}, true},
		"Basic that is not base64":    {inHeader("Basic %%%"), true},
		"Basic without a colon":       {inHeader("Basic YmFja2VuZA=="), true},
		"a public client's secret":    {[]option{refresh(g.TokenString), basic("spa", wrong)}, true},
		"an unknown client":           {[]option{refresh(g.TokenString, "client_id", "nobody")}, false},
		"an unknown client, secret":   {[]option{refresh(g.TokenString), basic("nobody", wrong)}, true},
		"no id":                       {[]option{refresh(g.TokenString, "client_id", "a\x00b")}, false},
		"a wrong token and secret":    {[]option{refresh(domain.NewSecret("rt_nothing")), basic("backend", wrong)}, true},
		"a wrong token, no client":    {[]option{refresh(domain.NewSecret("rt_nothing"), "client_id", "nobody")}, false},
		"the policy requires a proof": {[]option{refresh(locked.TokenString, "client_id", "locked")}, false},
		"an assertion": {[]option{refresh(g.TokenString, "client_id", "backend", "client_assertion", "a.b.c",
			"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")}, false},
		"an assertion without a type": {inBody("client_assertion", "x"), false},
	} {
		a := s.token(t, test.options...)
		if a.status != 401 || a.text("error") != "invalid_client" || a.members["refreshd_code"] != nil {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
		want := []string(nil)
		if test.basic {
			want = []string{`Basic realm="refreshd"`}
		}
		if got := a.header.Values("WWW-Authenticate"); !slices.Equal(got, want) {
			t.Errorf("%s: got the challenge %q, want %q", name, got, want)
		}
	}
	s.do(t, "POST", "/t/nobody/oauth2/token", refresh(g.TokenString, "client_id", "spa")).want(t, 401, "invalid_client")
	// Nothing was used up.
	s.token(t, refresh(g.TokenString), basic("backend", s.secrets["acme backend"])).want(t, 200, "")
}

// A client may have two secrets, so that one can be replaced; one that was removed is refused immediately.
func TestAClientHasTwoSecrets(t *testing.T) {
	s := newService(t)
	first, second := s.secrets["acme backend"], s.newSecret(t, acme, "backend")
	for _, secret := range []string{first, second} {
		g := s.login(t, acme, "backend")
		s.token(t, refresh(g.TokenString), basic("backend", secret)).want(t, 200, "")
	}
	s.client(t, acme, "backend", func(c *domain.Client) { c.Secrets = c.Secrets[:1] })
	g := s.login(t, acme, "backend")
	s.token(t, refresh(g.TokenString), basic("backend", first)).want(t, 401, "invalid_client")
	s.token(t, refresh(g.TokenString), basic("backend", second)).want(t, 200, "")
}

// A client's secret also satisfies the policy's requireAuthentication.
func TestASecretSatisfiesRequireAuthentication(t *testing.T) {
	s := newService(t)
	g := s.login(t, acme, "locked")
	s.token(t, refresh(g.TokenString, "client_id", "locked")).want(t, 401, "invalid_client")
	secret := s.newSecret(t, acme, "locked")
	s.token(t, refresh(g.TokenString), basic("locked", secret)).want(t, 200, "")
}

// R9: every status has a JSON body with `error` (RFC 6749, section 5.2).
func TestR09EveryStatusHasAnErrorInItsBody(t *testing.T) {
	endpoints := []string{"token", "revoke", "introspect"}
	each := func(t *testing.T, s *service, status int, code string, options ...option) {
		t.Helper()
		for _, place := range places {
			for _, e := range endpoints {
				a := s.do(t, "POST", place+"/oauth2/"+e, options...)
				if a.status != status || a.text("error") != code {
					t.Errorf("%s/oauth2/%s: got %d %s, want %d %q", place, e, a.status, a.body, status, code)
				}
				if status == 503 || status == 429 {
					if a.header.Get("Retry-After") == "" {
						t.Errorf("%s/oauth2/%s: %d without Retry-After", place, e, status)
					}
				}
			}
		}
	}
	s := newService(t)
	g := s.login(t, acme, "backend")
	text := g.TokenString.Reveal()
	valid := []option{
		form("grant_type", "refresh_token", "refresh_token", text, "token", text),
		basic("backend", s.secrets["acme backend"]),
	}
	each(t, s, 400, "invalid_request", form("x", "y"), basic("backend", s.secrets["acme backend"]))
	each(t, s, 401, "invalid_client", form("grant_type", "refresh_token", "refresh_token", text, "token", text),
		basic("backend", strings.Repeat("wrong", 8)))
	each(t, s, 413, "invalid_request", form("x", strings.Repeat("y", 40_000)))
	each(t, s, 415, "invalid_request", raw("application/json", `{"token":"x"}`))
	s.store.breakWith(domain.ErrUnavailable, false)
	each(t, s, 503, "temporarily_unavailable", valid...)
	s.store.breakWith(errors.New("a bug"), false)
	each(t, s, 503, "temporarily_unavailable", valid...) // an operational error of a port
	s.store.breakWith(nil, true)
	each(t, s, 500, "server_error", valid...)
	s.store.breakWith(nil, false)

	for _, place := range places {
		for _, e := range endpoints {
			a := s.do(t, "GET", place+"/oauth2/"+e)
			if a.want(t, 405, "invalid_request"); !strings.Contains(a.header.Get("Allow"), "POST") {
				t.Errorf("Allow: got %q", a.header.Get("Allow"))
			}
		}
		s.do(t, "POST", place+"/oauth2/nothing", form("x", "y")).want(t, 404, "invalid_request")
	}
	s.api.RootTenant = ""
	for _, e := range endpoints {
		s.do(t, "POST", "/oauth2/"+e, valid...).want(t, 404, "invalid_request")
	}
	s.api.RootTenant = acme
	for _, e := range endpoints {
		s.do(t, "POST", "/oauth2/"+e, append(valid, header("X-Tenant-Id", globex))...).want(t, 404, "invalid_request")
		s.do(t, "POST", "/t/acme/oauth2/"+e, append(valid, header("X-Tenant-Id", globex))...).
			want(t, 400, "invalid_request")
	}

	s.options.Guard = web.NewGuard(web.RateLimits{Address: 1}, nil, s.clock, nil)
	s.mount(t)
	for range 10 {
		s.do(t, "POST", "/oauth2/revoke", form("token", "x"))
	}
	each(t, s, 429, "temporarily_unavailable", form("grant_type", "refresh_token", "client_id", "spa",
		"refresh_token", "x", "token", "x"))
}

// R10: parallel calls with one token get one answer, and a retry gets the same bytes (RFC 6749, section 6; RFC 9700,
// section 4.14).
func TestR10ParallelCallsGetOneAnswer(t *testing.T) {
	s := newService(t)
	for app, client := range map[string]option{
		"spa": basic("spa", ""), "backend": basic("backend", s.secrets["acme backend"]),
	} {
		g := s.login(t, acme, app, "orders:read", "orders:write")
		pairs := []string{"scope", "orders:write", "client_id", app}
		bodies := make([]string, 30)
		var all sync.WaitGroup
		for i := range bodies {
			all.Go(func() {
				a := s.token(t, client, refresh(g.TokenString, pairs...))
				bodies[i] = string(a.body)
			})
		}
		all.Wait()
		for _, body := range bodies {
			if body != bodies[0] || !strings.Contains(body, "access_token") {
				t.Fatalf("got %s and %s", bodies[0], body)
			}
		}
	}
}

// R20: a refresh token may be exchanged with the burst of the JSON API, and then is 429 (RFC 6585, section 4).
func TestR20TheBurstOfARefreshTokenIsKept(t *testing.T) {
	s := newService(t)
	s.options.Guard = web.NewGuard(web.RateLimits{RefreshToken: 5}, nil, s.clock, nil)
	s.mount(t)
	g := s.login(t, acme, "spa")
	for i := range 50 {
		if a := s.token(t, refresh(g.TokenString, "client_id", "spa")); a.status != 200 {
			t.Fatalf("exchange %d: got %d %s", i, a.status, a.body)
		}
	}
	a := s.token(t, refresh(g.TokenString, "client_id", "spa")).want(t, 429, "temporarily_unavailable")
	if a.text("refreshd_code") != "[tooMany]refreshToken" || a.header.Get("Retry-After") == "" {
		t.Errorf("got %v %s", a.header, a.body)
	}
}

// Guesses cost what they cost in the JSON API, and keep no genuine token out. A wrong secret is a guess, also beside a
// genuine token.
func TestGuessesCostTheirAddress(t *testing.T) {
	for name, guess := range map[string]func(s *service, g usecase.Grant) []option{
		"of a token": func(s *service, _ usecase.Grant) []option {
			return []option{form("grant_type", "refresh_token", "refresh_token", "rt_guess", "client_id", "spa")}
		},
		"of a secret": func(s *service, g usecase.Grant) []option {
			return []option{refresh(g.TokenString), basic("backend", strings.Repeat("guess", 8))}
		},
		"of a secret in the body": func(s *service, g usecase.Grant) []option {
			return []option{refresh(g.TokenString, "client_id", "backend", "client_secret", strings.Repeat("guess", 8))}
		},
		"of a subject token": func(*service, usecase.Grant) []option {
			return []option{exchangeOf(domain.NewSecret("rt_guess"), "client_id", "spa")}
		},
		"of an actor token": func(s *service, g usecase.Grant) []option {
			return []option{exchangeOf(g.TokenString, actorPairs(domain.NewSecret("a.b.c"))...), s.asBackend()}
		},
		"of a scope": func(s *service, g usecase.Grant) []option {
			return []option{refresh(g.TokenString, "scope", "admin"), basic("backend", s.secrets["acme backend"])}
		},
		"of an audience": func(s *service, g usecase.Grant) []option {
			return []option{refresh(g.TokenString, "resource", "admin"), basic("backend", s.secrets["acme backend"])}
		},
	} {
		s := newService(t)
		s.options.Guard = web.NewGuard(web.RateLimits{Address: 10, RefreshToken: 5}, nil, s.clock, nil) // a burst of 100
		s.mount(t)
		g := s.login(t, acme, "backend")
		guesses := 0
		for ; guesses < 200; guesses++ {
			if a := s.token(t, guess(s, g)...); a.status == 429 {
				break
			}
		}
		if (name == "of a token" || name == "of a subject token") && guesses != 10 || guesses > 110 {
			t.Errorf("%s: %d before the limit", name, guesses)
		}
		s.store.took()
		s.token(t, guess(s, g)...).want(t, 429, "temporarily_unavailable")
		if calls := s.store.took(); len(calls) > 0 {
			t.Errorf("%s: got the calls %v", name, calls)
		}
		other := s.login(t, acme, "backend")
		s.token(t, refresh(other.TokenString), basic("backend", s.secrets["acme backend"])).want(t, 200, "")
	}
}

// An application may ask for an access token for one of its audiences (RFC 8707, section 2).
func TestAudiences(t *testing.T) {
	s := newService(t)
	secret := s.secrets["acme backend"]
	for name, test := range map[string]struct {
		pairs []string
		want  string
	}{
		"none":             {nil, "backend"},
		"resource":         {[]string{"resource", "https://api.example.com"}, "https://api.example.com"},
		"audience":         {[]string{"audience", "orders"}, "orders"},
		"both":             {[]string{"resource", "orders", "audience", "https://api.example.com"}, "orders"},
		"the application":  {[]string{"resource", "backend"}, "backend"},
		"and fewer scopes": {[]string{"resource", "orders", "scope", "orders:read"}, "orders"},
	} {
		g := s.login(t, acme, "backend", "orders:read", "orders:write")
		a := s.token(t, refresh(g.TokenString, test.pairs...), basic("backend", secret)).want(t, 200, "")
		claims := a.claims(t)
		if claims["aud"] != test.want || claims["client_id"] != "backend" {
			t.Errorf("%s: got aud %v and client_id %v, want aud %s", name, claims["aud"], claims["client_id"], test.want)
		}
	}
	g := s.login(t, acme, "backend")
	s.store.took()
	s.token(t, refresh(g.TokenString, "resource", "https://elsewhere.example"), basic("backend", secret)).
		want(t, 400, "invalid_target")
	if calls := s.store.took(); calls["Advance"] > 0 || calls["Application"] != 1 {
		t.Errorf("another audience: got the calls %v", calls)
	}
	// An application without audiences ignores both. An unknown client is told that it is unknown.
	public := s.login(t, acme, "spa")
	a := s.token(t, refresh(public.TokenString, "client_id", "spa", "resource", "https://any.example"))
	if a.want(t, 200, ""); a.claims(t)["aud"] != "spa" {
		t.Errorf("aud: got %v", a.claims(t)["aud"])
	}
	s.token(t, refresh(public.TokenString, "client_id", "nobody", "resource", "x")).want(t, 401, "invalid_client")
	s.client(t, acme, "spa", func(c *domain.Client) { c.Audiences = []string{"orders"} })
	more := s.login(t, acme, "spa")
	a = s.token(t, refresh(more.TokenString, "client_id", "spa", "resource", "orders")).want(t, 200, "")
	if a.claims(t)["aud"] != "orders" {
		t.Errorf("aud: got %v", a.claims(t)["aud"])
	}
	s.token(t, refresh(more.TokenString, "client_id", "spa", "resource", "other")).want(t, 400, "invalid_target")
}

// A session that is bound to a key needs a proof of that key (RFC 9449, section 5).
func TestABoundSessionNeedsAProof(t *testing.T) {
	s := newService(t)
	g, err := s.issue.Do(context.Background(), usecase.IssueInput{
		TenantID: acme, ApplicationID: "spa", UserID: "ada", Binding: "thumbprint",
	})
	if err != nil {
		t.Fatal(err)
	}
	checks.Secrets.Add(g.TokenString.Reveal())
	a := s.token(t, refresh(g.TokenString, "client_id", "spa")).want(t, 400, "invalid_dpop_proof")
	if a.text("refreshd_code") != "[unproved]refreshToken" {
		t.Errorf("got %s", a.body)
	}
}
