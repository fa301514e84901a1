package memstore

import (
	"maps"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// instant returns t as every store does: in UTC and whole microseconds, without a monotonic clock reading.
func instant(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func cloneToken(t domain.RefreshToken) domain.RefreshToken {
	t.Roles, t.Scopes = slices.Clone(t.Roles), slices.Clone(t.Scopes)
	t.IssuedAt, t.RotatedAt, t.LastUsedAt = instant(t.IssuedAt), instant(t.RotatedAt), instant(t.LastUsedAt)
	t.ExpiresAt, t.RecoveredAt, t.RevokedAt = instant(t.ExpiresAt), instant(t.RecoveredAt), instant(t.RevokedAt)
	return t
}

func cloneTenant(t domain.Tenant) domain.Tenant {
	t.Settings = t.Settings.Clone()
	return t
}

func cloneApplication(a domain.Application) domain.Application {
	a.Settings, a.Client = a.Settings.Clone(), a.Client.Clone()
	for i := range a.Client.Secrets {
		a.Client.Secrets[i].CreatedAt = instant(a.Client.Secrets[i].CreatedAt)
	}
	return a
}

func cloneAPIKey(k domain.APIKey) domain.APIKey {
	k.ExpiresAt = instant(k.ExpiresAt)
	k.Permissions = maps.Clone(k.Permissions)
	for endpoint, methods := range k.Permissions {
		k.Permissions[endpoint] = slices.Clone(methods)
	}
	return k
}
