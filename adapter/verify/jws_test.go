package verify_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/adapter/verify"
	"github.com/refreshd/refreshd/domain"
)

// all returns the test keys.
func all() (keys []*signingKey) {
	for _, k := range testKeys() {
		keys = append(keys, k)
	}
	return keys
}

// The package must agree with what the service signs and publishes, under each algorithm and type.
func TestWhatTheServiceSignsIsAccepted(t *testing.T) {
	signer := jwxsigner.New(rand.Reader)
	var keys []domain.SigningKey
	for _, a := range []domain.Algorithm{domain.EdDSA, domain.ES256, domain.RS256, domain.PS256} {
		private, err := signer.NewKey(a, 0)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, domain.SigningKey{ID: "service-" + string(a), TenantID: "acme", Algorithm: a, Private: private})
	}
	set, err := signer.JWKS(keys)
	if err != nil {
		t.Fatal(err)
	}
	id, _ := domain.ParseID(session)
	s := newService()
	s.serveKeys(http.StatusOK, string(set))
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		for _, k := range keys {
			for _, typ := range domain.AccessTokenTypes {
				token, err := signer.Sign(t.Context(), k, domain.AccessToken{
					Type: typ, Issuer: issuer, Subject: "user-1", Audience: audience, IssuedAt: time.Now(),
					ExpiresAt: time.Now().Add(time.Minute), SessionID: id.String(), TenantID: "acme", ApplicationID: audience,
					IssuedEpoch: 1<<64 - 1, Roles: []string{"r"}, Scopes: []string{"a", "b"}, Claims: `{"own":[1e400]}`,
				})
				if err != nil {
					t.Fatal(err)
				}
				got, err := v.Verify(t.Context(), token)
				if err != nil {
					t.Errorf("%s, %s: %v", k.Algorithm, typ, err)
				} else if got.SessionID != session || !slices.Equal(got.Scopes, []string{"a", "b"}) {
					t.Errorf("%s, %s: got %+v", k.Algorithm, typ, got)
				}
			}
		}
	})
}

// Two libraries that others sign with produce tokens, and one of them a JWK Set, that this package must read alike.
func TestWhatOtherLibrariesSignIsAccepted(t *testing.T) {
	var set []json.RawMessage
	for _, k := range all() {
		public, err := jwk.FromRaw(k.private.Public())
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]any{jwk.KeyIDKey: k.kid, jwk.AlgorithmKey: k.alg} {
			if err := public.Set(name, value); err != nil {
				t.Fatal(err)
			}
		}
		text, err := json.Marshal(public)
		if err != nil {
			t.Fatal(err)
		}
		set = append(set, text)
	}
	text, err := json.Marshal(map[string]any{"keys": set})
	if err != nil {
		t.Fatal(err)
	}
	s := newService()
	s.serveKeys(http.StatusOK, string(text))
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		for _, k := range all() {
			headers := jws.NewHeaders()
			for name, value := range map[string]any{"typ": "application/at+jwt", "kid": k.kid} {
				if err := headers.Set(name, value); err != nil {
					t.Fatal(err)
				}
			}
			byJWX, err := jws.Sign([]byte(payload(nil)),
				jws.WithKey(jwa.SignatureAlgorithm(k.alg), k.private, jws.WithProtectedHeaders(headers)))
			if err != nil {
				t.Fatal(err)
			}
			var claims jwt.MapClaims
			if err := json.Unmarshal([]byte(payload(nil)), &claims); err != nil {
				t.Fatal(err)
			}
			unsigned := jwt.NewWithClaims(jwt.GetSigningMethod(k.alg), claims)
			unsigned.Header["kid"] = k.kid
			byGolangJWT, err := unsigned.SignedString(k.private)
			if err != nil {
				t.Fatal(err)
			}
			for by, token := range map[string]string{"jwx": string(byJWX), "golang-jwt": byGolangJWT} {
				if _, err := v.Verify(t.Context(), token); err != nil {
					t.Errorf("%s by %s: %v", k.alg, by, err)
				}
			}
		}
	})
}

// refused checks that each token is refused as invalid, with an error that does not repeat it.
func refused(t *testing.T, v *verify.Verifier, name, token string) {
	t.Helper()
	got, err := v.Verify(t.Context(), token)
	if !errors.Is(err, verify.ErrInvalid) || got != nil {
		t.Errorf("%s: got %+v, %v, want ErrInvalid", name, got, err)
		return
	}
	for _, part := range strings.Split(token, ".") {
		if len(part) > 8 && strings.Contains(err.Error(), part) {
			t.Errorf("%s: the error quotes the token: %v", name, err)
		}
	}
}

