package usecase

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

const (
	// keysRead is how long after its commit a write of keys is known to every process: none uses a key after its last
	// reading became older than keyMaxAge. [Keys.Revoke] returns after it.
	keysRead = keyMaxAge + KeyReadInterval
	// keyLead is how long ahead the start of a key is set that starts as soon as it can, so that every process knows it
	// by then, and all use the same key for the same instant.
	keyLead = 5 * time.Second
)

// NewKey is the input of [Keys.Generate] and [Keys.Import].
type NewKey struct {
	ID        string // `kid` of a signing key; made if it is empty
	Kind      domain.KeyKind
	TenantID  string // of a signing key; empty for a shared one
	Name      string
	Algorithm domain.Algorithm // of a signing key
	Bits      int              // of an RSA key; 0 for the default
	Private   domain.Secret    // of an import: PKCS #8, DER
	KnownAt   time.Time        // since when verifiers have known an imported key; zero for now
	// StartsAt is when the key starts; zero for a schedule, or, for the first key of a tenant's algorithm, for as soon
	// as that is safe. Now stands for the present instant.
	StartsAt time.Time
	Now      bool
	Force    bool // also if it is an unsafe step
}

// RotateKeys is the input of [Keys.Rotate].
type RotateKeys struct {
	Kind      domain.KeyKind
	TenantID  string // of signing keys; empty for shared ones
	Algorithm domain.Algorithm
	Now       bool // start it now, instead of as soon as that is safe
	Force     bool
}

// KeyPatch is the input of [Keys.Change]. A nil field stays.
type KeyPatch struct {
	Name     *string
	StartsAt *time.Time
}

// RevokeKey is the input of [Keys.Revoke].
type RevokeKey struct {
	// NewKey makes a new signing key that signs immediately, and revokes the standbys, because they cannot be trusted
	// either. Verifiers that do not read key sets again on an unknown `kid` refuse what it signs for their cache age.
	NewKey bool
}

// rules are the settings that the times of signing keys depend on.
func (k *Keys) rules() domain.KeyRules {
	return domain.KeyRules{CacheAge: k.CacheAge, Rotation: k.Rotation}
}

// keyStep is one write of keys, as it is planned from what is stored.
type keyStep struct {
	kind   domain.EventKind
	add    []domain.OpenKey
	before []domain.SealedKey // as they are stored
	after  []domain.SealedKey // what replaces them, in the same order
	forced *domain.UnsafeStep
}

// unsafe records err, if it is an *UnsafeStep that is forced. It returns any other error.
func (s *keyStep) unsafe(err error, force bool) error {
	var unsafe *domain.UnsafeStep
	if force && errors.As(err, &unsafe) {
		s.forced = unsafe
		return nil
	}
	return err
}

// edit plans a write of keys from what is stored, and writes it. It plans again while other processes overtake it. It
// returns the keys that the write added and replaced, without content; the stored keys of the step if it changes none.
func (k *Keys) edit(
	ctx context.Context, by domain.Origin, plan func(now time.Time) (keyStep, error),
) ([]domain.SealedKey, error) {
	for attempt := 0; ; attempt++ {
		if err := k.Reload(ctx); err != nil { // which master key is in force, and what the rules look at
			return nil, err
		}
		now := k.Clock.Now()
		step, err := plan(now)
		if err != nil {
			return nil, err
		}
		if len(step.add)+len(step.after) == 0 {
			return withoutContent(step.before), nil
		}
		var edits []domain.KeyEdit
		for _, key := range step.add {
			edits = append(edits, domain.KeyEdit{After: key.SealedKey})
		}
		for i, after := range step.after {
			edits = append(edits, domain.KeyEdit{Before: step.before[i], After: after})
		}
		event, err := domain.KeyEvent(step.kind, edits, step.forced, by, now, k.Random)
		if err != nil {
			return nil, err
		}
		added, err := k.sealed(ctx, step.add, func(sealed []domain.SealedKey) error {
			return k.Store.ChangeKeys(ctx, event, port.KeyChange{Add: sealed, Replace: step.after})
		})
		switch overtaken := errors.Is(err, domain.ErrStale) || errors.Is(err, domain.ErrDuplicate); {
		case err == nil:
			_ = k.Reload(ctx) // the write is done; if this fails, the next reading finds it
			return withoutContent(append(added, step.after...)), nil
		case overtaken && attempt < writeAttempts:
		case overtaken:
			return nil, fmt.Errorf("%w: %w", domain.ErrBusy, err)
		default:
			return nil, err
		}
	}
}

