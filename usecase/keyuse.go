package usecase

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// errTokenKeyEnded reports that the current token string of a session is of a token key that was retired or revoked.
var errTokenKeyEnded = errors.New("the token key was retired or revoked")

// present parses a token string and reports whether it is genuine. A malformed or forged one is not, and costs no call
// of the store, unless it names a key number that this process has never seen.
func (k *Keys) present(ctx context.Context, s domain.Secret) (t domain.PresentedToken, genuine bool, err error) {
	t, wellFormed := domain.ParseTokenString(s.Reveal())
	if !wellFormed {
		return t, false, nil
	}
	if err := k.fresh(ctx); err != nil {
		return t, false, err
	}
	key, known := k.ring.Load().token.ByNumber(t.KeyNumber)
	if !known {
		if err := k.lookAgain(ctx); err != nil {
			return t, false, err
		}
		if key, known = k.ring.Load().token.ByNumber(t.KeyNumber); !known {
			return t, false, nil
		}
	}
	if !key.Accepts() {
		return t, false, nil
	}
	if key.Key.IsZero() {
		return t, false, fmt.Errorf("token key %d: %w: %w", key.Number, domain.ErrUnavailable, errUnopened)
	}
	return t, t.Genuine(key), nil
}

// mint returns the current token string of t. The error is errTokenKeyEnded if it would be refused when it is used.
func (k *Keys) mint(t domain.RefreshToken) (domain.Secret, error) {
	key, ok := k.ring.Load().token.MintingAt(t.RotatedAt)
	switch {
	case !ok:
		return domain.Secret{}, fmt.Errorf("mint: no token key is valid at %s", t.RotatedAt)
	case key.Ended(k.Clock()):
		return domain.Secret{}, fmt.Errorf("mint with token key %d: %w", key.Number, errTokenKeyEnded)
	case key.Key.IsZero():
		return domain.Secret{}, fmt.Errorf("mint with token key %d: %w: %w", key.Number, domain.ErrUnavailable,
			errUnopened)
	}
	return key.Mint(t.ID, t.Generation), nil
}

// signing returns the key that signs for the tenant at that instant. It may be of another algorithm than a, if the key
// of a has not started: see [domain.SigningKeys.SigningAt]. Only a tenant for which no key can sign gets one here. It
// is valid from the beginning of time, so that every process uses it, whichever process made it.
func (k *Keys) signing(
	ctx context.Context, tenantID string, a domain.Algorithm, at time.Time,
) (domain.SigningKey, error) {
	if err := k.fresh(ctx); err != nil {
		return domain.SigningKey{}, err
	}
	key, ok, err := k.made(ctx, tenantID, a, at)
	if ok && key.Algorithm != a && k.lacks(tenantID, a) {
		if k.mayLack(tenantID) && k.readWith(ctx, false) == nil {
			key, ok, err = k.made(ctx, tenantID, a, at)
		}
		k.makeLater(ctx, tenantID, a)
	}
	if ok || err != nil {
		return key, err
	}
	// All callers that wait for the key share one, because making an RSA key takes long.
	err = k.makes.do(ctx, string(a)+" "+tenantID, keyMakeTimeout, func(ctx context.Context) error {
		err := k.prepare(ctx, domain.Service(), SigningKeys{tenantID, a})
		if errors.Is(err, domain.ErrDuplicate) { // another process was first
			return k.Reload(ctx)
		}
		return err
	})
	if err != nil {
		return domain.SigningKey{}, err
	}
	if key, ok, err = k.made(ctx, tenantID, a, at); err == nil && !ok {
		err = fmt.Errorf("no %s key of tenant %s is valid at %s", a, tenantID, at)
	}
	return key, err
}

// lacks reports whether this process knows no published key of a for the tenant, whose keys are loaded.
func (k *Keys) lacks(tenantID string, a domain.Algorithm) bool {
	t, ok := k.held.tenants.Load(tenantID)
	return ok && !t.(*tenantKeys).Has(a)
}

// mayLack reports whether another process may have made a key for the tenant that signs already and that this one has
// not read: one of a tenant that is new, whose keys are valid from the beginning of time. Any other key starts when
// every process knows it.
func (k *Keys) mayLack(tenantID string) bool {
	t, ok := k.held.tenants.Load(tenantID)
	return ok && isNew(t.(*tenantKeys).own, k.Clock.Now())
}

// makeLater makes a key of a for the tenant if it has none, and does not wait for it: another key signs until then.
// Prepare makes the key before a policy names its algorithm, so this is for a policy that another program wrote.
func (k *Keys) makeLater(ctx context.Context, tenantID string, a domain.Algorithm) {
	now, name := k.Clock(), string(a)+" "+tenantID
	tried, ok := k.triedToMake.Load(name)
	if !k.lacks(tenantID, a) || ok && recent(now, tried.(time.Time), makeInterval) {
		return
	}
	k.triedToMake.Store(name, now)
	k.makes.join(ctx, name, keyMakeTimeout,
		func(ctx context.Context) error { return k.prepare(ctx, domain.Service(), SigningKeys{tenantID, a}) })
}

// made returns the key that signs for the tenant at that instant, if there is one.
func (k *Keys) made(
	ctx context.Context, tenantID string, a domain.Algorithm, at time.Time,
) (key domain.SigningKey, ok bool, err error) {
	keys, err := k.ofTenant(ctx, tenantID)
	if err != nil {
		return domain.SigningKey{}, false, err
	}
	if key, ok = keys.SigningAt(a, at); ok {
		err = openedOrNot(key)
	}
	return key, ok, err
}
