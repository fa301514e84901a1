package jwxsigner

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"

	"github.com/refreshd/refreshd/domain"
)

// maxKeyText is the longest text that ParseKey parses, in bytes. An RSA key of 4096 bits takes a tenth of it.
const maxKeyText = 32 << 10

// maxKeyDER is the longest key in DER that is parsed, in bytes. x509 computes with the numbers of an RSA key before it
// returns them, and those of 40 000 bits take it a quarter of a second.
const maxKeyDER = 8 << 10

// supportedKeys ends the messages about keys that are not supported.
const supportedKeys = "use an RSA key of 2048 to 4096 bits, a P-256 key or an Ed25519 key"

// badKey returns the error of a text that is not a usable private key. Causes from libraries are left out, because they
// may quote the text.
func badKey(message string) (domain.PrivateKey, error) {
	return domain.PrivateKey{}, domain.NewInvalid("", domain.Malformed, message)
}

// ParseKey implements [port.Signer].
func (s *Signer) ParseKey(text domain.Secret) (domain.PrivateKey, error) {
	return parseText(bytes.TrimSpace([]byte(text.Reveal())))
}

func parseText(b []byte) (domain.PrivateKey, error) {
	switch {
	case len(b) == 0:
		return badKey("is empty: give a private key in PEM, or as a JWK")
	case len(b) > maxKeyText:
		return badKey("is longer than 32 KiB: give one private key, in PEM or as a JWK")
	case bytes.HasPrefix(b, []byte("{")):
		return parseJWK(b)
	case bytes.Contains(b, []byte("-----BEGIN ")):
		return parsePEM(b)
	default:
		return badKey("is neither PEM, which begins with -----BEGIN, nor a JWK, which is a JSON object")
	}
}

// parsePEM parses the only private key among the blocks (RFC 7468). The parameters of a curve, which OpenSSL writes
// before a key, are ignored.
func parsePEM(text []byte) (domain.PrivateKey, error) {
	var found *pem.Block
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		switch block.Type {
		case "EC PARAMETERS":
			continue
		case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY":
		case "ENCRYPTED PRIVATE KEY":
			return badKey("is encrypted: decrypt it first with `openssl pkey`")
		case "PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE":
			return badKey("has a public key or a certificate: give the private key alone")
		case "OPENSSH PRIVATE KEY":
			return badKey("is a key of OpenSSH: convert it with `ssh-keygen -p -m PKCS8`, or make one with `openssl genpkey`")
		default:
			return badKey("has a PEM block that is not a private key: give the private key alone")
		}
		if found != nil {
			return badKey("has several private keys: give one")
		}
		if block.Headers["DEK-Info"] != "" || block.Headers["Proc-Type"] != "" {
			return badKey("is encrypted: decrypt it first with `openssl pkey`")
		}
		found = block
	}
	if found != nil && len(found.Bytes) > maxKeyDER {
		return badKey("is an RSA key of more than 4096 bits, or not a key: " + supportedKeys)
	}
	if found == nil || len(bytes.TrimSpace(text)) > 0 {
		return badKey("has a PEM block that is cut off or altered: give it complete, with its BEGIN and END lines")
	}
	var private any
	var err error
	switch found.Type {
	case "RSA PRIVATE KEY":
		private, err = x509.ParsePKCS1PrivateKey(found.Bytes)
	case "EC PRIVATE KEY":
		private, err = x509.ParseECPrivateKey(found.Bytes)
	default:
		private, err = x509.ParsePKCS8PrivateKey(found.Bytes)
	}
	if err != nil {
		return badKey("has a PEM block that does not hold a valid private key of a supported type: " + supportedKeys)
	}
	return usable(private)
}

