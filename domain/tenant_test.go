package domain_test

import (
	"strings"
	"testing"

	"github.com/refreshd/refreshd/domain"
)

func TestTenantID(t *testing.T) {
	for id, want := range map[string]string{
		"acme": "", "A": "", "0": "", "a.b_c~d-e": "", "...": "", strings.Repeat("x", 64): "",
		"":                      "[blank]id",
		strings.Repeat("x", 65): "[tooLong]id",
		".":                     "[invalid]id",
		"..":                    "[invalid]id",
		"a b":                   "[invalid]id",
		" acme":                 "[invalid]id",
		"a/b":                   "[invalid]id",
		"a%2e":                  "[invalid]id",
		"a\n":                   "[invalid]id",
		"a\x00":                 "[invalid]id",
		"acmé":                  "[invalid]id",
		"\xff":                  "[invalid]id",
		"a\ufffd":               "[invalid]id",
	} {
		var codes []string
		if want != "" {
			codes = []string{want}
		}
		t.Run(id, func(t *testing.T) { wantCodes(t, domain.Tenant{ID: id}.Validate(), codes...) })
	}
}

func TestApplicationID(t *testing.T) {
	for id, want := range map[string]string{
		"shop": "", "0": "", "Ünïcødé shop/№1": "", strings.Repeat("x", 255): "", strings.Repeat("é", 127): "",
		"":                       "[blank]id",
		strings.Repeat("x", 256): "[tooLong]id",
		strings.Repeat("é", 128): "[tooLong]id",
		" shop":                  "[invalid]id",
		"shop ":                  "[invalid]id",
		"shop\u00a0":             "[invalid]id",
		"a\tb":                   "[invalid]id",
		"a\x00b":                 "[invalid]id",
		"a\u0085b":               "[invalid]id",
		"a\x7fb":                 "[invalid]id",
		"a\xffb":                 "[invalid]id",
	} {
		var codes []string
		if want != "" {
			codes = []string{want}
		}
		t.Run(id, func(t *testing.T) {
			wantCodes(t, domain.Application{ID: id}.Validate(domain.Tenant{ID: "acme"}), codes...)
		})
	}
}

func TestNames(t *testing.T) {
	wantCodes(t, domain.Tenant{ID: "acme", Name: "Acme, Inc."}.Validate())
	wantCodes(t, domain.Tenant{ID: "acme", Name: strings.Repeat("x", 256)}.Validate(), "[tooLong]name")
	wantCodes(t, domain.Application{ID: "shop", Name: "a\nb"}.Validate(domain.Tenant{ID: "acme"}), "[invalid]name")
}

// Verifiers compare the issuer byte by byte, and append a path to it to find the keys.
func TestIssuer(t *testing.T) {
	for _, good := range []string{
		"", "https://auth.acme.example", "https://auth.acme.example/t/acme", "http://localhost:3000",
		"https://[::1]:8443/x", "https://a.example/",
	} {
		wantCodes(t, domain.Tenant{ID: "acme", Issuer: good}.Validate())
	}
	for _, bad := range []string{
		"acme", "auth.acme.example", "ftp://a.example", "https://", "https:///x", "https://a.example?x=1",
		"https://a.example?", "https://a.example#x",
		"https://user@a.example", "https://user:pass@a.example", "javascript:alert(1)", "https://a.example/ x",
		"https://a.example\n", " https://a.example",
		"HTTPS://a.example", "https://a.example/" + strings.Repeat("x", 240), "urn:x",
	} {
		t.Run(bad, func(t *testing.T) {
			wantCodes(t, domain.Tenant{ID: "acme", Issuer: bad}.Validate(), "[invalid]issuer")
		})
	}
}

// An access token of one tenant must not name the issuer of another: a verifier that identifies sessions or users by
// issuer would confuse them.
func TestAnIssuerIsNeverTheOneThatAnotherTenantDerives(t *testing.T) {
	for _, publicURL := range []string{
		"https://auth.example", "http://127.0.0.1:3000/", "https://x.example/a/b", "https://x.example/t/acme",
	} {
		derived := domain.Issuer(publicURL, "acme", "")
		wantCodes(t, domain.Tenant{ID: "acme", Issuer: derived}.Validate())
		wantCodes(t, domain.Tenant{ID: "evil", Issuer: derived}.Validate(), "[conflict]issuer")
	}
	for issuer, fine := range map[string]bool{
		"https://auth.example/t/acme": false, "https://auth.example/x/t/Acme": false,
		"https://auth.example/t/t/~": false,
		"https://auth.example/t/t/":  true, "https://t/acme": true, "https://auth.example/at/acme": true,
		"https://auth.example/t/acme/":  true,
		"https://auth.example/t/acme/x": true, "https://auth.example/t/..": true, "https://auth.example/t": true,
		"https://auth.example/t/" + strings.Repeat("x", 65): true, "https://auth.example/t/a%20b": true,
	} {
		var codes []string
		if !fine {
			codes = []string{"[conflict]issuer"}
		}
		t.Run(issuer, func(t *testing.T) {
			wantCodes(t, domain.Tenant{ID: "evil", Issuer: issuer}.Validate(), codes...)
		})
	}
}
