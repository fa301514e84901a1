package verify_test

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/verify"
)

// proofOf returns a proof of possession of k for a request with the token, with changes of its claims. Each has a jti
// of its own.
func (k *signingKey) proofOf(token, method, url string, change with) string {
	return k.sign(k.proofHeader(), k.proofClaims(token, method, url, change))
}

func (k *signingKey) proofHeader() string {
	return fmt.Sprintf(`{"typ":"dpop+jwt","alg":%q,"jwk":%s}`, k.alg, k.jwk(false))
}

var proofs int

func (k *signingKey) proofClaims(token, method, url string, change with) string {
	proofs++
	hash := sha256.Sum256([]byte(token))
	c := map[string]any{
		"jti": fmt.Sprint("proof-", proofs), "htm": method, "htu": url, "iat": time.Now().Unix(), "ath": encode(hash[:]),
	}
	for name, value := range change {
		if c[name] = value; value == nil {
			delete(c, name)
		}
	}
	text, err := json.Marshal(c)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// boundTo returns an access token of k that is bound to holder.
func (k *signingKey) boundTo(holder *signingKey) string {
	return k.token(with{"cnf": map[string]string{"jkt": holder.thumbprint()}})
}

func withProof(method, target, token string, proofs ...string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.Header.Set("Authorization", "DPoP "+token)
	r.Header["Dpop"] = proofs
	return r
}

const thingsURL = "https://api.example/things"

func TestABoundTokenIsAcceptedWithProofOfPossession(t *testing.T) {
	k := testKeys()["ES256"]
	inBubble(t, newService(k), nil, func(t *testing.T, v *verify.Verifier) {
		for _, holder := range all() {
			token := k.boundTo(holder)
			proof := holder.proofOf(token, "POST", thingsURL, nil)
			r := withProof("POST", "/things?a=b", token, proof)
			got, err := v.VerifyRequest(r)
			if err != nil || got.Subject != "user-1" {
				t.Errorf("%s: got %+v, %v", holder.alg, got, err)
			}
			_, err = v.VerifyRequest(r)
			if !errors.Is(err, verify.ErrInvalid) || !strings.Contains(err.Error(), "used before") {
				t.Errorf("%s again: got %v, want that it was used before", holder.alg, err)
			}
		}
	})
}

// RFC 9449, section 4.3: each of these would let somebody use a token that was stolen, or a proof that was.
func TestAProofThatIsNotForThisRequestIsRefused(t *testing.T) {
	k := testKeys()["EdDSA"]
	holder, thief, rsaHolder := newKey("", "ES256"), newKey("", "ES256"), testKeys()["PS256"]
	inBubble(t, newService(k), nil, func(t *testing.T, v *verify.Verifier) {
		token := k.boundTo(holder)
		proof := func(change with) string { return holder.proofOf(token, "GET", thingsURL, change) }
		twice := strings.Replace(holder.proofClaims(token, "GET", thingsURL, nil), "{", `{"jti":"x",`, 1)
		header := func(replaced ...string) string {
			return holder.sign(strings.NewReplacer(replaced...).Replace(holder.proofHeader()),
				holder.proofClaims(token, "GET", thingsURL, nil))
		}
		now := time.Now().Unix()
		otherToken := k.token(with{"jti": "id-2", "cnf": map[string]string{"jkt": holder.thumbprint()}})
		for name, proofs := range map[string][]string{
			"none":                       nil,
			"two":                        {proof(nil), proof(nil)},
			"an empty one":               {""},
			"a list":                     {proof(nil) + ", " + proof(nil)},
			"too large":                  {proof(with{"x": strings.Repeat("x", 8<<10)})},
			"by another key":             {thief.proofOf(token, "GET", thingsURL, nil)},
			"a signature of another key": {thief.sign(holder.proofHeader(), holder.proofClaims(token, "GET", thingsURL, nil))},
			"an access token":            {token},
			"another typ":                {header("dpop+jwt", "at+jwt")},
			"no typ":                     {header(`"typ":"dpop+jwt",`, "")},
			"no jwk":                     {header(`"jwk"`, `"kwj"`)},
			"a private key":              {header(`"kty"`, `"d":"AAAA","kty"`)},
			"a symmetric key": {fmt.Sprintf("%s.%s.%s",
				encode([]byte(`{"typ":"dpop+jwt","alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}`)), encode([]byte("{}")), "AAAA")},
			"alg none":           {header("ES256", "none")},
			"alg of another key": {header("ES256", "EdDSA")},
			"a short Ed25519 key": {header(holder.jwk(false), `{"kty":"OKP","crv":"Ed25519","x":"AAAA"}`,
				`"ES256"`, `"EdDSA"`)},
			"crit":                      {header(`"typ"`, `"crit":["x"],"typ"`)},
			"no jti":                    {proof(with{"jti": nil})},
			"an empty jti":              {proof(with{"jti": ""})},
			"a long jti":                {proof(with{"jti": strings.Repeat("x", 257)})},
			"a jti that is a number":    {proof(with{"jti": 7})},
			"another method":            {proof(with{"htm": "POST"})},
			"a method of another case":  {proof(with{"htm": "get"})},
			"no method":                 {proof(with{"htm": nil})},
			"another path":              {proof(with{"htu": thingsURL + "/1"})},
			"a path of another case":    {proof(with{"htu": "https://api.example/Things"})},
			"a slash more":              {proof(with{"htu": thingsURL + "/"})},
			"another host":              {proof(with{"htu": "https://evil.example/things"})},
			"another port":              {proof(with{"htu": "https://api.example:8443/things"})},
			"another scheme":            {proof(with{"htu": "http://api.example/things"})},
			"user information":          {proof(with{"htu": "https://a@api.example/things"})},
			"a path alone":              {proof(with{"htu": "/things"})},
			"no URL":                    {proof(with{"htu": nil})},
			"too old":                   {proof(with{"iat": now - 61})},
			"too new":                   {proof(with{"iat": now + 61})},
			"no iat":                    {proof(with{"iat": nil})},
			"iat as text":               {proof(with{"iat": fmt.Sprint(now)})},
			"for another access token":  {holder.proofOf(otherToken, "GET", thingsURL, nil)},
			"for no access token":       {proof(with{"ath": nil})},
			"a claim twice":             {holder.sign(holder.proofHeader(), twice)},
			"a member of the key twice": {header(`"kty":"EC"`, `"kty":"EC","kty":"EC"`)},
		} {
			got, err := v.VerifyRequest(withProof("GET", "/things", token, proofs...))
			if !errors.Is(err, verify.ErrInvalid) || got != nil {
				t.Errorf("%s: got %+v, %v, want ErrInvalid", name, got, err)
			}
			response := serve(protected(v), withProof("GET", "/things", token, proofs...))
			challenges := response.Header.Values("WWW-Authenticate")
			if response.StatusCode != 401 || len(challenges) != 2 ||
				!strings.Contains(challenges[1], `error="invalid_dpop_proof"`) {
				t.Errorf("%s: got %d, %q", name, response.StatusCode, challenges)
			}
		}
		if _, err := v.VerifyRequest(withProof("GET", "/things", token, proof(nil))); err != nil {
			t.Errorf("a valid one: %v", err)
		}
		// A key that says its algorithm serves for no other one, although its thumbprint is the same.
		rsaToken := k.boundTo(rsaHolder)
		for alg, want := range map[string]error{"PS256": nil, "RS256": verify.ErrInvalid} {
			h := strings.Replace(rsaHolder.proofHeader(), `"kty"`, fmt.Sprintf(`"alg":%q,"kty"`, alg), 1)
			proof := rsaHolder.sign(h, rsaHolder.proofClaims(rsaToken, "GET", thingsURL, nil))
			if _, err := v.VerifyRequest(withProof("GET", "/things", rsaToken, proof)); !errors.Is(err, want) {
				t.Errorf("a key for %s: got %v, want %v", alg, err, want)
			}
		}
	})
}

// A proof counts as used only for a request that was accepted: otherwise its sender could not repeat a request that was
// refused with 503.
func TestAProofOfARefusedRequestIsNotUsed(t *testing.T) {
	k, holder := testKeys()["EdDSA"], newKey("", "EdDSA")
	s := newService(k)
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		strict := v.Require(2 * time.Second)
		token := k.boundTo(holder)
		s.cut()
		pass(3 * time.Second)
		r := withProof("GET", "/things", token, holder.proofOf(token, "GET", thingsURL, nil))
		if _, err := strict.VerifyRequest(r); !errors.Is(err, verify.ErrStale) {
			t.Fatalf("got %v, want ErrStale", err)
		}
		s.restore()
		pass(30 * time.Second)
		if _, err := strict.VerifyRequest(r); err != nil {
			t.Errorf("again: %v", err)
		}
		// What Require returns shares the memory of proofs.
		if _, err := v.VerifyRequest(r); !errors.Is(err, verify.ErrInvalid) {
			t.Errorf("a third time: got %v, want ErrInvalid", err)
		}
	})
}

