package usecase

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Publish returns public keys from memory: any client may request them, and no number of requests loads the store. It
// must not be copied.
type Publish struct {
	Tenants port.Tenants
	Keys    *Keys
	Clock   Clock

	known sync.Map // tenant id -> time.Time of the last look-up, for tenants that existed then
	only  atomic.Pointer[onlyTenant]
}

// tenantCheckInterval is how often a tenant's existence is looked up. Verifiers cache its keys for longer.
const tenantCheckInterval = time.Minute

// onlyTenant is the result of a look-up: the tenant, if there was exactly one.
type onlyTenant struct {
	at time.Time
	id string
}

// Tenant returns the JWK Set of a tenant; ErrNotFound if the tenant does not exist. A tenant that has not signed yet
// gets its key here, so that no verifier caches an empty set while the first access token is on its way. An unknown
// tenant costs one look-up by its id.
func (p *Publish) Tenant(ctx context.Context, tenantID string) ([]byte, error) {
	if !domain.IsTenantID(tenantID) {
		return nil, domain.ErrNotFound
	}
	now := p.Clock()
	checked, known := p.known.Load(tenantID)
	if known && recent(now, checked.(time.Time), tenantCheckInterval) {
		return p.Keys.jwks(ctx, tenantID)
	}
	if known && !p.known.CompareAndSwap(tenantID, checked, now) { // another request looks it up
		return p.Keys.jwks(ctx, tenantID)
	}
	err := p.check(ctx, tenantID)
	switch {
	case err == nil:
		p.known.Store(tenantID, now)
	case errors.Is(err, domain.ErrNotFound):
		p.known.Delete(tenantID)
		return nil, err
	case !known:
		return nil, err
	}
	return p.Keys.jwks(ctx, tenantID)
}

// check looks up the tenant and makes its key if it has none.
func (p *Publish) check(ctx context.Context, tenantID string) error {
	if err := p.Keys.checks.acquire(ctx); err != nil {
		return err
	}
	t, err := p.Tenants.Tenant(ctx, tenantID)
	p.Keys.checks.release()
	if err != nil {
		return Wrap("publish", err)
	}
	policy, err := domain.Combine(t, domain.Application{})
	if err != nil {
		return Wrap("publish", err)
	}
	return p.Keys.ensureKey(ctx, tenantID, policy.Algorithm, p.Clock.Now())
}

// Shared returns the JWK Set of the keys that all tenants share and, while there is a single tenant, of that tenant's
// own keys. A second tenant is noticed within a second.
func (p *Publish) Shared(ctx context.Context) ([]byte, error) {
	now, only := p.Clock(), p.only.Load()
	// One request a second looks, and the others use the previous result.
	if only == nil || !recent(now, only.at, KeyReadInterval) && p.only.CompareAndSwap(only, &onlyTenant{now, only.id}) {
		if err := p.Keys.checks.acquire(ctx); err != nil {
			return nil, err
		}
		t, one, err := OnlyTenant(ctx, p.Tenants)
		p.Keys.checks.release()
		switch {
		case err != nil && only == nil:
			return nil, Wrap("publish", err)
		case err == nil:
			only = &onlyTenant{at: now}
			if one {
				only.id = t.ID
			}
			p.only.Store(only)
		}
	}
	if only.id != "" {
		return p.Tenant(ctx, only.id)
	}
	return p.Keys.jwks(ctx, "")
}

// OnlyTenant returns the tenant of a store that has exactly one. ok is false if it has none, or several.
func OnlyTenant(ctx context.Context, tenants port.Tenants) (only domain.Tenant, ok bool, err error) {
	for after := ""; ; {
		page, next, err := tenants.Tenants(ctx, after, 2)
		if err != nil || len(page) > 1 || len(page) == 1 && ok {
			return domain.Tenant{}, false, err
		}
		if len(page) == 1 {
			only, ok = page[0], true
		}
		if next == "" {
			return only, ok, nil
		}
		after = next
	}
}

// recent reports whether at is not after now and less than interval ago.
func recent(now, at time.Time, interval time.Duration) bool {
	since := now.Sub(at)
	return since >= 0 && since < interval
}
