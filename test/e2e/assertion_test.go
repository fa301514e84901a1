package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/refreshd/refreshd/test/support/dpop"
)

// withKey is a client that signs assertions, and whose exchanges all rotate.
const withKey = `
tenants:
  - id: acme
    issuer: https://auth.acme.example
    applications:
      - id: signer
        clientKeys: %s
        jwtConfiguration: {refreshTokenOneTimeUseConfiguration: {gracePeriodInSeconds: 0}}
apiKeys:
  - name: backend
    key: "${ACME_KEY}"
    tenantId: acme
    permissions: {endpoints: {/jwt/issue: [POST], /jwt/refresh: [GET]}}
`

// signer is that client, at some replica.
type signer struct {
	key dpop.Key
	*client
}

// assertion signs one for the issuer.
func (s signer) assertion(t *testing.T) string {
	t.Helper()
	text := s.key.Assertion(t, "signer", "https://auth.acme.example", time.Now())
	remember("client assertion", text)
	return text
}

// post sends a form to an endpoint of the tenant, with an assertion unless it is empty.
func (s signer) post(t *testing.T, endpoint, assertion string, pairs ...string) answer {
	t.Helper()
	a, err := s.try(endpoint, assertion, pairs...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (s signer) try(endpoint, assertion string, pairs ...string) (answer, error) {
	if assertion == "" {
		pairs = append(pairs, "client_id", "signer")
	} else {
		pairs = append(pairs, "client_assertion", assertion,
			"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
	}
	return s.do(call{method: "POST", path: "/t/acme/oauth2/" + endpoint, body: form(pairs...), media: asForm})
}

// refresh exchanges a token string, and returns the next one.
func (s signer) refresh(t *testing.T, tokenString, assertion string) string {
	t.Helper()
	a := s.post(t, "token", assertion, "grant_type", "refresh_token", "refresh_token", tokenString)
	var tokens struct {
		RefreshToken string `json:"refresh_token"`
		AccessToken  string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(a.body), &tokens); err != nil || a.status != http.StatusOK {
		t.Fatalf("refresh: got %s, want tokens", a)
	}
	remember("token string", tokens.RefreshToken)
	remember("access token", tokens.AccessToken)
	return tokens.RefreshToken
}

// refused checks that a request is refused because of its client.
func (s signer) refused(t *testing.T, what, endpoint, assertion string, pairs ...string) {
	t.Helper()
	a := s.post(t, endpoint, assertion, pairs...)
	var refusal struct{ Error string }
	if err := json.Unmarshal([]byte(a.body), &refusal); err != nil || a.status != http.StatusUnauthorized ||
		refusal.Error != "invalid_client" {
		t.Errorf("%s: %s: got %s, want 401 invalid_client", what, endpoint, a)
	}
}

func (s signer) session(t *testing.T, id string) string {
	t.Helper()
	return s.want(t, acme(call{method: "GET", path: "/jwt/refresh/" + id}), http.StatusOK).steady()
}

// A client that has a key and no secret refreshes, introspects and revokes. A string of it without an assertion, the
// current one or an old one, in either dialect, is refused and changes nothing; so is a copy of an assertion.
func TestAClientWithAKeyAuthenticatesByAssertions(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		t.Parallel()
		key := dpop.NewKey(t)
		v := start(t, d, settings{kickstart: fmt.Sprintf(withKey, key.Set(t))})
		s := signer{key, v.client}
		issued := v.issue(t, "ada", "signer")
		all := []string{issued.RefreshToken}
		var used string
		for range 3 {
			used = s.assertion(t)
			all = append(all, s.refresh(t, all[len(all)-1], used))
		}
		before := s.session(t, issued.RefreshTokenID)
		for i, old := range all {
			what := fmt.Sprint("generation ", i+1)
			exchange := []string{"grant_type", "refresh_token", "refresh_token", old}
			s.refused(t, what+" without an assertion", "token", "", exchange...)
			s.refused(t, what+" with one that was used", "token", used, exchange...)
			s.refused(t, what+" with another's", "token",
				dpop.NewKey(t).Assertion(t, "signer", "https://auth.acme.example", time.Now()), exchange...)
			for _, endpoint := range []string{"revoke", "introspect"} {
				s.refused(t, what+" without an assertion", endpoint, "", "token", old)
				s.refused(t, what+" with one that was used", endpoint, used, "token", old)
			}
			v.want(t, exchangeCall(old), http.StatusUnauthorized)
		}
		if after := s.session(t, issued.RefreshTokenID); after != before {
			t.Errorf("refusals changed the session:\n%s\nwant\n%s", after, before)
		}
		current := s.refresh(t, all[len(all)-1], s.assertion(t))
		var state struct{ Active bool }
		a := s.post(t, "introspect", s.assertion(t), "token", current)
		if err := json.Unmarshal([]byte(a.body), &state); err != nil || !state.Active {
			t.Errorf("introspect: got %s, want an active token", a)
		}
		if a := s.post(t, "revoke", s.assertion(t), "token", current); a.status != http.StatusOK {
			t.Errorf("revoke: got %s", a)
		}
		a = s.post(t, "introspect", s.assertion(t), "token", current)
		if err := json.Unmarshal([]byte(a.body), &state); err != nil || state.Active {
			t.Errorf("introspect after the revocation: got %s, want a token that is not active", a)
		}
	})
}

// Of the copies of one assertion, sent to two replicas at the same time, one is answered, also if each is with a
// session of its own.
func TestAnAssertionServesOnceAtTwoReplicas(t *testing.T) {
	eachDatabase(t, func(t *testing.T, d database) {
		t.Parallel()
		key := dpop.NewKey(t)
		together := settings{
			kickstart: fmt.Sprintf(withKey, key.Set(t)), env: []string{"REFRESHD_PUBLIC_URL=https://auth.example.com"},
		}
		replicas := []*service{start(t, d, together), start(t, d, together)}
		const rounds, copies = 8, 8
		for round := range rounds {
			assertion := signer{key, replicas[0].client}.assertion(t)
			var sessions [copies]string
			for i := range sessions {
				sessions[i] = replicas[i%2].issue(t, "ada", "signer").RefreshToken
			}
			var (
				group sync.WaitGroup
				mu    sync.Mutex
				got   = map[int]int{}
				gate  = make(chan struct{})
			)
			for i, session := range sessions {
				group.Go(func() {
					<-gate
					a, err := signer{key, replicas[i%2].client}.try("token", assertion,
						"grant_type", "refresh_token", "refresh_token", session)
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					got[a.status]++
				})
			}
			close(gate)
			group.Wait()
			if got[http.StatusOK] != 1 || got[http.StatusUnauthorized] != copies-1 {
				t.Errorf("round %d: got the statuses %v, want one 200 and %d 401", round, got, copies-1)
			}
		}
	})
}
