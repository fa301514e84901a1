package domain

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"
	"time"
)

// A token string is `rt_` and the base64url form of 48 bytes, big-endian:
//
//	 0  1  version, 1
//	 1  3  number of the token key
//	 4 16  id of the refresh token
//	20  4  generation, from 1
//	24 20  the first 20 bytes of HMAC-SHA-256 over the 24 bytes before
//	44  4  CRC-32 (IEEE) over the 44 bytes before
//
// 48 bytes fill 64 characters exactly, so every token string has one spelling. The checksum lets a secret scanner
// recognize a token string without any key.
const (
	tokenStringPrefix  = "rt_"
	tokenStringLength  = len(tokenStringPrefix) + 64
	tokenStringVersion = 1

	macOffset      = 24
	checksumOffset = 44
	tokenBytes     = 48

	// MaxTokenKeyNumber is the largest number of a token key, which has three bytes in each token string.
	MaxTokenKeyNumber = 1<<24 - 1
)

// TokenKey authenticates token strings.
type TokenKey struct {
	Number   uint32    // 1 to MaxTokenKeyNumber; part of every token string that the key mints
	StartsAt time.Time // the key mints generations rotated at or after it; zero for the first key
	UnusedAt time.Time // see [SealedKey]
	// From RetiredAt or RevokedAt on, unless they are zero, token strings of the key are refused. A key is retired when
	// no active refresh token needs it, and revoked in an emergency.
	RetiredAt, RevokedAt time.Time
	Key                  Secret // 32 random bytes
}

// Mint returns the token string of one generation. The same arguments always give the same bytes, so that a retry gets
// the same token string.
func (k TokenKey) Mint(id ID, generation uint32) Secret {
	var b [tokenBytes]byte
	binary.BigEndian.PutUint32(b[:], k.Number) // its first byte is zero, and is replaced by the version
	b[0] = tokenStringVersion
	copy(b[4:], id[:])
	binary.BigEndian.PutUint32(b[20:], generation)
	copy(b[macOffset:checksumOffset], k.mac(b[:macOffset]))
	binary.BigEndian.PutUint32(b[checksumOffset:], crc32.ChecksumIEEE(b[:checksumOffset]))
	return NewSecret(tokenStringPrefix + base64.RawURLEncoding.EncodeToString(b[:]))
}

func (k TokenKey) mac(signed []byte) []byte {
	h := hmac.New(sha256.New, []byte(k.Key.Reveal()))
	h.Write(signed)
	return h.Sum(nil)[:checksumOffset-macOffset]
}

// PresentedToken is a well-formed token string in its parts. It is not trustworthy before Genuine has returned true.
type PresentedToken struct {
	KeyNumber  uint32
	ID         ID
	Generation uint32

	raw [tokenBytes]byte
}

// ParseTokenString parses a token string. It checks form, version and checksum; it needs no key.
func ParseTokenString(s string) (PresentedToken, bool) {
	if len(s) != tokenStringLength || !strings.HasPrefix(s, tokenStringPrefix) {
		return PresentedToken{}, false
	}
	for _, c := range []byte(s[len(tokenStringPrefix):]) {
		// The decoder skips line breaks, even in strict mode, and would accept a second spelling.
		if c == '\n' || c == '\r' {
			return PresentedToken{}, false
		}
	}
	var t PresentedToken
	if _, err := base64.RawURLEncoding.Decode(t.raw[:], []byte(s[len(tokenStringPrefix):])); err != nil {
		return PresentedToken{}, false
	}
	if t.raw[0] != tokenStringVersion ||
		binary.BigEndian.Uint32(t.raw[checksumOffset:]) != crc32.ChecksumIEEE(t.raw[:checksumOffset]) {
		return PresentedToken{}, false
	}
	t.KeyNumber = binary.BigEndian.Uint32(t.raw[:]) & MaxTokenKeyNumber
	t.ID = ID(t.raw[4:20])
	t.Generation = binary.BigEndian.Uint32(t.raw[20:])
	return t, t.Generation > 0 && !t.ID.IsZero()
}

// Genuine reports, in constant time, whether key minted this token string.
func (t PresentedToken) Genuine(key TokenKey) bool {
	return subtle.ConstantTimeCompare(t.raw[macOffset:checksumOffset], key.mac(t.raw[:macOffset])) == 1
}

// TokenKeys are the token keys of a deployment, in any order.
type TokenKeys []TokenKey

// ByNumber returns the key with that number.
func (ks TokenKeys) ByNumber(number uint32) (TokenKey, bool) {
	i := slices.IndexFunc(ks, func(k TokenKey) bool { return k.Number == number })
	if i < 0 {
		return TokenKey{}, false
	}
	return ks[i], true
}

// MintingAt returns the key that mints a generation rotated at that instant: the newest key that has started. Of two
// that start together the higher number wins. A key that was revoked before its start never mints. The result depends
// on nothing else, so every replica mints the same bytes at any later time.
func (ks TokenKeys) MintingAt(rotatedAt time.Time) (TokenKey, bool) {
	var best TokenKey
	for _, k := range ks {
		if k.StartsAt.After(rotatedAt) || !k.mints() {
			continue
		}
		if best.Number == 0 || k.StartsAt.After(best.StartsAt) ||
			k.StartsAt.Equal(best.StartsAt) && k.Number > best.Number {
			best = k
		}
	}
	return best, best.Number != 0
}
