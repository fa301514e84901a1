package jwxsigner_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/domain"
)

// A retry may reach another replica, and during a roll-out another release: if these bytes change, the retry gets
// another access token than the lost one.
func TestSameKeyAndClaimsGiveTheSameBytesInEveryRelease(t *testing.T) {
	for _, a := range domain.Algorithms {
		t.Run(string(a), func(t *testing.T) {
			pinned, err := os.ReadFile("testdata/" + string(a) + ".jwt")
			if err != nil {
				t.Fatal(err)
			}
			want := strings.TrimSpace(string(pinned))
			for range 3 {
				if got := sign(t, publishedKey(t, a), accessToken()); got != want {
					t.Fatalf("got  %s\nwant %s", got, want)
				}
			}
		})
	}
}

func TestSameKeyAndClaimsGiveTheSameBytesForAnyKey(t *testing.T) {
	for _, a := range domain.Algorithms {
		t.Run(string(a), func(t *testing.T) {
			key, same := newKey(t, "k", a), jwxsigner.New(rand.Reader)
			want := sign(t, key, accessToken())
			for range 5 {
				got, err := same.Sign(context.Background(), key, accessToken())
				if err != nil {
					t.Fatal(err)
				}
				if got != want {
					t.Fatalf("got  %s\nwant %s", got, want)
				}
			}
			later := accessToken()
			later.ExpiresAt = later.ExpiresAt.Add(1e9)
			if sign(t, key, later) == want {
				t.Error("another exp gave the same token")
			}
		})
	}
}

