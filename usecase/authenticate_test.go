package usecase_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/memstore"
	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase"
	"github.com/refreshd/refreshd/usecase/admin"
)

// withKeys returns a world with a key for acme, one for all tenants, and one that expires in an hour.
func withKeys(t *testing.T) (w *world, acme, all, brief domain.Secret) {
	t.Helper()
	w = newWorld(t)
	acme, all = domain.NewSecret("ak_acme-4567890123456789012"), domain.NewSecret("ak_all-34567890123456789012")
	brief = domain.NewSecret("ak_brief-567890123456789012")
	permissions := domain.Permissions{"/jwt/refresh": {"GET"}}
	_, err := w.apply.Do(t.Context(), admin.Kickstart{APIKeys: []admin.KickstartAPIKey{
		{Key: acme, APIKey: domain.APIKey{Name: "acme", TenantID: "acme", Permissions: permissions}},
		{Key: all, APIKey: domain.APIKey{Name: "all", Permissions: permissions}},
		{Key: brief, APIKey: domain.APIKey{Name: "brief", Permissions: permissions,
			ExpiresAt: stored(t0.Add(time.Hour))}},
	}})
	must(t, err)
	return w, acme, all, brief
}

func TestAnAPIKeyDoesWhatItIsPermitted(t *testing.T) {
	w, acme, _, brief := withKeys(t)
	for _, tc := range []struct {
		name   string
		key    domain.Secret
		action domain.Action
		want   error
	}{
		{"permitted", acme, domain.TokenList, nil},
		{"permitted, a segment further", acme, domain.TokenRead, nil},
		{"another method", acme, domain.TokenRevokeMany, domain.ErrUnauthorized},
		{"another endpoint", acme, domain.TokenIssue, domain.ErrUnauthorized},
		{"unknown", domain.NewSecret(acme.Reveal() + "x"), domain.TokenList, domain.ErrUnauthorized},
		{"no key", domain.Secret{}, domain.TokenList, domain.ErrUnauthorized},
		{"not yet expired", brief, domain.TokenList, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := w.byKey(t, tc.key, tc.action)
			wantErr(t, err, tc.want)
		})
	}
	w.clock.advance(time.Hour)
	_, err := w.byKey(t, brief, domain.TokenList)
	wantErr(t, err, domain.ErrUnauthorized)
	if want := `API key "brief" has expired: `; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %q, want that it begins with %q: the log is where an operator learns which it is", err, want)
	}
	_, err = w.byKey(t, acme, domain.TokenList)
	must(t, err)
}

// byKey authenticates with an API key, for no tenant in particular.
func (r replica) byKey(t *testing.T, key domain.Secret, action domain.Action) (usecase.Caller, error) {
	return r.authenticate.Do(t.Context(), usecase.Credential{APIKey: key}, action, "")
}

// byToken authenticates with an access token, for no tenant in particular.
func (r replica) byToken(t *testing.T, token domain.Secret) (usecase.Caller, error) {
	return r.authenticate.Do(t.Context(), usecase.Credential{AccessToken: token}, domain.TokenList, "")
}

// A request that names no tenant is for the tenant of its credential, if that has one.
func TestARequestWithoutATenantIsForItsCallers(t *testing.T) {
	w, acme, all, _ := withKeys(t)
	for name, tc := range map[string]struct {
		cred usecase.Credential
		want string
	}{
		"a tenant's key": {usecase.Credential{APIKey: acme}, "acme"},
		"a key for all":  {usecase.Credential{APIKey: all}, ""},
		"an owner":       {usecase.Credential{AccessToken: w.issued(t, "shop").AccessToken}, "acme"},
	} {
		caller, err := w.authenticate.Do(t.Context(), tc.cred, domain.TokenList, "")
		must(t, err)
		if caller.TenantID != tc.want {
			t.Errorf("%s: got tenant %q, want %q", name, caller.TenantID, tc.want)
		}
	}
}