// A header is what an attacker writes. Only its kid selects a key, and only the key selects the algorithm.
func TestAHeaderDoesNotChooseHowItIsVerified(t *testing.T) {
	s := newService(all()...)
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		attacker := newKey("attacker", "ES256")
		before := len(s.sent())
		for _, k := range all() {
			header := func(format string, args ...any) string {
				return fmt.Sprintf(strings.ReplaceAll(format, "KID", k.kid), args...)
			}
			own := strings.NewReplacer("KID", k.kid, "ALG", k.alg).Replace
			_, rest, _ := strings.Cut(k.token(nil), ".")
			signature := rest[strings.IndexByte(rest, '.')+1:]
			body := encode([]byte(payload(nil)))
			for _, alg := range []string{`"none"`, `"None"`, `"nOnE"`, `""`, `null`, `[]`, `0`, `"HS256"`} {
				h := header(`{"alg":%s,"kid":"KID","typ":"at+jwt"}`, alg)
				for _, end := range []string{"", signature, encode(make([]byte, 64))} {
					refused(t, v, h, encode([]byte(h))+"."+body+"."+end)
				}
				refused(t, v, h+", signed", k.sign(h, payload(nil)))
			}
			spki, err := x509.MarshalPKIXPublicKey(k.private.Public())
			if err != nil {
				t.Fatal(err)
			}
			for name, secret := range map[string][]byte{"SPKI": spki, "JWK": []byte(k.jwk(true)), "nothing": nil} {
				for _, alg := range []string{"HS256", k.alg} {
					signed := encode([]byte(header(`{"alg":%q,"kid":"KID","typ":"at+jwt"}`, alg))) + "." + body
					mac := hmac.New(sha256.New, secret)
					mac.Write([]byte(signed))
					refused(t, v, "an HMAC with "+name, signed+"."+encode(mac.Sum(nil)))
				}
			}
			for _, other := range all() {
				if other != k {
					h := header(`{"alg":%q,"kid":"KID","typ":"at+jwt"}`, other.alg)
					refused(t, v, k.alg+" as "+other.alg, k.sign(h, payload(nil)))
					refused(t, v, k.alg+" with the kid of "+other.alg, k.sign(other.header(), payload(nil)))
				}
			}
			// Signed by the attacker, whose key is in the header; then by the service, with a header it does not make.
			for _, member := range []string{
				`"jwk":` + attacker.jwk(false), `"jku":"https://evil.example/k"`, `"x5u":"https://evil.example/c"`,
			} {
				refused(t, v, member, attacker.sign(header(`{"alg":"ES256",%s,"kid":"KID","typ":"at+jwt"}`, member), payload(nil)))
			}
			for _, h := range []string{
				`{"alg":"ALG","kid":"KID","typ":"at+jwt","crit":["exp"]}`, `{"alg":"ALG","kid":"KID","typ":"at+jwt","crit":[]}`,
				`{"alg":"ALG","kid":"KID","kid":"KID","typ":"at+jwt"}`, `{"alg":"none","alg":"ALG","kid":"KID","typ":"at+jwt"}`,
				`{"alg":"ALG","kid":"KID","typ":"at+jwt","\u006bid":"KID"}`, `{"ALG":"ALG","kid":"KID","typ":"at+jwt"}`,
				`{"alg":"ALG","kid":"KID","typ":"at+jwt","x":"` + strings.Repeat("x", 4<<10) + `"}`,
				`{"alg":"ALG","typ":"at+jwt"}`, `{"alg":"ALG","kid":"","typ":"at+jwt"}`, `{"alg":"ALG","kid":7,"typ":"at+jwt"}`,
				`{"alg":"ALG","kid":"KID"}`, `{"alg":"ALG","kid":"KID","typ":"id+jwt"}`,
				`{"alg":"ALG","kid":"KID","typ":"logout+jwt"}`,
				`{"alg":"ALG","kid":"KID","typ":"dpop+jwt"}`, `{"alg":"ALG","kid":"KID","typ":"rvp+jwt"}`,
				`{"alg":"ALG","kid":"KID","typ":"application/JWT"}`, `{"alg":"ALG","kid":"KID","typ":["at+jwt"]}`,
				`{"alg":"ALG","kid":"KID","typ":"at+jwt"}{}`, `[{"alg":"ALG","kid":"KID","typ":"at+jwt"}]`, `"alg"`, `null`, ` `,
				"{\"alg\":\"ALG\",\"kid\":\"KID\",\"typ\":\"at+jwt\",\"x\":\"\xff\"}",
			} {
				refused(t, v, h, k.sign(own(h), payload(nil)))
			}
			for _, h := range []string{
				`{"alg":"ALG","kid":"KID","typ":"AT+JWT"}`, `{"alg":"ALG","kid":"KID","typ":"Application/at+jwt"}`,
				`{"alg":"ALG","kid":"KID","typ":"jwt","jku":"https://evil.example/k","x":{"kid":"other","a":[1,"]}"]}}`,
				" {\t\"typ\" :\r\n\"at+jwt\" , \"alg\":\"ALG\",\"\\u006bid\":\"KID\"} ",
			} {
				if _, err := v.Verify(t.Context(), k.sign(own(h), payload(nil))); err != nil {
					t.Errorf("%s: %v", h, err)
				}
			}
		}
		refused(t, v, "an unknown key", attacker.token(nil))
		for _, r := range s.sent()[before:] {
			if r.URL.Host != "id.example" {
				t.Errorf("a request to %s", r.URL)
			}
		}
	})
}

