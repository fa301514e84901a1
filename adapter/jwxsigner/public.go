package jwxsigner

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/refreshd/refreshd/domain"
)

// maxClientKeys is the number of keys of a client: that many signatures one assertion without a kid may cost.
const maxClientKeys = 10

// ParseProof implements [port.Signer].
func (s *Signer) ParseProof(text string) (domain.Proof, error) {
	if len(text) > domain.MaxProof {
		return domain.Proof{}, domain.RefuseProof("it is longer than 8 KiB")
	}
	c, why := parseCompact(text)
	if why != "" {
		return domain.Proof{}, domain.RefuseProof(why)
	}
	h, err := parseHeader(c.header)
	switch {
	case err != nil:
		return domain.Proof{}, domain.RefuseProof("its header: " + err.Error())
	case !strings.EqualFold(h.typ, domain.ProofType):
		return domain.Proof{}, domain.RefuseProof("its header: typ is not " + domain.ProofType)
	case h.jwk == nil:
		return domain.Proof{}, domain.RefuseProof("its header: jwk is missing")
	}
	k, err := parsePublic(h.jwk)
	switch {
	case err != nil:
		return domain.Proof{}, domain.RefuseProof("the jwk of its header " + err.Error())
	case !k.fits(h.algorithm):
		return domain.Proof{}, domain.RefuseProof("its header: alg is not one of its jwk: use ES256, EdDSA, RS256 or PS256")
	case !k.verifies(h.algorithm, c):
		return domain.Proof{}, domain.RefuseProof("its signature is not that of its jwk")
	}
	p := domain.Proof{Key: k.thumbprint}
	err = parseMembers(c.payload, map[string]func([]byte) error{
		"jti": stringTo(&p.ID), "htm": stringTo(&p.Method), "htu": stringTo(&p.URL), "iat": instantTo(&p.IssuedAt),
		"nonce": stringTo(&p.Nonce), "ath": stringTo(&p.AccessTokenHash), "next_jkt": stringTo(&p.Next),
	})
	if err != nil {
		return domain.Proof{}, domain.RefuseProof("its claims: " + err.Error())
	}
	return p, nil
}

// assertionTypes are the types of an assertion, in lower case. RFC 7523 asks for none. A proof and an access token have
// others, so that none of them can be taken for an assertion.
var assertionTypes = []string{"", "jwt", "client-authentication+jwt"}

// VerifyAssertion implements [port.Signer].
func (s *Signer) VerifyAssertion(keys string, text domain.Secret) (domain.Assertion, error) {
	refuse := func(why string) (domain.Assertion, error) {
		return domain.Assertion{}, fmt.Errorf("jwxsigner: the assertion is refused: %s: %w", why, domain.ErrUnauthorized)
	}
	if len(text.Reveal()) > domain.MaxAssertion {
		return refuse("it is longer than 8 KiB")
	}
	c, why := parseCompact(text.Reveal())
	if why != "" {
		return refuse(why)
	}
	h, err := parseHeader(c.header)
	if err != nil {
		return refuse("its header: " + err.Error())
	}
	if !slices.Contains(assertionTypes, strings.ToLower(h.typ)) {
		return refuse("its typ is not JWT")
	}
	set, err := parsePublicSet(keys)
	if err != nil {
		return refuse("the client's keys cannot be read")
	}
	if !slices.ContainsFunc(set, func(k publicKey) bool {
		return (h.keyID == "" || k.id == "" || k.id == h.keyID) && k.fits(h.algorithm) && k.verifies(h.algorithm, c)
	}) {
		return refuse("its signature is that of none of the client's keys, by ES256, EdDSA, RS256 or PS256")
	}
	var a domain.Assertion
	err = parseMembers(c.payload, map[string]func([]byte) error{
		"iss": stringTo(&a.Issuer), "sub": stringTo(&a.Subject), "aud": stringsTo(&a.Audience), "jti": stringTo(&a.ID),
		"exp": instantTo(&a.ExpiresAt), "nbf": instantTo(&a.NotBefore), "iat": instantTo(&a.IssuedAt),
	})
	if err != nil {
		return refuse("its claims: " + err.Error())
	}
	return a, nil
}

// ParseClientKeys implements [port.Signer].
func (s *Signer) ParseClientKeys(text string) error {
	if _, err := parsePublicSet(text); err != nil {
		return domain.NewInvalid(domain.FieldClientKeys, domain.Malformed, err.Error())
	}
	return nil
}

