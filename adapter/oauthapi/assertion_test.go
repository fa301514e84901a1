package oauthapi_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/dpop"
)

const (
	acmeIssuer = "https://auth.acme.example"
	jwtBearer  = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

// parts changes header and claims of an assertion before it is signed.
type parts = func(header, claims map[string]any)

// claim sets a claim, or removes it if value is nil.
func claim(name string, value any) parts {
	return func(_, claims map[string]any) {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
}

// param sets a header parameter, or removes it if value is nil.
func param(name string, value any) parts {
	return func(header, _ map[string]any) {
		if header[name] = value; value == nil {
			delete(header, name)
		}
	}
}

// keyClient gives an application of acme a key, in place of its secrets.
func (s *service) keyClient(t testing.TB, app string) dpop.Key {
	t.Helper()
	key := dpop.NewKey(t)
	s.client(t, acme, app, func(c *domain.Client) { c.Secrets, c.Keys = nil, key.Set(t) })
	return key
}

// signed returns an assertion of acme's spa.
func (s *service) signed(t testing.TB, key dpop.Key, change ...parts) string {
	t.Helper()
	text := key.Assertion(t, "spa", acmeIssuer, s.clock(), change...)
	checks.Secrets.Add(text)
	return text
}

// asserting returns the parameters of an assertion.
func asserting(assertion string, more ...string) []string {
	return append([]string{"client_assertion_type", jwtBearer, "client_assertion", assertion}, more...)
}

// encoded returns a JWS of that header and payload with that signature.
func encoded(t testing.TB, header, payload map[string]any, sign func(signed string) []byte) string {
	t.Helper()
	var segments []string
	for _, part := range []map[string]any{header, payload} {
		text, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		segments = append(segments, base64.RawURLEncoding.EncodeToString(text))
	}
	signed := strings.Join(segments, ".")
	return signed + "." + base64.RawURLEncoding.EncodeToString(sign(signed))
}

// protocolCase is a request with an assertion, and the section that says whether it authenticates the client.
type protocolCase struct {
	section, what string
	assertion     string
	more          []string // other parameters
}

func (s *service) acceptedAssertions(t testing.TB, key dpop.Key) []protocolCase {
	at := func(d time.Duration) int64 { return s.clock().Add(d).Unix() }
	a := func(change ...parts) string { return s.signed(t, key, change...) }
	return []protocolCase{
		{"RFC 7523, section 3, item 3", "the issuer as aud", a(), nil},
		{"RFC 7523, section 3, item 3", "the token endpoint as aud", a(claim("aud", acmeIssuer+"/oauth2/token")), nil},
		{"RFC 7523, section 3, item 3", "that of the public URL as aud", a(claim("aud", tokenURL)), nil},
		{"RFC 7523, section 3, item 3", "that at the root as aud", a(claim("aud", publicURL+"/oauth2/token")), nil},
		{"RFC 7519, section 4.1.3", "a list with the issuer as aud", a(claim("aud", []string{"x", acmeIssuer})), nil},
		{"RFC 7521, section 4.2", "client_id beside it", a(), []string{"client_id", "spa"}},
		{"RFC 7515, section 4.1.4", "without kid", a(param("kid", nil)), nil},
		{"RFC 7519, section 5.1", "without typ", a(param("typ", nil)), nil},
		{"RFC 7519, section 5.1", "a typ in lower case", a(param("typ", "jwt")), nil},
		{"RFC 8725, section 3.11", "a typ of its own", a(param("typ", "client-authentication+jwt")), nil},
		{"RFC 7515, section 4", "an unknown parameter in the header", a(param("x", 1)), nil},
		{"RFC 7523, section 3, item 8", "an unknown claim", a(claim("x", []any{1, nil})), nil},
		{"RFC 7523, section 3, item 6", "without iat", a(claim("iat", nil)), nil},
		{"RFC 7523, section 3, item 5", "nbf now", a(claim("nbf", at(0))), nil},
		{"RFC 7523, section 3, item 5", "nbf, by a clock that is ahead", a(claim("nbf", at(50*time.Second))), nil},
		{"RFC 7523, section 3, item 4", "exp, by a clock that is behind", a(claim("exp", at(-50*time.Second))), nil},
		{"RFC 7523, section 3, item 4", "exp ten minutes ahead", a(claim("exp", at(10*time.Minute))), nil},
		{"RFC 7519, section 2", "exp with a fraction", a(claim("exp", float64(at(time.Minute))+0.5)), nil},
		{"RFC 7523, section 3, item 7", "the longest jti", a(claim("jti", strings.Repeat("j", 256))), nil},
	}
}

func (s *service) refusedAssertions(t testing.TB, key dpop.Key, accessToken string) []protocolCase {
	at := func(d time.Duration) int64 { return s.clock().Add(d).Unix() }
	a := func(change ...parts) string { return s.signed(t, key, change...) }
	good := a()
	claims := map[string]any{
		"iss": "spa", "sub": "spa", "aud": acmeIssuer, "jti": "j", "iat": at(0), "exp": at(time.Minute),
	}
	mac := func(secret string) func(string) []byte {
		return func(signed string) []byte {
			h := hmac.New(sha256.New, []byte(secret))
			h.Write([]byte(signed))
			return h.Sum(nil)
		}
	}
	none := func(string) []byte { return nil }
	hs256, unsigned := map[string]any{"alg": "HS256", "kid": dpop.KeyID}, map[string]any{"alg": "none"}
	var set struct{ Keys []map[string]any }
	if err := json.Unmarshal([]byte(key.Set(t)), &set); err != nil {
		t.Fatal(err)
	}
	x, _ := set.Keys[0]["x"].(string)
	own := dpop.NewKey(t)
	var owns struct{ Keys []map[string]any }
	if err := json.Unmarshal([]byte(own.Set(t)), &owns); err != nil {
		t.Fatal(err)
	}
	embedded := s.signed(t, own, param("jwk", owns.Keys[0]))
	changed := strings.Split(good, ".")
	other := maps.Clone(claims)
	other["jti"] = "k"
	payload, err := json.Marshal(other)
	if err != nil {
		t.Fatal(err)
	}
	changed[1] = base64.RawURLEncoding.EncodeToString(payload)
	first := strings.Split(good, ".")
	first[2] = "A" + first[2][1:]
	if first[2] == strings.Split(good, ".")[2] {
		first[2] = "B" + first[2][1:]
	}
	return []protocolCase{
		{"RFC 7523, section 3, item 1", "iss of another client", a(claim("iss", "backend")), nil},
		{"RFC 7523, section 3, item 1", "without iss", a(claim("iss", nil)), nil},
		{"RFC 7523, section 3, item 1", "the service's own iss", a(claim("iss", acmeIssuer)), nil},
		{"RFC 7523, section 3, item 2", "sub of another client", a(claim("sub", "backend")), nil},
		{"RFC 7523, section 3, item 2", "sub of a user", a(claim("sub", "ada")), nil},
		{"RFC 7523, section 3, item 2", "without sub", a(claim("sub", nil)), nil},
		{"RFC 7519, section 4.1.2", "sub that is no text", a(claim("sub", 1)), nil},
		{"RFC 7523, section 3, item 3", "without aud", a(claim("aud", nil)), nil},
		{"RFC 7523, section 3, item 3", "aud of another server", a(claim("aud", "https://other.example")), nil},
		{"RFC 7523, section 3, item 3", "aud of another tenant", a(claim("aud", publicURL+"/t/globex")), nil},
		{"RFC 7523, section 3, item 3", "the client as aud", a(claim("aud", "spa")), nil},
		{"RFC 7523, section 3, item 3", "an empty aud", a(claim("aud", "")), nil},
		{"RFC 7519, section 4.1.3", "a list without the issuer as aud", a(claim("aud", []string{"x", "y"})), nil},
		{"RFC 7519, section 4.1.3", "an empty list as aud", a(claim("aud", []string{})), nil},
		{"RFC 7519, section 4.1.3", "a list as aud whose second is no text", a(claim("aud", []any{acmeIssuer, 1})), nil},
		{"RFC 3986, section 6.2.1", "aud that is longer than the issuer", a(claim("aud", acmeIssuer+"/")), nil},
		{"RFC 3986, section 6.2.1", "aud in upper case", a(claim("aud", strings.ToUpper(acmeIssuer))), nil},
		{"RFC 7523, section 3, item 4", "without exp", a(claim("exp", nil)), nil},
		{"RFC 7523, section 3, item 4", "expired", a(claim("exp", at(-61*time.Second))), nil},
		{"RFC 7523, section 3, item 4", "exp too far ahead", a(claim("exp", at(12*time.Minute))), nil},
		{"RFC 7519, section 4.1.4", "exp as text", a(claim("exp", "2030-01-01T00:00:00Z")), nil},
		{"RFC 7519, section 4.1.4", "exp without bounds", a(claim("exp", 1e300)), nil},
		{"RFC 7523, section 3, item 5", "nbf ahead", a(claim("nbf", at(2*time.Minute))), nil},
		{"RFC 7523, section 3, item 6", "iat ahead", a(claim("iat", at(2*time.Minute))), nil},
		{"RFC 7523, section 3, item 7", "without jti", a(claim("jti", nil)), nil},
		{"RFC 7523, section 3, item 7", "an empty jti", a(claim("jti", "")), nil},
		{"RFC 7523, section 3, item 7", "a jti that is too long", a(claim("jti", strings.Repeat("j", 257))), nil},
		{"RFC 7519, section 4.1.7", "a jti that is no text", a(claim("jti", 1)), nil},
		{"RFC 7523, section 3, item 9", "alg none", encoded(t, unsigned, claims, none), nil},
		{"RFC 8725, section 3.2", "alg none with a signature", a(param("alg", "none")), nil},
		{"RFC 8725, section 3.1", "HS256 with the key set as secret", encoded(t, hs256, claims, mac(key.Set(t))), nil},
		{"RFC 8725, section 3.1", "HS256 with the public key as secret", encoded(t, hs256, claims, mac(x)), nil},
		{"RFC 8725, section 3.2", "HS256 with an empty secret", encoded(t, hs256, claims, mac("")), nil},
		{"RFC 7515, section 4.1.1", "without alg", a(param("alg", nil)), nil},
		{"RFC 8725, section 3.1", "alg of another curve", a(param("alg", "ES384")), nil},
		{"RFC 8725, section 3.1", "alg of another key type", a(param("alg", "RS256")), nil},
		{"RFC 7515, section 4.1.4", "kid of no key", a(param("kid", "other")), nil},
		{"RFC 7515, section 4.1.4", "kid that is no text", a(param("kid", 1)), nil},
		{"RFC 7523, section 3, item 9", "a key that is not registered", s.signed(t, own), nil},
		{"RFC 7515, section 4.1.3", "a key in its own header", embedded, nil},
		{"RFC 7515, section 5.2", "another payload under the signature", strings.Join(changed, "."), nil},
		{"RFC 7515, section 5.2", "another signature", strings.Join(first, "."), nil},
		{"RFC 7515, section 5.2", "without a signature", strings.Join(first[:2], ".") + ".", nil},
		{"RFC 7515, section 7.1", "two segments", strings.Join(first[:2], "."), nil},
		{"RFC 7515, section 7.1", "four segments", good + ".", nil},
		{"RFC 7515, section 2", "segments with padding", good + "=", nil},
		{"RFC 7515, section 4.1.11", "a critical parameter", a(param("crit", []string{"x"})), nil},
		{"RFC 8725, section 3.11", "the typ of a DPoP proof", a(param("typ", "dpop+jwt")), nil},
		{"RFC 8725, section 3.11", "the typ of an access token", a(param("typ", "at+jwt")), nil},
		{"RFC 8725, section 3.11", "an access token of the service", accessToken, nil},
		{"RFC 7521, section 4.2", "client_id of another client", good, []string{"client_id", "backend"}},
		{"RFC 7521, section 4.2", "client_id of no client", good, []string{"client_id", "nobody"}},
		{"RFC 7523, section 2.2", "longer than 8 KiB", a(claim("x", strings.Repeat("x", 8<<10))), nil},
	}
}

// RFC 7523, section 3, and the specifications that it names: which assertions authenticate a client. Each request is
// with a refresh token of its own, at an hour at which its exchange rotates.
func TestAssertionsByTheProtocol(t *testing.T) {
	s := newService(t)
	key := s.keyClient(t, "spa")
	g := s.login(t, acme, "spa")
	tokenString := g.TokenString
	for _, c := range s.acceptedAssertions(t, key) {
		a := s.token(t, refresh(tokenString, asserting(c.assertion, c.more...)...))
		if a.status != 200 || a.text("refresh_token") == "" {
			t.Errorf("%s: %s: got %d %s, want tokens", c.section, c.what, a.status, a.body)
		}
		again := s.login(t, acme, "spa")
		tokenString = again.TokenString
	}
	g = s.login(t, acme, "spa")
	before := s.stored(t, g)
	for _, c := range s.refusedAssertions(t, key, g.AccessToken.Reveal()) {
		a := s.token(t, refresh(g.TokenString, asserting(c.assertion, c.more...)...))
		if a.status != 401 || a.text("error") != "invalid_client" {
			t.Errorf("%s: %s: got %d %s, want invalid_client", c.section, c.what, a.status, a.body)
		}
		calls := s.store.took()
		if calls["Once"] > 0 || calls["Advance"]+calls["Swap"]+calls["Use"] > 0 {
			t.Errorf("%s: %s: a refused assertion wrote: %v", c.section, c.what, calls)
		}
	}
	if diff := cmp.Diff(before, s.stored(t, g)); diff != "" {
		t.Errorf("a refusal changed the session (-before +after):\n%s", diff)
	}
	s.token(t, refresh(g.TokenString, asserting(s.signed(t, key))...)).want(t, 200, "")
}

// RFC 7521, section 4.2.1, and RFC 6749, sections 2.3 and 5.2: a request that does not say which assertion it has is
// invalid_client, and one that authenticates in two ways is invalid_request. None of them changes anything.
func TestAnAssertionIsTheOnlyProofOfARequest(t *testing.T) {
	s := newService(t)
	key := s.keyClient(t, "spa")
	g := s.login(t, acme, "spa")
	before := s.stored(t, g)
	assertion := s.signed(t, key)
	const saml = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"
	for what, c := range map[string]struct {
		status  int
		code    string
		options []option
	}{
		"the type of SAML": {401, "invalid_client", []option{
			refresh(g.TokenString, "client_assertion_type", saml, "client_assertion", assertion)}},
		"the type in upper case": {401, "invalid_client", []option{
			refresh(g.TokenString, "client_assertion_type", strings.ToUpper(jwtBearer), "client_assertion", assertion)}},
		"no type":      {401, "invalid_client", []option{refresh(g.TokenString, "client_assertion", assertion)}},
		"no assertion": {401, "invalid_client", []option{refresh(g.TokenString, "client_assertion_type", jwtBearer)}},
		"an empty assertion": {401, "invalid_client", []option{
			refresh(g.TokenString, "client_assertion_type", jwtBearer, "client_assertion", "", "client_id", "spa")}},
		"no proof": {401, "invalid_client", []option{refresh(g.TokenString, "client_id", "spa")}},
		"a secret beside it": {400, "invalid_request", []option{
			refresh(g.TokenString, asserting(assertion, "client_secret", strings.Repeat("s", 40))...)}},
		"Basic beside it": {400, "invalid_request", []option{
			refresh(g.TokenString, asserting(assertion)...), basic("spa", strings.Repeat("s", 40))}},
		"Basic without a password beside it": {400, "invalid_request", []option{
			refresh(g.TokenString, asserting(assertion)...), basic("spa", "")}},
		"two assertions": {400, "invalid_request", []option{
			refresh(g.TokenString, asserting(assertion, "client_assertion", assertion)...)}},
	} {
		a := s.token(t, c.options...)
		if a.status != c.status || a.text("error") != c.code {
			t.Errorf("%s: got %d %s, want %d %s", what, a.status, a.body, c.status, c.code)
		}
	}
	if diff := cmp.Diff(before, s.stored(t, g)); diff != "" {
		t.Errorf("a refusal changed the session (-before +after):\n%s", diff)
	}
	s.token(t, refresh(g.TokenString, asserting(assertion)...)).want(t, 200, "") // it was not used up
}

// RFC 7523, section 3, item 7: an assertion serves once, at whichever endpoint. A client that repeats its request with
// a new one gets the same response; a copy of the first one changes nothing.
func TestAnAssertionServesOnce(t *testing.T) {
	s := newService(t)
	key := s.keyClient(t, "spa")
	g := s.login(t, acme, "spa")
	used := s.signed(t, key)
	first := s.token(t, refresh(g.TokenString, asserting(used)...)).want(t, 200, "")
	after := s.stored(t, g)
	current := domain.NewSecret(first.text("refresh_token"))
	held := func(assertion string) option { return form(asserting(assertion, "token", current.Reveal())...) }
	for what, copied := range map[string]func() *answer{
		"the same request":  func() *answer { return s.token(t, refresh(g.TokenString, asserting(used)...)) },
		"the next string":   func() *answer { return s.token(t, refresh(current, asserting(used)...)) },
		"at the root":       func() *answer { return s.do(t, "POST", "/oauth2/token", refresh(current, asserting(used)...)) },
		"for revocation":    func() *answer { return s.do(t, "POST", "/t/acme/oauth2/revoke", held(used)) },
		"for introspection": func() *answer { return s.do(t, "POST", "/t/acme/oauth2/introspect", held(used)) },
	} {
		if a := copied(); a.status != 401 || a.text("error") != "invalid_client" {
			t.Errorf("%s: got %d %s, want invalid_client", what, a.status, a.body)
		}
	}
	if diff := cmp.Diff(after, s.stored(t, g)); diff != "" {
		t.Errorf("a copy changed the session (-before +after):\n%s", diff)
	}
	again := s.token(t, refresh(g.TokenString, asserting(s.signed(t, key))...)).want(t, 200, "")
	if again.text("refresh_token") != first.text("refresh_token") ||
		again.text("access_token") != first.text("access_token") {
		t.Error("a repeated request with a new assertion got other tokens")
	}
	inspected := s.do(t, "POST", "/t/acme/oauth2/introspect", held(s.signed(t, key))).want(t, 200, "")
	if inspected.members["active"] != true {
		t.Errorf("introspected: got %s", inspected.body)
	}
	s.do(t, "POST", "/t/acme/oauth2/revoke", held(s.signed(t, key))).want(t, 200, "")
	if s.stored(t, g).RevokedAt.IsZero() {
		t.Error("the session was not revoked")
	}
}

// Of concurrent copies of a request one is answered (RFC 7523, section 3, item 7).
func TestOfConcurrentCopiesOfAnAssertionOneServes(t *testing.T) {
	s := newService(t)
	key := s.keyClient(t, "spa")
	g := s.login(t, acme, "spa")
	assertion := s.signed(t, key)
	var answered, refused atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			switch a := s.token(t, refresh(g.TokenString, asserting(assertion)...)); {
			case a.status == 200:
				answered.Add(1)
			case a.status == 401:
				refused.Add(1)
			}
		})
	}
	all.Wait()
	if answered.Load() != 1 || refused.Load() != 7 {
		t.Errorf("%d requests were answered and %d refused, want 1 and 7", answered.Load(), refused.Load())
	}
}