func TestOnlyOneSpellingOfATokenIsAccepted(t *testing.T) {
	inBubble(t, newService(all()...), nil, func(t *testing.T, v *verify.Verifier) {
		for _, k := range all() {
			token := k.token(nil)
			parts := strings.Split(token, ".")
			last := parts[2][len(parts[2])-1]
			for name, bad := range map[string]string{
				"nothing": "", "dots": "..", "two parts": parts[0] + "." + parts[1], "four parts": token + ".x",
				"no header": "." + parts[1] + "." + parts[2], "no payload": parts[0] + ".." + parts[2],
				"no signature": parts[0] + "." + parts[1] + ".", "padding": token + "=", "a space": token + " ",
				"a line break in the header": parts[0][:9] + "\n" + parts[0][9:] + "." + parts[1] + "." + parts[2],
				"a line break at the end":    token + "\n",
				"a return in the payload":    parts[0] + "." + parts[1][:9] + "\r" + parts[1][9:] + "." + parts[2],
				"base64 of the other alphabet": parts[0] + "." +
					strings.NewReplacer("-", "+", "_", "/").Replace(encode([]byte(payload(with{"x": "???>>>"})))) + "." + parts[2],
				// 64 and 256 bytes leave unused bits in the last character.
				"unused bits": token[:len(token)-1] + string(last+1),
				"JSON form":   `{"payload":"` + parts[1] + `"}`,
				"too large":   k.token(with{"x": strings.Repeat("x", 16<<10)}),
			} {
				refused(t, v, k.alg+", "+name, bad)
			}
		}
	})
}

// A signature that is not of its algorithm's only form is refused, as is one that verifies trivially.
func TestAWrongSignatureIsRefused(t *testing.T) {
	inBubble(t, newService(all()...), nil, func(t *testing.T, v *verify.Verifier) {
		for _, k := range all() {
			token := k.token(nil)
			cut := strings.LastIndexByte(token, '.')
			signed := token[:cut]
			whole := k.signature(signed)
			for name, signature := range map[string][]byte{
				"zeros": make([]byte, len(whole)), "a zero before": append([]byte{0}, whole...), "a zero after": append(whole, 0),
				"a byte less": whole[1:], "ones": slices.Repeat([]byte{0xff}, len(whole)), "one": {1},
				"of other claims": k.signature(signed[:len(signed)-1]),
			} {
				refused(t, v, k.alg+", "+name, signed+"."+encode(signature))
			}
			switch p := k.private.(type) {
			case *ecdsa.PrivateKey:
				r, s := new(big.Int).SetBytes(whole[:32]), new(big.Int).SetBytes(whole[32:])
				der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
				if err != nil {
					t.Fatal(err)
				}
				refused(t, v, "DER", signed+"."+encode(der))
				n := p.Params().N.Bytes()
				refused(t, v, "r and s of n", signed+"."+encode(slices.Concat(n, n)))
			case *rsa.PrivateKey:
				if k.alg == "PS256" {
					sum := sha256.Sum256([]byte(signed))
					salted, err := rsa.SignPSS(rand.Reader, p, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 8})
					if err != nil {
						t.Fatal(err)
					}
					refused(t, v, "a short salt", signed+"."+encode(salted))
				}
			}
		}
	})
}

