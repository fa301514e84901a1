package usecase

import (
	"context"
	"errors"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Logout revokes the session that a browser's cookies name. What the holder of a token string can do with it anyway, to
// end its session by exchanging an old one, needs no other credential.
type Logout struct {
	Tokens      port.RefreshTokens
	Revocations port.Revocations
	Directory   port.Directory
	Keys        *Keys
	Clock       Clock
}

// LogoutInput is what a browser sends.
type LogoutInput struct {
	TenantID string          // must be the session's
	Ambient  []domain.Secret // the token strings in the cookies
	// Limit, if set, is called before the store is, for each session that has a genuine token string. Its error is Do's
	// as it is.
	Limit func(domain.PresentedToken) error
}

// Do revokes the session, chosen as an exchange chooses it, and returns its id. When it has returned, no exchange of
// it that starts later succeeds. It returns ErrNotFound if no session counts or the one that does has ended;
// ErrSeveralSessions and ErrTooManySessions, with nothing revoked, where it cannot choose.
func (l *Logout) Do(ctx context.Context, in LogoutInput) (domain.ID, error) {
	now := l.Clock.now()
	c, err := l.Keys.choose(ctx, l.Tokens, in.Ambient, in.TenantID, now, in.Limit)
	if err != nil {
		return domain.ID{}, err
	}
	if !c.found {
		return domain.ID{}, domain.ErrNotFound
	}
	if in.Limit != nil {
		if err := in.Limit(c.presented); err != nil {
			return domain.ID{}, err
		}
	}
	if !domain.IsTenantID(in.TenantID) {
		return domain.ID{}, domain.ErrNotFound
	}
	err = l.Revocations.Revoke(ctx, in.TenantID, c.presented.ID, port.Revocation{At: now, Reason: domain.RevokedByCall})
	if err != nil {
		return domain.ID{}, fault("log out", err)
	}
	return c.presented.ID, nil
}

// Policy returns the policy of the application that an access token is for, which names its cookies; the default one if
// the application does not exist any more.
func (l *Logout) Policy(ctx context.Context, owner domain.AccessToken) (domain.Policy, error) {
	p, err := l.Directory.Policy(ctx, owner.TenantID, owner.ApplicationID)
	if errors.Is(err, domain.ErrNotFound) {
		return domain.DefaultPolicy(), nil
	}
	if err != nil {
		return domain.Policy{}, fault("log out: read the policy", err)
	}
	return p, nil
}