func withoutContent(keys []domain.SealedKey) []domain.SealedKey {
	keys = slices.Clone(keys)
	for i := range keys {
		keys[i].Sealed = ""
	}
	return keys
}

// storedKeys are the stored keys that the rules for a key look at.
type storedKeys struct {
	rows    []domain.SealedKey // of the tenant, or of no tenant
	signing domain.SigningKeys // with the shared ones
}

// stored reads the keys of the tenant, or for an empty id those of no tenant.
func (k *Keys) stored(ctx context.Context, tenantID string) (storedKeys, error) {
	rows, err := k.Store.KeysOfTenant(ctx, tenantID)
	if err != nil {
		return storedKeys{}, err
	}
	shared := rows
	if tenantID != "" {
		if shared, err = k.Store.KeysOfTenant(ctx, ""); err != nil {
			return storedKeys{}, err
		}
		shared = append(shared, rows...)
	}
	return storedKeys{rows: rows, signing: domain.SigningKeysOf(shared)}, nil
}

// of returns the rows of a kind and, if it is not empty, of an algorithm, by number.
func (s storedKeys) of(kind domain.KeyKind, a domain.Algorithm) (rows []domain.SealedKey) {
	for _, row := range s.rows {
		if row.Kind == kind && (a == "" || row.Algorithm == a) {
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b domain.SealedKey) int { return cmp.Compare(a.Number, b.Number) })
	return rows
}

// tokens returns the token keys, without content.
func (s storedKeys) tokens() (keys domain.TokenKeys) {
	for _, row := range s.of(domain.KeyToken, "") {
		keys = append(keys, row.Token(domain.Secret{}))
	}
	return keys
}

// hashes returns the keys that hash API keys, without content.
func (s storedKeys) hashes() (keys domain.HashKeys) {
	for _, row := range s.of(domain.KeyAPI, "") {
		keys = append(keys, row.Hash(domain.Secret{}))
	}
	return keys
}

// next returns the number of a new key.
func (s storedKeys) next(kind domain.KeyKind, a domain.Algorithm) uint32 {
	rows := s.of(kind, a)
	if len(rows) == 0 {
		return 1
	}
	return rows[len(rows)-1].Number + 1
}

// named returns the stored key of that name; ErrNotFound if there is none.
func (k *Keys) named(ctx context.Context, name string) (domain.SealedKey, storedKeys, error) {
	kind, number, ok := domain.ParseKeyName(name)
	if !ok {
		if !domain.IsKeyID(name) {
			return domain.SealedKey{}, storedKeys{}, domain.ErrNotFound
		}
		row, err := k.Store.KeyByID(ctx, name)
		if err != nil {
			return domain.SealedKey{}, storedKeys{}, err
		}
		stored, err := k.stored(ctx, row.TenantID)
		return row, stored, err
	}
	stored, err := k.stored(ctx, "")
	if err != nil {
		return domain.SealedKey{}, storedKeys{}, err
	}
	for _, row := range stored.of(kind, "") {
		if row.Number == number {
			return row, stored, nil
		}
	}
	return domain.SealedKey{}, storedKeys{}, domain.ErrNotFound
}

// Generate makes a key. It returns an *Invalid, or an *UnsafeStep unless n.Force.
func (k *Keys) Generate(ctx context.Context, by domain.Origin, n NewKey) (domain.SealedKey, error) {
	n.Private, n.KnownAt = domain.Secret{}, time.Time{}
	return k.make(ctx, by, n)
}

// Import stores a signing key that was made elsewhere. Its errors are those of Generate.
func (k *Keys) Import(ctx context.Context, by domain.Origin, n NewKey) (domain.SealedKey, error) {
	if n.Private.IsZero() {
		return domain.SealedKey{}, domain.NewInvalid("privateKey", domain.Blank, "name the private key to import")
	}
	if n.Kind != domain.KeySigning {
		return domain.SealedKey{}, domain.NewInvalid("kind", domain.Conflict, "only a signing key can be imported")
	}
	return k.make(ctx, by, n)
}

