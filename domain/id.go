package domain

import (
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// ID names a refresh token. It is a UUID of version 7 (RFC 9562, section 5.7), so the order of ids is the order of
// issue as far as the clocks that made them agree. Nothing may depend on that order: [RefreshToken.Ordinal] is for
// what does. It is no secret.
type ID [16]byte

// NewID makes an id from the instant and from 10 bytes of random.
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

// ParseID reads the 36 characters of RFC 9562, section 4, hex digits in either case. Any UUID but the nil one will do.
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

// Time is when an id of version 7 was made, to the millisecond, by the clock that made it. Other versions and
// variants do not say: false.
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

// CheckChosen returns an *Invalid unless the id is one that a caller may choose at now: of version 7, so that it says
// when it was made, and made at most [MaxClockSkew] ahead of now. How old it may be is for IsStale.
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

// IsStale reports whether the id was made so long ago that a refresh token of that id may have been issued, have
// ended, and have been deleted since, if ended ones are kept for that long; 0 if they are never deleted. Such an id
// must not be issued under again: the old token strings would be valid for the new refresh token. An id may have been
// made ahead of the clock that it was first issued by, and that clock may be ahead of now, by [MaxClockSkew] each;
// IsStale errs by both on the safe side. An id that does not say when it was made is never stale.
func (id ID) IsStale(now time.Time, kept time.Duration) bool {
	made, ok := id.Time()
	return ok && kept > 0 && now.Sub(made) >= kept-2*MaxClockSkew
}

// IsZero reports whether id names nothing.
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
