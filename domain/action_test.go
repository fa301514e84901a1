package domain_test

import (
	"slices"
	"testing"

	"github.com/refreshd/refreshd/domain"
)

// The endpoints and methods of a permission mean what they always did, whatever the actions are called.
func TestPermissionsPermitActions(t *testing.T) {
	all := []domain.Action{
		domain.TokenIssue, domain.TokenExchange, domain.TokenRead, domain.TokenList, domain.TokenListWide,
		domain.TokenListAny, domain.TokenChange, domain.TokenChangeMany, domain.TokenRevoke, domain.TokenRevokeMany,
		domain.FeedRead, "tenant.read", "tenant.write", "tenant.delete", "application.change", "key.create", "apikey.read",
		"audit.read",
	}
	for _, tt := range []struct {
		rule string
		p    domain.Permissions
		want []domain.Action
	}{
		{"no permissions means none", nil, nil},
		{"an endpoint and a method", domain.Permissions{"/jwt/issue": {"POST"}}, []domain.Action{domain.TokenIssue}},
		{"the other method of an endpoint", domain.Permissions{"/jwt/refresh": {"POST"}}, []domain.Action{domain.TokenExchange}},
		{"a name covers what is below it", domain.Permissions{"/jwt/refresh": {"GET"}},
			[]domain.Action{domain.TokenRead, domain.TokenList, domain.TokenListAny}},
		{"a name does not cover what is above it", domain.Permissions{"/jwt/refresh/:id": {"*"}},
			[]domain.Action{domain.TokenRead, domain.TokenChange, domain.TokenRevoke}},
		{"a form by POST needs what it stands for", domain.Permissions{"/jwt/refresh/:id": {"POST"}}, nil},
		{"a whole tenant's tokens have to be named", domain.Permissions{"/sessions": {"GET"}},
			[]domain.Action{domain.TokenListWide, domain.TokenListAny}},
		{"the stream has to be named", domain.Permissions{"/revocations": {"*"}}, []domain.Action{domain.FeedRead}},
		{"everything is without what has to be named", domain.Permissions{"*": {"*"}}, []domain.Action{
			domain.TokenIssue, domain.TokenExchange, domain.TokenRead, domain.TokenList, domain.TokenListAny, domain.TokenChange,
			domain.TokenChangeMany, domain.TokenRevoke, domain.TokenRevokeMany,
		}},
		{"administration, method by method", domain.Permissions{"/tenant": {"PUT", "GET"}, "/audit": {"GET"}},
			[]domain.Action{"tenant.read", "tenant.write", "audit.read"}},
	} {
		var got []domain.Action
		for _, a := range all {
			if tt.p.Permit(a) {
				got = append(got, a)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.rule, got, tt.want)
		}
	}
}

func TestWhatIsNoActionIsPermittedToNobody(t *testing.T) {
	everything := domain.Permissions{"*": {"*"}, "/jwt/refresh/:id": {"*"}, "/sessions": {"*"}, "/tenant": {"*"}}
	for _, a := range []domain.Action{"", "token", "token.", "tenant.read.all", "POST"} {
		if method, endpoints := a.Spelled(); everything.Permit(a) || a.IsOwners() || method != "" || len(endpoints) > 0 {
			t.Errorf("%q: it is permitted, or an owner's, or spelled %s %v", a, method, endpoints)
		}
	}
}

// What nobody but an operator may do, no owner of a session may.
func TestAnOwnerDoesWhatIsItsOwnOnly(t *testing.T) {
	for _, a := range []domain.Action{
		domain.TokenIssue, domain.TokenExchange, domain.TokenChange, domain.TokenChangeMany, domain.FeedRead, "tenant.read",
		"audit.read",
	} {
		if a.IsOwners() {
			t.Errorf("an owner may do %s", a)
		}
	}
}
