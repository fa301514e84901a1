package storagetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// reopening are the clauses for a store whose databases outlive their handles.
var reopening = []clause{
	{"Reopens/refresh tokens are stored in every field, as the last write left them", func(e *env) {
		e.shop(noGrace())
		full := e.issue(activeToken())[0]
		ts := e.issue(token(2), token(3))
		rotated := e.advance(ts[0], t0.Add(time.Minute))
		ended := ts[1]
		ended.RevokedAt, ended.RevokedReason = t0.Add(time.Minute), domain.RevokedByRequest
		e.must(e.store.Revoke(e.Context(), "acme", ended.ID, byRequest(ended.RevokedAt), NewEvent()))
		e.reopen()
		e.wantStored("with every field", full)
		e.wantStored("rotated", rotated)
		e.wantStored("revoked", ended)
		e.advance(rotated, t0.Add(2*time.Minute))
	}},

	{"Reopens/marks cover what was stored before, and the epoch continues", func(e *env) {
		e.shop(domain.Settings{})
		before := e.issue(token(1))[0]
		epoch := e.revokeScope(domain.Scope{TenantID: "acme", UserID: "ana"}, domain.ID{}, t0)
		e.reopen()
		e.wantEnded("stored before", t0, before)
		after := e.issue(token(2))[0]
		e.wantActive("stored after", t0, after)
		if got := e.revokeScope(domain.Scope{TenantID: "acme"}, domain.ID{}, t0); got != epoch+1 {
			e.Errorf("epoch %d, want %d", got, epoch+1)
		}
		e.wantEnded("stored after, and revoked", t0, after)
	}},

	{"Reopens/tenants and applications are stored, and deleted ones are not", func(e *env) {
		tenant, app := fullTenant(), fullApplication()
		e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
		e.must(SaveTenant(e.Context(), e.store, tenant, app)) // its second version
		e.application("acme", "gone", domain.Settings{})
		e.must(DeleteApplication(e.Context(), e.store, "acme", "gone", t0))
		before, err := e.store.Tenant(e.Context(), "acme")
		e.must(err)
		e.reopen()
		got, err := e.store.Tenant(e.Context(), "acme")
		e.must(err)
		e.wantSame("the tenant", got, tenant)
		if got.Version != before.Version {
			e.Errorf("the tenant has version %d, want %d", got.Version, before.Version)
		}
		e.wantSame("its applications", e.applicationsInPages("acme", 9), []domain.Application{app})
		policy, err := e.store.Policy(e.Context(), "acme", app.ID)
		e.must(err)
		e.wantSame("the policy", policy, combined(tenant, app))
	}},

	{"Reopens/keys that were used once are stored", func(e *env) {
		e.must(e.use("key", t0, time.Minute))
		e.reopen()
		e.wantErr("used before", e.use("key", t0, time.Minute), domain.ErrDuplicate)
		e.must(e.use("key", t0.Add(time.Minute), time.Minute))
	}},

	{"Reopens/API keys are stored", func(e *env) {
		e.shop(domain.Settings{})
		want := fullAPIKey()
		e.must(SaveAPIKey(e.Context(), e.store, want))
		e.reopen()
		got, err := e.store.APIKeyByHash(e.Context(), want.Hash)
		e.must(err)
		e.wantSame("by hash", got, want)
	}},

	{"Reopens/keys are stored as they were sealed, and the revision continues", func(e *env) {
		sealed := fullSealedKey()
		e.must(e.store.AddKeys(e.Context(), NewEvent(), sealed, tokenKey(1)))
		e.must(e.store.Reseal(e.Context(), sealed, "sealed again", "another"))
		sealed.Sealed, sealed.SealedBy = "sealed again", "another"
		revision, err := e.store.KeyRevision(e.Context())
		e.must(err)
		e.reopen()
		e.wantKeys(sealed, tokenKey(1))
		e.wantKeyRevision("opened again", revision)
		e.must(e.store.AddKeys(e.Context(), NewEvent(), tokenKey(2)))
		e.wantKeyRevision("after one more key", revision+1)
	}},

	{"Reopens/events are stored in every field, and one that is stored again is still one", func(e *env) {
		e.shop(domain.Settings{})
		e.issue(token(1))
		want := fullEvent(1)
		e.must(e.store.Record(e.Context(), want))
		e.must(e.store.Revoke(e.Context(), "acme", tokenID(1), byRequest(t0), event(2)))
		before := e.all()
		e.reopen()
		e.wantSame("the events", e.all(), before)
		e.must(e.store.Record(e.Context(), want))
		e.wantSame("after the same again", e.all(), before)
	}},

	{"Reopens/the janitor continues at its position, and its lease keeps its end", func(e *env) {
		e.shop(domain.Settings{})
		var all []domain.RefreshToken // alternately active and ended
		for i := range 4 {
			t := token(i + 1)
			if i%2 > 0 {
				t.ExpiresAt = t0
			}
			all = append(all, e.issue(t)...)
		}
		now := t0
		for i := range all {
			p := e.purgeStep(stepOf("one", now, t0, 1))
			e.wantSame(fmt.Sprintf("step %d", i), p, port.Purged{LookedAt: 1, Deleted: i % 2})
			e.reopen()
			_, err := e.store.Purge(e.Context(), stepOf("two", now.Add(lease-tick), t0, 1))
			if !errors.Is(err, domain.ErrConflict) {
				e.Errorf("another's step while the lease runs: got error %v, want %v", err, domain.ErrConflict)
			}
			now = now.Add(lease)
		}
		e.wantLeft("after all steps", all, all[0], all[2])
	}},
}