// usable checks type, size and consistency of a private key, and returns it in PKCS #8.
func usable(private any) (domain.PrivateKey, error) {
	var k domain.PrivateKey
	switch p := private.(type) {
	case ed25519.PrivateKey:
		if !p.Equal(ed25519.NewKeyFromSeed(p.Seed())) {
			return badKey("is inconsistent: its public part does not belong to its private part")
		}
		k.Algorithms = []domain.Algorithm{domain.EdDSA}
	case *ecdsa.PrivateKey:
		if p.Curve != elliptic.P256() {
			return badKey("is on another curve than P-256: " + supportedKeys)
		}
		k.Algorithms = []domain.Algorithm{domain.ES256}
	case *rsa.PrivateKey:
		if bits := p.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return badKey(fmt.Sprintf("is an RSA key of %d bits: %s", bits, supportedKeys))
		}
		if len(p.Primes) != 2 {
			return badKey("is an RSA key with more than two primes: " + supportedKeys)
		}
		if p.E < 3 || p.E > 1<<31-1 || p.Validate() != nil {
			return badKey("is an RSA key whose numbers do not belong together: export it again")
		}
		if weakRSA(p) {
			return badKey("is an RSA key whose factors are not two primes of about the same length, so that it can be " +
				"factored: make another one")
		}
		k.Algorithms = []domain.Algorithm{domain.RS256, domain.PS256}
	default:
		return badKey("is of another type: " + supportedKeys)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return badKey("does not hold a valid private key: " + supportedKeys)
	}
	k.Private = domain.NewSecret(string(der))
	return k, nil
}

// weakRSA reports whether the modulus, which has two factors, is easier to factor than its length suggests. Validate
// checks neither: it takes any two factors whose product is the modulus.
func weakRSA(p *rsa.PrivateKey) bool {
	const rounds = 20 // of Miller-Rabin: a composite factor passes with a probability of less than 4^-20
	for _, factor := range p.Primes {
		if factor.BitLen() < p.N.BitLen()/2-16 || !factor.ProbablyPrime(rounds) {
			return true
		}
	}
	return p.Primes[0].Cmp(p.Primes[1]) == 0
}

// jwkText is a private key as a JWK (RFC 7517; RFC 7518, section 6; RFC 8037, section 2).
type jwkText struct {
	KeyType    string   `json:"kty"`
	Use        string   `json:"use"`
	Operations []string `json:"key_ops"`
	Algorithm  string   `json:"alg"`
	ID         string   `json:"kid"`
	Curve      string   `json:"crv"`
	X          number   `json:"x"`
	Y          number   `json:"y"`
	D          number   `json:"d"`
	N          number   `json:"n"`
	E          number   `json:"e"`
	P          number   `json:"p"`
	Q          number   `json:"q"`
	DP         number   `json:"dp"`
	DQ         number   `json:"dq"`
	QI         number   `json:"qi"`
	// Other marks a key of more than two primes, Keys a JWK Set, and K a symmetric key.
	Other json.RawMessage `json:"oth"`
	Keys  json.RawMessage `json:"keys"`
	K     json.RawMessage `json:"k"`
}

// number is base64url without padding, of a number or of octets.
type number []byte

func (n *number) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	*n = b
	return err
}

func (n number) int() *big.Int { return new(big.Int).SetBytes(n) }

// parseJWK does not use JWX, which neither requires the numbers of an RSA key to belong together nor the public part of
// an EC key to belong to the private one, and whose errors quote the text.
func parseJWK(text []byte) (domain.PrivateKey, error) {
	var j jwkText
	if json.Unmarshal(text, &j) != nil {
		return badKey("is not a valid JWK: a JSON object whose members are those of RFC 7517, in base64url without padding")
	}
	switch {
	case j.Keys != nil:
		return badKey("is a JWK Set: give one of its keys")
	case j.KeyType == "":
		return badKey("is a JWK without kty: give a private key")
	case j.KeyType == "oct" || j.K != nil:
		return badKey("is a symmetric key, which could not be published: " + supportedKeys)
	case len(j.D) == 0:
		return badKey("is a JWK without d, that is, a public key: give the private key")
	case j.Use != "" && j.Use != "sig":
		return badKey("is a JWK with a use other than sig: give a key that is meant to sign")
	case j.Operations != nil && !slices.Contains(j.Operations, "sign"):
		return badKey("is a JWK whose key_ops do not contain sign: give a key that is meant to sign")
	case j.ID != "" && !domain.IsKeyID(j.ID):
		return badKey("is a JWK whose kid is not 1 to 64 printable ASCII characters that JSON does not escape: " +
			"give it another one")
	}
	private, message := j.private()
	if message != "" {
		return badKey(message)
	}
	k, err := usable(private)
	if err != nil {
		return k, err
	}
	k.ID, k.Algorithm = j.ID, domain.Algorithm(j.Algorithm)
	if k.Algorithm != "" && !slices.Contains(k.Algorithms, k.Algorithm) {
		return badKey(fmt.Sprintf("is a JWK whose alg does not fit its type: use %s, or leave it out", listed(k.Algorithms)))
	}
	return k, nil
}