// A client with a key must authenticate (RFC 6749, section 6). Without it, and with the assertion of another client, no
// token string changes anything: neither the current one nor an old one, whose use would be a replay.
func TestWithoutTheAssertionNoTokenStringChangesAnything(t *testing.T) {
	s := newService(t)
	key, otherKey := s.keyClient(t, "spa"), s.keyClient(t, "strict")
	g := s.login(t, acme, "spa")
	all := []domain.Secret{g.TokenString}
	for range 3 {
		s.wait(time.Hour)
		a := s.token(t, refresh(all[len(all)-1], asserting(s.signed(t, key))...)).want(t, 200, "")
		all = append(all, domain.NewSecret(a.text("refresh_token")))
	}
	s.wait(time.Hour)
	before := s.stored(t, g)
	for i, tokenString := range all {
		s.token(t, refresh(tokenString, "client_id", "spa")).want(t, 401, "invalid_client")
		s.token(t, refresh(tokenString), basic("spa", "")).want(t, 401, "invalid_client")
		other := otherKey.Assertion(t, "strict", acmeIssuer, s.clock())
		s.token(t, refresh(tokenString, asserting(other)...)).want(t, 400, "invalid_grant")
		s.do(t, "POST", "/t/acme/oauth2/revoke", form("token", tokenString.Reveal(), "client_id", "spa")).
			want(t, 401, "invalid_client")
		if diff := cmp.Diff(before, s.stored(t, g)); diff != "" {
			t.Errorf("generation %d: a refusal changed the session (-before +after):\n%s", i+1, diff)
		}
	}
	s.token(t, refresh(all[0], asserting(s.signed(t, key))...)).want(t, 400, "invalid_grant")
	if s.stored(t, g).RevokedAt.IsZero() {
		t.Error("a replay by the client itself did not end the session")
	}
}

