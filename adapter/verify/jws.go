package verify

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxToken  = 16 << 10
	maxHeader = 4 << 10 // encoded; it is read before the signature is
)

// compact is a JWS in compact form, RFC 7515, section 7.1.
type compact struct {
	header    header
	jwk       []byte // the member jwk of the header, for DPoP
	payload   []byte
	signed    string // what the signature is of
	signature []byte
}

type header struct{ alg, kid, typ string }

// parse reads a JWS whose type is one of types, in any case. It does not verify anything.
func parse(token string, types []string) (compact, error) {
	if len(token) > maxToken {
		return compact{}, errors.New("too large")
	}
	encodedHeader, rest, _ := strings.Cut(token, ".")
	encodedPayload, encodedSignature, found := strings.Cut(rest, ".")
	if !found || len(encodedHeader) > maxHeader {
		return compact{}, errors.New("not a JWS in compact form")
	}
	c := compact{signed: token[:len(token)-len(encodedSignature)-1]}
	text, ok := decode(encodedHeader)
	if !ok {
		return compact{}, errors.New("not a JWS in compact form")
	}
	if c.payload, ok = decode(encodedPayload); !ok {
		return compact{}, errors.New("not a JWS in compact form")
	}
	if c.signature, ok = decode(encodedSignature); !ok {
		return compact{}, errors.New("not a JWS in compact form")
	}
	err := members(text, func(name string, value []byte) (err error) {
		switch name {
		case "alg":
			c.header.alg, err = text1(value)
		case "kid":
			c.header.kid, err = text1(value)
		case "typ":
			c.header.typ, err = text1(value)
		case "jwk":
			c.jwk = value
		case "crit":
			err = errors.New("a critical header parameter")
		}
		return err
	})
	if err != nil {
		return compact{}, errors.New("header: " + err.Error())
	}
	if !slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, c.header.typ) }) {
		return compact{}, errors.New("header: wrong typ")
	}
	return c, nil
}

