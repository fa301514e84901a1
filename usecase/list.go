package usecase

import (
	"context"
	"errors"
	"fmt"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// List reads refresh tokens.
type List struct {
	Tokens port.RefreshTokens
	Clock  Clock
}

// A Session is a refresh token with its end, as a request retrieves it.
type Session struct {
	domain.RefreshToken
	Ending *domain.Ending // nil for an active one
}

func newSession(s domain.Session, end domain.Ending, ended bool) Session {
	if !ended {
		return Session{RefreshToken: s.Token}
	}
	return Session{RefreshToken: s.Token, Ending: &end}
}

// OneInput selects a refresh token.
type OneInput struct {
	TenantID, ID string
	State        domain.SessionState // zero for the default, the active ones
	// Owner is set if the request has an access token instead of an API key. It allows the active ones of its user.
	Owner *domain.AccessToken
}

// One returns the refresh token of that tenant and id if it is in that state; otherwise, and for a malformed id,
// ErrNotFound. An owner gets ErrUnauthorized for all refresh tokens but those of its own user, whether or not they
// exist.
func (l *List) One(ctx context.Context, in OneInput) (Session, error) {
	if in.Owner != nil && !isOwnersState(in.State) {
		return Session{}, errOwnersState
	}
	id, ok := domain.ParseID(in.ID)
	s, err := domain.Session{}, domain.ErrNotFound
	if ok {
		s, err = l.Tokens.Find(ctx, in.TenantID, id)
	}
	if in.Owner != nil && (errors.Is(err, domain.ErrNotFound) || err == nil && s.Token.UserID != in.Owner.Subject) {
		return Session{}, errNotOwn
	}
	if err != nil {
		return Session{}, Wrap("retrieve", err)
	}
	end, ended := s.End(l.Clock.Now())
	if !in.State.OrActive().Includes(!ended) {
		return Session{}, Wrap("retrieve", domain.ErrNotFound)
	}
	return newSession(s, end, ended), nil
}

// isOwnersState reports whether an owner may ask for s: only for the active ones.
func isOwnersState(s domain.SessionState) bool { return s == "" || s == domain.ActiveSessions }

var (
	errNotOwn = fmt.Errorf("the access token is valid for the sessions of its own user only: %w",
		domain.ErrUnauthorized)
	errOwnersState = domain.NewInvalid("state", domain.Conflict,
		"an access token shows active sessions only: leave this out, or use an API key")
)

// ListInput selects refresh tokens, and a page of them.
type ListInput struct {
	TenantID      string
	UserID        *string             // nil for every user
	ApplicationID *string             // nil for every application
	State         domain.SessionState // zero for the default, the active ones
	Below         domain.ID           // Next of the previous page; zero for the first page
	Limit         int                 // 1 to 1000
	// Owner is set if the request has an access token instead of an API key. It allows the active ones of its user.
	Owner *domain.AccessToken
}

// SessionPage is one page of a list. Next is Below of the next page, or zero on the last page.
type SessionPage struct {
	Sessions []Session
	Next     domain.ID
}

// The bounds of a page besides its limit. They bound the memory and the store's time that one request takes.
const (
	maxPageBytes = 1 << 20
	maxPageRows  = 5_000
)

// The bounds of a count: the number of refresh tokens that it reads, and the number if each has to be compared with its
// expiry and the marks, which takes the slower of the two engines 30 ms (make bench PART=lists).
const (
	maxCounted  = 10_000
	maxCompared = 5_000
)

// Page returns a page of refresh tokens, newest first.
func (l *List) Page(ctx context.Context, in ListInput) (SessionPage, error) {
	q, err := l.query(in)
	if err != nil {
		return SessionPage{}, err
	}
	q.Below, q.Limit, q.MaxBytes, q.MaxRows = in.Below, in.Limit, maxPageBytes, maxPageRows
	found, err := l.Tokens.List(ctx, q)
	if err != nil {
		return SessionPage{}, Wrap("list", err)
	}
	page := SessionPage{Sessions: make([]Session, len(found.Sessions)), Next: found.Next}
	for i, s := range found.Sessions {
		end, ended := s.End(q.Now)
		page.Sessions[i] = newSession(s, end, ended)
	}
	return page, nil
}

// Count returns the number of refresh tokens on all pages together. It reads the newest 5 000 of the user, the
// application or the tenant, or the newest 10 000 if it counts all states. more reports that these were not all, so
// that there may be more than n.
func (l *List) Count(ctx context.Context, in ListInput) (n int, more bool, err error) {
	q, err := l.query(in)
	if err != nil {
		return 0, false, err
	}
	q.Limit, q.MaxBytes, q.MaxRows = maxCounted, maxPageBytes, maxCompared
	if q.State == domain.AllSessions {
		q.MaxRows = maxCounted
	}
	n, more, err = l.Tokens.Count(ctx, q)
	if err != nil {
		return 0, false, Wrap("count", err)
	}
	return n, more, nil
}

// query returns the query of in, without the bounds.
func (l *List) query(in ListInput) (port.ListQuery, error) {
	q := port.ListQuery{TenantID: in.TenantID, State: in.State.OrActive(), Now: l.Clock.Now()}
	if in.UserID != nil || in.ApplicationID != nil {
		s, err := domain.ParseSelector(in.TenantID,
			domain.SelectorInput{UserID: in.UserID, ApplicationID: in.ApplicationID})
		if err != nil {
			return port.ListQuery{}, err
		}
		q.UserID, q.ApplicationID = s.Scope.UserID, s.Scope.ApplicationID
	}
	switch {
	case in.Owner == nil:
	case q.UserID != in.Owner.Subject:
		return port.ListQuery{}, errNotOwn
	case !isOwnersState(in.State):
		return port.ListQuery{}, errOwnersState
	}
	return q, nil
}