// parsePublicSet parses a JWK Set. Its error follows a name of the set, and does not quote it.
func parsePublicSet(text string) ([]publicKey, error) {
	if len(text) > maxKeyText {
		return nil, errors.New("is longer than 32 KiB: give at most 10 keys")
	}
	var keys []json.RawMessage
	err := parseMembers([]byte(text), map[string]func([]byte) error{
		"keys": func(value []byte) error { return json.Unmarshal(value, &keys) },
	})
	switch {
	case err != nil || keys == nil:
		return nil, errors.New(`is not a JWK Set: give {"keys":[…]}, RFC 7517, section 5`)
	case len(keys) == 0:
		return nil, errors.New("is a JWK Set without keys: give one, or omit the set")
	case len(keys) > maxClientKeys:
		return nil, errors.New("has more than 10 keys: remove those that the client no longer uses")
	}
	set := make([]publicKey, 0, len(keys))
	for i, text := range keys {
		k, err := parsePublic(text)
		if err != nil {
			return nil, fmt.Errorf("has a key, number %d, that %w", i+1, err)
		}
		if k.id != "" && slices.ContainsFunc(set, func(other publicKey) bool { return other.id == k.id }) {
			return nil, fmt.Errorf("has a key, number %d, with the kid of another one: give each its own", i+1)
		}
		set = append(set, k)
	}
	return set, nil
}

// protected is the header of a JWS that a client signed.
type protected struct {
	algorithm, typ, keyID string
	jwk                   []byte // nil if there is none
}

// parseHeader parses a header. Parameters that are not needed are ignored (RFC 7515, section 4), except crit, which
// says that they may not be.
func parseHeader(text []byte) (h protected, err error) {
	err = parseMembers(text, map[string]func([]byte) error{
		"alg": stringTo(&h.algorithm), "typ": stringTo(&h.typ), "kid": stringTo(&h.keyID),
		"jwk":  func(value []byte) error { h.jwk = value; return nil },
		"crit": func([]byte) error { return errors.New("is not supported") },
	})
	return h, err
}

// publicKey is a key that a client signs with.
type publicKey struct {
	id, algorithm string // kid and alg; empty for none
	key           crypto.PublicKey
	thumbprint    string // RFC 7638, with SHA-256
}

// privateMembers are the members of private and symmetric keys (RFC 7518, section 6; RFC 8037, section 2).
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// parsePublic parses a public key as a JWK. Its error follows a name of the key, and does not quote it. JWX is not used
// because it takes a private key as well, and names that differ in case.
func parsePublic(text []byte) (publicKey, error) {
	var kty, crv, use string
	var x, y, n, e octets
	var operations []string
	var k publicKey
	read := map[string]func([]byte) error{
		"kty": stringTo(&kty), "crv": stringTo(&crv), "x": x.read, "y": y.read, "n": n.read, "e": e.read,
		"use": stringTo(&use), "key_ops": stringsTo(&operations), "kid": stringTo(&k.id), "alg": stringTo(&k.algorithm),
	}
	private := false
	for _, name := range privateMembers {
		read[name] = func([]byte) error { private = true; return nil }
	}
	err := parseMembers(text, read)
	switch {
	case private:
		return k, errors.New("has private parts, which no one but its owner may have: give the public key alone, and make " +
			"another key if this one was sent or stored anywhere")
	case err != nil:
		return k, fmt.Errorf("is not a JWK: %w", err)
	case use != "" && use != "sig", operations != nil && !slices.Contains(operations, "verify"):
		return k, errors.New("is not to verify signatures with: its use must be sig, and its key_ops contain verify, if it " +
			"has these")
	}
	var canonical string
	switch {
	case kty == "EC" && crv == "P-256":
		if len(x.value) != 32 || len(y.value) != 32 {
			return k, errors.New("is a P-256 key whose x and y are not of 32 bytes each")
		}
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x.value, y.value))
		if err != nil {
			return k, errors.New("is a P-256 key whose x and y are not a point of the curve")
		}
		k.key = public
		canonical = `{"crv":"P-256","kty":"EC","x":"` + x.text + `","y":"` + y.text + `"}`
	case kty == "OKP" && crv == "Ed25519":
		if len(x.value) != ed25519.PublicKeySize {
			return k, errors.New("is an Ed25519 key whose x is not of 32 bytes")
		}
		if smallOrder(x.value) {
			return k, errors.New("is an Ed25519 key under which anyone can sign: make another one")
		}
		k.key = ed25519.PublicKey(x.value)
		canonical = `{"crv":"Ed25519","kty":"OKP","x":"` + x.text + `"}`
	case kty == "RSA":
		if len(n.value) == 0 || n.value[0] == 0 || len(e.value) == 0 || e.value[0] == 0 {
			return k, errors.New("is an RSA key whose n or e is missing, or begins with a zero byte")
		}
		modulus, exponent := new(big.Int).SetBytes(n.value), new(big.Int).SetBytes(e.value)
		if bits := len(n.value) * 8; bits > maxRSABits || modulus.BitLen() < minRSABits {
			return k, errors.New("is an RSA key of another size than 2048 to 4096 bits")
		}
		if !exponent.IsInt64() || exponent.Int64() < 3 || exponent.Int64() > math.MaxInt32 || exponent.Bit(0) == 0 ||
			modulus.Bit(0) == 0 {
			return k, errors.New("is an RSA key whose numbers are not those of a key: use one with e 65537")
		}
		k.key = &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}
		canonical = `{"e":"` + e.text + `","kty":"RSA","n":"` + n.text + `"}`
	default:
		return k, errors.New("is of another type: " + supportedKeys)
	}
	if k.algorithm != "" && !k.fits(k.algorithm) {
		return k, errors.New("has an alg that does not fit it: use ES256, EdDSA, RS256 or PS256, or omit it")
	}
	hash := sha256.Sum256([]byte(canonical))
	k.thumbprint = segment.EncodeToString(hash[:])
	return k, nil
}

