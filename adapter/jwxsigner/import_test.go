package jwxsigner_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"encoding/json"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/domain"
)

func pemOf(kind string, der []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func jwkOf(t *testing.T, private any, alg string) string {
	t.Helper()
	key, err := jwk.FromRaw(private)
	if err == nil && alg != "" {
		err = key.Set(jwk.AlgorithmKey, alg)
	}
	text, e := json.Marshal(key)
	if err = errors.Join(err, e); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A key of another server is read in each form that servers write, always to the same bytes, and signs.
func TestAPrivateKeyIsReadInEachForm(t *testing.T) {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(k any) string {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		return pemOf("PRIVATE KEY", der, err)
	}
	sec1, err := x509.MarshalECPrivateKey(ec)
	parameters := pemOf("EC PARAMETERS", []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}, nil)
	for name, tt := range map[string]struct {
		key    any
		text   string
		wanted domain.Algorithm
		want   domain.Algorithm
	}{
		"Ed25519, PKCS 8":      {ed, pkcs8(ed), "", domain.EdDSA},
		"Ed25519, JWK":         {ed, jwkOf(t, ed, ""), "", domain.EdDSA},
		"EC, PKCS 8":           {ec, "\n" + pkcs8(ec) + "\n", domain.ES256, domain.ES256},
		"EC, SEC 1":            {ec, parameters + pemOf("EC PRIVATE KEY", sec1, err), "", domain.ES256},
		"EC, JWK":              {ec, jwkOf(t, ec, "ES256"), "", domain.ES256},
		"RSA, PKCS 1":          {rs, pemOf("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rs), nil), "", domain.RS256},
		"RSA, PKCS 8":          {rs, pkcs8(rs), domain.PS256, domain.PS256},
		"RSA, JWK of PS256":    {rs, jwkOf(t, rs, "PS256"), "", domain.PS256},
		"RSA, JWK for another": {rs, jwkOf(t, rs, "PS256"), domain.RS256, domain.RS256},
	} {
		got, algorithm, err := jwxsigner.ParsePrivateKey(domain.NewSecret(tt.text), tt.wanted)
		want, _ := x509.MarshalPKCS8PrivateKey(tt.key)
		if err != nil || algorithm != tt.want || got.Reveal() != string(want) {
			t.Errorf("%s: %s, %v, want %s and the same key", name, algorithm, err, tt.want)
			continue
		}
		key := domain.SigningKey{ID: "k", Algorithm: algorithm, Private: got}
		if _, err := jwxsigner.New(rand.Reader).JWKS([]domain.SigningKey{key}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is no private key is refused by the field, and no error has a part of it.
func TestATextThatIsNoPrivateKeyIsNotRepeated(t *testing.T) {
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	other, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8 := func(k any) string {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		return pemOf("PRIVATE KEY", der, err)
	}
	public, err := x509.MarshalPKIXPublicKey(ec.Public())
	for name, tt := range map[string]struct {
		text   string
		wanted domain.Algorithm
		code   string
	}{
		"nothing":           {"", "", "[invalid]privateKey"},
		"no PEM":            {"SECRETSECRET", "", "[invalid]privateKey"},
		"no key":            {pemOf("PRIVATE KEY", []byte("SECRETSECRET"), nil), "", "[invalid]privateKey"},
		"encrypted":         {pemOf("ENCRYPTED PRIVATE KEY", []byte("SECRETSECRET"), nil), "", "[invalid]privateKey"},
		"a public key":      {pemOf("PUBLIC KEY", public, err), "", "[invalid]privateKey"},
		"a public JWK":      {jwkOf(t, ec.Public(), ""), "", "[invalid]privateKey"},
		"a symmetric JWK":   {jwkOf(t, []byte("SECRETSECRET"), ""), "", "[invalid]privateKey"},
		"a broken JWK":      {`{"kty":"EC","d":"SECRETSECRET"}`, "", "[invalid]privateKey"},
		"two keys":          {pkcs8(ec) + pkcs8(ec), "", "[invalid]privateKey"},
		"another curve":     {pkcs8(other), "", "[invalid]privateKey"},
		"a small key":       {pkcs8(small), "", "[invalid]privateKey"},
		"another algorithm": {pkcs8(ec), domain.RS256, "[invalid]algorithm"},
		"an unknown one":    {pkcs8(ec), "none", "[invalid]algorithm"},
	} {
		_, _, err := jwxsigner.ParsePrivateKey(domain.NewSecret(tt.text), tt.wanted)
		var invalid *domain.Invalid
		if !errors.As(err, &invalid) || invalid.Fields[0].Code() != tt.code || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v, want %s", name, err, tt.code)
		}
	}
}
