package domain_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

func TestNewAccessToken(t *testing.T) {
	got := domain.NewAccessToken(stored().Token, "https://auth.example", issued, 15*time.Minute)
	want := domain.AccessToken{
		Issuer: "https://auth.example", Subject: "ada", Audience: "shop", ID: got.ID,
		IssuedAt: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), ExpiresAt: time.Date(2026, 3, 1, 12, 15, 0, 0, time.UTC),
		SessionID: "018f2a3b-4c5d-766e-877f-8091a2b3c4d5", TenantID: "acme", ApplicationID: "shop",
		Roles: []string{"admin"}, Scopes: []string{"read"}, Claims: `{"plan":"gold"}`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(got.ID) != 22 {
		t.Errorf("jti: got %q, want 16 bytes in base64url", got.ID)
	}
}

// The same rotation gives the same claims, so that a retry is answered with the same bytes; anything that changes what the token
// says about time or scope gives another jti, so that a deny list tells the two apart.
func TestAccessTokenIDFollowsFromWhatItSays(t *testing.T) {
	token := stored().Token
	first := domain.NewAccessToken(token, "https://auth.example", issued, 15*time.Minute)
	if again := domain.NewAccessToken(token, "https://auth.example", issued.Add(500*time.Millisecond), 15*time.Minute); !cmp.Equal(first, again) {
		t.Errorf("the same second: %s", cmp.Diff(first, again))
	}
	id := map[string]string{first.ID: "first"}
	for name, make := range map[string]func(domain.RefreshToken) domain.AccessToken{
		"another second": func(r domain.RefreshToken) domain.AccessToken {
			return domain.NewAccessToken(r, "https://auth.example", issued.Add(time.Second), 15*time.Minute)
		},
		"another life": func(r domain.RefreshToken) domain.AccessToken {
			return domain.NewAccessToken(r, "https://auth.example", issued, time.Minute)
		},
		"another generation": func(r domain.RefreshToken) domain.AccessToken {
			r.Generation++
			return domain.NewAccessToken(r, "https://auth.example", issued, 15*time.Minute)
		},
		"another refresh token": func(r domain.RefreshToken) domain.AccessToken {
			r.ID[15]++
			return domain.NewAccessToken(r, "https://auth.example", issued, 15*time.Minute)
		},
		"another scope": func(r domain.RefreshToken) domain.AccessToken {
			r.Scopes = nil
			return domain.NewAccessToken(r, "https://auth.example", issued, 15*time.Minute)
		},
	} {
		got := make(token).ID
		if twin, taken := id[got]; taken {
			t.Errorf("%s: the jti of %s", name, twin)
		}
		id[got] = name
	}
}
