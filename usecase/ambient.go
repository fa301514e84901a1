package usecase

import (
	"context"
	"errors"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Both are an *domain.Invalid. Nothing was done, and no cookie needs to be kept: with all of them gone, the next login
// ends it.
var (
	// ErrSeveralSessions: the token strings in the cookies are of two active sessions.
	ErrSeveralSessions error = domain.NewInvalid("refreshToken", domain.Conflict,
		"the cookies hold token strings of two active sessions, and were deleted: log in again")
	// ErrTooManySessions: they are of more than [domain.MaxAmbientSessions], active or not. The store was not asked.
	ErrTooManySessions error = domain.NewInvalid("refreshToken", domain.Conflict,
		"the cookies hold token strings of more than four sessions, and were deleted: log in again")
)

// A chosen is what token strings in cookies come to.
type chosen struct {
	// presented counts, if there is one that does.
	presented domain.PresentedToken
	found     bool
	// choice says why none of several counts.
	choice domain.Choice
	// deletable reports that none of the others has to be kept.
	deletable bool
}

// cameWith returns what token strings in cookies are. The error is ErrTooManySessions if they are of too many.
func (k *Keys) cameWith(ctx context.Context, ambient []domain.Secret) (domain.Ambient, error) {
	var came domain.Ambient
	for _, s := range ambient {
		t, genuine, err := k.present(ctx, s)
		switch {
		case err != nil:
			return domain.Ambient{}, err
		case genuine:
			came.Add(t)
		case !domain.IsTokenStringForm(s.Reveal()):
			came.Foreign = true
		}
	}
	if len(came.Sessions) > domain.MaxAmbientSessions {
		return domain.Ambient{}, ErrTooManySessions
	}
	return came, nil
}

// choose finds the token string in cookies that counts. Of one session it is the string of the highest generation, and
// the store is not asked: nearly every request is so. Of several sessions each is read, once limit, if it is set, has
// admitted it.
func (k *Keys) choose(
	ctx context.Context, tokens port.RefreshTokens, ambient []domain.Secret, tenantID string, now time.Time,
	limit func(domain.PresentedToken) error,
) (chosen, error) {
	came, err := k.cameWith(ctx, ambient)
	if err != nil {
		return chosen{}, err
	}
	switch len(came.Sessions) {
	case 0:
		return chosen{choice: domain.Choice{Outcome: domain.RefusedInvalid}, deletable: !came.Foreign}, nil
	case 1:
		return chosen{presented: came.Sessions[0], found: true, deletable: !came.Foreign}, nil
	}
	candidates := make([]domain.Candidate, len(came.Sessions))
	for i, t := range came.Sessions {
		if limit != nil {
			if err := limit(t); err != nil {
				return chosen{}, err
			}
		}
		s, err := tokens.Snapshot(ctx, t.ID)
		if err != nil && !errors.Is(err, domain.ErrNotFound) {
			return chosen{}, wrap("choose a session", err)
		}
		candidates[i] = domain.Candidate{Presented: t, Known: err == nil, Snapshot: s}
	}
	out := chosen{choice: domain.Choose(candidates, tenantID, now)}
	out.deletable = !came.Foreign && !out.choice.Kept
	switch counting := out.choice.Counting; len(counting) {
	case 0:
	case 1:
		out.presented, out.found = counting[0].Presented, true
	default:
		return chosen{}, ErrSeveralSessions
	}
	return out, nil
}
