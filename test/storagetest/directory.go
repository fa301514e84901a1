package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

var directory = []clause{
	{"Tenants/SaveTenant/keeps every field, and which are unset", func(e *env) {
		for _, s := range []domain.Settings{tenantSettings(), {}, zeroSettings()} {
			want := fullTenant()
			want.Settings = s
			e.must(SaveTenant(e.Context(), e.store, want))
			got, err := e.store.Tenant(e.Context(), "acme")
			e.must(err)
			e.wantSame("read", got, want)
			list, _, err := e.store.Tenants(e.Context(), "", 9)
			e.must(err)
			e.wantSame("listed", list, []domain.Tenant{want})
		}
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		got, err := e.store.Tenant(e.Context(), "acme")
		e.must(err)
		e.wantSame("replaced by one with nothing", got, domain.Tenant{ID: "acme"})
	}},

	{"Tenants/SaveTenant/an issuer belongs to one tenant, and a duplicate writes nothing", func(e *env) {
		acme := domain.Tenant{ID: "acme", Issuer: "https://auth.example"}
		other := domain.Tenant{ID: "other", Name: "before", Issuer: "https://auth.example/other"}
		e.must(SaveTenant(e.Context(), e.store, acme))
		e.must(SaveTenant(e.Context(), e.store, acme)) // its own issuer
		e.must(SaveTenant(e.Context(), e.store, other))
		thief := domain.Tenant{ID: "other", Name: "after", Issuer: acme.Issuer}
		e.wantErr("replaced", SaveTenant(e.Context(), e.store, thief), domain.ErrDuplicate)
		got, err := e.store.Tenant(e.Context(), "other")
		e.must(err)
		e.wantSame("after the duplicate", got, other)
		thief.ID = "third"
		e.wantErr("created", SaveTenant(e.Context(), e.store, thief), domain.ErrDuplicate)
		_, err = e.store.Tenant(e.Context(), "third")
		e.wantErr("the one not created", err, domain.ErrNotFound)
	}},

	{"Tenants/SaveTenant/any number of tenants may have no issuer, and one that was given up is free", func(e *env) {
		for _, id := range []string{"a", "b", "c"} {
			e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: id}))
		}
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "a", Issuer: "https://auth.example"}))
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "a"}))
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "b", Issuer: "https://auth.example"}))
		e.must(DeleteTenant(e.Context(), e.store, "b", t0))
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "c", Issuer: "https://auth.example"}))
	}},

	{"Tenants/SaveTenant/of many concurrent calls with one issuer exactly one succeeds", func(e *env) {
		hs := e.handles(3)
		errs := make([]error, 20)
		together(len(errs), func(i int) {
			t := domain.Tenant{ID: fmt.Sprint("tenant", i), Issuer: "https://auth.example"}
			errs[i] = SaveTenant(e.Context(), hs[i%3], t)
		})
		e.wantOneWinner(errs, domain.ErrDuplicate)
		all, _, err := e.store.Tenants(e.Context(), "", 99)
		e.must(err)
		if len(all) != 1 {
			e.Errorf("%d tenants are stored, want 1", len(all))
		}
	}},

	{"Tenants/SaveTenant/does not change epoch, marks and applications", func(e *env) {
		e.shop(domain.Settings{})
		marked := e.issue(token(1))[0]
		epoch := e.revokeScope(domain.Scope{TenantID: "acme"}, domain.ID{}, t0)
		alive := e.issue(token(2))[0]
		e.must(SaveTenant(e.Context(), e.store, fullTenant()))
		e.wantEnded("revoked before", t0, marked)
		e.wantActive("issued after the revocation", t0, alive)
		_, err := e.store.Application(e.Context(), "acme", "shop")
		e.must(err)
		if got := e.revokeScope(domain.Scope{TenantID: "acme"}, domain.ID{}, t0); got != epoch+1 {
			e.Errorf("the next epoch is %d, want %d", got, epoch+1)
		}
	}},

	{"Tenants/SaveTenant/combines the policies of its applications again, and of no others", func(e *env) {
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		own := domain.Settings{GraceSeconds: new(int64(77)), CookieOnly: new(false)}
		apps := []domain.Application{
			{TenantID: "acme", ID: "shop"}, {TenantID: "acme", ID: "bar", Settings: own},
			{TenantID: "other", ID: "shop", Settings: own},
		}
		for _, a := range apps {
			e.must(SaveApplication(e.Context(), e.store, a))
		}
		for _, t := range []domain.Tenant{fullTenant(), {ID: "acme", Settings: zeroSettings()}, {ID: "acme"}} {
			e.must(SaveTenant(e.Context(), e.store, t))
			for _, a := range apps {
				owner := domain.Tenant{ID: "other"}
				if a.TenantID == "acme" {
					owner = t
				}
				got, err := e.store.Policy(e.Context(), a.TenantID, a.ID)
				e.must(err)
				e.wantSame("policy of "+a.TenantID+"/"+a.ID, got, combined(owner, a))
			}
		}
	}},

	// The application could not be saved any more, and its policy would depend on the order of two saves.
	{"Tenants/SaveTenant/that makes an application impossible is refused, and writes nothing", func(e *env) {
		shop := domain.Application{TenantID: "acme", ID: "shop", Settings: domain.Settings{TTLMinutes: new(int64(60))}}
		bar := domain.Application{TenantID: "acme", ID: "bar", Settings: domain.Settings{TTLMinutes: new(int64(50_001))}}
		elsewhere := domain.Application{TenantID: "other", ID: "bar", Settings: bar.Settings}
		before, other := domain.Tenant{ID: "acme", Name: "before"}, domain.Tenant{ID: "other"}
		e.must(SaveTenant(e.Context(), e.store, before))
		e.must(SaveTenant(e.Context(), e.store, other))
		for _, a := range []domain.Application{shop, bar, elsewhere} {
			e.must(SaveApplication(e.Context(), e.store, a))
		}
		after := domain.Tenant{ID: "acme", Name: "after", Settings: domain.Settings{MaximumTTLMinutes: new(int64(50_000))}}
		alone := domain.Tenant{ID: "acme", Name: "after", Settings: domain.Settings{MaximumTTLMinutes: new(int64(43_199))}}
		e.wantInvalid("with an application", SaveTenant(e.Context(), e.store, after),
			`[conflict]applications["bar"].`+domain.FieldMaximumTTLMinutes)
		e.wantInvalid("by itself", SaveTenant(e.Context(), e.store, alone), "[conflict]"+domain.FieldMaximumTTLMinutes)
		got, err := e.store.Tenant(e.Context(), "acme")
		e.must(err)
		e.wantSame("the tenant after the refusals", got, before)
		e.wantPolicies(before, shop, bar)

		alone.ID = "third"
		e.wantInvalid("created", SaveTenant(e.Context(), e.store, alone), "[conflict]"+domain.FieldMaximumTTLMinutes)
		_, err = e.store.Tenant(e.Context(), "third")
		e.wantErr("the one not created", err, domain.ErrNotFound)

		bar.Settings.TTLMinutes = new(int64(50_000))
		e.must(SaveApplication(e.Context(), e.store, bar))
		e.must(SaveTenant(e.Context(), e.store, after))
		e.wantPolicies(after, shop, bar)
		e.wantPolicies(other, elsewhere)
	}},

	{"Tenants/SaveTenant/with applications saves all of them in one step", func(e *env) {
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		shop := domain.Application{TenantID: "acme", ID: "shop", Settings: domain.Settings{TTLMinutes: new(int64(100_000))}}
		bar := domain.Application{TenantID: "acme", ID: "bar", Settings: domain.Settings{GraceSeconds: new(int64(77))}}
		elsewhere := domain.Application{TenantID: "other", ID: "shop", Name: "another tenant's"}
		for _, a := range []domain.Application{shop, bar, elsewhere} {
			e.must(SaveApplication(e.Context(), e.store, a))
		}
		alive := e.issue(token(1))[0]

		// The two are impossible with what is stored of the other.
		tenant, changed := crossed()
		created := domain.Application{ID: "new", Name: "new", Settings: domain.Settings{Active: new(false)}}
		given := changed
		given.TenantID = "other"
		e.must(SaveTenant(e.Context(), e.store, tenant, created, given))
		created.TenantID = "acme"
		got, err := e.store.Tenant(e.Context(), "acme")
		e.must(err)
		e.wantSame("the tenant", got, tenant)
		e.wantApplications(changed, created, bar, elsewhere)
		e.wantPolicies(tenant, changed, created, bar)
		e.wantPolicies(domain.Tenant{ID: "other"}, elsewhere)
		e.wantActive("of the application that was replaced", t0, alive)

		fresh := domain.Tenant{ID: "fresh", Settings: tenant.Settings}
		first := domain.Application{TenantID: "fresh", ID: "shop", Settings: changed.Settings}
		last := domain.Application{TenantID: "fresh", ID: "shop", Name: "last"}
		e.wantErr("an application twice", SaveTenant(e.Context(), e.store, fresh, first, last), domain.ErrStale)
		_, err = e.store.Tenant(e.Context(), "fresh")
		e.wantErr("with an application twice", err, domain.ErrNotFound)
	}},

	{"Tenants/SaveTenant/with applications, when refused, writes nothing", func(e *env) {
		before := domain.Tenant{ID: "acme", Name: "before"}
		e.must(SaveTenant(e.Context(), e.store, before))
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other", Issuer: "https://auth.example"}))
		shop := domain.Application{TenantID: "acme", ID: "shop", Name: "before"}
		bar := domain.Application{TenantID: "acme", ID: "bar", Settings: domain.Settings{TTLMinutes: new(int64(50_001))}}
		e.must(SaveApplication(e.Context(), e.store, shop))
		e.must(SaveApplication(e.Context(), e.store, bar))

		tenant, changed := crossed()
		possible := domain.Application{TenantID: "acme", ID: "bar"}
		impossible := domain.Application{TenantID: "acme", ID: "new", Settings: bar.Settings}
		thief := domain.Tenant{ID: "acme", Issuer: "https://auth.example"}
		created := domain.Application{TenantID: "acme", ID: "new"}
		e.wantInvalid("with one that is not saved", SaveTenant(e.Context(), e.store, tenant, created, changed),
			`[conflict]applications["bar"].`+domain.FieldMaximumTTLMinutes)
		e.wantInvalid("with one that is saved", SaveTenant(e.Context(), e.store, tenant, changed, possible, impossible),
			`[conflict]applications["new"].`+domain.FieldMaximumTTLMinutes)
		err := SaveTenant(e.Context(), e.store, thief, created, possible)
		e.wantErr("with the issuer of another", err, domain.ErrDuplicate)

		got, err := e.store.Tenant(e.Context(), "acme")
		e.must(err)
		e.wantSame("the tenant after the refusals", got, before)
		e.wantApplications(shop, bar)
		e.wantPolicies(before, shop, bar)
		_, err = e.store.Application(e.Context(), "acme", "new")
		e.wantErr("the one not created", err, domain.ErrNotFound)
	}},

	{"Tenants/SaveTenant/with applications beside SaveApplication is one step", func(e *env) {
		hs := e.handles(3)
		for round := range 12 {
			e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}, domain.Application{ID: "shop"}))
			tenant, shop := crossed()
			tenant.Settings.AccessTokenSeconds = new(int64(100 + round))
			long, grace := domain.Settings{TTLMinutes: new(int64(50_001))}, domain.Settings{GraceSeconds: new(int64(round + 1))}
			impossible := domain.Application{TenantID: "acme", ID: "shop", Settings: long}
			bar := domain.Application{TenantID: "acme", ID: "bar", Settings: grace}
			errs := make([]error, 3)
			together(3, func(i int) {
				switch what := (i + round) % 3; what { // the goroutine that starts last mostly runs first
				case 0:
					errs[what] = SaveTenant(e.Context(), hs[i], tenant, shop)
				case 1:
					errs[what] = SaveApplication(e.Context(), hs[i], impossible)
				case 2:
					errs[what] = SaveApplication(e.Context(), hs[i], bar)
				}
			})
			e.must(errs[0])
			e.must(errs[2])
			if errs[1] != nil { // it ran second
				e.wantInvalid("SaveApplication", errs[1], "[conflict]"+domain.FieldMaximumTTLMinutes)
			}
			got, err := e.store.Tenant(e.Context(), "acme")
			e.must(err)
			e.wantSame("the tenant", got, tenant)
			e.wantApplications(shop, bar)
			e.wantPolicies(tenant, shop, bar)
		}
	}},

	{"Applications/SaveApplication/that its tenant makes impossible is refused, and writes nothing", func(e *env) {
		tenant := domain.Tenant{ID: "acme", Settings: domain.Settings{MaximumTTLMinutes: new(int64(50_000))}}
		before := domain.Application{TenantID: "acme", ID: "shop", Name: "before"}
		e.must(SaveTenant(e.Context(), e.store, tenant))
		e.must(SaveApplication(e.Context(), e.store, before))
		after := domain.Application{
			TenantID: "acme", ID: "shop", Name: "after", Settings: domain.Settings{TTLMinutes: new(int64(50_001))},
		}
		e.wantInvalid("replaced", SaveApplication(e.Context(), e.store, after), "[conflict]"+domain.FieldMaximumTTLMinutes)
		got, err := e.store.Application(e.Context(), "acme", "shop")
		e.must(err)
		e.wantSame("the application after the refusal", got, before)
		e.wantPolicies(tenant, before)
		after.ID = "bar"
		e.wantInvalid("created", SaveApplication(e.Context(), e.store, after), "[conflict]"+domain.FieldMaximumTTLMinutes)
		_, err = e.store.Application(e.Context(), "acme", "bar")
		e.wantErr("the one not created", err, domain.ErrNotFound)
	}},

	{"Applications/SaveApplication/beside a SaveTenant that it does not go with, one of the two is refused", func(e *env) {
		hs := e.handles(2)
		for i := range 10 {
			e.shop(domain.Settings{})
			tenant := domain.Tenant{ID: "acme", Settings: domain.Settings{MaximumTTLMinutes: new(int64(50_000))}}
			app := domain.Application{TenantID: "acme", ID: "shop", Settings: domain.Settings{TTLMinutes: new(int64(50_001))}}
			errs := make([]error, 2)
			together(2, func(i int) {
				if i == 0 {
					errs[i] = SaveTenant(e.Context(), hs[0], tenant)
				} else {
					errs[i] = SaveApplication(e.Context(), hs[1], app)
				}
			})
			switch field := domain.FieldMaximumTTLMinutes; {
			case errs[0] == nil:
				e.wantInvalid("SaveApplication", errs[1], "[conflict]"+field)
				app = domain.Application{TenantID: "acme", ID: "shop"}
			case errs[1] == nil:
				e.wantInvalid("SaveTenant", errs[0], `[conflict]applications["shop"].`+field)
				tenant = domain.Tenant{ID: "acme"}
			default:
				e.Fatalf("round %d: both were refused: %v, %v", i, errs[0], errs[1])
			}
			got, err := e.store.Tenant(e.Context(), "acme")
			e.must(err)
			e.wantSame("the tenant", got, tenant)
			e.wantPolicies(tenant, app)
			e.must(DeleteApplication(e.Context(), e.store, "acme", "shop", t0))
		}
	}},

	{"Applications/SaveApplication/keeps every field, and which are unset", func(e *env) {
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		for _, s := range []domain.Settings{fullApplication().Settings, {}, zeroSettings()} {
			want := fullApplication()
			want.Settings = s
			e.must(SaveApplication(e.Context(), e.store, want))
			got, err := e.store.Application(e.Context(), "acme", "shop")
			e.must(err)
			e.wantSame("read", got, want)
		}
		e.must(SaveApplication(e.Context(), e.store, domain.Application{TenantID: "acme", ID: "shop"}))
		got, err := e.store.Application(e.Context(), "acme", "shop")
		e.must(err)
		e.wantSame("replaced by one with nothing", got, domain.Application{TenantID: "acme", ID: "shop"})
	}},

	{"Applications/SaveApplication/without its tenant is not found, and writes nothing", func(e *env) {
		e.wantErr("without tenant", SaveApplication(e.Context(), e.store, fullApplication()), domain.ErrNotFound)
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		_, err := e.store.Application(e.Context(), "acme", "shop")
		e.wantErr("the one not created", err, domain.ErrNotFound)
	}},

	{"Applications/SaveApplication/does not change its refresh tokens and those of others", func(e *env) {
		e.shop(domain.Settings{})
		t := e.issue(token(1))[0]
		e.must(SaveApplication(e.Context(), e.store, fullApplication()))
		e.application("acme", "bar", domain.Settings{})
		e.wantStored("after the save", t)
		e.wantActive("after the save", t0, t)
	}},

	{"Applications/SaveApplication/beside a SaveTenant leaves the policy of both", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(2)
		for i := range 10 {
			tenant := domain.Tenant{ID: "acme", Settings: domain.Settings{TTLMinutes: new(int64(i + 1))}}
			app := domain.Application{TenantID: "acme", ID: "shop", Settings: domain.Settings{GraceSeconds: new(int64(i + 1))}}
			errs := make([]error, 2)
			together(2, func(i int) {
				if i == 0 {
					errs[i] = SaveTenant(e.Context(), hs[0], tenant)
				} else {
					errs[i] = SaveApplication(e.Context(), hs[1], app)
				}
			})
			for _, err := range errs {
				e.must(err)
			}
			got, err := e.store.Policy(e.Context(), "acme", "shop")
			e.must(err)
			e.wantSame("the policy", got, combined(tenant, app))
		}
	}},

	{"Tenants/Tenant/what does not exist is not found", func(e *env) {
		e.shop(domain.Settings{})
		_, err := e.store.Tenant(e.Context(), "other")
		e.wantErr("Tenant", err, domain.ErrNotFound)
	}},

	{"Tenants/Tenants/goes by id, byte by byte, up to the limit", func(e *env) {
		all := []string{"b", "a", "B", "~", "aa", "-", "9", "_", ".a"}
		for _, id := range all {
			e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: id}))
		}
		slices.Sort(all)
		for _, limit := range []int{1, 4, len(all), 99} {
			var got []string
			for after, more := "", true; more; more = after != "" {
				page, next, err := e.store.Tenants(e.Context(), after, limit)
				e.must(err)
				if len(page) > limit {
					e.Fatalf("limit %d: a page has %d tenants", limit, len(page))
				}
				if next != "" && next <= after {
					e.Fatalf("limit %d: after %q the page that follows begins after %q", limit, after, next)
				}
				for _, t := range page {
					got = append(got, t.ID)
				}
				after = next
			}
			e.wantSame(fmt.Sprint("limit ", limit), got, all)
		}
	}},

	{"Tenants/Tenants/a page ends at its greatest size", func(e *env) {
		var want []domain.Tenant
		for i, size := range []int{port.MaxListBytes + 1, 1, port.MaxListBytes / 2, port.MaxListBytes / 2, 1} {
			want = append(want, domain.Tenant{ID: fmt.Sprint("tenant", i), Name: strings.Repeat("n", size)})
			e.must(SaveTenant(e.Context(), e.store, want[i]))
		}
		var got []domain.Tenant
		for after, more := "", true; more; more = after != "" {
			page, next, err := e.store.Tenants(e.Context(), after, 99)
			e.must(err)
			bytes := 0
			for i, t := range page {
				if bytes >= port.MaxListBytes {
					e.Errorf("%d of the %d tenants of a page have %d bytes, want the page to end there", i, len(page), bytes)
				}
				bytes += port.TenantBytes(t)
			}
			got, after = append(got, page...), next
		}
		e.wantSame("all pages together", got, want)
	}},

	{"Tenants/TenantByIssuer/finds the tenant that has set it now, and none for no issuer", func(e *env) {
		acme := domain.Tenant{ID: "acme", Issuer: "https://acme.example"}
		e.must(SaveTenant(e.Context(), e.store, acme))
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		got, err := e.store.TenantByIssuer(e.Context(), acme.Issuer)
		e.must(err)
		e.wantSame("the tenant", got, acme)
		for _, issuer := range []string{"", "https://acme.example/", "https://ACME.example"} {
			_, err := e.store.TenantByIssuer(e.Context(), issuer)
			e.wantErr(issuer, err, domain.ErrNotFound)
		}
		e.must(DeleteTenant(e.Context(), e.store, "acme", t0))
		_, err = e.store.TenantByIssuer(e.Context(), acme.Issuer)
		e.wantErr("of a deleted tenant", err, domain.ErrNotFound)
	}},

	{"Applications/Applications/are all of that tenant and of no other, by id", func(e *env) {
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "Acme"}))
		e.application("Acme", "x", domain.Settings{})
		want := []domain.Application{
			{TenantID: "acme", ID: "B", Name: "b"}, {TenantID: "acme", ID: "a", Settings: tenantSettings()},
			{TenantID: "acme", ID: "ä"},
		}
		for _, i := range []int{2, 0, 1} {
			e.must(SaveApplication(e.Context(), e.store, want[i]))
		}
		got, _, err := e.store.Applications(e.Context(), "acme", "", 999)
		e.must(err)
		e.wantSame("of acme", got, want)
		got, _, err = e.store.Applications(e.Context(), "nobody", "", 999)
		e.must(err)
		if len(got) > 0 {
			e.Errorf("%d applications of a tenant that does not exist", len(got))
		}
	}},

	{"Applications/Applications/a page ends at its limit, and at its greatest size", func(e *env) {
		var want []domain.Application
		for i, size := range []int{port.MaxListBytes + 1, 1, port.MaxListBytes / 2, port.MaxListBytes / 2, 1} {
			want = append(want, domain.Application{TenantID: "acme", ID: fmt.Sprint("app", i), Name: strings.Repeat("n", size)})
		}
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}, want...))
		for _, limit := range []int{1, 2, 99} {
			e.wantSame(fmt.Sprint("limit ", limit), e.applicationsInPages("acme", limit), want)
		}
	}},

	{"Applications/Applications/a page ends after the largest number of rows", func(e *env) {
		want := make([]domain.Application, port.MaxListRows+1)
		for i := range want {
			want[i] = domain.Application{TenantID: "acme", ID: fmt.Sprintf("app-%04d", i)}
		}
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}, want...))
		e.wantSame("all pages together", e.applicationsInPages("acme", 2*port.MaxListRows), want)
	}},

	// A save that skips what has not changed must not skip what has.
	{"Tenants/SaveTenant/of many applications changes the ones that differ, and keeps the others", func(e *env) {
		t := domain.Tenant{ID: "acme"}
		const n = 150
		apps := make([]domain.Application, n)
		for i := range apps {
			apps[i] = domain.Application{TenantID: "acme", ID: fmt.Sprintf("app-%03d", i)}
		}
		e.must(SaveTenant(e.Context(), e.store, t, apps...))
		apps[3].Name, apps[77].Settings.TTLMinutes, apps[149].Settings.Active = "third", new(int64(60)), new(false)
		e.must(SaveTenant(e.Context(), e.store, t, apps[3], apps[77], apps[149]))
		check := func(when string) {
			e.Helper()
			got, _, err := e.store.Applications(e.Context(), "acme", "", 999)
			e.must(err)
			e.wantSame(when, got, apps)
			for _, a := range apps {
				p, err := e.store.Policy(e.Context(), "acme", a.ID)
				e.must(err)
				e.wantSame(when+": the policy of "+a.ID, p, combined(t, a))
			}
		}
		check("after a change of three")
		t.Settings.GraceSeconds = new(int64(7))
		e.must(SaveTenant(e.Context(), e.store, t))
		check("after a change of the tenant")
	}},

	{"Applications/Application/what does not exist in that tenant is not found", func(e *env) {
		e.shop(domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		for _, owner := range [][2]string{{"acme", "bar"}, {"other", "shop"}, {"none", "shop"}} {
			_, err := e.store.Application(e.Context(), owner[0], owner[1])
			e.wantErr(owner[0]+"/"+owner[1], err, domain.ErrNotFound)
		}
	}},

	{"Applications/Policy/is the effective one, in every field", func(e *env) {
		for _, t := range []domain.Tenant{{ID: "acme"}, fullTenant(), {ID: "acme", Settings: zeroSettings()}} {
			e.must(SaveTenant(e.Context(), e.store, t))
			for _, s := range []domain.Settings{{}, fullApplication().Settings, zeroSettings()} {
				a := domain.Application{TenantID: "acme", ID: "shop", Settings: s}
				e.must(SaveApplication(e.Context(), e.store, a))
				got, err := e.store.Policy(e.Context(), "acme", "shop")
				e.must(err)
				e.wantSame("the policy", got, combined(t, a))
			}
		}
	}},

	{"Applications/Policy/of what does not exist is not found", func(e *env) {
		e.shop(domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		for _, owner := range [][2]string{{"acme", "bar"}, {"other", "shop"}, {"none", "shop"}} {
			_, err := e.store.Policy(e.Context(), owner[0], owner[1])
			e.wantErr(owner[0]+"/"+owner[1], err, domain.ErrNotFound)
		}
	}},

	{"Applications/DeleteApplication/removes it and ends its refresh tokens, and nothing else", func(e *env) {
		e.shop(domain.Settings{})
		e.application("acme", "bar", domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		e.application("other", "shop", domain.Settings{})
		ts := e.issue(token(1), tokenOf(2, "acme", "bar", "ana"), tokenOf(3, "other", "shop", "ana"))
		e.must(DeleteApplication(e.Context(), e.store, "acme", "shop", t0))
		e.wantEnded("its own", t0, ts[0])
		e.wantActive("of others", t0, ts[1], ts[2])
		_, err := e.store.Application(e.Context(), "acme", "shop")
		e.wantErr("Application", err, domain.ErrNotFound)
		_, err = e.store.Policy(e.Context(), "acme", "shop")
		e.wantErr("Policy", err, domain.ErrNotFound)
		e.wantInsert("Insert", token(4), domain.ErrNotFound)
		_, err = e.store.Application(e.Context(), "acme", "bar")
		e.must(err)
		_, err = e.store.Application(e.Context(), "other", "shop")
		e.must(err)
	}},

	{"Applications/DeleteApplication/what does not exist is not found", func(e *env) {
		e.shop(domain.Settings{})
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "other"}))
		t := e.issue(token(1))[0]
		e.wantErr("unknown", DeleteApplication(e.Context(), e.store, "acme", "bar", t0), domain.ErrNotFound)
		e.wantErr("another tenant's", DeleteApplication(e.Context(), e.store, "other", "shop", t0), domain.ErrNotFound)
		e.wantErr("no tenant", DeleteApplication(e.Context(), e.store, "none", "shop", t0), domain.ErrNotFound)
		e.wantActive("afterwards", t0, t)
		e.must(DeleteApplication(e.Context(), e.store, "acme", "shop", t0))
		e.wantErr("deleted already", DeleteApplication(e.Context(), e.store, "acme", "shop", t0), domain.ErrNotFound)
	}},

	{"Applications/DeleteApplication/created again, it has none of its earlier refresh tokens", func(e *env) {
		e.shop(domain.Settings{})
		t := e.issue(token(1))[0]
		e.must(DeleteApplication(e.Context(), e.store, "acme", "shop", t0))
		e.application("acme", "shop", domain.Settings{})
		e.wantEnded("issued before the deletion", t0, t)
		_, _, err := e.store.Advance(e.Context(), t.ID, domain.Call{Generation: 1, Now: t0})
		e.wantErr("Advance", err, domain.ErrConflict)
		fresh := e.issue(token(2))[0]
		e.wantActive("issued since", t0, fresh)
		e.advance(fresh, t0)
	}},

	{"Tenants/DeleteTenant/deletes it with applications and API keys, ends its refresh tokens, and no more", func(e *env) {
		for i, tenant := range []string{"acme", "other"} {
			e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: tenant}))
			e.application(tenant, "shop", domain.Settings{})
			e.issue(tokenOf(i+1, tenant, "shop", "ana"))
			k := domain.APIKey{Name: "key of " + tenant, Hash: "hash of " + tenant, TenantID: tenant}
			e.must(SaveAPIKey(e.Context(), e.store, k))
		}
		e.must(SaveAPIKey(e.Context(), e.store, domain.APIKey{Name: "key of all", Hash: "hash of all"}))
		e.must(DeleteTenant(e.Context(), e.store, "acme", t0))
		_, err := e.store.Tenant(e.Context(), "acme")
		e.wantErr("Tenant", err, domain.ErrNotFound)
		_, err = e.store.Application(e.Context(), "acme", "shop")
		e.wantErr("Application", err, domain.ErrNotFound)
		_, err = e.store.Policy(e.Context(), "acme", "shop")
		e.wantErr("Policy", err, domain.ErrNotFound)
		_, err = e.store.APIKeyByHash(e.Context(), "hash of acme")
		e.wantErr("APIKeyByHash", err, domain.ErrNotFound)
		_, err = e.store.APIKeyByName(e.Context(), "key of acme")
		e.wantErr("APIKeyByName", err, domain.ErrNotFound)
		e.wantEnded("its own", t0, tokenOf(1, "acme", "shop", "ana"))
		list, _, err := e.store.Tenants(e.Context(), "", 9)
		e.must(err)
		e.wantSame("the tenants left", list, []domain.Tenant{{ID: "other"}})
		for _, name := range []string{"key of other", "key of all"} {
			_, err = e.store.APIKeyByName(e.Context(), name)
			e.must(err)
		}
		_, err = e.store.Policy(e.Context(), "other", "shop")
		e.must(err)
		e.wantActive("of another tenant", t0, tokenOf(2, "other", "shop", "ana"))
		e.wantErr("deleted already", DeleteTenant(e.Context(), e.store, "acme", t0), domain.ErrNotFound)
	}},

	{"Tenants/DeleteTenant/created again, it continues from its epoch, without its earlier objects", func(e *env) {
		e.shop(domain.Settings{})
		for range 3 {
			e.revokeScope(domain.Scope{TenantID: "acme", UserID: "bob"}, domain.ID{}, t0)
		}
		before := e.issue(token(1))[0]
		e.must(DeleteTenant(e.Context(), e.store, "acme", t0))
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		_, err := e.store.Application(e.Context(), "acme", "shop")
		e.wantErr("Application", err, domain.ErrNotFound)
		e.application("acme", "shop", domain.Settings{})
		e.wantEnded("issued before the deletion", t0, before)
		after := e.issue(token(2))[0]
		if after.IssuedEpoch <= before.IssuedEpoch {
			e.Errorf("epoch at an issue before %d, after %d, want a higher one", before.IssuedEpoch, after.IssuedEpoch)
		}
		e.wantActive("issued since", t0, after)
		e.revokeScope(domain.Scope{TenantID: "acme", UserID: "ana"}, domain.ID{}, t0)
		e.wantEnded("revoked since", t0, after)
	}},

	// An issue during a deletion: afterwards the refresh token has ended or was not stored.
	{"Applications/DeleteApplication/leaves no refresh token that was issued beside it", func(e *env) {
		hs := e.handles(2)
		for i := range 10 {
			e.shop(domain.Settings{})
			errs := make([]error, 2)
			together(2, func(j int) {
				if j == 0 {
					errs[j] = DeleteApplication(e.Context(), hs[0], "acme", "shop", t0)
				} else {
					_, errs[j] = hs[1].Insert(e.Context(), token(i+1))
				}
			})
			e.must(errs[0])
			if errs[1] != nil {
				e.wantErr("Insert", errs[1], domain.ErrNotFound)
			}
			e.application("acme", "shop", domain.Settings{})
			e.wantEnded("issued beside the deletion", t0.Add(time.Minute), token(i+1))
		}
	}},
}

