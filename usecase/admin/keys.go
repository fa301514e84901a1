package admin

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
)

// Keys reads and changes the deployment's keys. A caller that is limited to a tenant sees and changes the signing keys
// of that tenant only.
type Keys struct {
	Keys    port.Keys
	Tenants port.Tenants
	Changes KeyChanger
	Parse   ParseKey
	Rules   domain.KeyRules
	Clock   usecase.Clock
}

// KeyChanger changes keys, each change with an event by that origin. A step that is not safe at present is a
// [domain.UnsafeStep] unless it is forced. The keys that it returns have no content.
type KeyChanger interface {
	Generate(ctx context.Context, by domain.Origin, n usecase.NewKey) (domain.SealedKey, error)
	Import(ctx context.Context, by domain.Origin, n usecase.NewKey) (domain.SealedKey, error)
	Rotate(ctx context.Context, by domain.Origin, r usecase.RotateKeys) (domain.SealedKey, error)
	Change(
		ctx context.Context, by domain.Origin, name, tenantID string, patch usecase.KeyPatch, force bool,
	) (domain.SealedKey, error)
	Retire(ctx context.Context, by domain.Origin, name string, force bool) (domain.SealedKey, error)
	Revoke(ctx context.Context, by domain.Origin, name string, r usecase.RevokeKey) (domain.SealedKey, error)
	Reseal(ctx context.Context, by domain.Origin, progress func(sealed int)) error
}

// Key is a stored key without its content, and its use at the instant of the request.
type Key struct {
	domain.SealedKey // without Sealed
	State            domain.KeyState
	Timeline         []domain.KeyMoment
}

// List returns a page of the keys whose revision is above after, by revision. limit is at least 1. next is the
// parameter after of the next page; 0 on the last. A key that is changed meanwhile may be listed twice.
func (u *Keys) List(ctx context.Context, by By, after uint64, limit int) (page []Key, next uint64, err error) {
	if !by.sees(by.tenant()) {
		return nil, 0, nil
	}
	limit = min(limit, port.MaxListRows)
	sealed, err := u.readPage(ctx, by.tenant(), after, limit+1)
	if err != nil {
		return nil, 0, result("list the keys", err)
	}
	more := len(sealed) > limit
	if page, err = u.described(ctx, sealed[:min(limit, len(sealed))]...); err != nil {
		return nil, 0, result("list the keys", err)
	}
	if more {
		next = page[limit-1].Revision
	}
	return page, next, nil
}

// readPage returns at most limit keys whose revision is above after: those of the tenant, or for an empty id all.
func (u *Keys) readPage(ctx context.Context, tenantID string, after uint64, limit int) ([]domain.SealedKey, error) {
	if tenantID == "" {
		return u.Keys.KeysSince(ctx, after, limit)
	}
	all, err := u.Keys.KeysOfTenant(ctx, tenantID)
	all = slices.DeleteFunc(all, func(k domain.SealedKey) bool { return k.Revision <= after })
	slices.SortFunc(all, func(a, b domain.SealedKey) int { return cmp.Compare(a.Revision, b.Revision) })
	return all[:min(limit, len(all))], err
}

// Get returns ErrNotFound if there is no key of that name.
func (u *Keys) Get(ctx context.Context, by By, name string) (Key, error) {
	k, err := u.read(ctx, by, name)
	if err != nil {
		return Key{}, result("read the key", err)
	}
	return u.describe(ctx, k, "read the key")
}

// read returns the key of that name, if it exists for the caller.
func (u *Keys) read(ctx context.Context, by By, name string) (domain.SealedKey, error) {
	kind, number, ok := domain.ParseKeyName(name)
	if !ok {
		if !domain.IsKeyID(name) { // the store need not be asked
			return domain.SealedKey{}, domain.ErrNotFound
		}
		k, err := u.Keys.KeyByID(ctx, name)
		if err == nil && !by.sees(k.TenantID) {
			err = domain.ErrNotFound
		}
		return k, err
	}
	if !by.sees("") {
		return domain.SealedKey{}, domain.ErrNotFound
	}
	all, err := u.Keys.KeysOfTenant(ctx, "")
	if err != nil {
		return domain.SealedKey{}, err
	}
	i := slices.IndexFunc(all, func(k domain.SealedKey) bool { return k.Kind == kind && k.Number == number })
	if i < 0 {
		return domain.SealedKey{}, domain.ErrNotFound
	}
	return all[i], nil
}

