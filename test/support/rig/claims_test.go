package rig

import (
	"encoding/base64"
	"testing"
)

// A text that is not an access token has no claims.
func TestReadClaims(t *testing.T) {
	payload := base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"ada"}`))
	for token, want := range map[string]string{
		"h." + payload + ".s": "ada", "h." + payload: "", "h." + payload + ".s.x": "", "h.%.s": "", "h.e30x.s": "", "": "",
	} {
		var got struct {
			Subject string `json:"sub"`
		}
		if err := ReadClaims(token, &got); (err == nil) != (want != "") || got.Subject != want {
			t.Errorf("ReadClaims(%q) gives %q, %v, want %q", token, got.Subject, err, want)
		}
	}
}