func TestES256IsRFC6979(t *testing.T) {
	private := privateKey(t, domain.ES256).(*ecdsa.PrivateKey)
	nonceOf := func(message string) string {
		digest := sha256.Sum256([]byte(message))
		der, err := private.Sign(nil, digest[:], crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		var s struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(der, &s); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%064X%064X", s.R, s.S)
	}
	// RFC 6979, appendix A.2.5, SHA-256 over "sample": without randomness the standard library computes the RFC's
	// value.
	want := "EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716" +
		"F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8"
	if got := nonceOf("sample"); got != want {
		t.Fatalf("crypto/ecdsa: got %s, want %s", got, want)
	}
	signed, signature := cutSignature(t, sign(t, publishedKey(t, domain.ES256), accessToken()))
	if got, want := fmt.Sprintf("%X", signature), nonceOf(signed); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestPS256SaltIsAsLongAsTheHashAndFollowsTheDigest(t *testing.T) {
	private := privateKey(t, domain.PS256).(*rsa.PrivateKey)
	public := &private.PublicKey
	signed, signature := cutSignature(t, sign(t, publishedKey(t, domain.PS256), accessToken()))
	digest := sha256.Sum256([]byte(signed))
	options := &rsa.PSSOptions{SaltLength: 32}
	if err := rsa.VerifyPSS(public, crypto.SHA256, digest[:], signature, options); err != nil {
		t.Error(err)
	}
	other := accessToken()
	other.Subject = "user-8"
	_, otherSignature := cutSignature(t, sign(t, publishedKey(t, domain.PS256), other))
	if first, second := pssSalt(public, signature), pssSalt(public, otherSignature); slices.Equal(first, second) {
		t.Errorf("two digests were signed with one salt: %x", first)
	}
}

// pssSalt decodes (RFC 8017, section 9.1.1) a valid signature with a 32 byte salt and SHA-256.
func pssSalt(public *rsa.PublicKey, signature []byte) []byte {
	encoded := make([]byte, public.Size())
	new(big.Int).Exp(new(big.Int).SetBytes(signature), big.NewInt(int64(public.E)), public.N).FillBytes(encoded)
	masked, seed := encoded[:len(encoded)-33], encoded[len(encoded)-33:len(encoded)-1]
	var mask []byte
	for i := byte(0); len(mask) < len(masked); i++ {
		block := sha256.Sum256(append(slices.Clone(seed), 0, 0, 0, i))
		mask = append(mask, block[:]...)
	}
	salt := make([]byte, 32)
	at := len(masked) - len(salt)
	for i := range salt {
		salt[i] = masked[at+i] ^ mask[at+i]
	}
	return salt
}

func cutSignature(t *testing.T, token string) (signed string, signature []byte) {
	t.Helper()
	dot := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil {
		t.Fatal(err)
	}
	return token[:dot], signature
}

// A resource server needs only the JWK Set.
func TestTokensVerifyWithAnotherLibraryAgainstOurJWKS(t *testing.T) {
	var keys []domain.SigningKey
	for _, a := range domain.Algorithms {
		keys = append(keys, newKey(t, "key "+string(a), a))
	}
	set, err := jwxsigner.New(rand.Reader).JWKS(keys)
	if err != nil {
		t.Fatal(err)
	}
	find, err := keyfunc.NewJWKSetJSON(set)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		t.Run(string(k.Algorithm), func(t *testing.T) {
			token, err := jwt.Parse(sign(t, k, accessToken()), find.Keyfunc, jwt.WithValidMethods([]string{string(k.Algorithm)}),
				jwt.WithAudience("shop"), jwt.WithIssuer("https://auth.acme.example"), jwt.WithSubject("user-7"),
				jwt.WithTimeFunc(accessToken().IssuedAt.UTC), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
			if err != nil {
				t.Fatal(err)
			}
			if !token.Valid {
				t.Error("not valid")
			}
		})
	}
}

func TestTokensVerifyWithJWXAgainstOurJWKS(t *testing.T) {
	for _, a := range domain.Algorithms {
		key := newKey(t, "k", a)
		text, err := jwxsigner.New(rand.Reader).JWKS([]domain.SigningKey{key})
		if err != nil {
			t.Fatal(err)
		}
		set, err := jwk.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := jws.Verify([]byte(sign(t, key, accessToken())), jws.WithKeySet(set)); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
}

func TestHeaderAndClaimsOnTheWire(t *testing.T) {
	var token string
	for _, typ := range []domain.AccessTokenType{domain.TypeJWT, domain.TypeATJWT} {
		a := accessToken()
		a.Type = typ
		token = sign(t, publishedKey(t, domain.EdDSA), a)
		header, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(header), `{"alg":"EdDSA","kid":"key-EdDSA","typ":"`+string(typ)+`"}`; got != want {
			t.Errorf("got header %s, want %s", got, want)
		}
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	want := `{"iss":"https://auth.acme.example","sub":"user-7","aud":"shop","client_id":"shop-id","iat":1700000000,` +
		`"exp":1700000900,"sid":"018c0000-0000-7000-8000-00000000002a","tid":"acme","applicationId":"shop-id","rve":9,` +
		`"roles":["buyer","reviewer"],"scope":"cart:read cart:write","plan":"gold","seats":3`
	hash := sha256.Sum256([]byte(strings.Split(token, ".")[0] + "." + want + "}"))
	want += `,"jti":"` + base64.RawURLEncoding.EncodeToString(hash[:16]) + `"}`
	if got := string(payload); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A list of refused tokens names them by jti: one that two tokens share would match both, one that another signing
// changes would match none.
func TestTokensHaveTheSameIDExactlyWhenTheyAreTheSameBytes(t *testing.T) {
	with := func(change func(*domain.AccessToken)) domain.AccessToken {
		a := accessToken()
		change(&a)
		return a
	}
	eddsa := publishedKey(t, domain.EdDSA)
	first := sign(t, eddsa, accessToken())
	_, claims := parts(t, first)
	token := map[string]string{claims["jti"].(string): first}
	if again := sign(t, eddsa, with(func(a *domain.AccessToken) { a.ID = "chosen" })); again != first {
		t.Errorf("the ID that Sign was given counts: got %s, want %s", again, first)
	}
	renamed := eddsa
	renamed.ID = "key-2"
	for name, other := range map[string]string{
		"another type":       sign(t, eddsa, with(func(a *domain.AccessToken) { a.Type = domain.TypeJWT })),
		"another issuer":     sign(t, eddsa, with(func(a *domain.AccessToken) { a.Issuer += "/" })),
		"another user":       sign(t, eddsa, with(func(a *domain.AccessToken) { a.Subject = "user-8" })),
		"another audience":   sign(t, eddsa, with(func(a *domain.AccessToken) { a.Audience = "shop2" })),
		"a second later":     sign(t, eddsa, with(func(a *domain.AccessToken) { a.IssuedAt = a.IssuedAt.Add(1e9) })),
		"another end":        sign(t, eddsa, with(func(a *domain.AccessToken) { a.ExpiresAt = a.ExpiresAt.Add(1e9) })),
		"another session":    sign(t, eddsa, with(func(a *domain.AccessToken) { a.SessionID = "another" })),
		"another epoch":      sign(t, eddsa, with(func(a *domain.AccessToken) { a.IssuedEpoch++ })),
		"other roles":        sign(t, eddsa, with(func(a *domain.AccessToken) { a.Roles = nil })),
		"another scope":      sign(t, eddsa, with(func(a *domain.AccessToken) { a.Scopes = a.Scopes[:1] })),
		"other claims":       sign(t, eddsa, with(func(a *domain.AccessToken) { a.Claims = `{"plan":"free"}` })),
		"another key's name": sign(t, renamed, accessToken()),
		"another algorithm":  sign(t, publishedKey(t, domain.ES256), accessToken()),
	} {
		_, claims := parts(t, other)
		id := claims["jti"].(string)
		if twin, taken := token[id]; taken {
			t.Errorf("%s: jti %s of\n%s and\n%s", name, id, twin, other)
		}
		if raw, err := base64.RawURLEncoding.DecodeString(id); err != nil || len(raw) != 16 {
			t.Errorf("%s: jti %q, want 16 bytes in base64url", name, id)
		}
		token[id] = other
	}
}

func TestSignRefusesAnUnknownType(t *testing.T) {
	for _, typ := range []domain.AccessTokenType{"", "jwt", "at+JWT", "logout+jwt"} {
		a := accessToken()
		a.Type = typ
		if _, err := jwxsigner.New(rand.Reader).Sign(context.Background(), publishedKey(t, domain.EdDSA), a); err == nil {
			t.Errorf("a token of type %q was signed", typ)
		}
	}
}

// The domain uses this bound to decide what may be issued: below the length it would allow tokens that no cookie holds;
// far above it would refuse tokens that fit. It is for the largest key that can sign, an RSA key of 4096 bits and an id
// of 64 characters.
func TestAccessTokenSizeIsJustAboveTheLength(t *testing.T) {
	awkward := "Zoë \"<&>\" \\ 用户 😀 \u2028\u2029\x7f"
	texts := []string{
		"", "x", awkward, "a\xffb", strings.Repeat("<", 255), strings.Repeat("é", 127), strings.Repeat("\u2028", 85),
	}
	var tokens []domain.RefreshToken
	for _, s := range texts {
		tokens = append(tokens,
			domain.RefreshToken{TenantID: "acme", ApplicationID: s, UserID: s, IssuedEpoch: 1<<64 - 1},
			domain.RefreshToken{
				TenantID: strings.Repeat("t", 64), ApplicationID: "shop", UserID: s, Claims: `{"a":"<&>","b":[1,2]}`,
				Roles: slices.Repeat([]string{s}, 20), Scopes: slices.Repeat([]string{s}, 20),
			})
	}
	id := strings.Repeat("k", 64)
	if !domain.IsKeyID(id) || domain.IsKeyID(id+"k") || domain.IsKeyID(`"`) || domain.IsKeyID("<") {
		t.Error("the longest id of a key is another one")
	}
	large, err := jwxsigner.New(rand.Reader).NewKey(domain.RS256, 4096)
	if err != nil {
		t.Fatal(err)
	}
	audience := strings.Repeat("a", 255)
	for _, a := range domain.Algorithms {
		keys, slack := []domain.SigningKey{newKey(t, "0123456789012345678901", a), newKey(t, id, a)}, 200
		if a == domain.RS256 || a == domain.PS256 {
			keys, slack = []domain.SigningKey{{ID: id, TenantID: "acme", Algorithm: a, Private: large}}, 200
		}
		for _, typ := range domain.AccessTokenTypes {
			p := domain.DefaultPolicy()
			p.Algorithm, p.AccessTokenType = a, typ
			cookies := p
			cookies.CookieHostOnly = true
			if !cookies.UsesCookies() {
				t.Fatal("the policy uses no cookies")
			}
			for i, token := range tokens {
				issuer := "https://auth.example/" + texts[i/2]
				token.ExpiresAt = time.Unix(253402300799, 0)
				for _, seconds := range []int64{1, 1_700_000_000, 253402300799 - 3600} {
					now := time.Unix(seconds, 0)
					for _, key := range keys {
						claims := domain.NewAccessToken(token, p, issuer, now, now, 15*time.Minute)
						claims.Confirmation = strings.Repeat("k", 43)
						length := len(sign(t, key, claims))
						if over := domain.AccessTokenSize(token, cookies, issuer) - length; over < 0 || over > slack {
							t.Fatalf("%s, %s, token %d: over the length in a cookie by %d", a, typ, i, over)
						}
						if app, _ := json.Marshal(token.ApplicationID); len(app) < len(audience)+2 {
							claims.Audience = audience
							length = len(sign(t, key, claims))
						}
						if over := domain.AccessTokenSize(token, p, issuer) - length; over < 0 || over > slack {
							t.Fatalf("%s, %s, token %d: over the length in a header by %d", a, typ, i, over)
						}
						s := texts[i/2]
						claims.Actors = []domain.TokenActor{
							{Subject: "x" + s, ApplicationID: s}, {Subject: "y" + s, ApplicationID: "shop"}, {Subject: "z" + s},
						}
						length = len(sign(t, key, claims))
						if over := domain.AccessTokenSize(token, cookies, issuer, claims.Actors...) - length; over < 0 ||
							over > slack+100 {
							t.Fatalf("%s, %s, token %d: over the length with actors by %d", a, typ, i, over)
						}
					}
				}
			}
		}
	}
}

func TestEmptyRolesScopesAndClaimsAreLeftOut(t *testing.T) {
	bare := accessToken()
	bare.Roles, bare.Scopes, bare.Claims = nil, nil, ""
	_, payload := parts(t, sign(t, publishedKey(t, domain.EdDSA), bare))
	for _, name := range []string{"roles", "scope"} {
		if value, ok := payload[name]; ok {
			t.Errorf("the claim %s is present: %v", name, value)
		}
	}
	if got, want := len(payload), 11; got != want {
		t.Errorf("got %d claims, want %d: %v", got, want, payload)
	}
}

// Readers differ in which of two equal names counts, and some match names in any case.
func TestSignRefusesCallersClaimsThatNameOurs(t *testing.T) {
	for _, claims := range []domain.Object{
		`{"sub":"admin"}`, `{"x":1,"exp":9999999999}`, `{"Sub":"admin"}`, `{"ROLES":["admin"]}`, `{"\u0073ub":"admin"}`,
		`{"applicationid":"x"}`, `{"scope":""}`, `{"rve":0}`, `{"RVE":0}`, `{"client_id":null}`, `{"ſub":"admin"}`,
	} {
		a := accessToken()
		a.Claims = claims
		if _, err := jwxsigner.New(rand.Reader).Sign(context.Background(), publishedKey(t, domain.EdDSA), a); err == nil {
			t.Errorf("%s was signed", claims)
		}
	}
}

// The claims are spliced in as text: they could end the object early or make the payload invalid JSON.
func TestSignRefusesClaimsThatAreNoObject(t *testing.T) {
	for _, claims := range []domain.Object{
		"x", "null", "[]", `"a"`, "{", `{"a":1`, `{"a":1,}`, `{"a":1}}`, `{"a":1}{"sub":"admin"}`, `{"a":1} `, `{"a":}`,
		`{a:1}`,
	} {
		a := accessToken()
		a.Claims = claims
		if _, err := jwxsigner.New(rand.Reader).Sign(context.Background(), publishedKey(t, domain.EdDSA), a); err == nil {
			t.Errorf("%s was signed", claims)
		}
	}
}

func TestSignTakesAKeyForWhatItHoldsNotForItsKid(t *testing.T) {
	s := jwxsigner.New(rand.Reader)
	old, replaced := newKey(t, "k", domain.EdDSA), newKey(t, "k", domain.EdDSA)
	for _, k := range []domain.SigningKey{old, replaced, old} {
		token, err := s.Sign(context.Background(), k, accessToken())
		if err != nil {
			t.Fatal(err)
		}
		signer, keys := jwxsigner.New(rand.Reader), among([]domain.SigningKey{k})
		if _, err := signer.Verify(context.Background(), keys, token); err != nil {
			t.Error(err)
		}
	}
}

func TestNewKeyMakesAKeyThatSignsAndDoesNotShow(t *testing.T) {
	for _, a := range domain.Algorithms {
		first, second := newKey(t, "k", a), newKey(t, "k", a)
		if first.Private.Equal(second.Private) {
			t.Errorf("%s: two keys are the same", a)
		}
		if got := fmt.Sprintf("%v %+v %s", first.Private, first.Private, first); strings.Contains(got,
			first.Private.Reveal()) {
			t.Errorf("%s: the output contains the private key", a)
		}
		sign(t, first, accessToken())
	}
}

func TestNewKeyFailsWhereItCannotMakeOne(t *testing.T) {
	broken := errors.New("broken")
	if _, err := jwxsigner.New(iotest.ErrReader(broken)).NewKey(domain.EdDSA, 0); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	for _, a := range []domain.Algorithm{"", "none", "HS256", "ES384", "eddsa"} {
		if _, err := jwxsigner.New(rand.Reader).NewKey(a, 0); err == nil {
			t.Errorf("made a key for %q", a)
		}
	}
}
