package gormstore_test

import (
	"fmt"
	"testing"

	"github.com/refreshd/refreshd/adapter/gormstore"
)

// Each tenant with an issuer of its own has its own text: the cache must neither grow with them nor confuse them.
func TestTheCacheOfPoliciesIsBoundedAndExact(t *testing.T) {
	var cache gormstore.PolicyCache
	for i := range gormstore.MaxCachedPolicies + 100 {
		issuer := fmt.Sprintf("https://auth.example/t/%d", i)
		for range 2 { // decoded, then from the cache
			got, err := cache.Decode(fmt.Sprintf(`{"issuer": %q}`, issuer))
			if err != nil {
				t.Fatal(err)
			}
			if got.Issuer != issuer {
				t.Fatalf("issuer: got %q, want %q", got.Issuer, issuer)
			}
		}
	}
	if got, want := cache.Len(), gormstore.MaxCachedPolicies; got != want {
		t.Errorf("cached policies: got %d, want %d", got, want)
	}
	if _, err := cache.Decode("{"); err == nil {
		t.Error("a text that is cut off: got no error")
	}
}
