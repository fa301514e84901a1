package httpapi_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
)

// next exchanges, and returns the tokens that the client then has.
func (s *service) next(t *testing.T, tokenString, outcome string) grant {
	t.Helper()
	a := s.exchange(t, tokenString).want(t, 200)
	if a.outcome() != outcome {
		t.Errorf("got outcome %q, want %q", a.outcome(), outcome)
	}
	return a.grant(t)
}

// withoutSeconds returns the body of a response without the remaining seconds, which count down.
func (a *answer) withoutSeconds(t *testing.T) string {
	t.Helper()
	rest, found := secondsLeft.ReplaceAllString(string(a.body), ""), secondsLeft.FindAllString(string(a.body), -1)
	if len(found) != 2 {
		t.Fatalf("got %v in %s, want both", found, a.body)
	}
	return rest
}

var secondsLeft = regexp.MustCompile(`,"(expiresIn|refreshTokenExpiresIn)":[0-9]+`)

func TestARetryIsAnsweredWithTheSameBytes(t *testing.T) {
	s := newService(t)
	issued := s.issue(t, "shop", "ada")
	s.wait(time.Minute)

	rotated := s.exchange(t, issued.RefreshToken).want(t, 200)
	if rotated.outcome() != "rotated" || rotated.grant(t).RefreshToken == issued.RefreshToken ||
		rotated.grant(t).RefreshTokenID != issued.RefreshTokenID {
		t.Fatalf("got %s %s, want the next token string of %s", rotated.outcome(), rotated.body, issued.RefreshTokenID)
	}
	s.wait(29 * time.Second)
	retried := s.exchange(t, issued.RefreshToken).want(t, 200)
	if retried.outcome() != "retried" || retried.withoutSeconds(t) != rotated.withoutSeconds(t) {
		t.Errorf("got %s %s, want a retry with the bytes %s", retried.outcome(), retried.body, rotated.body)
	}
	if got, want := retried.grant(t), rotated.grant(t); got.ExpiresIn != want.ExpiresIn-29 ||
		got.RefreshTokenExpiresIn != want.RefreshTokenExpiresIn-29 {
		t.Errorf("got %d and %d seconds left, want 29 less than %d and %d", got.ExpiresIn, got.RefreshTokenExpiresIn,
			want.ExpiresIn, want.RefreshTokenExpiresIn)
	}
	// A client that has already stored the new string gets the same response.
	current := s.exchange(t, rotated.grant(t).RefreshToken).want(t, 200)
	if current.outcome() != "retried" || !bytes.Equal(current.body, retried.body) {
		t.Errorf("got %s %s for the current string, want %s", current.outcome(), current.body, retried.body)
	}
	// The grace period begins with the rotation: the retry has not extended it.
	s.wait(time.Second)
	recovered := s.exchange(t, issued.RefreshToken).want(t, 200)
	if recovered.outcome() != "recovered" || recovered.grant(t).RefreshToken != rotated.grant(t).RefreshToken {
		t.Errorf("got %s %s, want a recovery with the same token string", recovered.outcome(), recovered.body)
	}
	if got, want := s.store.outcomes, []domain.Outcome{domain.Rotated, domain.Retried, domain.Retried,
		domain.Recovered}; !cmp.Equal(got, want) {
		t.Errorf("Exchanged got %v, want %v", got, want)
	}
}