func TestClaimsAreChecked(t *testing.T) {
	k := testKeys()["ES256"]
	inBubble(t, newService(k), nil, func(t *testing.T, v *verify.Verifier) {
		now := time.Now().Unix()
		for _, tc := range []struct {
			name   string
			change with
			want   error
		}{
			{"as they are", nil, nil},
			{"another issuer", with{"iss": issuer + "/"}, verify.ErrInvalid},
			{"an issuer of another case", with{"iss": strings.ToUpper(issuer)}, verify.ErrInvalid},
			{"no issuer", with{"iss": nil}, verify.ErrInvalid},
			{"issuers", with{"iss": []string{issuer}}, verify.ErrInvalid},
			{"another audience", with{"aud": "order"}, verify.ErrInvalid},
			{"no audience", with{"aud": nil}, verify.ErrInvalid},
			{"no audiences", with{"aud": []string{}}, verify.ErrInvalid},
			{"an audience of audiences", with{"aud": [][]string{{audience}}}, verify.ErrInvalid},
			{"an audience and null", with{"aud": []any{audience, nil}}, verify.ErrInvalid},
			{"several audiences", with{"aud": []string{"a", audience}}, nil},
			{"no exp", with{"exp": nil}, verify.ErrInvalid},
			{"exp as text", with{"exp": "9999999999"}, verify.ErrInvalid},
			{"exp below zero", with{"exp": -1}, verify.ErrInvalid},
			{"exp after all time", with{"exp": 1e300}, verify.ErrInvalid},
			{"exp in milliseconds", with{"exp": now * 1000}, verify.ErrInvalid},
			{"exp at zero", with{"exp": 0}, verify.ErrExpired},
			{"expired within the leeway", with{"exp": now - 29}, nil},
			{"expired", with{"exp": now - 31}, verify.ErrExpired},
			{"exp with a fraction", with{"exp": json.RawMessage(fmt.Sprintf("%d.5e0", now+10))}, nil},
			{"no iat", with{"iat": nil}, verify.ErrInvalid},
			{"issued within the leeway", with{"iat": now + 29}, nil},
			{"issued later", with{"iat": now + 31}, verify.ErrInvalid},
			{"valid within the leeway", with{"nbf": now + 29}, nil},
			{"valid later", with{"nbf": now + 31}, verify.ErrInvalid},
			{"nbf as text", with{"nbf": "0"}, verify.ErrInvalid},
			{"no sub", with{"sub": nil}, verify.ErrInvalid},
			{"an empty sub", with{"sub": ""}, verify.ErrInvalid},
			{"no sid", with{"sid": nil}, verify.ErrInvalid},
			{"a sid of another form", with{"sid": "session-1"}, verify.ErrInvalid},
			{"a sid of zeros", with{"sid": "00000000-0000-0000-0000-000000000000"}, verify.ErrInvalid},
			{"a sid without hyphens", with{"sid": strings.ReplaceAll(session, "-", "") + "0000"}, verify.ErrInvalid},
			{"no applicationId", with{"applicationId": nil}, verify.ErrInvalid},
			{"an rsid", with{"rsid": other}, nil},
			{"an rsid of another form", with{"rsid": "x"}, verify.ErrInvalid},
			{"an empty rsid", with{"rsid": ""}, verify.ErrInvalid},
			{"an rsid that is null", with{"rsid": json.RawMessage("null")}, verify.ErrInvalid},
			{"no rve", with{"rve": nil}, nil},
			{"rve below zero", with{"rve": -1}, verify.ErrInvalid},
			{"rve with a fraction", with{"rve": 7.5}, verify.ErrInvalid},
			{"rve with an exponent", with{"rve": json.RawMessage("7e0")}, verify.ErrInvalid},
			{"rve as text", with{"rve": "7"}, verify.ErrInvalid},
			{"rve that is null", with{"rve": json.RawMessage("null")}, verify.ErrInvalid},
			{"rve of 2^64", with{"rve": json.RawMessage("18446744073709551616")}, verify.ErrInvalid},
			{"no roles", with{"roles": nil, "scope": nil, "jti": nil, "client_id": nil}, nil},
			{"no tenant", with{"tid": nil}, verify.ErrInvalid},
			{"a tenant whose revocations are not known", with{"tid": "other"}, verify.ErrInvalid},
			{"a role that is not a string", with{"roles": []int{1}}, verify.ErrInvalid},
			{"roles as text", with{"roles": "admin"}, verify.ErrInvalid},
			{"a tenant that is not a string", with{"tid": 7}, verify.ErrInvalid},
			{"bound to a key", with{"cnf": map[string]string{"jkt": k.thumbprint()}}, verify.ErrInvalid},
			{"bound to a certificate", with{"cnf": map[string]string{"x5t#S256": k.thumbprint()}}, verify.ErrInvalid},
			{"bound to nothing", with{"cnf": map[string]string{}}, verify.ErrInvalid},
			{"bound to null", with{"cnf": json.RawMessage("null")}, verify.ErrInvalid},
			{"bound to an empty key", with{"cnf": map[string]string{"jkt": ""}}, verify.ErrInvalid},
			{"for an actor", with{"act": map[string]any{"sub": "agent", "iss": "x"}}, nil},
			{"for an actor without sub", with{"act": map[string]any{"client_id": "agent"}}, verify.ErrInvalid},
			{"for an actor of no name", with{"act": map[string]any{"sub": ""}}, verify.ErrInvalid},
			{"for an actor of another type", with{"act": "agent"}, verify.ErrInvalid},
			{"for an actor that is null", with{"act": json.RawMessage("null")}, verify.ErrInvalid},
			{"for an actor of an actor without sub", with{"act": json.RawMessage(`{"sub":"x","act":{}}`)}, verify.ErrInvalid},
			{"for two actors", with{"act": json.RawMessage(`{"sub":"x","sub":"y"}`)}, verify.ErrInvalid},
			{"for actors of great depth", with{"act": json.RawMessage(strings.Repeat(`{"sub":"x","act":`, 300) + `{"sub":"x"}` +
				strings.Repeat("}", 300))}, nil},
			{"a deep claim", with{"x": json.RawMessage(strings.Repeat("[", 4000) + strings.Repeat("]", 4000))}, nil},
			{"a claim in another case", with{"Exp": 1, "SUB": "root", "cnF": 1}, nil},
		} {
			got, err := v.Verify(t.Context(), k.token(tc.change))
			if !errors.Is(err, tc.want) || (got == nil) != (err != nil) {
				t.Errorf("%s: got %+v, %v, want %v", tc.name, got, err, tc.want)
			}
			if err == nil && got.Subject != "user-1" {
				t.Errorf("%s: the subject is %q", tc.name, got.Subject)
			}
		}
		text := strings.TrimSuffix(payload(nil), "}")
		for _, bad := range []string{
			text + `,"sub":"root"}`, text + `,"\u0073ub":"root"}`, text + `,"cnf":{"jkt":"x","jkt":"y"}}`, text, text + "}}",
			"[" + text + "}]", `null`, `"x"`, `7`, text + ",}", text + "} x", text + ",\"x\":\"\xc3\"}", "\ufeff" + text + "}",
			text + `,"x":` + strings.Repeat("[", 5000) + "}",
		} {
			refused(t, v, bad, k.sign(k.header(), bad))
		}
	})
}

