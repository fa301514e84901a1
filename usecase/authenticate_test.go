package usecase_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// withKeys has a key for acme, one for all tenants, and one that expires in an hour.
func withKeys(t *testing.T) (w *world, acme, all, brief domain.Secret) {
	t.Helper()
	w = newWorld(t)
	acme, all = domain.NewSecret("ak_acme-4567890123456789012"), domain.NewSecret("ak_all-34567890123456789012")
	brief = domain.NewSecret("ak_brief-567890123456789012")
	permissions := domain.Permissions{"/jwt/refresh": {"GET"}}
	_, err := w.apply.Do(t.Context(), usecase.Kickstart{APIKeys: []usecase.KickstartAPIKey{
		{Key: acme, APIKey: domain.APIKey{Name: "acme", TenantID: "acme", Permissions: permissions}},
		{Key: all, APIKey: domain.APIKey{Name: "all", Permissions: permissions}},
		{Key: brief, APIKey: domain.APIKey{Name: "brief", Permissions: permissions, ExpiresAt: stored(t0.Add(time.Hour))}},
	}})
	must(t, err)
	return w, acme, all, brief
}

func TestAnAPIKeyDoesWhatItIsPermitted(t *testing.T) {
	w, acme, _, brief := withKeys(t)
	for _, tc := range []struct {
		name         string
		key          domain.Secret
		method, path string
		want         error
	}{
		{"permitted", acme, "GET", "/jwt/refresh", nil},
		{"permitted, a segment further", acme, "GET", "/jwt/refresh/:id", nil},
		{"another method", acme, "DELETE", "/jwt/refresh", domain.ErrUnauthorized},
		{"another endpoint", acme, "GET", "/jwt/issue", domain.ErrUnauthorized},
		{"unknown", domain.NewSecret(acme.Reveal() + "x"), "GET", "/jwt/refresh", domain.ErrUnauthorized},
		{"no key", domain.Secret{}, "GET", "/jwt/refresh", domain.ErrUnauthorized},
		{"not yet expired", brief, "GET", "/jwt/refresh", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := w.authenticate.APIKey(t.Context(), tc.key, tc.method, tc.path)
			wantErr(t, err, tc.want)
		})
	}
	w.clock.advance(time.Hour)
	_, err := w.authenticate.APIKey(t.Context(), brief, "GET", "/jwt/refresh")
	wantErr(t, err, domain.ErrUnauthorized)
	_, err = w.authenticate.APIKey(t.Context(), acme, "GET", "/jwt/refresh")
	must(t, err)
}

func TestWhatCannotBeAnAPIKeyDoesNotReachTheStore(t *testing.T) {
	w := newWorld(t)
	for _, s := range []string{"", "ak_", "ak_short", "no.access.token", "ak_with.a.dot.5678901234567890123"} {
		_, err := w.authenticate.APIKey(t.Context(), domain.NewSecret(s), "GET", "/jwt/refresh")
		wantErr(t, err, domain.ErrUnauthorized)
	}
	if calls := w.probe.asked(); len(calls) > 0 {
		t.Errorf("calls of ports: %v", calls)
	}
}

// A key that leaked is taken out of the store, here by giving its name another key: the next call with it is refused.
func TestARemovedAPIKeyIsDeadAtOnce(t *testing.T) {
	w, acme, _, _ := withKeys(t)
	other := domain.NewSecret("ak_other-567890123456789012")
	_, err := w.open(t).apply.Do(t.Context(), usecase.Kickstart{APIKeys: []usecase.KickstartAPIKey{
		{Key: other, APIKey: domain.APIKey{Name: "acme", TenantID: "acme", Permissions: domain.Permissions{"*": {"*"}}}},
	}})
	must(t, err)
	_, err = w.authenticate.APIKey(t.Context(), acme, "GET", "/jwt/refresh")
	wantErr(t, err, domain.ErrUnauthorized)
	_, err = w.authenticate.APIKey(t.Context(), other, "GET", "/jwt/refresh")
	must(t, err)
}

// No answer tells a stranger's tenant from one that does not exist.
func TestACallerActsOnItsTenantOnly(t *testing.T) {
	w, acme, all, _ := withKeys(t)
	caller := func(key domain.Secret) usecase.Caller {
		c, err := w.authenticate.APIKey(t.Context(), key, "GET", "/jwt/refresh")
		must(t, err)
		return c
	}
	owner, err := w.authenticate.Owner(t.Context(), w.issued(t, "shop").AccessToken)
	must(t, err)
	for _, tc := range []struct {
		name     string
		caller   usecase.Caller
		tenantID string
		want     error
	}{
		{"a tenant's key", caller(acme), "acme", nil},
		{"a tenant's key, another tenant", caller(acme), "globex", domain.ErrUnauthorized},
		{"a tenant's key, an unknown tenant", caller(acme), "unknown", domain.ErrUnauthorized},
		{"a key for all", caller(all), "globex", nil},
		{"a key for all, an unknown tenant", caller(all), "unknown", domain.ErrUnauthorized},
		{"an owner", owner, "acme", nil},
		{"an owner, another tenant", owner, "globex", domain.ErrUnauthorized},
	} {
		t.Run(tc.name, func(t *testing.T) { wantErr(t, w.authenticate.Tenant(t.Context(), tc.caller, tc.tenantID), tc.want) })
	}
	must(t, w.store.DeleteTenant(t.Context(), "acme", w.clock.now()))
	wantErr(t, w.authenticate.Tenant(t.Context(), owner, "acme"), domain.ErrUnauthorized)
	_, err = w.authenticate.APIKey(t.Context(), acme, "GET", "/jwt/refresh")
	wantErr(t, err, domain.ErrUnauthorized)
}

func TestAnOwnerIsWhoHoldsALivingAccessToken(t *testing.T) {
	w := newWorld(t)
	g, err := w.issue.Do(t.Context(), fullIssue(domain.ID{}))
	must(t, err)
	got, err := w.authenticate.Owner(t.Context(), g.AccessToken)
	must(t, err)
	iat := stored(t0).Truncate(time.Second)
	want := domain.NewAccessToken(g.RefreshToken, g.Policy, "https://login.acme.example", iat, iat, 15*time.Minute)
	want.ID = got.Owner.ID // the signer's
	if diff := cmp.Diff(&want, got.Owner); diff != "" {
		t.Errorf("owner (-want +got):\n%s", diff)
	}
	for _, s := range []domain.Secret{{}, domain.NewSecret("no.access.token"), g.TokenString, domain.NewSecret(g.AccessToken.Reveal() + "A")} {
		_, err := w.authenticate.Owner(t.Context(), s)
		wantErr(t, err, domain.ErrUnauthorized)
	}
	w.clock.at = want.ExpiresAt.Add(-time.Microsecond)
	_, err = w.authenticate.Owner(t.Context(), g.AccessToken)
	must(t, err)
	w.clock.at = want.ExpiresAt
	_, err = w.authenticate.Owner(t.Context(), g.AccessToken)
	wantErr(t, err, domain.ErrUnauthorized)
}
