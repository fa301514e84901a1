package usecase

import (
	"context"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Prove signs what a stream said of a view. It must not be copied.
type Prove struct {
	Tenants   port.Tenants
	Keys      *Keys
	Signer    port.Signer
	PublicURL string // as in Minter
	Clock     Clock

	known sync.Map // tenant id -> prover
}

// prover is what the proofs of a tenant depend on, as of an instant.
type prover struct {
	at        time.Time
	issuer    string
	algorithm domain.Algorithm
}

// proverMaxAge is how long a tenant's issuer and algorithm are used: each stream with a nonce wants a proof every 10
// s, and they must not cost a query each. The key is looked up each time, so one that was revoked signs nothing.
const proverMaxAge = 10 * time.Second

// Do returns the proof, in compact form, that a view with the facts up to cursor was complete as of the moment
// completeAfter after the request arrived. The tenant's own algorithm signs, whatever its applications use.
func (p *Prove) Do(
	ctx context.Context, tenantID, nonce string, cursor domain.Position, completeAfter time.Duration,
) (string, error) {
	now := p.Clock.Now()
	by, err := p.prover(ctx, tenantID, now)
	if err != nil {
		return "", err
	}
	key, err := p.Keys.signing(ctx, tenantID, by.algorithm, now)
	if err != nil {
		return "", err
	}
	jws, err := p.Signer.SignProof(ctx, key, domain.ViewProof{
		Issuer: by.issuer, Nonce: nonce, Cursor: cursor, CompleteAfter: domain.FloorMilliseconds(completeAfter),
		IssuedAt: now.Truncate(time.Second),
	})
	if err != nil {
		return "", Wrap("sign the proof of a view", err)
	}
	return jws, nil
}

// prover reads the tenant, unless that was done within the last seconds. Streams that do so concurrently read it each.
func (p *Prove) prover(ctx context.Context, tenantID string, now time.Time) (prover, error) {
	if known, ok := p.known.Load(tenantID); ok && recent(now, known.(prover).at, proverMaxAge) {
		return known.(prover), nil
	}
	t, err := p.Tenants.Tenant(ctx, tenantID)
	if err != nil {
		p.known.Delete(tenantID)
		return prover{}, Wrap("prove a view", err)
	}
	policy, err := domain.Combine(t, domain.Application{})
	if err != nil {
		return prover{}, Wrap("prove a view", err)
	}
	by := prover{now, domain.Issuer(p.PublicURL, tenantID, policy.Issuer), policy.Algorithm}
	p.known.Store(tenantID, by)
	return by, nil
}
