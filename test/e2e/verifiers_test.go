package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/httprc/v3"
	"github.com/lestrrat-go/jwx/v3/jwk"
	jwxjwt "github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/refreshd/refreshd/test/support/rig"
)

// verifies is how a library verifies an access token of an issuer for an audience.
type verifies func(ctx context.Context, token, audience string) error

// metadata is what a verifier reads of an issuer.
type metadata struct {
	Issuer     string   `json:"issuer"`
	Keys       string   `json:"jwks_uri"`
	Algorithms []string `json:"id_token_signing_alg_values_supported"`
}

func discover(t *testing.T, client *http.Client, issuer string) (m metadata) {
	t.Helper()
	response, err := client.Get(issuer + "/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&m); err != nil || m.Issuer != issuer {
		t.Fatalf("the metadata of %s: %+v, %v", issuer, m, err)
	}
	return m
}

// goVerifiers are libraries of Go that verify by the URL of an issuer alone. Those with newKey look for a kid that they
// do not know.
var goVerifiers = []struct {
	name   string
	newKey bool
	open   func(t *testing.T, client *http.Client, issuer string) verifies
}{
	{"keyfunc", true, func(t *testing.T, client *http.Client, issuer string) verifies {
		m := discover(t, client, issuer)
		keys, err := keyfunc.NewDefaultOverrideCtx(t.Context(), []string{m.Keys}, keyfunc.Override{Client: client})
		if err != nil {
			t.Fatal(err)
		}
		return func(_ context.Context, token, audience string) error {
			_, err := jwt.Parse(token, keys.Keyfunc, jwt.WithValidMethods(m.Algorithms), jwt.WithIssuer(m.Issuer),
				jwt.WithAudience(audience), jwt.WithExpirationRequired())
			return err
		}
	}},
	{"jwx", false, func(t *testing.T, client *http.Client, issuer string) verifies {
		m := discover(t, client, issuer)
		cache, err := jwk.NewCache(t.Context(), httprc.NewClient())
		if err != nil {
			t.Fatal(err)
		}
		// It waits for the keys, however often they could not be read.
		ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
		defer cancel()
		if err := cache.Register(ctx, m.Keys, jwk.WithHTTPClient(client)); err != nil {
			t.Fatal(err)
		}
		keys, err := cache.CachedSet(m.Keys)
		if err != nil {
			t.Fatal(err)
		}
		return func(_ context.Context, token, audience string) error {
			_, err := jwxjwt.ParseString(token, jwxjwt.WithKeySet(keys), jwxjwt.WithIssuer(m.Issuer),
				jwxjwt.WithAudience(audience))
			return err
		}
	}},
	{"go-oidc", true, func(t *testing.T, client *http.Client, issuer string) verifies {
		provider, err := oidc.NewProvider(oidc.ClientContext(t.Context(), client), issuer)
		if err != nil {
			t.Fatal(err)
		}
		return func(ctx context.Context, token, audience string) error {
			_, err := provider.Verifier(&oidc.Config{ClientID: audience}).Verify(oidc.ClientContext(ctx, client), token)
			return err
		}
	}},
}

const verifiersKey = "ak_verifiers_verifiers_verifiers_verifiers"

// verifierTenants have an algorithm each, and there is one for each verifier whose key is revoked.
func verifierTenants() (text string, algorithms map[string]string) {
	algorithms = map[string]string{"ed": "EdDSA", "es": "ES256", "rs": "RS256", "ps": "PS256"}
	ids := map[string]string{}
	for id, algorithm := range algorithms {
		ids[id] = algorithm
	}
	for _, v := range goVerifiers {
		ids[v.name] = "ES256"
	}
	var b strings.Builder
	b.WriteString("tenants:\n")
	for id, algorithm := range ids {
		fmt.Fprintf(&b, "  - id: %s\n    jwtConfiguration: {algorithm: %s}\n    applications:\n", id, algorithm)
		b.WriteString("      - id: spa\n      - id: web\n      - {id: brief, jwtConfiguration: {timeToLiveInSeconds: 1}}\n")
	}
	b.WriteString("apiKeys:\n  - name: verifiers\n    key: ${VERIFIERS_KEY}\n")
	b.WriteString("    permissions: {endpoints: {/jwt/issue: [POST], /key: [POST]}}\n")
	return b.String(), algorithms
}

// Libraries of Go verify access tokens of every algorithm with the keys that they find by the URL of the issuer. The
// names of the tests are those of the checks in the table of INTEGRATING.md, which make interop fills from them.
func TestVerifiersInGo(t *testing.T) {
	kickstart, algorithms := verifierTenants()
	eachStore(t, func(t *testing.T, d database) {
		t.Parallel()
		s := start(t, d, settings{kickstart: kickstart, env: []string{
			"VERIFIERS_KEY=" + remember("API key", verifiersKey), "REFRESHD_PUBLIC_URL=https://auth.example.com",
		}})
		client := &http.Client{Transport: toService{s.http.Transport, s.URL()}}
		token := func(t *testing.T, tenant, application string) string {
			t.Helper()
			return s.granted(t, call{method: "POST", path: "/jwt/issue", key: verifiersKey, tenant: tenant,
				body: object("userId", "ada", "applicationsId", application)}).Token
		}
		expired := token(t, "es", "brief")
		var claims struct {
			Expires int64 `json:"exp"`
		}
		if err := rig.ReadClaims(expired, &claims); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(time.Unix(claims.Expires+1, 0))) // until the access token has expired
		for _, v := range goVerifiers {
			t.Run(v.name, func(t *testing.T) {
				for tenant, algorithm := range algorithms {
					t.Run(algorithm, func(t *testing.T) {
						verify := v.open(t, client, "https://auth.example.com/t/"+tenant)
						if err := verify(t.Context(), token(t, tenant, "spa"), "spa"); err != nil {
							t.Error(err)
						}
					})
				}
				verify := v.open(t, client, "https://auth.example.com/t/es")
				t.Run("other audience refused", func(t *testing.T) {
					if err := verify(t.Context(), token(t, "es", "web"), "spa"); err == nil || !strings.Contains(err.Error(), "aud") {
						t.Errorf("got %v", err)
					}
				})
				t.Run("expired refused", func(t *testing.T) {
					if err := verify(t.Context(), expired, "brief"); err == nil || !strings.Contains(err.Error(), "exp") {
						t.Errorf("got %v", err)
					}
				})
				if v.newKey {
					t.Run("new key found by its kid", func(t *testing.T) {
						verify := v.open(t, client, "https://auth.example.com/t/"+v.name)
						before := token(t, v.name, "spa")
						if err := verify(t.Context(), before, "spa"); err != nil {
							t.Fatal(err)
						}
						s.want(t, call{method: "POST", path: "/key/revoke/" + kidOf(t, before), key: verifiersKey, tenant: v.name,
							body: `{"newKey": true}`}, http.StatusOK)
						after := token(t, v.name, "spa")
						if kidOf(t, after) == kidOf(t, before) {
							t.Fatal("the key was not replaced")
						}
						if err := verify(t.Context(), after, "spa"); err != nil {
							t.Error(err)
						}
					})
				}
			})
		}
	})
}

// kidOf returns the id of the key that signed an access token.
func kidOf(t *testing.T, token string) string {
	t.Helper()
	parsed, _, err := jwt.NewParser().ParseUnverified(token, jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	kid, _ := parsed.Header["kid"].(string)
	return kid
}
