package admin

import (
	"context"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// StateActive and StateAccepted are the states of keys that do not sign, in addition to those of signing keys.
const (
	StateActive   domain.KeyState = "active"   // makes what is new: token strings, or hashes of API keys
	StateAccepted domain.KeyState = "accepted" // what it made is accepted
)

// neighbours are the keys that the use of a key depends on: those of its tenant, it among them, and the shared ones.
type neighbours struct {
	rows    []domain.SealedKey
	signing domain.SigningKeys
}

func neighboursOf(rows []domain.SealedKey) neighbours {
	return neighbours{rows, domain.SigningKeysOf(rows)}
}

// stateOf returns the state of k at now.
func stateOf(k domain.SealedKey, n neighbours, now time.Time) domain.KeyState {
	switch {
	case k.Kind == domain.KeySigning:
		return n.signing.State(k.Signing(domain.Secret{}), now)
	case !k.RevokedAt.IsZero():
		return domain.StateRevoked
	case !k.RetiredAt.IsZero():
		return domain.StateRetired
	case k.StartsAt.After(now):
		return domain.StateStandby
	case slices.ContainsFunc(n.rows, func(o domain.SealedKey) bool { return supersedes(o, k) && !o.StartsAt.After(now) }):
		return StateAccepted
	default:
		return StateActive
	}
}

// supersedes reports whether o is used in place of k, both of which do not sign, once it has started.
func supersedes(o, k domain.SealedKey) bool {
	later := o.StartsAt.After(k.StartsAt) || o.StartsAt.Equal(k.StartsAt) && o.Number > k.Number
	return o.Kind == k.Kind && o.Published() && later
}

// timeline returns what happened to k and what will. The arguments are those of stateOf.
func timeline(k domain.SealedKey, n neighbours, now time.Time, r domain.KeyRules) []domain.KeyMoment {
	if k.Kind == domain.KeySigning {
		return untilEnd(k, n.signing.Timeline(k.Signing(domain.Secret{}), now, r))
	}
	moments := []domain.KeyMoment{{At: k.CreatedAt, What: domain.MomentMade}}
	add := func(what domain.KeyMomentKind, at time.Time) {
		if !at.IsZero() && at.Before(domain.Never) {
			moments = append(moments, domain.KeyMoment{At: at, What: what})
		}
	}
	add(domain.MomentStarts, k.StartsAt)
	superseded := domain.Never
	for _, o := range n.rows {
		if supersedes(o, k) && o.StartsAt.Before(superseded) {
			superseded = o.StartsAt
		}
	}
	add(domain.MomentSuperseded, superseded)
	add(domain.MomentRetired, k.RetiredAt)
	add(domain.MomentRevoked, k.RevokedAt)
	slices.SortStableFunc(moments, func(a, b domain.KeyMoment) int { return a.At.Compare(b.At) })
	return untilEnd(k, moments)
}

// untilEnd returns the moments without those that do not come, because the key was retired or revoked before.
func untilEnd(k domain.SealedKey, moments []domain.KeyMoment) []domain.KeyMoment {
	end := k.RetiredAt
	if end.IsZero() || !k.RevokedAt.IsZero() && k.RevokedAt.Before(end) {
		end = k.RevokedAt
	}
	if end.IsZero() {
		return moments
	}
	return slices.DeleteFunc(moments, func(m domain.KeyMoment) bool {
		return m.At.After(end) && m.What != domain.MomentRetired && m.What != domain.MomentRevoked
	})
}

// Effective is the algorithm that signs access tokens at an instant.
type Effective struct {
	Algorithm, Wanted domain.Algorithm
	// Until is when a key of the wanted algorithm signs, if it is another one; zero if no stored key will.
	Until time.Time
}

// TenantAlgorithm returns what signs for the tenant where no application sets another algorithm.
func (u *Keys) TenantAlgorithm(ctx context.Context, t domain.Tenant) (Effective, error) {
	wanted := combined(t, domain.Application{}).Algorithm
	e, err := effectiveAlgorithm(ctx, u.Keys, t.ID, wanted, u.Clock.Now())
	return e, result("read the keys of the tenant", err)
}

// ApplicationAlgorithm returns what signs for the application.
func (u *Keys) ApplicationAlgorithm(ctx context.Context, a domain.Application) (Effective, error) {
	t, err := u.Tenants.Tenant(ctx, a.TenantID)
	if err != nil {
		return Effective{}, result("read the tenant", err)
	}
	e, err := effectiveAlgorithm(ctx, u.Keys, a.TenantID, combined(t, a).Algorithm, u.Clock.Now())
	return e, result("read the keys of the tenant", err)
}

// effectiveAlgorithm returns the algorithm that signs at now for a tenant whose policy wants another one or that.
func effectiveAlgorithm(
	ctx context.Context, keys port.Keys, tenantID string, wanted domain.Algorithm, now time.Time,
) (Effective, error) {
	signing, err := readSigningKeys(ctx, keys, tenantID)
	e := Effective{Wanted: wanted}
	e.Algorithm, e.Until = signing.EffectiveAlgorithm(wanted, now)
	return e, err
}

// readSigningKeys returns the signing keys of the tenant and the shared ones, without their content.
func readSigningKeys(ctx context.Context, keys port.Keys, tenantID string) (domain.SigningKeys, error) {
	var all []domain.SealedKey
	for _, id := range []string{tenantID, ""} {
		stored, err := keys.KeysOfTenant(ctx, id)
		if err != nil {
			return domain.SigningKeys{}, err
		}
		all = append(all, stored...)
	}
	return domain.SigningKeysOf(all), nil
}
