package oauthapi_test

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/dpop"
	"github.com/refreshd/refreshd/usecase"
)

const (
	typeOfAccess  = "urn:ietf:params:oauth:token-type:access_token"
	typeOfRefresh = "urn:ietf:params:oauth:token-type:refresh_token"
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"
	orders        = "https://api.example.com" // an audience of the application backend
)

// exchangePairs are the parameters of a token exchange (RFC 8693, section 2.1). A later pair replaces an earlier one of
// its name; one without a value removes it.
func exchangePairs(subject domain.Secret, pairs ...string) []string {
	all := []string{
		"grant_type", exchangeGrant, "subject_token", subject.Reveal(), "subject_token_type", typeOfRefresh,
	}
	for i := 0; i < len(pairs); i += 2 {
		if at := slices.Index(all, pairs[i]); at >= 0 && at%2 == 0 {
			all = slices.Delete(all, at, at+2)
		}
		if pairs[i+1] != "" {
			all = append(all, pairs[i], pairs[i+1])
		}
	}
	return all
}

func exchangeOf(subject domain.Secret, pairs ...string) option {
	return form(exchangePairs(subject, pairs...)...)
}

// actorPairs are those of an exchange with an actor token.
func actorPairs(actor domain.Secret, pairs ...string) []string {
	return append([]string{"actor_token", actor.Reveal(), "actor_token_type", typeOfAccess}, pairs...)
}

// loginAs issues a refresh token of a user, with the key that it is bound to, if any.
func (s *service) loginAs(t testing.TB, tenant, app, user, binding string) usecase.Grant {
	t.Helper()
	g, err := s.issue.Do(t.Context(), usecase.IssueInput{
		TenantID: tenant, ApplicationID: app, UserID: user, Binding: binding, Scopes: []string{"orders:read", "orders:write"},
	})
	if err != nil {
		t.Fatal(err)
	}
	checks.Secrets.Add(g.TokenString.Reveal())
	checks.Secrets.Add(g.AccessToken.Reveal())
	s.store.took()
	return g
}

// asBackend authenticates the application backend of acme.
func (s *service) asBackend() option { return basic("backend", s.secrets["acme backend"]) }

// exchanged sends a token exchange of the application backend that must succeed.
func (s *service) exchanged(t testing.TB, subject domain.Secret, pairs ...string) *answer {
	t.Helper()
	return s.token(t, exchangeOf(subject, pairs...), s.asBackend()).want(t, 200, "")
}

// RFC 8693, section 2.2.1: the response has the type of the token that was issued, and the next refresh token. The
// refresh token rotates as in a refresh, and an exchange that asks for nothing more costs one call of the store too.
func TestATokenExchangeRotatesTheRefreshToken(t *testing.T) {
	s := newService(t)
	for _, place := range places {
		g := s.login(t, acme, "spa", "orders:read")
		a := s.do(t, "POST", place+"/oauth2/token", exchangeOf(g.TokenString, "client_id", "spa")).want(t, 200, "")
		if calls := s.store.took(); !maps.Equal(calls, map[string]int{"Advance": 1}) {
			t.Errorf("got the calls %v", calls)
		}
		want := []string{"access_token", "expires_in", "issued_token_type", "refresh_token", "scope", "token_type"}
		if names := slices.Sorted(maps.Keys(a.members)); !slices.Equal(names, want) {
			t.Errorf("got the members %v, want %v", names, want)
		}
		if a.text("issued_token_type") != typeOfAccess || a.text("token_type") != "Bearer" ||
			a.members["expires_in"] != 900.0 || a.text("scope") != "orders:read" || bytes.Contains(a.body, []byte("null")) {
			t.Errorf("got %s", a.body)
		}
		if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Refreshd-Outcome") != "rotated" {
			t.Errorf("got the header %v", a.header)
		}
		next := domain.NewSecret(a.text("refresh_token"))
		if next.Equal(g.TokenString) || s.stored(t, g).Generation != 2 {
			t.Errorf("the refresh token did not rotate: generation %d", s.stored(t, g).Generation)
		}
		s.wait(time.Hour)
		s.token(t, refresh(next, "client_id", "spa")).want(t, 200, "") // either grant takes it
	}
}

