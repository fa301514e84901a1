package domain

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"
)

// AccessToken is what an access token says (RFC 9068): the claims that a signer signs, and that a verified one is read into.
type AccessToken struct {
	Issuer        string
	Subject       string // the user
	Audience      string // the application
	ID            string // `jti`
	IssuedAt      time.Time
	ExpiresAt     time.Time
	SessionID     string // `sid`: the id of the refresh token
	TenantID      string // `tid`
	ApplicationID string
	Roles         []string
	Scopes        []string
	Claims        Object // the caller's own
}

// NewAccessToken says what an access token for t says, with a life of ttl from `from`. The same arguments give the same
// claims, `jti` included, so that with a deterministic signature a retry is answered with the same bytes.
//
// Instants in a JWT are whole seconds here (RFC 7519, section 2, NumericDate): `from` is rounded down.
func NewAccessToken(t RefreshToken, issuer string, from time.Time, ttl time.Duration) AccessToken {
	iat := from.Truncate(time.Second)
	a := AccessToken{
		Issuer: issuer, Subject: t.UserID, Audience: t.ApplicationID,
		IssuedAt: iat, ExpiresAt: iat.Add(ttl),
		SessionID: t.ID.String(), TenantID: t.TenantID, ApplicationID: t.ApplicationID,
		Roles: t.Roles, Scopes: t.Scopes, Claims: t.Claims,
	}
	h := sha256.New()
	var numbers [20]byte
	binary.BigEndian.PutUint32(numbers[:], t.Generation)
	binary.BigEndian.PutUint64(numbers[4:], uint64(a.IssuedAt.Unix()))
	binary.BigEndian.PutUint64(numbers[12:], uint64(a.ExpiresAt.Unix()))
	h.Write(t.ID[:])
	h.Write(numbers[:])
	h.Write([]byte(strings.Join(t.Scopes, " ")))
	a.ID = base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
	return a
}