// An access token allows the actions of owners and no others, whatever else is sent besides; and an unknown action is
// allowed to no caller.
func TestAnOwnerMayDoWhatIsAnOwnersOnly(t *testing.T) {
	w, _, all, _ := withKeys(t)
	token := w.issued(t, "shop").AccessToken
	w.probe.forget()
	for _, action := range []domain.Action{domain.TokenIssue, domain.TokenChange, domain.TokenChangeMany,
		domain.FeedRead, ""} {
		caller, err := w.authenticate.Do(t.Context(), usecase.Credential{AccessToken: token}, action, "acme")
		wantErr(t, err, domain.ErrUnauthorized)
		if caller.Owner != nil || caller.Key.Name != "" || caller.TenantID != "" {
			t.Errorf("%s: got %+v", action, caller)
		}
	}
	if calls := w.probe.asked(); len(calls) > 0 {
		t.Errorf("calls of ports: %v", calls)
	}
	for _, cred := range []usecase.Credential{{}, {APIKey: all}} {
		_, err := w.authenticate.Do(t.Context(), cred, "", "acme")
		wantErr(t, err, domain.ErrUnauthorized)
	}
}

func TestWhatCannotBeAnAPIKeyDoesNotReachTheStore(t *testing.T) {
	w := newWorld(t)
	for _, s := range []string{"", "ak_", "ak_short", "no.access.token", "ak_with.a.dot.5678901234567890123"} {
		_, err := w.byKey(t, domain.NewSecret(s), domain.TokenList)
		wantErr(t, err, domain.ErrUnauthorized)
	}
	if calls := w.probe.asked(); len(calls) > 0 {
		t.Errorf("calls of ports: %v", calls)
	}
}

// A leaked key is removed from the store, here by giving its name another key: the next request with it is refused.
func TestARemovedAPIKeyIsDeadAtOnce(t *testing.T) {
	w, acme, _, _ := withKeys(t)
	other := domain.NewSecret("ak_other-567890123456789012")
	_, err := w.open(t).apply.Do(t.Context(), admin.Kickstart{APIKeys: []admin.KickstartAPIKey{
		{Key: other, APIKey: domain.APIKey{Name: "acme", TenantID: "acme",
			Permissions: domain.Permissions{"*": {"*"}}}},
	}})
	must(t, err)
	_, err = w.byKey(t, acme, domain.TokenList)
	wantErr(t, err, domain.ErrUnauthorized)
	_, err = w.byKey(t, other, domain.TokenList)
	must(t, err)
}

// The error for another tenant is the same as for one that does not exist.
func TestACallerActsOnItsTenantOnly(t *testing.T) {
	w, acme, all, _ := withKeys(t)
	byKey := func(key domain.Secret) usecase.Credential { return usecase.Credential{APIKey: key} }
	mine := w.issued(t, "shop")
	owner := usecase.Credential{AccessToken: mine.AccessToken}
	for _, tc := range []struct {
		name     string
		cred     usecase.Credential
		tenantID string
		want     error
	}{
		{"a tenant's key", byKey(acme), "acme", nil},
		{"a tenant's key, another tenant", byKey(acme), "globex", domain.ErrUnauthorized},
		{"a tenant's key, an unknown tenant", byKey(acme), "unknown", domain.ErrUnauthorized},
		{"a key for all", byKey(all), "globex", nil},
		{"a key for all, an unknown tenant", byKey(all), "unknown", domain.ErrUnauthorized},
		{"an owner", owner, "acme", nil},
		{"an owner, another tenant", owner, "globex", domain.ErrUnauthorized},
	} {
		t.Run(tc.name, func(t *testing.T) {
			caller, err := w.authenticate.Do(t.Context(), tc.cred, domain.TokenList, tc.tenantID)
			wantErr(t, err, tc.want)
			want := ""
			if tc.want == nil {
				want = tc.tenantID
			}
			if caller.TenantID != want {
				t.Errorf("got a caller for tenant %q, want %q", caller.TenantID, want)
			}
			if caller.Key.Name == "" && caller.Owner == nil {
				t.Error("a valid credential is taken for a guess")
			}
		})
	}
	must(t, storagetest.DeleteTenant(t.Context(), w.store, "acme", w.clock.now()))
	_, err := w.byToken(t, mine.AccessToken)
	wantErr(t, err, domain.ErrUnauthorized)
	_, err = w.byKey(t, acme, domain.TokenList)
	wantErr(t, err, domain.ErrUnauthorized)
}

