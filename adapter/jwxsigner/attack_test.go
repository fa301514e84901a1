package jwxsigner_test

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"math/big"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/domain"
)

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// allKeys returns a published key of each algorithm.
func allKeys(t testing.TB) (keys []domain.SigningKey) {
	t.Helper()
	for _, a := range domain.Algorithms {
		keys = append(keys, publishedKey(t, a))
	}
	return keys
}

func mustRefuse(t *testing.T, keys []domain.SigningKey, what, token string) {
	t.Helper()
	if got, err := verify(keys, token); !errors.Is(err, domain.ErrUnauthorized) {
		t.Errorf("%s: got %+v, %v, want ErrUnauthorized", what, got, err)
	}
}

// A verifier that lets the header choose the algorithm accepts a token without a signature.
func TestAlgNoneIsRefusedInEverySpelling(t *testing.T) {
	keys := allKeys(t)
	for _, k := range keys {
		good := sign(t, k, accessToken())
		payload, signature := segmentOf(t, good, 1), segmentOf(t, good, 2)
		for _, alg := range []string{
			`"none"`, `"None"`, `"NONE"`, `"nOnE"`, `"none "`, `" none"`, `"\u006eone"`, `"none\u0000"`, `""`, `null`, `[]`,
			`["none"]`, `0`, `false`,
		} {
			for _, header := range []string{
				fmt.Sprintf(`{"alg":%s,"kid":%q,"typ":"at+jwt"}`, alg, k.ID),
				fmt.Sprintf(`{"alg":%s,"typ":"at+jwt"}`, alg),
				fmt.Sprintf(`{"alg":%s}`, alg),
				fmt.Sprintf(`{"alg":%s,"alg":%q,"kid":%q,"typ":"at+jwt"}`, alg, k.Algorithm, k.ID),
				fmt.Sprintf(`{"alg":%q,"alg":%s,"kid":%q,"typ":"at+jwt"}`, k.Algorithm, alg, k.ID),
			} {
				for _, s := range []string{"", signature, encode(make([]byte, 64))} {
					mustRefuse(t, keys, header+" with "+s, encode([]byte(header))+"."+payload+"."+s)
				}
			}
		}
	}
}

// A public key is public: a verifier that uses it as the secret of an HMAC accepts any token.
func TestAPublicKeyIsNoSecret(t *testing.T) {
	keys := allKeys(t)
	set, err := jwxsigner.New(rand.Reader).JWKS(keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		public := privateKey(t, k.Algorithm).Public()
		spki, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			t.Fatal(err)
		}
		own, err := jwk.FromRaw(public)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(own)
		if err != nil {
			t.Fatal(err)
		}
		inPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
		secrets := map[string][]byte{
			"nothing": nil, "the kid": []byte(k.ID), "SPKI": spki, "PEM": inPEM,
			"PEM without its last line break": bytes.TrimSpace(inPEM),
			"JWK":                             text, "JWK Set": set,
			"JWK Set with a line break": append(slices.Clone(set), '\n'),
		}
		switch p := public.(type) {
		case ed25519.PublicKey:
			secrets["raw"] = p
		case *rsa.PublicKey:
			secrets["PKCS #1"] = x509.MarshalPKCS1PublicKey(p)
			secrets["modulus"] = p.N.Bytes()
		case *ecdsa.PublicKey:
			point, err := p.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			secrets["point"] = point
		}
		payload := segmentOf(t, sign(t, k, accessToken()), 1)
		for name, secret := range secrets {
			for alg, h := range map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New,
				string(k.Algorithm): sha256.New} {
				signed := encode(fmt.Appendf(nil, `{"alg":%q,"kid":%q,"typ":"at+jwt"}`, alg, k.ID)) + "." + payload
				mac := hmac.New(h, secret)
				mac.Write([]byte(signed))
				mustRefuse(t, keys, fmt.Sprintf("%s under %s with %s", k.Algorithm, alg, name), signed+"."+encode(mac.Sum(nil)))
			}
		}
	}
}

