package run

import (
	"context"
	"testing"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

// A page may be empty although there is another one, so only the end of the list shows that a tenant is the only one.
func TestOnlyTenantReadsToTheEnd(t *testing.T) {
	acme, globex := domain.Tenant{ID: "acme"}, domain.Tenant{ID: "globex"}
	for _, tt := range []struct {
		name  string
		pages [][]domain.Tenant
		want  bool
	}{
		{"none", [][]domain.Tenant{nil}, false},
		{"one", [][]domain.Tenant{{acme}}, true},
		{"one, and an empty page", [][]domain.Tenant{{acme}, nil}, true},
		{"one, behind an empty page", [][]domain.Tenant{nil, {acme}}, true},
		{"two", [][]domain.Tenant{{acme, globex}}, false},
		{"two, a page each", [][]domain.Tenant{{acme}, nil, {globex}}, false},
	} {
		got, ok, err := onlyTenant(t.Context(), pagesOf{pages: tt.pages})
		if err != nil {
			t.Fatal(err)
		}
		if ok != tt.want || ok != (got.ID == "acme") {
			t.Errorf("%s: got %q, %t, want %t", tt.name, got.ID, ok, tt.want)
		}
	}
}

// pagesOf returns these pages of tenants. The parameter after of a page is its number.
type pagesOf struct {
	port.Store
	pages [][]domain.Tenant
}

func (p pagesOf) Tenants(_ context.Context, after string, _ int) (page []domain.Tenant, next string, err error) {
	n := len(after)
	if n < len(p.pages)-1 {
		next = after + "x"
	}
	return p.pages[n], next, nil
}
