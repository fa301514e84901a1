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
	t, err := l.Tokens.Find(ctx, tenantID, parsed, l.Clock.now())
	if err != nil {
		return domain.RefreshToken{}, fault("retrieve", err)
	}
	return t, nil
}

// ListInput selects a page of a user's refresh tokens.
type ListInput struct {
	TenantID      string
	UserID        *string
	ApplicationID *string   // nil for every application
	Below         domain.ID // where the page before ended; zero for the first
	Limit         int       // 1 to 1000
}

// Page is refresh tokens by id from high to low, so newest first. Next is zero on the last page, else what Below should be for
// the next one.
type Page struct {
	Tokens []domain.RefreshToken
	Next   domain.ID
}

// Of returns a page of a user's refresh tokens.
func (l *List) Of(ctx context.Context, in ListInput) (Page, error) {
	if in.UserID == nil {
		return Page{}, domain.NewInvalid("userId", domain.Blank, "name the user whose refresh tokens you want")
	}
	s, err := domain.ParseSelector(in.TenantID, domain.SelectorInput{UserID: in.UserID, ApplicationID: in.ApplicationID})
	if err != nil {
		return Page{}, err
	}
	tokens, err := l.Tokens.List(ctx, port.ListQuery{
		TenantID: in.TenantID, UserID: s.Scope.UserID, ApplicationID: s.Scope.ApplicationID,
		Below: in.Below, Limit: in.Limit + 1, Now: l.Clock.now(), // one more, to know whether there is a next page
	})
	if err != nil {
		return Page{}, fault("list", err)
	}
	if len(tokens) <= in.Limit {
		return Page{Tokens: tokens}, nil
	}
	tokens = tokens[:in.Limit]
	return Page{Tokens: tokens, Next: tokens[in.Limit-1].ID}, nil
}
