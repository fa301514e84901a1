package domain

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// KeyKind is the use of a stored key.
type KeyKind string

const (
	KeyCheck   KeyKind = "check"   // not a key: a known text, to distinguish a wrong master key from a corrupt store
	KeyToken   KeyKind = "token"   // authenticates token strings
	KeyAPI     KeyKind = "api"     // hashes API keys
	KeySigning KeyKind = "signing" // signs access tokens
)

// SealedKey is a key as the store holds it. Kind, tenant, algorithm and number identify it: if two are made
// concurrently under one name, a store keeps one.
type SealedKey struct {
	Kind      KeyKind
	TenantID  string    // of a signing key of one tenant; empty for a shared one and for other kinds
	Algorithm Algorithm // of a signing key
	Number    uint32    // from 1
	ID        string    // of a signing key: its `kid`, unique; other kinds have none
	Name      string    // given by an operator, for people
	CreatedAt time.Time
	KnownAt   time.Time // since when verifiers have known an imported key; zero for CreatedAt
	StartsAt  time.Time // when its use begins; zero for always, [Never] for a standby without a schedule
	// UnusedAt is, of a token key, when it was known that the current token string of no active refresh token is of it;
	// zero until then.
	UnusedAt  time.Time
	RetiredAt time.Time // when its use ended as planned; zero if it is not retired
	RevokedAt time.Time // when it was ended in an emergency; zero if it is not revoked
	Sealed    string    // nonce and ciphertext
	SealedBy  string    // [MasterKey.ID] of the master key that sealed it; empty if that is not known
	Revision  uint64    // of the write that stored it, set by the store
}

// Never is the start of a key that no schedule starts. It is after every other instant that is stored.
var Never = time.Date(9999, time.December, 31, 0, 0, 0, 0, time.UTC)

// KeyName is the key's name in events, in the command line and in the API: the `kid` of a signing key, kind and number
// of any other, such as `token-1`.
func (k SealedKey) KeyName() string {
	if k.ID != "" {
		return k.ID
	}
	return fmt.Sprintf("%s-%d", k.Kind, k.Number)
}

// ParseKeyName returns the kind and the number that a name such as `token-1` stands for. ok is false for any other
// name, which can only be the `kid` of a signing key.
func ParseKeyName(name string) (kind KeyKind, number uint32, ok bool) {
	prefix, digits, _ := strings.Cut(name, "-")
	n, err := strconv.ParseUint(digits, 10, 32)
	if kind = KeyKind(prefix); err != nil || kind != KeyCheck && kind != KeyToken && kind != KeyAPI {
		return "", 0, false
	}
	if k := (SealedKey{Kind: kind, Number: uint32(n)}); n == 0 || k.KeyName() != name {
		return "", 0, false
	}
	return kind, uint32(n), true
}

// IsReservedKeyName reports whether id has the form of the name of a key that is not a signing key. No `kid` may have
// it, whether or not there is such a key.
func IsReservedKeyName(id string) bool {
	prefix, digits, found := strings.Cut(id, "-")
	kind := KeyKind(prefix)
	return found && (kind == KeyCheck || kind == KeyToken || kind == KeyAPI) && digits != "" &&
		!strings.ContainsFunc(digits, func(r rune) bool { return r < '0' || r > '9' })
}

// Published reports whether the key is in use or waits for it: neither retired nor revoked. What these ended is final,
// whatever the clock of a process shows.
func (k SealedKey) Published() bool { return k.RetiredAt.IsZero() && k.RevokedAt.IsZero() }

// Signing returns the signing key that k seals.
func (k SealedKey) Signing(private Secret) SigningKey {
	return SigningKey{
		ID: k.ID, TenantID: k.TenantID, Algorithm: k.Algorithm, Name: k.Name, CreatedAt: k.CreatedAt, KnownAt: k.KnownAt,
		StartsAt: k.StartsAt, RetiredAt: k.RetiredAt, RevokedAt: k.RevokedAt, Private: private,
	}
}

// Token returns the token key that k seals.
func (k SealedKey) Token(key Secret) TokenKey {
	return TokenKey{
		Number: k.Number, StartsAt: k.StartsAt, UnusedAt: k.UnusedAt, RetiredAt: k.RetiredAt, RevokedAt: k.RevokedAt,
		Key: key,
	}
}

// context is the additional data that binds a ciphertext to its row: moved to another row, it does not open. Each field
// is preceded by its length, so that two different names never have the same context.
func (k SealedKey) context() []byte {
	return fmt.Appendf(nil, "refreshd key 1 %d:%s %d:%s %d:%s %d %d:%s", len(k.Kind), k.Kind,
		len(k.TenantID), k.TenantID, len(k.Algorithm), k.Algorithm, k.Number, len(k.ID), k.ID)
}

