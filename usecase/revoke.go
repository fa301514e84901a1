package usecase

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Revoke revokes refresh tokens.
type Revoke struct {
	Revocations  port.Revocations
	Applications port.Applications
	Keys         *Keys
	Clock        Clock
}

// RevokeInput selects refresh tokens. Exactly one selector must be set, and complete.
type RevokeInput struct {
	TenantID    string
	TokenString *domain.Secret // any genuine one of any generation; nil if the request has none
	Selector    domain.SelectorInput
	By          domain.Origin
	// Owner is set if the request has an access token instead of an API key. It allows to revoke its own refresh token,
	// all of its own user, and all of these but its own.
	Owner *domain.AccessToken
	// InCookies is set if the owner has its tokens in cookies.
	InCookies bool
}

// Revoked is what was revoked: the selected refresh tokens that were issued before At.
type Revoked struct {
	Selector domain.Selector
	At       time.Time
	// Cookies is the policy with the names of the cookies to delete: those of an owner who has its tokens in cookies
	// and revoked its own session. It is nil if there are none.
	Cookies *domain.Policy
}

// Do revokes refresh tokens. When it has returned, no exchange of them that starts later succeeds. It returns an
// *domain.Invalid for a selector that is missing, incomplete or ambiguous; ErrNotFound for a refresh token or an
// application that does not exist; and ErrUnauthorized for an owner who selects anything but its own. Nothing was
// revoked then.
func (r *Revoke) Do(ctx context.Context, in RevokeInput) (Revoked, error) {
	selector, err := r.selector(ctx, in)
	if err != nil {
		return Revoked{}, err
	}
	if in.Owner != nil && !isOwn(*in.Owner, selector) {
		return Revoked{}, fmt.Errorf("the access token is valid for its own session and its own user only: %w",
			domain.ErrUnauthorized)
	}
	cookies, err := r.cookies(ctx, in, selector)
	if err != nil {
		return Revoked{}, err
	}
	at := r.Clock.Now()
	how := port.Revocation{At: at, Reason: domain.RevokedByRequest}
	event, err := domain.RevocationEvent(in.TenantID, selector, how.Reason, in.By, at, r.Keys.Random)
	if err != nil {
		return Revoked{}, Wrap("revoke", err)
	}
	if selector.IsToken() {
		err = r.Revocations.Revoke(ctx, in.TenantID, selector.TokenID, how, event)
	} else {
		_, err = r.Revocations.RevokeScope(ctx, selector.Scope, selector.Except, how, event)
	}
	if err != nil {
		return Revoked{}, Wrap("revoke", err)
	}
	return Revoked{Selector: selector, At: at, Cookies: cookies}, nil
}

func isOwn(owner domain.AccessToken, s domain.Selector) bool {
	if s.IsToken() {
		return s.TokenID.String() == owner.SessionID
	}
	return s.Scope == domain.Scope{TenantID: owner.TenantID, UserID: owner.Subject} &&
		(s.Except.IsZero() || s.Except.String() == owner.SessionID)
}

// cookies returns [Revoked].Cookies. It is called before the revocation, so that a failure leaves everything unchanged.
// If the application does not exist any more, the default policy names the cookies.
func (r *Revoke) cookies(ctx context.Context, in RevokeInput, s domain.Selector) (*domain.Policy, error) {
	// A revocation by an owner includes its own session, unless it excepts that.
	if in.Owner == nil || !in.InCookies || !s.Except.IsZero() {
		return nil, nil
	}
	p, err := r.Applications.Policy(ctx, in.Owner.TenantID, in.Owner.ApplicationID)
	if errors.Is(err, domain.ErrNotFound) {
		p, err = domain.DefaultPolicy(), nil
	}
	if err != nil {
		return nil, Wrap("revoke: read the policy", err)
	}
	return &p, nil
}

func (r *Revoke) selector(ctx context.Context, in RevokeInput) (domain.Selector, error) {
	if in.TokenString == nil {
		return domain.ParseSelector(in.TenantID, in.Selector)
	}
	if in.Selector != (domain.SelectorInput{}) {
		return domain.Selector{}, domain.NewInvalid("tokenString", domain.Conflict,
			"this cannot be combined with another selector: send only one of them")
	}
	if in.TokenString.IsZero() {
		return domain.Selector{}, domain.NewInvalid("tokenString", domain.Blank, "send the token string")
	}
	presented, genuine, err := r.Keys.present(ctx, *in.TokenString)
	if err != nil {
		return domain.Selector{}, err
	}
	if !genuine {
		return domain.Selector{}, domain.ErrNotFound
	}
	return domain.Selector{TokenID: presented.ID}, nil
}