// A jti serves once in the whole time in which its iat is accepted, for each key, and not longer: memory is bounded.
func TestAProofServesOnceInItsWindow(t *testing.T) {
	k, holder, another := testKeys()["EdDSA"], newKey("", "EdDSA"), newKey("", "EdDSA")
	inBubble(t, newService(k), nil, func(t *testing.T, v *verify.Verifier) {
		use := func(holder *signingKey, iat int64) error {
			token := k.boundTo(holder)
			_, err := v.VerifyRequest(withProof("GET", "/things", token,
				holder.proofOf(token, "GET", thingsURL, with{"jti": "the same", "iat": iat})))
			return err
		}
		iat := time.Now().Add(59 * time.Second).Unix()
		if err := use(holder, iat); err != nil {
			t.Fatal(err)
		}
		if err := use(another, iat); err != nil {
			t.Errorf("the same jti of another key: %v", err)
		}
		for range 118 {
			pass(time.Second)
			if err := use(holder, iat); !errors.Is(err, verify.ErrInvalid) || !strings.Contains(err.Error(), "used before") {
				t.Fatalf("got %v, want that it was used before", err)
			}
		}
		pass(3 * time.Second)
		if err := use(holder, iat); !errors.Is(err, verify.ErrInvalid) || !strings.Contains(err.Error(), "iat") {
			t.Errorf("after the window: got %v, want that iat is too old", err)
		}
	})
}

