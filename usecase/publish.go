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

// Publish returns public keys and metadata from memory: any client may request them, and no number of requests loads
// the store. It must not be copied.
type Publish struct {
	Tenants port.Tenants
	Keys    *Keys
	Clock   Clock
	// PublicURL is that of a [Minter].
	PublicURL string
	// RootTenant is the tenant whose keys Root returns; empty for none. It need not exist.
	RootTenant string

	known  sync.Map                  // tenant id -> *knownTenant, for tenants that existed at the last look-up
	noRoot atomic.Pointer[time.Time] // when the root tenant was looked up, and did not exist
}

// knownTenant is a tenant as it was looked up at that instant.
type knownTenant struct {
	at     time.Time
	tenant domain.Tenant
}

// tenantCheckInterval is how often a tenant's existence is looked up. Verifiers cache its keys for longer.
const tenantCheckInterval = time.Minute

// Tenant returns the JWK Set of a tenant; ErrNotFound if the tenant does not exist. A tenant that has not signed yet
// gets its key here, so that no verifier caches an empty set while the first access token is on its way. An unknown
// tenant costs one look-up by its id.
func (p *Publish) Tenant(ctx context.Context, tenantID string) ([]byte, error) {
	if _, err := p.tenant(ctx, tenantID); err != nil {
		return nil, err
	}
	return p.Keys.jwks(ctx, tenantID)
}

// tenant returns the tenant as it was at most a minute ago, or longer if the store does not respond.
func (p *Publish) tenant(ctx context.Context, tenantID string) (domain.Tenant, error) {
	if !domain.IsTenantID(tenantID) {
		return domain.Tenant{}, domain.ErrNotFound
	}
	now := p.Clock()
	found, known := p.known.Load(tenantID)
	if !known {
		t, err := p.check(ctx, tenantID, false)
		if err == nil {
			p.known.Store(tenantID, &knownTenant{now, t})
		}
		return t, err
	}
	last := found.(*knownTenant)
	// One request looks the tenant up, and the others use the previous result.
	if recent(now, last.at, tenantCheckInterval) ||
		!p.known.CompareAndSwap(tenantID, last, &knownTenant{now, last.tenant}) {
		return last.tenant, nil
	}
	t, err := p.check(ctx, tenantID, true)
	switch {
	case err == nil:
		p.known.Store(tenantID, &knownTenant{now, t})
		return t, nil
	case errors.Is(err, domain.ErrNotFound):
		p.known.Delete(tenantID)
		return domain.Tenant{}, err
	default:
		return last.tenant, nil
	}
}

// check looks up the tenant and makes its key if it has none. If the tenant was unknown, another request may have done
// that in the meantime.
func (p *Publish) check(ctx context.Context, tenantID string, known bool) (domain.Tenant, error) {
	if err := p.Keys.checks.acquire(ctx); err != nil {
		return domain.Tenant{}, err
	}
	if found, ok := p.known.Load(tenantID); ok && !known {
		p.Keys.checks.release()
		return found.(*knownTenant).tenant, nil
	}
	t, err := p.Tenants.Tenant(ctx, tenantID)
	p.Keys.checks.release()
	if err != nil {
		return domain.Tenant{}, Wrap("publish", err)
	}
	policy, err := domain.Combine(t, domain.Application{})
	if err != nil {
		return domain.Tenant{}, Wrap("publish", err)
	}
	return t, p.Keys.ensureKey(ctx, tenantID, policy.Algorithm, p.Clock.Now())
}

// Metadata is what clients and verifiers must know of a tenant's issuer (RFC 8414, section 2).
type Metadata struct {
	Issuer     string
	Login      domain.LoginEndpoints
	Algorithms []domain.Algorithm // of the published keys, in the order of [domain.Algorithms]
}

// Metadata returns the metadata of a tenant. It may be a minute old. The error is ErrNotFound if the tenant does not
// exist.
func (p *Publish) Metadata(ctx context.Context, tenantID string) (Metadata, error) {
	t, err := p.tenant(ctx, tenantID)
	if err != nil {
		return Metadata{}, err
	}
	keys, err := p.Keys.ofTenant(ctx, tenantID)
	if err != nil {
		return Metadata{}, Wrap("publish metadata", err)
	}
	m := Metadata{Issuer: domain.Issuer(p.PublicURL, tenantID, t.Issuer), Login: t.Login}
	for _, a := range domain.Algorithms {
		if keys.Has(a) {
			m.Algorithms = append(m.Algorithms, a)
		}
	}
	return m, nil
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