// RFC 8693, sections 2.1 and 2.2.1: the access token is for the audience, and has the scopes, that the request names.
// The session keeps its own.
func TestATokenExchangeNarrowsTheAccessToken(t *testing.T) {
	s := newService(t)
	const all = "orders:read orders:write"
	for name, test := range map[string]struct {
		more       string // encoded, behind the rest
		pairs      []string
		aud, scope string
	}{
		"neither":                {"", nil, "backend", all},
		"audience":               {"", []string{"audience", "orders"}, "orders", all},
		"resource":               {"", []string{"resource", orders}, orders, all},
		"scope":                  {"", []string{"scope", "orders:read"}, "backend", "orders:read"},
		"scope and audience":     {"", []string{"scope", "orders:write", "audience", orders}, orders, "orders:write"},
		"both, the same":         {"", []string{"audience", "orders", "resource", "orders"}, "orders", all},
		"the application itself": {"", []string{"audience", "backend"}, "backend", all},
		"an audience twice":      {"&audience=orders", []string{"audience", "orders"}, "orders", all},
		"a resource twice":       {"&resource=orders", []string{"resource", "orders"}, "orders", all},
		"the type of the answer": {"", []string{"requested_token_type", typeOfAccess}, "backend", all},
		"an unknown parameter":   {"&audience=&foo=1&foo=2", nil, "backend", all},
	} {
		g := s.login(t, acme, "backend", "orders:read", "orders:write")
		body := encode(exchangePairs(g.TokenString, test.pairs...)...) + test.more
		a := s.token(t, raw("application/x-www-form-urlencoded", body), s.asBackend()).want(t, 200, "")
		claims := a.claims(t)
		if claims["aud"] != test.aud || claims["scope"] != test.scope || a.text("scope") != test.scope ||
			claims["client_id"] != "backend" || claims["act"] != nil {
			t.Errorf("%s: got %v, want aud %s and scope %s", name, claims, test.aud, test.scope)
		}
		s.wait(time.Hour)
		next := s.exchanged(t, domain.NewSecret(a.text("refresh_token")))
		if claims := next.claims(t); claims["aud"] != "backend" || claims["scope"] != all {
			t.Errorf("%s: the session became narrower: %v", name, claims)
		}
	}
}

