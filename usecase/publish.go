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
	// RootTenant is the tenant whose keys Root returns; empty for none. It need not exist.
	RootTenant string

	known  sync.Map                  // tenant id -> time.Time of the last look-up, for tenants that existed then
	noRoot atomic.Pointer[time.Time] // when the root tenant was looked up, and did not exist
}

// tenantCheckInterval is how often a tenant's existence is looked up. Verifiers cache its keys for longer.
const tenantCheckInterval = time.Minute

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
	err := p.check(ctx, tenantID, known)
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

// check looks up the tenant and makes its key if it has none. If the tenant was unknown, another request may have done
// that in the meantime.
func (p *Publish) check(ctx context.Context, tenantID string, known bool) error {
	if err := p.Keys.checks.acquire(ctx); err != nil {
		return err
	}
	if _, found := p.known.Load(tenantID); found && !known {
		p.Keys.checks.release()
		return nil
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

// Root returns the JWK Set of the keys that all tenants share and, if the root tenant exists, of its own keys. It
// returns ErrNotFound while there is neither: a verifier would cache an empty set. The other tenants of the store
// change nothing. A root tenant that is created is noticed within a second.
func (p *Publish) Root(ctx context.Context) ([]byte, error) {
	if p.RootTenant == "" {
		return p.Keys.jwks(ctx, "")
	}
	now, missed := p.Clock(), p.noRoot.Load()
	// One request a second looks again, and the others use the previous result.
	if missed != nil && (recent(now, *missed, KeyReadInterval) || !p.noRoot.CompareAndSwap(missed, &now)) {
		return p.Keys.jwks(ctx, "")
	}
	set, err := p.Tenant(ctx, p.RootTenant)
	switch {
	case errors.Is(err, domain.ErrNotFound):
		p.noRoot.Store(&now)
		return p.Keys.jwks(ctx, "")
	case err == nil && missed != nil:
		p.noRoot.Store(nil)
	}
	return set, err
}

// recent reports whether at is not after now and less than interval ago.
func recent(now, at time.Time, interval time.Duration) bool {
	since := now.Sub(at)
	return since >= 0 && since < interval
}
