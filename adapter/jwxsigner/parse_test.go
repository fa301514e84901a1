package jwxsigner_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/domain"
)

func pemOf(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// jwkOf returns a private key as a JWK, with members changed: a nil value removes one.
func jwkOf(private any, changes map[string]any) string {
	members := make(map[string]any)
	if err := json.Unmarshal(must(json.Marshal(must(jwk.FromRaw(private)))), &members); err != nil {
		panic(err)
	}
	maps.Copy(members, changes)
	maps.DeleteFunc(members, func(_ string, v any) bool { return v == nil })
	return string(must(json.Marshal(members)))
}

// rsa3072 is a fixed key, so that signatures by it can be pinned. It was made for this test.
func rsa3072(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	text, err := os.ReadFile("testdata/rsa3072.pem")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	return must(x509.ParsePKCS8PrivateKey(block.Bytes)).(*rsa.PrivateKey)
}

// A key that was made elsewhere signs here, in whichever form it comes.
func TestParseKeyReadsEveryForm(t *testing.T) {
	ec := privateKey(t, domain.ES256).(*ecdsa.PrivateKey)
	ed := privateKey(t, domain.EdDSA).(ed25519.PrivateKey)
	small, large := privateKey(t, domain.RS256).(*rsa.PrivateKey), rsa3072(t)
	forRSA := []domain.Algorithm{domain.RS256, domain.PS256}
	ecText := pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ec)))
	for name, c := range map[string]struct {
		text    string
		private any
		want    domain.PrivateKey
	}{
		"PKCS #8, Ed25519": {pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(ed))), ed,
			domain.PrivateKey{Algorithms: []domain.Algorithm{domain.EdDSA}}},
		"PKCS #8, RSA of 3072 bits": {pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(large))), large,
			domain.PrivateKey{Algorithms: forRSA}},
		"PKCS #1": {pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small)), small,
			domain.PrivateKey{Algorithms: forRSA}},
		"SEC 1": {ecText, ec, domain.PrivateKey{Algorithms: []domain.Algorithm{domain.ES256}}},
		"SEC 1 after its parameters, as OpenSSL writes it": {
			pemOf("EC PARAMETERS", []byte{6, 8, 42, 134, 72, 206, 61, 3, 1, 7}) + ecText + "\r\n", ec,
			domain.PrivateKey{Algorithms: []domain.Algorithm{domain.ES256}}},
		"JWK, P-256": {jwkOf(ec, map[string]any{"kid": "mine", "alg": "ES256", "use": "sig"}), ec, domain.PrivateKey{
			Algorithms: []domain.Algorithm{domain.ES256}, ID: "mine", Algorithm: domain.ES256}},
		"JWK, Ed25519": {" \n" + jwkOf(ed, map[string]any{"key_ops": []string{"sign"}}), ed,
			domain.PrivateKey{Algorithms: []domain.Algorithm{domain.EdDSA}}},
		"JWK, RSA": {jwkOf(small, map[string]any{"kid": "r", "alg": "PS256", "issued": 1}), small,
			domain.PrivateKey{Algorithms: forRSA, ID: "r", Algorithm: domain.PS256}},
		"JWK, RSA without the numbers that can be computed": {
			jwkOf(large, map[string]any{"dp": nil, "dq": nil, "qi": nil}), large, domain.PrivateKey{Algorithms: forRSA}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := jwxsigner.New(rand.Reader).ParseKey(domain.NewSecret(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if want := must(x509.MarshalPKCS8PrivateKey(c.private)); got.Private.Reveal() != string(want) {
				t.Error("it is another key")
			}
			got.Private = domain.Secret{}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(domain.Secret{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The error names what is wrong, so that an operator can mend it, and nothing of the key.
func TestParseKeyRefusesWhatItCannotUse(t *testing.T) {
	ec := privateKey(t, domain.ES256).(*ecdsa.PrivateKey)
	other := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	p384 := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
	ed := privateKey(t, domain.EdDSA).(ed25519.PrivateKey)
	r := privateKey(t, domain.RS256).(*rsa.PrivateKey)
	t.Setenv("GODEBUG", "rsa1024min=0")
	small := must(rsa.GenerateKey(rand.Reader, 1024))
	member := func(private any, name string) any {
		members := make(map[string]any)
		_ = json.Unmarshal([]byte(jwkOf(private, nil)), &members)
		return members[name]
	}
	ecText := pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(ec)))
	ecJWK := jwkOf(ec, nil)
	for name, c := range map[string]struct{ text, want string }{
		"nothing":          {" \n", "empty"},
		"something else":   {"hunter2hunter2", "neither PEM"},
		"too long":         {"{" + strings.Repeat(" ", 40_000) + "}", "32 KiB"},
		"a public key":     {pemOf("PUBLIC KEY", must(x509.MarshalPKIXPublicKey(ec.Public()))), "public key"},
		"an encrypted key": {pemOf("ENCRYPTED PRIVATE KEY", []byte("x")), "encrypted"},
		"an encrypted key of the old form": {
			strings.Replace(ecText, "KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n", 1),
			"encrypted"},
		"a key of OpenSSH":   {pemOf("OPENSSH PRIVATE KEY", []byte("x")), "ssh-keygen"},
		"a certificate too":  {ecText + pemOf("CERTIFICATE", []byte("x")), "certificate"},
		"another block":      {pemOf("DH PARAMETERS", []byte("x")), "not a private key"},
		"two keys":           {ecText + ecText, "several"},
		"a key cut off":      {ecText[:len(ecText)-40], "cut off"},
		"a second cut off":   {ecText + ecText[:80], "cut off"},
		"altered bytes":      {pemOf("PRIVATE KEY", []byte("xxxxxxxx")), "does not hold"},
		"P-384":              {pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(p384))), "another curve"},
		"RSA of 1024 bits":   {pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small)), "1024 bits"},
		"not JSON":           {ecJWK[:40], "not a valid JWK"},
		"padded":             {jwkOf(ec, map[string]any{"d": "AAAA===="}), "not a valid JWK"},
		"a JWK Set":          {`{"keys":[` + ecJWK + `]}`, "JWK Set"},
		"no kty":             {jwkOf(ec, map[string]any{"kty": nil}), "kty"},
		"a public JWK":       {jwkOf(ec, map[string]any{"d": nil}), "public key"},
		"symmetric":          {`{"kty":"oct","k":"c2VjcmV0"}`, "symmetric"},
		"for encryption":     {jwkOf(ec, map[string]any{"use": "enc"}), "use other than sig"},
		"for verification":   {jwkOf(ec, map[string]any{"key_ops": []string{"verify"}}), "key_ops"},
		"a kid with a blank": {jwkOf(ec, map[string]any{"kid": "a b"}), "kid"},
		"another alg":        {jwkOf(ec, map[string]any{"alg": "ES384"}), "alg does not fit its type: use ES256"},
		"RSA for ES256":      {jwkOf(r, map[string]any{"alg": "ES256"}), "use RS256 or PS256"},
		"JWK, P-384":         {jwkOf(p384, nil), "another type or curve"},
		"EC with another public part": {
			jwkOf(ec, map[string]any{"x": member(other, "x"), "y": member(other, "y")}), "inconsistent"},
		"EC, d too short": {jwkOf(ec, map[string]any{"d": "AAAA"}), "32 bytes"},
		"EC, d zero": {jwkOf(ec, map[string]any{"d": base64.RawURLEncoding.EncodeToString(make([]byte, 32))}),
			"not a private key"},
		"Ed25519 with another public part": {
			jwkOf(ed, map[string]any{"x": base64.RawURLEncoding.EncodeToString(make([]byte, 32))}), "inconsistent"},
		"RSA without primes":      {jwkOf(r, map[string]any{"p": nil, "q": nil}), "primes"},
		"RSA with oth":            {jwkOf(r, map[string]any{"oth": []any{}}), "two primes"},
		"RSA with another d":      {jwkOf(r, map[string]any{"d": "AAAB"}), "belong together"},
		"RSA with another dp":     {jwkOf(r, map[string]any{"dp": "AAAB"}), "belong together"},
		"RSA with another qi":     {jwkOf(r, map[string]any{"qi": "AAAB"}), "belong together"},
		"RSA with an even e":      {jwkOf(r, map[string]any{"e": "AQAA"}), "belong together"},
		"RSA with an e too large": {jwkOf(r, map[string]any{"e": "_____w"}), "65537"},
		"JWK, RSA of 1024 bits":   {jwkOf(small, nil), "1024 bits"},
		"RSA of 4104 bits": {
			jwkOf(r, map[string]any{"n": base64.RawURLEncoding.EncodeToString(slices.Repeat([]byte{255}, 513))}), "4096"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := jwxsigner.New(rand.Reader).ParseKey(domain.NewSecret(c.text))
			var invalid *domain.Invalid
			if !errors.As(err, &invalid) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want an Invalid about %q", err, c.want)
			}
			quotesNothingOf(t, c.text, err)
		})
	}
}