// A refusal of a token exchange has the error of its section, and changes nothing: the refresh token is as good as
// before.
func TestARefusedTokenExchangeChangesNothing(t *testing.T) {
	s := newService(t)
	expired := s.loginAs(t, acme, "backend", "agent", "")
	s.wait(expired.ExpiresIn)
	actor := s.loginAs(t, acme, "backend", "agent", "")
	foreignActor := s.loginAs(t, globex, "backend", "agent", "")
	otherActor := s.loginAs(t, acme, "spa", "agent", "")
	revoked := s.loginAs(t, acme, "backend", "agent", "")
	s.do(t, "POST", "/oauth2/revoke", form("token", revoked.TokenString.Reveal()), s.asBackend()).want(t, 200, "")
	key, stranger := dpop.NewKey(t), dpop.NewKey(t)
	bound := s.loginAs(t, acme, "backend", "agent", key.Thumbprint(t))
	foreign := s.login(t, globex, "backend")
	ended := s.login(t, acme, "backend")
	s.do(t, "POST", "/oauth2/revoke", form("token", ended.TokenString.Reveal()), s.asBackend()).want(t, 200, "")
	long := s.chain(t, domain.MaxTokenActors+1)
	own := s.asBackend()

	with := func(pairs ...string) []string { return pairs }
	by := func(token domain.Secret, pairs ...string) []string { return actorPairs(token, pairs...) }
	for name, test := range map[string]struct {
		section string // of RFC 8693 if it names no other one
		pairs   []string
		client  []option
		status  int
		code    string
		detail  string // refreshd_code
	}{
		"no subject token": {"2.1", with("subject_token", ""), nil, 400, "invalid_request", "[blank]subject_token"},
		"no type of the subject token": {"2.1", with("subject_token_type", ""), nil, 400, "invalid_request",
			"[blank]subject_token_type"},
		"a refresh token as an access token": {"2.2.2", with("subject_token_type", typeOfAccess), nil, 400,
			"invalid_request", "[invalid]subject_token_type"},
		"an id_token": {"2.2.2", with("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"), nil, 400,
			"invalid_request", "[invalid]subject_token_type"},
		"a type in short": {"3", with("subject_token_type", "refresh_token"), nil, 400, "invalid_request",
			"[invalid]subject_token_type"},
		"an access token as a refresh token": {"2.2.2", with("subject_token", actor.AccessToken.Reveal()), nil, 400,
			"invalid_request", "[invalid]refreshToken"},
		"the refresh token of the other grant": {"2.1",
			with("subject_token", "", "refresh_token", actor.TokenString.Reveal()), nil, 400, "invalid_request",
			"[blank]subject_token"},
		"a forged subject token": {"2.2.2", with("subject_token", forged(actor.TokenString).Reveal()), nil, 400,
			"invalid_request", "[invalid]refreshToken"},
		"another tenant's": {"2.2.2", with("subject_token", foreign.TokenString.Reveal()), nil, 400, "invalid_request",
			"[invalid]refreshToken"},
		"another client's": {"2.2.2", with("subject_token", otherActor.TokenString.Reveal()), nil, 400, "invalid_request",
			"[invalid]refreshToken"},
		"a session that has ended": {"2.2.2", with("subject_token", ended.TokenString.Reveal()), nil, 400, "invalid_request",
			"[revoked]refreshToken"},
		"a refresh token is asked for": {"2.1", with("requested_token_type", typeOfRefresh), nil, 400, "invalid_request",
			"[invalid]requested_token_type"},
		"a JWT is asked for": {"3", with("requested_token_type", "urn:ietf:params:oauth:token-type:jwt"), nil, 400,
			"invalid_request", "[invalid]requested_token_type"},
		"another audience": {"2.2.2", with("audience", "https://elsewhere.example"), nil, 400, "invalid_target",
			"[forbidden]resource"},
		"another resource": {"RFC 8707, section 2", with("resource", "https://elsewhere.example"), nil, 400,
			"invalid_target", "[forbidden]resource"},
		"two audiences": {"2.1", with("audience", "orders", "resource", orders), nil, 400, "invalid_target",
			"[tooMany]resource"},
		"a scope that was not granted": {"2.2.2", with("scope", "orders:read admin"), nil, 400, "invalid_scope",
			"[forbidden]scope"},
		"no client": {"RFC 6749, section 3.2.1", nil, []option{}, 400, "invalid_request", "[blank]client_id"},
		"a confidential client without its secret": {"RFC 6749, section 2.3", with("client_id", "backend"), []option{}, 401,
			"invalid_client", ""},
		"a wrong secret": {"RFC 6749, section 2.3.1", nil, []option{basic("backend", wrongSecret)}, 401,
			"invalid_client", ""},
		"an unknown client": {"RFC 6749, section 5.2", with("client_id", "nobody"), []option{}, 401, "invalid_client", ""},
		"a proof that is not valid": {"RFC 9449, section 5", nil, []option{own, header("DPoP", "x")}, 400,
			"invalid_dpop_proof", "[unproved]DPoP"},
		"an actor token without its type": {"2.1", with("actor_token", actor.AccessToken.Reveal()), nil, 400,
			"invalid_request", "[blank]actor_token_type"},
		"the type of an actor token alone": {"2.1", with("actor_token_type", typeOfAccess), nil, 400, "invalid_request",
			"[blank]actor_token"},
		"an actor token of another type": {"2.2.2", by(actor.AccessToken, "actor_token_type",
			"urn:ietf:params:oauth:token-type:id_token"), nil, 400, "invalid_request", "[invalid]actor_token_type"},
		"a refresh token as an actor token": {"2.2.2", by(actor.TokenString), nil, 400, "invalid_request",
			"[invalid]actor_token"},
		"no JWT as an actor token": {"2.2.2", by(domain.NewSecret("agent")), nil, 400, "invalid_request",
			"[invalid]actor_token"},
		"a forged actor token": {"2.2.2", by(forged(actor.AccessToken)), nil, 400, "invalid_request",
			"[invalid]actor_token"},
		"an expired actor token": {"2.2.2", by(expired.AccessToken), nil, 400, "invalid_request", "[invalid]actor_token"},
		"an actor whose session has ended": {"2.2.2", by(revoked.AccessToken), nil, 400, "invalid_request",
			"[invalid]actor_token"},
		"an actor of another tenant": {"2.2.2", by(foreignActor.AccessToken), nil, 400, "invalid_request",
			"[invalid]actor_token"},
		"an actor of another client": {"2.2.2", by(otherActor.AccessToken), nil, 400, "invalid_request",
			"[invalid]actor_token"},
		"an actor without its key": {"RFC 9449, section 6", by(bound.AccessToken), nil, 400, "invalid_request",
			"[unproved]actor_token"},
		"an actor with another key": {"RFC 9449, section 6", by(bound.AccessToken),
			[]option{own, proofFor(t, s, stranger)}, 400, "invalid_request", "[unproved]actor_token"},
		"a chain of actors that is too long": {"4.1", by(long), nil, 400, "invalid_request", "[tooMany]actor_token"},
		"an actor, and another audience": {"2.2.2", by(actor.AccessToken, "audience", "x"), nil, 400, "invalid_target",
			"[forbidden]resource"},
		"an actor, and a wider scope": {"2.2.2", by(actor.AccessToken, "scope", "admin"), nil, 400, "invalid_scope",
			"[forbidden]scope"},
	} {
		t.Run(name, func(t *testing.T) {
			g := s.login(t, acme, "backend", "orders:read")
			before := s.stored(t, g)
			client := test.client
			if client == nil {
				client = []option{own}
			}
			a := s.token(t, append(client, exchangeOf(g.TokenString, test.pairs...))...)
			if a.status != test.status || a.text("error") != test.code || a.text("refreshd_code") != test.detail {
				t.Errorf("section %s: got %d %s, want %d %s %s", test.section, a.status, a.body, test.status, test.code,
					test.detail)
			}
			if a.text("error_description") == "" || a.text("access_token") != "" {
				t.Errorf("got %s", a.body)
			}
			calls := s.store.took()
			if writes := calls["Swap"] + calls["Use"] + calls["Revoke"]; writes > 0 {
				t.Errorf("got the calls %v", calls)
			}
			if diff := cmp.Diff(before, s.stored(t, g)); diff != "" {
				t.Errorf("the refusal changed the session (-before +after):\n%s", diff)
			}
			if next := s.exchanged(t, g.TokenString); next.header.Get("Refreshd-Outcome") != "rotated" {
				t.Errorf("afterwards: %s", next.header.Get("Refreshd-Outcome"))
			}
		})
	}
}

