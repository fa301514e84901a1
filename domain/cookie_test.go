package domain_test

import (
	"strings"
	"testing"

	"github.com/refreshd/refreshd/domain"
)

func TestCookieNames(t *testing.T) {
	for _, tt := range []struct{ set, refresh, access string }{
		{"", "refresh_token", "access_token"},
		{"refresh_token", "refresh_token", "access_token"},
		{"shop", "shop", "shop_access"},
		{"__Host-shop", "__Host-shop", "__Host-shop_access"},
	} {
		refresh, access := domain.Policy{CookieName: tt.set}.CookieNames()
		if refresh != tt.refresh || access != tt.access {
			t.Errorf("%q: got %s and %s, want %s and %s", tt.set, refresh, access, tt.refresh, tt.access)
		}
	}
	wantCodes(t, domain.Tenant{ID: "acme", Settings: with("CookieName", strings.Repeat("a", 65))}.Validate(),
		"[tooLong]cookieName")
}

// An application that names any of these expects its access tokens to fit into a cookie.
func TestUsesCookies(t *testing.T) {
	for field, value := range map[string]any{
		"CookieName": "shop", "CookieDomain": "acme.example", "CookieHostOnly": true,
	} {
		if !combined(t, domain.Tenant{}, domain.Application{Settings: with(field, value)}).UsesCookies() {
			t.Errorf("%s: got no use of cookies", field)
		}
	}
	if domain.DefaultPolicy().UsesCookies() {
		t.Error("the default: got use of cookies")
	}
}

// A browser silently drops a cookie of such a name that has a domain: it would never be sent.
func TestACookieWithoutADomainExcludesOne(t *testing.T) {
	none, acme := domain.Settings{}, domain.Settings{CookieDomain: new("acme.example")}
	for name, tt := range map[string]struct {
		tenant, app domain.Settings
		refused     bool
	}{
		"host prefix, no domain": {none, domain.Settings{CookieName: new("__Host-s")}, false},
		"host prefix and domain": {none, domain.Settings{CookieName: new("__Host-s"),
			CookieDomain: new("a.example")}, true},
		"in another case": {none, domain.Settings{CookieName: new("__hOST-s"),
			CookieDomain: new("a.example")}, true},
		"secure prefix and domain": {none, domain.Settings{CookieName: new("__Secure-s"),
			CookieDomain: new("a.example")}, false},
		"host only and domain": {none, domain.Settings{CookieHostOnly: new(true), CookieDomain: new("a.example")},
			true},
		"domain of the tenant":     {acme, domain.Settings{CookieHostOnly: new(true)}, true},
		"prefix, domain of tenant": {acme, domain.Settings{CookieName: new("__Host-s")}, true},
		"domain of tenant, undone": {acme, domain.Settings{CookieHostOnly: new(true), CookieDomain: new("")}, false},
		"prefix of tenant, undone": {domain.Settings{CookieName: new("__Host-s")},
			domain.Settings{CookieName: new(""), CookieDomain: new("a.example")}, false},
		"host only of tenant, both": {domain.Settings{CookieHostOnly: new(true)}, acme, true},
	} {
		t.Run(name, func(t *testing.T) {
			tenant := domain.Tenant{ID: "acme", Settings: tt.tenant}
			app := domain.Application{ID: "shop", Settings: tt.app}
			want := []string(nil)
			if tt.refused {
				want = []string{"[conflict]cookieDomain"}
			}
			wantCodes(t, app.Validate(tenant), want...)
			_, err := domain.CombineAll(tenant, map[string]domain.Application{"shop": app})
			if tt.refused {
				want = []string{`[conflict]applications["shop"].cookieDomain`}
			}
			wantCodes(t, err, want...)
		})
	}
}
