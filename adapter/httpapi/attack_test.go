package httpapi_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/domain"
)

// forgeries returns access tokens with the claims of session's owner that the service did not sign. evil is an address
// that a header points to.
func (s *service) forgeries(t *testing.T, token, evil string) map[string]string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	parts := strings.Split(token, ".")
	header := decodeSegment(t, parts[0])
	theirs, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := theirs.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	jwk := map[string]any{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": header["kid"],
		"x": encode(point[1:33]), "y": encode(point[33:]),
	}
	with := func(pairs ...any) string {
		h := map[string]any{"alg": header["alg"], "kid": header["kid"], "typ": header["typ"]}
		for i := 0; i < len(pairs); i += 2 {
			if h[pairs[i].(string)] = pairs[i+1]; pairs[i+1] == nil {
				delete(h, pairs[i].(string))
			}
		}
		text, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		return encode(text) + "." + parts[1]
	}
	byThem := func(signed string) string {
		digest := sha256.Sum256([]byte(signed))
		r, s, err := ecdsa.Sign(rand.Reader, theirs, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return signed + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
	}
	byHMAC := func(signed string, secret []byte) string {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(signed))
		return signed + "." + encode(mac.Sum(nil))
	}
	set := s.do(t, "GET", "/t/acme/.well-known/jwks.json").want(t, 200).body
	var published struct{ Keys []struct{ X, Y string } }
	if err := json.Unmarshal(set, &published); err != nil {
		t.Fatal(err)
	}
	raw := []byte{4}
	for _, coordinate := range []string{published.Keys[0].X, published.Keys[0].Y} {
		if raw, err = base64.RawURLEncoding.AppendDecode(raw, []byte(coordinate)); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]string{
		"alg none":                    with("alg", "none") + ".",
		"alg nOnE":                    with("alg", "nOnE") + "." + parts[2],
		"no alg":                      with("alg", nil) + "." + parts[2],
		"HS256 by the public key":     byHMAC(with("alg", "HS256"), raw),
		"HS256 by the JWKS":           byHMAC(with("alg", "HS256"), set),
		"another algorithm":           with("alg", "EdDSA") + "." + parts[2],
		"signed by another key":       byThem(with()),
		"a foreign kid":               byThem(with("kid", "foreign")),
		"a path as kid":               byThem(with("kid", "../../../dev/null")),
		"SQL as kid":                  byThem(with("kid", "' UNION SELECT 'x")),
		"no kid":                      byThem(with("kid", nil)),
		"jku":                         byThem(with("jku", evil+"/jwks.json")),
		"x5u":                         byThem(with("x5u", evil+"/cert.pem")),
		"jwk":                         byThem(with("jwk", jwk)),
		"x5c":                         byThem(with("x5c", []string{"MIIB"})),
		"crit":                        byThem(with("crit", []string{"exp"}, "exp", 1)),
		"b64":                         byThem(with("b64", false, "crit", []string{"b64"})),
		"zip":                         byThem(with("zip", "DEF")),
		"an ID token's typ":           byThem(with("typ", "JWT")),
		"an altered claim":            parts[0] + "." + encode([]byte(`{"sid":"x"}`)) + "." + parts[2],
		"a signature cut off":         parts[0] + "." + parts[1] + "." + parts[2][:20],
		"no signature":                parts[0] + "." + parts[1] + ".",
		"a JWE":                       encode([]byte(`{"alg":"dir","enc":"A256GCM"}`)) + "..AAAA.AAAA.AAAA",
		"the header alone":            parts[0],
		"the header alone, and a dot": parts[0] + ".",
	}
}

// An access token is accepted in two places: instead of an API key for its owner's revocation, and as the old one in an
// exchange, which it can only restrict. One that the service did not sign is refused in the first and ignored in the
// second. Nothing that its header points to is fetched.
func TestAForgedAccessTokenIsNobody(t *testing.T) {
	var asked atomic.Int64
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer evil.Close()
	s := newService(t)
	mine, other := s.issue(t, "shop", "ada"), s.issue(t, "shop", "ada")
	for name, forged := range s.forgeries(t, other.Token, evil.URL) {
		t.Run(name, func(t *testing.T) {
			before := s.dump(t)
			s.do(t, "DELETE", "/jwt/refresh/"+other.RefreshTokenID, bearer(forged), tenant(aTenant)).want(t, 401)
			s.do(t, "DELETE", "/jwt/refresh", header("Authorization", forged), tenant(aTenant),
				body(object{"tokenId": other.RefreshTokenID})).want(t, 401)
			if diff := cmp.Diff(before, s.dump(t)); diff != "" {
				t.Errorf("the store changed: %s", diff)
			}
			// If it were accepted, the exchange would be refused, because it names another session.
			got := s.do(t, "POST", "/jwt/refresh", body(object{"refreshToken": mine.RefreshToken, "token": forged})).want(t, 200)
			mine = got.grant(t)
		})
	}
	s.do(t, "POST", "/jwt/refresh", body(object{"refreshToken": mine.RefreshToken, "token": other.Token})).
		want(t, 400, "[invalid]refreshToken")
	if n := asked.Load(); n > 0 {
		t.Errorf("an address in a header got %d requests", n)
	}
}

