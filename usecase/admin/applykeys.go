package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
)

// plannedKey is a signing key of a kickstart file, and the result.
type plannedKey struct {
	key     usecase.NewKey
	stored  domain.SealedKey
	applied Applied
}

// validateKeys checks what needs no store.
func (k Kickstart) validateKeys(p *domain.Problems) {
	ids := map[string]bool{}
	for i, key := range k.Keys {
		at := fmt.Sprintf("keys[%d].", i)
		switch {
		case key.ID == "":
			p.Add(at+"id", domain.Blank, "set the kid that the former server gave the key")
		case !domain.IsKeyID(key.ID) || domain.IsReservedKeyName(key.ID):
			p.Add(at+"id", domain.Malformed, "use 1 to 64 printable ASCII characters that JSON does not escape, "+
				"and not the form of token-1")
		}
		checkUnique(p, at+"id", ids, key.ID)
		domain.CheckKeyName(p, at+"name", key.Name)
		if key.TenantID != "" && !domain.IsTenantID(key.TenantID) {
			p.Add(at+"tenantId", domain.Malformed, "no tenant has an id of this form")
		}
	}
}

// planKey compares a key with the store. Its private key may be left out if it is stored.
func (a *Apply) planKey(ctx context.Context, k ImportedKey, tenants map[string]bool) (plannedKey, error) {
	pk := plannedKey{applied: Applied{Kind: "key", Name: k.ID}}
	if err := checkKnown("knownSince", k.KnownAt, a.Clock.Now()); err != nil {
		return pk, err
	}
	if k.TenantID != "" && !tenants[k.TenantID] {
		_, err := a.Tenants.Tenant(ctx, k.TenantID)
		if errors.Is(err, domain.ErrNotFound) {
			return pk, domain.NewInvalid("tenantId", domain.Malformed,
				"no tenant has this id: use one of this file or of the store")
		} else if err != nil {
			return pk, err
		}
	}
	stored, err := a.Keys.Store.KeyByID(ctx, k.ID)
	exists := err == nil
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		return pk, err
	}
	if exists && k.Text.IsZero() {
		k.Algorithm = stored.Algorithm
	} else if k.Text.IsZero() {
		return pk, domain.NewInvalid("privateKey", domain.Blank, "set the private key: no key of this id is stored yet")
	} else if pk.key, err = k.read(a.Keys.Signer.ParseKey, a.Clock.Now()); err != nil {
		return pk, err
	}
	pk.stored, pk.applied.Action = stored, actionFor(exists, stored.Name == k.Name)
	if !exists {
		return pk, nil
	}
	same := stored.TenantID == k.TenantID && stored.Algorithm == k.Algorithm
	if !k.Text.IsZero() {
		same = stored.TenantID == k.TenantID && stored.Algorithm == pk.key.Algorithm
		held, err := a.Keys.Holds(stored, pk.key.Private)
		if err != nil {
			return pk, err
		}
		same = same && held
	}
	if !same {
		return pk, domain.NewInvalid("id", domain.Duplicate, "another key of this id is stored, with another private key, "+
			"tenant or algorithm: a kid belongs to one key for all time")
	}
	if pk.applied.Action == updated {
		pk.applied.Changes = change("name", stored.Name, k.Name, notSet)
		pk.key.Name = k.Name
	}
	if !stored.RetiredAt.IsZero() || !stored.RevokedAt.IsZero() {
		pk.applied.Notes = append(pk.applied.Notes, "it is retired or revoked, and stays so")
	}
	return pk, nil
}

// key imports a key, or changes its name.
func (a *Apply) key(ctx context.Context, by domain.Origin, k ImportedKey, pk plannedKey) (Applied, error) {
	for attempt := 1; ; attempt++ {
		var err error
		switch pk.applied.Action {
		case created:
			_, err = a.Keys.Import(ctx, by, pk.key)
		case updated:
			_, err = a.Keys.Change(ctx, by, k.ID, pk.stored.TenantID, usecase.KeyPatch{Name: &k.Name}, false)
		}
		// Another process that applies the same file imports the same key.
		var invalid *domain.Invalid
		again := errors.Is(err, domain.ErrDuplicate) || errors.As(err, &invalid)
		if err == nil || !again || attempt == applyAttempts {
			return pk.applied, err
		}
		was := err
		if pk, err = a.planKey(ctx, k, nil); err != nil {
			return Applied{}, err
		}
		if pk.applied.Action == created { // it is refused for another reason
			return Applied{}, was
		}
	}
}

