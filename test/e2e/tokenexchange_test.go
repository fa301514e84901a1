package e2e_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// exchangers are a client with an audience besides itself, and the session of a party that acts for its users.
const exchangers = `
tenants:
  - id: acme
    applications:
      - id: web
        clientSecrets: [{secret: "${WEB_SECRET}"}]
        audiences: [https://api.example.com]
        jwtConfiguration: {refreshTokenOneTimeUseConfiguration: {gracePeriodInSeconds: 1, recoveryBurst: 0}}
apiKeys:
  - name: backend
    key: "${ACME_KEY}"
    tenantId: acme
    permissions: {endpoints: {/jwt/issue: [POST], /jwt/refresh: [GET], /oauth2/introspect: [POST]}}
`

// tokenExchange is a token exchange of the client web (RFC 8693, section 2.1).
func tokenExchange(refreshToken string, pairs ...string) call {
	return call{
		method: "POST", path: "/t/acme/oauth2/token", media: asForm,
		header: map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("web:"+clientSecret))},
		body: form(append([]string{
			"grant_type", "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token", refreshToken,
			"subject_token_type", "urn:ietf:params:oauth:token-type:refresh_token",
		}, pairs...)...),
	}
}

type oauthTokens struct {
	AccessToken     string `json:"access_token"`
	IssuedTokenType string `json:"issued_token_type"`
	RefreshToken    string `json:"refresh_token"`
	Scope           string `json:"scope"`
}

// tokens reads a response of the token endpoint, which must be a success.
func (a answer) tokens(t *testing.T) (got oauthTokens) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusOK {
		t.Fatalf("%s: %v", a, err)
	}
	remember("access token", got.AccessToken)
	remember("token string", got.RefreshToken)
	if got.IssuedTokenType != "urn:ietf:params:oauth:token-type:access_token" {
		t.Errorf("got the type %q", got.IssuedTokenType)
	}
	return got
}

// payload returns the claims of an access token without verifying it.
func payload(t *testing.T, accessToken string) (claims map[string]any) {
	t.Helper()
	parts := strings.Split(accessToken, ".")
	if len(parts) != 3 {
		t.Fatal("this is no access token")
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &claims); err != nil {
		t.Fatal(err)
	}
	return claims
}

// wantRefusal sends a request to the token endpoint that must be refused with a 400.
func (c *client) wantRefusal(t *testing.T, r call, code, detail string) {
	t.Helper()
	var body struct {
		Error string
		Code  string `json:"refreshd_code"`
	}
	a := c.mustDo(t, r)
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || a.status != http.StatusBadRequest ||
		body.Error != code || body.Code != detail {
		t.Errorf("got %s, want 400 %s %s", a, code, detail)
	}
}

// A client exchanges its refresh token for an access token for another audience, and for an actor (RFC 8693). Refusals
// change nothing; a response that was lost is sent again; an old refresh token is a theft.
func TestATokenExchange(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		t.Parallel()
		s, clock := startStopped(t, d, settings{kickstart: exchangers, env: []string{"WEB_SECRET=" + clientSecret, loud}})
		issue := func(user string) grant {
			return s.granted(t, acme(call{method: "POST", path: "/jwt/issue",
				body: `{"userId": "` + user + `", "applicationsId": "web", "scopes": ["orders:read", "orders:write"]}`}))
		}
		issued, agent := issue("ada"), issue("agent")
		stored := func() record {
			return s.want(t, acme(call{method: "GET", path: "/jwt/refresh/" + issued.RefreshTokenID}), http.StatusOK).record(t)
		}
		actor := []string{
			"actor_token", agent.Token, "actor_token_type", "urn:ietf:params:oauth:token-type:access_token",
		}

		s.wantRefusal(t, tokenExchange(issued.RefreshToken, "audience", "https://elsewhere.example"), "invalid_target",
			"[forbidden]resource")
		s.wantRefusal(t, tokenExchange(issued.RefreshToken, "scope", "admin"), "invalid_scope", "[forbidden]scope")
		s.wantRefusal(t, tokenExchange(issued.RefreshToken, "actor_token", "x", "actor_token_type", actor[3]),
			"invalid_request", "[invalid]actor_token")
		if got := stored().Generation; got != 1 {
			t.Fatalf("after the refusals: generation %d, want 1", got)
		}

		narrow := append([]string{"audience", "https://api.example.com", "scope", "orders:read"}, actor...)
		first := s.mustDo(t, tokenExchange(issued.RefreshToken, narrow...))
		got := first.tokens(t)
		claims := payload(t, got.AccessToken)
		act, _ := claims["act"].(map[string]any)
		if claims["aud"] != "https://api.example.com" || claims["sub"] != "ada" || claims["scope"] != "orders:read" ||
			got.Scope != "orders:read" || act["sub"] != "agent" || act["client_id"] != "web" || len(act) != 2 {
			t.Errorf("got %v and the scope %q", claims, got.Scope)
		}
		if got.RefreshToken == issued.RefreshToken || stored().Generation != 2 {
			t.Errorf("the refresh token did not rotate")
		}
		for what, retry := range map[string]string{"the old string": issued.RefreshToken, "the new one": got.RefreshToken} {
			if again := s.mustDo(t, tokenExchange(retry, narrow...)); again.body != first.body {
				t.Errorf("a retry with %s: got %s, want %s", what, again, first)
			}
		}
		introspected := s.want(t, acme(call{method: "POST", path: "/t/acme/oauth2/introspect", media: asForm,
			body: form("token", got.AccessToken)}), http.StatusOK)
		if !strings.Contains(introspected.body, `"act":{"sub":"agent","client_id":"web"}`) {
			t.Errorf("introspection: got %s", introspected)
		}

		clock.afterGrace()
		next := s.mustDo(t, tokenExchange(got.RefreshToken)).tokens(t)
		if claims := payload(t, next.AccessToken); claims["aud"] != "web" || claims["act"] != nil ||
			claims["scope"] != "orders:read orders:write" {
			t.Errorf("the next one: got %v", claims)
		}
		clock.afterGrace()
		s.wantRefusal(t, tokenExchange(got.RefreshToken, narrow...), "invalid_request", "[reused]refreshToken")
		s.wantRefusal(t, tokenExchange(next.RefreshToken), "invalid_request", "[revoked]refreshToken")
		// The access token for the actor ends with the session as well.
		introspected = s.want(t, acme(call{method: "POST", path: "/t/acme/oauth2/introspect", media: asForm,
			body: form("token", got.AccessToken)}), http.StatusOK)
		if strings.TrimSpace(introspected.body) != `{"active":false}` {
			t.Errorf("introspection after the theft: got %s", introspected)
		}
	})
}