func (k *Keys) make(ctx context.Context, by domain.Origin, n NewKey) (domain.SealedKey, error) {
	if err := n.validate(); err != nil {
		return domain.SealedKey{}, err
	}
	if n.ID == "" && n.Kind == domain.KeySigning {
		var err error
		if n.ID, err = k.newKeyID(); err != nil {
			return domain.SealedKey{}, err
		}
	}
	// The checks come first, because it takes long to make a key.
	if _, err := k.place(ctx, n); err != nil {
		return domain.SealedKey{}, Wrap("make a key", err)
	}
	plain, err := k.content(ctx, n)
	if err != nil {
		return domain.SealedKey{}, err
	}
	made, err := k.edit(ctx, by, func(now time.Time) (keyStep, error) {
		stored, err := k.place(ctx, n)
		if err != nil {
			return keyStep{}, err
		}
		return k.adding(stored, n, plain, now)
	})
	if err != nil {
		return domain.SealedKey{}, Wrap("make a key", err)
	}
	return made[0], nil
}

// place returns the stored keys of the scope of n if there is a place for n: an *Invalid if its id is taken, or if the
// scope has too many signing keys.
func (k *Keys) place(ctx context.Context, n NewKey) (storedKeys, error) {
	if n.Kind == domain.KeySigning {
		_, err := k.Store.KeyByID(ctx, n.ID)
		switch {
		case err == nil:
			return storedKeys{}, domain.NewInvalid("id", domain.Duplicate, "a key has this id: choose another one")
		case !errors.Is(err, domain.ErrNotFound):
			return storedKeys{}, err
		}
	}
	stored, err := k.stored(ctx, n.TenantID)
	if err == nil && n.Kind == domain.KeySigning {
		err = stored.signing.CheckCount(n.TenantID)
	}
	return stored, err
}

// validate returns an *Invalid that names what is wrong with n.
func (n NewKey) validate() error {
	var p domain.Problems
	switch n.Kind {
	case domain.KeyToken, domain.KeyAPI:
		if n.ID != "" || n.TenantID != "" || n.Algorithm != "" || n.Bits != 0 {
			p.Add("kind", domain.Conflict, "only a signing key has an id, a tenant, an algorithm and a size")
		}
	case domain.KeySigning:
		if n.ID != "" && (!domain.IsKeyID(n.ID) || domain.IsReservedKeyName(n.ID)) {
			p.Add("id", domain.Malformed, "use 1 to 64 printable ASCII characters that JSON does not escape, "+
				"not of the form check-1, token-1 or api-1")
		}
		if !slices.Contains(domain.Algorithms, n.Algorithm) {
			p.Add("algorithm", domain.Malformed, "use one of EdDSA, ES256, RS256, PS256")
		}
		if n.TenantID != "" && !domain.IsTenantID(n.TenantID) {
			p.Add("tenantId", domain.Malformed, "this is not the id of a tenant")
		}
		if n.Bits != 0 && n.Private.IsZero() && !(n.isRSA() && slices.Contains(rsaSizes, n.Bits)) {
			p.Add("bits", domain.Malformed, "use 2048, 3072 or 4096, for RS256 or PS256; keys of other algorithms have one size")
		}
	default:
		p.Add("kind", domain.Malformed, "use one of signing, token, api")
	}
	domain.CheckKeyName(&p, "name", n.Name)
	if n.Now && !n.StartsAt.IsZero() {
		p.Add("startsInstant", domain.Conflict, "a key that signs now has no other start: omit one of them")
	}
	return p.Err()
}

// rsaSizes are those that [port.Signer] makes.
var rsaSizes = []int{2048, 3072, 4096}

func (n NewKey) isRSA() bool { return n.Algorithm == domain.RS256 || n.Algorithm == domain.PS256 }

// content returns the private key of n, or random bytes.
func (k *Keys) content(ctx context.Context, n NewKey) (domain.Secret, error) {
	switch {
	case n.Kind != domain.KeySigning:
		return k.randomKey()
	case !n.Private.IsZero():
		return n.Private, nil
	}
	return k.askedFor(ctx, n.Algorithm, n.Bits)
}