// imported returns the signing keys that were imported and are in use, without their private keys, by id.
func imported(ctx context.Context, keys keyLister) (all []domain.SealedKey, err error) {
	for since := uint64(0); ; {
		page, err := keys.KeysSince(ctx, since, port.MaxListRows)
		if err != nil {
			return nil, err
		}
		for _, k := range page {
			since = k.Revision
			if k.Kind == domain.KeySigning && !k.KnownAt.IsZero() && k.RetiredAt.IsZero() && k.RevokedAt.IsZero() {
				k.Sealed = ""
				all = append(all, k)
			}
		}
		if len(page) < port.MaxListRows {
			return all, nil
		}
	}
}

// note adds to the results for a tenant and its applications which algorithm signs, where it is not yet the wanted one.
func (a *Apply) note(ctx context.Context, pt plannedTenant, done []Applied) error {
	if !isWritten(done) {
		return nil
	}
	keys, err := a.Keys.SigningKeysOf(ctx, pt.tenant.ID)
	if err == nil {
		a.noteAlgorithms(pt, keys, done)
	}
	return err
}

// noteAhead is note for what would be done, with the keys that would be made or imported first.
func (a *Apply) noteAhead(ctx context.Context, pt plannedTenant, imports []plannedKey, would []Applied) error {
	if !isWritten(would) {
		return nil
	}
	keys, err := a.Keys.SigningKeysOf(ctx, pt.tenant.ID)
	if err != nil {
		return err
	}
	for _, pk := range imports {
		if k := pk.key; pk.applied.Action == created && (k.TenantID == "" || k.TenantID == pt.tenant.ID) {
			if keys, err = a.Keys.With(keys, k); err != nil {
				return err
			}
		}
	}
	for _, w := range pt.policies.signingKeys(pt.tenant.ID) {
		if keys.Has(w.Algorithm) {
			continue
		}
		if keys, err = a.Keys.With(keys, usecase.NewKey{TenantID: w.TenantID, Algorithm: w.Algorithm}); err != nil {
			return err
		}
	}
	a.noteAlgorithms(pt, keys, would)
	return nil
}

func isWritten(done []Applied) bool {
	return slices.ContainsFunc(done, func(one Applied) bool { return one.Action != unchanged })
}

// noteAlgorithms notes the algorithms by these keys. Of a tenant, it notes that of its own policy only if an
// application has it too: otherwise nothing is signed with it, and no key is made for it.
func (a *Apply) noteAlgorithms(pt plannedTenant, keys domain.SigningKeys, done []Applied) {
	wanted := make(map[string]domain.Algorithm)
	for _, pa := range pt.applications {
		wanted[pa.applied.Name] = pt.policies[pa.application.ID].Algorithm
	}
	own := combined(pt.tenant, domain.Application{}).Algorithm
	for _, policy := range pt.policies {
		if policy.Algorithm == own {
			wanted[pt.applied.Name] = own
		}
	}
	for i := range done {
		one := &done[i]
		w, ok := wanted[one.Name]
		if !ok || one.Action == unchanged {
			continue
		}
		switch effective, until := keys.EffectiveAlgorithm(w, a.Clock.Now()); {
		case effective == w:
		case until.IsZero():
			one.Notes = append(one.Notes, fmt.Sprintf("%s signs: there is no key for %s yet", effective, w))
		default:
			one.Notes = append(one.Notes, fmt.Sprintf("%s signs until %s, when the key for %s starts", effective,
				until.UTC().Format(time.RFC3339), w))
		}
	}
}