// RFC 6749, section 3.2: a parameter is sent once, except resource (RFC 8707, section 2) and audience (RFC 8693,
// section 2.1), of which several are for several audiences.
func TestAParameterOfATokenExchangeIsSentOnce(t *testing.T) {
	s := newService(t)
	g := s.login(t, acme, "backend")
	for name, test := range map[string][2]string{
		"subject_token": {"invalid_request", "[repeated]subject_token"},
		"actor_token":   {"invalid_request", "[repeated]actor_token"},
		"resource":      {"invalid_target", "[tooMany]resource"},
		"audience":      {"invalid_target", "[tooMany]resource"},
	} {
		for _, body := range []string{
			encode(exchangePairs(g.TokenString, name, "x")...),
			encode("grant_type", "refresh_token", "refresh_token", g.TokenString.Reveal(), name, "x"),
		} {
			twice := raw("application/x-www-form-urlencoded", body+"&"+name+"=y")
			a := s.token(t, twice, s.asBackend()).want(t, 400, test[0])
			if a.text("refreshd_code") != test[1] {
				t.Errorf("%s twice: got %s", name, a.body)
			}
		}
	}
	if calls := s.store.took(); len(calls) > 0 {
		t.Errorf("got the calls %v", calls)
	}
}

// RFC 8693, section 2.2.2: an application without audiences does not ignore the audience, as it does in a refresh.
func TestATokenExchangeIgnoresNoAudience(t *testing.T) {
	s := newService(t)
	g := s.login(t, acme, "spa")
	for _, name := range []string{"audience", "resource"} {
		s.token(t, exchangeOf(g.TokenString, "client_id", "spa", name, "https://any.example")).
			want(t, 400, "invalid_target")
	}
	if got := s.stored(t, g).Generation; got != 1 {
		t.Errorf("got the generation %d", got)
	}
	s.token(t, exchangeOf(g.TokenString, "client_id", "spa", "audience", "spa")).want(t, 200, "")
}

