package usecase

import (
	"context"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// List reads refresh tokens. What is dead is not there.
type List struct {
	Tokens port.RefreshTokens
	Clock  Clock
}

// One returns the refresh token of that tenant and id, or ErrNotFound; also for an id that can be none.
func (l *List) One(ctx context.Context, tenantID, id string) (domain.RefreshToken, error) {
	parsed, ok := domain.ParseID(id)
	if !ok {
		return domain.RefreshToken{}, domain.ErrNotFound
	}
	found, err := l.Tokens.Find(ctx, tenantID, parsed)
	if err != nil {
		return domain.RefreshToken{}, fault("retrieve", err)
	}
	if !found.Alive(l.Clock.now()) {
		return domain.RefreshToken{}, domain.ErrNotFound
	}
	return found.Token, nil
}

// ListInput selects a page of a user's refresh tokens.
type ListInput struct {
	TenantID      string
	UserID        *string
	ApplicationID *string   // nil for every application
	Below         domain.ID // where the page before ended; zero for the first
	Limit         int       // 1 to 1000
}

// The bounds of a page besides its limit. They bound what one caller costs the others: memory and the store's time.
const (
	pageBytes = 1 << 20
	pageRows  = 5_000
)

// Of returns a page of a user's refresh tokens, newest first.
func (l *List) Of(ctx context.Context, in ListInput) (port.Page, error) {
	if in.UserID == nil {
		return port.Page{}, domain.NewInvalid("userId", domain.Blank, "name the user whose refresh tokens you want")
	}
	s, err := domain.ParseSelector(in.TenantID, domain.SelectorInput{UserID: in.UserID, ApplicationID: in.ApplicationID})
	if err != nil {
		return port.Page{}, err
	}
	page, err := l.Tokens.List(ctx, port.ListQuery{
		TenantID: in.TenantID, UserID: s.Scope.UserID, ApplicationID: s.Scope.ApplicationID, State: domain.ActiveSessions,
		Below: in.Below, Limit: in.Limit, MaxBytes: pageBytes, MaxRows: pageRows, Now: l.Clock.now(),
	})
	if err != nil {
		return port.Page{}, fault("list", err)
	}
	return page, nil
}
