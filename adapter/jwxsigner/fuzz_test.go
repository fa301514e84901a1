package jwxsigner_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/refreshd/refreshd/adapter/jwxsigner"
	"github.com/refreshd/refreshd/domain"
)

// Only a token that was signed verifies, to the byte.
func FuzzVerify(f *testing.F) {
	keys := allKeys(f)
	signed := map[string]bool{}
	for _, k := range keys {
		token := sign(f, k, accessToken())
		signed[token] = true
		f.Add(token)
		f.Add(token[:len(token)-1])
		f.Add(segmentOf(f, token, 0) + ".." + segmentOf(f, token, 2))
		f.Add(encode([]byte(`{"alg":"none","kid":"`+k.ID+`","typ":"at+jwt"}`)) + "." + segmentOf(f, token, 1) + ".")
	}
	f.Add(encode([]byte(`{"alg":"EdDSA","kid":"key-EdDSA","typ":"at+jwt","jwk":{}}`)) + ".e30.AAAA")
	s := jwxsigner.New(rand.Reader)
	f.Fuzz(func(t *testing.T, token string) {
		if got, err := s.Verify(context.Background(), among(keys), token); err == nil && !signed[token] {
			t.Fatalf("%q was not signed, and is %+v", token, got)
		}
	})
}

// Even with a valid signature, a token verifies only if its header is that of Sign. Of its claims Verify reads exactly
// those that encoding/json finds with the exact names.
func FuzzVerifyWhatIsSigned(f *testing.F) {
	f.Add([]byte(wholeHeader), []byte(wholeClaims))
	f.Add([]byte(jwtHeader), []byte(wholeClaims))
	f.Add([]byte(`{"ALG":"EdDSA","kid":"key-EdDSA","typ":"at+jwt"}`), []byte(wholeClaims))
	f.Add([]byte(wholeHeader), []byte(`{"sub":"u","sub":"v"}`))
	f.Add([]byte(wholeHeader),
		append([]byte(wholeClaims[:len(wholeClaims)-1]), `,"Sub":"admin","roles":["x"],"scope":"a b","n":1e400}`...))
	f.Add([]byte(wholeHeader), append([]byte("\xff"), wholeClaims...))
	f.Add([]byte(wholeHeader), append([]byte(wholeClaims[:len(wholeClaims)-1]), `,"ſub":"x","\u0073ub":"y"}`...))
	keys := []domain.SigningKey{publishedKey(f, domain.EdDSA)}
	private := privateKey(f, domain.EdDSA).(ed25519.PrivateKey)
	s := jwxsigner.New(rand.Reader)
	f.Fuzz(func(t *testing.T, header, payload []byte) {
		signed := encode(header) + "." + encode(payload)
		got, err := s.Verify(context.Background(), among(keys), signed+"."+encode(ed25519.Sign(private, []byte(signed))))
		if err != nil {
			return
		}
		if string(header) != wholeHeader && string(header) != jwtHeader {
			t.Fatalf("the header %q passes", header)
		}
		var names map[string]json.RawMessage
		if err := json.Unmarshal(payload, &names); err != nil {
			t.Fatalf("claims that encoding/json refuses: %q: %v", payload, err)
		}
		for name, value := range map[string]string{
			"iss": got.Issuer, "sub": got.Subject, "aud": got.Audience, "jti": got.ID, "sid": got.SessionID, "tid": got.TenantID,
			"applicationId": got.ApplicationID,
		} {
			var want string
			if json.Unmarshal(names[name], &want) != nil || want != value {
				t.Fatalf("%s of %q: got %q, want %s", name, payload, value, names[name])
			}
		}
		if got.TenantID != "acme" {
			t.Fatalf("the key of acme speaks for %q", got.TenantID)
		}
		var own map[string]json.RawMessage
		if got.Claims != "" && json.Unmarshal([]byte(got.Claims), &own) != nil {
			t.Fatalf("own claims that are no object: %q of %q", got.Claims, payload)
		}
		for _, reserved := range []string{
			"iss", "sub", "aud", "client_id", "iat", "exp", "jti", "sid", "tid", "applicationId", "rve", "roles", "scope",
		} {
			if _, there := own[reserved]; there {
				t.Fatalf("%s is among the caller's own claims: %q of %q", reserved, got.Claims, payload)
			}
		}
	})
}

// Whatever a client sends, no part panics, and what is accepted was signed by the key that it is bound to: another
// signature under the same header and claims is refused.
func FuzzParseProof(f *testing.F) {
	f.Add(rfc9449Proof)
	f.Add(rfc9449Proof[:len(rfc9449Proof)-3])
	for _, a := range domain.Algorithms {
		f.Add(signedBy(f, a, privateKey(f, a), jsonOf(f, proofHeader(f, a)), proofClaims))
	}
	f.Add(encode([]byte(`{"typ":"dpop+jwt","alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":""}}`)) + ".e30.AAAA")
	s := jwxsigner.New(rand.Reader)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := s.ParseProof(text)
		if err != nil {
			if !errors.Is(err, domain.ErrProof) || p != (domain.Proof{}) {
				t.Fatalf("%q: got %+v, %v, want ErrProof and nothing else", text, p, err)
			}
			return
		}
		if !domain.IsThumbprint(p.Key) {
			t.Fatalf("%q: the key is %q", text, p.Key)
		}
		segments := strings.Split(text, ".")
		other := segments[0] + "." + encode([]byte(`{"jti":"another","iat":1}`)) + "." + segments[2]
		if _, err := s.ParseProof(other); err == nil && other != text {
			t.Fatalf("%q: other claims have the same signature", text)
		}
	})
}

// Whatever stands in the field of a client's keys, and whatever a client sends, no part panics, and keys that do not
// parse verify nothing.
func FuzzVerifyAssertion(f *testing.F) {
	keys := clientKeys(f)
	for _, a := range domain.Algorithms {
		f.Add(keys, signedBy(f, a, privateKey(f, a), `{"alg":"`+string(a)+`"}`, assertionClaims))
	}
	f.Add(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":""}]}`, "e30.e30.AAAA")
	s := jwxsigner.New(rand.Reader)
	f.Fuzz(func(t *testing.T, keys, text string) {
		_, err := s.VerifyAssertion(keys, domain.NewSecret(text))
		if err == nil && s.ParseClientKeys(keys) != nil {
			t.Fatalf("%q verifies with %q, which are no keys", text, keys)
		}
		if err != nil && !errors.Is(err, domain.ErrUnauthorized) {
			t.Fatalf("got %v, want ErrUnauthorized", err)
		}
		_ = domain.AssertionSubject(domain.NewSecret(text))
	})
}
