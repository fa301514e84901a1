package verify

import (
	"crypto/sha256"
	"fmt"
	"testing"
)

// The cache must not grow with the number of tokens, and keeps those that are in use.
func TestTheCacheOfTokensIsBounded(t *testing.T) {
	c := newCache()
	k := &key{}
	by := func(string) *key { return k }
	token := func(n int) *Token {
		return &Token{ID: fmt.Sprint(n), key: k, digest: sha256.Sum256(fmt.Append(nil, n))}
	}
	c.add(token(0), 500)
	for n := 1; n < 10*cachedTokens; n++ {
		c.add(token(n), 500)
		if n%1000 == 0 {
			if got, ok := c.find(token(0).digest, by); !ok || got.ID != "0" {
				t.Fatalf("after %d: got %+v, %v for a token that is in use", n, got, ok)
			}
		}
	}
	if n := len(c.young) + len(c.old); n > 2*cachedTokens {
		t.Errorf("%d tokens, want at most %d", n, 2*cachedTokens)
	}
	if _, ok := c.find(token(1).digest, by); ok {
		t.Error("a token of long ago is known")
	}
	c.add(token(-1), cachedMaximum+1)
	if _, ok := c.find(token(-1).digest, by); ok {
		t.Error("a large token is known")
	}
	if _, ok := c.find(token(0).digest, func(string) *key { return &key{} }); ok {
		t.Error("a token is known by another key")
	}
}
