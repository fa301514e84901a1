package usecase

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Exchange trades a token string for an access token.
type Exchange struct {
	Tokens port.RefreshTokens
	// Applications is for requests of an audience. It may be nil if there are none.
	Applications port.Applications
	Minter       Minter
	Clock        Clock
	// Restored is true if the store was restored from a backup: see [domain.Call.Restored].
	Restored bool
}

// The errors of a request that asks for more than it may get. Both are an *domain.Invalid. Nothing was written, and the
// token string is as good as before.
var (
	// ErrTarget: the audience is none of the application's.
	ErrTarget error = domain.NewInvalid("resource", domain.Forbidden,
		"this is none of the audiences of the application: add it there, or omit it")
	// ErrScope: a scope was not granted to the session.
	ErrScope error = domain.NewInvalid("scope", domain.Forbidden,
		"the session has not all of these scopes: ask for fewer, or omit this for all that it has")
)

// The errors of an actor token that does not name a party that may act for the user (RFC 8693, section 2.2.2). Each is
// an *domain.Invalid. Nothing was written, and the token string is as good as before.
var (
	errActor = domain.NewInvalid("actor_token", domain.Malformed,
		"this is no active access token that was issued to this client or is for it: get another one")
	errActorKey = domain.NewInvalid("actor_token", domain.Unproved,
		"this access token is bound to a key: send a proof of that key")
	errActors = domain.NewInvalid("actor_token", domain.TooMany,
		"too many parties act for one another: use an access token with fewer")
)

// ExchangeInput is the input of [Exchange.Do].
type ExchangeInput struct {
	// TokenString is the token string that the client sent. If it is not zero, Ambient is ignored.
	TokenString domain.Secret
	// Ambient holds the token strings of cookies. Of those that are genuine the highest generation of each session
	// counts, and of several sessions the one that [domain.Choose] chooses.
	Ambient []domain.Secret
	// AccessToken is the old access token, if the client sends it. If it verifies and belongs to another session, the
	// exchange is refused. Otherwise it is ignored.
	AccessToken domain.Secret
	// AccessTokenTTL asks for a shorter lifetime than the policy's; 0 for the policy's.
	AccessTokenTTL time.Duration
	TenantID       string // that the request names; empty for none
	ApplicationID  string // that the request names as its client; empty for none
	Authenticated  bool   // the request has an API key with the permission, valid for TenantID
	// Possession is what the caller proved. Next replaces Key before the exchange, if the refresh token is bound to Key
	// and would be exchanged. A repeat of the request finds it replaced, and is exchanged as well.
	Possession    domain.Possession
	ClientAddress string
	RequestID     string
	// Audience asks for an access token for one of the audiences of the application that ApplicationID names; empty for
	// the application itself. See [domain.Client.Audience].
	Audience string
	// OnlyTarget refuses an Audience that an application without audiences would ignore. See [domain.Client.Target].
	OnlyTarget bool
	// ActorToken is an access token whose user acts for the user of the session; zero for none. It must be active, and
	// for the application that ApplicationID names, or issued to it: no other holder of an access token can pretend that
	// its user acts here. If it is bound to a key, that key is Possession.Key.
	ActorToken domain.Secret
	// Narrow is set if the request names the scopes of the access token, which are then Scopes. See [domain.Narrow].
	Narrow bool
	Scopes []string
	// Authenticate, if set, authenticates the client of the request, and determines ApplicationID and Authenticated. It
	// is called once the token string is genuine and Limit has admitted it. Do returns its error unchanged; nothing was
	// decided then.
	Authenticate func(context.Context) (ClientAuth, error)
	// Prove, if set, returns Possession, with the error of a proof that is refused. It is called after Limit and
	// Authenticate, so that only a genuine token string costs the verification of a proof, and only one that may be
	// exchanged uses the proof up. Do returns its error unchanged; nothing was decided then.
	Prove func(context.Context) (domain.Possession, error)
	// Limit, if set, is called before the store, and only if the token string is genuine. authenticated is
	// Authenticated. Do returns its error unchanged; nothing was decided then.
	Limit func(t domain.PresentedToken, authenticated bool) error
	// LimitRead, if set, is called before each of several sessions is read to choose one. Limit follows for that one.
	LimitRead func(t domain.PresentedToken) error
}

