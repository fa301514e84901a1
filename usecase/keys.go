package usecase

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const (
	// KeyReloadInterval is how old a process's view of the keys may grow.
	KeyReloadInterval = 30 * time.Second
	// keyReloadPause keeps strings with made-up key numbers from turning into a load on the store.
	keyReloadPause   = time.Second
	keyReloadTimeout = 5 * time.Second

	checkText = "refreshd master key check 1"
)

// ErrKeysLost means that the store holds data, but not the check value that a master key once left there, or not the keys that
// the data belongs to. Starting would make new ones beside it, to which no token string and no API key that is out there fits.
var ErrKeysLost = errors.New("the store holds data but not its keys: it was restored in part, or belongs to something else; nothing was changed")

// KeysConfig is what Keys needs.
type KeysConfig struct {
	Store  port.Keys
	Signer port.Signer
	// Master opens and seals. Previous, where given, opens what Master does not, and what it opened is sealed anew.
	Master   domain.MasterKey
	Previous *domain.MasterKey
	Clock    Clock
	Random   io.Reader
}

// Keys holds the opened keys of the deployment: which token key mints, which signing key signs, what hashes API keys. It is the
// one place where a key is made. It reads the store when it is opened, when [Keys.Reload] is called, and when it meets a key
// number that it does not know; between these its view may be KeyReloadInterval old, which the rules for starting and
// retiring keys allow for.
type Keys struct {
	KeysConfig

	ring    atomic.Pointer[ring]
	making  lock // held while a signing key is made
	loading lock // guards writing ring, and what follows
	triedAt time.Time
	tried   error // what came of it
}

// lock is a mutex that a caller stops waiting for when its context is done: the store can be slow while it is held.
type lock chan struct{}

func (l lock) acquire(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the keys: %w: %w", domain.ErrUnavailable, ctx.Err())
	}
}

func (l lock) release() { <-l }

type ring struct {
	token   domain.TokenKeys
	signing domain.SigningKeys
	api     domain.Secret
}

// OpenKeys checks the master key against the store, makes the first keys of an empty one, and loads them. It returns
// domain.ErrWrongMasterKey or ErrKeysLost, having written nothing, where master key and store do not belong together.
func OpenKeys(ctx context.Context, c KeysConfig) (*Keys, error) {
	k := &Keys{KeysConfig: c, making: make(lock, 1), loading: make(lock, 1)}
	// Data is asked for before keys are: whoever stored what is there by now had all of its keys before. The other way round,
	// another process that starts for the first time could come between and make this one refuse.
	hasData, err := c.Store.HasData(ctx)
	if err != nil {
		return nil, fault("open keys", err)
	}
	stored, err := c.Store.SealedKeys(ctx)
	if err != nil {
		return nil, fault("open keys", err)
	}
	there := make(map[domain.KeyKind]bool)
	for _, s := range stored {
		there[s.Kind] = true
	}
	switch complete := there[domain.KeyCheck] && there[domain.KeyToken] && there[domain.KeyAPI]; {
	case hasData && !complete:
		return nil, ErrKeysLost
	case len(stored) == 0:
		// The check value goes first: whoever wrote it has decided which master key this store belongs to.
		if err := k.add(ctx, domain.SealedKey{Kind: domain.KeyCheck, Number: 1}, domain.NewSecret(checkText)); err != nil {
			return nil, err
		}
	}
	if err := k.Reload(ctx); err != nil {
		return nil, err
	}
	for _, first := range []domain.KeyKind{domain.KeyToken, domain.KeyAPI} {
		if there[first] {
			continue
		}
		secret, err := k.randomKey()
		if err != nil {
			return nil, err
		}
		if err := k.add(ctx, domain.SealedKey{Kind: first, Number: 1}, secret); err != nil {
			return nil, err
		}
	}
	return k, k.Reload(ctx)
}

// check tells a wrong master key from a store that lost its check value.
func (k *Keys) check(stored []domain.SealedKey) error {
	for _, s := range stored {
		if s.Kind == domain.KeyCheck {
			plain, _, err := k.open(s)
			if err == nil && !plain.Equal(domain.NewSecret(checkText)) {
				return domain.ErrWrongMasterKey
			}
			return err
		}
	}
	return ErrKeysLost
}

