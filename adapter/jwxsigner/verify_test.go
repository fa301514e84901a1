package jwxsigner_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/domain"
)

func verify(keys []domain.SigningKey, token string) (domain.AccessToken, error) {
	return jwxsigner.New(rand.Reader).Verify(context.Background(), among(keys), token)
}

func TestVerifyGivesBackWhatWasSigned(t *testing.T) {
	with := func(change func(*domain.AccessToken)) domain.AccessToken {
		a := accessToken()
		change(&a)
		return a
	}
	tokens := map[string]domain.AccessToken{
		"all fields":       accessToken(),
		"nothing optional": with(func(a *domain.AccessToken) { a.Roles, a.Scopes, a.Claims = nil, nil, "" }),
		"numbers keep their digits": with(func(a *domain.AccessToken) {
			a.Claims = `{"huge":1e400,"long":12345678901234567890,"tenth":0.1,"padded":1.500,"minus":-0,"exponent":1E+2}`
		}),
		"order, escapes and repeated names are kept": with(func(a *domain.AccessToken) {
			a.Claims = `{"z":"\u0041\/","a":"<&>","m":null,"é":"\ud83d\ude00","a":[{},[],""],"":0,"a,b":{"sub":"x","iss":{}}}`
		}),
		"text of any script": with(func(a *domain.AccessToken) {
			a.Subject, a.Audience, a.ApplicationID = `Zoë "<&>" \ 用户 😀`, "a/b?c", "\u2028"
			a.Roles = []string{"a b", `"`, "ü"}
		}),
		"type JWT":       with(func(a *domain.AccessToken) { a.Type = domain.TypeJWT }),
		"epoch 0":        with(func(a *domain.AccessToken) { a.IssuedEpoch = 0 }),
		"greatest epoch": with(func(a *domain.AccessToken) { a.IssuedEpoch = 1<<64 - 1 }),
		"before 1970":    with(func(a *domain.AccessToken) { a.IssuedAt = time.Unix(-1, 0).UTC() }),
	}
	for _, a := range domain.Algorithms {
		key := publishedKey(t, a)
		for name, want := range tokens {
			t.Run(string(a)+"/"+name, func(t *testing.T) {
				got, err := verify([]domain.SigningKey{newKey(t, "another", domain.EdDSA), key}, sign(t, key, want))
				if err != nil {
					t.Fatal(err)
				}
				if got.ID == "" {
					t.Error("jti was not read")
				}
				got.ID = "" // set by the signer
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("-want +got\n%s", diff)
				}
			})
		}
	}
}