// Exchanged is the result of an exchange. If it was refused, Grant holds only the record, if one was read, and its
// policy.
type Exchanged struct {
	Grant
	Outcome domain.Outcome
	// Why is set for some refusals: domain.ErrAuthenticationRequired, ErrProofRequired, ErrAhead, ErrLifetimeTooLong.
	Why error
	// Presented is the generation of the token string, if a record was read.
	Presented uint32
	// AddressChanged reports a retry with the previous token string from another client address than that of the
	// rotation.
	AddressChanged bool
	// Restored reports a rotation to the successor of a later generation than the stored one.
	Restored bool
	// Deletable reports that the client need not keep any token string that it sent: each was exchanged, belongs to the
	// same session, is not genuine, or is unknown, expired, revoked or replayed. A token string must be kept if it
	// belongs to another tenant or to an inactive application, or lacked a proof; so must a value in Ambient that may
	// belong to another product.
	Deletable bool
}

// exchangeAttempts is the number of attempts of an exchange whose record changes between the read and the write.
const exchangeAttempts = 5

// Do exchanges a token string. When it has returned, its decision is durable. ErrSeveralSessions and ErrTooManySessions
// mean that it could not choose and changed nothing. After any other error the client should send the same string
// again: either nothing was decided, or the retry gets the response to what was decided.
func (x *Exchange) Do(ctx context.Context, in ExchangeInput) (Exchanged, error) {
	if !in.TokenString.IsZero() {
		presented, genuine, err := x.Minter.Keys.present(ctx, in.TokenString)
		if err != nil || !genuine {
			return Exchanged{Outcome: domain.RefusedInvalid, Deletable: true}, err
		}
		return x.exchange(ctx, presented, in)
	}
	c, err := x.Minter.Keys.choose(ctx, x.Tokens, in.Ambient, in.TenantID, x.Clock.Now(), in.LimitRead)
	if err != nil {
		return Exchanged{}, err
	}
	if !c.found {
		ended := c.choice.Ended
		return Exchanged{
			Grant:   Grant{RefreshToken: ended.Snapshot.Token, Policy: ended.Snapshot.Policy},
			Outcome: c.choice.Outcome, Presented: ended.Presented.Generation, Deletable: c.deletable,
		}, nil
	}
	out, err := x.exchange(ctx, c.presented, in)
	out.Deletable = out.Deletable && c.deletable
	return out, err
}

