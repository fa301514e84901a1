package httpapi_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/test/support/dpop"
)

const refreshURL = publicURL + "/jwt/refresh"

// issueBound issues a session of acme that is bound to the key.
func (s *service) issueBound(t *testing.T, app, user string, key dpop.Key) grant {
	t.Helper()
	return s.do(t, "POST", "/jwt/issue", backend,
		body(object{"applicationsId": app, "userId": user, "dpopJkt": key.Thumbprint(t)})).want(t, 200).grant(t)
}

// proof returns a new proof of the key for an exchange now.
func (s *service) proof(t *testing.T, key dpop.Key) option {
	t.Helper()
	return header("DPoP", key.Proof(t, "POST", refreshURL, s.clock()))
}

// stored returns the refresh token as the store holds it.
func (s *service) stored(t *testing.T, id string) domain.RefreshToken {
	t.Helper()
	parsed, _ := domain.ParseID(id)
	found, err := s.store.Store.Snapshot(t.Context(), parsed)
	if err != nil {
		t.Fatal(err)
	}
	return found.Token
}

// confirmation returns cnf.jkt of an access token; empty for none.
func confirmation(t *testing.T, accessToken string) string {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(accessToken, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var claims struct {
		Confirmation struct {
			Thumbprint string `json:"jkt"`
		} `json:"cnf"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		t.Fatal(err)
	}
	return claims.Confirmation.Thumbprint
}

// A thief of a token string, or of a whole storage of them, has no key. Nothing that the thief sends may change the
// session of the owner: neither rotate it, nor revoke it as a replay would. RFC 9449, section 5.
func TestABoundTokenIsNotExchangedWithoutItsProof(t *testing.T) {
	s := newService(t)
	key, other := dpop.NewKey(t), dpop.NewKey(t)
	issued := s.issueBound(t, "shop", "ada", key)
	if got := confirmation(t, issued.Token); got != key.Thumbprint(t) {
		t.Errorf("the first access token is bound to %q, want %q", got, key.Thumbprint(t))
	}
	strings := []string{issued.RefreshToken}
	for range 3 {
		s.wait(time.Hour)
		next := s.exchange(t, strings[len(strings)-1], s.proof(t, key)).want(t, 200).grant(t)
		if got := confirmation(t, next.Token); got != key.Thumbprint(t) {
			t.Errorf("an access token is bound to %q, want %q", got, key.Thumbprint(t))
		}
		strings = append(strings, next.RefreshToken)
	}
	for _, after := range []time.Duration{0, time.Hour} { // within the grace period, and later
		s.wait(after)
		before := s.stored(t, issued.RefreshTokenID)
		for i, tokenString := range strings {
			for name, with := range map[string][]option{
				"without a DPoP proof":       nil,
				"with a proof of another":    {s.proof(t, other)},
				"with an API key":            {as("exchanger"), tenant(aTenant)},
				"with that and such a proof": {as("exchanger"), tenant(aTenant), s.proof(t, other)},
			} {
				a := s.exchange(t, tokenString, with...).want(t, 400, "[unproved]refreshToken")
				if a.outcome() != "invalid" {
					t.Errorf("generation %d %s: got outcome %q, want invalid", i+1, name, a.outcome())
				}
			}
		}
		if diff := cmp.Diff(before, s.stored(t, issued.RefreshTokenID)); diff != "" {
			t.Fatalf("a refusal changed the session (-before +after):\n%s", diff)
		}
	}
	s.exchange(t, strings[len(strings)-1], s.proof(t, key)).want(t, 200)
	// With the key the old string is a replay again: the owner's own storage was copied, key and all.
	s.wait(time.Hour)
	s.exchange(t, strings[0], s.proof(t, key)).want(t, 400, "[reused]refreshToken")
}

// A browser keeps the string of a bound session in a cookie, and the key in IndexedDB: the cookie alone is not enough,
// and must not be deleted.
func TestABoundTokenInACookieNeedsItsProof(t *testing.T) {
	s := newService(t)
	key := dpop.NewKey(t)
	issued := s.do(t, "POST", "/jwt/issue", backend, body(object{
		"applicationsId": "cookies", "userId": "ada", "cookies": true, "dpopJkt": key.Thumbprint(t),
	})).want(t, 200).grant(t)
	s.wait(time.Hour)
	before := s.stored(t, issued.RefreshTokenID)
	for name, c := range map[string]struct {
		with []option
		code string
	}{
		"without a DPoP proof": {nil, "[unproved]refreshToken"},
		"with a bad one":       {[]option{header("DPoP", "proof")}, "[unproved]DPoP"},
	} {
		a := s.do(t, "POST", "/jwt/refresh", append(c.with, cookie("refresh_token", issued.RefreshToken),
			header("Sec-Fetch-Site", "same-origin"))...).want(t, 400, c.code)
		if len(a.cookie) > 0 {
			t.Errorf("%s: the response sets or deletes %v", name, a.cookie)
		}
	}
	if diff := cmp.Diff(before, s.stored(t, issued.RefreshTokenID)); diff != "" {
		t.Fatalf("a refusal changed the session (-before +after):\n%s", diff)
	}
	s.do(t, "POST", "/jwt/refresh", cookie("refresh_token", issued.RefreshToken),
		header("Sec-Fetch-Site", "same-origin"), s.proof(t, key)).want(t, 200)
}

// A proof that is not for this request is refused although its key is the right one, and the session stays unchanged.
// RFC 9449, sections 4.3 and 11.1.
func TestAProofThatIsNotForThisExchangeIsRefused(t *testing.T) {
	s := newService(t)
	key := dpop.NewKey(t)
	issued := s.issueBound(t, "shop", "ada", key)
	s.wait(time.Hour)
	before, now := s.stored(t, issued.RefreshTokenID), s.clock()
	good := func() string { return key.Proof(t, "POST", refreshURL, now) }
	claim := func(name string, value any) string {
		return key.Proof(t, "POST", refreshURL, now, func(_, claims map[string]any) { claims[name] = value })
	}
	for name, sent := range map[string][]string{
		"for another method":          {key.Proof(t, "GET", refreshURL, now)},
		"for another path":            {key.Proof(t, "POST", publicURL+"/jwt/issue", now)},
		"for another host":            {key.Proof(t, "POST", "https://evil.example/jwt/refresh", now)},
		"for the Host of the request": {key.Proof(t, "POST", "https://proxy.example/jwt/refresh", now)},
		"of an hour ago":              {key.Proof(t, "POST", refreshURL, now.Add(-time.Hour))},
		"of an hour ahead":            {key.Proof(t, "POST", refreshURL, now.Add(time.Hour))},
		"without jti":                 {claim("jti", "")},
		"with an unknown nonce":       {claim("nonce", "n-0S6_WzA2Mj")},
		"with a signature altered":    {good()[:len(good())-4] + "AAAA"},
		"twice":                       {good(), good()},
		"empty":                       {""},
		"longer than 8 KiB":           {claim("jti", strings.Repeat("j", 8<<10))},
	} {
		with := []option{host("proxy.example"), header("X-Forwarded-Host", "proxy.example")}
		for _, proof := range sent {
			with = append(with, header("DPoP", proof))
		}
		a := s.exchange(t, issued.RefreshToken, with...).want(t, 400, "[unproved]DPoP")
		nonce := a.header.Get("DPoP-Nonce")
		if (nonce != "") != (name == "with an unknown nonce") {
			t.Errorf("%s: DPoP-Nonce is %q", name, nonce)
		}
	}
	if diff := cmp.Diff(before, s.stored(t, issued.RefreshTokenID)); diff != "" {
		t.Fatalf("a refusal changed the session (-before +after):\n%s", diff)
	}
	once := good()
	s.exchange(t, issued.RefreshToken, header("DPoP", once)).want(t, 200)
	s.exchange(t, issued.RefreshToken, header("DPoP", once)).want(t, 400, "[unproved]DPoP")
	s.exchange(t, issued.RefreshToken, header("DPoP", good())).want(t, 200)
}

// A proof costs a signature: a sender without a genuine token string must not make the service verify any, and must not
// use up a proof that it stole.
func TestAProofIsReadOnlyWithAGenuineTokenString(t *testing.T) {
	s := newService(t)
	key := dpop.NewKey(t)
	issued := s.issueBound(t, "shop", "ada", key)
	s.wait(time.Hour)
	proof := key.Proof(t, "POST", refreshURL, s.clock())
	forged := issued.RefreshToken[:len(issued.RefreshToken)-8] + "AAAAAAAA"
	s.exchange(t, forged, header("DPoP", "no proof")).want(t, 400, "[invalid]refreshToken")
	s.exchange(t, forged, header("DPoP", proof)).want(t, 400, "[invalid]refreshToken")
	s.exchange(t, issued.RefreshToken, header("DPoP", proof)).want(t, 200)
}

// The access token of an exchange with a proof is bound, even if the session is not: RFC 9449, section 5.
func TestAProofBindsTheAccessTokenOfASessionThatIsNotBound(t *testing.T) {
	s := newService(t)
	key, other := dpop.NewKey(t), dpop.NewKey(t)
	issued := s.issue(t, "shop", "ada")
	if got := confirmation(t, issued.Token); got != "" {
		t.Errorf("the first access token is bound to %q", got)
	}
	s.wait(time.Hour)
	for _, c := range []struct {
		with []option
		want string
	}{
		{[]option{s.proof(t, key)}, key.Thumbprint(t)}, {nil, ""}, {[]option{s.proof(t, other)}, other.Thumbprint(t)},
	} {
		g := s.exchange(t, issued.RefreshToken, c.with...).want(t, 200).grant(t)
		if got := confirmation(t, g.Token); got != c.want {
			t.Errorf("an access token is bound to %q, want %q", got, c.want)
		}
	}
	if got := s.stored(t, issued.RefreshTokenID).Binding; got != "" {
		t.Errorf("an exchange bound the session to %q: a thief could lock the owner out", got)
	}
}

// If the operator demands nonces, a proof that was made in advance is worthless. RFC 9449, section 8.
func TestANonceIsDemandedAndGivenOut(t *testing.T) {
	s := newService(t)
	s.options.Proofs.DemandNonce = true
	key := dpop.NewKey(t)
	issued := s.issueBound(t, "shop", "ada", key)
	s.wait(time.Hour)
	with := func(nonce string) option {
		return header("DPoP", key.Proof(t, "POST", refreshURL, s.clock(), func(_, claims map[string]any) {
			claims["nonce"] = nonce
		}))
	}
	refused := s.exchange(t, issued.RefreshToken, s.proof(t, key)).want(t, 400, "[unproved]DPoP")
	nonce := refused.header.Get("DPoP-Nonce")
	answered := s.exchange(t, issued.RefreshToken, with(nonce)).want(t, 200)
	if next := answered.header.Get("DPoP-Nonce"); next != nonce || nonce == "" {
		t.Errorf("the next nonce is %q, want %q still", next, nonce)
	}
	s.wait(10 * time.Minute)
	refused = s.exchange(t, issued.RefreshToken, with(nonce)).want(t, 400, "[unproved]DPoP")
	s.exchange(t, issued.RefreshToken, with(refused.header.Get("DPoP-Nonce"))).want(t, 200)
}

func TestABindingThatIsNoThumbprintIsRefused(t *testing.T) {
	s := newService(t)
	good := dpop.NewKey(t).Thumbprint(t)
	for _, bad := range []any{"", good[1:], good + "A", good + "=", "+" + good[1:], good[:42] + "_"} {
		s.do(t, "POST", "/jwt/issue", backend, body(object{"applicationsId": "shop", "userId": "ada", "dpopJkt": bad})).
			want(t, 400, "[invalid]dpopJkt")
	}
	// The same request with another key is another session.
	issued := s.issueBound(t, "shop", "ada", dpop.NewKey(t))
	s.do(t, "POST", "/jwt/issue", backend, body(object{
		"applicationsId": "shop", "userId": "ada", "dpopJkt": good, "refreshTokenId": issued.RefreshTokenID,
	})).want(t, 400, "[duplicate]refreshTokenId")
}

// Pages of a configured origin have to send the proof, and to read the nonce.
func TestPagesMaySendProofsAndReadNonces(t *testing.T) {
	s := newService(t)
	a := s.do(t, http.MethodOptions, "/jwt/refresh", header("Origin", ourOrigin),
		header("Access-Control-Request-Method", "POST")).want(t, 204)
	if got := a.header.Get("Access-Control-Allow-Headers"); !slices.Contains(strings.Split(got, ","), "DPoP") {
		t.Errorf("Access-Control-Allow-Headers is %q, want DPoP among them", got)
	}
	a = s.exchange(t, s.issue(t, "shop", "ada").RefreshToken, header("Origin", ourOrigin)).want(t, 200)
	if got := a.header.Get("Access-Control-Expose-Headers"); !slices.Contains(strings.Split(got, ","), "DPoP-Nonce") {
		t.Errorf("Access-Control-Expose-Headers is %q, want DPoP-Nonce among them", got)
	}
}

// events returns the events of a kind.
func (s *service) events(t *testing.T, kind domain.EventKind) []domain.Event {
	t.Helper()
	page, err := s.store.Store.Events(t.Context(), port.EventQuery{
		TenantID: aTenant, Kinds: []domain.EventKind{kind}, Limit: 100, MaxBytes: 1 << 20, MaxRows: 1000,
	})
	if err != nil {
		t.Fatal(err)
	}
	return page.Events
}

// roll returns the two proofs of a key roll, for an exchange now.
func (s *service) roll(t *testing.T, from, to dpop.Key) option {
	t.Helper()
	old := from.Proof(t, "POST", refreshURL, s.clock(), func(_, claims map[string]any) {
		claims["next_jkt"] = to.Thumbprint(t)
	})
	next := to.Proof(t, "POST", refreshURL, s.clock())
	return func(s *service, r *request) { header("DPoP", old)(s, r); header("DPoP-Next", next)(s, r) }
}

// A client replaces its key, and no session ends: not if the response is lost, and the request is sent again with two
// new proofs, and not if it is sent late.
func TestAKeyRollBindsTheSessionToTheNextKey(t *testing.T) {
	s := newService(t)
	first, second, third := dpop.NewKey(t), dpop.NewKey(t), dpop.NewKey(t)
	issued := s.issueBound(t, "shop", "ada", first)
	s.wait(time.Hour)
	rolled := s.exchange(t, issued.RefreshToken, s.roll(t, first, second)).want(t, 200).grant(t)
	again := s.exchange(t, issued.RefreshToken, s.roll(t, first, second)).want(t, 200).grant(t)
	if again.RefreshToken != rolled.RefreshToken {
		t.Error("the repeated request got another token string")
	}
	for _, g := range []grant{rolled, again} {
		if got := confirmation(t, g.Token); got != second.Thumbprint(t) {
			t.Errorf("the access token is bound to %q, want the new key", got)
		}
	}
	before := s.stored(t, issued.RefreshTokenID)
	if before.Binding != second.Thumbprint(t) {
		t.Errorf("the session is bound to %q, want the new key", before.Binding)
	}
	s.exchange(t, rolled.RefreshToken, s.proof(t, first)).want(t, 400, "[unproved]refreshToken")
	s.exchange(t, rolled.RefreshToken, s.roll(t, first, third)).want(t, 400, "[unproved]refreshToken")
	s.exchange(t, rolled.RefreshToken).want(t, 400, "[unproved]refreshToken")
	if diff := cmp.Diff(before, s.stored(t, issued.RefreshTokenID)); diff != "" {
		t.Errorf("a refusal changed the session (-before +after):\n%s", diff)
	}
	s.wait(time.Hour)
	next := s.exchange(t, rolled.RefreshToken, s.proof(t, second)).want(t, 200).grant(t)
	s.wait(time.Hour)
	// A tab that still has both keys, and rolls once more what is rolled.
	s.exchange(t, next.RefreshToken, s.roll(t, first, second)).want(t, 200)

	events := s.events(t, "token.rebound")
	if len(events) != 1 || events[0].ObjectID != issued.RefreshTokenID ||
		string(events[0].Before) != `{"dpopJkt":"`+first.Thumbprint(t)+`"}` ||
		string(events[0].After) != `{"dpopJkt":"`+second.Thumbprint(t)+`"}` {
		t.Errorf("got the events %+v, want one, with both keys", events)
	}
}

// A thief of a proof of the present key must not be able to bind the session to another one.
func TestAKeyRollNeedsBothKeys(t *testing.T) {
	s := newService(t)
	key, thief := dpop.NewKey(t), dpop.NewKey(t)
	issued := s.issueBound(t, "shop", "ada", key)
	s.wait(time.Hour)
	before := s.stored(t, issued.RefreshTokenID)
	naming := func(jkt string) string {
		return key.Proof(t, "POST", refreshURL, s.clock(), func(_, claims map[string]any) { claims["next_jkt"] = jkt })
	}
	of := func(k dpop.Key) string { return k.Proof(t, "POST", refreshURL, s.clock()) }
	elsewhere := thief.Proof(t, "POST", publicURL+"/x", s.clock())
	expired := thief.Proof(t, "POST", refreshURL, s.clock().Add(-time.Hour))
	for name, sent := range map[string][2]string{
		"a proof that names no key":            {of(key), of(thief)},
		"a proof that names another key":       {naming(dpop.NewKey(t).Thumbprint(t)), of(thief)},
		"a second proof by the present key":    {naming(key.Thumbprint(t)), of(key)},
		"a second proof for another path":      {naming(thief.Thumbprint(t)), elsewhere},
		"a second proof that has expired":      {naming(thief.Thumbprint(t)), expired},
		"a second proof that is not one":       {naming(thief.Thumbprint(t)), "x"},
		"a second proof only":                  {"", of(thief)},
		"the first proof of the thief as well": {of(thief), of(thief)},
	} {
		var with []option
		if sent[0] != "" {
			with = append(with, header("DPoP", sent[0]))
		}
		s.exchange(t, issued.RefreshToken, append(with, header("DPoP-Next", sent[1]))...).want(t, 400, "[unproved]DPoP")
		if diff := cmp.Diff(before, s.stored(t, issued.RefreshTokenID)); diff != "" {
			t.Fatalf("%s changed the session (-before +after):\n%s", name, diff)
		}
	}
	s.exchange(t, issued.RefreshToken, s.roll(t, thief, key)).want(t, 200) // proves the present key too
	if diff := cmp.Diff(before.Binding, s.stored(t, issued.RefreshTokenID).Binding); diff != "" {
		t.Errorf("the session is bound to another key (-before +after):\n%s", diff)
	}
	s.wait(time.Hour)
	s.exchange(t, issued.RefreshToken, s.roll(t, thief, dpop.NewKey(t))).want(t, 400, "[unproved]refreshToken")
}

// What would be refused binds nothing: neither a session that has ended nor a replay.
func TestARefusedExchangeRollsNoKey(t *testing.T) {
	s := newService(t)
	key, next := dpop.NewKey(t), dpop.NewKey(t)
	first := s.issueBound(t, "shop", "ada", key)
	s.wait(time.Hour)
	second := s.exchange(t, first.RefreshToken, s.proof(t, key)).want(t, 200).grant(t)
	s.wait(time.Hour)
	s.exchange(t, second.RefreshToken, s.proof(t, key)).want(t, 200)
	s.wait(time.Hour)
	s.exchange(t, first.RefreshToken, s.roll(t, key, next)).want(t, 400, "[reused]refreshToken")
	s.exchange(t, second.RefreshToken, s.roll(t, key, next)).want(t, 400, "[revoked]refreshToken")
	if got := s.stored(t, first.RefreshTokenID).Binding; got != key.Thumbprint(t) {
		t.Errorf("the session is bound to %q, want the present key", got)
	}
	if events := s.events(t, "token.rebound"); len(events) != 0 {
		t.Errorf("got the events %+v, want none", events)
	}
}

// A session without a key stays without one: it is bound at issue only. The access token is the new key's.
func TestAnUnboundSessionIsNotRolled(t *testing.T) {
	s := newService(t)
	issued := s.issue(t, "shop", "ada")
	key, next := dpop.NewKey(t), dpop.NewKey(t)
	s.wait(time.Hour)
	got := s.exchange(t, issued.RefreshToken, s.roll(t, key, next)).want(t, 200).grant(t)
	if confirmation(t, got.Token) != next.Thumbprint(t) || s.stored(t, issued.RefreshTokenID).Binding != "" {
		t.Errorf("bound to %q; the session to %q, want the new key, and none", confirmation(t, got.Token),
			s.stored(t, issued.RefreshTokenID).Binding)
	}
	s.exchange(t, got.RefreshToken).want(t, 200)
}

// A caller that has the key itself, such as a backend for a page, binds the session by its own proof.
func TestAProofAtIssueBindsTheSession(t *testing.T) {
	s := newService(t)
	key, other := dpop.NewKey(t), dpop.NewKey(t)
	proof := func(k dpop.Key) option { return header("DPoP", k.Proof(t, "POST", publicURL+"/jwt/issue", s.clock())) }
	ask := object{"applicationsId": "shop", "userId": "ada"}
	issued := s.do(t, "POST", "/jwt/issue", backend, proof(key), body(ask)).want(t, 200).grant(t)
	if got := s.stored(t, issued.RefreshTokenID).Binding; got != key.Thumbprint(t) {
		t.Errorf("the session is bound to %q, want the key of the proof", got)
	}
	ask["dpopJkt"] = key.Thumbprint(t)
	s.do(t, "POST", "/jwt/issue", backend, proof(key), body(ask)).want(t, 200)
	s.do(t, "POST", "/jwt/issue", backend, proof(other), body(ask)).want(t, 400, "[conflict]dpopJkt")
	s.do(t, "POST", "/jwt/issue", backend, s.proof(t, key), body(ask)).want(t, 400, "[unproved]DPoP")
	s.do(t, "POST", "/jwt/issue", backend, s.roll(t, key, other), body(ask)).want(t, 400, "[unproved]DPoP")
}