func TestEveryRefusalHasItsCodeAndItsOutcome(t *testing.T) {
	tests := map[string]struct {
		app     string
		prepare func(*testing.T, *service, grant) (tokenString string)
		code    string
		outcome string
	}{
		"garbage": {"shop", func(*testing.T, *service, grant) string { return "rt_garbage" },
			"[invalid]refreshToken", "invalid"},
		"another deployment's": {"shop", func(t *testing.T, _ *service, _ grant) string {
			return newService(t).issue(t, "shop", "ada").RefreshToken
		}, "[invalid]refreshToken", "invalid"},
		"expired": {"short", func(_ *testing.T, s *service, g grant) string {
			s.wait(10 * time.Minute)
			return g.RefreshToken
		}, "[expired]refreshToken", "expired"},
		"revoked": {"shop", func(t *testing.T, s *service, g grant) string {
			s.do(t, "DELETE", "/jwt/refresh/"+g.RefreshTokenID, backend).want(t, 200)
			return g.RefreshToken
		}, "[revoked]refreshToken", "revoked"},
		"revoked with everything": {"shop", func(t *testing.T, s *service, g grant) string {
			s.do(t, "DELETE", "/jwt/refresh", backend, body(object{"allInTenant": true})).want(t, 200)
			return g.RefreshToken
		}, "[revoked]refreshToken", "revoked"},
		"of a deleted application": {"shop", func(t *testing.T, s *service, g grant) string {
			if err := storagetest.DeleteApplication(t.Context(), s.store, aTenant, "shop", s.clock()); err != nil {
				t.Fatal(err)
			}
			return g.RefreshToken
		}, "[revoked]refreshToken", "revoked"},
		"replayed": {"blog", func(t *testing.T, s *service, g grant) string {
			s.next(t, g.RefreshToken, "rotated")
			return g.RefreshToken
		}, "[reused]refreshToken", "replayed"},
		"inactive": {"shop", func(t *testing.T, s *service, g grant) string {
			s.setActive(t, "shop", false)
			return g.RefreshToken
		}, "[inactive]refreshToken", "inactive"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			presented := test.prepare(t, s, s.issue(t, test.app, "ada"))
			for range 2 { // the second response is the same, except after a replay, which has revoked
				got := s.exchange(t, presented).want(t, 400, test.code)
				if got.outcome() != test.outcome {
					t.Errorf("got outcome %q, want %q", got.outcome(), test.outcome)
				}
				if told := s.store.outcomes; string(told[len(told)-1]) != test.outcome {
					t.Errorf("Exchanged got %v, want %q last", told, test.outcome)
				}
				if got.header.Get("Set-Cookie") != "" {
					t.Errorf("got %q, and no cookie was sent", got.header.Get("Set-Cookie"))
				}
				if name == "replayed" {
					break
				}
			}
		})
	}
}

// An exchange executes one statement.
func TestAnExchangeAsksTheStoreOnce(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	before := s.store.callCount()
	s.next(t, g.RefreshToken, "rotated")
	if got := s.store.calls[before:]; !cmp.Equal(got, []string{"Advance"}) {
		t.Errorf("got the calls %v, want a single Advance", got)
	}
}

// Tabs that share their storage all send the same string at the same time.
func TestManyExchangesAtOnceHaveOneAnswer(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	const tabs = 50
	bodies := make([]string, tabs)
	var wait sync.WaitGroup
	for i := range tabs {
		wait.Go(func() {
			a := s.exchange(t, g.RefreshToken).want(t, 200)
			bodies[i] = string(a.body)
		})
	}
	wait.Wait()
	for _, body := range bodies {
		if body != bodies[0] {
			t.Errorf("got two answers: %s and %s", body, bodies[0])
		}
	}
	rotated := 0
	for _, o := range s.store.outcomes {
		if o == domain.Rotated {
			rotated++
		}
	}
	if rotated != 1 || len(s.store.outcomes) != tabs {
		t.Errorf("got %d rotations in %d exchanges, want one in %d", rotated, len(s.store.outcomes), tabs)
	}
}

func TestAReplayEndsTheSessionForItsOwnerToo(t *testing.T) {
	s := newService(t)
	first := s.issue(t, "blog", "ada")
	second := s.next(t, first.RefreshToken, "rotated")
	s.exchange(t, first.RefreshToken).want(t, 400, "[reused]refreshToken")
	s.exchange(t, second.RefreshToken).want(t, 400, "[revoked]refreshToken")
}

