package manifest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/scrypt"

	"github.com/refreshd/refreshd/domain"
)

// Sealed is what a document holds under a passphrase: with it, token strings, access tokens and API keys of one
// deployment are valid in another.
type Sealed struct {
	Keys    []domain.OpenKey
	APIKeys []HashedAPIKey
	// ClientSecrets are in the order of the applications, of each the newest first.
	ClientSecrets []HashedClientSecret
}

// HashedClientSecret is a client secret of an application.
type HashedClientSecret struct {
	TenantID, ApplicationID string
	domain.ClientSecret
}

// HashedAPIKey has the hashes of an API key, made with the key of kind [domain.KeyAPI].
type HashedAPIKey struct {
	Name, Hash, PreviousHash string
	HashKey, PreviousHashKey uint32 // see [domain.APIKey]
}

// The parameters of scrypt (RFC 7914): 128 MiB, and about half a second for each passphrase that is tried.
const (
	scryptN = 1 << 17
	scryptR = 8
	scryptP = 1
)

const (
	saltSize  = 16
	lineWidth = 76 // of base64, as MIME
)

// sealedForm precedes the salt. It names the format and its parameters, so that a later format can have others. A
// reader takes no parameters from a file: those of a hostile one could need any amount of memory.
var sealedForm = fmt.Appendf(nil, "refreshd keys 1 scrypt N=%d r=%d p=%d AES-256-GCM\n", scryptN, scryptR, scryptP)

var (
	// ErrWrongPassphrase reports that sealed keys do not open.
	ErrWrongPassphrase = errors.New("the passphrase is wrong, or the sealed keys were altered")

	errNotSealed = errors.New("the sealed keys are incomplete, or of another version of refreshd: export them again")
)

