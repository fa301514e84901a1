package oauthapi_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/dpop"
)

// BenchmarkExchange measures an exchange without network and database, by how the client authenticates: the HTTP
// adapter, the rules and the signatures. Its figures include the request and the recorder of the response. An
// assertion is signed outside of the measured time.
func BenchmarkExchange(b *testing.B) {
	for _, method := range []string{"none", "client_secret_basic", "private_key_jwt"} {
		b.Run(method, func(b *testing.B) {
			s := newService(b)
			s.options.Log, s.api.Exchanged = slog.New(slog.DiscardHandler), nil
			s.mount(b)
			key := dpop.NewKey(b)
			pairs := func() []string { return []string{"client_id", "strict"} } // no grace period: each exchange rotates
			basicOf := func(*http.Request) {}
			switch method {
			case "client_secret_basic":
				secret := s.newSecret(b, acme, "strict")
				basicOf = func(r *http.Request) { r.SetBasicAuth("strict", secret) }
			case "private_key_jwt":
				s.client(b, acme, "strict", func(c *domain.Client) { c.Keys = key.Set(b) })
				pairs = func() []string { return asserting(key.Assertion(b, "strict", acmeIssuer, s.clock())) }
			}
			current := s.login(b, acme, "strict").TokenString.Reveal()
			b.ReportAllocs()
			for range b.N {
				b.StopTimer()
				body := encode(append(pairs(), "grant_type", "refresh_token", "refresh_token", current)...)
				b.StartTimer()
				r := httptest.NewRequest(http.MethodPost, "/t/acme/oauth2/token", strings.NewReader(body))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				basicOf(r)
				rec := httptest.NewRecorder()
				s.handler.ServeHTTP(rec, r)
				_, after, _ := strings.Cut(rec.Body.String(), `"refresh_token":"`)
				next, _, _ := strings.Cut(after, `"`)
				if rec.Code != http.StatusOK || next == "" || next == current {
					b.Fatalf("got %d %s", rec.Code, rec.Body)
				}
				current = next
			}
		})
	}
}