func TestInactiveIsNotFinal(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	s.setActive(t, "shop", false)
	s.exchange(t, g.RefreshToken).want(t, 400, "[inactive]refreshToken")
	s.setActive(t, "shop", true)
	s.next(t, g.RefreshToken, "rotated")
}

func TestAReusableTokenStringStaysTheSame(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "kiosk", "ada")
	s.wait(time.Minute)
	if got := s.next(t, g.RefreshToken, "unchanged"); got.RefreshToken != g.RefreshToken || got.Token == g.Token {
		t.Errorf("got %+v, want the same token string and a new access token", got)
	}
}

func TestAnExchangeTakesAForm(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	a := s.do(t, "POST", "/jwt/refresh", form("refreshToken", g.RefreshToken, "token", g.Token, "timeToLiveInSeconds",
		"60")).want(t, 200)
	if claims := claimsOf(t, a.grant(t).Token); claims["exp"].(float64)-claims["iat"].(float64) != 60 {
		t.Errorf("got %v, want a lifetime of 60 seconds", claims)
	}
}

func TestNothingToExchangeIsBlank(t *testing.T) {
	s := newService(t)
	for name, o := range map[string]option{
		"no body": func(*service, *request) {}, "an empty object": text(`{}`), "an empty string": text(`{"refreshToken":""}`),
		"only the access token":  text(`{"token":"a.b.c"}`),
		"an empty form":          raw("application/x-www-form-urlencoded", "refreshToken="),
		"an empty cookie":        header("Cookie", "refresh_token="),
		"only the access cookie": cookie("access_token", "a.b.c"),
	} {
		got := s.do(t, "POST", "/jwt/refresh", o).want(t, 400, "[blank]refreshToken")
		if got.outcome() != "" {
			t.Errorf("%s: got outcome %q of no exchange", name, got.outcome())
		}
	}
}

func TestALifeAbovePolicyIsRefusedAndChangesNothing(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	for _, life := range []int{-1, 0, 901, 86_401} {
		before := s.dump(t)
		a := s.do(t, "POST", "/jwt/refresh", cookie("refresh_token", g.RefreshToken),
			body(object{"timeToLiveInSeconds": life})).
			want(t, 400, "[invalid]timeToLiveInSeconds").keepsCookies(t)
		if a.outcome() != "" { // a client that acts on it would drop a valid string
			t.Errorf("%d seconds: got outcome %q", life, a.outcome())
		}
		if diff := cmp.Diff(before, s.dump(t)); diff != "" {
			t.Errorf("%d seconds: the store changed: %s", life, diff)
		}
	}
	a := s.do(t, "POST", "/jwt/refresh", body(object{"refreshToken": g.RefreshToken, "timeToLiveInSeconds": 900})).
		want(t, 200)
	if claims := claimsOf(t, a.grant(t).Token); claims["exp"].(float64)-claims["iat"].(float64) != 900 {
		t.Errorf("got %v, want the lifetime that the policy allows", claims)
	}
}

func TestTheOldAccessTokenMustNotBeAnotherSessions(t *testing.T) {
	s := newService(t)
	mine, other := s.issue(t, "shop", "ada"), s.issue(t, "shop", "ada")
	before := s.dump(t)
	s.do(t, "POST", "/jwt/refresh", body(object{"refreshToken": mine.RefreshToken, "token": other.Token})).
		want(t, 400, "[invalid]refreshToken")
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
	// One that cannot be verified is ignored, and an expired one of this session is accepted.
	s.wait(time.Hour)
	g := s.do(t, "POST", "/jwt/refresh", body(object{"refreshToken": mine.RefreshToken, "token": mine.Token})).
		want(t, 200).grant(t)
	s.wait(time.Hour)
	s.do(t, "POST", "/jwt/refresh", body(object{"refreshToken": g.RefreshToken, "token": "no.such.token"})).want(t, 200)
}

