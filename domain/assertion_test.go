package domain_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// RFC 7523, section 3: each member that it requires, and both bounds of each instant.
func TestAnAssertionIsOfOneClientForThisService(t *testing.T) {
	issuer, endpoint := "https://auth.acme.example", "https://auth.acme.example/oauth2/token"
	now := proofTime
	for name, c := range map[string]struct {
		change func(*domain.Assertion)
		ok     bool
	}{
		"good":               {func(*domain.Assertion) {}, true},
		"the token endpoint": {func(a *domain.Assertion) { a.Audience = []string{endpoint} }, true},
		"one of several":     {func(a *domain.Assertion) { a.Audience = []string{"https://other.example", issuer} }, true},
		"without iat, nbf": {func(a *domain.Assertion) {
			a.IssuedAt, a.NotBefore = time.Time{}, time.Time{}
		}, true},
		"10 minutes and the skew": {func(a *domain.Assertion) { a.ExpiresAt = now.Add(11 * time.Minute) }, true},
		"longer":                  {func(a *domain.Assertion) { a.ExpiresAt = now.Add(11*time.Minute + 1) }, false},
		"just not expired":        {func(a *domain.Assertion) { a.ExpiresAt = now.Add(-time.Minute + 1) }, true},
		"expired":                 {func(a *domain.Assertion) { a.ExpiresAt = now.Add(-time.Minute) }, false},
		"without exp":             {func(a *domain.Assertion) { a.ExpiresAt = time.Time{} }, false},
		"made just ahead":         {func(a *domain.Assertion) { a.IssuedAt = now.Add(time.Minute) }, true},
		"made ahead":              {func(a *domain.Assertion) { a.IssuedAt = now.Add(time.Minute + 1) }, false},
		"valid just ahead":        {func(a *domain.Assertion) { a.NotBefore = now.Add(time.Minute) }, true},
		"valid ahead":             {func(a *domain.Assertion) { a.NotBefore = now.Add(time.Minute + 1) }, false},
		"another issuer":          {func(a *domain.Assertion) { a.Issuer = "blog" }, false},
		"another subject":         {func(a *domain.Assertion) { a.Subject = "blog" }, false},
		"another audience":        {func(a *domain.Assertion) { a.Audience = []string{"https://other.example"} }, false},
		"no audience":             {func(a *domain.Assertion) { a.Audience = nil }, false},
		"an empty audience":       {func(a *domain.Assertion) { a.Audience = []string{""} }, false},
		"a similar audience":      {func(a *domain.Assertion) { a.Audience = []string{issuer + "/"} }, false},
		"without jti":             {func(a *domain.Assertion) { a.ID = "" }, false},
		"a long jti":              {func(a *domain.Assertion) { a.ID = strings.Repeat("j", 257) }, false},
	} {
		a := domain.Assertion{
			Issuer: "shop", Subject: "shop", Audience: []string{issuer}, ID: "j", ExpiresAt: now.Add(time.Minute),
			IssuedAt: now, NotBefore: now,
		}
		c.change(&a)
		if err := a.Check("shop", []string{issuer, endpoint, ""}, now); (err == nil) != c.ok ||
			err != nil && !errors.Is(err, domain.ErrUnauthorized) {
			t.Errorf("%s: got %v, want ok %t", name, err, c.ok)
		}
	}
	if err := (domain.Assertion{}).Check("", nil, now); !errors.Is(err, domain.ErrUnauthorized) {
		t.Errorf("an empty assertion of no client: got %v, want ErrUnauthorized", err)
	}
}

func TestAssertionSubject(t *testing.T) {
	jwt := func(payload string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
	}
	for text, want := range map[string]string{
		jwt(`{"sub":"shop","iss":"other"}`): "shop", jwt(`{"iss":"shop"}`): "", jwt(`[]`): "", jwt(`{"sub":7}`): "",
		"": "", "..": "", jwt(`{"sub":"shop"}`) + ".c2ln": "", "e30.***.c2ln": "",
		jwt(`{"sub":"` + strings.Repeat("s", 8<<10) + `"}`): "",
	} {
		if got := domain.AssertionSubject(domain.NewSecret(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