// A key set without the key of a token is read again, at most once in ten seconds whatever is sent, by one request for
// all that wait.
func TestAnUnknownKeyIsAskedForOnce(t *testing.T) {
	first, next := testKeys()["ES256"], newKey("next", "EdDSA")
	s := newService(first)
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		if n := s.keyRequests(); n != 1 {
			t.Fatalf("%d requests at the start, want 1", n)
		}
		pass(15 * time.Second)
		s.publish(first, next)
		results := make(chan error, 50)
		for range cap(results) {
			go func() {
				_, err := v.Verify(context.Background(), next.token(nil))
				results <- err
			}()
		}
		for range cap(results) {
			if err := <-results; err != nil {
				t.Errorf("the next key: %v", err)
			}
		}
		if n := s.keyRequests(); n != 2 {
			t.Errorf("%d requests for one new key, want 2", n)
		}
		for range 90 { // nine seconds
			pass(100 * time.Millisecond)
			refused(t, v, "unknown", newKey("unknown", "EdDSA").token(nil))
		}
		if n := s.keyRequests(); n != 2 {
			t.Errorf("%d requests within ten seconds, want 2", n)
		}
		pass(2 * time.Second)
		refused(t, v, "unknown", newKey("unknown", "EdDSA").token(nil))
		if n := s.keyRequests(); n != 3 {
			t.Errorf("%d requests after ten seconds, want 3", n)
		}
	})
}

