package domain

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// KeyKind says what a stored key is for.
type KeyKind string

const (
	KeyCheck   KeyKind = "check"   // no key: a known text, which tells a wrong master key from a corrupt store
	KeyToken   KeyKind = "token"   // authenticates token strings
	KeyAPI     KeyKind = "api"     // hashes API keys
	KeySigning KeyKind = "signing" // signs access tokens
)

// SealedKey is a key as the store holds it. Kind, tenant, algorithm and number name it: of two that are made at the same
// time under one name, a store keeps one.
type SealedKey struct {
	Kind      KeyKind
	TenantID  string    // of a signing key of one tenant; empty for a shared one and for other kinds
	Algorithm Algorithm // of a signing key
	Number    uint32    // from 1
	ID        string    // of a signing key: its `kid`, unique; other kinds have none
	CreatedAt time.Time
	StartsAt  time.Time // it serves from then on; zero for from the beginning
	RetiredAt time.Time // it makes nothing new from then on; zero while it does
	Sealed    string    // nonce and ciphertext
	Revision  uint64    // of the write that stored it so: the store sets it
}

// context binds a ciphertext to its place: moved to another row, it does not open. Lengths lead, so that no two names agree.
func (k SealedKey) context() []byte {
	return fmt.Appendf(nil, "refreshd key 1 %d:%s %d:%s %d:%s %d %d:%s", len(k.Kind), k.Kind, len(k.TenantID), k.TenantID,
		len(k.Algorithm), k.Algorithm, k.Number, len(k.ID), k.ID)
}

// SigningKey is an opened key that signs access tokens.
type SigningKey struct {
	ID        string // `kid`
	TenantID  string // empty for one that all tenants share
	Algorithm Algorithm
	StartsAt  time.Time
	RetiredAt time.Time
	Private   Secret // PKCS #8, DER
}

// IsKeyID reports whether a signing key could have this `kid`: 1 to 255 printable characters of ASCII. What cannot be
// one is not worth asking a store for.
func IsKeyID(id string) bool {
	return id != "" && len(id) <= 255 && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}

// SigningKeys are the keys that serve one tenant: its own, and those that all tenants share. The zero value holds none.
type SigningKeys struct {
	all         []SigningKey
	byAlgorithm map[Algorithm][]SigningKey // each in the order of precedes
}

// NewSigningKeys returns these keys, which are of one tenant or shared.
func NewSigningKeys(keys ...SigningKey) SigningKeys {
	ks := SigningKeys{all: slices.Clone(keys), byAlgorithm: make(map[Algorithm][]SigningKey)}
	slices.SortFunc(ks.all, func(a, b SigningKey) int {
		return cmp.Or(cmp.Compare(a.Algorithm, b.Algorithm), precedes(a, b))
	})
	for from, to := 0, 0; from < len(ks.all); from = to {
		a := ks.all[from].Algorithm
		for to = from; to < len(ks.all) && ks.all[to].Algorithm == a; to++ {
		}
		ks.byAlgorithm[a] = ks.all[from:to]
	}
	return ks
}

// precedes orders keys by which of two signs where both may: a tenant's own comes before a shared one, then the one
// that starts later, then the one of the smaller id.
func precedes(a, b SigningKey) int {
	if aShared, bShared := a.TenantID == "", b.TenantID == ""; aShared != bShared {
		if aShared {
			return 1
		}
		return -1
	}
	return cmp.Or(b.StartsAt.Compare(a.StartsAt), cmp.Compare(a.ID, b.ID))
}

// SigningAt is the key of that algorithm that signs at that instant: the newest whose start is not after it; of two
// that start together the smaller id. The tenant's own come before shared ones. It depends on nothing else, so replicas
// agree.
func (ks SigningKeys) SigningAt(a Algorithm, at time.Time) (SigningKey, bool) {
	for _, k := range ks.byAlgorithm[a] {
		if !k.StartsAt.After(at) && (k.RetiredAt.IsZero() || at.Before(k.RetiredAt)) {
			return k, true
		}
	}
	return SigningKey{}, false
}

// All are the keys whose public half the tenant publishes. The caller must not change them.
func (ks SigningKeys) All() []SigningKey { return ks.all }

// MasterKey seals the keys in the store, and does nothing else.
type MasterKey struct{ key Secret }

// KeySize is the length of a master key, a token key and the hash key for API keys, in bytes.
const KeySize = 32

// ErrWrongMasterKey says that a sealed key does not open under this master key, or was altered.
var ErrWrongMasterKey = errors.New("the master key does not open the keys in the store")

// ParseMasterKey reads 32 bytes in base64, in the standard or the URL alphabet, padded or not; white space at the ends, as
// files have it, is passed over.
func ParseMasterKey(text Secret) (MasterKey, error) {
	s := strings.TrimSuffix(strings.TrimSpace(text.Reveal()), "=")
	s = strings.NewReplacer("-", "+", "_", "/").Replace(s)
	key, err := base64.RawStdEncoding.Strict().DecodeString(s)
	// The decoder skips line breaks, even a strict one, so the length of the text counts too.
	if err != nil || len(key) != KeySize || len(s) != base64.RawStdEncoding.EncodedLen(KeySize) {
		return MasterKey{}, errors.New(
			"this is not a master key, which is 32 random bytes in base64: make one with `openssl rand -base64 32`")
	}
	return MasterKey{NewSecret(string(key))}, nil
}

// NewMasterKey makes one from 32 bytes of random; text is its form for a file.
func NewMasterKey(random io.Reader) (key MasterKey, text Secret, err error) {
	b := make([]byte, KeySize)
	if _, err := io.ReadFull(random, b); err != nil {
		return MasterKey{}, Secret{}, fmt.Errorf("make a master key: %w", err)
	}
	return MasterKey{NewSecret(string(b))}, NewSecret(base64.StdEncoding.EncodeToString(b)), nil
}

// Seal encrypts plain with AES-256-GCM under a key derived from the master key (HKDF-SHA-256, RFC 5869), with k's name as
// additional data, and returns k with Sealed filled in.
func (m MasterKey) Seal(k SealedKey, plain Secret, random io.Reader) (SealedKey, error) {
	aead, err := m.aead()
	if err != nil {
		return SealedKey{}, err
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain.Reveal())+aead.Overhead())
	if _, err := io.ReadFull(random, nonce); err != nil {
		return SealedKey{}, fmt.Errorf("seal a %s key: %w", k.Kind, err)
	}
	k.Sealed = string(aead.Seal(nonce, nonce, []byte(plain.Reveal()), k.context()))
	return k, nil
}

// Open decrypts what Seal sealed. It returns ErrWrongMasterKey if key or content are not those that were sealed.
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