// Spellings of one URL are equal, RFC 3986, section 6.2; a proxy and a router change the request, and the proof is for
// the URL that the client used.
func TestTheURLOfAProof(t *testing.T) {
	k, holder := testKeys()["EdDSA"], newKey("", "EdDSA")
	for _, tc := range []struct {
		public, target, htu string
		want                bool
	}{
		{"https://api.example", "/a", "https://api.example/a", true},
		{"https://api.example/", "/a", "https://api.example/a", true},
		{"https://api.example", "/a?b=c", "https://api.example/a?d=e#f", true},
		{"https://api.example", "/a", "HTTPS://API.example:443/a", true},
		{"https://api.example", "/", "https://api.example", true},
		{"https://api.example", "/%7euser/%c3%A9", "https://api.example/~user/%C3%a9", true},
		{"https://api.example", "/a/./b/../c", "https://api.example/a/c", true},
		{"https://api.example", "/a%2Fb", "https://api.example/a/b", false},
		{"https://api.example", "/a%2fb", "https://api.example/a%2Fb", true},
		{"https://api.example", "//a", "https://api.example/a", false},
		{"https://api.example", "/a", "https://api.example:80/a", false},
		{"https://api.example/v1", "/a", "https://api.example/v1/a", true},
		{"https://api.example/v1", "/a", "https://api.example/a", false},
		{"https://api.example:8443", "/a", "https://api.example:8443/a", true},
		{"http://127.0.0.1:80", "/a", "http://127.0.0.1/a", true},
		{"http://[::1]:8080", "/a", "http://[::1]:8080/a", true},
		{"https://api.example", "http://evil.example/a", "http://evil.example/a", false},
		{"https://api.example", "http://evil.example/a", "https://api.example/a", true},
	} {
		public := func(c *verify.Config) { c.PublicURL = tc.public }
		inBubble(t, newService(k), public, func(t *testing.T, v *verify.Verifier) {
			token := k.boundTo(holder)
			r := withProof("GET", tc.target, token, holder.proofOf(token, "GET", tc.htu, nil))
			r.Host = "evil.example"
			r.Header.Set("X-Forwarded-Host", "evil.example")
			got := serve(http.StripPrefix("", protected(v)), r).StatusCode == 200
			if got != tc.want {
				t.Errorf("%s, %s and %s: got %v, want %v", tc.public, tc.target, tc.htu, got, tc.want)
			}
		})
	}
	// A router that removes a prefix changes the URL, and not what the client sent.
	inBubble(t, newService(k), nil, func(t *testing.T, v *verify.Verifier) {
		token := k.boundTo(holder)
		r := withProof("GET", "/v1/a", token, holder.proofOf(token, "GET", "https://api.example/v1/a", nil))
		if got := serve(http.StripPrefix("/v1", protected(v)), r); got.StatusCode != 200 {
			t.Errorf("below a prefix: got %d", got.StatusCode)
		}
	})
	inBubble(t, newService(k), func(c *verify.Config) {
		c.PublicURL = ""
		c.RequestURL = func(r *http.Request) string { return "https://" + r.Header.Get("X-Host") + r.URL.Path }
	}, func(t *testing.T, v *verify.Verifier) {
		token := k.boundTo(holder)
		for host, want := range map[string]int{"b.example": 200, "c.example": 401, "": 401} {
			r := withProof("GET", "/a", token, holder.proofOf(token, "GET", "https://b.example/a", nil))
			r.Header.Set("X-Host", host)
			if got := serve(protected(v), r); got.StatusCode != want {
				t.Errorf("RequestURL, %q: got %d, want %d", host, got.StatusCode, want)
			}
		}
	})
	// The Host header is the sender's: without a configured URL a proof for another server would serve here.
	inBubble(t, newService(k), func(c *verify.Config) { c.PublicURL = "" }, func(t *testing.T, v *verify.Verifier) {
		token := k.boundTo(holder)
		r := withProof("GET", "http://example.com/a", token, holder.proofOf(token, "GET", "http://example.com/a", nil))
		if _, err := v.VerifyRequest(r); !errors.Is(err, verify.ErrInvalid) || !strings.Contains(err.Error(), "PublicURL") {
			t.Errorf("without PublicURL: got %v", err)
		}
	})
}