// A response that was lost is sent again, also beside an actor, and in parallel (RFC 6749, section 6; RFC 9700, section
// 4.14). Later the string before the current one gets the same refresh token once more.
func TestALostResponseOfATokenExchangeIsSentAgain(t *testing.T) {
	s := newService(t)
	actor := s.loginAs(t, acme, "backend", "agent", "")
	for name, pairs := range map[string][]string{
		"alone":            nil,
		"narrower":         {"audience", orders, "scope", "orders:read"},
		"and for an actor": actorPairs(actor.AccessToken, "audience", orders),
	} {
		g := s.login(t, acme, "backend", "orders:read", "orders:write")
		bodies := make([]string, 20)
		var all sync.WaitGroup
		for i := range bodies {
			all.Go(func() { bodies[i] = string(s.token(t, exchangeOf(g.TokenString, pairs...), s.asBackend()).body) })
		}
		all.Wait()
		for _, body := range bodies {
			if body != bodies[0] || !strings.Contains(body, "access_token") {
				t.Fatalf("%s: got %s and %s", name, bodies[0], body)
			}
		}
		first := s.exchanged(t, g.TokenString, pairs...)
		current := domain.NewSecret(first.text("refresh_token"))
		for _, again := range []*answer{s.exchanged(t, current, pairs...), s.exchanged(t, g.TokenString, pairs...)} {
			if !bytes.Equal(again.body, first.body) || again.header.Get("Refreshd-Outcome") != "retried" {
				t.Errorf("%s: got %s %s, want %s", name, again.header.Get("Refreshd-Outcome"), again.body, first.body)
			}
		}
		// A retry by the other grant has the same refresh token.
		if other := s.token(t, refresh(g.TokenString), s.asBackend()).want(t, 200, ""); other.text("refresh_token") !=
			first.text("refresh_token") {
			t.Errorf("%s: a refresh got another refresh token", name)
		}
		s.wait(time.Minute)
		late := s.exchanged(t, g.TokenString, pairs...)
		if late.text("refresh_token") != first.text("refresh_token") || late.header.Get("Refreshd-Outcome") != "recovered" {
			t.Errorf("%s, a minute later: %s", name, late.header.Get("Refreshd-Outcome"))
		}
	}
}

// An old refresh token is a thief's, as in a refresh: the session is revoked, whatever else the request asks for that
// was granted, or was not.
func TestAReplayedTokenExchangeEndsTheSession(t *testing.T) {
	s := newService(t)
	s.client(t, acme, "strict", func(c *domain.Client) { c.Audiences = []string{"orders"} })
	actor := s.loginAs(t, acme, "strict", "agent", "")
	for name, pairs := range map[string][]string{
		"alone":                      nil,
		"for an audience":            {"audience", "orders"},
		"with a wider scope":         {"scope", "admin"},
		"with an actor":              actorPairs(actor.AccessToken),
		"with an actor and a scope":  actorPairs(actor.AccessToken, "scope", "admin"),
		"with an actor and audience": actorPairs(actor.AccessToken, "audience", "orders"),
	} {
		g := s.login(t, acme, "strict", "orders:read")
		pairs = append([]string{"client_id", "strict"}, pairs...)
		first := s.token(t, exchangeOf(g.TokenString, "client_id", "strict")).want(t, 200, "")
		s.wait(time.Minute)
		a := s.token(t, exchangeOf(g.TokenString, pairs...)).want(t, 400, "invalid_request")
		if a.text("refreshd_code") != "[reused]refreshToken" || a.header.Get("Refreshd-Outcome") != "replayed" {
			t.Errorf("%s: got %s", name, a.body)
		}
		if s.stored(t, g).RevokedAt.IsZero() {
			t.Errorf("%s: the session is active", name)
		}
		a = s.token(t, exchangeOf(domain.NewSecret(first.text("refresh_token")), "client_id", "strict")).
			want(t, 400, "invalid_request")
		if a.text("refreshd_code") != "[revoked]refreshToken" {
			t.Errorf("%s, for the owner: got %s", name, a.body)
		}
	}
}

