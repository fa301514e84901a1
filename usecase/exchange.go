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
	Minter Minter
	Clock  Clock
	// Restored is domain.Call.Restored of every exchange: an operator has said that the store was restored from a backup.
	Restored bool
}

// ExchangeInput is what a client presents.
type ExchangeInput struct {
	// TokenString is the one that the client sent, and counts alone; zero if it left that to what follows.
	TokenString domain.Secret
	// Ambient are token strings that came along by themselves, as cookies do. Of those that are genuine the highest
	// generation of each session counts, and of several sessions the one that counts by [domain.Choose].
	Ambient []domain.Secret
	// AccessToken is the old one, where the client sends it. If it verifies and belongs to another session, the exchange is
	// refused; else it does not matter.
	AccessToken domain.Secret
	// AccessTokenTTL asks for a shorter life than the policy's; 0 for the policy's.
	AccessTokenTTL time.Duration
	TenantID       string // that the call names; empty for none
	Authenticated  bool   // an API key with the permission came along, and serves TenantID
	Binding        string // what the caller proved; empty for nothing
	ClientAddress  string
	RequestID      string
	// Limit, if set, is called before the store is, and only if the token string is genuine. Its error is Do's as it
	// is: nothing was decided. authenticated is Authenticated.
	Limit func(t domain.PresentedToken, authenticated bool) error
	// LimitRead, if set, is Limit for each of several sessions that is read to choose one; Limit follows for that one.
	LimitRead func(t domain.PresentedToken) error
}

// Exchanged is how an exchange ended. Grant is empty if it was refused, but for the record, where one was read, and its policy.
type Exchanged struct {
	Grant
	Outcome domain.Outcome
	// Why is set for some refusals: domain.ErrAuthenticationRequired, ErrProofRequired, ErrAhead, ErrLifetimeTooLong.
	Why error
	// Presented is the generation of the token string, where a record was read.
	Presented uint32
	// AddressChanged reports a retry with the string before the current one, from another client address than the
	// rotation's.
	AddressChanged bool
	// Restored reports a rotation to the successor of a later generation than was stored.
	Restored bool
	// Deletable reports that no string that was sent has to be kept: each is exchanged, of the same session, not genuine,
	// unknown, expired, revoked or replayed. Those must be kept that are another tenant's, lacked a proof, or are of an
	// inactive application; and those in Ambient that may be another product's.
	Deletable bool
}

// exchangeAttempts is how often what was read may turn out to have changed before the exchange gives up.
const exchangeAttempts = 5

// Do exchanges. Whatever it answers, what it decided is durable by then. ErrSeveralSessions and ErrTooManySessions mean
// that it could not choose and changed nothing; any other error that the client should send the same string again:
// nothing was decided, or it was and the retry is answered with it.
func (x *Exchange) Do(ctx context.Context, in ExchangeInput) (Exchanged, error) {
	if !in.TokenString.IsZero() {
		presented, genuine, err := x.Minter.Keys.present(ctx, in.TokenString)
		if err != nil || !genuine {
			return Exchanged{Outcome: domain.RefusedInvalid, Deletable: true}, err
		}
		return x.exchange(ctx, presented, in)
	}
	c, err := x.Minter.Keys.choose(ctx, x.Tokens, in.Ambient, in.TenantID, x.Clock.now(), in.LimitRead)
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
	call := domain.Call{
		Generation: presented.Generation, Now: x.Clock.now(), TenantID: in.TenantID, Authenticated: in.Authenticated,
		Binding: in.Binding, AccessTokenTTL: in.AccessTokenTTL, ClientAddress: in.ClientAddress, Restored: x.Restored,
	}
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
			out, err := x.answer(ctx, decision, snapshot.Policy, call)
			out.Restored = decision.Outcome == domain.Rotated
			return out, err
		}
	}
	if err != nil {
		return Exchanged{}, wrap("exchange", err)
	}
	return x.answer(ctx, domain.Decision{Outcome: domain.Rotated, After: token, AnsweredAt: token.RotatedAt}, policy, call)
}

// write stores what was decided on before.
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

// fits reports whether an old access token, if there is one, is of the same session. One that cannot be verified is
// ignored, also if its key could not be looked up.
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

func (x *Exchange) answer(ctx context.Context, d domain.Decision, p domain.Policy, c domain.Call) (Exchanged, error) {
	out := Exchanged{
		Grant: Grant{RefreshToken: d.After, Policy: p}, Outcome: d.Outcome, Why: d.Why, AddressChanged: d.AddressChanged,
		Presented: c.Generation, Deletable: d.Outcome != domain.RefusedInvalid && d.Outcome != domain.RefusedInactive,
	}
	if d.Outcome.Refused() {
		return out, nil
	}
	var err error
	out.Grant, err = x.Minter.grant(ctx, d.After, p, d.AnsweredAt, c.Now, c.AccessTokenTTL)
	return out, err
}
