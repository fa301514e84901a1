package usecase

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/refreshd/refreshd/domain"
)

const (
	// KeyReadInterval is how often a process reads the changes of the key ring, and the least time between two readings
	// that requests cause.
	KeyReadInterval = time.Second
	// keyMaxAge is the greatest age of the last reading when a process signs or verifies. After that time a key that
	// was revoked in the store is not used any more, in any process.
	keyMaxAge = 3 * time.Second

	keyReadTimeout = 5 * time.Second
	keyMakeTimeout = 30 * time.Second // RSA
	keyPage        = 500

	// makeInterval is the least time between two attempts to make a key that no request waits for.
	makeInterval = time.Minute

	// maxLookUps bounds the concurrent look-ups of names that this process does not know. Any client can make up such
	// names, and must not load the store with more look-ups than these.
	maxLookUps = 4
	// maxMakes bounds the private keys that are made concurrently, because an RSA key takes a processor for a while.
	// Key sets take at most one of these places.
	maxMakes = 2
	// maxMisses is the number of unknown key ids that are cached.
	maxMisses = 1024
)

// ring is a process's copy of the key ring in the store, as of revision: the keys of no tenant. It is immutable,
// and replaced when it changes.
type ring struct {
	revision uint64
	// readAt is when the last reading began, with a monotonic clock reading.
	readAt time.Time
	// inForce is the master key that sealed the check value; nil if this process does not have it.
	inForce *domain.MasterKey
	// A key that no master key of this process opens has no secret. Its use fails with errUnopened.
	token  domain.TokenKeys
	api    []hashKey // neither retired nor revoked, the newest first
	shared []domain.SigningKey
	// sharedRevision is the revision of the newest key in shared.
	sharedRevision uint64
}

// tenantKeys holds the signing keys of one tenant. It is immutable, and replaced when they change.
type tenantKeys struct {
	domain.SigningKeys
	own            []domain.SigningKey
	sharedRevision uint64                 // of the ring whose shared keys they include
	set            atomic.Pointer[[]byte] // the JWK Set, made at the first request for it
	instants       atomic.Pointer[keyInstants]
}

// held holds the signing keys that a process has loaded.
//
// The keys of a tenant are loaded when they are first needed, and stay. After that each reading of the ring updates
// them. Of a key that is retired or revoked the content is not held: a tenant has more of these with each rotation.
type held struct {
	tenants sync.Map // tenant id -> *tenantKeys
	byID    sync.Map // `kid` -> domain.SigningKey; of tenants that are loaded, and shared ones

	mu sync.Mutex // held while the maps are changed, and while ring is replaced
	// loading holds the tenants whose keys are being read. The value becomes true if a reading of the ring meets a key
	// of the tenant meanwhile, which the keys being read may lack.
	loading map[string]bool
}

// misses caches ids of keys that do not exist, as of a revision of the ring. A key that is made later raises the
// revision.
type misses struct {
	mu       sync.Mutex
	revision uint64
	ids      map[string]bool
}

func (m *misses) has(id string, revision uint64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.revision == revision && m.ids[id]
}

func (m *misses) add(id string, revision uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ids == nil || m.revision != revision || len(m.ids) >= maxMisses {
		m.revision, m.ids = revision, make(map[string]bool)
	}
	m.ids[id] = true
}

var errUnopened = fmt.Errorf("%w: the key is sealed with another master key", domain.ErrWrongMasterKey)

// Reload reads the changes of the key ring since the last reading. A process calls it every KeyReadInterval. After an
// error the known keys stay.
func (k *Keys) Reload(ctx context.Context) error {
	if err := k.reading.acquire(ctx); err != nil {
		return err
	}
	defer k.reading.release()
	return k.read(ctx)
}

// fresh reads the key ring if the last reading is older than keyMaxAge. Callers that wait for a reading share its
// result, unless it began too long ago: the process may have been suspended in it.
func (k *Keys) fresh(ctx context.Context) error {
	const attempts = 3 // the reading that another one waits for may be as old
	began := k.Clock()
	for range attempts {
		if k.isRecent() || !k.ring.Load().readAt.Before(began) {
			return nil
		}
		if err := k.readWith(ctx, false); err != nil {
			return err
		}
	}
	if k.ring.Load().readAt.Before(began) {
		return fmt.Errorf("read the keys: %w: other readings took too long", domain.ErrUnavailable)
	}
	return nil
}

// isRecent reports whether the last reading is not older than keyMaxAge.
func (k *Keys) isRecent() bool { return recent(k.Clock(), k.ring.Load().readAt, keyMaxAge+1) }