// exchange exchanges a genuine token string.
func (x *Exchange) exchange(ctx context.Context, presented domain.PresentedToken, in ExchangeInput) (Exchanged, error) {
	if in.Limit != nil {
		if err := in.Limit(presented, in.Authenticated); err != nil {
			return Exchanged{}, err
		}
	}
	fits, err := x.fits(ctx, presented, in.AccessToken)
	if err != nil || !fits || in.TenantID != "" && !domain.IsTenantID(in.TenantID) {
		return Exchanged{Outcome: domain.RefusedInvalid}, err
	}
	var client ClientAuth
	if in.Authenticate != nil {
		if client, err = in.Authenticate(ctx); err != nil {
			return Exchanged{}, err
		}
		in.ApplicationID, in.Authenticated = client.Application.ID, client.Authenticated
	}
	if in.ApplicationID != "" && !domain.IsApplicationID(in.ApplicationID) {
		return Exchanged{Outcome: domain.RefusedInvalid}, nil
	}
	if in.Prove != nil {
		if in.Possession, err = in.Prove(ctx); err != nil {
			return Exchanged{}, err
		}
	}
	call := domain.Call{
		Generation: presented.Generation, Now: x.Clock.Now(), TenantID: in.TenantID, ApplicationID: in.ApplicationID,
		Authenticated: in.Authenticated, Binding: in.Possession.Key, AccessTokenTTL: in.AccessTokenTTL,
		ClientAddress: in.ClientAddress, Restored: x.Restored,
	}
	var access accessRequest
	if in.Audience != "" || in.Narrow || !in.ActorToken.IsZero() {
		if access, err = x.access(ctx, presented.ID, client, call, in); err != nil {
			return Exchanged{}, err
		}
	}
	if in.Possession.Next != "" {
		if call.Binding, err = x.roll(ctx, presented.ID, call, in.Possession.Next, in.RequestID); err != nil {
			return Exchanged{}, err
		}
	}
	access.confirmation, access.lifetime = call.Binding, call.AccessTokenTTL
	// Nearly every exchange ends here, after one statement.
	token, policy, err := x.Tokens.Advance(ctx, presented.ID, call)
	for attempt := 0; errors.Is(err, domain.ErrConflict); attempt++ {
		if attempt == exchangeAttempts {
			return Exchanged{}, fmt.Errorf("exchange: %w", domain.ErrBusy)
		}
		var snapshot domain.Snapshot
		snapshot, err = x.Tokens.Snapshot(ctx, presented.ID)
		if errors.Is(err, domain.ErrNotFound) {
			return Exchanged{Outcome: domain.RefusedInvalid, Deletable: true}, nil
		}
		if err != nil {
			break
		}
		decision := snapshot.Decide(call)
		switch {
		case decision.Outcome == domain.Rotated && call.Generation == snapshot.Token.Generation:
			token, policy, err = x.Tokens.Advance(ctx, presented.ID, call)
			continue
		case decision.Write:
			err = x.write(ctx, snapshot.Token, decision, call, in.RequestID)
		}
		if err == nil {
			out, err := x.answer(ctx, decision, snapshot.Policy, call, access)
			out.Restored = decision.Outcome == domain.Rotated
			return out, err
		}
	}
	if err != nil {
		return Exchanged{}, Wrap("exchange", err)
	}
	return x.answer(ctx, domain.Decision{Outcome: domain.Rotated, After: token, AnsweredAt: token.RotatedAt},
		policy, call, access)
}

// access returns the access token that a request asks for. It returns ErrTarget for an audience that is none of the
// application's, ErrScope for scopes that were not granted, and an *domain.Invalid for an actor token. Scopes and size
// of a session that cannot be exchanged are not checked, so that a replay is detected.
func (x *Exchange) access(
	ctx context.Context, id domain.ID, client ClientAuth, call domain.Call, in ExchangeInput,
) (accessRequest, error) {
	access := accessRequest{narrow: in.Narrow, scopes: in.Scopes}
	if in.Audience != "" {
		app, err := client.Application, error(nil)
		if !client.Read {
			app, err = x.Applications.Application(ctx, in.TenantID, in.ApplicationID)
		}
		target := app.Client.Audience
		if in.OnlyTarget {
			target = app.Client.Target
		}
		audience, ok := target(in.ApplicationID, in.Audience)
		switch {
		case errors.Is(err, domain.ErrNotFound): // no session is this application's, so the exchange is refused
		case err != nil:
			return access, Wrap("exchange: read the application", err)
		case !ok:
			return access, ErrTarget
		}
		access.audience = audience
	}
	var err error
	if access.actors, err = x.actors(ctx, call, in.ActorToken); err != nil {
		return access, err
	}
	if in.Narrow || len(access.actors) > 0 {
		snapshot, err := x.Tokens.Snapshot(ctx, id)
		switch {
		case errors.Is(err, domain.ErrNotFound):
			return access, nil
		case err != nil:
			return access, Wrap("exchange: read the scopes", err)
		case snapshot.Decide(call).Outcome.Refused():
			return access, nil
		}
		return access, access.fits(snapshot.Token, snapshot.Policy, x.Minter.PublicURL)
	}
	return access, nil
}