func TestAKidIsAnyText(t *testing.T) {
	for _, id := range []string{
		"", " ", `"`, `\`, "a.b", "../../etc/passwd", "<script>", "' OR 1=1", "ключ", "\x00", "😀", "A", "a",
	} {
		keys := []domain.SigningKey{newKey(t, "other", domain.EdDSA), newKey(t, id, domain.EdDSA)}
		token := sign(t, keys[1], accessToken())
		if header, _ := parts(t, token); header["kid"] != id {
			t.Errorf("got kid %q, want %q", header["kid"], id)
		}
		if _, err := verify(keys, token); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestVerifyRefusesWhatTheKeysDidNotSign(t *testing.T) {
	ours := make(map[domain.Algorithm]domain.SigningKey)
	var keys []domain.SigningKey
	for _, a := range domain.Algorithms {
		ours[a] = publishedKey(t, a)
		keys = append(keys, ours[a])
	}
	eddsa, rsaKey := ours[domain.EdDSA], privateKey(t, domain.RS256)
	payload := segmentOf(t, sign(t, eddsa, accessToken()), 1)
	encode := base64.RawURLEncoding.EncodeToString
	unsigned := func(header string) string { return encode([]byte(header)) + "." + payload }
	hs256 := func(kid string, secret []byte) string {
		signed := unsigned(`{"alg":"HS256","kid":"` + kid + `","typ":"at+jwt"}`)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(signed))
		return signed + "." + encode(mac.Sum(nil))
	}
	spki, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	set, err := jwxsigner.New(rand.Reader).JWKS(keys)
	if err != nil {
		t.Fatal(err)
	}
	attacker := newKey(t, "attacker", domain.EdDSA)
	impostor := newKey(t, eddsa.ID, domain.EdDSA)
	otherAlgorithm := func(id string, a domain.Algorithm, private domain.Secret) string {
		return sign(t, domain.SigningKey{ID: id, Algorithm: a, Private: private}, accessToken())
	}
	good, other := sign(t, eddsa, accessToken()), sign(t, eddsa, domain.AccessToken{Type: domain.TypeATJWT})
	header, signature := segmentOf(t, good, 0), segmentOf(t, good, 2)
	long := domain.AccessToken{Type: domain.TypeATJWT, Subject: strings.Repeat("x", 32<<10)}

	for name, token := range map[string]string{
		"HS256 with the public key as secret": hs256("key-RS256", spki),
		"HS256 with the JWK Set as secret":    hs256("key-RS256", set),
		"HS256 with the raw public key":       hs256("key-EdDSA", privateKey(t, domain.EdDSA).Public().(ed25519.PublicKey)),
		"HS256 with no secret":                hs256("key-EdDSA", nil),
		"alg none without a signature":        unsigned(`{"alg":"none","kid":"key-EdDSA","typ":"at+jwt"}`) + ".",
		"alg none with a signature":           unsigned(`{"alg":"none","kid":"key-EdDSA","typ":"at+jwt"}`) + "." + signature,
		"alg None":                            unsigned(`{"alg":"None","kid":"key-EdDSA","typ":"at+jwt"}`) + ".",
		"no alg":                              unsigned(`{"kid":"key-EdDSA","typ":"at+jwt"}`) + "." + signature,
		"our alg, no signature":               unsigned(`{"alg":"EdDSA","kid":"key-EdDSA","typ":"at+jwt"}`) + ".",
		"a kid that we do not have":           sign(t, attacker, accessToken()),
		"the same kid, another private key":   sign(t, impostor, accessToken()),
		"PS256 with the key of RS256":         otherAlgorithm("key-RS256", domain.PS256, ours[domain.RS256].Private),
		"RS256 with the key of PS256":         otherAlgorithm("key-PS256", domain.RS256, ours[domain.PS256].Private),
		"the signature of another token":      header + "." + payload + "." + segmentOf(t, other, 2),
		"the payload of another token":        header + "." + segmentOf(t, other, 1) + "." + signature,
		"the header of another token": segmentOf(t, sign(t, ours[domain.ES256], accessToken()), 0) + "." + payload +
			"." + signature,
		"ES256, a signature of zeros": unsigned(`{"alg":"ES256","kid":"key-ES256","typ":"at+jwt"}`) + "." +
			encode(make([]byte, 64)),
		"an empty header":                   "." + payload + "." + signature,
		"nothing":                           "",
		"dots":                              "..",
		"a token string":                    "rt_" + strings.Repeat("A", 64),
		"two segments":                      good[:strings.LastIndexByte(good, '.')],
		"four segments":                     good + ".AAAA",
		"padding":                           good + "==",
		"a blank before":                    " " + good,
		"a line break after":                good + "\n",
		"a line break within the signature": good[:len(good)-4] + "\r\n" + good[len(good)-4:],
		"longer than 32 KiB":                sign(t, eddsa, long),
		"not UTF-8":                         "\xff.\xff.\xff",
		"JSON serialisation, flattened": fmt.Sprintf(`{"payload":%q,"protected":%q,"signature":%q}`,
			payload, header, signature),
		"JSON serialisation, general": fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`,
			payload, header, signature),
		"JSON serialisation, rightly signed": jsonSerialisation(t),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := verify(keys, token)
			if !errors.Is(err, domain.ErrUnauthorized) {
				t.Fatalf("got %v, %v, want ErrUnauthorized", got, err)
			}
			if diff := cmp.Diff(domain.AccessToken{}, got); diff != "" {
				t.Errorf("a refused token was read:\n%s", diff)
			}
			for _, s := range strings.Split(token, ".") {
				if len(s) > 3 && strings.Contains(err.Error(), s) {
					t.Errorf("the error repeats the token: %v", err)
				}
			}
		})
	}
	if _, err := verify(keys, good); err != nil {
		t.Errorf("the token that these were made from: %v", err)
	}
	if _, err := verify(nil, good); !errors.Is(err, domain.ErrUnauthorized) {
		t.Errorf("without keys: got %v, want ErrUnauthorized", err)
	}
}