// lookAgain reads the changes of the key ring, unless that was tried within the last second. It is for names that
// any client can make up, which must not cause more than one reading a second.
func (k *Keys) lookAgain(ctx context.Context) error { return k.readWith(ctx, true) }

func (k *Keys) readWith(ctx context.Context, limited bool) error {
	before := k.readings.Load()
	return k.reads.do(ctx, fmt.Sprint(limited), keyReadTimeout, func(ctx context.Context) error {
		if err := k.reading.acquire(ctx); err != nil {
			return err
		}
		defer k.reading.release()
		if k.readings.Load() == before && !(limited && recent(k.Clock(), k.triedAt, KeyReadInterval)) {
			_ = k.read(ctx) // it is in k.tried
		}
		if k.tried != nil {
			return fmt.Errorf("read the keys: %w: %w", domain.ErrUnavailable, k.tried)
		}
		return nil
	})
}

// read reads the changes of the key ring. The caller holds k.reading.
func (k *Keys) read(ctx context.Context) (err error) {
	began := k.Clock()
	defer func() {
		k.triedAt, k.tried = began, err
		k.readings.Add(1)
	}()
	for {
		r := *k.ring.Load()
		changed, err := k.Store.KeysSince(ctx, r.revision, keyPage)
		if err != nil {
			return Wrap("read the keys", err)
		}
		complete := len(changed) < keyPage
		if len(changed) > 0 {
			r.revision = changed[len(changed)-1].Revision
		}
		if complete {
			r.readAt = began
		}
		k.take(&r, changed)
		if complete {
			return nil
		}
	}
}

// take replaces the ring with r and these changes, and updates the tenants that are loaded. A key that is known already
// is not opened again: only its times and its sealing can change.
func (k *Keys) take(r *ring, changed []domain.SealedKey) {
	k.held.mu.Lock()
	defer k.held.mu.Unlock()
	for _, s := range changed {
		switch {
		case s.Kind == domain.KeyCheck:
			r.inForce = k.sealedBy(s)
		case s.Kind == domain.KeyToken:
			key, known := r.token.ByNumber(s.Number)
			if !known || key.Key.IsZero() {
				key.Key = k.opened(s)
			}
			key.Number, key.StartsAt, key.RetiredAt, key.RevokedAt = s.Number, s.StartsAt, s.RetiredAt, s.RevokedAt
			r.token = slices.DeleteFunc(slices.Clone(r.token),
				func(t domain.TokenKey) bool { return t.Number == s.Number })
			r.token = append(r.token, key)
		case s.Kind == domain.KeyAPI:
			r.api = k.withHashKey(r.api, s)
		case s.Kind == domain.KeySigning && s.TenantID == "":
			r.shared, r.sharedRevision = k.with(r.shared, s), max(r.sharedRevision, s.Revision)
		case s.Kind == domain.KeySigning:
			if t, ok := k.held.tenants.Load(s.TenantID); ok {
				k.hold(s.TenantID, k.with(t.(*tenantKeys).own, s), r)
			} else if _, loading := k.held.loading[s.TenantID]; loading {
				k.held.loading[s.TenantID] = true
			}
		}
	}
	k.ring.Store(r)
}

// with returns a copy of keys with s added or replaced.
func (k *Keys) with(keys []domain.SigningKey, s domain.SealedKey) []domain.SigningKey {
	next := k.signingKey(s)
	keys = slices.Clone(keys)
	if i := slices.IndexFunc(keys, func(key domain.SigningKey) bool { return key.ID == s.ID }); i >= 0 {
		keys[i] = next
	} else {
		keys = append(keys, next)
	}
	k.held.byID.Store(s.ID, next)
	return keys
}

// signingKey returns the key of s, and opens it unless that was done before, or the key is retired or revoked.
func (k *Keys) signingKey(s domain.SealedKey) domain.SigningKey {
	key := s.Signing(domain.Secret{})
	known, ok := k.held.byID.Load(s.ID)
	if !key.Published() {
		if ok {
			k.Signer.Forget(known.(domain.SigningKey))
		}
		return key
	}
	if ok {
		key.Private = known.(domain.SigningKey).Private
	}
	if key.Private.IsZero() {
		key.Private = k.opened(s)
	}
	return key
}

// hold stores the tenant's own keys together with the shared ones of r. The caller holds k.held.mu.
func (k *Keys) hold(tenantID string, own []domain.SigningKey, r *ring) *tenantKeys {
	t := &tenantKeys{
		SigningKeys: domain.NewSigningKeys(slices.Concat(own, r.shared)...), own: own, sharedRevision: r.sharedRevision,
	}
	for _, key := range own {
		k.held.byID.Store(key.ID, key)
	}
	k.held.tenants.Store(tenantID, t)
	return t
}

