package usecase

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Issue creates a refresh token, with its first token string and an access token.
type Issue struct {
	Tokens       port.RefreshTokens
	Revocations  port.Revocations
	Applications port.Applications
	Minter       Minter
	Clock        Clock
	Random       io.Reader
	// PurgeAfter is how long ended refresh tokens are kept, as in [Purge]; 0 if they are never deleted. No refresh
	// token is issued under an older id: an earlier refresh token of that id may have been deleted, and its token
	// strings would be valid for the new one.
	PurgeAfter time.Duration
}

// IssueInput describes the session.
type IssueInput struct {
	// ID is the id that the caller chose: a UUID of version 7 that was made at most a minute ahead of this process's
	// clock, and not so long ago that a refresh token of that id may have been purged. If it is zero, Do makes one. A
	// caller that chose the id and got no response sends the same request again and gets the same response.
	ID            domain.ID
	TenantID      string
	ApplicationID string
	UserID        string
	Roles         []string
	Scopes        []string
	Claims        domain.Object
	MetaData      domain.MetaData
	Binding       string
	// IssuedAt is the beginning of the session, for an import; zero for now. ExpiresAt ends it earlier than the policy
	// does, until the first exchange that moves the expiry; zero for the policy's expiry. ExpiresAt is rounded down to
	// the second.
	IssuedAt  time.Time
	ExpiresAt time.Time
	By        domain.Origin
	// Cookies is true if the tokens go to a browser in cookies. The policy must then have a cookie domain, or allow
	// cookies without one.
	Cookies bool
}

// Do issues a refresh token. It returns an *domain.Invalid for an input that cannot be stored, for an application that
// is not active, and for an id that is or may have been taken. It returns ErrNotFound for an application that does not
// exist, or was switched off meanwhile. When it has returned, the limit of the user's active refresh tokens in the
// application holds. That limit ends the new one only if another issue overlapped this one or began later.
func (u *Issue) Do(ctx context.Context, in IssueInput) (Grant, error) {
	now, chosen := u.Clock.Now(), !in.ID.IsZero()
	asked, err := u.asked(in, now)
	if err != nil {
		return Grant{}, err
	}
	policy, err := u.policy(ctx, asked, in.Cookies)
	if err != nil {
		return Grant{}, err
	}
	var token domain.RefreshToken
	again := chosen && in.ID.IsStale(now, u.PurgeAfter)
	if !again {
		if token, err = domain.NewRefreshToken(asked, policy, now); err != nil {
			return Grant{}, err
		}
		token, err = u.Tokens.Insert(ctx, token)
		again = chosen && errors.Is(err, domain.ErrDuplicate)
	}
	if again {
		token, err = u.repeated(ctx, asked, now)
	}
	if err != nil {
		return Grant{}, Wrap("issue", err)
	}
	if policy.MaximumActiveTokens > 0 {
		scope := domain.Scope{TenantID: in.TenantID, ApplicationID: in.ApplicationID, UserID: in.UserID}
		event, err := domain.NewEvent(domain.TokenLimited, in.By, now, u.Random)
		if err != nil {
			return Grant{}, Wrap("issue: keep the newest", err)
		}
		event.After = domain.EventObject(map[string]any{
			domain.FieldMaximumActiveTokens: policy.MaximumActiveTokens, "revokedReason": domain.RevokedByLimit,
		})
		err = u.Revocations.KeepNewest(ctx, scope, int(policy.MaximumActiveTokens),
			port.Revocation{At: now, Reason: domain.RevokedByLimit}, event.About(scope))
		if err == nil && again { // the limit may have ended this refresh token, if it was lowered since
			token, err = u.repeated(ctx, asked, now)
		}
		if err != nil {
			return Grant{}, Wrap("issue: keep the newest", err)
		}
	}
	return u.Minter.grant(ctx, token, policy, token.RotatedAt, now,
		accessRequest{confirmation: token.Binding})
}

// asked returns the refresh token that in describes, with a new id if in has none. It makes all checks that need no
// store: an invalid input is reported before a missing object, and never reaches the store.
func (u *Issue) asked(in IssueInput, now time.Time) (domain.RefreshToken, error) {
	chosen := !in.ID.IsZero()
	if !chosen {
		var err error
		if in.ID, err = domain.NewID(now, u.Random); err != nil {
			return domain.RefreshToken{}, fmt.Errorf("issue: %w", err)
		}
	}
	asked := domain.RefreshToken{
		ID: in.ID, TenantID: in.TenantID, ApplicationID: in.ApplicationID, UserID: in.UserID,
		Roles: in.Roles, Scopes: in.Scopes, Claims: in.Claims, MetaData: in.MetaData, Binding: in.Binding,
		IssuedAt: in.IssuedAt, ExpiresAt: in.ExpiresAt,
	}
	var problems domain.Problems
	problems.Merge("", asked.Validate())
	if chosen {
		problems.Merge("", in.ID.CheckChosen(now))
	}
	return asked, problems.Err()
}

// policy returns the policy under which asked is issued, or an *domain.Invalid if that policy does not allow it.
func (u *Issue) policy(ctx context.Context, asked domain.RefreshToken, cookies bool) (domain.Policy, error) {
	policy, err := u.Applications.Policy(ctx, asked.TenantID, asked.ApplicationID)
	if err != nil {
		return domain.Policy{}, Wrap("issue: read the policy", err)
	}
	if !policy.Active {
		return domain.Policy{}, domain.NewInvalid("applicationsId", domain.Inactive,
			"the application is switched off: switch it on, or name another one")
	}
	if cookies && policy.CookieDomain == "" && !policy.CookieHostOnly {
		return domain.Policy{}, domain.NewInvalid(domain.FieldCookieDomain, domain.Blank,
			"set the application's cookieDomain to the domain that your pages share, "+
				"or cookieHostOnly to true if they have the same host as this service")
	}
	issuer := domain.Issuer(u.Minter.PublicURL, asked.TenantID, policy.Issuer)
	return policy, domain.CheckAccessTokenSize(asked, policy, issuer)
}

// repeated returns the refresh token that an earlier request of the same content issued, as it was issued.
func (u *Issue) repeated(ctx context.Context, asked domain.RefreshToken, now time.Time) (domain.RefreshToken, error) {
	stored, err := u.Tokens.Snapshot(ctx, asked.ID)
	if errors.Is(err, domain.ErrNotFound) {
		return domain.RefreshToken{}, domain.NewInvalid("refreshTokenId", domain.Malformed,
			"this id is so old that its refresh token may have been deleted: make a new UUID of version 7")
	}
	if err != nil {
		return domain.RefreshToken{}, err
	}
	// The response holds the first token string, which must be one that can still be exchanged and is not a replay.
	first := stored.Decide(domain.Call{Generation: 1, Now: now, Authenticated: true, Binding: asked.Binding})
	if first.Outcome.Refused() || !stored.Token.SameIssue(asked) {
		return domain.RefreshToken{}, domain.NewInvalid("refreshTokenId", domain.Duplicate,
			"this id belongs to another refresh token, to one that has ended, or to one that was exchanged since: "+
				"choose a new UUID")
	}
	return stored.Token.AsIssued(), nil
}
