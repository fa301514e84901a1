package run

import (
	"context"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// onlyTenant returns the tenant of a store that has exactly one. ok is false if it has none, or several.
func onlyTenant(ctx context.Context, tenants port.Tenants) (only domain.Tenant, ok bool, err error) {
	for after := ""; ; {
		page, next, err := tenants.Tenants(ctx, after, 2)
		if err != nil || len(page) > 1 || len(page) == 1 && ok {
			return domain.Tenant{}, false, err
		}
		if len(page) == 1 {
			only, ok = page[0], true
		}
		if next == "" {
			return only, ok, nil
		}
		after = next
	}
}
