package httpapi_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkExchange measures an exchange without network and database: the HTTP adapter, the rules and the signature.
// Its figures include the request and the recorder of the response.
func BenchmarkExchange(b *testing.B) {
	s := newService(b)
	s.options.Log, s.api.Exchanged = slog.New(slog.DiscardHandler), nil
	s.mount(b)
	post := func(path, body string) (g grant) {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if path == "/jwt/issue" {
			r.Header.Set("Authorization", s.keys["backend"])
			r.Header.Set("X-Stencil-TenantId", aTenant)
		}
		rec := httptest.NewRecorder()
		s.handler.ServeHTTP(rec, r)
		var a struct{ Data grant }
		if err := json.NewDecoder(bytes.NewReader(rec.Body.Bytes())).Decode(&a); err != nil || rec.Code != http.StatusOK {
			b.Fatalf("POST %s: %d %s: %v", path, rec.Code, rec.Body, err)
		}
		return a.Data
	}
	current := post("/jwt/issue",
		`{"userId": "alice", "applicationsId": "blog"}`) // no grace period: each exchange rotates
	b.ReportAllocs()
	for b.Loop() {
		next := post("/jwt/refresh", `{"refreshToken": "`+current.RefreshToken+`"}`)
		if next.RefreshToken == current.RefreshToken {
			b.Fatal("the token string was not rotated")
		}
		current = next
	}
}