// While the endpoint is down, the keys that are known serve on for a day; what is not known is not "invalid".
func TestTheLastKeySetServesWhileTheEndpointIsDown(t *testing.T) {
	k := testKeys()["ES256"]
	for name, breakIt := range map[string]func(*service){
		"an error": func(s *service) { s.serveKeys(http.StatusInternalServerError, "") },
		"an error with a JWK Set": func(s *service) {
			s.serveKeys(http.StatusInternalServerError, `{"keys":[`+newKey("other", "EdDSA").jwk(true)+`]}`)
		},
		"no JSON":        func(s *service) { s.serveKeys(http.StatusOK, "<html>") },
		"no keys":        func(s *service) { s.serveKeys(http.StatusOK, `{"keys":[]}`) },
		"no usable keys": func(s *service) { s.serveKeys(http.StatusOK, `{"keys":[{"kty":"oct","kid":"x","k":"AAAA"}]}`) },
		"a redirect":     func(s *service) { s.serveKeys(http.StatusMovedPermanently, "") },
		"a large body": func(s *service) {
			s.serveKeys(http.StatusOK, `{"keys":[`+k.jwk(true)+`]}`+strings.Repeat(" ", 1<<20))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService(k)
			inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
				breakIt(s)
				s.passKeys(2 * time.Hour)
				if _, err := v.Verify(t.Context(), k.token(nil)); err != nil {
					t.Errorf("a known key after two hours: %v", err)
				}
				if _, err := v.Verify(t.Context(), newKey("next", "EdDSA").token(nil)); !errors.Is(err, verify.ErrStale) {
					t.Errorf("an unknown key: got %v, want ErrStale", err)
				}
			})
		})
	}
	s := newService(k)
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		s.serveKeys(http.StatusInternalServerError, "")
		s.passKeys(23 * time.Hour)
		if _, err := v.Verify(t.Context(), k.token(nil)); err != nil {
			t.Errorf("after 23 hours: %v", err)
		}
		s.passKeys(70 * time.Minute)
		if _, err := v.Verify(t.Context(), k.token(nil)); !errors.Is(err, verify.ErrStale) {
			t.Errorf("after a day: got %v, want ErrStale", err)
		}
		s.publish(k)
		pass(time.Minute)
		if _, err := v.Verify(t.Context(), k.token(nil)); err != nil {
			t.Errorf("up again: %v", err)
		}
	})
}

// A key that the service has withdrawn must not serve for longer than the set is cached.
func TestAWithdrawnKeyEndsWithItsCacheControl(t *testing.T) {
	gone, stays := testKeys()["ES256"], testKeys()["EdDSA"]
	for control, want := range map[string]struct{ lasts, ends time.Duration }{
		"":                     {4 * time.Minute, 6 * time.Minute},
		"public, max-age=600":  {9 * time.Minute, 11 * time.Minute},
		"max-age=0":            {30 * time.Second, 2 * time.Minute},
		"no-store":             {30 * time.Second, 2 * time.Minute},
		"max-age=99999999":     {59 * time.Minute, 61 * time.Minute},
		`MAX-AGE="600"`:        {9 * time.Minute, 11 * time.Minute},
		"max-age=x":            {4 * time.Minute, 6 * time.Minute},
		"max-age=600, private": {9 * time.Minute, 11 * time.Minute},
	} {
		t.Run(control, func(t *testing.T) {
			s := newService(gone, stays)
			s.header.Set("Cache-Control", control)
			inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
				s.publish(stays)
				s.passKeys(want.lasts)
				if _, err := v.Verify(t.Context(), gone.token(nil)); err != nil {
					t.Errorf("after %v: %v", want.lasts, err)
				}
				s.passKeys(want.ends - want.lasts)
				refused(t, v, "withdrawn", gone.token(nil))
			})
		})
	}
}

// A signing key was revoked while this process was cut off for longer than the stream names the key afterwards. A key
// set that was read earlier must not make its tokens valid for a day.
func TestAKeyThatEndedDuringAnInterruptionVerifiesNothing(t *testing.T) {
	gone, stays := testKeys()["ES256"], testKeys()["EdDSA"]
	lasting := func(k *signingKey) string { return k.token(with{"exp": time.Now().Add(24 * time.Hour).Unix()}) }
	for _, policy := range []verify.OnStale{verify.Refuse, verify.AcceptUntilExpiry} {
		config := func(c *verify.Config) { c.MaxAge, c.OnStale = 12*time.Hour, policy }
		s := newService(gone, stays)
		inBubble(t, s, config, func(t *testing.T, v *verify.Verifier) {
			tokens := map[string]string{"ended": lasting(gone), "not ended": lasting(stays)}
			bound := map[string]context.Context{}
			for name, token := range tokens {
				ctx, stop := v.Bind(t.Context(), token)
				if bound[name] = ctx; ctx.Err() != nil {
					t.Fatalf("%s: %v", name, context.Cause(ctx))
				}
				defer stop()
			}
			s.serveKeys(http.StatusInternalServerError, "")
			s.interrupt(30 * time.Minute)
			if s := v.State(); !s.Complete || s.Age > time.Minute || s.Ready {
				t.Errorf("got %+v, want a view that is fresh, and not ready", s)
			}
			for name, token := range tokens {
				if _, err := v.Verify(t.Context(), token); !errors.Is(err, verify.ErrStale) {
					t.Errorf("%s, before the set was read: got %v, want ErrStale", name, err)
				}
				if err := context.Cause(bound[name]); !errors.Is(err, verify.ErrStale) {
					t.Errorf("%s: bound: got %v, want ErrStale", name, err)
				}
			}
			s.publish(stays)
			pass(time.Minute)
			if _, err := v.Verify(t.Context(), tokens["ended"]); !errors.Is(err, verify.ErrInvalid) {
				t.Errorf("ended: got %v, want ErrInvalid", err)
			}
			if _, err := v.Verify(t.Context(), tokens["not ended"]); err != nil || !v.State().Ready {
				t.Errorf("not ended: got %v, %+v", err, v.State())
			}
		})
	}
}