// wantInvalid checks that got is an *Invalid with these codes.
func (e *env) wantInvalid(what string, got error, codes ...string) {
	e.Helper()
	var invalid *domain.Invalid
	if !errors.As(got, &invalid) {
		e.Errorf("%s: got error %v, want an *Invalid of %q", what, got, codes)
		return
	}
	var have []string
	for _, f := range invalid.Fields {
		have = append(have, f.Code())
	}
	e.wantSame(what, have, codes)
}

// crossed returns a tenant and a shop. The shop is impossible with a tenant without settings, and the tenant with an
// application whose refresh tokens have a lifetime above 50 000 minutes.
func crossed() (domain.Tenant, domain.Application) {
	return domain.Tenant{ID: "acme", Name: "crossed", Settings: domain.Settings{
			MaximumTTLMinutes: new(int64(50_000)), RecoveryInterval: new(int64(50)),
		}}, domain.Application{TenantID: "acme", ID: "shop", Name: "crossed", Settings: domain.Settings{
			TTLMinutes: new(int64(40_000)), RecoveryBurst: new(int64(20)),
		}}
}

// wantApplications checks that each is stored.
func (e *env) wantApplications(as ...domain.Application) {
	e.Helper()
	for _, want := range as {
		got, err := e.store.Application(e.Context(), want.TenantID, want.ID)
		e.must(err)
		e.wantSame(want.TenantID+"/"+want.ID, got, want)
	}
}

