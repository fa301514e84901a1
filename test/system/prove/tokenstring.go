package main

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// parseTokenString reads the parts of a token string that are not secret: the id of the refresh token, and the
// generation.
func parseTokenString(s string) (id string, generation uint32, err error) {
	text, ok := strings.CutPrefix(s, "rt_")
	if !ok {
		return "", 0, errors.New("a token string begins with rt_")
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) != 48 {
		return "", 0, errors.New("a token string holds 48 bytes")
	}
	u := b[4:20]
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]), binary.BigEndian.Uint32(b[20:24]), nil
}
