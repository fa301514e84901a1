package admin_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/storagetest"
	"github.com/refreshd/refreshd/usecase/admin"
)

// manager returns a caller with this key.
func manager(k domain.APIKey) admin.By { return admin.By{Key: &k, TenantID: k.TenantID} }

// saved stores a key for a test, and returns it with its id and version.
func (w *world) saved(t *testing.T, k domain.APIKey) domain.APIKey {
	t.Helper()
	k.Hash = "hash of " + k.Name
	must(t, storagetest.SaveAPIKey(t.Context(), w.store, k))
	k, err := w.store.APIKeyByName(t.Context(), k.Name)
	must(t, err)
	return k
}

type keyEdit = func(domain.APIKey) (domain.APIKey, domain.Secret, error)

// A key that manages others cannot make one that is wider than itself, whichever way it tries, and cannot get another
// key text for one that is.
func TestAManagerNeverGetsAWiderKey(t *testing.T) {
	soon := stored(t0.Add(time.Hour))
	self := domain.APIKey{Name: "manager", TenantID: "acme", ExpiresAt: soon,
		Permissions: domain.Permissions{"/api-key": {"*"}, "/jwt/refresh": {"GET"}}}
	within := func() domain.APIKey {
		return domain.APIKey{Name: "within", TenantID: "acme", ExpiresAt: soon,
			Permissions: domain.Permissions{"/jwt/refresh": {"GET"}}}
	}
	allow := func(endpoint, method string) func(*domain.APIKey) {
		return func(k *domain.APIKey) { k.Permissions[endpoint] = []string{method} }
	}
	ways := map[string]struct {
		widen func(k *domain.APIKey)
		field string
	}{
		"a method":       {allow("/jwt/refresh", "*"), "permissions.endpoints./jwt/refresh"},
		"an endpoint":    {allow("/jwt/issue", "POST"), "permissions.endpoints./jwt/issue"},
		"everything":     {allow("*", "POST"), "permissions.endpoints.*"},
		"administration": {allow("/tenant", "GET"), "permissions.endpoints./tenant"},
		"lists":          {allow("/sessions", "GET"), "permissions.endpoints./sessions"},
		"another tenant": {func(k *domain.APIKey) { k.TenantID = "globex" }, "tenantId"},
		"every tenant":   {func(k *domain.APIKey) { k.TenantID = "" }, "tenantId"},
		"a later expiry": {func(k *domain.APIKey) { k.ExpiresAt = soon.Add(time.Second) }, "expiresAt"},
		"no expiry":      {func(k *domain.APIKey) { k.ExpiresAt = time.Time{} }, "expiresAt"},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			ctx, by := t.Context(), manager(w.saved(t, self))
			wide := within()
			way.widen(&wide)
			_, made, err := w.apiKeys.Create(ctx, by, wide, domain.Secret{})
			wantCodes(t, err, "[forbidden]"+way.field)
			if !made.IsZero() {
				t.Error("a key that was not created was made")
			}
			one := w.saved(t, within())
			_, err = w.apiKeys.Change(ctx, by, one.ID, nil,
				func(k domain.APIKey) (domain.APIKey, domain.Secret, error) {
					way.widen(&k)
					return k, domain.Secret{}, nil
				})
			wantCodes(t, err, "[forbidden]"+way.field)
			_, err = w.apiKeys.Change(ctx, by, by.Key.ID, nil, // itself
				func(k domain.APIKey) (domain.APIKey, domain.Secret, error) {
					way.widen(&k)
					return k, domain.Secret{}, nil
				})
			wantCodes(t, err, "[forbidden]"+way.field)

			wide.Name = "wide"
			other := w.saved(t, wide)
			want := domain.ErrUnauthorized
			if wide.TenantID != "acme" {
				want = domain.ErrNotFound
			}
			keep := func(k domain.APIKey) (domain.APIKey, domain.Secret, error) { return k, domain.Secret{}, nil }
			for what, edit := range map[string]keyEdit{
				"nothing": keep,
				"narrow": func(k domain.APIKey) (domain.APIKey, domain.Secret, error) {
					k.Permissions, k.TenantID, k.ExpiresAt = nil, "acme", soon
					return k, domain.Secret{}, nil
				},
				"another key": func(k domain.APIKey) (domain.APIKey, domain.Secret, error) {
					return k, backendKey, nil
				},
			} {
				if _, err := w.apiKeys.Change(ctx, by, other.ID, nil, edit); !errors.Is(err, want) {
					t.Errorf("%s of a wider key: %v, want %v", what, err, want)
				}
			}
			_, made, err = w.apiKeys.NewKey(ctx, by, other.ID, nil, true)
			wantErr(t, err, want)
			if !made.IsZero() {
				t.Error("a new key of a wider one was shown")
			}
			_, _, err = w.apiKeys.EndPrevious(ctx, by, other.ID, nil)
			wantErr(t, err, want)
			wantErr(t, w.apiKeys.Delete(ctx, by, other.ID, nil), want)
			for _, before := range []domain.APIKey{one, other} {
				after, err := w.store.APIKey(ctx, before.ID)
				must(t, err)
				if diff := cmp.Diff(before, after); diff != "" {
					t.Errorf("%s (-before +after):\n%s", before.Name, diff)
				}
			}
			// The operator has the store in hand anyway.
			_, _, err = w.apiKeys.NewKey(ctx, operator, other.ID, nil, false)
			must(t, err)
		})
	}
	w := newWorld(t)
	by := manager(w.saved(t, self))
	k, made, err := w.apiKeys.Create(t.Context(), by, within(), domain.Secret{})
	must(t, err)
	if !domain.IsAPIKey(made.Reveal()) {
		t.Error("a key within the manager has no text")
	}
	_, _, err = w.apiKeys.NewKey(t.Context(), by, k.ID, nil, false)
	must(t, err)
	must(t, w.apiKeys.Delete(t.Context(), by, k.ID, nil))
	_, _, err = w.apiKeys.Create(t.Context(), admin.By{}, within(), domain.Secret{})
	wantErr(t, err, domain.ErrUnauthorized)
}

