package usecase

import (
	"context"
	"errors"
	"fmt"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// ErrOtherTenants is an ErrNotFound: the cookies are of an active session of another tenant than the request names.
// They have to be kept, or nobody could end that session before it expires.
var ErrOtherTenants = fmt.Errorf("the session is active and belongs to another tenant: %w", domain.ErrNotFound)

// Logout revokes the sessions that a browser's cookies name. What the holder of a token string can do with it anyway,
// to end its session by exchanging an old one, needs no other credential.
type Logout struct {
	Revocations port.Revocations
	Tokens      port.RefreshTokens
	Keys        *Keys
	Clock       Clock
}

// LogoutInput is what a browser sends.
type LogoutInput struct {
	TenantID string          // must be the sessions'
	Ambient  []domain.Secret // the token strings in the cookies
	By       domain.Origin
	// Limit, if set, is called before the store is, for each session that has a genuine token string. Its error is Do's
	// as it is.
	Limit func(domain.PresentedToken) error
}

// Do revokes every active session of the tenant that the cookies name, and returns their ids. It does not choose one as
// an exchange does: the cookies of all are deleted, and a session that stayed active would be one that nobody can see.
// When it has returned, no exchange of them that starts later succeeds.
//
// It returns ErrNotFound if none is active, ErrOtherTenants if only another tenant's is, and
// ErrTooManySessions with nothing revoked. After any other error some may have been revoked: the same request again
// revokes the others.
func (l *Logout) Do(ctx context.Context, in LogoutInput) ([]domain.ID, error) {
	came, err := l.Keys.cameWith(ctx, in.Ambient)
	if err != nil {
		return nil, err
	}
	for _, t := range came.Sessions {
		if in.Limit != nil {
			if err := in.Limit(t); err != nil {
				return nil, err
			}
		}
	}
	if !domain.IsTenantID(in.TenantID) {
		return nil, l.none(ctx, came.Sessions)
	}
	var revoked []domain.ID
	how := port.Revocation{At: l.Clock.now(), Reason: domain.RevokedByRequest}
	for _, t := range came.Sessions {
		event, err := domain.RevocationEvent(
			in.TenantID, domain.Selector{TokenID: t.ID}, how.Reason, in.By, how.At, l.Keys.Random)
		if err != nil {
			return nil, wrap("log out", err)
		}
		switch err := l.Revocations.Revoke(ctx, in.TenantID, t.ID, how, event); {
		case err == nil:
			revoked = append(revoked, t.ID)
		case !errors.Is(err, domain.ErrNotFound):
			return nil, wrap("log out", err)
		}
	}
	if len(revoked) == 0 {
		return nil, l.none(ctx, came.Sessions)
	}
	return revoked, nil
}

// none returns ErrOtherTenants if one of sessions is active, and otherwise ErrNotFound. The tenant's own have ended.
func (l *Logout) none(ctx context.Context, sessions []domain.PresentedToken) error {
	for _, t := range sessions {
		switch s, err := l.Tokens.Snapshot(ctx, t.ID); {
		case err == nil && s.Alive(l.Clock.now()):
			return ErrOtherTenants
		case err != nil && !errors.Is(err, domain.ErrNotFound):
			return wrap("log out: read the session", err)
		}
	}
	return domain.ErrNotFound
}