// An access token expires, and is valid for its own tenant. With another tenant's header it is refused as an expired
// one is.
func TestAnAccessTokenServesInItsTimeAndTenant(t *testing.T) {
	s := newService(t)
	g := s.issue(t, "shop", "ada")
	one := "/jwt/refresh/" + g.RefreshTokenID
	before := s.dump(t)
	s.do(t, "DELETE", one, bearer(g.Token), tenant(bTenant)).want(t, 401)
	s.do(t, "DELETE", one, bearer(g.Token)).want(t, 400, "[blank]X-Stencil-TenantId")
	s.do(t, "GET", one, bearer(g.Token), tenant(bTenant)).want(t, 401)
	s.do(t, "GET", one, bearer(g.Token)).want(t, 400, "[blank]X-Stencil-TenantId")
	s.do(t, "GET", "/jwt/refresh?userId=ada", bearer(g.Token), tenant(bTenant)).want(t, 401)
	s.do(t, "POST", "/jwt/issue", bearer(g.Token), tenant(aTenant),
		body(object{"userId": "ada", "applicationsId": "shop"})).want(t, 401)
	s.wait(15 * time.Minute)
	s.do(t, "DELETE", one, bearer(g.Token), tenant(aTenant)).want(t, 401)
	s.do(t, "GET", one, bearer(g.Token), tenant(aTenant)).want(t, 401)
	s.do(t, "GET", "/jwt/refresh?userId=ada", bearer(g.Token), tenant(aTenant)).want(t, 401)
	if diff := cmp.Diff(before, s.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
}

// told returns all of a response that a caller can see, except what always differs.
func (a *answer) told() string {
	header := a.header.Clone()
	header.Del("X-Request-Id")
	return fmt.Sprintf("%d %v %s", a.status, header, a.body)
}

// A refusal must not reveal what the caller may not know: the responses in each group are equal, byte for byte.
func TestRefusalsDoNotTellWhatTheyRefuse(t *testing.T) {
	s := newService(t)
	live, revoked, foreign := s.issue(t, "shop", "ada"), s.issue(t, "shop", "ada"), s.issueAt(t, globex, "shop", "ada")
	expired := s.issue(t, "short", "ada")
	s.do(t, "DELETE", "/jwt/refresh/"+revoked.RefreshTokenID, backend).want(t, 200)
	s.wait(11 * time.Minute)
	bobs := s.issue(t, "shop", "bob")

	unknownID := "018c0000-0000-7000-8000-00000000002a"
	parsed, _ := domain.ParseID(unknownID)
	forged := domain.TokenKey{Number: 1, Key: domain.NewSecret(strings.Repeat("k", 32))}
	live1, _ := domain.ParseTokenString(live.RefreshToken)
	one := func(id string, who ...option) func(*testing.T) *answer {
		return func(t *testing.T) *answer { return s.do(t, "GET", "/jwt/refresh/"+id, who...) }
	}
	list := func(who ...option) func(*testing.T) *answer {
		return func(t *testing.T) *answer { return s.do(t, "GET", "/jwt/refresh?userId=ada", who...) }
	}
	revoke := func(selector object, who ...option) func(*testing.T) *answer {
		return func(t *testing.T) *answer { return s.do(t, "DELETE", "/jwt/refresh", append(who, body(selector))...) }
	}
	exchange := func(tokenString string, who ...option) func(*testing.T) *answer {
		return func(t *testing.T) *answer { return s.exchange(t, tokenString, who...) }
	}
	for group, asks := range map[string]map[string]func(*testing.T) *answer{
		"who calls": {
			"nobody":              list(tenant(aTenant)),
			"an unknown key":      list(bearer("ak_"+strings.Repeat("A", 26)), tenant(aTenant)),
			"no key":              list(bearer("ak_"), tenant(aTenant)),
			"an expired key":      list(as("expired"), tenant(aTenant)),
			"no permission":       list(as("powerless"), tenant(aTenant)),
			"another permission":  list(as("issuer"), tenant(aTenant)),
			"another tenant's":    list(as("globex backend"), tenant(aTenant)),
			"an unknown tenant":   list(as("backend"), tenant("nowhere")),
			"none that could be":  list(as("backend"), tenant("../x")),
			"another tenant":      list(as("backend"), tenant(bTenant)),
			"everywhere's nobody": list(as("everywhere"), tenant("nowhere")),
			"an access token's":   list(bearer(revoked.Token), tenant(aTenant)),
			"everything of a key": func(t *testing.T) *answer {
				return s.do(t, "GET", "/jwt/refresh", as("everywhere"), tenant(aTenant))
			},
			"a forged one": list(bearer("a.b.c"), tenant(aTenant)),
		},
		"which refresh token": {
			"unknown":            one(unknownID, backend),
			"revoked":            one(revoked.RefreshTokenID, backend),
			"expired":            one(expired.RefreshTokenID, backend),
			"another tenant's":   one(foreign.RefreshTokenID, backend),
			"one that can't be":  one("x", backend),
			"a token string":     one(live.RefreshToken, backend),
			"as SQL":             one("'%20OR%201=1--", backend),
			"live, in uppercase": one(strings.ToUpper(unknownID), backend),
		},
		"which of another user's": {
			"unknown":           one(unknownID, bearer(bobs.Token), tenant(aTenant)),
			"another user's":    one(live.RefreshTokenID, bearer(bobs.Token), tenant(aTenant)),
			"a revoked one":     one(revoked.RefreshTokenID, bearer(bobs.Token), tenant(aTenant)),
			"another tenant's":  one(foreign.RefreshTokenID, bearer(bobs.Token), tenant(aTenant)),
			"one that can't be": one("x", bearer(bobs.Token), tenant(aTenant)),
		},
		"which ended one": {
			"unknown":           one(unknownID+"?state=all", backend),
			"another tenant's":  one(foreign.RefreshTokenID+"?state=all", backend),
			"an active one":     one(live.RefreshTokenID+"?state=ended", backend),
			"one that can't be": one("x?state=ended", backend),
		},
		"which to revoke": {
			"unknown":          revoke(object{"tokenId": unknownID}, backend),
			"revoked":          revoke(object{"tokenId": revoked.RefreshTokenID}, backend),
			"expired":          revoke(object{"tokenId": expired.RefreshTokenID}, backend),
			"another tenant's": revoke(object{"tokenId": foreign.RefreshTokenID}, backend),
			"one that can't":   revoke(object{"tokenId": "x"}, backend),
			"its string":       revoke(object{"tokenString": foreign.RefreshToken}, backend),
			"a forged string":  revoke(object{"tokenString": forged.Mint(live1.ID, 1).Reveal()}, backend),
			"garbage":          revoke(object{"tokenString": "rt_x"}, backend),
			"an application":   revoke(object{"applicationsId": "nowhere"}, backend),
			"another tenant's one": func(t *testing.T) *answer {
				return s.do(t, "DELETE", "/jwt/refresh", backend, body(object{"applicationsId": "globex only"}))
			},
		},
		"which token string": {
			"garbage":              exchange("rt_garbage"),
			"a wrong MAC, live":    exchange(forged.Mint(live1.ID, 1).Reveal()),
			"a wrong MAC, unknown": exchange(forged.Mint(parsed, 1).Reveal()),
			"an unknown token key": exchange(domain.TokenKey{Number: 9,
				Key: domain.NewSecret("k")}.Mint(live1.ID, 1).Reveal()),
			"another tenant's":         exchange(foreign.RefreshToken, tenant(aTenant)),
			"of a tenant that is none": exchange(live.RefreshToken, tenant("nowhere")),
			"not of the old one": func(t *testing.T) *answer {
				return s.do(t, "POST", "/jwt/refresh", body(object{"refreshToken": live.RefreshToken, "token": foreign.Token}))
			},
		},
		"which tenant's keys": {
			"unknown":   func(t *testing.T) *answer { return s.do(t, "GET", "/t/nowhere/.well-known/jwks.json") },
			"no tenant": func(t *testing.T) *answer { return s.do(t, "GET", "/t/a%20b/.well-known/jwks.json") },
		},
	} {
		t.Run(group, func(t *testing.T) {
			first := ""
			for name, ask := range asks {
				got := ask(t).told()
				if first == "" {
					first = got
				}
				if got != first {
					t.Errorf("%s has another response:\n%s\n%s", name, got, first)
				}
			}
			if !strings.HasPrefix(first, "4") {
				t.Errorf("got %s, want a refusal", first)
			}
		})
	}
}