// Two keys are valid at a time, so that a key can be changed without an outage; and never three.
func TestAKeyIsReplacedWithoutAnOutage(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	k, first, err := w.apiKeys.Create(ctx, operator,
		domain.APIKey{Name: "backend", TenantID: "acme", Permissions: domain.Permissions{"*": {"*"}}}, domain.Secret{})
	must(t, err)
	valid := func(when string, want ...bool) func(keys ...domain.Secret) {
		return func(keys ...domain.Secret) {
			t.Helper()
			for i, key := range keys {
				if _, err := w.byKey(t, key, domain.TokenList); (err == nil) != want[i] {
					t.Errorf("%s: key %d: %v, want it valid: %t", when, i+1, err, want[i])
				}
			}
		}
	}
	valid("created", true)(first)
	_, second, err := w.apiKeys.NewKey(ctx, operator, k.ID, nil, false)
	must(t, err)
	valid("replaced", true, true)(first, second)
	_, made, err := w.apiKeys.NewKey(ctx, operator, k.ID, nil, false)
	if wantErr(t, err, admin.ErrPreviousKey); !made.IsZero() {
		t.Error("a new key was made that would end the first one")
	}
	wantCodes(t, err, "[conflict]key")
	_, err = w.apiKeys.Change(ctx, operator, k.ID, nil, func(k domain.APIKey) (domain.APIKey, domain.Secret, error) {
		return k, backendKey, nil
	})
	wantErr(t, err, admin.ErrPreviousKey)
	valid("refused", true, true, false)(first, second, backendKey)
	k, third, err := w.apiKeys.NewKey(ctx, operator, k.ID, nil, true)
	must(t, err)
	valid("replaced again", false, true, true)(first, second, third)
	k, err = w.apiKeys.Change(ctx, operator, k.ID, admin.Expect{k.Version}, // as a PUT without key does
		func(k domain.APIKey) (domain.APIKey, domain.Secret, error) {
			k.Name, k.PreviousHash, k.Hash = "renamed", "", ""
			return k, domain.Secret{}, nil
		})
	must(t, err)
	valid("renamed", false, true, true)(first, second, third)
	ended, any, err := w.apiKeys.EndPrevious(ctx, operator, k.ID, nil)
	must(t, err)
	if !any {
		t.Error("the end of a previous key is not reported")
	}
	valid("ended", false, false, true)(first, second, third)
	again, any, err := w.apiKeys.EndPrevious(ctx, operator, k.ID, nil)
	must(t, err)
	if again.Version != ended.Version || any {
		t.Errorf("ended twice: version %d, want %d; reported as an end: %t", again.Version, ended.Version, any)
	}
	_, err = w.apiKeys.Change(ctx, operator, k.ID, nil, func(k domain.APIKey) (domain.APIKey, domain.Secret, error) {
		return k, backendKey, nil
	})
	must(t, err)
	valid("given", false, true, true)(second, third, backendKey)

	var got []string
	for _, e := range w.events(t) {
		got = append(got, fmt.Sprintf("%s %s %s", e.Kind, e.Before, e.After))
		for _, secret := range []string{first.Reveal(), second.Reveal(), third.Reveal(), k.Hash, k.PreviousHash} {
			if strings.Contains(string(e.Before+e.After), secret) {
				t.Errorf("the event %s holds a key or a hash", e.Kind)
			}
		}
	}
	const same, renamed = `"permissions.endpoints.*":"*","tenantId":"acme"`, `"name":"renamed"`
	want := []string{
		`apiKey.created  {"name":"backend",` + same + `}`,
		`apiKey.updated {"hasPreviousKey":null,"key":"another"} {"hasPreviousKey":"true","name":"backend",` + same + `}`,
		`apiKey.updated {"key":"another"} {"hasPreviousKey":"true","name":"backend",` + same + `}`,
		`apiKey.updated {"name":"backend"} {"hasPreviousKey":"true",` + renamed + `,` + same + `}`,
		`apiKey.updated {"hasPreviousKey":"true"} {` + renamed + `,` + same + `}`,
		`apiKey.updated {"hasPreviousKey":null,"key":"another"} {"hasPreviousKey":"true",` + renamed + `,` + same + `}`,
	}
	if diff := cmp.Diff(want, got, anyOrder); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// An error about an API key names the field that is wrong.
func TestAnErrorNamesTheFieldOfAnAPIKey(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	given := domain.NewSecret("ak_given-0123456789-0123456789")
	k, made, err := w.apiKeys.Create(ctx, operator, domain.APIKey{Name: "one"}, given)
	must(t, err)
	if !made.IsZero() {
		t.Error("a key that was given is shown")
	}
	_, _, err = w.apiKeys.NewKey(ctx, operator, k.ID, nil, false) // the given one is the previous one now
	must(t, err)
	for _, tt := range []struct {
		name, want string
		by         admin.By
		k          domain.APIKey
		key        domain.Secret
	}{
		{"a name that is taken", "[duplicate]name", operator, domain.APIKey{Name: "one"}, domain.Secret{}},
		{"a key that is another's previous one", "[duplicate]key", operator, domain.APIKey{Name: "two"}, given},
		{"no key", "[invalid]key", operator, domain.APIKey{Name: "two"}, domain.NewSecret("hunter2")},
		{"a tenant that does not exist", "[invalid]tenantId", operator, domain.APIKey{Name: "two", TenantID: "none"},
			domain.Secret{}},
		{"another tenant than the request's", "[forbidden]tenantId", forTenant(operator, "acme"),
			domain.APIKey{Name: "two", TenantID: "globex"}, domain.Secret{}},
		{"no name", "[blank]name", operator, domain.APIKey{}, domain.Secret{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := w.apiKeys.Create(ctx, tt.by, tt.k, tt.key)
			wantCodes(t, err, tt.want)
		})
	}
}

// A caller for one tenant sees the keys of that tenant only, and not those of every tenant.
func TestAPIKeysAreSeenByTheirTenant(t *testing.T) {
	w := newWorld(t)
	var keys []domain.APIKey
	for _, tenant := range []string{"", "acme", "globex", "acme"} {
		keys = append(keys, w.saved(t, domain.APIKey{Name: fmt.Sprint(len(keys), " of ", tenant), TenantID: tenant}))
	}
	for name, tt := range map[string]struct {
		by   admin.By
		want string
	}{
		"an operator":                {operator, "0 of |1 of acme|2 of globex|3 of acme"},
		"an operator for one tenant": {forTenant(operator, "acme"), "1 of acme|3 of acme"},
		"a key of one tenant":        {manager(domain.APIKey{TenantID: "globex"}), "2 of globex"},
		"a key of all":               {manager(domain.APIKey{}), "0 of |1 of acme|2 of globex|3 of acme"},
		"no caller":                  {admin.By{}, ""},
		"a key of one tenant, in a request that names none": {
			admin.By{Key: &domain.APIKey{TenantID: "acme"}}, "1 of acme|3 of acme",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var listed, got []string
			for after := (domain.ID{}); ; {
				page, next, err := w.apiKeys.List(t.Context(), tt.by, after, 1)
				must(t, err)
				for _, k := range page {
					listed = append(listed, k.Name)
				}
				if after = next; next.IsZero() {
					break
				}
			}
			for _, k := range keys {
				if one, err := w.apiKeys.Get(t.Context(), tt.by, k.ID); err == nil {
					got = append(got, one.Name)
				} else {
					wantErr(t, err, domain.ErrNotFound)
				}
			}
			if strings.Join(got, "|") != tt.want || !cmp.Equal(listed, got, anyOrder) {
				t.Errorf("listed %q, got %q, want %q", listed, got, tt.want)
			}
		})
	}
}

