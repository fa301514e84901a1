package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

// springAlgorithms are those of SignatureAlgorithm in Spring Security, which NimbusJwtDecoder accepts when a key of the
// set names it.
var springAlgorithms = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"}

// spring holds access tokens to the rules of NimbusJwtDecoder.withIssuerLocation: the metadata names the same issuer;
// the key set has a key with the token's kid, whose alg is the token's and one that Spring knows; typ is JWT or absent
// (DefaultJOSEObjectTypeVerifier of Nimbus JOSE+JWT); the token is within its times (JwtTimestampValidator), and iss is
// the issuer byte for byte (JwtIssuerValidator).
func (w *world) spring(ctx context.Context, c client) (results []result, err error) {
	check := func(name string, run func() error) {
		one := result{Check: name}
		if err := run(); err != nil {
			one.Error = err.Error()
		}
		w.r.told(c, one)
		results = append(results, one)
	}
	keys := func(tenant string) (issuer string, set []byte, err error) {
		issuer = w.URL + "/t/" + tenant
		text, err := get(ctx, issuer+"/.well-known/openid-configuration")
		if err != nil {
			return "", nil, err
		}
		var metadata struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		if err := json.Unmarshal(text, &metadata); err != nil {
			return "", nil, err
		}
		if metadata.Issuer != issuer {
			return "", nil, fmt.Errorf("the issuer is %q, want %q", metadata.Issuer, issuer)
		}
		set, err = get(ctx, metadata.Keys)
		return issuer, set, err
	}
	accepts := func(tenant, application, algorithm string) error {
		session, err := w.issue(ctx, w.URL, tenant, application)
		if err != nil {
			return err
		}
		issuer, set, err := keys(tenant)
		if err != nil {
			return err
		}
		return springAccepts(session.Token, issuer, algorithm, set)
	}
	check(discovery, func() error { _, _, err := keys("es"); return err })
	for _, t := range tenants {
		check(t.algorithm, func() error { return accepts(t.id, springApp, t.algorithm) })
	}
	check(typJWT, func() error { return accepts("es", springApp, es256) })
	check(typAccessToken, func() error { return accepts("es", publicApp, es256) })
	return results, nil
}

// springAccepts reports whether Spring's decoder of an issuer takes an access token that algorithm signed.
func springAccepts(token, issuer, algorithm string, set []byte) error {
	var jwks struct {
		Keys []struct{ Kid, Alg, Use string }
	}
	if err := json.Unmarshal(set, &jwks); err != nil {
		return err
	}
	var accepted []string
	for _, key := range jwks.Keys {
		if slices.Contains(springAlgorithms, key.Alg) && (key.Use == "" || key.Use == "sig") {
			accepted = append(accepted, key.Alg)
		}
	}
	if len(accepted) == 0 {
		return errors.New("no key of the set has an algorithm that Spring Security knows")
	}
	verifier, err := keyfunc.NewJWKSetJSON(set)
	if err != nil {
		return err
	}
	parsed, err := jwt.Parse(token, verifier.Keyfunc, jwt.WithValidMethods(accepted), jwt.WithExpirationRequired())
	if err != nil {
		return err
	}
	if parsed.Method.Alg() != algorithm {
		return fmt.Errorf("it was signed by %s", parsed.Method.Alg())
	}
	if typ, ok := parsed.Header["typ"].(string); ok && !strings.EqualFold(typ, "JWT") {
		return fmt.Errorf("the typ is %s", typ)
	}
	if got, err := parsed.Claims.GetIssuer(); err != nil || got != issuer {
		return fmt.Errorf("iss is %q, want %q", got, issuer)
	}
	return nil
}
