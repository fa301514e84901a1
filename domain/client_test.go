package domain_test

import (
	"testing"

	"github.com/refreshd/refreshd/domain"
)

// A refresh ignores an audience that an application without audiences cannot have (RFC 8707, section 2); a token
// exchange, whose purpose it is, does not (RFC 8693, section 2.2.2).
func TestTheAudienceOfAnAccessToken(t *testing.T) {
	none, some := domain.Client{}, domain.Client{Audiences: []string{"orders", "https://api.example.com"}}
	for _, tt := range []struct {
		client            domain.Client
		asked             string
		audience          string
		refresh, exchange bool // whether it is accepted
	}{
		{none, "", "", true, true},
		{none, "shop", "", true, true},
		{none, "orders", "", true, false},
		{some, "", "", true, true},
		{some, "shop", "", true, true},
		{some, "orders", "orders", true, true},
		{some, "https://api.example.com", "https://api.example.com", true, true},
		{some, "https://api.example.com/", "", false, false},
		{some, "Orders", "", false, false},
	} {
		audience, ok := tt.client.Audience("shop", tt.asked)
		if ok != tt.refresh || ok && audience != tt.audience {
			t.Errorf("%v, a refresh for %q: got %q, %t", tt.client.Audiences, tt.asked, audience, ok)
		}
		audience, ok = tt.client.Target("shop", tt.asked)
		if ok != tt.exchange || ok && audience != tt.audience {
			t.Errorf("%v, a token exchange for %q: got %q, %t", tt.client.Audiences, tt.asked, audience, ok)
		}
	}
}
