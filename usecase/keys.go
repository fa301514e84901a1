package usecase

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
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
	port.KeyChanges
	HasData(ctx context.Context) (bool, error)
	APIKeysHashedWith(ctx context.Context, number uint32, limit int) (some []domain.APIKey, total int, err error)
	ApplicationsHashedWith(ctx context.Context, number uint32, limit int) (some []domain.Application, total int, err error)
}

// KeysConfig holds the parameters of [OpenKeys].
type KeysConfig struct {
	Store  KeyStore
	Signer port.Signer
	// Master and Previous, if given, open keys. The one that sealed the check value of the store is in force: it seals.
	// So processes with either, both, or both exchanged run side by side. Only [Keys.Reseal] puts Master in force.
	Master   domain.MasterKey
	Previous *domain.MasterKey
	Clock    Clock
	Random   io.Reader
	// Pause is as in [Purge]; if it is nil, a pause is as long as it says.
	Pause func(ctx context.Context, d time.Duration) error
	// Rotation is how long a signing key signs before the next one does; 0 until an operator rotates it.
	Rotation time.Duration
	// CacheAge is how long a verifier may use a key set that it has read.
	CacheAge time.Duration
	// TokenKeyRevoked, if set, is called after a token key was revoked, for a pass of the janitor to end its sessions.
	TokenKeyRevoked func()
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

	masterID string // of Master

	ring atomic.Pointer[ring]
	held held

	reading  lock // held while changes are read; guards the next three fields
	triedAt  time.Time
	tried    error // the error of the last reading
	readings atomic.Uint64

	reads       flights // of changes, by whether they are limited to one a second
	loads       flights // by tenant
	makes       flights // by tenant and algorithm
	making      lock    // held while a key is made
	publishing  flights // by tenant and algorithm: keys that are made for key sets
	makingOne   lock    // held while one of these is made
	makingAsked lock    // held while a key is made that a request asks for
	lookUps     lock    // of key ids
	checks      lock    // of tenants whose key sets are requested
	misses      misses
	stats       statsCache

	triedToMake sync.Map // algorithm and tenant id -> time.Time of the last attempt, for keys that no request waits for
}

// OpenKeys checks the master key against the store, makes the first keys of an empty store, and loads the keys of no
// tenant. It returns domain.ErrWrongMasterKey or ErrKeysLost, having written nothing, if master key and store do not
// belong together. Signing keys of tenants are not opened: an altered one is found when it is needed.
func OpenKeys(ctx context.Context, c KeysConfig) (*Keys, error) {
	k := &Keys{
		KeysConfig: c, reading: newLock(1), making: newLock(maxMakes), makingOne: newLock(1), makingAsked: newLock(1),
		lookUps: newLock(maxLookUps), checks: newLock(maxLookUps),
	}
	k.held.loading = make(map[string]bool)
	var err error
	if k.masterID, err = c.Master.ID(); err != nil {
		return nil, Wrap("open keys", err)
	}
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
		if err := k.addFirst(ctx, check, domain.NewSecret(checkText)); err != nil {
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
		if err := k.addFirst(ctx, domain.SealedKey{Kind: first, Number: 1}, secret); err != nil {
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
	k.ring.Store(&ring{readAt: k.Clock(), inForce: &k.Master, api: []hashKey{{number: 1, key: api}}})
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

// addFirst seals and stores a key of a first start. It succeeds too if another process stored the key first.
func (k *Keys) addFirst(ctx context.Context, s domain.SealedKey, plain domain.Secret) error {
	s.CreatedAt = k.Clock.Now()
	event, err := domain.KeysEvent(domain.Service(), s.CreatedAt, k.Random, s)
	if err != nil {
		return err
	}
	_, err = k.add(ctx, event, []domain.OpenKey{{SealedKey: s, Plain: plain}})
	if err != nil && !errors.Is(err, domain.ErrDuplicate) && !errors.Is(err, domain.ErrConflict) {
		return Wrap(fmt.Sprintf("add a %s key", s.Kind), err)
	}
	return nil
}

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

// jwks returns the JWK Set of the published keys of a tenant: its own and the shared ones; for an empty tenant of the
// shared ones only, or ErrNotFound if there is none. Keys that do not sign yet are published, so that verifiers have
// them before their start. Verifiers cache the set for minutes, so it must not lack a key that another process made a
// while ago. If that cannot be looked up, the known keys are better than none.
func (k *Keys) jwks(ctx context.Context, tenantID string) ([]byte, error) {
	var stale error
	if !k.isRecent() {
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
	case tenantID == "":
		return nil, Wrap("publish the shared keys", domain.ErrNotFound)
	}
	set, err := k.Signer.JWKS(opened)
	if err != nil {
		return nil, Wrap("publish", err)
	}
	keys.set.Store(&set)
	return set, nil
}
