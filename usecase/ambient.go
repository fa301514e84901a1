package usecase

import (
	"context"
	"errors"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Both are an *domain.Invalid. Nothing was done, and no cookie needs to be kept: when all are deleted, the next login
// ends the conflict.
var (
	// ErrSeveralSessions: the cookies hold token strings of two active sessions.
	ErrSeveralSessions error = domain.NewInvalid("refreshToken", domain.Conflict,
		"the cookies hold token strings of two active sessions, and were deleted: log in again")
	// ErrTooManySessions: the cookies hold token strings of more than [domain.MaxAmbientSessions] sessions, active or
	// not. The store was not asked.
	ErrTooManySessions error = domain.NewInvalid("refreshToken", domain.Conflict,
		"the cookies hold token strings of more than four sessions, and were deleted: log in again")
)

// chosen is the result of choosing among the token strings in cookies.
type chosen struct {
	// presented is the token string that counts, if found.
	presented domain.PresentedToken
	found     bool
	// choice is the reason that none of several counts, if not found.
	choice domain.Choice
	// deletable reports that the other cookies need not be kept.
	deletable bool
}

// parseAmbient parses the token strings in cookies. The error is ErrTooManySessions if they are of too many sessions.
func (k *Keys) parseAmbient(ctx context.Context, ambient []domain.Secret) (domain.Ambient, error) {
	var parsed domain.Ambient
	for _, s := range ambient {
		t, genuine, err := k.present(ctx, s)
		switch {
		case err != nil:
			return domain.Ambient{}, err
		case genuine:
			parsed.Add(t)
		case !domain.IsTokenStringForm(s.Reveal()):
			parsed.Foreign = true
		}
	}
	if len(parsed.Sessions) > domain.MaxAmbientSessions {
		return domain.Ambient{}, ErrTooManySessions
	}
	return parsed, nil
}

// choose returns the token string in cookies that counts. If all are of one session, as in nearly every request, it is
// the one of the highest generation, and the store is not asked. Otherwise each session is read, after limit, if it is
// set, has admitted it.
func (k *Keys) choose(
	ctx context.Context, tokens port.RefreshTokens, ambient []domain.Secret, tenantID string, now time.Time,
	limit func(domain.PresentedToken) error,
) (chosen, error) {
	parsed, err := k.parseAmbient(ctx, ambient)
	if err != nil {
		return chosen{}, err
	}
	switch len(parsed.Sessions) {
	case 0:
		return chosen{choice: domain.Choice{Outcome: domain.RefusedInvalid}, deletable: !parsed.Foreign}, nil
	case 1:
		return chosen{presented: parsed.Sessions[0], found: true, deletable: !parsed.Foreign}, nil
	}
	candidates := make([]domain.Candidate, len(parsed.Sessions))
	for i, t := range parsed.Sessions {
		if limit != nil {
			if err := limit(t); err != nil {
				return chosen{}, err
			}
		}
		s, err := tokens.Snapshot(ctx, t.ID)
		if err != nil && !errors.Is(err, domain.ErrNotFound) {
			return chosen{}, Wrap("choose a session", err)
		}
		candidates[i] = domain.Candidate{Presented: t, Known: err == nil, Snapshot: s}
	}
	out := chosen{choice: domain.Choose(candidates, tenantID, now)}
	out.deletable = !parsed.Foreign && !out.choice.Kept
	switch counting := out.choice.Counting; len(counting) {
	case 0:
	case 1:
		out.presented, out.found = counting[0].Presented, true
	default:
		return chosen{}, ErrSeveralSessions
	}
	return out, nil
}
