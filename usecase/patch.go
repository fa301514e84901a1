package usecase

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// Patch changes the claims about the user in the access tokens of active sessions, and the sessions' metadata. The next
// exchange returns them, a retry included. A patch is merged into the stored values when it is written, so of two that
// are applied concurrently neither is lost.
//
// Within a process the patches of one user are applied one after another: of two that read concurrently one would have
// to read again. A patch that reads more than [smallBytes] is a large one. largePatches of these are applied
// concurrently, one for each tenant, first in, first out. So a tenant waits for at most one patch of each other tenant.
// A patch that waits holds nothing that it read.
type Patch struct {
	Tokens       port.RefreshTokens
	Applications port.Applications
	PublicURL    string // as in [Minter]
	Clock        Clock
	Random       io.Reader

	turns patchTurns
}

// PatchInput selects the active sessions of a user.
type PatchInput struct {
	TenantID      string
	UserID        *string
	ApplicationID *string // nil for every application
	Patch         domain.Patch
	By            domain.Origin
}

const (
	// patchAttempts is the number of attempts if one of the sessions has changed or ended since it was read. Patches of
	// this process wait for each other, so another process, an end or a revocation changed it.
	patchAttempts = 10
	firstPause    = 10 * time.Millisecond // longest pause before the second attempt; doubles with each attempt
	longestPause  = 160 * time.Millisecond
	// maxPatched is the number of sessions that one request may change. The limits of a refresh token bound their size:
	// claims, roles and scopes fit into an access token of 8 KiB, and metadata into 4 KiB.
	maxPatched = 1_000
	// maxPatchPages bounds the pages that are read to find them, ended refresh tokens included: a thousand of the
	// largest take about twelve pages of [maxPageBytes], which leaves 140 000 ended ones to read.
	maxPatchPages = 40
	// smallBytes bounds what each of any number of concurrent requests holds: a quarter of a page.
	smallBytes = maxPageBytes / 4
	// largePatches is the number of patches that read more and are applied concurrently.
	largePatches = 2
	// maxNamed is the number of sessions that an error names as unable to take the patch.
	maxNamed = 20
)

// One changes the session of that tenant and id, and returns it as changed. It returns an *domain.Invalid for a patch
// that is not valid, or that the session cannot take, and ErrNotFound for a session that is unknown, has ended or
// belongs to another tenant. Nothing was written then.
func (u *Patch) One(
	ctx context.Context, tenantID, id string, p domain.Patch, by domain.Origin,
) (domain.RefreshToken, error) {
	if err := p.Validate(); err != nil {
		return domain.RefreshToken{}, err
	}
	parsed, ok := domain.ParseID(id)
	if !ok {
		return domain.RefreshToken{}, domain.ErrNotFound
	}
	read := func(now time.Time) (domain.RefreshToken, error) {
		s, err := u.Tokens.Find(ctx, tenantID, parsed)
		if err == nil && !s.Alive(now) {
			err = domain.ErrNotFound
		}
		return s.Token, err
	}
	t, err := read(u.Clock.Now()) // to learn its user
	if err != nil {
		return domain.RefreshToken{}, Wrap("patch", err)
	}
	release, err := u.turns.acquire(ctx, patchTurn{tenantID, t.UserID}, 1)
	if err != nil {
		return domain.RefreshToken{}, err
	}
	defer release()
	var after domain.RefreshToken
	err = attempts(ctx, func() error {
		now := u.Clock.Now()
		t, err := read(now)
		if err != nil {
			return err
		}
		d := u.decider(p)
		after, err = d.decide(ctx, t)
		if err != nil {
			return err
		}
		s := domain.Scope{TenantID: tenantID, ApplicationID: t.ApplicationID, UserID: t.UserID}
		return u.write(ctx, s, t.ID, d, by, now)
	})
	if err != nil {
		return domain.RefreshToken{}, err
	}
	return after, nil
}

