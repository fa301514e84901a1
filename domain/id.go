package domain

import (
	"encoding/hex"
	"fmt"
	"io"
	"time"
)

// ID names a refresh token. Those that we make are UUIDs of version 7 (RFC 9562, section 5.7), so the order of ids is the
// order of issue, within a millisecond. It is no secret.
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

// IsOrdered tells whether the id is of version 7, so that its order is the order of issue.
func (id ID) IsOrdered() bool { return id[6]>>4 == 7 }

// Time is when an id of version 7 was made, to the millisecond, as far as who made it knew. Other versions do not say: false.
func (id ID) Time() (time.Time, bool) {
	if !id.IsOrdered() {
		return time.Time{}, false
	}
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms).UTC(), true
}

// IsStale tells whether the id was made so long ago that a refresh token of that id may have been issued, have died, and have been
// deleted since, if the dead are kept for that long; 0 if they are never deleted. Such an id must not be issued under again: the old
// token strings would be good for the new refresh token. It errs by [ClocksMayDiffer] on the safe side. An id that does not say
// when it was made is never stale.
func (id ID) IsStale(now time.Time, kept time.Duration) bool {
	made, ok := id.Time()
	return ok && kept > 0 && now.Sub(made) >= kept-ClocksMayDiffer
}

// IsZero tells whether id names nothing.
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
