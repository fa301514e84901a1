package storagetest

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/refreshd/refreshd/domain"
)

const tick = time.Microsecond

// noGrace is for refresh tokens that are rotated repeatedly within an instant.
func noGrace() domain.Settings { return domain.Settings{GraceSeconds: new(int64(0))} }

// t0 is when most tokens of the suite are issued. Each of its digits is one that a store could lose.
var t0 = time.Date(2031, 2, 3, 4, 5, 6, 789_012_000, time.UTC)

// tokenID is a UUID of version 7; a higher n has a higher id.
func tokenID(n int) domain.ID {
	id := domain.ID{0x01, 0x9a, 0xff, 0x00, 0x7f, 0x80, 0x70, 0, 0x80}
	binary.BigEndian.PutUint32(id[12:], uint32(n))
	return id
}

// token returns a plain refresh token of the user ana in acme's shop, valid for a day from t0.
func token(n int) domain.RefreshToken {
	return domain.RefreshToken{
		ID: tokenID(n), TenantID: "acme", ApplicationID: "shop", UserID: "ana",
		Generation: 1, IssuedAt: t0, RotatedAt: t0, LastUsedAt: t0, ExpiresAt: t0.Add(24 * time.Hour),
	}
}

func tokenOf(n int, tenantID, applicationID, userID string) domain.RefreshToken {
	t := token(n)
	t.TenantID, t.ApplicationID, t.UserID = tenantID, applicationID, userID
	return t
}

func describe(t domain.RefreshToken) string {
	return fmt.Sprintf("refresh token %d of %s in %s/%s", binary.BigEndian.Uint32(t.ID[12:]), t.UserID, t.TenantID,
		t.ApplicationID)
}

// fullToken returns a refresh token with no zero field and no two equal fields. It is revoked, and the second of its
// user.
func fullToken() domain.RefreshToken {
	t := activeToken()
	t.IssuedEpoch, t.Ordinal = 3, 2
	t.RevokedAt, t.RevokedReason = t0.Add(7*time.Minute+7*tick), domain.RevokedByReplay
	return t
}

// activeToken is fullToken without a revocation, and the first of its user.
func activeToken() domain.RefreshToken {
	return domain.RefreshToken{
		ID: tokenID(1), TenantID: "acme", ApplicationID: "shop", UserID: "ana",
		Generation:        4_000_000_007, // needs 32 unsigned bits
		IssuedAt:          t0,
		RotatedAt:         t0.Add(3*time.Minute + 3*tick),
		LastUsedAt:        t0.Add(4*time.Minute + 4*tick),
		ExpiresAt:         t0.Add(24*time.Hour + 5*tick),
		Ordinal:           1,
		RecoveredAt:       t0.Add(6*time.Minute + 6*tick),
		RecoveryPaidUntil: 1<<40 + 11,
		Binding:           "thumbprint",
		Roles:             []string{"owner", "clerk"}, // not sorted
		Scopes:            []string{"write", "read"},
		Claims:            `{"z":1,"a":12345678901234567890.10}`,
		MetaData: domain.MetaData{
			Device:        domain.Device{Name: "phone", Type: "mobile", Description: "the red one"},
			ClientAddress: "2001:db8::1",
			Data:          `{"build":"7.1"}`,
		},
	}
}

// awkward is text that a careless column or client library changes: case, accents in two spellings, quotes, wildcards,
// an escape that JSON parsers decode, characters beyond the basic plane. It is 255 bytes long, the maximum of an id.
var awkward = func() string {
	s := `Zoë Zoe` + "\u0308" + ` 李 🗝 'a' "b" $1 ? % _ \ \u0000 &lt; ` + "\u00a0\u200b\u202e"
	return s + strings.Repeat("x", 255-len(s))
}()

// everyByte contains all 256 byte values.
var everyByte = func() string {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return string(b)
}()

// lookalikes are different names that collations, padding or pattern matching treat as equal.
var lookalikes = []string{"a", "A", "b", "aa", "ab", "a%", "a_", "a ", "á", "a\u0301", "ａ", "ß", "ss"}

// fullTenant returns a tenant with no zero field.
func fullTenant() domain.Tenant {
	return domain.Tenant{
		ID: "acme", Name: awkward, Issuer: "https://auth.acme.example/a%20b", Settings: tenantSettings(), Version: 99,
		Login: domain.LoginEndpoints{Authorization: "https://a.example/1", EndSession: "https://a.example/2",
			Userinfo: "https://a.example/3"},
	}
}