// act returns the claim as a list of pairs of sub and client_id.
func act(claim any) (parties []string) {
	for {
		a, ok := claim.(map[string]any)
		if !ok {
			return parties
		}
		sub, _ := a["sub"].(string)
		client, _ := a["client_id"].(string)
		parties = append(parties, sub+" "+client)
		claim = a["act"]
	}
}

// chain returns an access token of the application backend with n parties, the user included, that act for one another.
func (s *service) chain(t testing.TB, n int) domain.Secret {
	t.Helper()
	token := s.loginAs(t, acme, "backend", "party 1", "").AccessToken
	for i := 2; i <= n; i++ {
		next := s.loginAs(t, acme, "backend", "party "+string('0'+rune(i)), "")
		token = domain.NewSecret(s.exchanged(t, next.TokenString, actorPairs(token)...).text("access_token"))
	}
	return token
}

// RFC 8693, section 4.1: `act` names the party that acts for the user, and in it those that act for that party.
// Introspection names the same ones. The next access token without an actor names none.
func TestAnActorIsNamedInTheAccessToken(t *testing.T) {
	s := newService(t)
	for n, want := range [][]string{
		1: {"party 1 backend"}, 2: {"party 2 backend", "party 1 backend"},
		3: {"party 3 backend", "party 2 backend", "party 1 backend"},
	} {
		if n == 0 {
			continue
		}
		actor := s.chain(t, n)
		g := s.login(t, acme, "backend", "orders:read")
		a := s.exchanged(t, g.TokenString, actorPairs(actor, "audience", orders)...)
		claims := a.claims(t)
		if diff := cmp.Diff(want, act(claims["act"])); diff != "" || claims["sub"] != "ada" || claims["aud"] != orders {
			t.Errorf("%d: got %v (-want +got):\n%s", n, claims, diff)
		}
		issued := domain.NewSecret(a.text("access_token"))
		said := s.introspect(t, issued, as("inspector"))
		if said.wantActive(t, "for an actor", true); !cmp.Equal(said.members["act"], claims["act"]) {
			t.Errorf("%d: introspection: got %v, want %v", n, said.members["act"], claims["act"])
		}
		s.do(t, "POST", "/oauth2/revoke", form("token", issued.Reveal()), s.asBackend()).
			want(t, 400, "unsupported_token_type")
		next := s.exchanged(t, domain.NewSecret(a.text("refresh_token")))
		if got := next.claims(t)["act"]; got != nil {
			t.Errorf("%d: the next one: got %v", n, got)
		}
	}
}

// RFC 8693, section 2.1: an actor token may be of another client if it is for this one, by its audience.
func TestAnActorTokenMayBeForTheClient(t *testing.T) {
	s := newService(t)
	s.client(t, acme, "spa", func(c *domain.Client) { c.Audiences = []string{"backend"} })
	agent := s.loginAs(t, acme, "spa", "agent", "")
	meant := s.token(t, exchangeOf(agent.TokenString, "client_id", "spa", "audience", "backend")).want(t, 200, "")
	g := s.login(t, acme, "backend")
	a := s.exchanged(t, g.TokenString, actorPairs(domain.NewSecret(meant.text("access_token")))...)
	if got := act(a.claims(t)["act"]); !slices.Equal(got, []string{"agent spa"}) {
		t.Errorf("got %v", got)
	}
}

