package usecase

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Patch changes what the access tokens of active sessions say about their user, and the sessions' metadata. The next
// exchange carries it, a retry included. A patch is merged into what is stored when it is written, so of two that are
// applied concurrently neither is lost.
type Patch struct {
	Tokens    port.RefreshTokens
	Directory port.Directory
	PublicURL string // as the Minter's
	Clock     Clock
}

// PatchInput selects the active sessions of a user.
type PatchInput struct {
	TenantID      string
	UserID        *string
	ApplicationID *string // nil for every application
	Patch         domain.Patch
}

const (
	// patchAttempts is how often one of the sessions may turn out to have changed or ended before Patch gives up.
	patchAttempts = 5
	firstPause    = 5 * time.Millisecond // half of what the second attempt waits for at most; each later one twice as long
	// maxPatched is how many sessions one request changes.
	maxPatched = 1_000
	// maxPatchPages bounds what is read to find them, ended refresh tokens included: a thousand of the largest take
	// about ten pages of [pageBytes], which leaves 150 000 ended ones to look at.
	maxPatchPages = 40
	// maxNamed is how many of the sessions that cannot take a patch are named.
	maxNamed = 20
)

// One changes the session of that tenant and id, and returns it as changed. It returns an *domain.Invalid for a patch
// that cannot be, or that the session cannot take, and ErrNotFound for a session that is unknown, has ended or is
// another tenant's; nothing was written then.
func (u *Patch) One(ctx context.Context, tenantID, id string, p domain.Patch) (domain.RefreshToken, error) {
	if err := p.Validate(); err != nil {
		return domain.RefreshToken{}, err
	}
	parsed, ok := domain.ParseID(id)
	if !ok {
		return domain.RefreshToken{}, domain.ErrNotFound
	}
	changes, err := u.change(ctx, tenantID, p, func(now time.Time) ([]domain.Session, error) {
		s, err := u.Tokens.Find(ctx, tenantID, parsed)
		if err == nil && !s.Alive(now) {
			err = domain.ErrNotFound
		}
		return []domain.Session{s}, err
	})
	if err != nil {
		return domain.RefreshToken{}, err
	}
	return changes[0].After, nil
}

// OfUser changes every session that was active before it began, or none, and returns how many there are. A session that
// is issued meanwhile is left as its issue says. OfUser returns an *domain.Invalid for a patch that cannot be, for more
// than 1 000 sessions, and for a session that cannot take the patch, which it names.
func (u *Patch) OfUser(ctx context.Context, in PatchInput) (int, error) {
	var problems domain.Problems
	problems.Merge("", in.Patch.Validate())
	var s domain.Selector
	if in.UserID == nil {
		problems.Add("userId", domain.Blank, "name the user whose sessions to change")
	} else {
		var err error
		s, err = domain.ParseSelector(in.TenantID,
			domain.SelectorInput{UserID: in.UserID, ApplicationID: in.ApplicationID})
		problems.Merge("", err)
	}
	if err := problems.Err(); err != nil {
		return 0, err
	}
	changes, err := u.change(ctx, in.TenantID, in.Patch, func(now time.Time) ([]domain.Session, error) {
		return u.active(ctx, port.ListQuery{
			TenantID: in.TenantID, UserID: s.Scope.UserID, ApplicationID: s.Scope.ApplicationID,
			State: domain.ActiveSessions, MaxBytes: pageBytes, MaxRows: pageRows, Now: now,
		})
	})
	return len(changes), err
}

// change reads sessions, decides and writes, again if one of them was changed or ended meanwhile. It returns all
// changes, also those that differ in nothing and were not written.
func (u *Patch) change(
	ctx context.Context, tenantID string, p domain.Patch, read func(now time.Time) ([]domain.Session, error),
) ([]domain.Change, error) {
	for attempt := range patchAttempts {
		if err := pause(ctx, attempt); err != nil {
			return nil, fault("patch", err)
		}
		now := u.Clock.now()
		sessions, err := read(now)
		var changes, written []domain.Change
		if err == nil {
			changes, err = u.decide(ctx, sessions, p)
		}
		for _, c := range changes {
			if !c.After.SameContent(c.Before) {
				written = append(written, c)
			}
		}
		if err == nil && len(written) > 0 {
			err = u.Tokens.Change(ctx, tenantID, written, now)
		}
		if err == nil {
			return changes, nil
		}
		if !errors.Is(err, domain.ErrConflict) {
			return nil, fault("patch", err)
		}
	}
	return nil, fmt.Errorf("patch: %w", domain.ErrBusy)
}

// pause waits before a further attempt, for a random time: two callers that change the same sessions in a loop would
// otherwise meet again at each attempt.
func pause(ctx context.Context, attempt int) error {
	if attempt == 0 {
		return nil
	}
	timer := time.NewTimer(rand.N(firstPause << attempt))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// active reads all sessions that q selects.
func (u *Patch) active(ctx context.Context, q port.ListQuery) (found []domain.Session, err error) {
	for range maxPatchPages {
		q.Limit = maxPatched + 1 - len(found)
		page, err := u.Tokens.List(ctx, q)
		if err != nil {
			return nil, err
		}
		found = append(found, page.Sessions...)
		if len(found) > maxPatched {
			return nil, domain.NewInvalid("userId", domain.TooMany, "this user has more than 1000 active sessions: "+
				"change them by application, or one by one")
		}
		if q.Below = page.Next; q.Below.IsZero() {
			return found, nil
		}
	}
	return nil, domain.NewInvalid("userId", domain.TooMany,
		"this user has too many refresh tokens to look at, ended ones included: change the sessions one by one")
}

// decide applies p to each session. ErrConflict means that an application was deleted meanwhile.
func (u *Patch) decide(ctx context.Context, sessions []domain.Session, p domain.Patch) ([]domain.Change, error) {
	policies := map[string]domain.Policy{}
	changes := make([]domain.Change, 0, len(sessions))
	var problems domain.Problems
	refused := 0
	for _, s := range sessions {
		t := s.Token
		policy, known := policies[t.ApplicationID]
		if !known {
			var err error
			policy, err = u.Directory.Policy(ctx, t.TenantID, t.ApplicationID)
			if errors.Is(err, domain.ErrNotFound) {
				err = domain.ErrConflict
			}
			if err != nil {
				return nil, err
			}
			policies[t.ApplicationID] = policy
		}
		after, err := t.Patched(p, policy, domain.Issuer(u.PublicURL, t.TenantID, policy.Issuer))
		if invalid := (*domain.Invalid)(nil); err != nil && !errors.As(err, &invalid) {
			return nil, err
		}
		problems.Merge("", err)
		if err != nil {
			if refused++; refused == maxNamed {
				break
			}
		}
		changes = append(changes, domain.Change{Before: t, After: after})
	}
	if err := problems.Err(); err != nil {
		return nil, err
	}
	return changes, nil
}
