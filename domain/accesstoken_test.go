package domain_test

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/domain"
)

func TestNewAccessToken(t *testing.T) {
	token := stored().Token
	token.IssuedEpoch = 7
	p := domain.DefaultPolicy()
	p.AccessTokenType = domain.TypeJWT
	got := domain.NewAccessToken(token, p, "https://auth.example", issued, issued, 15*time.Minute)
	want := domain.AccessToken{
		Type: "JWT", Issuer: "https://auth.example", Subject: "ada", Audience: "shop",
		IssuedAt:  time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		ExpiresAt: time.Date(2026, 3, 1, 12, 15, 0, 0, time.UTC),
		SessionID: "018f2a3b-4c5d-766e-877f-8091a2b3c4d5", TenantID: "acme", ApplicationID: "shop", IssuedEpoch: 7,
		Roles: []string{"admin"}, Scopes: []string{"read"}, Claims: `{"plan":"gold"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// accessTokenAt returns iat and exp in seconds after the second of issued, and whether they are whole seconds.
func accessTokenAt(t *testing.T, expires, from, now, lifetime time.Duration) (iat, exp float64) {
	t.Helper()
	second := issued.Truncate(time.Second)
	token := stored().Token
	token.ExpiresAt = second.Add(expires)
	a := domain.NewAccessToken(token, domain.DefaultPolicy(), "i", second.Add(from), second.Add(now), lifetime)
	return a.IssuedAt.Sub(second).Seconds(), a.ExpiresAt.Sub(second).Seconds()
}

func TestTheLifetimeOfAnAccessTokenCountsFromTheLastHalfThatPassed(t *testing.T) {
	const ms, s = time.Millisecond, time.Second
	for _, tt := range []struct {
		rule                         string
		expires, from, now, lifetime time.Duration
		iat, exp                     float64
	}{
		{"at the answer", 30 * day, 0, 0, 900 * s, 0, 900},
		{"from is cut to the second", 30 * day, 999 * ms, 999 * ms, 900 * s, 0, 900},
		{"just before half", 30 * day, 999 * ms, 449_999 * ms, 900 * s, 0, 900},
		{"at half, counted from the cut instant", 30 * day, 999 * ms, 450 * s, 900 * s, 450, 1350},
		{"after three halves", 30 * day, 0, 1_400 * s, 900 * s, 1350, 2250},
		{"half of an odd lifetime is cut to the second", 30 * day, 0, 2 * s, 5 * s, 2, 7},
		{"three seconds: half is one", 30 * day, 0, 1_999 * ms, 3 * s, 1, 4},
		{"one second: half is one", 30 * day, 0, 1_999 * ms, 1 * s, 1, 2},
		{"one second, at birth late in a second", 30 * day, 999 * ms, 999 * ms, 1 * s, 0, 1},
		{"from is ahead", 30 * day, 20 * s, 0, 900 * s, 20, 920},
		{"the session ends sooner", 100 * s, 0, 0, 900 * s, 0, 100},
		{"the session ends sooner, half passed", 500 * s, 0, 460 * s, 900 * s, 450, 500},
		{"the session ends with it", 900 * s, 0, 0, 900 * s, 0, 900},
	} {
		iat, exp := accessTokenAt(t, tt.expires, tt.from, tt.now, tt.lifetime)
		if iat != tt.iat || exp != tt.exp {
			t.Errorf("%s: got iat %v, exp %v, want %v, %v", tt.rule, iat, exp, tt.iat, tt.exp)
		}
	}
}

// A client that got an expired access token would exchange again and get the same one, for the rest of the grace
// period.
func TestAnAccessTokenIsNeverExpiredWhenItIsMade(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		micros := func(low, high time.Duration, what string) time.Duration {
			return time.Duration(rapid.Int64Range(low.Microseconds(), high.Microseconds()).Draw(t,
				what)) * time.Microsecond
		}
		const s = time.Second
		lifetime := time.Duration(rapid.OneOf(rapid.Int64Range(1, 10), rapid.Int64Range(1, 86_400)).Draw(t,
			"lifetime")) * s
		from := issued.Add(micros(0, s, "from"))
		now := from.Add(micros(-3600*s, 2*3600*s, "now")) // a grace period is at most an hour
		if rapid.Bool().Draw(t, "near") {
			now = from.Add(micros(-3*s, 3*s, "now"))
		}
		// The session ends at a whole second after now, near or far.
		left := time.Duration(rapid.OneOf(rapid.Int64Range(1, 5), rapid.Int64Range(1, 200_000)).Draw(t, "left")) * s
		token := stored().Token
		token.ExpiresAt = now.Truncate(s).Add(left)

		p := domain.DefaultPolicy()
		got := domain.NewAccessToken(token, p, "i", from, now, lifetime)
		half := max(s, (lifetime / 2).Truncate(s))
		if !got.ExpiresAt.After(now) {
			t.Fatalf("expires at %s, now is %s", got.ExpiresAt, now)
		}
		if got.ExpiresAt.After(token.ExpiresAt) {
			t.Fatalf("expires %s after the session", got.ExpiresAt.Sub(token.ExpiresAt))
		}
		if rest := got.ExpiresAt.Sub(now); lifetime >= 2*s && rest < half && !got.ExpiresAt.Equal(token.ExpiresAt) {
			t.Fatalf("%s left of %s", rest, lifetime)
		}
		if got.ExpiresAt.Sub(got.IssuedAt) > lifetime {
			t.Fatalf("is valid for %s, want %s at most", got.ExpiresAt.Sub(got.IssuedAt), lifetime)
		}
		for _, at := range []time.Time{got.IssuedAt, got.ExpiresAt} {
			if !at.Equal(at.Truncate(s)) {
				t.Fatalf("%s is not a whole second", at)
			}
		}
		// Every instant of this half lifetime gives the same claims; the next half gives others.
		first, after := got.IssuedAt, got.IssuedAt.Add(half)
		within := first.Add(micros(0, half-time.Microsecond, "within"))
		for _, at := range []time.Time{first, within, after.Add(-time.Microsecond)} {
			if again := domain.NewAccessToken(token, p, "i", from, at, lifetime); !cmp.Equal(got, again) {
				t.Fatalf("%s later: %s", at.Sub(now), cmp.Diff(got, again))
			}
		}
		if next := domain.NewAccessToken(token, p, "i", from, after, lifetime); !next.IssuedAt.Equal(after) {
			t.Fatalf("a half later: iat %s, want %s", next.IssuedAt, after)
		}
	})
}

func TestCheckAccessTokenSize(t *testing.T) {
	inHeader, inCookie := domain.DefaultPolicy(), domain.DefaultPolicy()
	inCookie.CookieDomain = "example.com"
	for _, tt := range []struct {
		policy domain.Policy
		limit  int
	}{{inHeader, 8192}, {inCookie, 4000}} {
		token := stored().Token
		largest := func(n int) domain.RefreshToken {
			token.Claims = domain.Object(`{"a":"` + strings.Repeat("x", n) + `"}`)
			return token
		}
		n := 0
		for domain.AccessTokenSize(largest(n+1), tt.policy, "https://auth.example") < tt.limit {
			n++
		}
		if err := domain.CheckAccessTokenSize(largest(n), tt.policy, "https://auth.example"); err != nil {
			t.Errorf("below %d: %v", tt.limit, err)
		}
		err := domain.CheckAccessTokenSize(largest(n+1), tt.policy, "https://auth.example")
		wantCodes(t, err, "[tooLong]")
		var invalid *domain.Invalid
		if !errors.As(err, &invalid) {
			t.Fatalf("got %v", err)
		}
		for _, word := range []string{"roles", "scopes", "claims", strconv.Itoa(tt.limit)} {
			if !strings.Contains(invalid.Fields[0].Message, word) {
				t.Errorf("the message does not name %s: %s", word, invalid.Fields[0].Message)
			}
		}
	}
}

// Actors count in a header, which alone has them, and not in a cookie.
func TestAccessTokenSizeCountsActors(t *testing.T) {
	const issuer = "https://auth.example"
	token, p := stored().Token, domain.DefaultPolicy()
	actors := []domain.TokenActor{{Subject: strings.Repeat("a", 255), ApplicationID: "console"}, {Subject: "robot"}}
	least := domain.AccessTokenSize(token, p, issuer)
	if got := domain.AccessTokenSize(token, p, issuer, actors...); got < least+(255+7+5)*4/3 {
		t.Errorf("got %d with actors, %d without", got, least)
	}
	cookies := p
	cookies.CookieDomain = "example.com"
	if with := domain.AccessTokenSize(token, cookies, issuer, actors...); with !=
		domain.AccessTokenSize(token, p, issuer, actors...) {
		t.Errorf("got %d where there are cookies", with)
	}
	token.Claims = domain.Object(`{"a":"` + strings.Repeat("x", 3500) + `"}`)
	wantCodes(t, domain.CheckAccessTokenSize(token, cookies, issuer), "[tooLong]")
	if err := domain.CheckAccessTokenSize(token, cookies, issuer, actors...); err != nil {
		t.Errorf("with actors: %v", err)
	}
	token.Claims = domain.Object(`{"a":"` + strings.Repeat("x", 5300) + `"}`)
	if err := domain.CheckAccessTokenSize(token, p, issuer); err != nil {
		t.Errorf("without actors: %v", err)
	}
	wantCodes(t, domain.CheckAccessTokenSize(token, p, issuer, actors...), "[tooLong]")
}

// RFC 8693, section 4.1: the user of a token that acts for another user comes first, then those that act for it. There
// are at most three, and a token with any does not authenticate its user.
func TestTheActorsOfAnAccessTokenAreAChain(t *testing.T) {
	token := domain.AccessToken{Subject: "ada", ApplicationID: "shop", Audience: "shop"}
	if !token.AuthenticatesUser() {
		t.Error("a token without actors does not authenticate its user")
	}
	var want []domain.TokenActor
	for n := 1; n <= 4; n++ {
		actors, ok := token.AsActor()
		want = append([]domain.TokenActor{{Subject: token.Subject, ApplicationID: "shop"}}, want...)
		if diff := cmp.Diff(want, actors); diff != "" || ok != (n <= domain.MaxTokenActors) {
			t.Errorf("%d: ok is %t (-want +got):\n%s", n, ok, diff)
		}
		token.Subject, token.Actors = "user "+strconv.Itoa(n), actors
		if token.AuthenticatesUser() {
			t.Errorf("%d: it authenticates its user", n)
		}
	}
}

// Each of the three alone is within its limit, and their sum is not.
func TestAccessTokenSizeAddsUp(t *testing.T) {
	bare := stored().Token
	bare.Roles, bare.Scopes, bare.Claims = nil, nil, ""
	size := func(change func(*domain.RefreshToken)) int {
		token := bare
		change(&token)
		return domain.AccessTokenSize(token, domain.DefaultPolicy(), "https://auth.example")
	}
	least := size(func(*domain.RefreshToken) {})
	long := strings.Repeat("x", 200)
	for name, change := range map[string]func(*domain.RefreshToken){
		"roles":  func(t *domain.RefreshToken) { t.Roles = []string{long} },
		"scopes": func(t *domain.RefreshToken) { t.Scopes = []string{long} },
		"claims": func(t *domain.RefreshToken) { t.Claims = domain.Object(`{"a":"` + long + `"}`) },
		"user":   func(t *domain.RefreshToken) { t.UserID = long },
	} {
		if got := size(change); got < least+200*4/3-8 {
			t.Errorf("%s: %d bytes, without %d", name, got, least)
		}
	}
	rsa := domain.DefaultPolicy()
	rsa.Algorithm = domain.RS256
	if got, want := domain.AccessTokenSize(bare, rsa, "https://auth.example"), least+683-86; got != want {
		t.Errorf("RS256: got %d, want %d", got, want)
	}
}