// OfUser changes every session that was active before it began, or none, and returns their number. A session that is
// issued meanwhile keeps the values of its issue. OfUser returns an *domain.Invalid for a patch that is not valid, for
// more than 1 000 sessions, and for a session that cannot take the patch, which it names. It returns ErrNotFound for an
// application that is unknown.
func (u *Patch) OfUser(ctx context.Context, in PatchInput) (int, error) {
	var problems domain.Problems
	problems.Merge("", in.Patch.Validate())
	var s domain.Selector
	if in.UserID == nil {
		problems.Add("userId", domain.Blank, "send the id of the user whose sessions are to be changed")
	} else {
		var err error
		s, err = domain.ParseSelector(in.TenantID,
			domain.SelectorInput{UserID: in.UserID, ApplicationID: in.ApplicationID})
		problems.Merge("", err)
	}
	if err := problems.Err(); err != nil {
		return 0, err
	}
	q := port.ListQuery{
		TenantID: in.TenantID, UserID: s.Scope.UserID, ApplicationID: s.Scope.ApplicationID,
		State: domain.ActiveSessions, MaxRows: maxPageRows,
	}
	release, err := u.turns.acquire(ctx, patchTurn{q.TenantID, q.UserID}, 1)
	if err != nil {
		return 0, err
	}
	defer release()
	q.MaxBytes = smallBytes
	n, err := u.ofUser(ctx, q, 1, in)
	if !errors.Is(err, errLarge) {
		return n, err
	}
	for _, turn := range []struct {
		of     patchTurn
		places int
	}{{patchTurn{tenantID: q.TenantID}, 1}, {patchTurn{}, largePatches}} {
		release, err := u.turns.acquire(ctx, turn.of, turn.places)
		if err != nil {
			return 0, err
		}
		defer release()
	}
	q.MaxBytes = maxPageBytes
	n, err = u.ofUser(ctx, q, maxPatchPages, in)
	if errors.Is(err, errLarge) {
		return 0, domain.NewInvalid("userId", domain.TooMany, "this user has too many ended refresh tokens to read, "+
			"which are deleted some time after their end: change the sessions one by one, or wait")
	}
	return n, err
}

// errLarge reports that there are more pages than allowed.
var errLarge = errors.New("more pages")

// ofUser changes the sessions that q selects. If they need more than that many pages, the error is errLarge. It decides
// page by page, and keeps only the changes to write.
func (u *Patch) ofUser(ctx context.Context, q port.ListQuery, pages int, in PatchInput) (n int, err error) {
	err = attempts(ctx, func() error {
		q := q
		q.Now, n = u.Clock.Now(), 0
		d := u.decider(in.Patch)
		if q.ApplicationID != "" {
			if _, err := d.policy(ctx, q.TenantID, q.ApplicationID); err != nil {
				return err
			}
		}
		for page := 1; ; page++ {
			q.Limit = maxPatched + 1 - n
			found, err := u.Tokens.List(ctx, q)
			if err != nil {
				return err
			}
			if n += len(found.Sessions); n > maxPatched {
				return domain.NewInvalid("userId", domain.TooMany, "this user has more than 1000 active sessions: "+
					"change them by application, or one by one")
			}
			if q.Below = found.Next; page == pages && !q.Below.IsZero() {
				return errLarge
			}
			for _, s := range found.Sessions {
				if _, err := d.decide(ctx, s.Token); err != nil {
					return err
				}
			}
			if q.Below.IsZero() {
				s := domain.Scope{TenantID: q.TenantID, ApplicationID: q.ApplicationID, UserID: q.UserID}
				return u.write(ctx, s, domain.ID{}, d, in.By, q.Now)
			}
		}
	})
	return n, err
}

// write stores the changes that d decided, of the sessions of a scope or of one.
func (u *Patch) write(
	ctx context.Context, s domain.Scope, one domain.ID, d *decider, by domain.Origin, now time.Time,
) error {
	if err := d.problems.Err(); err != nil {
		return err
	}
	if len(d.changes) == 0 {
		return nil
	}
	event, err := domain.ChangeEvent(d.changes, one, s, by, now, u.Random)
	if err != nil {
		return err
	}
	return u.Tokens.Change(ctx, s.TenantID, d.changes, now, event)
}