// quotesNothingOf reports a run of 12 characters of the text, none of them blank, in the error.
func quotesNothingOf(t *testing.T, text string, err error) {
	t.Helper()
	for i := 0; i+12 <= len(text); i++ {
		run := text[i : i+12]
		if !strings.ContainsAny(run, " \n{-") && strings.Contains(err.Error(), run) {
			t.Fatalf("the error quotes the text: %v", err)
		}
	}
}

// Whatever the text is, ParseKey returns a key that signs with each of its algorithms, or an error that quotes nothing.
func FuzzParseKey(f *testing.F) {
	for _, a := range domain.Algorithms {
		private := privateKey(f, a)
		f.Add(jwkOf(private, map[string]any{"kid": "k", "alg": string(a)}))
		f.Add(pemOf("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(private))))
	}
	f.Add(pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(privateKey(f, domain.RS256).(*rsa.PrivateKey))))
	f.Add(pemOf("EC PRIVATE KEY", must(x509.MarshalECPrivateKey(privateKey(f, domain.ES256).(*ecdsa.PrivateKey)))))
	f.Add(`{"kty":"RSA","n":"AQ","e":"AQ","d":"AQ","p":"AQ","q":"AQ"}`)
	f.Add("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----")
	f.Fuzz(func(t *testing.T, text string) {
		s := jwxsigner.New(rand.Reader)
		k, err := s.ParseKey(domain.NewSecret(text))
		if err != nil {
			var invalid *domain.Invalid
			if !errors.As(err, &invalid) {
				t.Fatalf("got %v, want an Invalid", err)
			}
			quotesNothingOf(t, text, err)
			return
		}
		for _, a := range k.Algorithms {
			key := domain.SigningKey{ID: "k", TenantID: "acme", Algorithm: a, Private: k.Private}
			token, err := s.Sign(context.Background(), key, accessToken())
			if err != nil {
				t.Fatalf("%s: %v", a, err)
			}
			if _, err := s.Verify(context.Background(), among([]domain.SigningKey{key}), token); err != nil {
				t.Fatalf("%s: %v", a, err)
			}
		}
	})
}

// The sizes of RSA keys that can be made are those that verifiers accept, and their longer signatures fit everywhere.
func TestRSAKeysOfEverySizeSignAndVerify(t *testing.T) {
	s := jwxsigner.New(rand.Reader)
	for a, bits := range map[domain.Algorithm][]int{domain.RS256: {0, 2048, 4096}, domain.PS256: {3072}} {
		for _, n := range bits {
			private, err := s.NewKey(a, n)
			if err != nil {
				t.Fatalf("%s of %d bits: %v", a, n, err)
			}
			key := domain.SigningKey{ID: "k", TenantID: "acme", Algorithm: a, Private: private}
			token := sign(t, key, accessToken())
			_, signature := cutSignature(t, token)
			if want := max(n, 2048) / 8; len(signature) != want {
				t.Errorf("%s of %d bits: a signature of %d bytes, want %d", a, n, len(signature), want)
			}
			if _, err := s.Verify(context.Background(), among([]domain.SigningKey{key}), token); err != nil {
				t.Errorf("%s of %d bits: %v", a, n, err)
			}
		}
	}
	for _, c := range []struct {
		a    domain.Algorithm
		bits int
	}{{domain.RS256, 1024}, {domain.RS256, 2049}, {domain.PS256, 8192}, {domain.RS256, -1}, {domain.ES256, 256},
		{domain.EdDSA, 2048}} {
		if _, err := s.NewKey(c.a, c.bits); err == nil {
			t.Errorf("%s of %d bits was made", c.a, c.bits)
		}
	}
}

// As TestSameKeyAndClaimsGiveTheSameBytesInEveryRelease, for signatures of more than 256 bytes.
func TestLargerRSAKeysGiveTheSameBytesInEveryRelease(t *testing.T) {
	for _, a := range []domain.Algorithm{domain.RS256, domain.PS256} {
		pinned, err := os.ReadFile("testdata/" + string(a) + "-3072.jwt")
		if err != nil {
			t.Fatal(err)
		}
		key := domain.SigningKey{ID: "key-3072", TenantID: "acme", Algorithm: a, Private: pkcs8(t, rsa3072(t))}
		for range 3 {
			if got := sign(t, key, accessToken()); got != strings.TrimSpace(string(pinned)) {
				t.Errorf("%s: got %s", a, got)
			}
		}
	}
}

// weakKey is an RSA key of 2048 bits whose second factor has that many bits and is not a prime if composite is set. Its
// numbers belong together.
func weakKey(t *testing.T, bits int, composite bool) *rsa.PrivateKey {
	t.Helper()
	prime := func(bits int) *big.Int { return must(rand.Prime(rand.Reader, bits)) }
	one, e := big.NewInt(1), big.NewInt(65537)
	for range 1000 {
		q := prime(bits)
		if composite {
			q = new(big.Int).Mul(prime(bits/2), prime(bits-bits/2))
		}
		k := &rsa.PrivateKey{Primes: []*big.Int{prime(2048 - bits), q}}
		k.N, k.E = new(big.Int).Mul(k.Primes[0], q), 65537
		p1, q1 := new(big.Int).Sub(k.Primes[0], one), new(big.Int).Sub(q, one)
		multiple := new(big.Int).Div(new(big.Int).Mul(p1, q1), new(big.Int).GCD(nil, nil, p1, q1))
		k.D = new(big.Int).ModInverse(e, multiple)
		if k.D != nil && k.N.BitLen() == 2048 {
			return k
		}
	}
	t.Fatal("no such key was found")
	return nil
}

// An RSA key is as strong as its smallest factor.
func TestParseKeyRefusesWeakRSAKeys(t *testing.T) {
	for name, k := range map[string]*rsa.PrivateKey{
		"a factor of 256 bits":         weakKey(t, 256, false),
		"a factor of 1000 bits":        weakKey(t, 1000, false),
		"a factor that is not a prime": weakKey(t, 1024, true),
		"two small primes in a pair":   weakKey(t, 1022, true),
	} {
		number := func(n *big.Int) string { return base64.RawURLEncoding.EncodeToString(n.Bytes()) }
		text := must(json.Marshal(map[string]string{
			"kty": "RSA", "n": number(k.N), "e": "AQAB", "d": number(k.D), "p": number(k.Primes[0]), "q": number(k.Primes[1]),
		}))
		_, err := jwxsigner.New(rand.Reader).ParseKey(domain.NewSecret(string(text)))
		if invalid := (*domain.Invalid)(nil); !errors.As(err, &invalid) {
			t.Errorf("%s: got %v, want it refused", name, err)
		}
	}
}

// x509 computes with the numbers of a key before it returns them. A key that is longer than any supported one is
// refused before, whatever is wrong with it.
func TestParseKeyDoesNotComputeWithHugeKeys(t *testing.T) {
	huge := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 40_000), big.NewInt(1))
	text := pemOf("RSA PRIVATE KEY", must(asn1.Marshal(struct {
		Version             int
		N                   *big.Int
		E                   int
		D, P, Q, Dp, Dq, Qi *big.Int
	}{0, huge, 65537, big.NewInt(3), huge, big.NewInt(3), big.NewInt(1), big.NewInt(1), big.NewInt(1)})))
	_, err := jwxsigner.New(rand.Reader).ParseKey(domain.NewSecret(text))
	if err == nil || !strings.Contains(err.Error(), "more than 4096 bits") {
		t.Errorf("got %v, want it refused by its length", err)
	}
}
