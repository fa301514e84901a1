package usecase

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const checkText = "refreshd master key check 1"

// ErrKeysLost reports that the store holds data, but not the check value that a master key once stored there, or not
// the keys that the data needs. A start would make new keys, under which no token string and no API key in use is
// valid.
var ErrKeysLost = errors.New("the store holds data but not its keys: it was restored in part, or belongs to another " +
	"deployment; nothing was changed")

// KeyStore is the part of a store that Keys needs.
type KeyStore interface {
	port.Keys
	HasData(ctx context.Context) (bool, error)
}

// KeysConfig holds the parameters of [OpenKeys].
type KeysConfig struct {
	Store  KeyStore
	Signer port.Signer
	// Master opens and seals keys. Previous, if given, opens the keys that Master does not. OpenKeys seals these again
	// with Master. This never happens later: two processes with Master and Previous exchanged would undo each other's
	// work.
	Master   domain.MasterKey
	Previous *domain.MasterKey
	Clock    Clock
	Random   io.Reader
	// ReadOnly forbids writes to the store. If it has no keys yet, temporary ones are made.
	ReadOnly bool
	// Copied, if given, are put into a store that has no keys yet. OpenKeys returns ErrOtherKeys, having written nothing,
	// if a store has keys and lacks one of them.
	Copied *CopiedKeys
}

// Keys holds the opened keys of the deployment: the token keys, the signing keys, and the key that hashes API keys. All
// keys are made here.
//
// Its cost does not grow with the number of tenants, applications or keys. At the start it reads the keys of no tenant;
// it reads a tenant's signing keys when they are first needed. It learns of later changes by reading the key ring from
// the last revision on: every KeyReadInterval, and before it signs or verifies if the last reading is older than
// keyMaxAge. If that reading fails, the request fails: an exchange needs the store in any case, and a process without
// the store must not sign with a key that was revoked. Only the JWK Sets are still returned: verifiers cache them for
// minutes in any case, and a verifier without one refuses every access token.
type Keys struct {
	KeysConfig

	ring atomic.Pointer[ring]
	held held

	reading  lock // held while changes are read; guards the next three fields
	triedAt  time.Time
	tried    error // the error of the last reading
	readings atomic.Uint64

	reads      flights // of changes, by whether they are limited to one a second
	loads      flights // by tenant
	makes      flights // by tenant and algorithm
	making     lock    // held while a key is made
	publishing flights // by tenant and algorithm: keys that are made for key sets
	makingOne  lock    // held while one of these is made
	lookUps    lock    // of key ids
	checks     lock    // of tenants whose key sets are requested
	misses     misses
}

// OpenKeys checks the master key against the store, makes the first keys of an empty store, and loads the keys of no
// tenant. It returns domain.ErrWrongMasterKey or ErrKeysLost, having written nothing, if master key and store do not
// belong together. Signing keys of tenants are not opened: an altered one is found when it is needed.
func OpenKeys(ctx context.Context, c KeysConfig) (*Keys, error) {
	k := &Keys{
		KeysConfig: c, reading: newLock(1), making: newLock(maxMakes), makingOne: newLock(1),
		lookUps: newLock(maxLookUps), checks: newLock(maxLookUps),
	}
	k.held.loading = make(map[string]bool)
	// HasData comes before the keys: a process that stored data had stored all of its keys before.
	// In the other order, another process that starts for the first time could come between and make this one fail.
	hasData, err := c.Store.HasData(ctx)
	if err != nil {
		return nil, Wrap("open keys", err)
	}
	revision, err := c.Store.KeyRevision(ctx)
	if err != nil {
		return nil, Wrap("open keys", err)
	}
	stored, err := c.Store.KeysOfTenant(ctx, "")
	if err != nil {
		return nil, Wrap("open keys", err)
	}
	there := make(map[domain.KeyKind]bool)
	for _, s := range stored {
		there[s.Kind] = true
	}
	switch complete := there[domain.KeyCheck] && there[domain.KeyToken] && there[domain.KeyAPI]; {
	case hasData && !complete:
		return nil, ErrKeysLost
	case c.Copied != nil && !complete && revision > 0:
		return nil, ErrOtherKeys
	case c.ReadOnly && !complete:
		return k, k.useTemporaryKeys()
	case revision == 0 && len(stored) == 0 && c.Copied != nil:
		if err := k.putCopied(ctx); err != nil {
			return nil, err
		}
		for _, key := range c.Copied.Keys {
			there[key.Kind] = true
		}
	case revision == 0 && len(stored) == 0:
		// The check value is stored first: the process that stored it decides which master key this store belongs to.
		check := domain.SealedKey{Kind: domain.KeyCheck, Number: 1}
		if err := k.add(ctx, c.Master, check, domain.NewSecret(checkText)); err != nil {
			return nil, err
		}
	}
	if err := k.loadFirst(ctx); err != nil {
		return nil, err
	}
	if c.Copied != nil {
		if err := k.holdsCopied(ctx); err != nil {
			return nil, err
		}
	}
	for _, first := range []domain.KeyKind{domain.KeyToken, domain.KeyAPI} {
		if there[first] {
			continue
		}
		secret, err := k.randomKey()
		if err != nil {
			return nil, err
		}
		if err := k.add(ctx, *k.ring.Load().inForce, domain.SealedKey{Kind: first, Number: 1}, secret); err != nil {
			return nil, err
		}
	}
	if c.Previous != nil && !c.ReadOnly {
		if err := k.resealAll(ctx); err != nil {
			return nil, err
		}
	}
	return k, k.loadFirst(ctx)
}