// adding plans the write of a new key.
func (k *Keys) adding(stored storedKeys, n NewKey, plain domain.Secret, now time.Time) (step keyStep, err error) {
	s := domain.SealedKey{
		Kind: n.Kind, TenantID: n.TenantID, Algorithm: n.Algorithm, Number: stored.next(n.Kind, n.Algorithm), ID: n.ID,
		Name: n.Name, CreatedAt: now, KnownAt: n.KnownAt,
	}
	step.kind = domain.KeyAdded
	switch n.Kind {
	case domain.KeyAPI:
		if err := stored.hashes().CheckAdd(); err != nil {
			return step, err
		}
		// By the clock of any process it starts after every process has read it.
		s.StartsAt = now.Add(domain.MaxClockSkew + keysRead)
	case domain.KeyToken:
		s.StartsAt, err = stored.tokenKeyStart(n, now)
		err = step.unsafe(err, n.Force)
	default:
		s.StartsAt, err = k.signingStart(stored.signing, s, n, now)
		if err == nil {
			err = step.unsafe(stored.signing.CheckStart(s.Signing(domain.Secret{}), now, k.rules()), n.Force)
		}
	}
	step.add = []domain.OpenKey{{SealedKey: s, Plain: plain}}
	return step, err
}

// tokenKeyStart returns the start of a new token key, also with an *UnsafeStep.
func (s storedKeys) tokenKeyStart(n NewKey, now time.Time) (time.Time, error) {
	safe, start := s.tokens().NextStart(now), n.StartsAt
	if n.Now {
		start = now.Add(keyLead)
	}
	switch {
	case start.IsZero():
		return safe, nil
	case start.Before(safe):
		return later(start, now.Add(keyLead)), &domain.UnsafeStep{Step: "start a token key", Until: safe,
			Why: "a process whose clock is behind would mint token strings that the others refuse"}
	}
	return start, nil
}

