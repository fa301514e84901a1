package run

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/test/support/dpop"
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

// RFC 9449, section 8. By default a proof needs no nonce.
func TestTheSettingDemandsANonceInEachProof(t *testing.T) {
	for setting, want := range map[string]int{"true": http.StatusBadRequest, "false": http.StatusOK} {
		t.Run(setting, func(t *testing.T) {
			s, h := onMemory(t, "REFRESHD_DPOP_NONCE="+setting)
			key := domain.NewSecret("ak_" + strings.Repeat("k", 32))
			_, err := s.applier().Do(t.Context(), admin.Kickstart{
				Tenants: []admin.KickstartTenant{{
					Tenant: domain.Tenant{ID: "acme"}, Applications: []domain.Application{{ID: "spa"}},
				}},
				APIKeys: []admin.KickstartAPIKey{{
					APIKey: domain.APIKey{Name: "k", TenantID: "acme", Permissions: domain.Permissions{"*": {"*"}}}, Key: key,
				}},
			})
			if err != nil {
				t.Fatal(err)
			}
			holder := dpop.NewKey(t)
			send := func(path, body string, claims ...func(header, claims map[string]any)) (int, http.Header, string) {
				r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
				r.Header.Set("Content-Type", "application/json")
				r.Header.Set("X-Tenant-Id", "acme")
				r.Header.Set("Authorization", key.Reveal())
				r.Header.Set("DPoP", holder.Proof(t, "POST", "http://127.0.0.1:3000"+path, time.Now(), claims...))
				w := httptest.NewRecorder()
				h.ServeHTTP(w, r)
				var got struct{ Data struct{ RefreshToken string } }
				if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
					t.Fatal(err)
				}
				return w.Code, w.Header(), got.Data.RefreshToken
			}
			const ask = `{"userId":"ada","applicationsId":"spa"}`
			status, header, _ := send("/jwt/issue", ask)
			if status != want || (header.Get("DPoP-Nonce") != "") != (want != http.StatusOK) {
				t.Fatalf("without a nonce: got %d, %v", status, header)
			}
			if want == http.StatusOK {
				return
			}
			with := func(nonce string) func(_, claims map[string]any) {
				return func(_, claims map[string]any) { claims["nonce"] = nonce }
			}
			status, header, first := send("/jwt/issue", ask, with(header.Get("DPoP-Nonce")))
			if status != http.StatusOK {
				t.Fatalf("with the nonce: got %d", status)
			}
			status, _, _ = send("/jwt/refresh", `{"refreshToken":"`+first+`"}`, with(header.Get("DPoP-Nonce")))
			if status != http.StatusOK {
				t.Errorf("with the nonce of the response: got %d", status)
			}
		})
	}
}
