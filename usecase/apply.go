package usecase

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Apply makes tenants, applications and API keys what a kickstart says they are. It creates and updates, and never deletes:
// what a kickstart does not mention stays.
type Apply struct {
	Directory port.Directory
	APIKeys   port.APIKeys
	Keys      *Keys
}

// Kickstart is what should be there.
type Kickstart struct {
	Tenants []KickstartTenant
	APIKeys []KickstartAPIKey
}

// KickstartTenant is a tenant with its applications.
type KickstartTenant struct {
	Tenant       domain.Tenant
	Applications []domain.Application // TenantID is filled in
}

// KickstartAPIKey is an API key; Hash is made from Key.
type KickstartAPIKey struct {
	APIKey domain.APIKey
	Key    domain.Secret
}

// Applied is what became of one object.
type Applied struct {
	Kind     string // "tenant", "application" or "API key"
	Name     string
	Action   string // "created", "updated" or "unchanged"
	Warnings []string
}

const unchanged = "unchanged"

// Do applies k. First it checks all that k says: an *domain.Invalid then has fields such as
// `tenants[0].applications[2].jwtConfiguration.algorithm`, and nothing was written. Then it writes each tenant with its
// applications in one step, all or none, and each API key by itself, and stops at the first error; what it applied
// before is returned beside the error. A tenant whose settings cannot be combined with a stored application that k does
// not mention is refused only then, with a field such as `tenants[0].applications["shop"].…`. ErrDuplicate means that
// another process took an issuer or a key while Do was at work. Do can be called again after any error.
func (a *Apply) Do(ctx context.Context, k Kickstart) ([]Applied, error) {
	if err := a.check(ctx, k); err != nil {
		return nil, err
	}
	var done []Applied
	for i, kt := range k.Tenants {
		applied, err := a.tenant(ctx, fmt.Sprintf("tenants[%d].", i), kt)
		if err != nil {
			return done, err
		}
		done = append(done, applied...)
	}
	for _, ka := range k.APIKeys {
		applied, err := a.apiKey(ctx, ka)
		if err != nil {
			return done, fault(fmt.Sprintf("apply API key %q", ka.APIKey.Name), err)
		}
		done = append(done, applied)
	}
	return done, nil
}

// tenant applies a tenant with its applications. The fields of an *Invalid begin with at.
func (a *Apply) tenant(ctx context.Context, at string, kt KickstartTenant) ([]Applied, error) {
	t, apps := kt.Tenant, slices.Clone(kt.Applications)
	attempted := "apply tenant " + t.ID
	stored, err := a.Directory.Tenant(ctx, t.ID)
	action, err := actionFor(t, stored, err)
	if err != nil {
		return nil, fault(attempted, err)
	}
	done := []Applied{{Kind: "tenant", Name: t.ID, Action: action}}
	for i := range apps {
		apps[i].TenantID = t.ID
		policy, err := domain.Combine(t, apps[i])
		if err != nil {
			return nil, fault(attempted, err)
		}
		stored, err := a.Directory.Application(ctx, t.ID, apps[i].ID)
		action, err := actionFor(apps[i], stored, err)
		if err != nil {
			return nil, fault(attempted, err)
		}
		// Its key is there before it signs, so that no verifier keeps a key set without it. The key stays if the tenant is
		// then refused, and serves when its algorithm is next in force.
		if _, err := a.Keys.signing(ctx, t.ID, policy.Algorithm, a.Keys.Clock.now()); err != nil {
			return nil, err
		}
		done = append(done, Applied{
			Kind: "application", Name: t.ID + "/" + apps[i].ID, Action: action, Warnings: policy.Warnings(),
		})
	}
	if !slices.ContainsFunc(done, func(a Applied) bool { return a.Action != unchanged }) {
		return done, nil
	}
	// With the unchanged ones too: another process may have changed one since it was read.
	if err := a.Directory.SaveTenant(ctx, t, apps...); err != nil {
		return nil, fault(attempted, within(at, err))
	}
	return done, nil
}

