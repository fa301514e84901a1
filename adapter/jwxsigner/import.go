package jwxsigner

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/refreshd/refreshd/domain"
)

// maxRSABits bounds the time of a signature, which grows with the cube of the size.
const maxRSABits = 4096

// ParsePrivateKey returns the private key in a text, in PEM (PKCS #8, PKCS #1 or SEC 1) or as a JWK, in PKCS #8, DER,
// and the algorithm that it signs with: the wanted one, or if that is empty the `alg` of a JWK, or what such a key is
// for. The *domain.Invalid of a text that is none does not repeat it, nor what a parser says of it.
func ParsePrivateKey(text domain.Secret, wanted domain.Algorithm) (domain.Secret, domain.Algorithm, error) {
	refuse := func(field, message string) (domain.Secret, domain.Algorithm, error) {
		return domain.Secret{}, "", domain.NewInvalid(field, domain.Malformed, message)
	}
	private, alg, why := readPrivateKey(strings.TrimSpace(text.Reveal()))
	if why != "" {
		return refuse("privateKey", why)
	}
	if wanted == "" {
		wanted = alg
	}
	fits := false
	switch p := private.(type) {
	case ed25519.PrivateKey:
		wanted, fits = defaultTo(wanted, domain.EdDSA), wanted == "" || wanted == domain.EdDSA
	case *ecdsa.PrivateKey:
		if p.Curve != elliptic.P256() {
			return refuse("privateKey", "the key is on another curve than P-256: only ES256 is supported")
		}
		wanted, fits = defaultTo(wanted, domain.ES256), wanted == "" || wanted == domain.ES256
	case *rsa.PrivateKey:
		if bits := p.N.BitLen(); bits < rsaBits || bits > maxRSABits || p.Validate() != nil {
			return refuse("privateKey", "an RSA key has 2048 to 4096 bits")
		}
		wanted = defaultTo(wanted, domain.RS256)
		fits = wanted == domain.RS256 || wanted == domain.PS256
	default:
		return refuse("privateKey", "use an RSA key, an EC key on P-256, or an Ed25519 key")
	}
	if !fits {
		return refuse("algorithm", "the private key is of another algorithm: omit this, or use its own")
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return refuse("privateKey", "the key is not valid")
	}
	key := domain.NewSecret(string(der))
	if _, err := parse(domain.SigningKey{ID: "imported", Algorithm: wanted, Private: key}); err != nil {
		return refuse("privateKey", "the key does not sign")
	}
	return key, wanted, nil
}

func defaultTo(a, other domain.Algorithm) domain.Algorithm {
	if a == "" {
		return other
	}
	return a
}

// readPrivateKey returns the key in a text, and the algorithm that a JWK names; or why there is none.
func readPrivateKey(text string) (private any, alg domain.Algorithm, why string) {
	switch {
	case text == "":
		return nil, "", "set the private key, in PEM or as a JWK"
	case text[0] == '{':
		return readJWK(text)
	}
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, "", "use a private key in PEM, such as -----BEGIN PRIVATE KEY-----, or a JWK"
		}
		var err error
		switch block.Type {
		case "PRIVATE KEY":
			private, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			private, err = x509.ParseECPrivateKey(block.Bytes)
		case "EC PARAMETERS": // openssl writes it before the key
			continue
		case "ENCRYPTED PRIVATE KEY":
			return nil, "", "the key is encrypted: decrypt it first, as with openssl pkey"
		default:
			return nil, "", "this is not a private key: use the one whose header is -----BEGIN PRIVATE KEY-----"
		}
		switch {
		case err != nil || len(block.Headers) > 0:
			return nil, "", "the PEM holds no private key that can be read"
		case strings.TrimSpace(string(rest)) != "":
			return nil, "", "there is more after the private key: use one key alone"
		}
		return private, "", ""
	}
}

func readJWK(text string) (private any, alg domain.Algorithm, why string) {
	var named struct{ Alg domain.Algorithm }
	key, err := jwk.ParseKey([]byte(text))
	if err != nil || json.Unmarshal([]byte(text), &named) != nil {
		return nil, "", "this is not one private key as a JWK"
	}
	if err := key.Raw(&private); err != nil {
		return nil, "", "this is not one private key as a JWK"
	}
	return private, named.Alg, ""
}