// Hash returns the hash key that k seals.
func (k SealedKey) Hash(key Secret) HashKey {
	return HashKey{Number: k.Number, RetiredAt: k.RetiredAt, RevokedAt: k.RevokedAt, Key: key}
}

// MasterKey seals the keys in the store. It has no other use.
type MasterKey struct{ key Secret }

// KeySize is the length of a master key, a token key and the hash key for API keys, in bytes.
const KeySize = 32

// ErrWrongMasterKey reports that a sealed key does not open under this master key, or was altered.
var ErrWrongMasterKey = errors.New("the master key does not open the keys in the store")

// ParseMasterKey parses 32 bytes in base64, in the standard or the URL alphabet, padded or not. It ignores white space
// at the ends, as files have it.
func ParseMasterKey(text Secret) (MasterKey, error) {
	s := strings.TrimSuffix(strings.TrimSpace(text.Reveal()), "=")
	s = strings.NewReplacer("-", "+", "_", "/").Replace(s)
	key, err := base64.RawStdEncoding.Strict().DecodeString(s)
	// The decoder skips line breaks, even in strict mode, so the length of the text is checked too.
	if err != nil || len(key) != KeySize || len(s) != base64.RawStdEncoding.EncodedLen(KeySize) {
		return MasterKey{}, errors.New(
			"is not a master key, which is 32 random bytes in base64: make one with `openssl rand -base64 32`")
	}
	return MasterKey{NewSecret(string(key))}, nil
}

// NewMasterKey makes a master key from 32 bytes of random; text is its form in a file.
func NewMasterKey(random io.Reader) (key MasterKey, text Secret, err error) {
	b := make([]byte, KeySize)
	if _, err := io.ReadFull(random, b); err != nil {
		return MasterKey{}, Secret{}, fmt.Errorf("make a master key: %w", err)
	}
	return MasterKey{NewSecret(string(b))}, NewSecret(base64.StdEncoding.EncodeToString(b)), nil
}

// ID names the master key: 16 hexadecimal digits, derived from it by HKDF-SHA-256 (RFC 5869). It reveals nothing about
// the key, so it may be stored beside what the key sealed and be shown.
func (m MasterKey) ID() (string, error) {
	id, err := hkdf.Key(sha256.New, []byte(m.key.Reveal()), nil, "refreshd master key id 1", 8)
	if err != nil {
		return "", fmt.Errorf("derive the id of the master key: %w", err)
	}
	return hex.EncodeToString(id), nil
}

// Seal encrypts plain with AES-256-GCM under a key derived from the master key (HKDF-SHA-256, RFC 5869), with the name
// of k as additional data, and returns k with Sealed and SealedBy set.
func (m MasterKey) Seal(k SealedKey, plain Secret, random io.Reader) (SealedKey, error) {
	aead, err := m.aead()
	if err != nil {
		return SealedKey{}, err
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain.Reveal())+aead.Overhead())
	if _, err := io.ReadFull(random, nonce); err != nil {
		return SealedKey{}, fmt.Errorf("seal a %s key: %w", k.Kind, err)
	}
	if k.SealedBy, err = m.ID(); err != nil {
		return SealedKey{}, err
	}
	k.Sealed = string(aead.Seal(nonce, nonce, []byte(plain.Reveal()), k.context()))
	return k, nil
}

// Open decrypts a key that Seal sealed. It returns ErrWrongMasterKey if the master key or the content differs.
func (m MasterKey) Open(k SealedKey) (Secret, error) {
	aead, err := m.aead()
	if err != nil {
		return Secret{}, err
	}
	if len(k.Sealed) < aead.NonceSize() {
		return Secret{}, ErrWrongMasterKey
	}
	plain, err := aead.Open(nil, []byte(k.Sealed[:aead.NonceSize()]), []byte(k.Sealed[aead.NonceSize():]), k.context())
	if err != nil {
		return Secret{}, ErrWrongMasterKey
	}
	return NewSecret(string(plain)), nil
}

func (m MasterKey) aead() (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(m.key.Reveal()), nil, "refreshd seal 1", KeySize)
	if err != nil {
		return nil, fmt.Errorf("derive the sealing key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("derive the sealing key: %w", err)
	}
	return cipher.NewGCM(block)
}

// OpenKey is a key with its content. Sealed, SealedBy and Revision are not set.
type OpenKey struct {
	SealedKey
	Plain Secret
}