// Seal encrypts s for the member `sealedKeys` of a document: base64, in lines, of the format and its parameters, a
// salt, a nonce and the ciphertext of AES-256-GCM under a key from the passphrase by scrypt. All that precedes the
// nonce is additional data.
func (s Sealed) Seal(passphrase domain.Secret, random io.Reader) (string, error) {
	plain, err := json.Marshal(s.written())
	if err != nil {
		return "", fmt.Errorf("seal the keys: %w", err)
	}
	defer clear(plain)
	head := append(bytes.Clone(sealedForm), make([]byte, saltSize)...)
	salt := head[len(sealedForm):]
	if _, err := io.ReadFull(random, salt); err != nil {
		return "", fmt.Errorf("seal the keys: %w", err)
	}
	aead, err := passphraseAEAD(passphrase, salt)
	if err != nil {
		return "", fmt.Errorf("seal the keys: %w", err)
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := io.ReadFull(random, nonce); err != nil {
		return "", fmt.Errorf("seal the keys: %w", err)
	}
	text := base64.StdEncoding.EncodeToString(aead.Seal(append(bytes.Clone(head), nonce...), nonce, plain, head))
	var lines strings.Builder
	for len(text) > lineWidth {
		lines.WriteString(text[:lineWidth] + "\n")
		text = text[lineWidth:]
	}
	lines.WriteString(text + "\n")
	return lines.String(), nil
}

// Unseal decrypts what Seal returned. It returns ErrWrongPassphrase if the passphrase or the content differs.
func Unseal(text string, passphrase domain.Secret) (Sealed, error) {
	sealed, err := base64.StdEncoding.DecodeString(text) // which skips line breaks
	headSize := len(sealedForm) + saltSize
	if err != nil || len(sealed) < headSize || !bytes.HasPrefix(sealed, sealedForm) {
		return Sealed{}, errNotSealed
	}
	head, rest := sealed[:headSize], sealed[headSize:]
	aead, err := passphraseAEAD(passphrase, head[len(sealedForm):])
	if err != nil {
		return Sealed{}, fmt.Errorf("open the sealed keys: %w", err)
	}
	if len(rest) < aead.NonceSize() {
		return Sealed{}, errNotSealed
	}
	plain, err := aead.Open(nil, rest[:aead.NonceSize()], rest[aead.NonceSize():], head)
	if err != nil {
		return Sealed{}, ErrWrongPassphrase
	}
	defer clear(plain)
	var w writtenKeys
	if err := json.Unmarshal(plain, &w); err != nil {
		return Sealed{}, errNotSealed // without the text of the error, which may have a part of the content
	}
	return w.sealed(), nil
}

func passphraseAEAD(passphrase domain.Secret, salt []byte) (cipher.AEAD, error) {
	key, err := scrypt.Key([]byte(passphrase.Reveal()), salt, scryptN, scryptR, scryptP, domain.KeySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// writtenKeys is the form of Sealed that is encrypted.
type writtenKeys struct {
	Keys    []writtenKey    `json:"keys"`
	APIKeys []writtenAPIKey `json:"apiKeys,omitempty"`

	ClientSecrets []writtenSecret `json:"clientSecrets,omitempty"`
}

type writtenSecret struct {
	TenantID      string    `json:"tenantId"`
	ApplicationID string    `json:"applicationId"`
	Hash          []byte    `json:"hash"`
	HashKey       uint32    `json:"hashKey"`
	CreatedAt     time.Time `json:"createdAt"`
}

type writtenKey struct {
	Kind      domain.KeyKind   `json:"kind"`
	TenantID  string           `json:"tenantId,omitempty"`
	Algorithm domain.Algorithm `json:"algorithm,omitempty"`
	Number    uint32           `json:"number"`
	ID        string           `json:"id,omitempty"`
	Name      string           `json:"name,omitempty"`
	CreatedAt time.Time        `json:"createdAt"`
	KnownAt   time.Time        `json:"knownAt,omitzero"`
	StartsAt  time.Time        `json:"startsAt,omitzero"`
	RetiredAt time.Time        `json:"retiredAt,omitzero"`
	RevokedAt time.Time        `json:"revokedAt,omitzero"`
	Key       []byte           `json:"key"`
}

type writtenAPIKey struct {
	Name         string `json:"name"`
	Hash         []byte `json:"hash"`
	HashKey      uint32 `json:"hashKey,omitempty"`
	PreviousHash []byte `json:"previousHash,omitempty"`

	PreviousHashKey uint32 `json:"previousHashKey,omitempty"`
}

func (s Sealed) written() writtenKeys {
	var w writtenKeys
	for _, k := range s.Keys {
		w.Keys = append(w.Keys, writtenKey{
			k.Kind, k.TenantID, k.Algorithm, k.Number, k.ID, k.Name, k.CreatedAt, k.KnownAt, k.StartsAt, k.RetiredAt,
			k.RevokedAt, []byte(k.Plain.Reveal()),
		})
	}
	for _, k := range s.APIKeys {
		w.APIKeys = append(w.APIKeys, writtenAPIKey{
			k.Name, []byte(k.Hash), k.HashKey, []byte(k.PreviousHash), k.PreviousHashKey,
		})
	}
	for _, c := range s.ClientSecrets {
		w.ClientSecrets = append(w.ClientSecrets, writtenSecret{
			c.TenantID, c.ApplicationID, []byte(c.Hash), c.HashKey, c.CreatedAt,
		})
	}
	return w
}

func (w writtenKeys) sealed() (s Sealed) {
	for _, k := range w.Keys {
		s.Keys = append(s.Keys, domain.OpenKey{
			SealedKey: domain.SealedKey{
				Kind: k.Kind, TenantID: k.TenantID, Algorithm: k.Algorithm, Number: k.Number, ID: k.ID,
				Name: k.Name, CreatedAt: k.CreatedAt, KnownAt: k.KnownAt, StartsAt: k.StartsAt, RetiredAt: k.RetiredAt,
				RevokedAt: k.RevokedAt,
			},
			Plain: domain.NewSecret(string(k.Key)),
		})
	}
	for _, k := range w.APIKeys {
		s.APIKeys = append(s.APIKeys, HashedAPIKey{
			k.Name, string(k.Hash), string(k.PreviousHash), k.HashKey, k.PreviousHashKey,
		})
	}
	for _, c := range w.ClientSecrets {
		s.ClientSecrets = append(s.ClientSecrets, HashedClientSecret{
			c.TenantID, c.ApplicationID, domain.ClientSecret{Hash: string(c.Hash), HashKey: c.HashKey, CreatedAt: c.CreatedAt},
		})
	}
	return s
}