// A token that is bound by more than this package can check is not accepted for the part that it can.
func TestAnUnknownConfirmationIsRefused(t *testing.T) {
	k, holder := testKeys()["EdDSA"], newKey("", "EdDSA")
	inBubble(t, newService(k), nil, func(t *testing.T, v *verify.Verifier) {
		for _, cnf := range []string{
			`{"jkt":"JKT","x5t#S256":"JKT"}`, `{"x5t#S256":"JKT"}`, `{"jwk":{}}`, `{"jkt":["JKT"]}`, `{"JKT":"JKT"}`, `"JKT"`,
			`{"jkt":"JKT","jkt":"JKT"}`, `{"jkt":"JKT="}`, `{"jkt":"JKT","kid":"x"}`, `[]`, `{}`, `null`, `true`,
		} {
			token := k.token(with{"cnf": json.RawMessage(strings.ReplaceAll(cnf, "JKT", holder.thumbprint()))})
			for _, r := range []*http.Request{
				withProof("GET", "/things", token, holder.proofOf(token, "GET", thingsURL, nil)), request("Bearer " + token),
			} {
				if _, err := v.VerifyRequest(r); !errors.Is(err, verify.ErrInvalid) {
					t.Errorf("%s: got %v, want ErrInvalid", cnf, err)
				}
			}
		}
	})
}