// useTemporaryKeys makes temporary keys for a store that has none and must not be written to.
func (k *Keys) useTemporaryKeys() error {
	api, err := k.randomKey()
	if k.Copied != nil {
		for _, key := range k.Copied.Keys {
			if key.Kind == domain.KeyAPI {
				api = key.Plain
			}
		}
	}
	k.ring.Store(&ring{readAt: k.Clock(), inForce: &k.Master, api: api})
	return err
}

// loadFirst loads the keys of no tenant. All of them must open.
func (k *Keys) loadFirst(ctx context.Context) error {
	// The revision is read first: a key that is written between the two reads is then read twice, and not missed.
	r := &ring{readAt: k.Clock()}
	var err error
	if r.revision, err = k.Store.KeyRevision(ctx); err != nil {
		return Wrap("load keys", err)
	}
	stored, err := k.Store.KeysOfTenant(ctx, "")
	if err != nil {
		return Wrap("load keys", err)
	}
	if err := k.check(stored); err != nil {
		return err
	}
	for _, s := range stored {
		if _, _, err := k.open(s); err != nil {
			return errCorrupt(s, err)
		}
	}
	k.take(r, stored)
	k.triedAt = r.readAt
	return nil
}

// check returns ErrWrongMasterKey for a wrong master key, and ErrKeysLost for a store without a check value.
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

func (k *Keys) open(s domain.SealedKey) (plain domain.Secret, by *domain.MasterKey, err error) {
	plain, err = k.Master.Open(s)
	if err != nil && k.Previous != nil {
		plain, err = k.Previous.Open(s)
		return plain, k.Previous, err
	}
	return plain, &k.Master, err
}

// errCorrupt is the error of a key that must open and that no master key of this process opens.
func errCorrupt(s domain.SealedKey, err error) error {
	return fmt.Errorf("open %s key %d: the store is corrupt, or the key was sealed with another master key: %w",
		s.Kind, s.Number, err)
}

// opened returns the content of s; zero if no master key of this process opens it.
func (k *Keys) opened(s domain.SealedKey) domain.Secret {
	plain, _, err := k.open(s)
	if err != nil {
		return domain.Secret{}
	}
	return plain
}

// sealedBy returns the master key of this process that opens s; nil if none does.
func (k *Keys) sealedBy(s domain.SealedKey) *domain.MasterKey {
	_, by, err := k.open(s)
	if err != nil {
		return nil
	}
	return by
}

func (k *Keys) randomKey() (domain.Secret, error) {
	b := make([]byte, domain.KeySize)
	if _, err := io.ReadFull(k.Random, b); err != nil {
		return domain.Secret{}, fmt.Errorf("make a key: %w", err)
	}
	return domain.NewSecret(string(b)), nil
}

// add seals and stores a key. It succeeds too if another process stored the key first.
func (k *Keys) add(ctx context.Context, master domain.MasterKey, s domain.SealedKey, plain domain.Secret) error {
	s.CreatedAt = k.Clock.Now()
	sealed, err := master.Seal(s, plain, k.Random)
	if err != nil {
		return err
	}
	event, err := domain.KeysEvent(domain.Service(), s.CreatedAt, k.Random, sealed)
	if err != nil {
		return err
	}
	if err := k.Store.AddKeys(ctx, event, sealed); err != nil && !errors.Is(err, domain.ErrDuplicate) {
		return Wrap(fmt.Sprintf("add a %s key", s.Kind), err)
	}
	return nil
}