func (k *Keys) open(s domain.SealedKey) (plain domain.Secret, byPrevious bool, err error) {
	plain, err = k.Master.Open(s)
	if err != nil && k.Previous != nil {
		plain, err = k.Previous.Open(s)
		return plain, err == nil, err
	}
	return plain, false, err
}

func (k *Keys) randomKey() (domain.Secret, error) {
	b := make([]byte, domain.KeySize)
	if _, err := io.ReadFull(k.Random, b); err != nil {
		return domain.Secret{}, fmt.Errorf("make a key: %w", err)
	}
	return domain.NewSecret(string(b)), nil
}

// add seals and stores a key. That another process was first is as good.
func (k *Keys) add(ctx context.Context, s domain.SealedKey, plain domain.Secret) error {
	s.CreatedAt = k.Clock.now()
	sealed, err := k.Master.Seal(s, plain, k.Random)
	if err != nil {
		return err
	}
	if err := k.Store.AddKey(ctx, sealed); err != nil && !errors.Is(err, domain.ErrDuplicate) {
		return fault(fmt.Sprintf("add a %s key", s.Kind), err)
	}
	return nil
}

// Reload reads the keys from the store. What a previous master key still had to open is sealed anew.
func (k *Keys) Reload(ctx context.Context) error {
	if err := k.loading.acquire(ctx); err != nil {
		return err
	}
	defer k.loading.release()
	return k.reload(ctx)
}

func (k *Keys) reload(ctx context.Context) (err error) {
	defer func() { k.triedAt, k.tried = k.Clock.now(), err }()
	stored, err := k.Store.SealedKeys(ctx)
	if err != nil {
		return fault("load keys", err)
	}
	if err := k.check(stored); err != nil {
		return err
	}
	r := &ring{}
	for _, s := range stored {
		plain, byPrevious, err := k.open(s)
		if err != nil {
			return fmt.Errorf("open %s key %d: the store is corrupt, or another master key was at work: %w", s.Kind, s.Number, err)
		}
		if byPrevious {
			if err := k.reseal(ctx, s, plain); err != nil {
				return err
			}
		}
		switch s.Kind {
		case domain.KeyToken:
			r.token = append(r.token, domain.TokenKey{Number: s.Number, StartsAt: s.StartsAt, Key: plain})
		case domain.KeyAPI:
			r.api = plain
		case domain.KeySigning:
			r.signing = append(r.signing, domain.SigningKey{
				ID: s.ID, TenantID: s.TenantID, Algorithm: s.Algorithm, StartsAt: s.StartsAt, RetiredAt: s.RetiredAt, Private: plain,
			})
		case domain.KeyCheck:
		}
	}
	k.ring.Store(r)
	return nil
}

func (k *Keys) reseal(ctx context.Context, s domain.SealedKey, plain domain.Secret) error {
	sealed, err := k.Master.Seal(s, plain, k.Random)
	if err != nil {
		return err
	}
	if err := k.Store.Reseal(ctx, s, sealed.Sealed); err != nil && !errors.Is(err, domain.ErrConflict) {
		return fault("seal a key anew", err)
	}
	return nil
}

// reloadForUnknown reloads unless that was tried within the last second. Calls that meet while one reloads share what came of
// it, also if it failed: what could not be looked up is not refused.
func (k *Keys) reloadForUnknown(ctx context.Context) error {
	if err := k.loading.acquire(ctx); err != nil {
		return err
	}
	defer k.loading.release()
	if since := k.Clock.now().Sub(k.triedAt); since < 0 || since >= keyReloadPause {
		// Others share what comes of it, so it does not end with the caller who happened to be first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyReloadTimeout)
		defer cancel()
		_ = k.reload(ctx) // it is in k.tried
	}
	if k.tried != nil {
		return fmt.Errorf("look up a key: %w: %w", domain.ErrUnavailable, k.tried)
	}
	return nil
}

