package jwxsigner_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/domain"
)

// rfc9449Proof is the proof of RFC 9449, section 4.1, figure 1, whose key has the thumbprint of section 6.1.
const rfc9449Proof = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgt" +
	"MzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUw" +
	"Q2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwi" +
	"aHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2Vu" +
	"IiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"

// The RFC's own proof is the one test of a proof that this project did not make itself.
func TestTheProofOfRFC9449IsRead(t *testing.T) {
	got, err := jwxsigner.New(rand.Reader).ParseProof(rfc9449Proof)
	if err != nil {
		t.Fatal(err)
	}
	want := domain.Proof{
		Key: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", ID: "-BwC3ESc6acc2lTc", Method: "POST",
		URL: "https://server.example.com/token", IssuedAt: time.Unix(1562262616, 0).UTC(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Members that are not part of the key do not count, and neither do order and blanks: RFC 7638, section 3.
func TestThumbprintsAreThoseOfTheRFCs(t *testing.T) {
	for name, c := range map[string]struct{ jwk, want string }{
		"RFC 7638, section 3.1": {`{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbf` +
			`AAtVT86zwu1RK7aPFF` +
			`xuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY36` +
			`8QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-` +
			`G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}`,
			"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
		"RFC 8037, appendix A.3": {` { "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "crv":"Ed25519", "kty":"OKP" }`,
			"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
	} {
		if got, err := jwxsigner.Thumbprint(c.jwk); err != nil || got != c.want {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, c.want)
		}
	}
}

// publicMembers returns the public key as a JWK.
func publicMembers(t testing.TB, public crypto.PublicKey) map[string]any {
	t.Helper()
	k, err := jwk.FromRaw(public)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func jsonOf(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// signedBy returns a JWS of any header and claims with a valid signature.
func signedBy(t testing.TB, a domain.Algorithm, private crypto.Signer, header, payload string) string {
	t.Helper()
	signer, err := jws.NewSigner(jwa.SignatureAlgorithm(a))
	if err != nil {
		t.Fatal(err)
	}
	signed := encode([]byte(header)) + "." + encode([]byte(payload))
	signature, err := signer.Sign([]byte(signed), private)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + encode(signature)
}

const proofClaims = `{"jti":"id-1","htm":"POST","htu":"https://refreshd.example/oauth2/token","iat":1700000000.5,` +
	`"nonce":"n-1","ath":"fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo","other":{"jti":3}}`

func proofHeader(t testing.TB, a domain.Algorithm) map[string]any {
	t.Helper()
	return map[string]any{"typ": "dpop+jwt", "alg": string(a), "jwk": publicMembers(t, privateKey(t, a).Public())}
}

// Ed25519 has two names (RFC 9864, section 2.2): oauth4webapi sends that one.
func TestProofsOfEveryAlgorithmAreRead(t *testing.T) {
	for _, name := range domain.ClientAlgorithms {
		a := name
		if a == domain.Ed25519 {
			a = domain.EdDSA
		}
		header := proofHeader(t, a)
		header["alg"] = string(name)
		text := signedBy(t, a, privateKey(t, a), jsonOf(t, header), proofClaims)
		got, err := jwxsigner.New(rand.Reader).ParseProof(text)
		if err != nil {
			t.Errorf("%s: %v", a, err)
			continue
		}
		k, err := jwk.FromRaw(privateKey(t, a).Public())
		if err != nil {
			t.Fatal(err)
		}
		thumbprint, err := k.Thumbprint(crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		want := domain.Proof{
			Key: encode(thumbprint), ID: "id-1", Method: "POST", URL: "https://refreshd.example/oauth2/token",
			IssuedAt: time.Unix(1_700_000_000, 5e8).UTC(), Nonce: "n-1",
			AccessTokenHash: "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", a, diff)
		}
	}
}

// Each of these is signed by the key in its header, or says that it is: only the reason is wrong with it. RFC 9449,
// section 4.3.
func TestProofsThatAreNoneAreRefusedAndNotQuoted(t *testing.T) {
	private := privateKey(t, domain.ES256)
	with := func(change func(header, jwk map[string]any)) string {
		h := proofHeader(t, domain.ES256)
		change(h, h["jwk"].(map[string]any))
		return signedBy(t, domain.ES256, private, jsonOf(t, h), proofClaims)
	}
	good := with(func(map[string]any, map[string]any) {})
	if _, err := jwxsigner.New(rand.Reader).ParseProof(good); err != nil {
		t.Fatalf("the proof that the others are made of: %v", err)
	}
	claims := func(claims string) string {
		return signedBy(t, domain.ES256, private, jsonOf(t, proofHeader(t, domain.ES256)), claims)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set := func(name string, value any) string {
		return with(func(h, _ map[string]any) { h[name] = value })
	}
	inKey := func(name string, value any) string {
		return with(func(_, k map[string]any) { k[name] = value })
	}
	const secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQ"
	for name, text := range map[string]string{
		"nothing":                     "",
		"not a JWS":                   "proof",
		"longer than 8 KiB":           claims(strings.Replace(proofClaims, "n-1", strings.Repeat("n", 8<<10), 1)),
		"an access token":             set("typ", "at+jwt"),
		"a JWT":                       set("typ", "JWT"),
		"no typ":                      with(func(h, _ map[string]any) { delete(h, "typ") }),
		"no key":                      with(func(h, _ map[string]any) { delete(h, "jwk") }),
		"a key that is a string":      set("jwk", secret),
		"the key of another":          set("jwk", publicMembers(t, other.Public())),
		"a key of another curve":      set("jwk", publicMembers(t, p384.Public())),
		"a private key":               inKey("d", secret),
		"an RSA private key's prime":  inKey("p", secret),
		"a symmetric key":             set("jwk", map[string]any{"kty": "oct", "k": secret}),
		"a symmetric algorithm":       set("alg", "HS256"),
		"no algorithm":                set("alg", "none"),
		"an algorithm of another key": set("alg", "RS256"),
		"ES384":                       set("alg", "ES384"),
		"a critical parameter":        set("crit", []string{"exp"}),
		"a key for encryption":        inKey("use", "enc"),
		"a key of another algorithm":  inKey("alg", "EdDSA"),
		"a key that cannot verify":    inKey("key_ops", []string{"deriveKey"}),
		"no point of the curve":       inKey("x", encode(make([]byte, 32))),
		"a point in another spelling": with(func(_, k map[string]any) { k["x"] = k["x"].(string) + "\n" }),
		"a repeated claim":            claims(`{"jti":"a","jti":"b","iat":1}`),
		"a jti that is a number":      claims(`{"jti":7,"iat":1}`),
		"a jti that is null":          claims(`{"jti":null,"iat":1}`),
		"an iat that is text":         claims(`{"iat":"1700000000"}`),
		"an iat beyond every clock":   claims(`{"iat":1e300}`),
		"claims that are a list":      claims(`[]`),
		"claims twice":                claims(proofClaims + proofClaims),
		"an altered signature":        good[:len(good)-2] + "AA",
		"no signature":                good[:strings.LastIndexByte(good, '.')+1],
		"a line break":                good + "\n",
		"a fourth segment":            good + ".AAAA",
		"a signature in ASN.1":        asn1Signed(t, proofHeader(t, domain.ES256)),
	} {
		_, err := jwxsigner.New(rand.Reader).ParseProof(text)
		if !errors.Is(err, domain.ErrProof) {
			t.Errorf("%s: got %v, want ErrProof", name, err)
			continue
		}
		if invalid := (*domain.Invalid)(nil); !errors.As(err, &invalid) || invalid.Fields[0].Code() != "[unproved]DPoP" {
			t.Errorf("%s: got %v, want the code [unproved]DPoP", name, err)
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error quotes it: %v", name, err)
		}
	}
}

// asn1Signed returns a proof whose signature is in the form of X.509.
func asn1Signed(t *testing.T, header map[string]any) string {
	t.Helper()
	signed := encode([]byte(jsonOf(t, header))) + "." + encode([]byte(proofClaims))
	hash := crypto.SHA256.New()
	hash.Write([]byte(signed))
	signature, err := privateKey(t, domain.ES256).Sign(rand.Reader, hash.Sum(nil), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + encode(signature)
}

// A small RSA key can be factored, and a large one makes each verification slow: the sender chooses it.
func TestKeysOfAnotherSizeAreRefused(t *testing.T) {
	for bits, ok := range map[int]bool{1024: false, 2048: true, 4096: true, 4104: false, 8192: false} {
		n := make([]byte, bits/8)
		for i := range n {
			n[i] = 0xff
		}
		_, err := jwxsigner.Thumbprint(fmt.Sprintf(`{"kty":"RSA","n":%q,"e":"AQAB"}`, encode(n)))
		if (err == nil) != ok {
			t.Errorf("%d bits: got %v, want ok %t", bits, err, ok)
		}
	}
	for _, y := range []byte{0, 1} { // points of the orders 4 and 1
		text := fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":%q}`, encode(append([]byte{y}, make([]byte, 31)...)))
		if _, err := jwxsigner.Thumbprint(text); err == nil {
			t.Errorf("a point of Ed25519 with y %d, under which anyone can sign: accepted", y)
		}
	}
	for _, e := range [][]byte{nil, {1}, {2}, {1, 0, 0}, {0, 1, 0, 1}, {0xff, 0xff, 0xff, 0xff}} {
		n := make([]byte, 256)
		for i := range n {
			n[i] = 0xff
		}
		if _, err := jwxsigner.Thumbprint(fmt.Sprintf(`{"kty":"RSA","n":%q,"e":%q}`, encode(n), encode(e))); err == nil {
			t.Errorf("e %x: accepted", e)
		}
	}
}

// clientKeys returns a JWK Set with a key of each algorithm, whose kid is the algorithm.
func clientKeys(t testing.TB) string {
	t.Helper()
	set := map[string][]any{}
	for _, a := range domain.Algorithms {
		k := publicMembers(t, privateKey(t, a).Public())
		k["kid"], k["alg"] = string(a), string(a)
		set["keys"] = append(set["keys"], k)
	}
	return jsonOf(t, set)
}

const assertionClaims = `{"iss":"shop","sub":"shop","aud":["https://auth.acme.example"],"jti":"id-1",` +
	`"exp":1700000300,"nbf":1700000000,"iat":1700000000}`

func TestAssertionsOfEveryAlgorithmAreRead(t *testing.T) {
	s := jwxsigner.New(rand.Reader)
	keys := clientKeys(t)
	if err := s.ParseClientKeys(keys); err != nil {
		t.Fatal(err)
	}
	for _, name := range domain.ClientAlgorithms {
		a := name
		if a == domain.Ed25519 { // the key of the set has the other name
			a = domain.EdDSA
		}
		for _, header := range []string{
			fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, name, a), fmt.Sprintf(`{"alg":%q}`, name),
			fmt.Sprintf(`{"typ":"client-authentication+jwt","alg":%q}`, name),
		} {
			got, err := s.VerifyAssertion(keys, domain.NewSecret(signedBy(t, a, privateKey(t, a), header, assertionClaims)))
			if err != nil {
				t.Errorf("%s: %v", header, err)
				continue
			}
			at := time.Unix(1_700_000_000, 0).UTC()
			want := domain.Assertion{
				Issuer: "shop", Subject: "shop", Audience: []string{"https://auth.acme.example"}, ID: "id-1",
				ExpiresAt: at.Add(5 * time.Minute), NotBefore: at, IssuedAt: at,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", header, diff)
			}
		}
	}
}

func TestAssertionsThatAreNoneAreRefusedAndNotQuoted(t *testing.T) {
	s := jwxsigner.New(rand.Reader)
	keys, private := clientKeys(t), privateKey(t, domain.EdDSA)
	_, stranger, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	header := func(header string) string { return signedBy(t, domain.EdDSA, private, header, assertionClaims) }
	claims := func(claims string) string { return signedBy(t, domain.EdDSA, private, `{"alg":"EdDSA"}`, claims) }
	own := jsonOf(t, map[string]any{"alg": "EdDSA", "jwk": publicMembers(t, stranger.Public())})
	for name, text := range map[string]string{
		"nothing":                    "",
		"the key of another":         signedBy(t, domain.EdDSA, stranger, `{"alg":"EdDSA"}`, assertionClaims),
		"the key in its own header":  signedBy(t, domain.EdDSA, stranger, own, assertionClaims),
		"an unknown kid":             header(`{"alg":"EdDSA","kid":"other"}`),
		"the kid of another key":     header(`{"alg":"EdDSA","kid":"ES256"}`),
		"the alg of another key":     header(`{"alg":"ES256"}`),
		"no algorithm":               header(`{"alg":"none"}`),
		"a symmetric algorithm":      header(`{"alg":"HS256"}`),
		"a proof":                    header(`{"alg":"EdDSA","typ":"dpop+jwt"}`),
		"an access token":            header(`{"alg":"EdDSA","typ":"at+jwt"}`),
		"a critical parameter":       header(`{"alg":"EdDSA","crit":["b64"],"b64":false}`),
		"a parameter twice":          header(`{"alg":"EdDSA","kid":"EdDSA","kid":"EdDSA"}`),
		"longer than 8 KiB":          claims(`{"iss":"` + strings.Repeat("s", 8<<10) + `"}`),
		"an audience of numbers":     claims(`{"aud":[1]}`),
		"an audience of nulls":       claims(`{"aud":[null]}`),
		"an audience that is null":   claims(`{"aud":null}`),
		"a repeated claim":           claims(`{"sub":"a","sub":"b"}`),
		"an exp before 1970":         claims(`{"exp":-5}`),
		"an altered signature":       claims(assertionClaims)[:40] + "A" + claims(assertionClaims)[41:],
		"claims that are no object":  claims(`"c2VjcmV0"`),
		"a signature that is absent": "eyJhbGciOiJFZERTQSJ9.e30.",
	} {
		_, err := s.VerifyAssertion(keys, domain.NewSecret(text))
		if !errors.Is(err, domain.ErrUnauthorized) {
			t.Errorf("%s: got %v, want ErrUnauthorized", name, err)
		} else if len(text) > 20 && strings.Contains(err.Error(), text[:20]) {
			t.Errorf("%s: the error quotes it: %v", name, err)
		}
	}
	for _, none := range []string{"", "{}", `{"keys":[]}`, "keys"} {
		_, err := s.VerifyAssertion(none, domain.NewSecret(claims(assertionClaims)))
		if !errors.Is(err, domain.ErrUnauthorized) {
			t.Errorf("keys %q: got %v, want ErrUnauthorized", none, err)
		}
	}
}

// An operator who pastes the wrong file must learn what is wrong, and must not find a private key in a log.
func TestClientKeysThatCannotBeUsedAreRefusedAndNotQuoted(t *testing.T) {
	key := func(change func(map[string]any)) map[string]any {
		k := publicMembers(t, privateKey(t, domain.ES256).Public())
		change(k)
		return k
	}
	set := func(keys ...map[string]any) string { return jsonOf(t, map[string]any{"keys": keys}) }
	plain, named := key(func(map[string]any) {}), key(func(k map[string]any) { k["kid"] = "a" })
	const secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQ"
	rsaPrivate, err := jwk.FromRaw(privateKey(t, domain.RS256))
	if err != nil {
		t.Fatal(err)
	}
	var eleven []map[string]any
	for range 11 {
		eleven = append(eleven, maps.Clone(plain))
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":              {"", "is not a JWK Set"},
		"a key, not a set":   {jsonOf(t, plain), "is not a JWK Set"},
		"keys that are null": {`{"keys":null}`, "is not a JWK Set"},
		"no keys":            {`{"keys":[]}`, "without keys"},
		"eleven keys":        {set(eleven...), "more than 10 keys"},
		"too long":           {`{"x":"` + strings.Repeat("x", 32<<10) + `"}`, "longer than 32 KiB"},
		"a private key":      {set(plain, key(func(k map[string]any) { k["d"] = secret })), "number 2, that has private"},
		"an RSA private key": {`{"keys":[` + jsonOf(t, rsaPrivate) + `]}`, "has private parts"},
		"a symmetric key":    {set(map[string]any{"kty": "oct", "k": secret}), "has private parts"},
		"for encryption":     {set(key(func(k map[string]any) { k["use"] = "enc" })), "not to verify"},
		"two of one kid": {set(named, named),
			"with the kid of another one"},
		"another type":  {set(map[string]any{"kty": "OKP", "crv": "X25519", "x": secret}), "another type"},
		"another alg":   {set(key(func(k map[string]any) { k["alg"] = "ES512" })), "an alg that does not fit"},
		"names in caps": {`{"Keys":[{"kty":"oct"}]}`, "is not a JWK Set"},
	} {
		err := jwxsigner.New(rand.Reader).ParseClientKeys(c.text)
		if invalid := (*domain.Invalid)(nil); !errors.As(err, &invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an *Invalid with %q", name, err, c.want)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error quotes it: %v", name, err)
		}
	}
	if err := jwxsigner.New(rand.Reader).ParseClientKeys(set(eleven[:10]...)); err != nil {
		t.Errorf("ten keys without kid: %v", err)
	}
	if _, isRSA := privateKey(t, domain.RS256).(*rsa.PrivateKey); !isRSA {
		t.Error("the private key is not of RSA")
	}
}