// A proxy that checks only the last of two headers forwards the credential of another caller.
func TestTwoAuthorizationHeadersAreRefusedEverywhere(t *testing.T) {
	h := newHousehold(t)
	before, second := h.dump(t), header("Authorization", "Bearer a.b.c")
	for _, p := range h.probes() {
		if p.alone || p.operation == "ready" || strings.Contains(p.target, "jwks") {
			continue // they read none
		}
		for name, more := range map[string]option{"another": second, "an empty one": header("Authorization", "")} {
			options := p.options
			if p.operation == "exchange" {
				options = append(slices.Clone(options), as("exchanger"))
			}
			got := h.do(t, p.method, p.target, append(slices.Clone(options), more)...)
			if got.status != 400 || !slices.Equal(got.codes(), []string{"[conflict]Authorization"}) {
				t.Errorf("%s %s with %s: got %d %v", p.method, p.target, name, got.status, got.codes())
			}
		}
	}
	if diff := cmp.Diff(before, h.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

// Interceptors of HTTP clients attach their credential to every request. Only an API key must be valid.
func TestWhatAuthorizationMeansToAnExchange(t *testing.T) {
	s := newService(t)
	old := s.issue(t, "shop", "ada").Token
	s.wait(time.Hour)
	tests := map[string]struct {
		options []option
		status  int
	}{
		"none":                               {nil, 200},
		"an expired access token":            {[]option{bearer(old)}, 200},
		"a raw expired access token":         {[]option{header("Authorization", old)}, 200},
		"another scheme":                     {[]option{header("Authorization", "Basic YTpi")}, 200},
		"garbage":                            {[]option{header("Authorization", "garbage")}, 200},
		"a key":                              {[]option{as("exchanger")}, 200},
		"a key and its tenant":               {[]option{as("exchanger"), tenant(aTenant)}, 200},
		"a key as bearer":                    {[]option{bearer(s.keys["exchanger"]), tenant(aTenant)}, 200},
		"a key of all tenants":               {[]option{as("everywhere")}, 200},
		"an unknown key":                     {[]option{bearer("ak_" + strings.Repeat("x", 30))}, 401},
		"an unknown key, raw":                {[]option{header("Authorization", "ak_"+strings.Repeat("x", 30))}, 401},
		"what only begins like a key":        {[]option{header("Authorization", "ak_")}, 401},
		"an expired key":                     {[]option{as("expired")}, 401},
		"a key without the permission":       {[]option{as("backend"), tenant(aTenant)}, 401},
		"a key without any permission":       {[]option{as("powerless")}, 401},
		"a key and another tenant":           {[]option{as("exchanger"), tenant(bTenant)}, 401},
		"a key and a tenant unknown":         {[]option{as("everywhere"), tenant("nobody")}, 401},
		"another tenant's key":               {[]option{as("globex exchanger")}, 400},
		"another tenant's key and tenant":    {[]option{as("globex exchanger"), tenant(bTenant)}, 400},
		"a key of all, another tenant":       {[]option{as("everywhere"), tenant(bTenant)}, 400},
		"its tenant without a key":           {[]option{tenant(aTenant)}, 200},
		"another tenant without a key":       {[]option{tenant(bTenant)}, 400},
		"an unknown tenant without a key":    {[]option{tenant("nobody")}, 400},
		"an access token and another tenant": {[]option{bearer(old), tenant(bTenant)}, 400},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := s.issue(t, "shop", "ada")
			before := s.dump(t)
			got := s.exchange(t, g.RefreshToken, test.options...)
			if test.status == 400 {
				got.want(t, 400, "[invalid]refreshToken")
			} else {
				got.want(t, test.status)
			}
			if changed := !cmp.Equal(before, s.dump(t)); changed != (test.status == 200) {
				t.Errorf("got %d, and the store changed: %t", got.status, changed)
			}
		})
	}
}

