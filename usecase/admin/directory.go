package admin

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
	"github.com/refreshd/refreshd/usecase"
)

// policies are the policies in force of a tenant's applications, by application.
type policies map[string]domain.Policy

// signingKeys returns the signing keys that a tenant needs for these policies.
func (p policies) signingKeys(tenantID string) (wanted []usecase.SigningKeys) {
	algorithms := make(map[domain.Algorithm]bool)
	for _, policy := range p {
		algorithms[policy.Algorithm] = true
	}
	for _, algorithm := range slices.Sorted(maps.Keys(algorithms)) {
		wanted = append(wanted, usecase.SigningKeys{TenantID: tenantID, Algorithm: algorithm})
	}
	return wanted
}

// checkIssuer returns an *Invalid if another tenant has set this issuer. [domain.Tenant.Validate] refuses one that is
// derived for another tenant, whatever the public URL is.
func checkIssuer(ctx context.Context, tenants port.Tenants, t domain.Tenant) error {
	if t.Issuer == "" {
		return nil
	}
	other, err := tenants.TenantByIssuer(ctx, t.Issuer)
	switch {
	case errors.Is(err, domain.ErrNotFound):
		return nil
	case err == nil && other.ID != t.ID:
		return errIssuer()
	default:
		return err
	}
}

func errIssuer() error {
	return duplicate("issuer", "this is the issuer of another tenant in the store: every tenant needs its own")
}

// applicationsOf returns all applications of the tenant, by id.
func applicationsOf(
	ctx context.Context, applications port.Applications, tenantID string,
) (map[string]domain.Application, error) {
	all := make(map[string]domain.Application)
	for after := ""; ; {
		page, next, err := applications.Applications(ctx, tenantID, after, port.MaxListRows)
		if err != nil {
			return nil, err
		}
		for _, app := range page {
			all[app.ID] = app
		}
		if next == "" {
			return all, nil
		}
		after = next
	}
}
