package usecase

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Introspect says of a token whether it is active (RFC 7662). It writes nothing, and is no use of the token.
type Introspect struct {
	Tokens port.RefreshTokens
	Keys   *Keys
	Clock  Clock
	// PublicURL and Restored are as in [Minter] and [Exchange].
	PublicURL string
	Restored  bool
}

// IntrospectInput is the input of [Introspect.Do].
type IntrospectInput struct {
	TenantID string
	// ApplicationID is the client that asks: it sees its own tokens, and access tokens for it. It is empty for a caller
	// that sees all of the tenant.
	ApplicationID string
	Token         domain.Secret // a token string or an access token
}

// Introspected is what a token says. If it is not active, the rest is zero: for a caller, a token that has ended
// is the same as one that never was, or that is not its own (RFC 7662, section 2.2).
type Introspected struct {
	Active bool
	// AccessToken holds the claims of an access token. For a token string Kind is RefreshToken, and it has those that a
	// session has: Issuer, Subject, IssuedAt, ExpiresAt, SessionID, TenantID, ApplicationID, Scopes, Confirmation.
	domain.AccessToken
	Kind TokenKind
}

// TokenKind is a kind of token.
type TokenKind byte

// The kinds of token.
const (
	KindAccessToken TokenKind = iota + 1
	KindRefreshToken
)

// Do returns what the token says. A token string is active if an exchange now would be answered, with whatever proof
// its session requires. An access token is active if it verifies with a published key, has not expired, and its session
// is active. When a revocation of the session or of its keys has returned, the token is not active: that of a key
// within keyMaxAge.
func (i *Introspect) Do(ctx context.Context, in IntrospectInput) (Introspected, error) {
	if !domain.IsTenantID(in.TenantID) {
		return Introspected{}, nil
	}
	if domain.IsTokenStringForm(in.Token.Reveal()) {
		return i.tokenString(ctx, in)
	}
	return i.accessToken(ctx, in)
}

func (i *Introspect) tokenString(ctx context.Context, in IntrospectInput) (Introspected, error) {
	presented, genuine, err := i.Keys.present(ctx, in.Token)
	if err != nil || !genuine {
		return Introspected{}, err
	}
	s, err := i.Tokens.Snapshot(ctx, presented.ID)
	if errors.Is(err, domain.ErrNotFound) {
		return Introspected{}, nil
	}
	if err != nil {
		return Introspected{}, Wrap("introspect", err)
	}
	t := s.Token
	answer := s.Decide(domain.Call{
		Generation: presented.Generation, Now: i.Clock.Now(), TenantID: in.TenantID, ApplicationID: in.ApplicationID,
		Authenticated: true, Binding: t.Binding, Restored: i.Restored,
	})
	if answer.Outcome.Refused() {
		return Introspected{}, nil
	}
	return Introspected{Active: true, Kind: KindRefreshToken, AccessToken: domain.AccessToken{
		Issuer: domain.Issuer(i.PublicURL, t.TenantID, s.Policy.Issuer), Subject: t.UserID,
		IssuedAt: t.IssuedAt, ExpiresAt: t.ExpiresAt, SessionID: t.ID.String(),
		TenantID: t.TenantID, ApplicationID: t.ApplicationID, Scopes: t.Scopes, Confirmation: t.Binding,
	}}, nil
}

func (i *Introspect) accessToken(ctx context.Context, in IntrospectInput) (Introspected, error) {
	t, active, err := i.Keys.active(ctx, i.Tokens, in, i.Clock.Now())
	if err != nil || !active {
		return Introspected{}, err
	}
	return Introspected{Active: true, Kind: KindAccessToken, AccessToken: t}, nil
}

// active returns what an access token says, and whether it is active: it is of the tenant, for or issued to the
// application of the input, verifies with a published key, has not expired, and its session is active.
func (k *Keys) active(
	ctx context.Context, tokens port.RefreshTokens, in IntrospectInput, now time.Time,
) (t domain.AccessToken, active bool, err error) {
	t, err = k.verify(ctx, in.Token.Reveal())
	if errors.Is(err, domain.ErrUnauthorized) {
		return t, false, nil
	}
	if err != nil {
		return t, false, err
	}
	own := in.ApplicationID == "" || slices.Contains([]string{t.ApplicationID, t.Audience}, in.ApplicationID)
	if t.TenantID != in.TenantID || !own || !now.Before(t.ExpiresAt) {
		return t, false, nil
	}
	id, _ := domain.ParseID(t.SessionID)
	s, err := tokens.Find(ctx, t.TenantID, id)
	if errors.Is(err, domain.ErrNotFound) {
		return t, false, nil
	}
	if err != nil {
		return t, false, Wrap("read the session of the access token", err)
	}
	return t, isSessionOf(s, t) && s.Alive(now), nil
}
