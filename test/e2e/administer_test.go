package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
)

var operatorKey = newAPIKey()

const operatorKickstart = `
apiKeys:
  - name: operator
    key: ${OPERATOR_KEY}
    permissions:
      endpoints: {"*": ["*"], /sessions: [GET], /tenant: ["*"], /application: ["*"], /api-key: ["*"], /key: [GET]}
`

// operated starts a service that has an operator's API key, and no tenant.
func operated(t *testing.T, d database) *service {
	return start(t, d, settings{kickstart: operatorKickstart, env: []string{loud, "OPERATOR_KEY=" + operatorKey}})
}

// operate sends a request as the operator, for that tenant or for none.
func operate(method, path, tenant, body string) call {
	return as(call{method: method, path: path, body: body}, operatorKey, tenant)
}

// member returns a text of the data.
func (a answer) member(t *testing.T, name string) string {
	t.Helper()
	var e struct{ Data map[string]any }
	if err := json.Unmarshal([]byte(a.body), &e); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	text, _ := e.Data[name].(string)
	return text
}

// newKey sends a request that makes a key, and returns the key and the path of its API key.
func (v *service) newKey(t *testing.T, r call, status int) (text, path string) {
	t.Helper()
	a := v.want(t, r, status)
	text = a.member(t, "key")
	remember("API key", text)
	if text == "" || a.header.Get("Cache-Control") != "no-store" {
		t.Fatalf("got %s with %v", a, a.header)
	}
	return text, "/api-key/" + a.member(t, "id")
}

// onward returns r on condition of the version of a.
func onward(r call, a answer) call {
	r.header = map[string]string{"If-Match": a.header.Get("ETag")}
	return r
}

// An operator sets a tenant up, uses it, changes it and deletes it, over HTTP alone.
func TestATenantIsAdministeredOverHTTP(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := operated(t, d)
		s.want(t, operate("POST", "/tenant/acme", "", `{"name":"Acme"}`), http.StatusCreated)
		s.want(t, operate("POST", "/application/shop", "acme", `{"name":"Shop"}`), http.StatusCreated)
		backend, _ := s.newKey(t, operate("POST", "/api-key", "", `{"name":"backend","tenantId":"acme","permissions":`+
			`{"endpoints":{"/jwt/issue":["POST"],"/jwt/refresh":["*"]}}}`), http.StatusCreated)
		issue := as(call{method: "POST", path: "/jwt/issue", body: object("userId", "ada", "applicationsId", "shop")},
			backend, "acme")
		g := s.granted(t, issue)
		g = s.exchange(t, g.RefreshToken)

		// Two operators have read the same version. One changes it; the other one is refused, and nothing is lost.
		read := s.want(t, operate("GET", "/application/shop", "acme", ""), http.StatusOK)
		statuses := map[int]int{}
		var mu sync.Mutex
		var both sync.WaitGroup
		for _, body := range []string{`{"name":"one"}`, `{"name":"two","active":true}`} {
			both.Go(func() {
				a, err := s.do(onward(operate("PATCH", "/application/shop", "acme", body), read))
				mu.Lock()
				defer mu.Unlock()
				if statuses[a.status]++; err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		now := s.want(t, operate("GET", "/application/shop", "acme", ""), http.StatusOK)
		mixed := now.member(t, "name") == "two" != strings.Contains(now.body, "active")
		if statuses[200] != 1 || statuses[412] != 1 || mixed {
			t.Errorf("got %v, and then %s", statuses, now)
		}
		s.want(t, onward(operate("PATCH", "/application/shop", "acme", `{"active":false}`), now), http.StatusOK)
		s.refused(t, g.RefreshToken, "[inactive]refreshToken")
		s.want(t, operate("PATCH", "/application/shop", "acme", `{"active":null}`), http.StatusOK)
		g = s.exchange(t, g.RefreshToken)

		// A deleted tenant that is made again has no sessions.
		tenant := s.want(t, operate("GET", "/tenant/acme", "", ""), http.StatusOK)
		s.want(t, onward(operate("DELETE", "/tenant/acme", "", ""), tenant), http.StatusOK)
		s.refused(t, g.RefreshToken, "[revoked]refreshToken")
		s.want(t, issue, http.StatusUnauthorized)
		s.want(t, operate("GET", "/application/shop", "acme", ""), http.StatusUnauthorized)
		s.want(t, operate("POST", "/tenant/acme", "", `{}`), http.StatusCreated)
		s.want(t, operate("POST", "/application/shop", "acme", `{}`), http.StatusCreated)
		s.refused(t, g.RefreshToken, "[revoked]refreshToken")
		s.want(t, issue, http.StatusUnauthorized)
		s.want(t, onward(operate("DELETE", "/tenant/acme", "", ""), tenant), http.StatusPreconditionFailed)
		if list := s.want(t, operate("GET", "/jwt/refresh", "acme", ""), http.StatusOK); len(list.records(t)) != 0 {
			t.Errorf("the tenant that was made again has sessions: %s", list)
		}
		if list := s.want(t, operate("GET", "/api-key", "acme", ""), http.StatusOK); strings.Contains(list.body, "backend") {
			t.Errorf("the tenant that was made again has API keys: %s", list)
		}
	})
}

// Backends change to a new key while they send requests, and none is refused: the former text is valid until it is
// ended.
func TestAnAPIKeyIsChangedWithoutAnOutage(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := operated(t, d)
		s.want(t, operate("POST", "/tenant/acme", "", `{}`), http.StatusCreated)
		s.want(t, operate("POST", "/application/shop", "acme", `{}`), http.StatusCreated)
		first, path := s.newKey(t, operate("POST", "/api-key", "", `{"name":"backend","tenantId":"acme","permissions":`+
			`{"endpoints":{"/jwt/refresh":["GET"]}}}`), http.StatusCreated)
		list := func(key string) call {
			return as(call{method: "GET", path: "/jwt/refresh?userId=ada"}, key, "acme")
		}
		var key sync.Map // of each backend
		const backends = 4
		for b := range backends {
			key.Store(b, first)
		}
		stop := make(chan struct{})
		var traffic sync.WaitGroup
		for b := range backends {
			traffic.Go(func() {
				for {
					text, _ := key.Load(b)
					if a, err := s.do(list(text.(string))); err != nil || a.status != http.StatusOK {
						t.Errorf("a backend got %s, %v", a, err)
						return
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
		second, _ := s.newKey(t, operate("POST", path+"/key", "", ""), http.StatusOK)
		for b := range backends { // each is deployed again
			for _, valid := range []string{first, second} {
				s.want(t, list(valid), http.StatusOK)
			}
			key.Store(b, second)
		}
		close(stop)
		traffic.Wait()
		s.want(t, operate("DELETE", path+"/key", "", ""), http.StatusOK)
		s.want(t, list(first), http.StatusUnauthorized)
		s.want(t, list(second), http.StatusOK)
	})
}