// fits returns ErrScope if t does not have the scopes of the request, and an *domain.Invalid if its actors would make
// the access token too large: when t was issued, it had none.
func (a accessRequest) fits(t domain.RefreshToken, p domain.Policy, publicURL string) error {
	if a.narrow {
		granted := false
		if t.Scopes, granted = domain.Narrow(t.Scopes, a.scopes); !granted {
			return ErrScope
		}
	}
	if len(a.actors) == 0 {
		return nil
	}
	return domain.CheckAccessTokenSize(t, p, domain.Issuer(publicURL, t.TenantID, p.Issuer), a.actors...)
}

// actors returns the user of an actor token, and those that act for that user; none if there is no such token.
func (x *Exchange) actors(
	ctx context.Context, call domain.Call, actorToken domain.Secret,
) ([]domain.TokenActor, error) {
	if actorToken.IsZero() {
		return nil, nil
	}
	t, active, err := x.Minter.Keys.active(ctx, x.Tokens, IntrospectInput{
		TenantID: call.TenantID, ApplicationID: call.ApplicationID, Token: actorToken,
	}, call.Now)
	switch {
	case err != nil:
		return nil, err
	case !active:
		return nil, errActor
	case t.Confirmation != "" && t.Confirmation != call.Binding:
		return nil, errActorKey
	}
	actors, ok := t.AsActor()
	if !ok {
		return nil, errActors
	}
	return actors, nil
}

// write stores the decision d on before.
func (x *Exchange) write(
	ctx context.Context, before domain.RefreshToken, d domain.Decision, c domain.Call, requestID string,
) error {
	if d.Event == "" {
		return x.Tokens.Use(ctx, before, d.After, c.Now)
	}
	event, err := domain.ExchangeEvent(d, before, c, requestID, x.Minter.Keys.Random)
	if err != nil {
		return err
	}
	return x.Tokens.Swap(ctx, before, d.After, c.Now, event)
}

// fits reports whether an old access token, if there is one, belongs to the session of t. One that cannot be verified
// is ignored, also if its key could not be looked up.
func (x *Exchange) fits(ctx context.Context, t domain.PresentedToken, accessToken domain.Secret) (bool, error) {
	if accessToken.IsZero() {
		return true, nil
	}
	old, err := x.Minter.Keys.verify(ctx, accessToken.Reveal())
	if errors.Is(err, domain.ErrUnauthorized) || errors.Is(err, domain.ErrUnknownKey) {
		return true, nil
	}
	return err == nil && old.SessionID == t.ID.String(), err
}

// answer returns the result of an exchange that decided d, with its tokens unless it was refused.
func (x *Exchange) answer(
	ctx context.Context, d domain.Decision, p domain.Policy, c domain.Call, a accessRequest,
) (Exchanged, error) {
	out := Exchanged{
		Grant: Grant{RefreshToken: d.After, Policy: p}, Outcome: d.Outcome, Why: d.Why,
		AddressChanged: d.AddressChanged, Presented: c.Generation,
		Deletable: d.Outcome != domain.RefusedInvalid && d.Outcome != domain.RefusedInactive,
	}
	if d.Outcome.Refused() {
		return out, nil
	}
	var err error
	out.Grant, err = x.Minter.grant(ctx, d.After, p, d.AnsweredAt, c.Now, a)
	if errors.Is(err, errTokenKeyEnded) { // the janitor's next pass revokes the session
		return Exchanged{
			Grant: Grant{RefreshToken: d.After, Policy: p}, Outcome: domain.RefusedRevoked, Presented: c.Generation,
			Deletable: true,
		}, nil
	}
	return out, err
}
