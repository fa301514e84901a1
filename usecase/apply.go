package usecase

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

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

// Do applies k. Everything is checked before anything is written, but for applications in the store that k does not
// mention. An *domain.Invalid has fields such as `tenants[0].applications[2].jwtConfiguration.algorithm`. Where a
// tenant's settings cannot be combined with an application that k does not mention, it is
// `tenants[0].applications["shop"].…`: then the tenant and what follows it were not written, and what was applied
// before is returned; every other *Invalid means that nothing was written. The writes are one by one; Do can be called
// again after any error. ErrDuplicate means that another process took an issuer or a key while Do was at work.
func (a *Apply) Do(ctx context.Context, k Kickstart) ([]Applied, error) {
	if err := a.check(ctx, k); err != nil {
		return nil, err
	}
	var done []Applied
	for i, kt := range k.Tenants {
		t := kt.Tenant
		var ahead map[string]bool
		action, err := save(ctx, t,
			func(ctx context.Context) (domain.Tenant, error) { return a.Directory.Tenant(ctx, t.ID) },
			func(ctx context.Context, _ domain.Tenant) (err error) {
				ahead, err = a.saveTenant(ctx, kt)
				return err
			})
		if err != nil {
			return done, fault("apply tenant "+t.ID, within(fmt.Sprintf("tenants[%d].", i), err))
		}
		done = append(done, Applied{Kind: "tenant", Name: t.ID, Action: action})
		for j, app := range kt.Applications {
			app.TenantID = t.ID
			action, err := save(ctx, app, func(ctx context.Context) (domain.Application, error) {
				return a.Directory.Application(ctx, t.ID, app.ID)
			}, a.Directory.SaveApplication)
			policy, impossible := domain.Combine(t, app)
			if err = errors.Join(err, impossible); err != nil {
				return done, fault(fmt.Sprintf("apply application %q of tenant %s", app.ID, t.ID),
					within(fmt.Sprintf("tenants[%d].applications[%d].", i, j), err))
			}
			if ahead[app.ID] {
				action = "updated"
			}
			// Its key is there before it signs, so that no verifier keeps a key set without it.
			if _, err := a.Keys.signing(ctx, t.ID, policy.Algorithm, a.Keys.Clock.now()); err != nil {
				return done, err
			}
			done = append(done, Applied{
				Kind: "application", Name: t.ID + "/" + app.ID, Action: action, Warnings: policy.Warnings(),
			})
		}
	}
	for _, ka := range k.APIKeys {
		key := ka.APIKey
		key.Hash = a.Keys.hashAPIKey(ka.Key)
		action, err := save(ctx, key, func(ctx context.Context) (domain.APIKey, error) {
			return a.APIKeys.APIKeyByName(ctx, key.Name)
		}, a.APIKeys.SaveAPIKey)
		if err != nil {
			return done, fault(fmt.Sprintf("apply API key %q", key.Name), err)
		}
		done = append(done, Applied{Kind: "API key", Name: key.Name, Action: action, Warnings: key.Warnings()})
	}
	return done, nil
}

// saveTenant stores the tenant of kt. Where the store refuses it because of applications that kt changes too, these are
// changed ahead of it, and returned by their ids. Their new settings alone need not go together with the tenant as it
// was, so the whole of their new policies stands in for them meanwhile: nothing of it is the tenant's.
func (a *Apply) saveTenant(ctx context.Context, kt KickstartTenant) (ahead map[string]bool, err error) {
	err = a.Directory.SaveTenant(ctx, kt.Tenant)
	var refused *domain.Invalid
	if !errors.As(err, &refused) {
		return nil, err
	}
	ahead = make(map[string]bool)
	for _, f := range refused.Fields {
		i := slices.IndexFunc(kt.Applications, func(app domain.Application) bool {
			return strings.HasPrefix(f.Field, domain.InApplication(app.ID))
		})
		if i < 0 {
			return nil, err
		}
		ahead[kt.Applications[i].ID] = true
	}
	for _, app := range kt.Applications {
		if !ahead[app.ID] {
			continue
		}
		policy, err := domain.Combine(kt.Tenant, app)
		if err != nil {
			return nil, err
		}
		app.TenantID, app.Settings = kt.Tenant.ID, policy.Settings()
		if err := a.Directory.SaveApplication(ctx, app); err != nil {
			return nil, err
		}
	}
	return ahead, a.Directory.SaveTenant(ctx, kt.Tenant)
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

// save stores wanted unless just that is stored already.
func save[T any](
	ctx context.Context, wanted T, read func(context.Context) (T, error), write func(context.Context, T) error,
) (action string, err error) {
	stored, err := read(ctx)
	switch {
	case errors.Is(err, domain.ErrNotFound):
		action = "created"
	case err != nil:
		return "", err
	case reflect.DeepEqual(stored, wanted):
		return "unchanged", nil
	default:
		action = "updated"
	}
	return action, write(ctx, wanted)
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