// RFC 9449, section 6: an actor token that is bound to a key is used with a proof of that key, to which the new access
// token is bound as well.
func TestAnActorProvesTheKeyOfItsToken(t *testing.T) {
	s := newService(t)
	key := dpop.NewKey(t)
	actor := s.loginAs(t, acme, "backend", "agent", key.Thumbprint(t))
	g := s.login(t, acme, "backend")
	a := s.token(t, exchangeOf(g.TokenString, actorPairs(actor.AccessToken)...), s.asBackend(), proofFor(t, s, key)).
		want(t, 200, "")
	claims := a.claims(t)
	confirmed, _ := claims["cnf"].(map[string]any)
	if a.text("token_type") != "DPoP" || confirmed["jkt"] != key.Thumbprint(t) ||
		!slices.Equal(act(claims["act"]), []string{"agent backend"}) {
		t.Errorf("got the type %s and %v", a.text("token_type"), claims)
	}
}

// RFC 9449, section 5: a bound session needs a proof of its key in either grant, and a client without it changes
// nothing.
func TestATokenExchangeOfABoundSessionNeedsItsProof(t *testing.T) {
	s := newService(t)
	key, other := dpop.NewKey(t), dpop.NewKey(t)
	g := s.loginBound(t, "spa", key)
	s.wait(time.Hour)
	before := s.stored(t, g)
	for name, with := range map[string][]option{"no proof": nil, "that of another": {proofFor(t, s, other)}} {
		a := s.token(t, append(with, exchangeOf(g.TokenString, "client_id", "spa"))...).want(t, 400, "invalid_dpop_proof")
		if a.text("refreshd_code") != "[unproved]refreshToken" {
			t.Errorf("%s: got %s", name, a.body)
		}
	}
	if diff := cmp.Diff(before, s.stored(t, g)); diff != "" {
		t.Errorf("a refusal changed the session (-before +after):\n%s", diff)
	}
	a := s.token(t, exchangeOf(g.TokenString, "client_id", "spa"), proofFor(t, s, key)).want(t, 200, "")
	if a.text("token_type") != "DPoP" {
		t.Errorf("got the type %s", a.text("token_type"))
	}
}

// A key that is replaced in a token exchange (RFC 9449, section 5) stays the present one if the exchange is refused for
// its audience, its scope or its actor.
func TestARefusedTokenExchangeReplacesNoKey(t *testing.T) {
	s := newService(t)
	present, next := dpop.NewKey(t), dpop.NewKey(t)
	g := s.loginAs(t, acme, "backend", "ada", present.Thumbprint(t))
	agent := s.loginAs(t, acme, "backend", "agent", present.Thumbprint(t))
	roll := func(pairs ...string) *answer {
		named := func(_, claims map[string]any) { claims["next_jkt"] = next.Thumbprint(t) }
		return s.token(t, exchangeOf(g.TokenString, pairs...), s.asBackend(), proofFor(t, s, present, named),
			header("DPoP-Next", next.Proof(t, "POST", tokenURL, s.clock())))
	}
	before := s.stored(t, g)
	for code, pairs := range map[string][]string{
		"invalid_target":  {"audience", "https://elsewhere.example"},
		"invalid_scope":   {"scope", "admin"},
		"invalid_request": actorPairs(forged(agent.AccessToken)),
	} {
		roll(pairs...).want(t, 400, code)
		if diff := cmp.Diff(before, s.stored(t, g)); diff != "" {
			t.Errorf("%s: the refusal changed the session (-before +after):\n%s", code, diff)
		}
	}
	a := roll(actorPairs(agent.AccessToken)...).want(t, 200, "")
	claims := a.claims(t)
	if confirmed, _ := claims["cnf"].(map[string]any); confirmed["jkt"] != next.Thumbprint(t) ||
		s.stored(t, g).Binding != next.Thumbprint(t) || !slices.Equal(act(claims["act"]), []string{"agent backend"}) {
		t.Errorf("got %v, and the session is bound to %s", claims, s.stored(t, g).Binding)
	}
	again := roll(actorPairs(agent.AccessToken)...).want(t, 200, "")
	if again.text("refresh_token") != a.text("refresh_token") || again.text("access_token") != a.text("access_token") {
		t.Errorf("a retry: got %s, want %s", again.body, a.body)
	}
}

