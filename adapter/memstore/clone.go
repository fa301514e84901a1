package memstore

import (
	"maps"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// instant is t as every store gives it back: UTC, in whole microseconds, without a reading of the monotonic clock.
func instant(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func cloneToken(t domain.RefreshToken) domain.RefreshToken {
	t.Roles, t.Scopes = slices.Clone(t.Roles), slices.Clone(t.Scopes)
	t.IssuedAt, t.RotatedAt, t.LastUsedAt = instant(t.IssuedAt), instant(t.RotatedAt), instant(t.LastUsedAt)
	t.ExpiresAt, t.RecoveredAt, t.RevokedAt = instant(t.ExpiresAt), instant(t.RecoveredAt), instant(t.RevokedAt)
	return t
}

func cloneTenant(t domain.Tenant) domain.Tenant {
	t.Settings = cloneSettings(t.Settings)
	return t
}

func cloneApplication(a domain.Application) domain.Application {
	a.Settings = cloneSettings(a.Settings)
	return a
}

func cloneSettings(s domain.Settings) domain.Settings {
	return domain.Settings{
		Active:                clonePointer(s.Active),
		RequireAuthentication: clonePointer(s.RequireAuthentication),
		CookieOnly:            clonePointer(s.CookieOnly),
		CookieName:            clonePointer(s.CookieName),
		CookieDomain:          clonePointer(s.CookieDomain),
		CookieHostOnly:        clonePointer(s.CookieHostOnly),
		AccessTokenSeconds:    clonePointer(s.AccessTokenSeconds),
		AccessTokenType:       clonePointer(s.AccessTokenType),
		Algorithm:             clonePointer(s.Algorithm),
		Expiration:            clonePointer(s.Expiration),
		TTLMinutes:            clonePointer(s.TTLMinutes),
		MaximumTTLMinutes:     clonePointer(s.MaximumTTLMinutes),
		Usage:                 clonePointer(s.Usage),
		GraceSeconds:          clonePointer(s.GraceSeconds),
		RecoveryBurst:         clonePointer(s.RecoveryBurst),
		RecoveryInterval:      clonePointer(s.RecoveryInterval),
		RevokeOnReplay:        clonePointer(s.RevokeOnReplay),
		MaximumActiveTokens:   clonePointer(s.MaximumActiveTokens),
	}
}

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

func cloneAPIKey(k domain.APIKey) domain.APIKey {
	k.ExpiresAt = instant(k.ExpiresAt)
	k.Permissions = maps.Clone(k.Permissions)
	for endpoint, methods := range k.Permissions {
		k.Permissions[endpoint] = slices.Clone(methods)
	}
	return k
}
