package usecase

import (
	"context"
	"errors"
	"fmt"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// ErrOtherTenants is an ErrNotFound: the cookies are of an active session of another tenant than the request names.
// They must be kept: without them that session could not be ended before it expires.
var ErrOtherTenants = fmt.Errorf("the session is active and belongs to another tenant: %w", domain.ErrNotFound)

// Logout revokes the sessions that a browser's cookies name. It requires no other credential: see revokeHeld.
type Logout struct {
	Revocations port.Revocations
	Tokens      port.RefreshTokens
	Keys        *Keys
	Clock       Clock
}

// LogoutInput is the input of [Logout.Do].
type LogoutInput struct {
	TenantID string          // of the sessions
	Ambient  []domain.Secret // the token strings in the cookies
	By       domain.Origin
	// Limit, if set, is called before the store, for each session with a genuine token string. Do returns its error
	// unchanged.
	Limit func(domain.PresentedToken) error
}

// Do revokes every active session of the tenant that the cookies name, and returns their ids. Unlike an exchange it
// does not choose one: all the cookies are deleted, and no client could see a session that stayed active. When
// it has returned, no exchange of these sessions that starts later succeeds.
//
// It returns ErrNotFound if none is active, ErrOtherTenants if only another tenant's is, and ErrTooManySessions with
// nothing revoked. After any other error some may have been revoked; the same request again revokes the others.
func (l *Logout) Do(ctx context.Context, in LogoutInput) ([]domain.ID, error) {
	parsed, err := l.Keys.parseAmbient(ctx, in.Ambient)
	if err != nil {
		return nil, err
	}
	for _, t := range parsed.Sessions {
		if in.Limit != nil {
			if err := in.Limit(t); err != nil {
				return nil, err
			}
		}
	}
	if !domain.IsTenantID(in.TenantID) {
		return nil, l.notFound(ctx, parsed.Sessions)
	}
	var revoked []domain.ID
	for _, t := range parsed.Sessions {
		switch err := revokeHeld(ctx, l.Revocations, l.Keys, in.TenantID, t.ID, l.Clock, in.By); {
		case err == nil:
			revoked = append(revoked, t.ID)
		case !errors.Is(err, domain.ErrNotFound):
			return nil, Wrap("log out", err)
		}
	}
	if len(revoked) == 0 {
		return nil, l.notFound(ctx, parsed.Sessions)
	}
	return revoked, nil
}

// notFound returns ErrOtherTenants if one of sessions is active, and otherwise ErrNotFound. Those of the tenant have
// ended.
func (l *Logout) notFound(ctx context.Context, sessions []domain.PresentedToken) error {
	for _, t := range sessions {
		switch s, err := l.Tokens.Snapshot(ctx, t.ID); {
		case err == nil && s.Alive(l.Clock.Now()):
			return ErrOtherTenants
		case err != nil && !errors.Is(err, domain.ErrNotFound):
			return Wrap("log out: read the session", err)
		}
	}
	return domain.ErrNotFound
}
