package usecase

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// hashKey hashes API keys.
type hashKey struct {
	number   uint32
	startsAt time.Time
	key      domain.Secret
}

// withHashKey returns a copy of keys with s added or replaced, or without s if it has ended.
func (k *Keys) withHashKey(keys []hashKey, s domain.SealedKey) []hashKey {
	next := hashKey{number: s.Number, startsAt: s.StartsAt}
	keys = slices.Clone(keys)
	if i := slices.IndexFunc(keys, func(h hashKey) bool { return h.number == s.Number }); i >= 0 {
		next.key = keys[i].key
		keys = slices.Delete(keys, i, i+1)
	}
	if !s.RetiredAt.IsZero() || !s.RevokedAt.IsZero() {
		return keys
	}
	if next.key.IsZero() {
		next.key = k.opened(s)
	}
	keys = append(keys, next)
	slices.SortFunc(keys, func(a, b hashKey) int { return cmp.Compare(b.number, a.number) })
	return keys
}

// hashOf is how a kind of credential is hashed under a key.
type hashOf func(hashKey domain.Secret) string

func ofAPIKey(key domain.Secret) hashOf {
	return func(hashKey domain.Secret) string { return domain.HashAPIKey(hashKey, key) }
}

func ofClientSecret(tenantID, applicationID string, secret domain.Secret) hashOf {
	return func(hashKey domain.Secret) string {
		return domain.HashClientSecret(hashKey, tenantID, applicationID, secret)
	}
}

// HashAPIKey returns the hash under which an API key is stored, and the number of the key that made it: the newest that
// has started. A new one starts when every process has read it, so that none refuses an API key that another stored.
func (k *Keys) HashAPIKey(key domain.Secret) (hash string, number uint32) {
	return k.hash(ofAPIKey(key))
}

// HashClientSecret returns the hash under which a client secret is stored, as HashAPIKey does.
func (k *Keys) HashClientSecret(tenantID, applicationID string, secret domain.Secret) (hash string, number uint32) {
	return k.hash(ofClientSecret(tenantID, applicationID, secret))
}

func (k *Keys) hash(of hashOf) (hash string, number uint32) {
	keys, now := k.ring.Load().api, k.Clock.Now()
	for i, h := range keys {
		if !h.key.IsZero() && (!h.startsAt.After(now) || i == len(keys)-1) {
			return of(h.key), h.number
		}
	}
	return "", 0
}

// HashesOfAPIKey returns the hashes under which an API key may be stored, the newest first: one for each hash key that
// is neither retired nor revoked. The error is ErrUnavailable if the keys are not known well enough to say that there
// are no others.
func (k *Keys) HashesOfAPIKey(ctx context.Context, key domain.Secret) ([]string, error) {
	return k.hashes(ctx, ofAPIKey(key))
}

// HashesOfClientSecret returns the hashes under which a client secret may be stored, as HashesOfAPIKey does.
func (k *Keys) HashesOfClientSecret(
	ctx context.Context, tenantID, applicationID string, secret domain.Secret,
) ([]string, error) {
	return k.hashes(ctx, ofClientSecret(tenantID, applicationID, secret))
}

func (k *Keys) hashes(ctx context.Context, of hashOf) ([]string, error) {
	if err := k.fresh(ctx); err != nil {
		return nil, err
	}
	keys := k.ring.Load().api
	hashes := make([]string, 0, len(keys))
	for _, h := range keys {
		if h.key.IsZero() {
			return nil, fmt.Errorf("hash key %d: %w: %w", h.number, domain.ErrUnavailable, errUnopened)
		}
		hashes = append(hashes, of(h.key))
	}
	return hashes, nil
}

// Rehashed returns stored, which has that key, with the hash that a new API key would get in place of the one that the
// key has. changed is false if it has that one.
func (k *Keys) Rehashed(stored domain.APIKey, key domain.Secret) (rehashed domain.APIKey, changed bool) {
	newest, number := k.HashAPIKey(key)
	for _, h := range k.ring.Load().api {
		if h.number >= number || h.key.IsZero() { // a newer one: another process wrote it
			continue
		}
		switch domain.HashAPIKey(h.key, key) {
		case stored.Hash:
			stored.Hash, stored.HashKey = newest, number
			return stored, true
		case stored.PreviousHash:
			stored.PreviousHash, stored.PreviousHashKey = newest, number
			return stored, true
		}
	}
	return stored, false
}

// HashFor returns the hash of key that stored has already, as its hash or its previous one, under whichever key; or the
// one that a new API key gets.
func (k *Keys) HashFor(stored domain.APIKey, key domain.Secret) (hash string, number uint32) {
	for _, h := range k.ring.Load().api {
		if h.key.IsZero() {
			continue
		}
		if hash := domain.HashAPIKey(h.key, key); hash == stored.Hash || hash == stored.PreviousHash {
			return hash, h.number
		}
	}
	return k.HashAPIKey(key)
}

// RehashedClient returns stored, whose secret at that index is secret, with the hash that a new client secret would get
// in place of the one that it has. changed is false if it has that one, or one that is newer.
func (k *Keys) RehashedClient(
	stored domain.Application, at int, secret domain.Secret,
) (rehashed domain.Application, changed bool) {
	hash, number := k.HashClientSecret(stored.TenantID, stored.ID, secret)
	if number <= stored.Client.Secrets[at].HashKey {
		return stored, false
	}
	stored.Client = stored.Client.Clone()
	stored.Client.Secrets[at].Hash, stored.Client.Secrets[at].HashKey = hash, number
	return stored, true
}

// hashedWith returns the number of the API keys and of the applications of which something is stored under the hash key
// of that number, and the first of them, at most limit, as an operator names them.
func (k *Keys) hashedWith(ctx context.Context, number uint32, limit int) (names []string, total int, err error) {
	keys, total, err := k.Store.APIKeysHashedWith(ctx, number, limit)
	if err != nil {
		return nil, 0, err
	}
	for _, key := range keys {
		names = append(names, fmt.Sprintf("%q", key.Name))
	}
	applications, more, err := k.Store.ApplicationsHashedWith(ctx, number, limit)
	if err != nil {
		return nil, 0, err
	}
	for _, a := range applications {
		names = append(names, fmt.Sprintf("the client %q of tenant %q", a.ID, a.TenantID))
	}
	return names[:min(limit, len(names))], total + more, nil
}