// The assertion counts after the token string: what is refused before it has not used the assertion up.
func TestAnAssertionIsCheckedAfterTheTokenStringAndTheLimit(t *testing.T) {
	s := newService(t)
	s.options.Guard = web.NewGuard(web.RateLimits{RefreshToken: 5}, nil, s.clock, nil)
	s.mount(t)
	key := s.keyClient(t, "spa")
	g := s.login(t, acme, "spa")
	for range 50 { // its burst
		s.token(t, refresh(g.TokenString, asserting(s.signed(t, key))...)).want(t, 200, "")
	}
	s.store.took()
	assertion := s.signed(t, key)
	s.token(t, refresh(g.TokenString, asserting(assertion)...)).want(t, 429, "temporarily_unavailable")
	if calls := s.store.took(); len(calls) > 0 {
		t.Errorf("a request above the limit called the store: %v", calls)
	}
	other := s.login(t, acme, "spa")
	s.token(t, refresh(other.TokenString, asserting(assertion)...)).want(t, 200, "")
	if calls := s.store.took(); calls["Once"] != 1 || calls["Advance"] != 1 || calls["Application"] != 1 {
		t.Errorf("an exchange called the store: %v, want one Application, Once and Advance", calls)
	}
}

// If it cannot be said whether an assertion was used, the request may be repeated, with a new one (RFC 6749, section
// 5.2, has no error for it).
func TestWithoutAStoreAnAssertionIsNoRefusal(t *testing.T) {
	s := newService(t)
	key := s.keyClient(t, "spa")
	g := s.login(t, acme, "spa")
	before := s.stored(t, g)
	s.store.breakWith(domain.ErrUnavailable, false)
	s.token(t, refresh(g.TokenString, asserting(s.signed(t, key))...)).want(t, 503, "temporarily_unavailable")
	s.store.breakWith(nil, false)
	if diff := cmp.Diff(before, s.stored(t, g)); diff != "" {
		t.Errorf("it changed the session (-before +after):\n%s", diff)
	}
	s.token(t, refresh(g.TokenString, asserting(s.signed(t, key))...)).want(t, 200, "")
}