func TestAStrangerWithAnOldStringAndNoKeyChangesNothing(t *testing.T) {
	s := newService(t)
	proved := []option{as("exchanger"), tenant(aTenant)}
	first := s.issue(t, "locked", "ada")
	second := s.exchange(t, first.RefreshToken, proved...).want(t, 200).grant(t)
	s.wait(time.Minute)
	third := s.exchange(t, second.RefreshToken, proved...).want(t, 200).grant(t)
	s.wait(time.Hour)

	before := s.dump(t)
	for _, presented := range []string{first.RefreshToken, second.RefreshToken, third.RefreshToken} {
		for name, options := range map[string][]option{
			"nothing":              nil,
			"an access token":      {bearer(third.Token), tenant(aTenant)},
			"the tenant":           {tenant(aTenant)},
			"a key, no tenant":     {as("exchanger")},
			"a key for all, none":  {as("everywhere")},
			"a key without rights": {as("reader"), tenant(aTenant)},
			"no key at all":        {bearer("ak_" + strings.Repeat("y", 26)), tenant(aTenant)},
		} {
			if got := s.exchange(t, presented, options...); got.status != 401 {
				t.Errorf("%s: got %d %s, want 401", name, got.status, got.body)
			}
		}
		s.do(t, "POST", "/jwt/refresh", cookie("refresh_token", presented)).want(t, 401).keepsCookies(t)
		s.exchange(t, presented, as("globex exchanger"), tenant(bTenant)).want(t, 400, "[invalid]refreshToken")
	}
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
	if got := s.exchange(t, third.RefreshToken, proved...).want(t, 200); got.outcome() != "rotated" {
		t.Errorf("got outcome %q of the owner, want rotated", got.outcome())
	}
}

func TestATokenStringWithAnyBitChangedIsRefusedWithoutAskingTheStore(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	binary, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(g.RefreshToken, "rt_"))
	if err != nil || len(binary) != 48 {
		t.Fatalf("got %d bytes and %v, want 48", len(binary), err)
	}
	var forged []string
	for bit := range 8 * len(binary) {
		b := bytes.Clone(binary)
		b[bit/8] ^= 1 << (bit % 8)
		forged = append(forged, "rt_"+base64.RawURLEncoding.EncodeToString(b))
	}
	for bit := range 8 * len("rt_") {
		b := []byte(g.RefreshToken)
		b[bit/8] ^= 1 << (bit % 8)
		if b[bit/8] < 0x80 { // above it, the body would be no UTF-8
			forged = append(forged, string(b))
		}
	}
	forged = append(forged, g.RefreshToken+"=", g.RefreshToken+"\n", g.RefreshToken[:len(g.RefreshToken)-1],
		" "+g.RefreshToken,
		g.RefreshToken[:20]+"\r\n"+g.RefreshToken[22:], strings.ToUpper(g.RefreshToken), g.RefreshToken+g.RefreshToken)
	before, calls := s.dump(t), s.store.callCount()
	for _, f := range forged {
		got := s.exchange(t, f).want(t, 400, "[invalid]refreshToken")
		if got.outcome() != "invalid" {
			t.Errorf("got outcome %q, want invalid", got.outcome())
		}
	}
	if got := s.store.callCount() - calls; got != 0 {
		t.Errorf("the store was called %d times for %d forged token strings, want 0", got, len(forged))
	}
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
	if len(forged) < 384 {
		t.Errorf("got %d forged token strings, want one for each bit", len(forged))
	}
	s.next(t, g.RefreshToken, "rotated")
}

// claimsOf returns the payload of an access token.
func claimsOf(t *testing.T, accessToken string) map[string]any {
	t.Helper()
	segments := strings.Split(accessToken, ".")
	if len(segments) != 3 {
		t.Fatalf("got %d segments of an access token, want 3", len(segments))
	}
	return decodeSegment(t, segments[1])
}