// The actor token is read only beside a refresh token that is genuine and was admitted, of a client that authenticated.
// The session is unchanged if the store fails then.
func TestAnActorTokenIsReadAfterTheRefreshToken(t *testing.T) {
	s := newService(t)
	actor := s.loginAs(t, acme, "backend", "agent", "")
	pairs := actorPairs(actor.AccessToken)
	g := s.login(t, acme, "backend")
	for name, options := range map[string][]option{
		"a guess":        {exchangeOf(forged(g.TokenString), pairs...), s.asBackend()},
		"a wrong secret": {exchangeOf(g.TokenString, pairs...), basic("backend", wrongSecret)},
		"a wrong proof":  {exchangeOf(g.TokenString, pairs...), s.asBackend(), header("DPoP", "x")},
	} {
		s.store.took()
		if a := s.token(t, options...); a.status/100 != 4 {
			t.Errorf("%s: got %d %s", name, a.status, a.body)
		}
		if calls := s.store.took(); calls["Find"] > 0 || calls["Snapshot"] > 0 || calls["Advance"] > 0 {
			t.Errorf("%s: got the calls %v", name, calls)
		}
	}
	s.exchanged(t, g.TokenString, pairs...)
	want := map[string]int{"Application": 1, "Find": 1, "Snapshot": 1, "Advance": 1}
	if calls := s.store.took(); !maps.Equal(calls, want) {
		t.Errorf("an exchange with an actor: got the calls %v", calls)
	}
	public := s.login(t, acme, "spa")
	agent := s.loginAs(t, acme, "spa", "agent", "")
	before := s.stored(t, public)
	s.store.breakWith(errors.New("the store is down"), false)
	s.token(t, exchangeOf(public.TokenString, actorPairs(agent.AccessToken, "client_id", "spa")...)).
		want(t, 503, "temporarily_unavailable")
	s.store.breakWith(nil, false)
	if diff := cmp.Diff(before, s.stored(t, public)); diff != "" {
		t.Errorf("the session changed (-before +after):\n%s", diff)
	}
}

// An access token that fits without actors may be too large with them (RFC 8693, section 4.1). The exchange is refused,
// and narrower scopes make it possible.
func TestActorsDoNotMakeTheAccessTokenTooLarge(t *testing.T) {
	s := newService(t)
	var scopes []string
	var g usecase.Grant
	for { // until there is no room for one more
		more := append(slices.Clone(scopes), strings.Repeat("x", 200)+strconv.Itoa(len(scopes)))
		last, err := s.issue.Do(t.Context(), usecase.IssueInput{
			TenantID: acme, ApplicationID: "backend", UserID: "ada", Scopes: more,
		})
		if err != nil {
			break
		}
		g, scopes = last, more
	}
	checks.Secrets.Add(g.TokenString.Reveal())
	actor := s.loginAs(t, acme, "backend", strings.Repeat("é", 120), "")
	pairs := actorPairs(actor.AccessToken)
	a := s.token(t, exchangeOf(g.TokenString, pairs...), s.asBackend()).want(t, 400, "invalid_request")
	if a.text("refreshd_code") != "[tooLong]" || s.stored(t, g).Generation != 1 {
		t.Errorf("got %s", a.body)
	}
	s.exchanged(t, g.TokenString, append(pairs, "scope", scopes[0])...)
	s.exchanged(t, g.TokenString)
}

// A burst costs what it costs in a refresh (RFC 6585, section 4). TestGuessesCostTheirAddress has the guesses.
func TestATokenExchangeHasTheLimitsOfARefresh(t *testing.T) {
	s := newService(t)
	s.options.Guard = web.NewGuard(web.RateLimits{RefreshToken: 5}, nil, s.clock, nil)
	s.mount(t)
	g := s.login(t, acme, "spa")
	for i := range 50 {
		exchange := refresh(g.TokenString, "client_id", "spa")
		if i%2 == 0 {
			exchange = exchangeOf(g.TokenString, "client_id", "spa")
		}
		if a := s.token(t, exchange); a.status != 200 {
			t.Fatalf("exchange %d: got %d %s", i, a.status, a.body)
		}
	}
	a := s.token(t, exchangeOf(g.TokenString, "client_id", "spa")).want(t, 429, "temporarily_unavailable")
	if a.text("refreshd_code") != "[tooMany]refreshToken" {
		t.Errorf("got %s", a.body)
	}
}
