package e2e_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const clientSecret = "FVjnzUJHdzPbFtYH9RQgYTzoYwhrXnwQDb3nqBqkZ4R"

// clients are a public and a confidential client.
const clients = `
tenants:
  - id: acme
    issuer: https://auth.acme.example
    applications:
      - id: spa
      - id: web
        clientSecrets: [{secret: "${WEB_SECRET}"}]
apiKeys:
  - name: backend
    key: "${ACME_KEY}"
    tenantId: acme
    permissions: {endpoints: {/jwt/issue: [POST], /jwt/refresh: [GET]}}
`

// toService sends requests for every host to the service, as the proxy of an issuer's host does for its paths.
type toService struct {
	to   http.RoundTripper
	base string
}

func (s toService) RoundTrip(r *http.Request) (*http.Response, error) {
	to, err := url.Parse(s.base)
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	if r.URL.Host == "auth.acme.example" {
		r.URL.Path = "/t/acme" + r.URL.Path
	}
	r.URL.Scheme, r.URL.Host = to.Scheme, to.Host
	return s.to.RoundTrip(r)
}

// expired is a token as a client of x/oauth2 stores it, whose access token is to be renewed.
func expired(refreshToken string) *oauth2.Token {
	return &oauth2.Token{RefreshToken: refreshToken, Expiry: time.Now().Add(-time.Hour)}
}

// A client finds the endpoints by the issuer alone, refreshes in each style of authentication, and verifies what it got
// with the algorithms and keys of the metadata. golang.org/x/oauth2 and go-oidc are as anybody uses them.
func TestAnOAuthClientRefreshesUnchanged(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		t.Parallel()
		s := start(t, d, settings{kickstart: clients, env: []string{"WEB_SECRET=" + clientSecret}})
		ctx := oidc.ClientContext(t.Context(), &http.Client{Transport: toService{s.http.Transport, s.URL()}})
		provider, err := oidc.NewProvider(ctx, "https://auth.acme.example")
		if err != nil {
			t.Fatal(err)
		}
		// The names of the tests are those of the checks in the table of INTEGRATING.md.
		for name, c := range map[string]struct {
			id, secret string
			style      oauth2.AuthStyle
		}{
			"public client":            {"spa", "", oauth2.AuthStyleInParams},
			"public client, by Basic":  {"spa", "", oauth2.AuthStyleInHeader},
			"public client, found out": {"spa", "", oauth2.AuthStyleAutoDetect},
			"client_secret_basic":      {"web", clientSecret, oauth2.AuthStyleInHeader},
			"client_secret_post":       {"web", clientSecret, oauth2.AuthStyleInParams},
			"a secret, found out":      {"web", clientSecret, oauth2.AuthStyleAutoDetect},
		} {
			t.Run(name, func(t *testing.T) {
				endpoint := provider.Endpoint()
				endpoint.AuthStyle = c.style
				config := oauth2.Config{ClientID: c.id, ClientSecret: c.secret, Endpoint: endpoint}
				issued := s.issue(t, "ada", c.id)
				got, err := config.TokenSource(ctx, expired(issued.RefreshToken)).Token()
				if err != nil {
					t.Fatal(err)
				}
				if got.RefreshToken == issued.RefreshToken || !got.Valid() || got.TokenType != "Bearer" {
					t.Errorf("got type %s, valid %t, the same refresh token %t", got.TokenType, got.Valid(),
						got.RefreshToken == issued.RefreshToken)
				}
				if _, err := provider.Verifier(&oidc.Config{ClientID: c.id}).Verify(ctx, got.AccessToken); err != nil {
					t.Errorf("the access token: %v", err)
				}
			})
		}
		s.refusedClients(ctx, t, provider.Endpoint())
	})
}

// refusedClients checks that a confidential client needs its secret in every dialect, and that nothing changes without.
func (v *service) refusedClients(ctx context.Context, t *testing.T, endpoint oauth2.Endpoint) {
	t.Helper()
	issued := v.issue(t, "ada", "web")
	endpoint.AuthStyle = oauth2.AuthStyleInParams
	for what, secret := range map[string]string{"no secret": "", "another secret": strings.Repeat("x", 43)} {
		config := oauth2.Config{ClientID: "web", ClientSecret: secret, Endpoint: endpoint}
		_, err := config.TokenSource(ctx, expired(issued.RefreshToken)).Token()
		if err == nil || !strings.Contains(err.Error(), "invalid_client") {
			t.Errorf("%s: got %v, want invalid_client", what, err)
		}
	}
	v.want(t, exchangeCall(issued.RefreshToken), http.StatusUnauthorized)
	config := oauth2.Config{ClientID: "web", ClientSecret: clientSecret, Endpoint: endpoint}
	got, err := config.TokenSource(ctx, expired(issued.RefreshToken)).Token()
	if err != nil {
		t.Fatalf("after the refusals: %v", err)
	}
	if got.RefreshToken == issued.RefreshToken {
		t.Error("after the refusals: the refresh token did not rotate")
	}
	// The one before, and the current one, without the secret.
	for _, old := range []string{issued.RefreshToken, got.RefreshToken} {
		v.want(t, exchangeCall(old), http.StatusUnauthorized)
	}
}

// Thirty calls that share one source, and thirty that each have a copy of the stored token, get one refresh token,
// three times in a row.
func TestParallelOAuthClientsGetOneToken(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		t.Parallel()
		s := start(t, d, settings{kickstart: clients, env: []string{"WEB_SECRET=" + clientSecret}})
		ctx := context.WithValue(t.Context(), oauth2.HTTPClient, s.http)
		config := oauth2.Config{ClientID: "web", ClientSecret: clientSecret, Endpoint: oauth2.Endpoint{
			TokenURL: s.URL() + "/t/acme/oauth2/token", AuthStyle: oauth2.AuthStyleInHeader,
		}}
		for round := range 3 {
			issued := s.issue(t, "ada", "web")
			shared := config.TokenSource(ctx, expired(issued.RefreshToken))
			var (
				group sync.WaitGroup
				mu    sync.Mutex
				got   = map[string]int{}
			)
			for range 30 {
				own := config.TokenSource(ctx, expired(issued.RefreshToken))
				for _, source := range []oauth2.TokenSource{shared, own} {
					group.Go(func() {
						token, err := source.Token()
						if err != nil {
							t.Errorf("round %d: %v", round, err)
							return
						}
						mu.Lock()
						defer mu.Unlock()
						got[token.RefreshToken+" "+token.AccessToken]++
					})
				}
			}
			group.Wait()
			if len(got) != 1 {
				t.Errorf("round %d: %d different responses, want one", round, len(got))
			}
		}
	})
}
