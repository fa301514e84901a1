package verify_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
)

// The whole of Verify for a token that was not seen before, of it the signature alone, as the standard library verifies
// it, and Verify again.
func BenchmarkVerify(b *testing.B) {
	keys := fixedKeys(b)
	s := newService(keys["ES256"], keys["EdDSA"], keys["RS256"], keys["PS256"])
	v := started(b, s)
	for _, alg := range []string{"ES256", "EdDSA", "RS256", "PS256"} {
		k := keys[alg]
		token := k.token(always)
		b.Run(alg+"/whole", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				v.ForgetTokens()
				if _, err := v.Verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(alg+"/again", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(b.Context(), token); err != nil {
					b.Fatal(err)
				}
			}
		})
		signed := []byte(token[:100])
		signature := k.signature(string(signed))
		b.Run(alg+"/signature", func(b *testing.B) {
			for b.Loop() {
				if !validSignature(k, signed, signature) {
					b.Fatal("wrong signature")
				}
			}
		})
	}
	b.Run("DPoP/ES256 with a proof of ES256", func(b *testing.B) {
		holder := keys["ES256"]
		token := keys["ES256"].boundTo(holder)
		requests := make([]*http.Request, 0, 4096)
		b.ReportAllocs()
		for b.Loop() {
			if len(requests) == 0 {
				b.StopTimer()
				for range cap(requests) {
					r := httptest.NewRequest(http.MethodGet, "/things", nil)
					r.Header["Authorization"] = []string{"DPoP " + token}
					r.Header["Dpop"] = []string{holder.proofOf(token, "GET", thingsURL, nil)}
					requests = append(requests, r)
				}
				b.StartTimer()
			}
			r := requests[len(requests)-1]
			requests = requests[:len(requests)-1]
			if _, err := v.VerifyRequest(r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func validSignature(k *signingKey, signed, signature []byte) bool {
	sum := sha256.Sum256(signed)
	switch p := k.private.Public().(type) {
	case *ecdsa.PublicKey:
		return ecdsa.Verify(p, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
	case ed25519.PublicKey:
		return ed25519.Verify(p, signed, signature)
	case *rsa.PublicKey:
		if k.alg == "RS256" {
			return rsa.VerifyPKCS1v15(p, crypto.SHA256, sum[:], signature) == nil
		}
		salt := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
		return rsa.VerifyPSS(p, crypto.SHA256, sum[:], signature, salt) == nil
	}
	return false
}