// RFC 6454, section 7: a page of the client's origins may use it, also if the assertion alone names the client.
func TestAPageSendsAnAssertionFromItsOriginsOnly(t *testing.T) {
	s := newService(t)
	key := s.keyClient(t, "spa")
	s.client(t, acme, "spa", func(c *domain.Client) { c.Origins = []string{"https://shop.example"} })
	g := s.login(t, acme, "spa")
	s.token(t, refresh(g.TokenString, asserting(s.signed(t, key))...), header("Origin", "https://evil.example")).
		want(t, 400, "invalid_request")
	s.token(t, refresh(g.TokenString, asserting(s.signed(t, key))...), header("Origin", "https://shop.example")).
		want(t, 200, "")
}

// A client that moves from a secret to a key uses either, until the secret is ended.
func TestAClientMovesFromASecretToAKey(t *testing.T) {
	s := newService(t)
	key := dpop.NewKey(t)
	s.client(t, acme, "backend", func(c *domain.Client) { c.Keys = key.Set(t) })
	assertion := func() []string { return asserting(key.Assertion(t, "backend", acmeIssuer, s.clock())) }
	g := s.login(t, acme, "backend")
	s.token(t, refresh(g.TokenString), basic("backend", s.secrets["acme backend"])).want(t, 200, "")
	g = s.login(t, acme, "backend")
	s.token(t, refresh(g.TokenString, assertion()...)).want(t, 200, "")
	s.client(t, acme, "backend", func(c *domain.Client) { c.Secrets = nil })
	g = s.login(t, acme, "backend")
	s.token(t, refresh(g.TokenString), basic("backend", s.secrets["acme backend"])).want(t, 401, "invalid_client")
	s.token(t, refresh(g.TokenString, assertion()...)).want(t, 200, "")
}