func decodeSegment(t *testing.T, segment string) map[string]any {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(segment)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// An old string with too long a lifetime was once refused for the lifetime. So a thief learned that the session is
// active, and was not detected.
func TestALifetimeAbovePolicyHidesNoReplay(t *testing.T) {
	for name, present := range map[string]func(string) []option{
		"body": func(old string) []option {
			return []option{body(object{"refreshToken": old, "timeToLiveInSeconds": 86_400})}
		},
		"cookie": func(old string) []option {
			return []option{cookie("refresh_token", old), body(object{"timeToLiveInSeconds": 86_400})}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(t)
			first := s.issue(t, "blog", "ada") // no grace period, no recovery
			second := s.next(t, first.RefreshToken, "rotated")
			third := s.next(t, second.RefreshToken, "rotated")
			got := s.do(t, "POST", "/jwt/refresh", present(first.RefreshToken)...).want(t, 400, "[reused]refreshToken")
			if got.outcome() != "replayed" || s.alive(t, first.RefreshTokenID) {
				t.Errorf("got outcome %q, and the refresh token is active: %t", got.outcome(), s.alive(t, first.RefreshTokenID))
			}
			if name == "cookie" {
				got.dropsCookies(t, "refreshd.example")
			}
			s.exchange(t, third.RefreshToken).want(t, 400, "[revoked]refreshToken")
		})
	}
}

// A refusal for another reason has that reason, whatever lifetime the request asks for.
func TestALifetimeAbovePolicyHidesNoRefusal(t *testing.T) {
	s := newService(t)
	ask := func(tokenString string) *answer {
		return s.do(t, "POST", "/jwt/refresh", body(object{"refreshToken": tokenString, "timeToLiveInSeconds": 86_400}))
	}
	g := s.issue(t, "shop", "ada")
	ask(g.RefreshToken).want(t, 400, "[invalid]timeToLiveInSeconds")
	rotated := s.next(t, g.RefreshToken, "rotated")
	for _, retry := range []string{g.RefreshToken, rotated.RefreshToken} {
		ask(retry).want(t, 400, "[invalid]timeToLiveInSeconds")
	}
	s.setActive(t, "shop", false)
	ask(rotated.RefreshToken).want(t, 400, "[inactive]refreshToken")
	s.setActive(t, "shop", true)
	s.do(t, "DELETE", "/jwt/refresh/"+g.RefreshTokenID, backend).want(t, 200)
	ask(rotated.RefreshToken).want(t, 400, "[revoked]refreshToken")
	ask(s.issue(t, "locked", "ada").RefreshToken).want(t, 401)
}