func tenantSettings() domain.Settings {
	return domain.Settings{
		Active: new(true), RequireAuthentication: new(true), CookieOnly: new(true), CookieName: new("acme_session"),
		CookieDomain: new(""), CookieHostOnly: new(true),
		AccessTokenSeconds: new(int64(601)), AccessTokenType: new(domain.TypeJWT), Algorithm: new(domain.EdDSA),
		Expiration: new(domain.SlidingWindow), TTLMinutes: new(int64(1_002)), MaximumTTLMinutes: new(int64(5_270_003)),
		Usage: new(domain.OneTimeUse), GraceSeconds: new(int64(104)), RecoveryBurst: new(int64(5)),
		RecoveryInterval: new(int64(106)),
		RevokeOnReplay:   new(true), MaximumActiveTokens: new(int64(107)),
	}
}

// fullApplication returns an application with no zero field. It differs from its tenant in each setting that can
// differ.
func fullApplication() domain.Application {
	return domain.Application{TenantID: "acme", ID: "shop", Name: awkward + "!", Version: 98, Client: domain.Client{
		Secrets: []domain.ClientSecret{
			{Hash: everyByte[:32], HashKey: 4_000_000_003, CreatedAt: t0},
			{Hash: everyByte[32:64], HashKey: 5, CreatedAt: t0.Add(-time.Hour)},
		},
		Keys: `{"keys":[]}`, Audiences: []string{"https://b.example", "a"}, Origins: []string{"https://c.example"},
	}, Settings: domain.Settings{
		Active: new(true), RequireAuthentication: new(true), CookieOnly: new(true), CookieName: new("shop_session"),
		CookieDomain: new("shop.acme.example"), CookieHostOnly: new(false),
		AccessTokenSeconds: new(int64(1_201)), AccessTokenType: new(domain.TypeATJWT), Algorithm: new(domain.PS256),
		Expiration: new(domain.Fixed), TTLMinutes: new(int64(2_002)), MaximumTTLMinutes: new(int64(2_003)),
		Usage: new(domain.OneTimeUse), GraceSeconds: new(int64(204)), RecoveryBurst: new(int64(25)),
		RecoveryInterval: new(int64(206)),
		RevokeOnReplay:   new(true), MaximumActiveTokens: new(int64(207)),
	}}
}

// combined returns the policy of an application whose settings are compatible with its tenant's.
func combined(t domain.Tenant, a domain.Application) domain.Policy {
	p, err := domain.Combine(t, a)
	if err != nil {
		panic(err)
	}
	return p
}

// zeroSettings returns settings that are all set, to zero wherever that is valid. That differs from unset settings.
func zeroSettings() domain.Settings {
	s := fullApplication().Settings
	s.Active, s.RequireAuthentication, s.CookieOnly, s.RevokeOnReplay = new(false), new(false), new(false), new(false)
	s.CookieName, s.CookieDomain, s.CookieHostOnly = new(""), new(""), new(false)
	s.GraceSeconds, s.RecoveryBurst, s.MaximumActiveTokens = new(int64(0)), new(int64(0)), new(int64(0))
	return s
}

// fullAPIKey returns an API key with no zero field.
func fullAPIKey() domain.APIKey {
	return domain.APIKey{
		ID: tokenID(70), Name: "backend", Hash: everyByte[:32], TenantID: "acme", Version: 97,
		PreviousHash: everyByte[32:64], HashKey: 4_000_000_003, PreviousHashKey: 5,
		Permissions: domain.Permissions{"/jwt/refresh": {"GET", "DELETE"}, "*": {"*"}},
		ExpiresAt:   t0.Add(11 * tick),
	}
}

// fullSealedKey returns a sealed key with no zero field.
func fullSealedKey() domain.SealedKey {
	return domain.SealedKey{
		Kind: domain.KeySigning, TenantID: "acme", Algorithm: domain.ES256, Number: 4_000_000_001, ID: "kid-1",
		Name: awkward, CreatedAt: t0.Add(1 * tick), StartsAt: t0.Add(2 * tick), RetiredAt: t0.Add(3 * tick),
		KnownAt: t0.Add(4 * tick), UnusedAt: t0.Add(6 * tick), RevokedAt: t0.Add(5 * tick), Sealed: everyByte,
		SealedBy: "master",
	}
}

func tokenKey(number uint32) domain.SealedKey {
	return domain.SealedKey{Kind: domain.KeyToken, Number: number, CreatedAt: t0, Sealed: fmt.Sprintf("sealed %d", number)}
}