// decode decodes base64url without padding, RFC 7515, section 2. It accepts one spelling of each value: encoding/base64
// skips line breaks, even if it is strict.
func decode(s string) ([]byte, bool) {
	for i := range len(s) {
		if s[i] == '\n' || s[i] == '\r' {
			return nil, false
		}
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return b, err == nil && len(b) > 0
}

// Algorithms of RFC 7518, section 3.1, and RFC 8037, section 3.1.
const (
	es256 = "ES256"
	eddsa = "EdDSA"
	rs256 = "RS256"
	ps256 = "PS256"
)

// validSignature reports whether signature is one of signed by the key under alg. An algorithm that is not one of the
// key's type has no valid signatures.
func validSignature(key crypto.PublicKey, alg, signed string, signature []byte) bool {
	switch key := key.(type) {
	case *ecdsa.PublicKey: // P-256; r and s, RFC 7518, section 3.4
		if alg != es256 || len(signature) != 64 {
			return false
		}
		hash := sha256.Sum256([]byte(signed))
		return ecdsa.Verify(key, hash[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	case ed25519.PublicKey:
		return alg == eddsa && ed25519.Verify(key, []byte(signed), signature)
	case *rsa.PublicKey:
		hash := sha256.Sum256([]byte(signed))
		switch alg {
		case rs256:
			return rsa.VerifyPKCS1v15(key, crypto.SHA256, hash[:], signature) == nil
		case ps256:
			salt := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
			return rsa.VerifyPSS(key, crypto.SHA256, hash[:], signature, salt) == nil
		}
	}
	return false
}

// accessTokenTypes are those of RFC 9068, section 2.1 and 4, and the one that refreshd signs for verifiers that refuse
// them.
var accessTokenTypes = []string{"at+jwt", "application/at+jwt", "JWT"}

// authenticate returns the token if the issuer signed it for the audience and it is not expired. It looks at neither
// the view nor the confirmation.
func (v *Verifier) authenticate(ctx context.Context, token string) (*Token, error) {
	if len(token) > maxToken { // before it is hashed
		return nil, invalid("too large")
	}
	digest := sha256.Sum256([]byte(token))
	t, known := v.cache.find(digest, v.keys.lookup)
	if !known {
		c, err := parse(token, accessTokenTypes)
		if err != nil {
			return nil, invalid(err.Error())
		}
		k, err := v.keys.keyOf(ctx, c)
		if err != nil {
			return nil, err
		}
		if t, err = v.read(c.payload); err != nil {
			return nil, err
		}
		t.subject.kid, t.key, t.digest, t.by = c.header.kid, k, digest, v.shared
		v.cache.add(t, len(token))
	}
	if v.expired(t, time.Now()) {
		return nil, ErrExpired
	}
	return t, nil
}

// read reads the claims, whose signature is valid, and checks those that do not change their meaning later.
func (v *Verifier) read(payload []byte) (*Token, error) {
	t, err := parseClaims(payload)
	if err != nil {
		return nil, invalid(err.Error())
	}
	latest := time.Now().Add(v.config.Leeway)
	switch {
	case t.Issuer != v.config.Issuer:
		v.differs("iss", t.Issuer, v.config.Issuer)
		return nil, invalid("of another issuer")
	case !slices.Contains(t.Audience, v.config.Audience):
		v.differs("aud", strings.Join(t.Audience, " "), v.config.Audience)
		return nil, invalid("for another audience")
	case latest.Before(t.IssuedAt), latest.Before(t.notBefore):
		return nil, invalid("not valid yet")
	}
	return &t.Token, nil
}

type claims struct {
	Token
	notBefore time.Time
}

// parseClaims reads the payload of an access token.
func parseClaims(payload []byte) (*claims, error) {
	t := &claims{Token: Token{Claims: payload}}
	var rsid string
	err := members(payload, func(name string, value []byte) (err error) {
		switch name {
		case "iss":
			t.Issuer, err = text1(value)
		case "sub":
			t.Subject, err = text1(value)
		case "aud":
			t.Audience, err = texts(value)
		case "exp":
			t.ExpiresAt, err = numericDate(value)
		case "iat":
			t.IssuedAt, err = numericDate(value)
		case "nbf":
			t.notBefore, err = numericDate(value)
		case "sid":
			t.SessionID, err = text1(value)
		case "rsid":
			rsid, err = text1(value)
			t.subject.hasRoot = true
		case "rve":
			// An epoch is a whole number, in digits alone: 1.0 and 1e3 are not what the service writes.
			t.subject.epoch, err = strconv.ParseUint(string(value), 10, 64)
		case "tid":
			t.TenantID, err = text1(value)
		case "applicationId":
			t.ApplicationID, err = text1(value)
		case "jti":
			t.ID, err = text1(value)
		case "scope":
			var scope string
			scope, err = text1(value)
			t.Scopes = strings.Fields(scope)
		case "roles":
			if value[0] != '[' {
				return errors.New("claim roles: wrong type")
			}
			t.Roles, err = texts(value)
		case "cnf":
			t.jkt, err = confirmation(value)
		case "act":
			t.Actors, err = actors(value)
		}
		if err != nil {
			return errors.New("claim " + name + ": wrong type or value")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, required := range []struct {
		name    string
		missing bool
	}{
		{"iss", t.Issuer == ""}, {"sub", t.Subject == ""}, {"aud", len(t.Audience) == 0}, {"exp", t.ExpiresAt.IsZero()},
		{"iat", t.IssuedAt.IsZero()}, {"sid", t.SessionID == ""}, {"applicationId", t.ApplicationID == ""},
	} {
		if required.missing {
			return nil, errors.New("claim " + required.name + ": missing")
		}
	}
	// What cannot be compared with the facts cannot be accepted.
	var ok bool
	if t.subject.sid, ok = parseID(t.SessionID); !ok {
		return nil, errors.New("claim sid: not an id of a session")
	}
	if t.subject.hasRoot {
		if t.subject.rsid, ok = parseID(rsid); !ok {
			return nil, errors.New("claim rsid: not an id of a session")
		}
	}
	t.subject.application, t.subject.user = t.ApplicationID, t.Subject
	return t, nil
}

// confirmation returns the thumbprint of a cnf claim, RFC 9449, section 6.1. Another method of confirmation, or one
// beside it, is not something that this package can check.
func confirmation(value []byte) (jkt string, err error) {
	err = members(value, func(name string, value []byte) (err error) {
		if name != "jkt" {
			return errors.New("unknown method of confirmation")
		}
		jkt, err = text1(value)
		return err
	})
	if b, ok := decode(jkt); err == nil && (!ok || len(b) != sha256.Size) {
		err = errors.New("not a thumbprint")
	}
	return jkt, err
}

// actors returns the parties of an act claim and of those nested in it, RFC 8693, section 4.1. One without sub is not
// taken for none.
func actors(value []byte) ([]Actor, error) {
	var (
		a     Actor
		inner []Actor
	)
	err := members(value, func(name string, value []byte) (err error) {
		switch name {
		case "sub":
			a.Subject, err = text1(value)
		case "client_id":
			a.ClientID, err = text1(value)
		case "act":
			inner, err = actors(value)
		}
		return err
	})
	if err == nil && a.Subject == "" {
		err = errors.New("no sub")
	}
	return append([]Actor{a}, inner...), err
}

// parseID reads a UUID in its text form, in any case.
func parseID(s string) (id [16]byte, ok bool) {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, false
	}
	var digits [32]byte
	copy(digits[0:], s[0:8])
	copy(digits[8:], s[9:13])
	copy(digits[12:], s[14:18])
	copy(digits[16:], s[19:23])
	copy(digits[20:], s[24:36])
	_, err := hex.Decode(id[:], digits[:])
	return id, err == nil && id != [16]byte{}
}

var errObject = errors.New("not a JSON object with distinct members")

// members calls visit for each member of a JSON object with the name and the text of the value, and returns the first
// error of visit. It refuses an object in which a name is repeated: readers differ in which of the values counts.
// encoding/json cannot be used for the same, because it takes the last one, and compares names without their case.
func members(object []byte, visit func(name string, value []byte) error) error {
	if !utf8.Valid(object) || !json.Valid(object) {
		return errObject
	}
	// From here on the text is known to be valid JSON: what can follow is certain.
	rest := bytes.TrimLeft(object, space)
	if rest[0] != '{' {
		return errObject
	}
	var room [24]string
	names := room[:0]
	for rest = bytes.TrimLeft(rest[1:], space); rest[0] != '}'; {
		end := valueEnd(rest)
		name, err := text1(rest[:end])
		if err != nil {
			return errObject
		}
		names = append(names, name)
		rest = bytes.TrimLeft(rest[end:], space+":")
		end = valueEnd(rest)
		value := rest[:end]
		rest = bytes.TrimLeft(rest[end:], space+",")
		if err := visit(name, value); err != nil {
			return err
		}
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(names) {
		return errObject
	}
	return nil
}

const space = " \t\r\n"

// valueEnd returns the length of the first value of valid JSON.
func valueEnd(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			for i++; text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // of a number or a literal
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ':', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(text)
}

// text1 returns a JSON string.
func text1(value []byte) (s string, err error) {
	if value[0] != '"' {
		return "", errors.New("not a string")
	}
	if inner := value[1 : len(value)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner), nil
	}
	err = json.Unmarshal(value, &s)
	return s, err
}

// texts returns a JSON string, or a JSON array of strings.
func texts(value []byte) (all []string, err error) {
	if value[0] == '"' {
		s, err := text1(value)
		return []string{s}, err
	}
	var pointers []*string // null is not a string
	if err := json.Unmarshal(value, &pointers); err != nil {
		return nil, err
	}
	for _, s := range pointers {
		if s == nil {
			return nil, errors.New("not a string")
		}
		all = append(all, *s)
	}
	return all, nil
}

// numericDate returns a date of RFC 7519, section 2, in whole seconds, rounded down.
func numericDate(value []byte) (time.Time, error) {
	const last = 253402300799 // the end of the year 9999
	seconds, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		var f float64
		if f, err = strconv.ParseFloat(string(value), 64); err != nil || f < 0 || f > last {
			return time.Time{}, errors.New("not a date")
		}
		seconds = int64(f)
	}
	if seconds < 0 || seconds > last {
		return time.Time{}, errors.New("not a date")
	}
	return time.Unix(seconds, 0), nil
}
