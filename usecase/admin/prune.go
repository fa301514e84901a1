package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
)

// Prune deletes the tenants, applications and API keys that a kickstart file does not name, in two steps: an operator
// confirms what Unnamed lists, and Delete deletes no more than that. It never ends a key: access tokens that it signed
// may be valid, and only Keys knows from when on none is.
type Prune struct {
	Apply
	Tokens port.RefreshTokens
}

// Unnamed is an object of the store that a kickstart file does not name.
type Unnamed struct {
	Applied                     // its Action is "deleted"
	Sessions     int            // active ones, that end with a tenant or an application
	MoreSessions bool           // there may be more
	tenant       *domain.Tenant // one of these three, as it was listed
	application  *domain.Application
	apiKey       *domain.APIKey
}

// maxCountedSessions is the number up to which the sessions of an object are counted.
const maxCountedSessions = 10_000

// ValidateComplete checks what needs no store before the objects that k does not name are deleted: an API key that k
// names for a tenant that it does not name would be deleted with the tenant.
func (k Kickstart) ValidateComplete() error {
	tenants := make(map[string]bool)
	for _, kt := range k.Tenants {
		tenants[kt.Tenant.ID] = true
	}
	var p domain.Problems
	for i, ka := range k.APIKeys {
		if id := ka.APIKey.TenantID; id != "" && !tenants[id] {
			p.Add(fmt.Sprintf("apiKeys[%d].tenantId", i), domain.Conflict,
				"this file does not name the tenant, and pruning deletes a tenant with its API keys: add the tenant")
		}
	}
	return p.Err()
}

// HasNoKey reports whether k names no API key that is valid at now. If it is pruned, none is left.
func (k Kickstart) HasNoKey(now time.Time) bool {
	return !slices.ContainsFunc(k.APIKeys, func(ka KickstartAPIKey) bool { return !ka.APIKey.Expired(now) })
}

// Unnamed returns what k does not name, in the order in which Delete deletes it: API keys, then applications, then
// tenants. The applications of a tenant that k does not name are not listed.
func (p *Prune) Unnamed(ctx context.Context, k Kickstart) ([]Unnamed, error) {
	all, err := p.unnamed(ctx, k)
	if err != nil {
		return nil, usecase.Wrap("list what the file does not name", err)
	}
	return all, nil
}

func (p *Prune) unnamed(ctx context.Context, k Kickstart) (all []Unnamed, err error) {
	keys, err := allAPIKeys(ctx, p.APIKeys)
	if err != nil {
		return nil, err
	}
	named := make(map[string]bool)
	for _, ka := range k.APIKeys {
		named[ka.APIKey.Name] = true
	}
	for _, key := range keys {
		if !named[key.Name] {
			all = append(all, Unnamed{Applied: Applied{Kind: "API key", Name: key.Name, Action: deleted}, apiKey: &key})
		}
	}
	slices.SortFunc(all, func(a, b Unnamed) int { return cmp.Compare(a.Name, b.Name) })
	ofTenants := make(map[string]map[string]bool)
	for _, kt := range k.Tenants {
		ofTenants[kt.Tenant.ID] = make(map[string]bool)
		for _, app := range kt.Applications {
			ofTenants[kt.Tenant.ID][app.ID] = true
		}
	}
	var tenants []Unnamed
	for after := ""; ; {
		page, next, err := p.Tenants.Tenants(ctx, after, port.MaxListRows)
		if err != nil {
			return nil, err
		}
		for _, t := range page {
			applications, named := ofTenants[t.ID]
			stored, err := applicationsOf(ctx, p.Applications, t.ID)
			if err != nil {
				return nil, err
			}
			if !named {
				one := Unnamed{Applied: Applied{Kind: "tenant", Name: t.ID, Action: deleted}, tenant: &t}
				if err := p.count(ctx, &one, t.ID, "", len(stored)); err != nil {
					return nil, err
				}
				tenants = append(tenants, one)
				continue
			}
			for _, id := range slices.Sorted(maps.Keys(stored)) {
				if applications[id] {
					continue
				}
				app := stored[id]
				one := Unnamed{Applied: Applied{Kind: "application", Name: t.ID + "/" + id, Action: deleted}, application: &app}
				if err := p.count(ctx, &one, t.ID, id, 0); err != nil {
					return nil, err
				}
				all = append(all, one)
			}
		}
		if next == "" {
			return append(all, tenants...), nil
		}
		after = next
	}
}

// UnnamedKeys returns the imported signing keys in use that k does not name, for an overview.
func (p *Prune) UnnamedKeys(ctx context.Context, k Kickstart) (all []Applied, err error) {
	stored, err := imported(ctx, p.Keys.Store)
	if err != nil {
		return nil, usecase.Wrap("list the keys that the file does not name", err)
	}
	for _, s := range stored {
		if !slices.ContainsFunc(k.Keys, func(key ImportedKey) bool { return key.ID == s.ID }) {
			all = append(all, Applied{Kind: "key", Name: s.ID, Notes: []string{"it stays: end it with refreshd key retire"}})
		}
	}
	slices.SortFunc(all, func(a, b Applied) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// count counts the sessions that end with the object, and notes what ends.
func (p *Prune) count(ctx context.Context, one *Unnamed, tenantID, applicationID string, applications int) (err error) {
	one.Sessions, one.MoreSessions, err = p.Tokens.Count(ctx, port.ListQuery{
		TenantID: tenantID, ApplicationID: applicationID, State: domain.ActiveSessions,
		Limit: maxCountedSessions, MaxRows: maxCountedSessions, MaxBytes: port.MaxListBytes, Now: p.Clock.Now(),
	})
	if one.MoreSessions {
		one.Notes = append(one.Notes, fmt.Sprintf("active sessions that end: %d or more", one.Sessions))
	} else if err == nil {
		one.Notes = append(one.Notes, fmt.Sprintf("active sessions that end: %d", one.Sessions))
	}
	if one.tenant != nil {
		one.Notes = append(one.Notes, fmt.Sprintf("its applications: %d", applications))
	}
	return err
}

// Delete deletes these objects, each with an event by that origin, and returns what it deleted. It skips an object that
// no longer exists. It stops with ErrStale at an object that was changed since it was listed, because the change was
// not confirmed.
func (p *Prune) Delete(ctx context.Context, by domain.Origin, list []Unnamed) (done []Applied, err error) {
	for _, one := range list {
		switch err := p.remove(ctx, by, one); {
		case errors.Is(err, domain.ErrNotFound):
		case errors.Is(err, domain.ErrStale):
			return done, fmt.Errorf("delete %s %s: it was changed since it was listed, and stays: apply again: %w",
				one.Kind, one.Name, err)
		case err != nil:
			return done, usecase.Wrap(fmt.Sprintf("delete %s %s", one.Kind, one.Name), err)
		default:
			done = append(done, one.Applied)
		}
	}
	return done, nil
}

func (p *Prune) remove(ctx context.Context, by domain.Origin, one Unnamed) error {
	e, err := p.newEvent(by)
	if err != nil {
		return err
	}
	switch {
	case one.apiKey != nil:
		return p.APIKeys.DeleteAPIKey(ctx, one.apiKey.ID, one.apiKey.Version, aboutAPIKey(e, one.apiKey, nil))
	case one.application != nil:
		a := one.application
		return p.Applications.DeleteApplication(ctx, a.TenantID, a.ID, a.Version, aboutApplication(e, a, nil))
	default:
		return p.Tenants.DeleteTenant(ctx, one.tenant.ID, one.tenant.Version, aboutTenant(e, one.tenant, nil))
	}
}
