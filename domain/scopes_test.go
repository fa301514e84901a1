package domain_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/domain"
)

// An access token never has a scope that was not granted, whatever is asked for (RFC 6749, section 6).
func TestNarrow(t *testing.T) {
	for _, tt := range []struct {
		granted, asked, want string
		ok                   bool
	}{
		{"a b", "", "a b", true},
		{"a b", "a", "a", true},
		{"a b", "b a b", "a b", true},
		{"a b", "c", "", false},
		{"a b", "a c", "a", false},
		{"a b", "A", "", false},
		{"a b", "openid", "a b", true},
		{"a b", "openid offline_access profile email", "a b", true},
		{"a b", "openid a", "a", true},
		{"a b", "openid c", "", false},
		{"a openid", "openid", "openid", true},
		{"a openid", "openid profile", "openid", true},
		{"", "openid", "", true},
		{"", "a", "", false},
		{"", "", "", true},
	} {
		granted, asked := strings.Fields(tt.granted), strings.Fields(tt.asked)
		got, ok := domain.Narrow(granted, asked)
		if strings.Join(got, " ") != tt.want || ok != tt.ok {
			t.Errorf("%q of %q: got %q, %t; want %q, %t", tt.asked, tt.granted, got, ok, tt.want, tt.ok)
		}
		for _, s := range got {
			if !slices.Contains(granted, s) {
				t.Errorf("%q of %q: got %q, which was not granted", tt.asked, tt.granted, s)
			}
		}
	}
}