// signingStart returns the start of the new signing key s.
func (k *Keys) signingStart(
	keys domain.SigningKeys, s domain.SealedKey, n NewKey, now time.Time,
) (start time.Time, err error) {
	soon := now.Add(keyLead)
	switch key := s.Signing(domain.Secret{}); {
	case n.Now:
		return soon, nil
	case !n.StartsAt.IsZero():
		return later(n.StartsAt, soon), nil
	case !keys.Has(s.Algorithm):
		first := keys.FirstStart(s.TenantID, s.Algorithm, now, k.rules())
		if first.IsZero() {
			return first, nil
		}
		return later(keys.SafeStart(key, now, k.rules()), soon), nil
	default:
		scheduled := keys.ScheduledStart(s.TenantID, s.Algorithm, now, k.rules())
		return later(scheduled, later(keys.SafeStart(key, now, k.rules()), soon)), nil
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Rotate has the next key of a kind take over as soon as that is safe: of signing keys the standby, which verifiers
// know already, or a new one if there is none. It returns that key. Its errors are those of Generate.
func (k *Keys) Rotate(ctx context.Context, by domain.Origin, r RotateKeys) (domain.SealedKey, error) {
	n := NewKey{Kind: r.Kind, TenantID: r.TenantID, Algorithm: r.Algorithm, Now: r.Now, Force: r.Force}
	if n.Kind == "" {
		n.Kind = domain.KeySigning
	}
	if n.Kind != domain.KeySigning {
		return k.Generate(ctx, by, n)
	}
	if err := n.validate(); err != nil {
		return domain.SealedKey{}, err
	}
	var made domain.OpenKey // once, if it is needed
	rotated, err := k.edit(ctx, by, func(now time.Time) (step keyStep, err error) {
		stored, err := k.stored(ctx, n.TenantID)
		if err != nil {
			return step, err
		}
		standby, ok := stored.standby(n.Algorithm, now)
		if !ok {
			s := domain.SealedKey{
				Kind: n.Kind, TenantID: n.TenantID, Algorithm: n.Algorithm, Number: stored.next(n.Kind, n.Algorithm),
				CreatedAt: now,
			}
			if err := stored.signing.CheckCount(n.TenantID); err != nil {
				return step, err
			}
			if made.Plain.IsZero() {
				made.SealedKey = s
				if made.Plain, err = k.askedFor(ctx, s.Algorithm, 0); err != nil {
					return step, err
				}
				if made.ID, err = k.newKeyID(); err != nil {
					return step, err
				}
			}
			s.ID = made.ID
			standby = s
		}
		start := now.Add(keyLead)
		if !n.Now {
			start = later(start, stored.signing.SafeStart(standby.Signing(domain.Secret{}), now, k.rules()))
		}
		if ok && !standby.StartsAt.After(start) { // it starts earlier already
			step.before = []domain.SealedKey{standby}
			return step, nil
		}
		after := standby
		after.StartsAt = start
		err = step.unsafe(stored.signing.CheckStart(after.Signing(domain.Secret{}), now, k.rules()), n.Force)
		if ok {
			step.kind, step.before, step.after = domain.KeyChanged, []domain.SealedKey{standby}, []domain.SealedKey{after}
		} else {
			step.kind, step.add = domain.KeyAdded, []domain.OpenKey{{SealedKey: after, Plain: made.Plain}}
		}
		return step, err
	})
	if err != nil {
		return domain.SealedKey{}, Wrap("rotate a key", err)
	}
	return rotated[0], nil
}

// standby returns the tenant's own key of the algorithm that starts next after now.
func (s storedKeys) standby(a domain.Algorithm, now time.Time) (next domain.SealedKey, ok bool) {
	for _, row := range s.of(domain.KeySigning, a) {
		if row.Published() && row.StartsAt.After(now) && (!ok || row.StartsAt.Before(next.StartsAt)) {
			next, ok = row, true
		}
	}
	return next, ok
}

// Change changes the name or the start of a key; a key has another start only until it has started. If tenantID is not
// empty, the key is a signing key of that tenant, and otherwise not found. It returns ErrNotFound, an *Invalid, or an
// *UnsafeStep unless force.
func (k *Keys) Change(
	ctx context.Context, by domain.Origin, name, tenantID string, patch KeyPatch, force bool,
) (domain.SealedKey, error) {
	if patch.Name != nil {
		var p domain.Problems
		if domain.CheckKeyName(&p, "name", *patch.Name); p.Err() != nil {
			return domain.SealedKey{}, p.Err()
		}
	}
	changed, err := k.edit(ctx, by, func(now time.Time) (step keyStep, err error) {
		before, stored, err := k.named(ctx, name)
		if err != nil {
			return step, err
		}
		if tenantID != "" && before.TenantID != tenantID {
			return step, domain.ErrNotFound
		}
		after := before
		if patch.Name != nil {
			after.Name = *patch.Name
		}
		if patch.StartsAt != nil && !patch.StartsAt.Equal(before.StartsAt) {
			after.StartsAt = later(*patch.StartsAt, now.Add(keyLead))
			if err = step.unsafe(k.checkStart(stored, before, after, now), force); err != nil {
				return step, err
			}
		}
		step.kind, step.before = domain.KeyChanged, []domain.SealedKey{before}
		if after != before {
			step.after = []domain.SealedKey{after}
		}
		return step, nil
	})
	if err != nil {
		return domain.SealedKey{}, Wrap("change a key", err)
	}
	return changed[0], nil
}

// checkStart checks that the start of a stored key may be moved.
func (k *Keys) checkStart(stored storedKeys, before, after domain.SealedKey, now time.Time) error {
	switch {
	case before.Kind == domain.KeySigning:
		return stored.signing.CheckStart(after.Signing(domain.Secret{}), now, k.rules())
	case before.Kind != domain.KeyToken:
		return domain.NewInvalid("startsInstant", domain.Conflict, "only signing keys and token keys have a start to choose")
	case !before.Published():
		return domain.NewInvalid("startsInstant", domain.Conflict, "the key is retired or revoked: make another one")
	case !before.StartsAt.After(now.Add(keyLead)): // by some clock it has
		return domain.NewInvalid("startsInstant", domain.Conflict, "the key has started already: rotate to another one")
	}
	_, err := stored.tokenKeyStart(NewKey{StartsAt: after.StartsAt}, now)
	return err
}