// A key determines its algorithm; a header with another one is refused.
func TestAKeySignsUnderItsOwnAlgorithmOnly(t *testing.T) {
	keys := allKeys(t)
	for _, by := range keys {
		good := sign(t, by, accessToken())
		for _, as := range keys {
			if as.ID == by.ID {
				continue
			}
			for name, header := range map[string]string{
				"the other's kid":         fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, by.Algorithm, as.ID),
				"the other's alg":         fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, as.Algorithm, by.ID),
				"the other's alg and kid": fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"at+jwt"}`, as.Algorithm, as.ID),
			} {
				mustRefuse(t, keys, fmt.Sprintf("%s signed, %s of %s", by.Algorithm, name, as.Algorithm),
					encode([]byte(header))+"."+segmentOf(t, good, 1)+"."+segmentOf(t, good, 2))
			}
		}
	}
	// RS256 and PS256 may use the same key, and are still different.
	shared := publishedKey(t, domain.RS256)
	other := domain.SigningKey{ID: shared.ID, TenantID: shared.TenantID, Algorithm: domain.PS256, Private: shared.Private}
	mustRefuse(t, []domain.SigningKey{shared}, "PS256 by the key of RS256", sign(t, other, accessToken()))
	mustRefuse(t, []domain.SigningKey{other}, "RS256 by the key of PS256", sign(t, shared, accessToken()))
}

// A kid is the id of a key of this service and nothing else: no path, no query, no address.
func TestAKidThatIsNoneOfOursFindsNothing(t *testing.T) {
	keys := allKeys(t)
	for _, kid := range []string{
		"", "x", "key-EdDSA ", "KEY-EDDSA", "key-EdDSA\x00", "../../../../dev/null", "/dev/null", "/proc/self/environ",
		"file:///dev/null", "' OR '1'='1",
		"x' UNION SELECT 'secret", "http://127.0.0.1:1/key", "$(id)", "|id", "%00", strings.Repeat("k", 10_000),
	} {
		attacker := newKey(t, kid, domain.EdDSA)
		token := sign(t, attacker, accessToken())
		_, err := verify(keys, token)
		if !errors.Is(err, domain.ErrUnauthorized) {
			t.Errorf("%.40q: got %v, want ErrUnauthorized", kid, err)
		} else if len(kid) > 3 && strings.Contains(err.Error(), kid) {
			t.Errorf("the error repeats what was sent: %v", err)
		}
	}
}

// An attacker controls what a header refers to: it is neither fetched nor trusted, even with a valid signature.
func TestNothingThatAHeaderPointsToIsFetched(t *testing.T) {
	var asked atomic.Int64
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		_, _ = w.Write([]byte(`{"keys":[]}`))
	}))
	defer evil.Close()
	keys := allKeys(t)
	attacker := newKey(t, "attacker", domain.EdDSA)
	public, err := jwxsigner.New(rand.Reader).JWKS([]domain.SigningKey{attacker})
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(public, &set); err != nil {
		t.Fatal(err)
	}
	der, err := x509.ParsePKCS8PrivateKey([]byte(attacker.Private.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	theirs := der.(ed25519.PrivateKey)
	for _, more := range []string{
		fmt.Sprintf(`"jku":%q`, evil.URL+"/jwks.json"), fmt.Sprintf(`"x5u":%q`, evil.URL+"/cert.pem"), `"jwk":` +
			string(set.Keys[0]),
		`"x5c":["MIIB"]`, `"x5t":"AAAA"`, `"x5t#S256":"AAAA"`, fmt.Sprintf(`"iss":%q`, evil.URL),
		fmt.Sprintf(`"url":%q`, evil.URL),
		fmt.Sprintf(`"jku":%q,"jwk":%s,"x5u":%q`, evil.URL, set.Keys[0], evil.URL),
	} {
		for _, kid := range []string{"key-EdDSA", "attacker", evil.URL + "/jwks.json"} {
			header := fmt.Sprintf(`{"alg":"EdDSA",%s,"kid":%q,"typ":"at+jwt"}`, more, kid)
			signed := encode([]byte(header)) + "." + encode([]byte(wholeClaims))
			mustRefuse(t, keys, header+" signed by an attacker", signed+"."+encode(ed25519.Sign(theirs, []byte(signed))))
			mustRefuse(t, keys, header+" signed by us", signAnything(t, header, wholeClaims))
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the header's address was asked %d times", n)
	}
}

// JSON readers differ in other cases, in repeated names and in data after the object. So a header has to equal that of
// Sign to the byte.
func TestAHeaderIsSpelledAsOursOrRefused(t *testing.T) {
	keys := []domain.SigningKey{publishedKey(t, domain.EdDSA)}
	if _, err := verify(keys, signAnything(t, wholeHeader, wholeClaims)); err != nil {
		t.Fatalf("the header of Sign: %v", err)
	}
	for _, header := range []string{
		`{"ALG":"EdDSA","kid":"key-EdDSA","typ":"at+jwt"}`, `{"alg":"EdDSA","Kid":"key-EdDSA","typ":"at+jwt"}`,
		`{"alg":"EdDSA","kid":"key-EdDSA","TYP":"at+jwt"}`,
		`{"alg":"none","alg":"EdDSA","kid":"key-EdDSA","typ":"at+jwt"}`,
		`{"alg":"EdDSA","kid":"x","kid":"key-EdDSA","typ":"at+jwt"}`,
		`{"alg":"EdDSA","kid":"key-EdDSA","typ":"JWT","typ":"at+jwt"}`,
		`{"alg":"EdDSA","kid":"key-EdDSA","typ":"JWT","TYP":"at+jwt"}`,
		wholeHeader + `{"alg":"none"}`, wholeHeader + ` x`, wholeHeader + "\n", " " + wholeHeader,
		`{"alg": "EdDSA","kid":"key-EdDSA","typ":"at+jwt"}`,
		`{"kid":"key-EdDSA","alg":"EdDSA","typ":"at+jwt"}`, `{"alg":"EdDSA","kid":"key-\u0045dDSA","typ":"at+jwt"}`,
		`{"alg":"EdDSA","kid":"key-EdDSA","typ":"AT+JWT"}`, `{"alg":"EdDSA","kid":"key-EdDSA","typ":"application/at+jwt"}`,
		`{"alg":"EdDSA","kid":"key-EdDSA","typ":"at+jwt","cty":"JWT"}`,
		`{"alg":"EdDSA","kid":"key-EdDSA","typ":"at+jwt","exp":9999999999}`,
	} {
		mustRefuse(t, keys, header, signAnything(t, header, wholeClaims))
	}
}

// From a signature of ECDSA a second one can be computed, and of Ed25519 and RSA if numbers are not reduced. A token
// would have two spellings, and a list of refused tokens only one of them.
func TestASignatureHasOneSpelling(t *testing.T) {
	n := elliptic.P256().Params().N
	t.Run("ES256", func(t *testing.T) {
		keys := []domain.SigningKey{publishedKey(t, domain.ES256)}
		token := sign(t, keys[0], accessToken())
		raw, err := base64.RawURLEncoding.DecodeString(segmentOf(t, token, 2))
		if err != nil {
			t.Fatal(err)
		}
		r, s := new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])
		pair := func(r, s *big.Int) []byte {
			return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
		}
		der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			t.Fatal(err)
		}
		zero := new(big.Int)
		for name, signature := range map[string][]byte{
			"the other s":  pair(r, new(big.Int).Sub(n, s)),
			"r zero":       pair(zero, s),
			"s zero":       pair(r, zero),
			"both zero":    pair(zero, zero),
			"r and s of n": pair(n, n),
			"DER":          der,
			"a zero more":  append([]byte{0}, raw...),
			"a byte less":  raw[:63],
			"nothing":      {},
		} {
			mustRefuse(t, keys, name, token[:strings.LastIndexByte(token, '.')+1]+encode(signature))
		}
	})
	t.Run("EdDSA", func(t *testing.T) {
		keys := []domain.SigningKey{publishedKey(t, domain.EdDSA)}
		token := sign(t, keys[0], accessToken())
		raw, err := base64.RawURLEncoding.DecodeString(segmentOf(t, token, 2))
		if err != nil {
			t.Fatal(err)
		}
		// The order of the group, RFC 8032, section 5.1; S is little-endian.
		order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
		little := slices.Clone(raw[32:])
		slices.Reverse(little)
		more := new(big.Int).Add(new(big.Int).SetBytes(little), order).FillBytes(make([]byte, 32))
		slices.Reverse(more)
		mustRefuse(t, keys, "S and the order",
			token[:strings.LastIndexByte(token, '.')+1]+encode(append(slices.Clone(raw[:32]), more...)))
		mustRefuse(t, keys, "zeros", token[:strings.LastIndexByte(token, '.')+1]+encode(make([]byte, 64)))
	})
	t.Run("RSA", func(t *testing.T) {
		for _, a := range []domain.Algorithm{domain.RS256, domain.PS256} {
			keys := []domain.SigningKey{publishedKey(t, a)}
			token := sign(t, keys[0], accessToken())
			raw, err := base64.RawURLEncoding.DecodeString(segmentOf(t, token, 2))
			if err != nil {
				t.Fatal(err)
			}
			modulus := privateKey(t, a).Public().(*rsa.PublicKey).N
			for name, signature := range map[string][]byte{
				"and the modulus": new(big.Int).Add(new(big.Int).SetBytes(raw), modulus).Bytes(),
				"a zero before":   append([]byte{0}, raw...),
				"zero":            make([]byte, 256), "one": append(make([]byte, 255), 1),
				"the modulus less one": new(big.Int).Sub(modulus, big.NewInt(1)).Bytes(),
			} {
				mustRefuse(t, keys, string(a)+", "+name, token[:strings.LastIndexByte(token, '.')+1]+encode(signature))
			}
		}
	})
}

// Large, deep and compressed tokens must not cost more than reading them.
func TestABombIsRefusedUnread(t *testing.T) {
	keys := allKeys(t)
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(bytes.Repeat([]byte(wholeClaims), 200_000)); err != nil { // 25 MB in 25 KB
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }
	for name, token := range map[string]string{
		"a compressed payload": signAnything(t, `{"alg":"EdDSA","kid":"key-EdDSA","typ":"at+jwt","zip":"DEF"}`,
			packed.String()),
		"a compressed one, unsaid": signAnything(t, wholeHeader, packed.String()),
		"100 KiB of claims": signAnything(t, wholeHeader,
			strings.Replace(wholeClaims, `"u"`, `"`+strings.Repeat("u", 100<<10)+`"`, 1)),
		"100 KiB of header": signAnything(t, strings.Replace(wholeHeader, "at+jwt", strings.Repeat("a", 100<<10), 1),
			wholeClaims),
		"100 KiB of dots":   strings.Repeat(".", 100<<10),
		"a header too deep": signAnything(t, deep(3000), wholeClaims),
		"a kid too deep":    signAnything(t, `{"alg":"EdDSA","kid":`+deep(3000)+`,"typ":"at+jwt"}`, wholeClaims),
		"claims nested without end": signAnything(t, wholeHeader,
			strings.TrimSuffix(wholeClaims, "}")+`,"x":`+strings.Repeat("[", 12_000)+"}"),
	} {
		s := jwxsigner.New(rand.Reader)
		if _, err := s.Verify(context.Background(), among(keys), token); !errors.Is(err, domain.ErrUnauthorized) {
			t.Errorf("%s: got %v, want ErrUnauthorized", name, err)
		}
		// About 200, and more with the race detector, which empties pools; decoding would cost one for each of
		// thousands of parts.
		verify := func() { _, _ = s.Verify(context.Background(), among(keys), token) }
		if allocated := testing.AllocsPerRun(3, verify); allocated > 1000 {
			t.Errorf("%s: %v allocations", name, allocated)
		}
	}
}

// The other forms of JOSE have more places for a header, or encrypt the content.
func TestOnlyTheCompactFormOfASignatureIsRead(t *testing.T) {
	keys := allKeys(t)
	good := sign(t, keys[0], accessToken())
	inner := segmentOf(t, good, 0) + "." + segmentOf(t, good, 1) + "." + segmentOf(t, good, 2)
	for name, token := range map[string]string{
		"JWE, direct": encode([]byte(`{"alg":"dir","enc":"A256GCM","typ":"at+jwt"}`)) +
			"..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA",
		"JWE, PBES2 of 2^31": encode([]byte(`{"alg":"PBES2-HS512+A256KW","enc":"A256GCM","p2c":2147483647,"p2s":"AAAA"}`)) +
			".AAAA.AAAA.AAAA.AAAA",
		"a token in a token":  signAnything(t, `{"alg":"EdDSA","kid":"key-EdDSA","typ":"at+jwt","cty":"JWT"}`, inner),
		"a token as a claim":  signAnything(t, wholeHeader, `"`+inner+`"`),
		"a header alone":      segmentOf(t, good, 0),
		"no signature":        segmentOf(t, good, 0) + "." + segmentOf(t, good, 1),
		"a detached payload":  segmentOf(t, good, 0) + ".." + segmentOf(t, good, 2),
		"unencoded payload":   unencoded(t),
		"five segments of it": good + ".AAAA.AAAA",
		"bearer":              "Bearer " + good,
		"in quotes":           `"` + good + `"`,
	} {
		mustRefuse(t, keys, name, token)
	}
}

// unencoded returns a token of RFC 7797 with a valid signature.
func unencoded(t *testing.T) string {
	t.Helper()
	header := encode([]byte(`{"alg":"EdDSA","b64":false,"crit":["b64"],"kid":"key-EdDSA","typ":"at+jwt"}`))
	signature := ed25519.Sign(privateKey(t, domain.EdDSA).(ed25519.PrivateKey), []byte(header+"."+wholeClaims))
	return header + "." + wholeClaims + "." + encode(signature)
}
