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
	Name      string    // for people
	CreatedAt time.Time
	KnownAt   time.Time // since when verifiers know a signing key that was made elsewhere; zero for CreatedAt
	StartsAt  time.Time // when its use begins; zero for always
	RetiredAt time.Time // when it left use as planned; zero if it is not retired
	RevokedAt time.Time // when it was ended in an emergency; zero if it is not revoked
	Sealed    string    // nonce and ciphertext
	SealedBy  string    // the id of the master key that sealed it; empty if it is unknown
	Revision  uint64    // of the write that stored it, set by the store
}

// Never is the start of a key that does not start by itself.
var Never = time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)

// context is the additional data that binds a ciphertext to its row: moved to another row, it does not open. Each field
// is preceded by its length, so that two different names never have the same context.
func (k SealedKey) context() []byte {
	return fmt.Appendf(nil, "refreshd key 1 %d:%s %d:%s %d:%s %d %d:%s", len(k.Kind), k.Kind,
		len(k.TenantID), k.TenantID, len(k.Algorithm), k.Algorithm, k.Number, len(k.ID), k.ID)
}

// SigningKey is an unsealed key that signs access tokens.
type SigningKey struct {
	ID        string // `kid`
	TenantID  string // empty for a key that all tenants share
	Algorithm Algorithm
	Name      string
	CreatedAt time.Time
	KnownAt   time.Time // see [SealedKey], as the next three
	StartsAt  time.Time
	RetiredAt time.Time
	RevokedAt time.Time
	Private   Secret // PKCS #8, DER
}

// IsKeyID reports whether id has the form of a signing key's `kid`: 1 to 255 printable ASCII characters. The store need
// not be asked for any other.
func IsKeyID(id string) bool {
	return id != "" && len(id) <= 255 && !strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r > '~' })
}

// SigningKeys are the signing keys of one tenant: its own, and those that all tenants share. The zero value holds none.
type SigningKeys struct {
	all         []SigningKey
	byAlgorithm map[Algorithm][]SigningKey // each in the order of precedes
}

// NewSigningKeys returns a set of these keys, which belong to one tenant or are shared.
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

// precedes orders keys by which of two signs if both may: a tenant's own key before a shared one, then the key that
// starts later, then the key with the smaller id.
func precedes(a, b SigningKey) int {
	if aShared, bShared := a.TenantID == "", b.TenantID == ""; aShared != bShared {
		if aShared {
			return 1
		}
		return -1
	}
	return cmp.Or(b.StartsAt.Compare(a.StartsAt), cmp.Compare(a.ID, b.ID))
}

// SigningAt returns the key of that algorithm that signs at that instant: the newest key that has started; of two that
// start together the one with the smaller id. The tenant's own keys come before shared ones. The result depends on
// nothing else, so replicas agree.
func (ks SigningKeys) SigningAt(a Algorithm, at time.Time) (SigningKey, bool) {
	for _, k := range ks.byAlgorithm[a] {
		if !k.StartsAt.After(at) && (k.RetiredAt.IsZero() || at.Before(k.RetiredAt)) {
			return k, true
		}
	}
	return SigningKey{}, false
}

// All returns the keys whose public half the tenant publishes. The caller must not change the slice.
func (ks SigningKeys) All() []SigningKey { return ks.all }

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

// Seal encrypts plain with AES-256-GCM under a key derived from the master key (HKDF-SHA-256, RFC 5869), with the name
// of k as additional data, and returns k with Sealed set.
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

// OpenKey is a key with its content. Sealed and Revision are not set.
type OpenKey struct {
	SealedKey
	Plain Secret
}