// The set was read an hour ago, and is to be kept for an hour: after an interruption it is read anyway.
func TestAfterALongInterruptionTheKeySetIsReadAtOnce(t *testing.T) {
	gone, stays := testKeys()["ES256"], testKeys()["EdDSA"]
	s := newService(gone, stays)
	s.header.Set("Cache-Control", "max-age=3600")
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		s.publish(stays)
		s.interrupt(5 * time.Minute)
		if n := s.keyRequests(); n != 1 {
			t.Errorf("%d requests for the set after an interruption of five minutes", n)
		}
		s.interrupt(30 * time.Minute)
		if n := s.keyRequests(); n != 2 || !v.State().Ready {
			t.Errorf("%d requests for the set after an interruption of 30 minutes, %+v", n, v.State())
		}
		refused(t, v, "ended meanwhile", gone.token(nil))
		if _, err := v.Verify(t.Context(), stays.token(nil)); err != nil {
			t.Error(err)
		}
	})
}

// The stream begins long after the set was read: what it names says nothing about the time between.
func TestAKeySetOfLongBeforeTheFirstViewDoesNotServe(t *testing.T) {
	k := testKeys()["ES256"]
	s := newService(k)
	s.refuses = true
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		s.serveKeys(http.StatusInternalServerError, "")
		s.interrupt(time.Hour)
		if _, err := v.Verify(t.Context(), k.token(nil)); !errors.Is(err, verify.ErrStale) || v.State().Ready {
			t.Errorf("got %v, want ErrStale; %+v", err, v.State())
		}
		s.publish(k)
		pass(time.Minute)
		if _, err := v.Verify(t.Context(), k.token(nil)); err != nil {
			t.Errorf("after it was read again: %v", err)
		}
	})
}

// A thief of a key who also has the connection could prove the freshness of a stream that does not name the key.
func TestAKeyThatEndedDuringAnInterruptionProvesNothing(t *testing.T) {
	stolen := testKeys()["ES256"]
	s := newService(stolen)
	s.prover = stolen
	inBubble(t, s, func(c *verify.Config) { c.RequireProof = true }, func(t *testing.T, v *verify.Verifier) {
		before := v.State().LastProof
		if before.IsZero() {
			t.Fatal("no proof at the start")
		}
		s.serveKeys(http.StatusInternalServerError, "")
		s.interrupt(30 * time.Minute)
		pass(time.Minute)
		if got := v.State().LastProof; got.After(before.Add(time.Minute)) {
			t.Errorf("a proof at %v was accepted", got)
		}
	})
}

// A response that lasts ends when a request with its token would be refused: also when its key was withdrawn.
func TestABindingEndsWithItsKey(t *testing.T) {
	gone, stays := testKeys()["ES256"], testKeys()["EdDSA"]
	s := newService(gone, stays)
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		bind := func(k *signingKey) context.Context {
			ctx, stop := v.Bind(t.Context(), k.token(with{"exp": time.Now().Add(time.Hour).Unix()}))
			t.Cleanup(stop)
			return ctx
		}
		ends, lasts := bind(gone), bind(stays)
		s.publish(stays)
		pass(6 * time.Minute)
		if err := context.Cause(ends); !errors.Is(err, verify.ErrInvalid) {
			t.Errorf("the key is withdrawn: got %v, want ErrInvalid", err)
		}
		if err := context.Cause(lasts); err != nil {
			t.Errorf("the key stays, in another set: got %v", err)
		}
	})
}

func TestAnUnchangedKeySetIsNotSentAgain(t *testing.T) {
	k := testKeys()["ES256"]
	s := newService(k)
	s.header.Set("ETag", `"1"`)
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		s.passKeys(25 * time.Hour)
		if _, err := v.Verify(t.Context(), k.token(nil)); err != nil {
			t.Errorf("after a day of 304: %v", err)
		}
		requests := slices.DeleteFunc(s.sent(), func(r *http.Request) bool {
			return !strings.HasSuffix(r.URL.Path, "jwks.json")
		})
		if got := requests[len(requests)-1].Header.Get("If-None-Match"); got != `"1"` {
			t.Errorf("If-None-Match is %q", got)
		}
	})
}