// private returns the key, or what is wrong with it.
func (j jwkText) private() (private any, message string) {
	switch {
	case j.KeyType == "RSA":
		return j.rsa()
	case j.KeyType == "EC" && j.Curve == "P-256":
		if len(j.X) != 32 || len(j.Y) != 32 || len(j.D) != 32 {
			return nil, "is a P-256 JWK whose x, y and d are not of 32 bytes each: export it again"
		}
		p, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), j.D)
		if err != nil {
			return nil, "is a P-256 JWK whose d is not a private key: export it again"
		}
		public, err := p.PublicKey.Bytes()
		if err != nil || !bytes.Equal(public, slices.Concat([]byte{4}, j.X, j.Y)) {
			return nil, "is inconsistent: its public part does not belong to its private part"
		}
		return p, ""
	case j.KeyType == "OKP" && j.Curve == "Ed25519":
		if len(j.X) != ed25519.PublicKeySize || len(j.D) != ed25519.SeedSize {
			return nil, "is an Ed25519 JWK whose x and d are not of 32 bytes each: export it again"
		}
		p := ed25519.NewKeyFromSeed(j.D)
		if !bytes.Equal(p[ed25519.SeedSize:], j.X) {
			return nil, "is inconsistent: its public part does not belong to its private part"
		}
		return p, ""
	default:
		return nil, "is a JWK of another type or curve: " + supportedKeys
	}
}

func (j jwkText) rsa() (private any, message string) {
	switch {
	case j.Other != nil:
		return nil, "is an RSA key with more than two primes: " + supportedKeys
	case len(j.N) == 0 || len(j.E) == 0 || len(j.P) == 0 || len(j.Q) == 0:
		return nil, "is an RSA JWK without n, e, p or q: export it again, with its primes"
	case j.N.int().BitLen() > maxRSABits || len(j.D) > maxRSABits/8 || len(j.P) > maxRSABits/8 || len(j.Q) > maxRSABits/8:
		return nil, "is an RSA key of more than 4096 bits: " + supportedKeys
	case !j.E.int().IsInt64() || j.E.int().Int64() > 1<<31-1:
		return nil, "is an RSA key whose e is too large: use a key with e 65537"
	}
	p := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: j.N.int(), E: int(j.E.int().Int64())},
		D:         j.D.int(), Primes: []*big.Int{j.P.int(), j.Q.int()},
	}
	const wrong = "is an RSA key whose numbers do not belong together: export it again"
	if p.N.BitLen() >= minRSABits {
		if p.Validate() != nil {
			return nil, wrong
		}
		p.Precompute()
		for _, given := range []struct {
			text number
			want *big.Int
		}{{j.DP, p.Precomputed.Dp}, {j.DQ, p.Precomputed.Dq}, {j.QI, p.Precomputed.Qinv}} {
			if len(given.text) > 0 && (given.want == nil || given.text.int().Cmp(given.want) != 0) {
				return nil, wrong
			}
		}
	}
	return p, ""
}

func listed(algorithms []domain.Algorithm) string {
	if len(algorithms) == 1 {
		return string(algorithms[0])
	}
	return fmt.Sprintf("%s or %s", algorithms[0], algorithms[1])
}