// smallOrders are the points of Curve25519 whose order divides 8, in hexadecimal, without the bit of the sign. One
// signature under such a key is valid for any text.
var smallOrders = []string{
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
}

func smallOrder(point []byte) bool {
	unsigned := slices.Clone(point)
	unsigned[len(unsigned)-1] &= 0x7f
	return slices.Contains(smallOrders, hex.EncodeToString(unsigned))
}

// fits reports whether the key may sign by that algorithm.
func (k publicKey) fits(algorithm string) bool {
	algorithm = signatureOf(algorithm)
	if k.algorithm != "" && algorithm != signatureOf(k.algorithm) {
		return false
	}
	switch k.key.(type) {
	case *ecdsa.PublicKey:
		return algorithm == string(domain.ES256)
	case ed25519.PublicKey:
		return algorithm == string(domain.EdDSA)
	case *rsa.PublicKey:
		return algorithm == string(domain.RS256) || algorithm == string(domain.PS256)
	default:
		return false
	}
}

// signatureOf returns the name by which this package knows an algorithm: of the two of Ed25519, EdDSA. All keys of that
// type are of Ed25519.
func signatureOf(algorithm string) string {
	if algorithm == string(domain.Ed25519) {
		return string(domain.EdDSA)
	}
	return algorithm
}

// verifies reports whether the signature of c is one of the key, by an algorithm that fits it.
func (k publicKey) verifies(algorithm string, c compact) bool {
	if _, is := k.key.(*ecdsa.PublicKey); is && len(c.signature) != 64 { // RFC 7518, section 3.4
		return false
	}
	v, err := jws.NewVerifier(jwa.SignatureAlgorithm(signatureOf(algorithm)))
	return err == nil && v.Verify(c.signed, c.signature, k.key) == nil
}

// parseMembers passes the value of each member of a JSON object to the function of its exact name; other members are
// ignored. A name that occurs twice is an error, because readers differ in which one counts. No error quotes the text.
func parseMembers(object []byte, read map[string]func(value []byte) error) error {
	seen := make(map[string]bool, len(read))
	return members(object, func(name string, member []byte) error {
		f, known := read[name]
		if !known {
			return nil
		}
		if seen[name] {
			return errors.New(name + " occurs twice")
		}
		seen[name] = true
		if err := f(valueOf(member)); err != nil {
			return errors.New(name + " has a value that is not allowed")
		}
		return nil
	})
}

// valueOf returns the value of a member of an object that encoding/json has read.
func valueOf(member []byte) []byte {
	// The name is a string: it ends at the first quote that no backslash escapes.
	for i := 1; i < len(member); i++ {
		switch member[i] {
		case '\\':
			i++
		case '"':
			return bytes.TrimLeft(member[i+1:], ": \t\r\n")
		}
	}
	return nil
}

var errValue = errors.New("wrong type or value")

// stringTo returns a function that reads a string.
func stringTo(to *string) func([]byte) error {
	return func(value []byte) error {
		if len(value) == 0 || value[0] != '"' { // null would be no error
			return errValue
		}
		return json.Unmarshal(value, to)
	}
}

// stringsTo returns a function that reads a string, or a list of strings (RFC 7519, section 4.1.3).
func stringsTo(to *[]string) func([]byte) error {
	return func(value []byte) error {
		if len(value) > 0 && value[0] == '"' {
			*to = make([]string, 1)
			return json.Unmarshal(value, &(*to)[0])
		}
		var list []*string
		if err := json.Unmarshal(value, &list); err != nil || list == nil || slices.Contains(list, nil) {
			return errValue
		}
		*to = make([]string, len(list))
		for i, s := range list {
			(*to)[i] = *s
		}
		return nil
	}
}

// instantTo returns a function that reads a NumericDate, which may have a fraction (RFC 7519, section 2).
func instantTo(to *time.Time) func([]byte) error {
	return func(value []byte) error {
		var seconds *float64
		if err := json.Unmarshal(value, &seconds); err != nil || seconds == nil ||
			*seconds < 1 || *seconds > float64(domain.Never.Unix()) {
			return errValue
		}
		whole, fraction := math.Modf(*seconds)
		*to = time.Unix(int64(whole), int64(fraction*1e9)).UTC()
		return nil
	}
}

// octets is a number or octets in base64url without padding, in its only spelling.
type octets struct {
	text  string
	value []byte
}

func (n *octets) read(value []byte) (err error) {
	if err := stringTo(&n.text)(value); err != nil {
		return err
	}
	n.value, err = segment.DecodeString(n.text)
	if err == nil && segment.EncodeToString(n.value) != n.text { // base64 ignores line breaks
		err = errValue
	}
	return err
}
