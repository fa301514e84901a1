package domain

import (
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// ID identifies a refresh token. It is a UUID of version 7 (RFC 9562, section 5.7), so the order of ids is the order of
// issue as far as the clocks that made them agree. Nothing may depend on that order; [RefreshToken.Ordinal] gives the
// order where it matters. An id is not secret.
type ID [16]byte

// NewID makes an id from now and 10 bytes of random.
func NewID(now time.Time, random io.Reader) (ID, error) {
	var id ID
	if _, err := io.ReadFull(random, id[6:]); err != nil {
		return ID{}, fmt.Errorf("make an id: %w", err)
	}
	ms := now.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id, nil
}

// ParseID parses the 36 characters of RFC 9562, section 4, with hex digits in either case. It accepts any UUID except
// the nil UUID.
func ParseID(s string) (ID, bool) {
	var id ID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return ID{}, false
	}
	digits := make([]byte, 0, 32)
	for i := range len(s) {
		if i != 8 && i != 13 && i != 18 && i != 23 {
			digits = append(digits, s[i])
		}
	}
	if _, err := hex.Decode(id[:], digits); err != nil {
		return ID{}, false
	}
	return id, !id.IsZero()
}

// Time returns the time at which an id of version 7 was made, to the millisecond, by the clock that made it. It returns
// false for other versions and variants, which do not hold a time.
func (id ID) Time() (time.Time, bool) {
	if id[6]>>4 != 7 || id[8]>>6 != 0b10 {
		return time.Time{}, false
	}
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms).UTC(), true
}

// CheckChosen returns an *Invalid unless a caller may choose the id at now: it must be of version 7, which holds its
// time, and made at most [MaxClockSkew] ahead of now. IsStale checks its age.
func (id ID) CheckChosen(now time.Time) error {
	switch made, ok := id.Time(); {
	case !ok:
		return NewInvalid("refreshTokenId", Malformed, "use a UUID of version 7, or leave it out")
	case made.Sub(now) > MaxClockSkew:
		return NewInvalid("refreshTokenId", Malformed,
			"the time in this id is in the future: correct the clock of the system that makes your ids")
	default:
		return nil
	}
}

// IsStale reports whether the id is so old that its refresh token may have been issued, have ended and have been
// deleted, if ended refresh tokens are kept for the duration kept; 0 if they are never deleted. A stale id must not be
// used for an issue: the old token strings would be valid for the new refresh token. The id may have been made ahead of
// the clock that first issued under it, and that clock may be ahead of now, by [MaxClockSkew] each; IsStale adds both.
// An id without a time is never stale.
func (id ID) IsStale(now time.Time, kept time.Duration) bool {
	made, ok := id.Time()
	return ok && kept > 0 && now.Sub(made) >= kept-2*MaxClockSkew
}

// IsZero reports whether id is the zero value.
func (id ID) IsZero() bool { return id == ID{} }

func (id ID) String() string {
	var s [36]byte
	hex.Encode(s[:8], id[:4])
	hex.Encode(s[9:13], id[4:6])
	hex.Encode(s[14:18], id[6:8])
	hex.Encode(s[19:23], id[8:10])
	hex.Encode(s[24:], id[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}