func TestAnOwnerIsWhoHoldsAnAccessToken(t *testing.T) {
	w := newWorld(t)
	in := fullIssue(domain.ID{})
	bound, err := w.issue.Do(t.Context(), in)
	must(t, err)
	_, err = w.byToken(t, bound.AccessToken) // its bearer has not proved possession of the key
	wantErr(t, err, domain.ErrUnauthorized)
	in.Binding = ""
	g, err := w.issue.Do(t.Context(), in)
	must(t, err)
	got, err := w.byToken(t, g.AccessToken)
	must(t, err)
	iat := stored(t0).Truncate(time.Second)
	want := domain.NewAccessToken(g.RefreshToken, g.Policy, "https://login.acme.example", iat, iat, 15*time.Minute)
	want.ID = got.Owner.ID // the signer's
	if diff := cmp.Diff(&want, got.Owner); diff != "" {
		t.Errorf("owner (-want +got):\n%s", diff)
	}
	for _, s := range []domain.Secret{{}, domain.NewSecret("no.access.token"), g.TokenString,
		domain.NewSecret(g.AccessToken.Reveal() + "A")} {
		_, err := w.byToken(t, s)
		wantErr(t, err, domain.ErrUnauthorized)
	}
	w.clock.at = want.ExpiresAt.Add(-time.Microsecond)
	_, err = w.byToken(t, g.AccessToken)
	must(t, err)
	w.clock.at = want.ExpiresAt
	caller, err := w.byToken(t, g.AccessToken)
	wantErr(t, err, domain.ErrUnauthorized)
	if caller.Owner == nil {
		t.Error("an access token that only has expired is taken for a guess")
	}
}

// A session that was revoked because it was stolen must not be able to end or read its owner's other sessions while its
// access token is valid. One read is enough.
func TestAnOwnersSessionIsActive(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *world, usecase.Grant){
		"revoked": func(t *testing.T, w *world, g usecase.Grant) {
			_, err := w.revoke.Do(t.Context(), usecase.RevokeInput{TenantID: "acme", TokenString: &g.TokenString})
			must(t, err)
		},
		"revoked with its user": func(t *testing.T, w *world, _ usecase.Grant) {
			_, err := w.revoke.Do(t.Context(), usecase.RevokeInput{
				TenantID: "acme", Selector: domain.SelectorInput{UserID: new("ana")},
			})
			must(t, err)
		},
		"replayed": func(t *testing.T, w *world, g usecase.Grant) {
			second := w.rotated(t, g.TokenString)
			w.clock.advance(time.Minute)
			w.rotated(t, second.TokenString)
			wantOutcome(t, w.exchanged(t, g.TokenString), domain.RefusedReplayed, nil)
		},
		"application deleted": func(t *testing.T, w *world, _ usecase.Grant) {
			must(t, storagetest.DeleteApplication(t.Context(), w.store, "acme", "shop", w.clock.now()))
		},
		"purged": func(t *testing.T, w *world, _ usecase.Grant) { w.probe.Store = memstore.New() },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			g := w.issued(t, "shop")
			w.probe.forget()
			_, err := w.byToken(t, g.AccessToken)
			must(t, err)
			if got := w.probe.asked(); !slices.Equal(got, []string{"Verify", "Find"}) {
				t.Errorf("calls of ports: %v, want one read", got)
			}
			end(t, w, g)
			caller, err := w.byToken(t, g.AccessToken)
			wantErr(t, err, domain.ErrUnauthorized)
			if caller.Owner == nil {
				t.Error("a genuine access token is taken for a guess")
			}
		})
	}
}

