package usecase_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
)

func (w *world) minter() usecase.Minter {
	return usecase.Minter{Keys: w.keys, Signer: w.probe, PublicURL: publicURL}
}

// A client schedules its next exchange by expiresIn, and a browser drops a cookie after it. If it is too large, both
// send an access token that has expired; if it is zero, they send none.
func TestAGrantSaysForHowLongItIsGood(t *testing.T) {
	w := newWorld(t)
	const ms, s = time.Millisecond, time.Second
	second := stored(t0).Truncate(s)
	token := w.record(t, w.issued(t, "shop").RefreshToken.ID)
	for _, tc := range []struct {
		rule                     string
		from, now, session, life time.Duration
		iat, exp                 time.Duration
		access, refresh          time.Duration
	}{
		{"at the answer, early in a second", 1 * ms, 1 * ms, 5000 * s, 0, 0, 900 * s, 900 * s, 5000 * s},
		{"at the answer, late in a second", 999 * ms, 999 * ms, 5000 * s, 0, 0, 900 * s, 900 * s, 5000 * s},
		{"a retry", 0, 30_001 * ms, 5000 * s, 0, 0, 900 * s, 870 * s, 4970 * s},
		{"a retry at a whole second", 0, 30 * s, 5000 * s, 0, 0, 900 * s, 870 * s, 4970 * s},
		{"a retry in the second half", 0, 451 * s, 5000 * s, 0, 450 * s, 1350 * s, 899 * s, 4549 * s},
		{"a shorter lifetime", 0, 14 * s, 5000 * s, 10 * s, 10 * s, 20 * s, 6 * s, 4986 * s},
		{"a second, late in it", 0, 999 * ms, 5000 * s, 1 * s, 0, 1 * s, 1 * s, 5000 * s},
		{"an answer by a clock that is ahead", 20 * s, 0, 5000 * s, 0, 20 * s, 920 * s, 900 * s, 5000 * s},
		{"the session ends sooner", 0, 1 * ms, 7 * s, 0, 0, 7 * s, 7 * s, 7 * s},
		{"the session's last moment", 0, 6_999 * ms, 7 * s, 0, 0, 7 * s, 1 * s, 1 * s},
	} {
		token.ExpiresAt = second.Add(tc.session)
		from, now := second.Add(tc.from), second.Add(tc.now)
		g, err := w.minter().Grant(t.Context(), token, domain.DefaultPolicy(), from, now, tc.life)
		must(t, err)
		claims := claimsOf(t, g.AccessToken)
		for name, want := range map[string]time.Duration{"iat": tc.iat, "exp": tc.exp} {
			if got := time.Unix(int64(claims[name].(float64)), 0).Sub(second); got != want {
				t.Errorf("%s: %s is %s after the second, want %s", tc.rule, name, got, want)
			}
		}
		if g.ExpiresIn != tc.access || g.RefreshTokenExpiresIn != tc.refresh {
			t.Errorf("%s: expires in %s, the refresh token in %s, want %s, %s",
				tc.rule, g.ExpiresIn, g.RefreshTokenExpiresIn, tc.access, tc.refresh)
		}
	}
}

// If a signing key that starts between a response and its retry signed the retry, it would be another token. A key that
// has started by the half from which the retry counts signs it.
func TestAGrantIsSignedWithTheKeyOfItsIssuedAt(t *testing.T) {
	w := newWorld(t)
	g := w.issued(t, "shop")
	private, err := w.probe.Signer.NewKey(domain.ES256, 0)
	must(t, err)
	from := stored(t0)
	key, err := w.master.Seal(domain.SealedKey{
		Kind: domain.KeySigning, TenantID: "acme", Algorithm: domain.ES256, Number: 2, ID: "next", CreatedAt: from,
		StartsAt: from.Truncate(time.Second).Add(time.Minute),
	}, private, w.random)
	must(t, err)
	must(t, w.store.AddKeys(t.Context(), storagetest.NewEvent(), key))
	must(t, w.keys.Reload(t.Context()))
	for after, next := range map[time.Duration]bool{
		0: false, 59 * time.Second: false, 2 * time.Minute: false, 449 * time.Second: false, 451 * time.Second: true,
	} {
		again, err := w.minter().Grant(t.Context(), g.RefreshToken, g.Policy, from, from.Add(after), 0)
		must(t, err)
		if got := kidOf(t, again.AccessToken) == "next"; got != next {
			t.Errorf("%s after the answer: signed with the new key is %t, want %t", after, got, next)
		}
		if !next {
			sameGrant(t, again, g)
		}
	}
}

func TestTheTypeOfAnAccessTokenIsThePolicys(t *testing.T) {
	w := newWorld(t)
	w.application(t, "acme", "spring", domain.Settings{AccessTokenType: new(domain.TypeJWT)})
	for application, want := range map[string]string{"shop": `"typ":"at+jwt"`, "spring": `"typ":"JWT"`} {
		g := w.issued(t, application)
		head, _, _ := strings.Cut(g.AccessToken.Reveal(), ".")
		header, err := base64.RawURLEncoding.DecodeString(head)
		must(t, err)
		if !strings.Contains(string(header), want) {
			t.Errorf("%s: got header %s, want %s", application, header, want)
		}
		if _, err := w.byToken(t, g.AccessToken); err != nil {
			t.Errorf("%s: %v", application, err)
		}
	}
}
