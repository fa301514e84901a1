package oauthapi

import (
	"slices"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase"
)

// The types of tokens (RFC 8693, section 3).
const (
	typeAccessToken  = "urn:ietf:params:oauth:token-type:access_token"
	typeRefreshToken = "urn:ietf:params:oauth:token-type:refresh_token"
)

// tokenExchange returns what a token exchange asks for (RFC 8693, section 2.1): an access token for one of the
// audiences of the application, from its refresh token, perhaps for an actor.
//
// It is a refresh in all other respects: the refresh token rotates, and the next one is in the response. A subject
// token of another type, such as an access token, is not accepted: the access token made of it would outlive it.
func (f tokenForm) tokenExchange() (in usecase.ExchangeInput, err error) {
	for _, check := range []func() error{f.checkSubject, f.checkActor} {
		if err := check(); err != nil {
			return in, err
		}
	}
	if f.RequestedTokenType != nil && *f.RequestedTokenType != typeAccessToken {
		return in, domain.NewInvalid("requested_token_type", domain.Malformed, "omit it, or send "+typeAccessToken)
	}
	in.TokenString, in.OnlyTarget = domain.NewSecret(*f.SubjectToken), true
	if f.ActorToken != nil {
		in.ActorToken = domain.NewSecret(*f.ActorToken)
	}
	in.Audience, err = oneAudience(slices.Concat(f.Resource, f.Audience))
	return in, err
}

func (f tokenForm) checkSubject() error {
	switch {
	case f.SubjectToken == nil:
		return domain.NewInvalid("subject_token", domain.Blank, "send the refresh token")
	case f.SubjectTokenType == nil:
		return domain.NewInvalid("subject_token_type", domain.Blank, "send "+typeRefreshToken)
	case *f.SubjectTokenType != typeRefreshToken:
		return domain.NewInvalid("subject_token_type", domain.Malformed,
			"only a refresh token can be exchanged: send it, and "+typeRefreshToken)
	}
	return nil
}

func (f tokenForm) checkActor() error {
	switch {
	case f.ActorToken == nil && f.ActorTokenType == nil:
		return nil
	case f.ActorToken == nil:
		return domain.NewInvalid("actor_token", domain.Blank, "send the access token of the actor, or omit actor_token_type")
	case f.ActorTokenType == nil:
		return domain.NewInvalid("actor_token_type", domain.Blank, "send "+typeAccessToken)
	case *f.ActorTokenType != typeAccessToken:
		return domain.NewInvalid("actor_token_type", domain.Malformed,
			"an actor is named by an access token only: send it, and "+typeAccessToken)
	case domain.IsTokenStringForm(*f.ActorToken):
		return domain.NewInvalid("actor_token", domain.Malformed,
			"this is a refresh token: send the access token of the actor")
	}
	return nil
}