// ofTenant returns the signing keys of the tenant; for an empty id the shared ones. It reads them from the store once.
func (k *Keys) ofTenant(ctx context.Context, tenantID string) (*tenantKeys, error) {
	for {
		if t, ok := k.held.tenants.Load(tenantID); ok {
			if t := t.(*tenantKeys); t.sharedRevision == k.ring.Load().sharedRevision {
				return t, nil
			}
			k.held.mu.Lock()
			t, _ := k.held.tenants.Load(tenantID)
			now := k.hold(tenantID, t.(*tenantKeys).own, k.ring.Load())
			k.held.mu.Unlock()
			return now, nil
		}
		err := k.loads.do(ctx, tenantID, keyReadTimeout,
			func(ctx context.Context) error { return k.load(ctx, tenantID) })
		if err != nil {
			return nil, err
		}
	}
}

// load reads the keys of a tenant.
func (k *Keys) load(ctx context.Context, tenantID string) error {
	k.held.mu.Lock()
	k.held.loading[tenantID] = false
	k.held.mu.Unlock()
	defer func() {
		k.held.mu.Lock()
		delete(k.held.loading, tenantID)
		k.held.mu.Unlock()
	}()
	for {
		var own []domain.SigningKey
		if tenantID != "" {
			stored, err := k.Store.KeysOfTenant(ctx, tenantID)
			if err != nil {
				return Wrap("load the keys of a tenant", err)
			}
			for _, s := range stored {
				if s.Kind == domain.KeySigning {
					own = append(own, k.signingKey(s))
				}
			}
		}
		k.held.mu.Lock()
		missed := k.held.loading[tenantID]
		k.held.loading[tenantID] = false
		if !missed {
			k.hold(tenantID, own, k.ring.Load())
		}
		k.held.mu.Unlock()
		if !missed {
			return nil
		}
	}
}

// adopt adds a key that this process has stored or looked up, unless it is known by now. The known key may be newer
// than s; if it is older, the next reading of the ring replaces it. A reading does not return again what it returned
// before.
func (k *Keys) adopt(s domain.SealedKey) {
	k.held.mu.Lock()
	defer k.held.mu.Unlock()
	if _, known := k.held.byID.Load(s.ID); known {
		return
	}
	if t, ok := k.held.tenants.Load(s.TenantID); ok {
		k.hold(s.TenantID, k.with(t.(*tenantKeys).own, s), k.ring.Load())
	}
}

// find returns the signing key of that id, as [port.FindKey] specifies. It looks up a key of a tenant whose keys were
// not needed before.
func (k *Keys) find(ctx context.Context, id string) (domain.SigningKey, error) {
	unknown := fmt.Errorf("%w: %w", domain.ErrUnknownKey, domain.ErrUnauthorized)
	if key, ok := k.held.byID.Load(id); ok {
		return verifying(key.(domain.SigningKey))
	}
	revision := k.ring.Load().revision
	if !domain.IsKeyID(id) || k.misses.has(id, revision) {
		return domain.SigningKey{}, unknown
	}
	if err := k.lookUps.acquire(ctx); err != nil {
		return domain.SigningKey{}, err
	}
	defer k.lookUps.release()
	s, err := k.Store.KeyByID(ctx, id)
	switch {
	case errors.Is(err, domain.ErrNotFound):
		k.misses.add(id, revision)
		return domain.SigningKey{}, unknown
	case err != nil:
		return domain.SigningKey{}, Wrap("look up a key", err)
	case s.TenantID == "": // made since the last reading
		err = k.lookAgain(ctx)
	default:
		if _, err = k.ofTenant(ctx, s.TenantID); err == nil {
			k.adopt(s) // the tenant may have been loaded, and the key made since the last reading
		}
	}
	if err != nil {
		return domain.SigningKey{}, err
	}
	key, ok := k.held.byID.Load(id)
	if !ok {
		return domain.SigningKey{}, unknown
	}
	return verifying(key.(domain.SigningKey))
}

// verifying returns the key, or an error that makes it an unknown one: a key that is retired or revoked verifies
// nothing, and neither does one that this process cannot open.
func verifying(key domain.SigningKey) (domain.SigningKey, error) {
	if !key.Published() {
		return domain.SigningKey{}, fmt.Errorf("key %q is retired or revoked: %w: %w", key.ID, domain.ErrUnknownKey,
			domain.ErrUnauthorized)
	}
	return key, openedOrNot(key)
}

// openedOrNot returns an error if the key could not be opened, which makes it an unknown key in this process.
func openedOrNot(key domain.SigningKey) error {
	if key.Private.IsZero() {
		return fmt.Errorf("key %q: %w: %w", key.ID, domain.ErrUnknownKey, errUnopened)
	}
	return nil
}
