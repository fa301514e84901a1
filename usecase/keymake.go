package usecase

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// SigningKeys names the signing keys of a tenant for an algorithm.
type SigningKeys struct {
	TenantID  string
	Algorithm domain.Algorithm
}

// Prepare makes the signing keys of all these that have none, in one write unless another process makes one
// concurrently. A key signs from the beginning of time if the tenant is new, and otherwise when verifiers know it:
// until then the tenant's present key signs, so a tenant or an application may be written with a new algorithm at any
// time.
func (k *Keys) Prepare(ctx context.Context, by domain.Origin, wanted []SigningKeys) error {
	for attempt := 0; ; attempt++ {
		err := k.prepare(ctx, by, wanted...)
		if !errors.Is(err, domain.ErrDuplicate) || attempt == writeAttempts {
			return err
		}
	}
}

// SigningKeysOf returns the signing keys of the tenant and the shared ones, as [Keys.Prepare] or another change by this
// process found them.
func (k *Keys) SigningKeysOf(ctx context.Context, tenantID string) (domain.SigningKeys, error) {
	keys, err := k.ofTenant(ctx, tenantID)
	if err != nil {
		return domain.SigningKeys{}, err
	}
	return keys.SigningKeys, nil
}

// With returns the set with the signing key that Prepare or Import would add to it now. It makes no private key.
func (k *Keys) With(keys domain.SigningKeys, n NewKey) (domain.SigningKeys, error) {
	now := k.Clock.Now()
	s := domain.SealedKey{
		ID: n.ID, Kind: domain.KeySigning, TenantID: n.TenantID, Algorithm: n.Algorithm, CreatedAt: now, KnownAt: n.KnownAt,
	}
	var err error
	if s.StartsAt, err = k.signingStart(keys, s, n, now); err != nil {
		return keys, err
	}
	return domain.NewSigningKeys(append(slices.Clone(keys.All()), s.Signing(domain.Secret{}))...), nil
}

// prepare makes the signing keys of those that have none. If another process has made one of them meanwhile it returns
// ErrDuplicate, and makes none.
func (k *Keys) prepare(ctx context.Context, by domain.Origin, wanted ...SigningKeys) error {
	// The known keys may be old: another process may have made a key, or the master key may have changed.
	if err := k.Reload(ctx); err != nil {
		return err
	}
	var made []domain.OpenKey
	for _, w := range wanted {
		keys, err := k.ofTenant(ctx, w.TenantID)
		if err != nil {
			return err
		}
		if keys.Has(w.Algorithm) {
			continue
		}
		s := domain.SealedKey{Kind: domain.KeySigning, TenantID: w.TenantID, Algorithm: w.Algorithm, Number: 1}
		if slices.ContainsFunc(keys.own, func(key domain.SigningKey) bool { return key.Algorithm == w.Algorithm }) {
			stored, err := k.stored(ctx, w.TenantID) // retired and revoked keys keep their numbers
			if err != nil {
				return Wrap("number a key", err)
			}
			s.Number = stored.next(s.Kind, s.Algorithm)
		}
		s.CreatedAt = k.Clock.Now()
		if s.StartsAt, err = k.signingStart(keys.SigningKeys, s, NewKey{}, s.CreatedAt); err != nil {
			return err
		}
		key, err := k.newSigningKey(ctx, s, 0)
		if err != nil {
			return err
		}
		made = append(made, key)
	}
	if len(made) == 0 {
		return nil
	}
	event, err := domain.KeysEvent(by, k.Clock.Now(), k.Random, rows(made)...)
	if err != nil {
		return err
	}
	sealed, err := k.add(ctx, event, made)
	if err != nil {
		return Wrap("add signing keys", err)
	}
	for _, s := range sealed {
		k.adopt(s)
	}
	return nil
}

// ensureKey makes a key for the tenant to publish if it has none. Any client may request key sets. So the keys for any
// number of tenants are made one after another, and signing does not wait for them.
func (k *Keys) ensureKey(ctx context.Context, tenantID string, a domain.Algorithm, at time.Time) error {
	if err := k.fresh(ctx); err != nil {
		return err
	}
	if _, ok, err := k.made(ctx, tenantID, a, at); ok || err != nil {
		return err
	}
	return k.publishing.do(ctx, string(a)+" "+tenantID, keyMakeTimeout, func(ctx context.Context) error {
		if err := k.makingOne.acquire(ctx); err != nil {
			return err
		}
		defer k.makingOne.release()
		_, err := k.signing(ctx, tenantID, a, at)
		return err
	})
}

// newSigningKey makes the private key of s and, if it has none, its id. bits is the size of an RSA key; 0 for the
// default.
func (k *Keys) newSigningKey(ctx context.Context, s domain.SealedKey, bits int) (domain.OpenKey, error) {
	private, err := k.newPrivateKey(ctx, s.Algorithm, bits)
	if err != nil {
		return domain.OpenKey{}, err
	}
	if s.ID == "" {
		s.ID, err = k.newKeyID()
	}
	return domain.OpenKey{SealedKey: s, Plain: private}, err
}

func (k *Keys) newPrivateKey(ctx context.Context, a domain.Algorithm, bits int) (domain.Secret, error) {
	if err := k.making.acquire(ctx); err != nil {
		return domain.Secret{}, err
	}
	defer k.making.release()
	private, err := k.Signer.NewKey(a, bits)
	if err != nil {
		return domain.Secret{}, Wrap("make a signing key", err)
	}
	return private, nil
}

// askedFor makes a private key that a request asks for. They are made one after another, so that those which a first
// login needs do not wait for them: an RSA key of 4096 bits takes seconds.
func (k *Keys) askedFor(ctx context.Context, a domain.Algorithm, bits int) (domain.Secret, error) {
	if err := k.makingAsked.acquire(ctx); err != nil {
		return domain.Secret{}, err
	}
	defer k.makingAsked.release()
	return k.newPrivateKey(ctx, a, bits)
}

func (k *Keys) newKeyID() (string, error) {
	var id [16]byte
	if _, err := io.ReadFull(k.Random, id[:]); err != nil {
		return "", fmt.Errorf("make a signing key: %w", err)
	}
	id[0] &= 0x7f // so that no id begins with a hyphen, which a command would take for a flag
	return base64.RawURLEncoding.EncodeToString(id[:]), nil
}

func (k *Keys) randomKey() (domain.Secret, error) {
	b := make([]byte, domain.KeySize)
	if _, err := io.ReadFull(k.Random, b); err != nil {
		return domain.Secret{}, fmt.Errorf("make a key: %w", err)
	}
	return domain.NewSecret(string(b)), nil
}

// rows returns the keys without their content.
func rows(keys []domain.OpenKey) (all []domain.SealedKey) {
	for _, key := range keys {
		all = append(all, key.SealedKey)
	}
	return all
}

// newFor is how long after its first key was made a tenant has no verifier that has cached a key set without a key
// which is made then.
const newFor = 10 * time.Minute

// isNew reports whether each of a tenant's own keys is younger than that.
func isNew(own []domain.SigningKey, now time.Time) bool {
	return !slices.ContainsFunc(own, func(key domain.SigningKey) bool { return now.Sub(key.CreatedAt) >= newFor })
}