// Keys that must not verify access tokens are ignored, and those beside them are used.
func TestAKeyThatCannotBeUsedIsIgnored(t *testing.T) {
	good, es := testKeys()["PS256"], testKeys()["ES256"]
	named := func(k *signingKey, more string) string { return strings.TrimSuffix(k.jwk(true), "}") + more + "}" }
	renamed := func(k *signingKey, alg string) string {
		return fmt.Sprintf(`{%s,"kid":%q,"alg":%q}`, k.members(), k.kid, alg)
	}
	for name, tc := range map[string]struct {
		signs *signingKey
		key   string
	}{
		"for encryption":    {testKeys()["ES256"], strings.Replace(testKeys()["ES256"].jwk(true), `"sig"`, `"enc"`, 1)},
		"for signing only":  {testKeys()["ES256"], named(testKeys()["ES256"], `,"key_ops":["sign"]`)},
		"short Ed25519":     {testKeys()["EdDSA"], sized("EdDSA", `"x":"`, -4)},
		"long Ed25519":      {testKeys()["EdDSA"], sized("EdDSA", `"x":"`, 4)},
		"a zero before n":   {testKeys()["RS256"], sized("RS256", `"n":"`, 4)},
		"for nothing":       {testKeys()["ES256"], named(testKeys()["ES256"], `,"key_ops":[]`)},
		"private":           {testKeys()["EdDSA"], named(testKeys()["EdDSA"], `,"d":"AAAA"`)},
		"twice a member":    {testKeys()["EdDSA"], named(testKeys()["EdDSA"], `,"kty":"OKP"`)},
		"of another alg":    {testKeys()["ES256"], renamed(testKeys()["ES256"], "ES384")},
		"of another type":   {testKeys()["EdDSA"], renamed(testKeys()["EdDSA"], "ES256")},
		"RSA without alg":   {testKeys()["RS256"], fmt.Sprintf(`{%s,"kid":"key-RS256"}`, testKeys()["RS256"].members())},
		"RSA of RS512":      {testKeys()["RS256"], renamed(testKeys()["RS256"], "RS512")},
		"RSA of 1024 bits":  {testKeys()["RS256"], modulus(1024)},
		"RSA of 4097 bits":  {testKeys()["RS256"], modulus(4097)},
		"not on the curve":  {testKeys()["ES256"], strings.Replace(testKeys()["ES256"].jwk(true), `"y":"`, `"y":"AAAA`, 1)},
		"y of another key":  {testKeys()["ES256"], mixed(testKeys()["ES256"], newKey("", "ES256"))},
		"sharing its kid":   {es, es.jwk(true) + "," + newKey(es.kid, "EdDSA").jwk(true)},
		"sharing it thrice": {es, strings.Repeat(es.jwk(true)+",", 2) + es.jwk(true)},
		"no object":         {testKeys()["ES256"], `7,null,"x",[]`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newService()
			s.serveKeys(http.StatusOK, `{"x":1,"keys":[`+tc.key+`,`+good.jwk(true)+`]}`)
			inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
				refused(t, v, "signed by it", tc.signs.token(nil))
				if _, err := v.Verify(t.Context(), good.token(nil)); err != nil {
					t.Errorf("the key beside it: %v", err)
				}
				if n := v.State().Keys; n != 1 {
					t.Errorf("%d keys, want 1", n)
				}
			})
		})
	}
}

// modulus returns a public RSA key of that size that has no private one: making one takes many seconds.
func modulus(bits int) string {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	odd := n.SetBit(n, 0, 1).Bytes()
	return fmt.Sprintf(`{"kty":"RSA","e":"AQAB","n":%q,"kid":"key-RS256","alg":"RS256"}`, encode(odd))
}

// sized returns a public key whose member has three bytes more, zeros in front, or three bytes less.
func sized(alg, member string, by int) string {
	before, after, _ := strings.Cut(testKeys()[alg].jwk(true), member)
	if by < 0 {
		return before + member + after[-by:]
	}
	return before + member + strings.Repeat("A", by) + after
}

// mixed returns the public key of k with the y of another one.
func mixed(k, other *signingKey) string {
	y := func(k *signingKey) string { _, y, _ := strings.Cut(k.members(), `"y":`); return y }
	return strings.Replace(k.jwk(true), y(k), y(other), 1)
}

// RSA keys of 2048 to 4096 bits are used.
func TestTheSizeOfAnRSAKeyIsBounded(t *testing.T) {
	for bits, want := range map[int]int{2047: 1, 2048: 2, 3072: 2, 4096: 2, 4097: 1} {
		s := newService()
		s.serveKeys(http.StatusOK, `{"keys":[`+modulus(bits)+`,`+testKeys()["ES256"].jwk(true)+`]}`)
		inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
			if got := v.State().Keys; got != want {
				t.Errorf("%d bits: %d keys, want %d", bits, got, want)
			}
		})
	}
}
