package spelling_test

import (
	"strings"
	"testing"

	"github.com/refreshd/refreshd/config/spelling"
)

func TestNearestFindsASlipAndNothingElse(t *testing.T) {
	known := []string{"issuer", "active", "cookieDomain", "key"}
	for name, want := range map[string]string{
		"isuer": "issuer", "Issuer": "issuer", "actvie": "active", "cookiedomain": "cookieDomain",
		"kye":    "key", // two letters that changed places are one slip
		"colour": "", "x": "", "": "", strings.Repeat("issuer", 20): "",
	} {
		if got := spelling.Nearest(name, known); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
}
