package domain_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
)

var proofTime = time.Date(2027, time.March, 4, 5, 6, 7, 0, time.UTC)

func goodProof() domain.Proof {
	return domain.Proof{
		Key: "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I", ID: "-BwC3ESc6acc2lTc", Method: "POST",
		URL: "https://refreshd.example/jwt/refresh", IssuedAt: proofTime,
		// The access token and its hash are those of RFC 9449, section 7.1.
		AccessTokenHash: "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo",
	}
}

func proofUse() domain.ProofUse {
	return domain.ProofUse{
		Method: "POST", URLs: []string{"https://auth.acme.example/jwt/refresh", "https://refreshd.example/jwt/refresh"},
		AccessToken: domain.NewSecret("Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"), Now: proofTime,
	}
}

// RFC 9449, section 4.3, the steps after the signature.
func TestAProofIsForOneRequest(t *testing.T) {
	type (
		proof = domain.Proof
		use   = domain.ProofUse
	)
	for name, c := range map[string]struct {
		change func(*proof, *use)
		ok     bool
	}{
		"the same":             {func(*proof, *use) {}, true},
		"another URL of it":    {func(p *proof, _ *use) { p.URL = "https://auth.acme.example/jwt/refresh" }, true},
		"a minute ago":         {func(p *proof, _ *use) { p.IssuedAt = proofTime.Add(-time.Minute) }, true},
		"a minute ahead":       {func(p *proof, _ *use) { p.IssuedAt = proofTime.Add(time.Minute) }, true},
		"more than that ago":   {func(p *proof, _ *use) { p.IssuedAt = proofTime.Add(-time.Minute - 1) }, false},
		"more than that ahead": {func(p *proof, _ *use) { p.IssuedAt = proofTime.Add(time.Minute + 1) }, false},
		"without iat":          {func(p *proof, _ *use) { p.IssuedAt = time.Time{} }, false},
		"without jti":          {func(p *proof, _ *use) { p.ID = "" }, false},
		"the longest jti":      {func(p *proof, _ *use) { p.ID = strings.Repeat("j", 256) }, true},
		"a longer jti":         {func(p *proof, _ *use) { p.ID = strings.Repeat("j", 257) }, false},
		"another method":       {func(p *proof, _ *use) { p.Method = "GET" }, false},
		"another case":         {func(p *proof, _ *use) { p.Method = "post" }, false},
		"another path":         {func(p *proof, _ *use) { p.URL += "/x" }, false},
		"another host":         {func(p *proof, _ *use) { p.URL = "https://evil.example/jwt/refresh" }, false},
		"another scheme":       {func(p *proof, _ *use) { p.URL = "http://refreshd.example/jwt/refresh" }, false},
		"without htu":          {func(p *proof, _ *use) { p.URL = "" }, false},
		"no URL is known":      {func(_ *proof, u *use) { u.URLs = nil }, false},
		"empty URLs": {func(p *proof, u *use) {
			p.URL, u.URLs = "", []string{""}
		}, false},
		"another access token": {func(_ *proof, u *use) { u.AccessToken = domain.NewSecret("other") }, false},
		"without ath":          {func(p *proof, _ *use) { p.AccessTokenHash = "" }, false},
		"ath without an access token": {func(_ *proof, u *use) {
			u.AccessToken = domain.Secret{}
		}, true},
	} {
		p, u := goodProof(), proofUse()
		c.change(&p, &u)
		if err := p.Check(u); (err == nil) != c.ok || err != nil && !errors.Is(err, domain.ErrProof) {
			t.Errorf("%s: got %v, want ok %t", name, err, c.ok)
		}
	}
}