func (a *Apply) apiKey(ctx context.Context, ka KickstartAPIKey) (Applied, error) {
	key := ka.APIKey
	key.Hash = a.Keys.hashAPIKey(ka.Key)
	stored, err := a.APIKeys.APIKeyByName(ctx, key.Name)
	action, err := actionFor(key, stored, err)
	if err == nil && action != unchanged {
		err = a.APIKeys.SaveAPIKey(ctx, key)
	}
	return Applied{Kind: "API key", Name: key.Name, Action: action, Warnings: key.Warnings()}, err
}

// actionFor is what makes wanted of what a read returned.
func actionFor[T any](wanted, stored T, err error) (string, error) {
	switch {
	case errors.Is(err, domain.ErrNotFound):
		return "created", nil
	case err != nil:
		return "", err
	case reflect.DeepEqual(stored, wanted):
		return unchanged, nil
	default:
		return "updated", nil
	}
}

// within puts prefix before the fields of an *Invalid.
func within(prefix string, err error) error {
	var invalid *domain.Invalid
	if !errors.As(err, &invalid) {
		return err
	}
	var p domain.Problems
	p.Merge(prefix, invalid)
	return p.Err()
}

func (a *Apply) check(ctx context.Context, k Kickstart) error {
	var p domain.Problems
	stored, err := a.Directory.Tenants(ctx, math.MaxInt32)
	if err != nil {
		return fault("apply", err)
	}
	tenants, issuers := map[string]bool{}, map[string]bool{}
	for i, kt := range k.Tenants {
		at := fmt.Sprintf("tenants[%d].", i)
		p.Merge(at, kt.Tenant.Validate())
		once(&p, at+"id", tenants, kt.Tenant.ID)
		once(&p, at+"issuer", issuers, kt.Tenant.Issuer)
		if slices.ContainsFunc(stored, func(other domain.Tenant) bool {
			return kt.Tenant.Issuer != "" && other.Issuer == kt.Tenant.Issuer && other.ID != kt.Tenant.ID
		}) {
			p.Add(at+"issuer", domain.Duplicate, "this is the issuer of another tenant in the store: every tenant needs its own")
		}
		apps := map[string]bool{}
		for j, app := range kt.Applications {
			at := fmt.Sprintf("%sapplications[%d].", at, j)
			p.Merge(at, app.Validate(kt.Tenant))
			once(&p, at+"id", apps, app.ID)
		}
	}
	names, keys := map[string]bool{}, map[string]bool{}
	for i, ka := range k.APIKeys {
		at := fmt.Sprintf("apiKeys[%d].", i)
		p.Merge(at, ka.APIKey.Validate())
		once(&p, at+"name", names, ka.APIKey.Name)
		switch {
		case ka.Key.IsZero():
			p.Add(at+"key", domain.Blank, "set the key, or the environment variable that it comes from")
		case !domain.IsAPIKey(ka.Key.Reveal()):
			p.Add(at+"key", domain.Malformed, "a key is ak_ and at least 24 more of A-Z a-z 0-9 _ -")
		default:
			other, err := a.APIKeys.APIKeyByHash(ctx, a.Keys.hashAPIKey(ka.Key))
			if err == nil && other.Name != ka.APIKey.Name {
				p.Add(at+"key", domain.Duplicate, "this key is stored under another name: every name needs a key of its own")
			} else if err != nil && !errors.Is(err, domain.ErrNotFound) {
				return fault("apply", err)
			}
		}
		once(&p, at+"key", keys, ka.Key.Reveal())
		if id := ka.APIKey.TenantID; id != "" && !tenants[id] &&
			!slices.ContainsFunc(stored, func(t domain.Tenant) bool { return t.ID == id }) {
			p.Add(at+"tenantId", domain.Malformed, "no tenant has this id: name one of this file or of the store")
		}
	}
	return p.Err()
}

func once(p *domain.Problems, field string, seen map[string]bool, value string) {
	if value == "" {
		return
	}
	if seen[value] {
		p.Add(field, domain.Repeated, "an earlier entry says the same: each may be there once")
	}
	seen[value] = true
}