// resealAll seals the keys that only the previous master key opens again, with the master key. The check value comes
// last, so that a start with the new master key alone fails until all is done. After it come keys that a process
// without the new master key added meanwhile.
func (k *Keys) resealAll(ctx context.Context) error {
	var check *domain.SealedKey
	since := uint64(0)
	for {
		page, err := k.Store.KeysSince(ctx, since, keyPage)
		if err != nil {
			return Wrap("seal the keys again", err)
		}
		for _, s := range page {
			since = s.Revision
			plain, by, err := k.open(s)
			switch {
			case err != nil:
				return errCorrupt(s, err)
			case by == &k.Master:
			case s.Kind == domain.KeyCheck:
				check = &s
			default:
				if err := k.reseal(ctx, s, plain); err != nil {
					return err
				}
			}
		}
		switch {
		case len(page) == keyPage:
		case check != nil:
			if err := k.reseal(ctx, *check, domain.NewSecret(checkText)); err != nil {
				return err
			}
			check = nil
		default:
			return nil
		}
	}
}

func (k *Keys) reseal(ctx context.Context, s domain.SealedKey, plain domain.Secret) error {
	sealed, err := k.Master.Seal(s, plain, k.Random)
	if err != nil {
		return err
	}
	if err := k.Store.Reseal(ctx, s, sealed.Sealed, sealed.SealedBy); err != nil && !errors.Is(err, domain.ErrConflict) {
		return Wrap("seal a key again", err)
	}
	return nil
}