// attempts calls f, which reads, decides and writes, again if one of the sessions was changed or ended meanwhile.
func attempts(ctx context.Context, f func() error) error {
	for attempt := range patchAttempts {
		if err := pause(ctx, attempt); err != nil {
			return fmt.Errorf("patch: wait for another attempt: %w: %w", domain.ErrBusy, err)
		}
		switch err := f(); {
		case err == nil || errors.Is(err, errLarge):
			return err
		case !errors.Is(err, domain.ErrConflict):
			return Wrap("patch", err)
		}
	}
	return fmt.Errorf("patch: %w", domain.ErrBusy)
}

// pause waits for a random time before a further attempt. Otherwise two callers that change the same sessions in a loop
// would collide at each attempt.
func pause(ctx context.Context, attempt int) error {
	if attempt == 0 {
		return nil
	}
	timer := time.NewTimer(rand.N(min(firstPause<<(attempt-1), longestPause)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// decider applies a patch to one session after another.
type decider struct {
	*Patch
	patch    domain.Patch
	policies map[string]domain.Policy // by application
	changes  []domain.Change          // without those that change nothing
	problems domain.Problems
	refused  int
}

func (u *Patch) decider(p domain.Patch) *decider {
	return &decider{Patch: u, patch: p, policies: map[string]domain.Policy{}}
}

func (d *decider) policy(ctx context.Context, tenantID, applicationID string) (domain.Policy, error) {
	policy, known := d.policies[applicationID]
	if !known {
		var err error
		if policy, err = d.Applications.Policy(ctx, tenantID, applicationID); err != nil {
			return policy, err
		}
		d.policies[applicationID] = policy
	}
	return policy, nil
}

// decide returns t with the patch applied if it can take the patch; otherwise it adds the problem. ErrConflict means
// that the application of t was deleted meanwhile.
func (d *decider) decide(ctx context.Context, t domain.RefreshToken) (domain.RefreshToken, error) {
	policy, err := d.policy(ctx, t.TenantID, t.ApplicationID)
	if errors.Is(err, domain.ErrNotFound) {
		err = domain.ErrConflict
	}
	if err != nil {
		return t, err
	}
	after, err := t.Patched(d.patch, policy, domain.Issuer(d.PublicURL, t.TenantID, policy.Issuer))
	if invalid := (*domain.Invalid)(nil); errors.As(err, &invalid) {
		d.problems.Merge("", err)
		if d.refused++; d.refused == maxNamed {
			return t, d.problems.Err()
		}
		d.changes = nil // nothing will be written
		return t, nil
	}
	if err == nil && d.refused == 0 && !after.SameContent(t) {
		d.changes = append(d.changes, domain.Change{Before: t, After: after})
	}
	return after, err
}

// patchTurns makes patches wait for each other. The zero value is ready to use.
type patchTurns struct {
	mu   sync.Mutex
	held map[patchTurn]*patchQueue // of turns that a patch has or waits for
}

// patchTurn is the turn of a user, of a tenant if the user is empty, or of all tenants if both are.
type patchTurn struct{ tenantID, userID string }

type patchQueue struct {
	places chan struct{} // goroutines that wait to send proceed in the order of their arrival
	inside int           // patches that have a place or wait for one
}

// acquire waits for one of that many places, first in, first out. release returns the place.
func (t *patchTurns) acquire(ctx context.Context, of patchTurn, places int) (release func(), err error) {
	t.mu.Lock()
	if t.held == nil {
		t.held = map[patchTurn]*patchQueue{}
	}
	q := t.held[of]
	if q == nil {
		q = &patchQueue{places: make(chan struct{}, places)}
		t.held[of] = q
	}
	q.inside++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if q.inside--; q.inside == 0 {
			delete(t.held, of)
		}
	}
	select {
	case q.places <- struct{}{}:
		return func() { <-q.places; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, fmt.Errorf("patch: wait for other patches: %w: %w", domain.ErrBusy, ctx.Err())
	}
}
