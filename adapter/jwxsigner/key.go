package jwxsigner

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/refreshd/refreshd/domain"
)

var (
	errAlgorithm = errors.New("not an algorithm for access tokens")
	errBits      = errors.New("an RSA key has 2048, 3072 or 4096 bits, and keys of other algorithms have one size")
)

// key is a parsed signing key, in the forms that JWX uses.
type key struct {
	algorithm jwa.SignatureAlgorithm
	headers   map[domain.AccessTokenType]string // encoded, with the dot
	proof     string                            // the header of proofs, in the same form
	private   crypto.Signer                     // deterministic
	signer    jws.Signer
	verifier  jws.Verifier
}

// keySource is everything that a parsed key depends on. It contains a digest instead of the key: cheap to compute, and
// safe to keep in a map.
type keySource struct {
	algorithm domain.Algorithm
	id        string
	digest    [sha256.Size]byte
}

func sourceOf(k domain.SigningKey) keySource {
	return keySource{k.Algorithm, k.ID, sha256.Sum256([]byte(k.Private.Reveal()))}
}

// key parses k once, because parsing an RSA key takes longer than signing with it.
func (s *Signer) key(k domain.SigningKey) (*key, error) {
	source := sourceOf(k)
	if known, ok := s.parsed.Load(source); ok {
		return known.(*key), nil
	}
	parsed, err := parse(k)
	if err != nil {
		return nil, fmt.Errorf("key %q for %q: %w", k.ID, k.Algorithm, err)
	}
	s.parsed.Store(source, parsed)
	return parsed, nil
}

// private returns the private key of k. It does not keep what it parses: most keys of a set do not sign, and a parsed
// key takes half of the memory of one.
func (s *Signer) private(k domain.SigningKey) (crypto.Signer, error) {
	if known, ok := s.parsed.Load(sourceOf(k)); ok {
		return known.(*key).private, nil
	}
	return parsePrivate(k)
}

// parsePrivate returns the deterministic form of a private key.
func parsePrivate(from domain.SigningKey) (crypto.Signer, error) {
	der := []byte(from.Private.Reveal())
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errors.New("it is not PKCS #8, DER") // without the cause, which may quote the key
	}
	switch p := private.(type) {
	case ed25519.PrivateKey:
		if from.Algorithm == domain.EdDSA {
			return p, nil
		}
	case *ecdsa.PrivateKey:
		if from.Algorithm == domain.ES256 && p.Curve == elliptic.P256() {
			return rfc6979{p}, nil
		}
	case *rsa.PrivateKey:
		switch {
		case p.N.BitLen() < minRSABits || p.N.BitLen() > maxRSABits:
		case from.Algorithm == domain.RS256:
			return p, nil
		case from.Algorithm == domain.PS256:
			secret, err := hkdf.Key(sha256.New, der, nil, "refreshd PS256 salt 1", sha256.Size)
			if err != nil {
				return nil, fmt.Errorf("derive the salt's secret: %w", err)
			}
			return derivedSalt{p, secret}, nil
		}
	}
	return nil, errors.New("its type or size does not fit the algorithm")
}

func parse(from domain.SigningKey) (k *key, err error) {
	k = &key{algorithm: jwa.SignatureAlgorithm(from.Algorithm)}
	if k.private, err = parsePrivate(from); err != nil {
		return nil, err
	}
	k.headers = make(map[domain.AccessTokenType]string, len(domain.AccessTokenTypes))
	for _, t := range domain.AccessTokenTypes {
		if k.headers[t], err = encodeHeader(k.algorithm, string(t), from.ID); err != nil {
			return nil, err
		}
	}
	if k.proof, err = encodeHeader(k.algorithm, domain.ViewProofType, from.ID); err != nil {
		return nil, err
	}
	if k.signer, err = jws.NewSigner(k.algorithm); err != nil {
		return nil, err
	}
	if k.verifier, err = jws.NewVerifier(k.algorithm); err != nil {
		return nil, err
	}
	return k, nil
}

// encodeHeader returns the first part of a token, with the dot (RFC 7515, section 7.1).
func encodeHeader(a jwa.SignatureAlgorithm, typ, id string) (string, error) {
	header := jws.NewHeaders()
	for name, value := range map[string]any{jws.AlgorithmKey: a, jws.TypeKey: typ, jws.KeyIDKey: id} {
		if err := header.Set(name, value); err != nil {
			return "", err
		}
	}
	text, err := json.Marshal(header)
	if err != nil {
		return "", err
	}
	return segment.EncodeToString(text) + ".", nil
}

// rfc6979 derives the nonce from key and digest (RFC 6979, section 3.2). crypto/ecdsa does so if it is given no
// randomness, but JWX always gives it some.
type rfc6979 struct{ *ecdsa.PrivateKey }

func (k rfc6979) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.PrivateKey.Sign(nil, digest, opts)
}

// derivedSalt derives the salt of a PSS signature from key and digest. The salt has the length of the hash, which JWX
// uses and RFC 7518, section 3.5, requires. A longer read ends early, and the signature fails.
type derivedSalt struct {
	*rsa.PrivateKey
	secret []byte
}

func (k derivedSalt) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	mac := hmac.New(sha256.New, k.secret)
	mac.Write(digest)
	return k.PrivateKey.Sign(bytes.NewReader(mac.Sum(nil)), digest, opts)
}
