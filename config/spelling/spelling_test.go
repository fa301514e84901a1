package spelling_test

import (
	"strings"
	"testing"

	"github.com/refreshd/refreshd/config/spelling"
)

func TestNearestFindsASlipAndNothingElse(t *testing.T) {
	known := []string{"issuer", "active", "cookieDomain"}
	for name, want := range map[string]string{
		"isuer": "issuer", "Issuer": "issuer", "actvie": "active", "cookiedomain": "cookieDomain",
		"colour": "", "x": "", "": "", strings.Repeat("issuer", 20): "",
	} {
		if got := spelling.Nearest(name, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}