// allow returns an *Invalid if a caller that is limited to a tenant asks for another key than a signing key of that
// tenant, or if the tenant does not exist. It fills in the tenant of the request.
func (u *Keys) allow(ctx context.Context, by By, kind *domain.KeyKind, tenantID *string) error {
	if *kind = cmp.Or(*kind, domain.KeySigning); *kind == domain.KeySigning && *tenantID == "" {
		*tenantID = by.tenant()
	}
	var p domain.Problems
	if only := by.tenant(); only != "" || !by.sees("") {
		if *kind != domain.KeySigning {
			p.Add("kind", domain.Forbidden, "only signing keys belong to a tenant: omit the tenant, with an API key for "+
				"all tenants")
		}
		if *tenantID != only && *kind == domain.KeySigning {
			p.Add("tenantId", domain.Forbidden, "this is not the tenant of the request or of its API key: omit it")
		}
	}
	if err := p.Err(); err != nil || *tenantID == "" {
		return err
	}
	if !domain.IsTenantID(*tenantID) {
		return errNoTenant()
	}
	_, err := u.Tenants.Tenant(ctx, *tenantID)
	if errors.Is(err, domain.ErrNotFound) {
		return errNoTenant()
	}
	return err
}

// Generate makes a key. Without a kind it is a signing key; without a tenant one of the request's tenant or, if that is
// none, one that all tenants share.
func (u *Keys) Generate(ctx context.Context, by By, n usecase.NewKey) (Key, error) {
	return u.add(ctx, by, n, "make the key", u.Changes.Generate)
}

// Import stores a signing key that was made elsewhere. Its KnownAt is when it was imported, unless n has an earlier
// one, so that an export distinguishes it from a key that was made here.
func (u *Keys) Import(ctx context.Context, by By, k ImportedKey) (Key, error) {
	now := u.Clock.Now()
	n, err := k.read(u.Parse, now)
	if err == nil {
		err = checkKnown("knownInstant", n.KnownAt, now)
	}
	if err != nil {
		return Key{}, result("import the key", err)
	}
	return u.add(ctx, by, n, "import the key", u.Changes.Import)
}

// ImportedKey is a signing key that was made elsewhere. Its Kind and Private are not set.
type ImportedKey struct {
	usecase.NewKey
	Text domain.Secret // the private key, in PEM or as a JWK
}

// ParseKey parses the text of a private key, as [port.Signer] specifies.
type ParseKey func(text domain.Secret) (domain.PrivateKey, error)

// read returns the key with its content. The id and the algorithm of a JWK stand in for those that k does not set.
func (k ImportedKey) read(parse ParseKey, now time.Time) (usecase.NewKey, error) {
	n := k.NewKey
	n.Kind = domain.KeySigning
	parsed, err := parse(k.Text)
	if err != nil {
		var p domain.Problems
		p.Merge("privateKey", err)
		return n, p.Err()
	}
	n.ID = cmp.Or(n.ID, parsed.ID)
	n.Algorithm = cmp.Or(n.Algorithm, parsed.Algorithm, parsed.Algorithms[0])
	if !slices.Contains(parsed.Algorithms, n.Algorithm) {
		return n, domain.NewInvalid("algorithm", domain.Malformed,
			"the private key is of another algorithm: omit this, or use its own")
	}
	n.Private = parsed.Private
	if n.KnownAt.IsZero() {
		n.KnownAt = now
	}
	return n, nil
}

// checkKnown returns an *Invalid of the field if verifiers know a key only after now, which is not known yet.
func checkKnown(field string, known, now time.Time) error {
	if known.After(now) {
		return domain.NewInvalid(field, domain.Malformed, "this is in the future: omit it for a key that no verifier knows")
	}
	return nil
}

func (u *Keys) add(
	ctx context.Context, by By, n usecase.NewKey, operation string,
	change func(context.Context, domain.Origin, usecase.NewKey) (domain.SealedKey, error),
) (Key, error) {
	if err := u.allow(ctx, by, &n.Kind, &n.TenantID); err != nil {
		return Key{}, result(operation, err)
	}
	k, err := change(ctx, by.Origin, n)
	if err != nil {
		return Key{}, result(operation, err)
	}
	return u.describe(ctx, k, operation)
}