// A token that this service signed verifies, which is not enough: it may be for another party than its user.
func TestAnAccessTokenForSomebodyElseIsNoOwners(t *testing.T) {
	w := newWorld(t)
	g := w.issued(t, "shop")
	good, err := w.byToken(t, g.AccessToken)
	must(t, err)
	for name, change := range map[string]func(*domain.AccessToken){
		"for an actor":         func(a *domain.AccessToken) { a.Claims = `{"act":{"sub":"support"}}` },
		"for an actor, empty":  func(a *domain.AccessToken) { a.Claims = `{"plan":"gold","act":null}` },
		"bound to a key":       func(a *domain.AccessToken) { a.Claims = `{"cnf":{"jkt":"x"}}` },
		"for another audience": func(a *domain.AccessToken) { a.Audience = "api" },
		"of another application": func(a *domain.AccessToken) {
			a.ApplicationID, a.Audience = "reusable", "reusable"
		},
		"of another user":            func(a *domain.AccessToken) { a.Subject = "bob" },
		"of no session":              func(a *domain.AccessToken) { a.SessionID = "" },
		"of a session not there":     func(a *domain.AccessToken) { a.SessionID = domain.ID{9}.String() },
		"of another tenant":          func(a *domain.AccessToken) { a.TenantID = "globex" },
		"with an unreadable session": func(a *domain.AccessToken) { a.SessionID = "7" },
	} {
		t.Run(name, func(t *testing.T) {
			changed := *good.Owner
			change(&changed)
			w.probe.verified = &changed
			caller, err := w.byToken(t, g.AccessToken)
			wantErr(t, err, domain.ErrUnauthorized)
			if caller.Owner == nil {
				t.Error("a genuine access token is taken for a guess")
			}
		})
	}
	same := *good.Owner
	w.probe.verified = &same
	_, err = w.byToken(t, g.AccessToken)
	must(t, err)
	same.Claims = `{"actor":"x","Act":1}` // other names
	_, err = w.byToken(t, g.AccessToken)
	must(t, err)
}

// The operator of the store needs no credential. A tenant that does not exist is still an error.
func TestAnOperatorMayDoEverythingForEveryTenant(t *testing.T) {
	w, _, _, _ := withKeys(t)
	a := *w.authenticate
	a.Operator = "root"
	for _, action := range []domain.Action{domain.TokenIssue, domain.TokenRevokeMany, "apikey.create"} {
		for _, cred := range []usecase.Credential{
			{}, {APIKey: domain.NewSecret("ak_unknown-789012345678901234")}, {AccessToken: domain.NewSecret("a.b.c")},
		} {
			caller, err := a.Do(t.Context(), cred, action, "acme")
			must(t, err)
			want := usecase.Caller{TenantID: "acme", Operator: "root"}
			if diff := cmp.Diff(want, caller); diff != "" {
				t.Errorf("%s (-want +got):\n%s", action, diff)
			}
			if got, want := caller.Actor(), (domain.Actor{Kind: domain.ActorOperator, Name: "root"}); got != want {
				t.Errorf("the actor is %+v, want %+v", got, want)
			}
		}
	}
	_, err := a.Do(t.Context(), usecase.Credential{}, domain.TokenList, "unknown")
	wantErr(t, err, domain.ErrUnauthorized)
	caller, err := a.Do(t.Context(), usecase.Credential{}, "tenant.read", "")
	if err != nil || caller.TenantID != "" {
		t.Errorf("without a tenant: %+v, %v", caller, err)
	}
}
