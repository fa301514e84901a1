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
	Tokens      port.RefreshTokens
	Revocations port.Revocations
	Directory   port.Directory
	Minter      Minter
	Clock       Clock
	Random      io.Reader
	// PurgeAfter is for how long the dead are kept, as in [Purge]; 0 if they are never deleted. An id that is older is issued under
	// no more: its first refresh token may be gone, and nothing would tell the new one from it.
	PurgeAfter time.Duration
}

// IssueInput describes the session.
type IssueInput struct {
	// ID is the caller's choice; zero lets us make one. With an id of its own, a caller that got no answer sends the same call
	// again and gets the same answer. Newest-first order and maximumActiveTokens go by id, and only a UUIDv7 tells that it is so old
	// that it may have been used before: so it should be a fresh one of those; where the number is limited it must be of that version.
	ID            domain.ID
	TenantID      string
	ApplicationID string
	UserID        string
	Roles         []string
	Scopes        []string
	Claims        domain.Object
	MetaData      domain.MetaData
	Binding       string
}

// Do issues. It returns an *domain.Invalid for what cannot be stored and for an id that is taken by something else or may have been,
// and ErrNotFound for an application that does not exist or is not active.
func (u *Issue) Do(ctx context.Context, in IssueInput) (Grant, error) {
	now, chosen := u.Clock.now(), !in.ID.IsZero()
	if !chosen {
		var err error
		if in.ID, err = domain.NewID(now, u.Random); err != nil {
			return Grant{}, fmt.Errorf("issue: %w", err)
		}
	}
	token := domain.RefreshToken{
		ID: in.ID, TenantID: in.TenantID, ApplicationID: in.ApplicationID, UserID: in.UserID,
		Roles: in.Roles, Scopes: in.Scopes, Claims: in.Claims, MetaData: in.MetaData, Binding: in.Binding,
	}
	// What is wrong with the input is told before what is missing from the store, and never reaches it.
	if err := token.Validate(); err != nil {
		return Grant{}, err
	}
	policy, err := u.Directory.Policy(ctx, in.TenantID, in.ApplicationID)
	if err != nil {
		return Grant{}, fault("issue: read the policy", err)
	}
	if !policy.Active {
		return Grant{}, fmt.Errorf("issue: the application is not active: %w", domain.ErrNotFound)
	}
	if policy.MaximumActiveTokens > 0 && !token.ID.IsOrdered() {
		return Grant{}, domain.NewInvalid("refreshTokenId", domain.Malformed,
			"this application limits a user's refresh tokens, and the oldest go by their ids: use a UUID of version 7, or leave it out")
	}
	if token, err = domain.NewRefreshToken(token, policy, now); err != nil {
		return Grant{}, err
	}
	if chosen && token.ID.IsStale(now, u.PurgeAfter) {
		token, err = u.again(ctx, token)
	} else if err = u.Tokens.Insert(ctx, token); errors.Is(err, domain.ErrDuplicate) && chosen {
		token, err = u.again(ctx, token)
	}
	if err != nil {
		return Grant{}, fault("issue", err)
	}
	if policy.MaximumActiveTokens > 0 {
		scope := domain.Scope{TenantID: in.TenantID, ApplicationID: in.ApplicationID, UserID: in.UserID}
		err := u.Revocations.KeepNewest(ctx, scope, int(policy.MaximumActiveTokens),
			port.Revocation{At: now, Reason: domain.RevokedByLimit})
		if err != nil {
			return Grant{}, fault("issue: keep the newest", err)
		}
	}
	return u.Minter.grant(ctx, token, policy, token.IssuedAt, now, 0)
}

// again finds what an earlier call of the same content issued, as it was issued.
func (u *Issue) again(ctx context.Context, wanted domain.RefreshToken) (domain.RefreshToken, error) {
	stored, err := u.Tokens.Snapshot(ctx, wanted.ID)
	if errors.Is(err, domain.ErrNotFound) {
		return domain.RefreshToken{}, domain.NewInvalid("refreshTokenId", domain.Malformed,
			"this id was made so long ago that its refresh token may have been deleted since: make a new UUID of version 7")
	}
	if err != nil {
		return domain.RefreshToken{}, err
	}
	if !stored.Alive(wanted.IssuedAt) || !stored.Token.SameIssue(wanted) {
		return domain.RefreshToken{}, domain.NewInvalid("refreshTokenId", domain.Duplicate,
			"this id belongs to another refresh token, or to an earlier one: choose a new UUID")
	}
	first := stored.Token
	first.Generation, first.RotatedAt = 1, first.IssuedAt
	return first, nil
}