// Rotate lets the standby sign, or makes a key that will.
func (u *Keys) Rotate(ctx context.Context, by By, r usecase.RotateKeys) (Key, error) {
	const operation = "rotate the key"
	if err := u.allow(ctx, by, &r.Kind, &r.TenantID); err != nil {
		return Key{}, result(operation, err)
	}
	k, err := u.Changes.Rotate(ctx, by.Origin, r)
	if err != nil {
		return Key{}, result(operation, err)
	}
	return u.describe(ctx, k, operation)
}

// Change changes the name or the start of a key.
func (u *Keys) Change(ctx context.Context, by By, name string, p usecase.KeyPatch, force bool) (Key, error) {
	return u.change(ctx, by, name, "change the key", func(k domain.SealedKey) (domain.SealedKey, error) {
		return u.Changes.Change(ctx, by.Origin, name, k.TenantID, p, force)
	})
}

// Retire ends the use of a key that nothing needs any more.
func (u *Keys) Retire(ctx context.Context, by By, name string, force bool) (Key, error) {
	return u.change(ctx, by, name, "retire the key", func(domain.SealedKey) (domain.SealedKey, error) {
		return u.Changes.Retire(ctx, by.Origin, name, force)
	})
}

// Revoke ends a key in an emergency.
func (u *Keys) Revoke(ctx context.Context, by By, name string, r usecase.RevokeKey) (Key, error) {
	return u.change(ctx, by, name, "revoke the key", func(domain.SealedKey) (domain.SealedKey, error) {
		return u.Changes.Revoke(ctx, by.Origin, name, r)
	})
}

func (u *Keys) change(
	ctx context.Context, by By, name, operation string, do func(domain.SealedKey) (domain.SealedKey, error),
) (Key, error) {
	k, err := u.read(ctx, by, name)
	if err == nil {
		k, err = do(k)
	}
	if err != nil {
		return Key{}, result(operation, err)
	}
	return u.describe(ctx, k, operation)
}

// resealTime bounds one step of Reseal. A response that takes longer is lost to the time limit of a request.
const resealTime = 5 * time.Second

// Resealed is the result of a step of Reseal.
type Resealed struct {
	Keys     int  // that this step sealed again
	Complete bool // no key is sealed with the previous master key any more
}

// Reseal seals keys with the configured master key that another one sealed, for some seconds. It is called again until
// it is complete.
func (u *Keys) Reseal(ctx context.Context, by By) (done Resealed, err error) {
	if !by.Operator && (by.Key == nil || by.Key.TenantID != "") {
		return done, result("seal the keys again for one tenant only", domain.ErrUnauthorized)
	}
	step, end := context.WithTimeout(ctx, resealTime)
	defer end()
	err = u.Changes.Reseal(step, by.Origin, func(n int) { done.Keys = n })
	if err != nil && step.Err() != nil && ctx.Err() == nil {
		return done, nil // what it did stays
	}
	done.Complete = err == nil
	return done, result("seal the keys again", err)
}

func (u *Keys) describe(ctx context.Context, k domain.SealedKey, operation string) (Key, error) {
	all, err := u.described(ctx, k)
	if err != nil {
		return Key{}, result(operation, err)
	}
	return all[0], nil
}

// described returns keys with their use, which depends on the other keys of their tenant.
func (u *Keys) described(ctx context.Context, keys ...domain.SealedKey) ([]Key, error) {
	shared, err := u.Keys.KeysOfTenant(ctx, "")
	if err != nil {
		return nil, err
	}
	now, tenants := u.Clock.Now(), map[string]neighbours{"": neighboursOf(shared)}
	described := make([]Key, 0, len(keys))
	for _, k := range keys {
		n, ok := tenants[k.TenantID]
		if !ok {
			own, err := u.Keys.KeysOfTenant(ctx, k.TenantID)
			if err != nil {
				return nil, err
			}
			n = neighboursOf(slices.Concat(own, shared))
			tenants[k.TenantID] = n
		}
		k.Sealed = ""
		described = append(described, Key{
			SealedKey: k, State: stateOf(k, n, now), Timeline: timeline(k, n, now, u.Rules),
		})
	}
	return described, nil
}
