package run

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/usecase/admin"
)

// The dialect of OAuth 2 is wired to the same sessions as the JSON API: a refresh token of POST /jwt/issue is
// exchanged, introspected and revoked, below the tenant and, for the root tenant, at the root.
func TestTheDialectOfOAuthIsWired(t *testing.T) {
	s, h := onMemory(t)
	key := "ak_" + strings.Repeat("k", 32)
	_, err := s.applier().Do(t.Context(), admin.Kickstart{
		Tenants: []admin.KickstartTenant{{
			Tenant: domain.Tenant{ID: "default", Name: "Default"}, Applications: []domain.Application{{ID: "spa", Name: "SPA"}},
		}},
		APIKeys: []admin.KickstartAPIKey{{
			APIKey: domain.APIKey{Name: "k", TenantID: "default", Permissions: domain.Permissions{"*": {"*"}}},
			Key:    domain.NewSecret(key),
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	post := func(path, mediaType, body string) (status int, answer map[string]any) {
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
		r.Header.Set("Content-Type", mediaType)
		r.Header.Set("X-Tenant-Id", "default")
		if !strings.HasSuffix(path, "/token") && !strings.HasSuffix(path, "/revoke") {
			r.Header.Set("Authorization", "Bearer "+key)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Body.Len() > 0 {
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
				t.Fatal(err)
			}
		}
		return w.Code, answer
	}
	form := func(path string, values url.Values) (int, map[string]any) {
		return post(path, "application/x-www-form-urlencoded", values.Encode())
	}
	for _, place := range []string{"/t/default/oauth2", "/oauth2"} {
		_, issued := post("/jwt/issue", "application/json", `{"userId":"ada","applicationsId":"spa"}`)
		data, _ := issued["data"].(map[string]any)
		first, _ := data["refreshToken"].(string)
		status, tokens := form(place+"/token", url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {first}, "client_id": {"spa"},
		})
		next, _ := tokens["refresh_token"].(string)
		access, _ := tokens["access_token"].(string)
		if status != 200 || next == "" || access == "" {
			t.Fatalf("%s/token: got %d %v", place, status, tokens)
		}
		for _, want := range []bool{true, false} {
			for _, token := range []string{next, access} {
				if status, got := form(place+"/introspect", url.Values{"token": {token}}); status != 200 || got["active"] != want {
					t.Errorf("%s/introspect: got %d %v, want active %t", place, status, got, want)
				}
			}
			if status, got := form(place+"/revoke", url.Values{"token": {next}, "client_id": {"spa"}}); status != 200 {
				t.Errorf("%s/revoke: got %d %v", place, status, got)
			}
		}
	}
}
