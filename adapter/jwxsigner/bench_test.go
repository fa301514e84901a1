package jwxsigner_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/domain"
)

func BenchmarkSign(b *testing.B) {
	bare := accessToken()
	bare.Claims = ""
	for _, a := range domain.Algorithms {
		for _, token := range []domain.AccessToken{bare, accessToken()} {
			b.Run(fmt.Sprintf("%s/own=%t", a, token.Claims != ""), func(b *testing.B) {
				s, key := jwxsigner.New(rand.Reader), publishedKey(b, a)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Sign(context.Background(), key, token); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	for _, a := range domain.Algorithms {
		b.Run(string(a), func(b *testing.B) {
			s, key := jwxsigner.New(rand.Reader), publishedKey(b, a)
			keys, token := []domain.SigningKey{key}, sign(b, key, accessToken())
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Verify(context.Background(), among(keys), token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