// The list of keys has no content, pages by revision, and shows a caller for one tenant that tenant's keys.
func TestKeysAreListedWithoutTheirContent(t *testing.T) {
	w := newWorld(t)
	w.issued(t, "shop") // makes a signing key of acme
	sealed, err := w.store.KeysSince(t.Context(), 0, 100)
	must(t, err)
	keys := &admin.Keys{Keys: w.store, Clock: w.clock.now}
	list := func(by admin.By) (all []admin.Key) {
		for after := uint64(0); ; {
			page, next, err := keys.List(t.Context(), by, after, 1)
			must(t, err)
			all = append(all, page...)
			if after = next; next == 0 {
				return all
			}
		}
	}
	all := list(operator)
	if len(all) != len(sealed) {
		t.Errorf("%d keys are listed, want %d", len(all), len(sealed))
	}
	own := list(forTenant(operator, "acme"))
	if len(own) != 1 || own[0].TenantID != "acme" || own[0].Kind != domain.KeySigning {
		t.Fatalf("keys of acme: %+v", own)
	}
	if diff := cmp.Diff(own, list(admin.By{Key: &domain.APIKey{TenantID: "acme"}})); diff != "" {
		t.Errorf("by a key of acme, in a request that names no tenant (-want +got):\n%s", diff)
	}
	if none := list(admin.By{}); len(none) > 0 {
		t.Errorf("%d keys are listed without a caller", len(none))
	}
	got, err := keys.Get(t.Context(), forTenant(operator, "acme"), own[0].ID)
	must(t, err)
	if diff := cmp.Diff(own[0], got); diff != "" {
		t.Errorf("by its id (-listed +got):\n%s", diff)
	}
	_, err = keys.Get(t.Context(), forTenant(operator, "globex"), own[0].ID)
	wantErr(t, err, domain.ErrNotFound)
	_, err = keys.Get(t.Context(), operator, "")
	wantErr(t, err, domain.ErrNotFound)
}