// present takes a token string apart and tells whether it is genuine. Malformed and forged ones are not, and cost no call of
// the store, but for a key number that this process has never seen.
func (k *Keys) present(ctx context.Context, s domain.Secret) (t domain.PresentedToken, genuine bool, err error) {
	t, wellFormed := domain.ParseTokenString(s.Reveal())
	if !wellFormed {
		return t, false, nil
	}
	key, known := k.ring.Load().token.Numbered(t.KeyNumber)
	if !known {
		if err := k.reloadForUnknown(ctx); err != nil {
			return t, false, err
		}
		if key, known = k.ring.Load().token.Numbered(t.KeyNumber); !known {
			return t, false, nil
		}
	}
	return t, t.Genuine(key), nil
}

// mint makes the current token string of t.
func (k *Keys) mint(t domain.RefreshToken) (domain.Secret, error) {
	key, ok := k.ring.Load().token.MintingAt(t.RotatedAt)
	if !ok {
		return domain.Secret{}, fmt.Errorf("mint: no token key serves at %s", t.RotatedAt)
	}
	return key.Mint(t.ID, t.Generation), nil
}

// signing is the key that signs for the tenant at that instant. The first one of a tenant and algorithm is made when it is
// asked for, and serves from the beginning of time: whoever makes it first, every process then agrees on it.
func (k *Keys) signing(ctx context.Context, tenantID string, a domain.Algorithm, at time.Time) (domain.SigningKey, error) {
	if key, ok := k.ring.Load().signing.SigningAt(tenantID, a, at); ok {
		return key, nil
	}
	// One at a time, and not before looking whether another process was first: an RSA key takes long to make.
	if err := k.making.acquire(ctx); err != nil {
		return domain.SigningKey{}, err
	}
	defer k.making.release()
	if err := k.Reload(ctx); err != nil {
		return domain.SigningKey{}, err
	}
	if key, ok := k.ring.Load().signing.SigningAt(tenantID, a, at); ok {
		return key, nil
	}
	private, err := k.Signer.NewKey(a)
	if err != nil {
		return domain.SigningKey{}, fault("make a signing key", err)
	}
	var id [16]byte
	if _, err := io.ReadFull(k.Random, id[:]); err != nil {
		return domain.SigningKey{}, fmt.Errorf("make a signing key: %w", err)
	}
	err = k.add(ctx, domain.SealedKey{
		Kind: domain.KeySigning, TenantID: tenantID, Algorithm: a, Number: 1, ID: base64.RawURLEncoding.EncodeToString(id[:]),
	}, private)
	if err != nil {
		return domain.SigningKey{}, err
	}
	if err := k.Reload(ctx); err != nil {
		return domain.SigningKey{}, err
	}
	key, ok := k.ring.Load().signing.SigningAt(tenantID, a, at)
	if !ok {
		return domain.SigningKey{}, fmt.Errorf("no %s key of tenant %s signs at %s", a, tenantID, at)
	}
	return key, nil
}

func (k *Keys) hashAPIKey(key domain.Secret) string { return domain.HashAPIKey(k.ring.Load().api, key) }

// verify reads an access token that one of the published keys has signed; ErrUnauthorized if none has.
func (k *Keys) verify(ctx context.Context, token string) (domain.AccessToken, error) {
	t, err := k.Signer.Verify(ctx, k.ring.Load().signing, token)
	if errors.Is(err, domain.ErrUnknownKey) { // another process may have made it a moment ago
		if err := k.reloadForUnknown(ctx); err != nil {
			return domain.AccessToken{}, fmt.Errorf("verify the access token: %w: %w", domain.ErrUnknownKey, err)
		}
		t, err = k.Signer.Verify(ctx, k.ring.Load().signing, token)
	}
	if err != nil {
		return domain.AccessToken{}, fault("verify the access token", err)
	}
	return t, nil
}

// jwks is the public keys of a tenant, its own and the shared ones; for an empty tenant the shared ones only. Verifiers keep it for
// minutes, so it must not lack a key that another process has just made. Where that cannot be looked up, those that are known are
// better than none.
func (k *Keys) jwks(ctx context.Context, tenantID string) ([]byte, error) {
	unknown := k.reloadForUnknown(ctx)
	keys := k.ring.Load().signing.OfTenant(tenantID)
	if unknown != nil && len(keys) == 0 {
		return nil, unknown
	}
	set, err := k.Signer.JWKS(keys)
	if err != nil {
		return nil, fault("publish", err)
	}
	return set, nil
}