func segmentOf(t testing.TB, token string, i int) string {
	t.Helper()
	segments := strings.Split(token, ".")
	if len(segments) != 3 {
		t.Fatalf("got %d segments, want 3", len(segments))
	}
	return segments[i]
}

// signAnything signs what Sign would never write, with the key whose kid is "key-EdDSA".
func signAnything(t testing.TB, header, payload string) string {
	t.Helper()
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." +
		base64.RawURLEncoding.EncodeToString([]byte(payload))
	signature := ed25519.Sign(privateKey(t, domain.EdDSA).(ed25519.PrivateKey), []byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// jsonSerialisation returns a token with a valid signature in the form with several places for a header.
func jsonSerialisation(t *testing.T) string {
	t.Helper()
	header := jws.NewHeaders()
	if err := errors.Join(header.Set(jws.TypeKey, "at+jwt"), header.Set(jws.KeyIDKey, "key-EdDSA")); err != nil {
		t.Fatal(err)
	}
	token, err := jws.Sign([]byte(wholeClaims), jws.WithJSON(),
		jws.WithKey(jwa.EdDSA, privateKey(t, domain.EdDSA), jws.WithProtectedHeaders(header)))
	if err != nil {
		t.Fatal(err)
	}
	return string(token)
}

const (
	wholeHeader = `{"alg":"EdDSA","kid":"key-EdDSA","typ":"at+jwt"}`
	jwtHeader   = `{"alg":"EdDSA","kid":"key-EdDSA","typ":"JWT"}`
	wholeClaims = `{"iss":"i","sub":"u","aud":"a","client_id":"a","iat":1,"exp":2,"jti":"j","sid":"s","tid":"acme",` +
		`"applicationId":"a","rve":3}`
)

// A key may sign other things than access tokens one day, for example an ID token: none of them may be accepted as one.
func TestVerifyRefusesWhatIsSignedButIsNoAccessToken(t *testing.T) {
	keys := []domain.SigningKey{publishedKey(t, domain.EdDSA)}
	if _, err := verify(keys, signAnything(t, wholeHeader, wholeClaims)); err != nil {
		t.Fatalf("the parts of these tokens: %v", err)
	}
	public, err := jwk.FromRaw(privateKey(t, domain.EdDSA).Public())
	if err != nil {
		t.Fatal(err)
	}
	own, err := json.Marshal(public)
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range []string{
		`{"alg":"none","kid":"key-EdDSA","typ":"at+jwt"}`,
		`{"alg":"ES256","kid":"key-EdDSA","typ":"at+jwt"}`,
		`{"kid":"key-EdDSA","typ":"at+jwt"}`,
		`{"alg":"EdDSA","kid":"key-EdDSA"}`,
		`{"alg":"EdDSA","kid":"key-EdDSA","typ":"jwt"}`,
		`{"alg":"EdDSA","kid":"key-EdDSA","typ":"logout+jwt"}`,
		`{"alg":"EdDSA","kid":"key-EdDSA","typ":""}`,
		`{"alg":"EdDSA","kid":["key-EdDSA"],"typ":"at+jwt"}`,
		`{"alg":"EdDSA","typ":"at+jwt"}`,
		`{"alg":"EdDSA","kid":"key-EdDSA","typ":"at+jwt","jku":"https://evil.example/jwks.json"}`,
		`{"alg":"EdDSA","kid":"key-EdDSA","typ":"at+jwt","x5u":"https://evil.example/cert.pem"}`,
		`{"alg":"EdDSA","kid":"key-EdDSA","typ":"at+jwt","jwk":` + string(own) + `}`,
		`{"alg":"EdDSA","typ":"at+jwt","jwk":` + string(own) + `}`,
		`{"alg":"EdDSA","kid":"key-EdDSA","typ":"at+jwt","crit":["exp"],"exp":1}`,
		`{"alg":"EdDSA","kid":"key-EdDSA","typ":"at+jwt","b64":false,"crit":["b64"]}`,
		`{"alg":"EdDSA","kid":"key-EdDSA","typ":"at+jwt","zip":"DEF"}`,
		`["EdDSA"]`, `null`, `"at+jwt"`, ``,
	} {
		if got, err := verify(keys, signAnything(t, header, wholeClaims)); !errors.Is(err, domain.ErrUnauthorized) {
			t.Errorf("header %s: got %v, %v, want ErrUnauthorized", header, got, err)
		}
	}
	replace := func(old, new string) string { return strings.Replace(wholeClaims, old, new, 1) }
	for _, payload := range []string{
		``, `null`, `[]`, `{}`, `{`, wholeClaims + `x`, wholeClaims + wholeClaims,
		replace(`"sub":"u",`, ``), replace(`"exp":2,`, ``), replace(`"sid":"s",`, ``), replace(`"tid":"acme",`, ``),
		replace(`"sub":"u"`, `"Sub":"u"`), replace(`"sub":"u"`, `"sub":"u","sub":"v"`), replace(`"sub":"u"`, `"sub":7`),
		replace(`"aud":"a"`, `"aud":["a"]`), replace(`"exp":2`, `"exp":"2"`), replace(`"exp":2`, `"exp":2.5`),
		replace(`"exp":2`, `"exp":1e400`), replace(`"exp":2`, `"exp":99999999999999999999`),
		replace(`{`, `{"roles":"admin",`),
		replace(`{`, `{"scope":["x"],`), replace(`"tid":"acme"`, `"tid":"globex"`),
		replace(`,"rve":3`, ``), replace(`"rve":3`, `"rve":-1`), replace(`"rve":3`, `"rve":"3"`),
		replace(`"rve":3`, `"rve":1.5`),
		replace(`"rve":3`, `"rve":18446744073709551616`), replace(`"rve":3`, `"rve":3,"rve":4`),
	} {
		if got, err := verify(keys, signAnything(t, wholeHeader, payload)); !errors.Is(err, domain.ErrUnauthorized) {
			t.Errorf("claims %s: got %v, %v, want ErrUnauthorized", payload, got, err)
		}
	}
}

// encoding/json matches names in any case, which would let a caller's claim overwrite the user.
func TestVerifyMatchesNamesExactly(t *testing.T) {
	payload := strings.TrimSuffix(wholeClaims, "}") + `,"Sub":"admin","ROLES":["admin"]}`
	got, err := verify([]domain.SigningKey{publishedKey(t, domain.EdDSA)}, signAnything(t, wholeHeader, payload))
	if err != nil {
		t.Fatal(err)
	}
	if got.Subject != "u" || got.Roles != nil || got.Claims != `{"Sub":"admin","ROLES":["admin"]}` {
		t.Errorf("got subject %q, roles %q, claims %s", got.Subject, got.Roles, got.Claims)
	}
}

// base64 decoders ignore spare bits and line breaks: a token would have several spellings, and a list of refused tokens
// gaps.
func TestATokenHasOneSpelling(t *testing.T) {
	for _, a := range []domain.Algorithm{domain.EdDSA, domain.RS256} {
		keys := []domain.SigningKey{publishedKey(t, a)}
		s := jwxsigner.New(rand.Reader)
		token := sign(t, keys[0], accessToken())
		for i := range len(token) {
			same := token[i : i+1]
			for _, other := range []string{string(token[i] ^ 1), string(token[i] ^ 4), "", same + "\n", "A" + same, "=", "+"} {
				changed := token[:i] + other + token[i+1:]
				if _, err := s.Verify(context.Background(), among(keys), changed); !errors.Is(err, domain.ErrUnauthorized) {
					t.Fatalf("%s: byte %d as %q: got %v, want ErrUnauthorized", a, i, other, err)
				}
			}
		}
	}
}

// A key that cannot be read is an error of the service. As a refusal it would log users out.
func TestAKeyThatDoesNotServeIsAnOperationalError(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	whole := publishedKey(t, domain.EdDSA).Private
	for name, bad := range map[string]domain.SigningKey{
		"none":                 {Algorithm: domain.EdDSA},
		"no DER":               {Algorithm: domain.EdDSA, Private: domain.NewSecret("hunter2hunter2")},
		"cut off":              {Algorithm: domain.EdDSA, Private: domain.NewSecret(whole.Reveal()[:40])},
		"of another algorithm": {Algorithm: domain.RS256, Private: whole},
		"of another curve":     {Algorithm: domain.ES256, Private: pkcs8(t, p384)},
		"too short":            {Algorithm: domain.PS256, Private: pkcs8(t, short)},
		"for no algorithm":     {Private: whole},
		"for HS256":            {Algorithm: "HS256", Private: whole},
		"for none":             {Algorithm: "none", Private: whole},
	} {
		t.Run(name, func(t *testing.T) {
			bad.ID = "bad"
			s := jwxsigner.New(rand.Reader)
			header := fmt.Sprintf(`{"alg":"%s","kid":"bad","typ":"at+jwt"}`, bad.Algorithm)
			_, signErr := s.Sign(context.Background(), bad, accessToken())
			_, verifyErr := s.Verify(context.Background(), among([]domain.SigningKey{bad}), signAnything(t, header, wholeClaims))
			_, publishErr := s.JWKS([]domain.SigningKey{bad})
			for verb, err := range map[string]error{"Sign": signErr, "Verify": verifyErr, "JWKS": publishErr} {
				switch {
				case err == nil || errors.Is(err, domain.ErrUnauthorized):
					t.Errorf("%s: got %v, want an operational error", verb, err)
				case !bad.Private.IsZero() && strings.Contains(err.Error(), bad.Private.Reveal()):
					t.Errorf("%s: the error shows the key: %v", verb, err)
				}
			}
		})
	}
}

func TestASignerIsSafeForConcurrentUse(t *testing.T) {
	s := jwxsigner.New(rand.Reader)
	keys := []domain.SigningKey{
		publishedKey(t, domain.EdDSA), publishedKey(t, domain.ES256), newKey(t, "own", domain.EdDSA),
	}
	var want []string
	for _, k := range keys {
		want = append(want, sign(t, k, accessToken()))
	}
	var running sync.WaitGroup
	for range 16 {
		running.Go(func() {
			for i, k := range keys {
				token, err := s.Sign(context.Background(), k, accessToken())
				if err != nil || token != want[i] {
					t.Errorf("got %s, %v, want %s", token, err, want[i])
				}
				if _, err := s.Verify(context.Background(), among(keys), token); err != nil {
					t.Error(err)
				}
				if _, err := s.JWKS(keys); err != nil {
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
}

// A leaked key of one tenant must not be valid for another tenant; a shared key may sign for each.
func TestVerifyHoldsAKeyToItsTenant(t *testing.T) {
	key := publishedKey(t, domain.EdDSA)
	token := signAnything(t, wholeHeader, strings.Replace(wholeClaims, `"tid":"acme"`, `"tid":"globex"`, 1))
	if _, err := verify([]domain.SigningKey{key}, token); !errors.Is(err, domain.ErrUnauthorized) {
		t.Errorf("another tenant's: got %v, want ErrUnauthorized", err)
	}
	key.TenantID = ""
	if _, err := verify([]domain.SigningKey{key}, token); err != nil {
		t.Errorf("a shared key: %v", err)
	}
}
