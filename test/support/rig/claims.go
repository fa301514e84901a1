package rig

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// ReadClaims decodes the claims of an access token into the value that claims points to. It does not verify the
// signature.
func ReadClaims(accessToken string, claims any) error {
	parts := strings.Split(accessToken, ".")
	if len(parts) != 3 {
		return fmt.Errorf("an access token has three parts, not %d", len(parts))
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return err
	}
	return json.Unmarshal(text, claims)
}