// A client that has lost its key, or does not know yet that it needs one, must not drop the session.
func TestAMissingProofOfABindingIsNotFinal(t *testing.T) {
	s := newService(t)
	bound, err := s.api.Issue.Do(t.Context(), usecase.IssueInput{
		TenantID: aTenant, ApplicationID: "cookies", UserID: "ada", Binding: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
	})
	if err != nil {
		t.Fatal(err)
	}
	tokenString := bound.TokenString.Reveal()
	checks.Secrets.Add(tokenString)
	before := s.dump(t)
	for name, options := range map[string][]option{
		"body":                 {body(object{"refreshToken": tokenString})},
		"cookie":               {cookie("refresh_token", tokenString)},
		"with an API key":      {body(object{"refreshToken": tokenString}), as("exchanger"), tenant(aTenant)},
		"too long a lifetime":  {body(object{"refreshToken": tokenString, "timeToLiveInSeconds": 86_400})},
		"its own access token": {body(object{"refreshToken": tokenString, "token": bound.AccessToken.Reveal()})},
	} {
		t.Run(name, func(t *testing.T) {
			got := s.do(t, "POST", "/jwt/refresh", options...).want(t, 400, "[unproved]refreshToken").keepsCookies(t)
			if got.outcome() != "invalid" {
				t.Errorf("got outcome %q, want invalid", got.outcome())
			}
			if line := logLine(t, got.header.Get("X-Request-Id")); line["why"] != domain.ErrProofRequired.Error() {
				t.Errorf("got %v, want the log to say what is missing", line)
			}
		})
	}
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

// If the response says more seconds than remain, a client sends the access token until a resource server refuses it.
func TestTheSecondsLeftAreThoseOfTheTokens(t *testing.T) {
	s := newService(t)
	end := s.clock().Add(2 * time.Hour)
	g := s.do(t, "POST", "/jwt/issue", backend, body(object{
		"applicationsId": "shop", "userId": "ada", "insertInstant": end.Add(-365 * 24 * time.Hour).UnixMilli(),
	})).want(t, 200).grant(t)
	ends := end.Truncate(time.Second) // the expiry is cut to the second
	for _, before := range []time.Duration{
		2 * time.Hour, 16 * time.Minute, 15 * time.Minute, 15*time.Minute - time.Millisecond, 14 * time.Minute, time.Minute,
		20 * time.Second,
		1001 * time.Millisecond, time.Second, 999 * time.Millisecond, time.Microsecond,
	} {
		s.wait(ends.Add(-before).Sub(s.clock()))
		got := s.exchange(t, g.RefreshToken).want(t, 200)
		g = got.grant(t)
		left := int64(math.Ceil(before.Seconds()))
		if g.RefreshTokenExpiresIn != left {
			t.Errorf("%s before the end: got %d seconds of the refresh token, want %d", before, g.RefreshTokenExpiresIn, left)
		}
		expires := time.Unix(int64(claimsOf(t, g.Token)["exp"].(float64)), 0)
		untilThen := int64(math.Ceil(expires.Sub(s.clock()).Seconds()))
		if g.ExpiresIn != min(900, untilThen) || g.ExpiresIn < 1 || expires.After(ends) {
			t.Errorf("%s before the end: got %d seconds of an access token that expires at %s", before, g.ExpiresIn, expires)
		}
	}
	s.wait(time.Microsecond)
	s.exchange(t, g.RefreshToken).want(t, 400, "[expired]refreshToken")
}

// An application that has a client secret asks for it in the dialect of OAuth 2. Here it asks for an API key, as if its
// policy required authentication: for the current token string and for old ones, so that a replay without a
// credential does not end the session.
func TestAConfidentialClientNeedsAnAPIKeyHere(t *testing.T) {
	s := newService(t)
	proved := []option{as("exchanger"), tenant(aTenant)}
	first := s.issue(t, "blog", "ada")
	second := s.exchange(t, first.RefreshToken).want(t, 200).grant(t) // it has no secret yet
	a, err := s.store.Application(t.Context(), aTenant, "blog")
	if err != nil {
		t.Fatal(err)
	}
	a.Client.Secrets = []domain.ClientSecret{{Hash: strings.Repeat("h", 32), HashKey: 1, CreatedAt: began}}
	if err := storagetest.SaveApplication(t.Context(), s.store, a); err != nil {
		t.Fatal(err)
	}
	s.wait(time.Hour)
	before := s.dump(t)
	for _, presented := range []string{first.RefreshToken, second.RefreshToken} {
		for name, options := range map[string][]option{
			"nothing": nil, "an access token": {bearer(second.Token), tenant(aTenant)}, "the tenant": {tenant(aTenant)},
		} {
			if got := s.exchange(t, presented, options...); got.status != 401 {
				t.Errorf("%s: got %d %s, want 401", name, got.status, got.body)
			}
		}
	}
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store (-before +after):\n%s", diff)
	}
	s.exchange(t, second.RefreshToken, proved...).want(t, 200)
	s.wait(time.Hour)
	s.exchange(t, first.RefreshToken, proved...).want(t, 400, "[reused]refreshToken")
}
