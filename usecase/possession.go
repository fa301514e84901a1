package usecase

import (
	"context"
	"errors"
	"fmt"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// revokeHeld revokes the session of which a client holds a token, if it is active; otherwise it returns ErrNotFound. It
// requires no other credential, because the holder of a token string can end its session in any case, by exchanging an
// old one. When it has returned, no exchange of the session that starts later succeeds.
func revokeHeld(
	ctx context.Context, to port.Revocations, k *Keys, tenantID string, id domain.ID, at Clock, by domain.Origin,
) error {
	how := port.Revocation{At: at.Now(), Reason: domain.RevokedByRequest}
	event, err := domain.RevocationEvent(tenantID, domain.Selector{TokenID: id}, how.Reason, by, how.At, k.Random)
	if err != nil {
		return err
	}
	return to.Revoke(ctx, tenantID, id, how, event)
}

// ErrTokenType is an *domain.Invalid: the token is one that its client cannot revoke.
var ErrTokenType error = domain.NewInvalid("token", domain.Malformed,
	"this access token is for another audience or for an actor: send the refresh token")

// RevokeHeld revokes the session of a token, for a client that holds the token (RFC 7009).
type RevokeHeld struct {
	Revocations  port.Revocations
	Tokens       port.RefreshTokens
	Applications port.Applications
	Keys         *Keys
	Clock        Clock
}

// RevokeHeldInput is the input of [RevokeHeld.Do].
type RevokeHeldInput struct {
	TenantID string
	Token    domain.Secret // a token string of any generation, or an access token
	// Limit is called before the store, if Token is a genuine token string, and NotGenuine, if Token is none of this
	// service. Do returns their errors unchanged.
	Limit      func(domain.PresentedToken) error
	NotGenuine func() error
	// Authenticate returns the client. It is called after these two. Do returns its error unchanged.
	Authenticate func(context.Context) (ClientAuth, error)
	By           domain.Origin
}

// Do revokes the session of a token if it is the client's own, and returns its id; zero if nothing was revoked. A token
// that is not genuine, or of another client, or of a session that has ended, is no error (RFC 7009, section 2.2). The
// errors are ErrUnauthorized for a client that does not exist, or must authenticate and did not; and ErrTokenType.
// Nothing was revoked then.
//
// An access token ends its session too (section 2.1): without its refresh token the session would continue, and the
// client means to end it. One for another audience does not, so that no resource server can end the sessions of its
// users.
func (r *RevokeHeld) Do(ctx context.Context, in RevokeHeldInput) (domain.ID, error) {
	id, wrongType, err := r.session(ctx, in)
	if err != nil {
		return domain.ID{}, err
	}
	client, err := in.Authenticate(ctx)
	if err != nil {
		return domain.ID{}, err
	}
	if err := r.known(ctx, in.TenantID, client); err != nil {
		return domain.ID{}, err
	}
	switch {
	case wrongType:
		return domain.ID{}, ErrTokenType
	case id.IsZero():
		return domain.ID{}, nil
	}
	s, err := r.Tokens.Find(ctx, in.TenantID, id)
	if err == nil && s.Token.ApplicationID == client.Application.ID {
		err = revokeHeld(ctx, r.Revocations, r.Keys, in.TenantID, id, r.Clock, in.By)
		if err == nil {
			return id, nil
		}
	}
	if err != nil && !errors.Is(err, domain.ErrNotFound) {
		return domain.ID{}, Wrap("revoke", err)
	}
	return domain.ID{}, nil
}

// session returns the session of a genuine token; zero if there is none that could be revoked. wrongType reports an
// access token of another type than the client may revoke.
func (r *RevokeHeld) session(ctx context.Context, in RevokeHeldInput) (id domain.ID, wrongType bool, err error) {
	presented, genuine, err := r.Keys.present(ctx, in.Token)
	switch {
	case err != nil:
		return id, false, err
	case genuine:
		return presented.ID, false, in.Limit(presented)
	case domain.IsTokenStringForm(in.Token.Reveal()):
		return id, false, in.NotGenuine()
	}
	t, err := r.Keys.verify(ctx, in.Token.Reveal())
	switch {
	case errors.Is(err, domain.ErrUnauthorized):
		return id, false, in.NotGenuine()
	case err != nil:
		return id, false, err
	case t.TenantID != in.TenantID || !r.Clock.Now().Before(t.ExpiresAt):
		return id, false, nil
	case t.Audience != t.ApplicationID || len(t.Actors) > 0:
		return id, true, nil
	}
	id, _ = domain.ParseID(t.SessionID)
	return id, false, nil
}

// known returns an ErrUnauthorized if the client does not exist, or must authenticate and did not.
func (r *RevokeHeld) known(ctx context.Context, tenantID string, c ClientAuth) error {
	if c.Authenticated {
		return nil
	}
	app, err := findClient(ctx, r.Applications, tenantID, c.Application.ID)
	if err == nil && app.Client.Confidential() {
		err = fmt.Errorf("the client must authenticate, and did not: %w", domain.ErrUnauthorized)
	}
	return err
}