// Libraries and proxies differ in how they write a URL: RFC 9449, section 4.3, wants the normalizations of RFC 3986,
// sections 6.2.2 and 6.2.3. Nothing else may make two URLs equal.
func TestTheURLOfAProofIsComparedByItsMeaning(t *testing.T) {
	const used = "https://refreshd.example/t/a%2Fb~c/oauth2/token"
	for htu, same := range map[string]bool{
		used:                                   true,
		used + "?x=1":                          true,
		used + "#x":                            true,
		used + "?":                             true,
		strings.ToUpper(used[:24]) + used[24:]: true,
		"https://refreshd.example:443/t/a%2Fb~c/oauth2/token":          true,
		"https://refreshd.example/t/a%2fb%7Ec/oauth2/%74oken":          true,
		"https://refreshd.example/t/a%2Fb~c/x/../oauth2/./token":       true,
		"https://refreshd.example/t/a%2Fb~c/x/%2E%2e/oauth2/%2E/token": true,
		"https://refreshd.example/t/a/b~c/oauth2/token":                false,
		"https://refreshd.example/t/a%252Fb~c/oauth2/token":            false,
		"https://refreshd.example:80/t/a%2Fb~c/oauth2/token":           false,
		"https://refreshd.example.:443/t/a%2Fb~c/oauth2/token":         false,
		"https://x@refreshd.example/t/a%2Fb~c/oauth2/token":            false,
		"https://refreshd.example@evil.example/t/a%2Fb~c/oauth2/token": false,
		"https://refreshd.example/t/a%2Fb~c/oauth2/token/":             false,
		"https://refreshd.example//t/a%2Fb~c/oauth2/token":             false,
		"https://refreshd.example/T/a%2Fb~c/oauth2/token":              false,
		"https:refreshd.example/t/a%2Fb~c/oauth2/token":                false,
		"//refreshd.example/t/a%2Fb~c/oauth2/token":                    false,
		"/t/a%2Fb~c/oauth2/token":                                      false,
		" " + used:                                                     false,
		used + "\n":                                                    false,
		"https://refreshd.example/t/a%2Fb~c/oauth2/toke%":              false,
	} {
		p, u := goodProof(), proofUse()
		p.URL, u.URLs = htu, []string{used}
		if err := p.Check(u); (err == nil) != same {
			t.Errorf("htu %q: got %v, want ok %t", htu, err, same)
		}
	}
	for htu, used := range map[string]string{
		"https://refreshd.example":            "https://refreshd.example/",
		"http://[2001:DB8::1]:80/jwt/refresh": "http://[2001:db8::1]/jwt/refresh",
		"http://localhost:8080/jwt/refresh":   "http://LOCALHOST:8080/jwt/refresh",
	} {
		p, u := goodProof(), proofUse()
		p.URL, u.URLs = htu, []string{used}
		if err := p.Check(u); err != nil {
			t.Errorf("htu %q of %q: %v", htu, used, err)
		}
	}
}

// Two clients may choose the same jti, and no pair of key and jti may be read as another pair.
func TestAReplayIsOfOneKeyAndOneID(t *testing.T) {
	p, same, other, key := goodProof(), goodProof(), goodProof(), goodProof()
	same.URL, same.IssuedAt = "https://other.example", proofTime.Add(time.Second)
	other.ID += "x"
	key.Key = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
	if p.Replay() != same.Replay() || p.Replay() == other.Replay() || p.Replay() == key.Replay() {
		t.Error("the replay of a proof is not that of its key and jti alone")
	}
}

func TestIsThumbprint(t *testing.T) {
	const good = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
	for s, want := range map[string]bool{
		good: true, "": false, good[1:]: false, good + "A": false, good + "=": false, good + "\n": false,
		good[:21] + "\n" + good[21:]: false, "+" + good[1:]: false, good[:42] + "J": false, // not the only spelling
	} {
		if got := domain.IsThumbprint(s); got != want {
			t.Errorf("%q: got %t, want %t", s, got, want)
		}
	}
}

// A nonce must be good on every replica for a while after it was given out, also on one whose clock differs, and for
// no longer: a proof that was made in advance must become worthless.
func TestNoncesAreGoodForAWhile(t *testing.T) {
	key := domain.NewSecret(strings.Repeat("k", 32))
	given, err := domain.ProofNonces(key, proofTime)
	if err != nil {
		t.Fatal(err)
	}
	for ahead, want := range map[time.Duration]bool{
		-time.Hour: false, -domain.MaxClockSkew: true, 0: true, time.Minute: true, 3 * time.Minute: true,
		6*time.Minute + time.Second: false, time.Hour: false,
	} {
		known, err := domain.ProofNonces(key, proofTime.Add(ahead))
		if err != nil {
			t.Fatal(err)
		}
		accepted := false
		for _, nonce := range known {
			accepted = accepted || nonce == given[0]
		}
		if accepted != want {
			t.Errorf("a nonce, %v later: accepted %t, want %t", ahead, accepted, want)
		}
	}
	other, err := domain.ProofNonces(domain.NewSecret(strings.Repeat("o", 32)), proofTime)
	if err != nil {
		t.Fatal(err)
	}
	for i, nonce := range given {
		if len(nonce) != 22 || nonce == other[i] || nonce == given[(i+1)%3] {
			t.Errorf("nonce %d is %q; under another key %q", i, nonce, other[i])
		}
	}
}
