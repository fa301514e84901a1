package domain_test

import (
	"maps"
	"slices"
	"testing"

	"github.com/refreshd/refreshd/domain"
)

// Endpoints and methods of a permission keep their meaning, whatever the names of the actions.
func TestPermissionsPermitActions(t *testing.T) {
	all := []domain.Action{
		domain.TokenIssue, domain.TokenExchange, domain.TokenRead, domain.TokenList, domain.TokenListWide,
		domain.TokenListAny, domain.TokenChange, domain.TokenChangeMany, domain.TokenRevoke, domain.TokenRevokeMany,
		domain.FeedRead, "tenant.read", "tenant.write", "tenant.delete", "application.change", "key.create",
		"apikey.read",
		"audit.read", "tenant.read.one", "tenant.write.one", "tenant.delete.one", "key.create.one",
	}
	for _, tt := range []struct {
		rule string
		p    domain.Permissions
		want []domain.Action
	}{
		{"no permissions means none", nil, nil},
		{"an endpoint and a method", domain.Permissions{"/jwt/issue": {"POST"}}, []domain.Action{domain.TokenIssue}},
		{"the other method of an endpoint", domain.Permissions{"/jwt/refresh": {"POST"}},
			[]domain.Action{domain.TokenExchange}},
		{"a name covers what is below it", domain.Permissions{"/jwt/refresh": {"GET"}},
			[]domain.Action{domain.TokenRead, domain.TokenList, domain.TokenListAny}},
		{"a name does not cover what is above it", domain.Permissions{"/jwt/refresh/:id": {"*"}},
			[]domain.Action{domain.TokenRead, domain.TokenChange, domain.TokenRevoke}},
		{"a form by POST needs what it stands for", domain.Permissions{"/jwt/refresh/:id": {"POST"}}, nil},
		{"a whole tenant's tokens have to be named", domain.Permissions{"/sessions": {"GET"}},
			[]domain.Action{domain.TokenListWide, domain.TokenListAny}},
		{"the stream has to be named", domain.Permissions{"/revocations": {"*"}}, []domain.Action{domain.FeedRead}},
		{"everything is without what has to be named", domain.Permissions{"*": {"*"}}, []domain.Action{
			domain.TokenIssue, domain.TokenExchange, domain.TokenRead, domain.TokenList, domain.TokenListAny,
			domain.TokenChange,
			domain.TokenChangeMany, domain.TokenRevoke, domain.TokenRevokeMany,
		}},
		{"administration, method by method", domain.Permissions{"/tenant": {"PUT", "GET"}, "/audit": {"GET"}},
			[]domain.Action{"tenant.read", "tenant.write", "audit.read", "tenant.read.one", "tenant.write.one"}},
		{"one object of administration, and never all", domain.Permissions{"/tenant/:id": {"GET", "DELETE"}},
			[]domain.Action{"tenant.read.one", "tenant.delete.one"}},
		{"one object by another name of its parameter",
			domain.Permissions{"/tenant/:tenantId": {"PUT"}, "/key/:x": {"*"}},
			[]domain.Action{"tenant.write.one", "key.create.one"}},
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

// A permission that is valid and allows nothing would cause a 401 without an apparent reason.
func TestAPermissionThatIsValidAllowsAnAction(t *testing.T) {
	actions := []domain.Action{
		domain.TokenIssue, domain.TokenExchange, domain.TokenRead, domain.TokenList, domain.TokenListWide,
		domain.TokenChange, domain.TokenChangeMany, domain.TokenRevoke, domain.TokenRevokeMany, domain.TokenIntrospect,
		domain.FeedRead,
	}
	endpoints := append(slices.Collect(maps.Keys(domain.Endpoints())), domain.SessionsPermission,
		domain.RevocationsPermission, "*")
	for endpoint, object := range map[string]string{
		"/api-key": "apikey", "/key": "key", "/tenant": "tenant", "/application": "application", "/audit": "audit",
	} {
		endpoints = append(endpoints, endpoint, endpoint+"/:id", endpoint+"/:name", endpoint+"/:")
		for _, verb := range []string{"read", "create", "write", "change", "delete"} {
			actions = append(actions, domain.Action(object+"."+verb), domain.Action(object+"."+verb+".one"))
		}
	}
	for _, endpoint := range endpoints {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "*"} {
			k := domain.APIKey{Name: "x", Permissions: domain.Permissions{endpoint: {method}}}
			if endpoint == "/jwt/refresh/:id" && method == "POST" || endpoint == "*" && method == "PUT" ||
				k.Validate() != nil {
				continue // the first is for forms, which need what they stand for too; the second for what may come
			}
			if !slices.ContainsFunc(actions, k.Permissions.Permit) {
				t.Errorf("%s %s: it is valid, and allows nothing", method, endpoint)
			}
		}
	}
}

func TestWhatIsNoActionIsPermittedToNobody(t *testing.T) {
	everything := domain.Permissions{"*": {"*"}, "/jwt/refresh/:id": {"*"}, "/sessions": {"*"}, "/tenant": {"*"}}
	for _, a := range []domain.Action{"", "token", "token.", "tenant.read.all", ".one", "POST"} {
		if method, endpoints := a.Permissions(); everything.Permit(a) || a.AllowsOwner() || method != "" ||
			len(endpoints) > 0 {
			t.Errorf("%q: it is permitted, or an owner's, or spelled %s %v", a, method, endpoints)
		}
	}
}

// An owner may not do what only an operator may do.
func TestAnOwnerDoesWhatIsItsOwnOnly(t *testing.T) {
	for _, a := range []domain.Action{
		domain.TokenIssue, domain.TokenExchange, domain.TokenChange, domain.TokenChangeMany, domain.FeedRead,
		"tenant.read",
		"audit.read",
	} {
		if a.AllowsOwner() {
			t.Errorf("an owner may do %s", a)
		}
	}
}