// wantPolicies checks that the stored policy of each application is that of t and the application.
func (e *env) wantPolicies(t domain.Tenant, as ...domain.Application) {
	e.Helper()
	for _, a := range as {
		got, err := e.store.Policy(e.Context(), a.TenantID, a.ID)
		e.must(err)
		e.wantSame("policy of "+a.TenantID+"/"+a.ID, got, combined(t, a))
	}
}

// applicationsInPages reads all applications of the tenant in pages, and checks that each ends where it should.
func (e *env) applicationsInPages(tenantID string, limit int) (all []domain.Application) {
	e.Helper()
	for after, more := "", true; more; more = after != "" {
		page, next, err := e.store.Applications(e.Context(), tenantID, after, limit)
		e.must(err)
		if len(page) > min(limit, port.MaxListRows) {
			e.Errorf("limit %d: a page has %d applications", limit, len(page))
		}
		if next != "" && next <= after {
			e.Fatalf("limit %d: after %q the page that follows begins after %q", limit, after, next)
		}
		bytes := 0
		for i, a := range page {
			if bytes >= port.MaxListBytes {
				e.Errorf("%d of the %d applications of a page have %d bytes, want the page to end there", i, len(page), bytes)
			}
			bytes += port.ApplicationBytes(a)
		}
		all, after = append(all, page...), next
	}
	return all
}