// present parses a token string and reports whether it is genuine. A malformed or forged one is not, and costs no call
// of the store, unless it names a key number that this process has never seen.
func (k *Keys) present(ctx context.Context, s domain.Secret) (t domain.PresentedToken, genuine bool, err error) {
	t, wellFormed := domain.ParseTokenString(s.Reveal())
	if !wellFormed {
		return t, false, nil
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
	if key.Key.IsZero() {
		return t, false, fmt.Errorf("token key %d: %w: %w", key.Number, domain.ErrUnavailable, errUnopened)
	}
	return t, t.Genuine(key), nil
}

// mint returns the current token string of t.
func (k *Keys) mint(t domain.RefreshToken) (domain.Secret, error) {
	key, ok := k.ring.Load().token.MintingAt(t.RotatedAt)
	if !ok {
		return domain.Secret{}, fmt.Errorf("mint: no token key is valid at %s", t.RotatedAt)
	}
	if key.Key.IsZero() {
		return domain.Secret{}, fmt.Errorf("mint with token key %d: %w: %w", key.Number, domain.ErrUnavailable,
			errUnopened)
	}
	return key.Mint(t.ID, t.Generation), nil
}

// signing returns the key that signs for the tenant at that instant. The first key of a tenant and algorithm is made
// when it is needed, and is valid from the beginning of time, so that every process uses it, whichever process made it.
func (k *Keys) signing(
	ctx context.Context, tenantID string, a domain.Algorithm, at time.Time,
) (domain.SigningKey, error) {
	if err := k.fresh(ctx); err != nil {
		return domain.SigningKey{}, err
	}
	key, ok, err := k.made(ctx, tenantID, a, at)
	if ok || err != nil {
		return key, err
	}
	// All callers that wait for the key share one, because making an RSA key takes long.
	err = k.makes.do(ctx, string(a)+" "+tenantID, keyMakeTimeout, func(ctx context.Context) error {
		err := k.makeFirst(ctx, domain.Service(), at, SigningKeys{tenantID, a})
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

// made returns the key that signs for the tenant at that instant, if there is one and the tenant has a key of the
// algorithm, started or not.
func (k *Keys) made(
	ctx context.Context, tenantID string, a domain.Algorithm, at time.Time,
) (key domain.SigningKey, ok bool, err error) {
	keys, err := k.ofTenant(ctx, tenantID)
	if err != nil {
		return domain.SigningKey{}, false, err
	}
	key, ok = keys.SigningAt(a, at)
	if ok = ok && keys.Has(a); ok {
		err = openedOrNot(key)
	}
	return key, ok, err
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

// newKey makes a private key.
func (k *Keys) newKey(ctx context.Context, a domain.Algorithm) (domain.Secret, error) {
	if err := k.making.acquire(ctx); err != nil {
		return domain.Secret{}, err
	}
	defer k.making.release()
	private, err := k.Signer.NewKey(a)
	if err != nil {
		return domain.Secret{}, Wrap("make a signing key", err)
	}
	return private, nil
}

// SigningKeys names the signing keys of a tenant for an algorithm.
type SigningKeys struct {
	TenantID  string
	Algorithm domain.Algorithm
}

// Prepare makes the first signing keys of all these that have none, in one write unless another process makes one
// concurrently.
func (k *Keys) Prepare(ctx context.Context, by domain.Origin, wanted []SigningKeys) error {
	now := k.Clock.Now()
	err := k.makeFirst(ctx, by, now, wanted...)
	if !errors.Is(err, domain.ErrDuplicate) {
		return err
	}
	for _, w := range wanted {
		if _, err := k.signing(ctx, w.TenantID, w.Algorithm, now); err != nil {
			return err
		}
	}
	return nil
}

// makeFirst makes the first signing keys of those that have none, each to start as soon as that is safe. If another
// process has made one of them meanwhile it returns ErrDuplicate, and makes none.
func (k *Keys) makeFirst(ctx context.Context, by domain.Origin, at time.Time, wanted ...SigningKeys) error {
	// The known keys may be old: another process may have made a key, or the master key may have changed.
	if err := k.Reload(ctx); err != nil {
		return err
	}
	var made []domain.SealedKey
	for _, w := range wanted {
		keys, err := k.ofTenant(ctx, w.TenantID)
		if err != nil {
			return err
		}
		if keys.Has(w.Algorithm) {
			continue
		}
		master := k.ring.Load().inForce
		if master == nil {
			return fmt.Errorf("make a signing key: %w", domain.ErrWrongMasterKey)
		}
		private, err := k.newKey(ctx, w.Algorithm)
		if err != nil {
			return err
		}
		var id [16]byte
		if _, err := io.ReadFull(k.Random, id[:]); err != nil {
			return fmt.Errorf("make a signing key: %w", err)
		}
		sealed, err := master.Seal(domain.SealedKey{
			Kind: domain.KeySigning, TenantID: w.TenantID, Algorithm: w.Algorithm, Number: 1,
			ID: base64.RawURLEncoding.EncodeToString(id[:]), CreatedAt: k.Clock.Now(),
			StartsAt: keys.FirstStart(w.TenantID, w.Algorithm, k.Clock.Now(), domain.KeyRules{CacheAge: keyCacheAge}),
		}, private, k.Random)
		if err != nil {
			return err
		}
		made = append(made, sealed)
	}
	if len(made) == 0 {
		return nil
	}
	event, err := domain.KeysEvent(by, k.Clock.Now(), k.Random, made...)
	if err != nil {
		return err
	}
	if err := k.Store.AddKeys(ctx, event, made...); err != nil {
		return Wrap("add signing keys", err)
	}
	for _, s := range made {
		k.adopt(s)
	}
	return nil
}

// HashAPIKey returns the hash under which an API key is stored.
func (k *Keys) HashAPIKey(key domain.Secret) string { return domain.HashAPIKey(k.ring.Load().api, key) }

// verify verifies an access token and returns its claims; ErrUnauthorized if no published key signed it. ErrUnknownKey
// accompanies the error if the key is unknown, or is one that this process cannot open.
func (k *Keys) verify(ctx context.Context, token string) (domain.AccessToken, error) {
	if err := k.fresh(ctx); err != nil {
		return domain.AccessToken{}, fmt.Errorf("verify the access token: %w", err)
	}
	t, err := k.Signer.Verify(ctx, k.find, token)
	if err != nil {
		return domain.AccessToken{}, Wrap("verify the access token", err)
	}
	return t, nil
}

// jwks returns the JWK Set of a tenant's own keys and the shared ones; for an empty tenant of the shared ones only.
// Verifiers cache it for minutes, so it must not lack a key that another process made a while ago. If that cannot be
// looked up, the known keys are better than none.
func (k *Keys) jwks(ctx context.Context, tenantID string) ([]byte, error) {
	var stale error
	if !recent(k.Clock(), k.ring.Load().readAt, keyMaxAge+1) {
		soon, cancel := context.WithTimeout(ctx, KeyReadInterval)
		stale = k.lookAgain(soon)
		cancel()
	}
	keys, err := k.ofTenant(ctx, tenantID)
	if err != nil {
		return nil, err
	}
	if set := keys.set.Load(); set != nil {
		return *set, nil
	}
	opened := slices.DeleteFunc(slices.Clone(keys.Published()),
		func(key domain.SigningKey) bool { return key.Private.IsZero() })
	switch {
	case len(opened) > 0:
	case stale != nil:
		return nil, stale
	case len(keys.Published()) > 0:
		return nil, Wrap("publish", errUnopened)
	}
	set, err := k.Signer.JWKS(opened)
	if err != nil {
		return nil, Wrap("publish", err)
	}
	keys.set.Store(&set)
	return set, nil
}
