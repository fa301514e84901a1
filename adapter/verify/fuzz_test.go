package verify_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/refreshd/refreshd/adapter/verify"
)

// started returns a Verifier outside of a bubble, when it has its first view.
func started(t testing.TB, s *service) *verify.Verifier {
	t.Helper()
	v := start(t, s, nil)
	for !v.State().Ready {
		time.Sleep(time.Millisecond) // The first view comes from another goroutine. A test that is stuck times out.
	}
	return v
}

// always makes a token that is the same in each process, and valid until the year 2100.
var always = with{"iat": 1_700_000_000, "exp": 4_102_444_800}

// Whatever is sent, Verify does not panic, and accepts nothing that was not signed.
func FuzzVerify(f *testing.F) {
	signed := map[string]bool{} // what is signed
	keys := slices.Collect(maps.Values(fixedKeys(f)))
	for _, k := range keys {
		token := k.token(always)
		signed[token[:strings.LastIndexByte(token, '.')]] = true
		header, rest, _ := strings.Cut(token, ".")
		claims, signature, _ := strings.Cut(rest, ".")
		for _, seed := range []string{
			token, token[1:], token[:len(token)-1], header + ".." + signature, header + "." + claims + ".",
			encode([]byte(`{"alg":"none","kid":"`+k.kid+`","typ":"at+jwt"}`)) + "." + claims + ".", "..", "e30.e30.AAAA",
			encode([]byte(`{"alg":"`+k.alg+`","kid":"`+k.kid+`","typ":"at+jwt","jwk":{`+"\x00"+`}}`)) + "." + claims + ".AAAA",
		} {
			f.Add(seed)
		}
	}
	v := started(f, newService(keys...))
	f.Fuzz(func(t *testing.T, token string) {
		if got, err := v.Verify(t.Context(), token); err == nil && !signed[token[:strings.LastIndexByte(token, '.')]] {
			t.Fatalf("%q was not signed, and is %+v", token, got)
		}
	})
}

// Of claims with a valid signature, Verify reads those that encoding/json finds under the exact names, and accepts them
// only if they are whole.
func FuzzVerifyWhatIsSigned(f *testing.F) {
	k := fixedKeys(f)["EdDSA"]
	valid := payload(always)
	for _, more := range []string{
		"", `,"act":{"sub":"a","act":{"sub":"b"}}`,
		`,"Sub":"root"`, `,"\u0073ub":"root"`, `,"x":[{"sub":"root"},"]}",{"a":"\\\""}]`, `,"cnf":{"jkt":"x"}`,
		`,"rsid":""`, `,"nbf":1e400`, `,"x":"\ud800"`, `,"":{}`, `,"x":-0.0e-1 , "y" : null`,
	} {
		f.Add([]byte(k.header()), []byte(strings.TrimSuffix(valid, "}")+more+"}"))
	}
	f.Add([]byte(`{"typ":"JWT","alg":"EdDSA","kid":"key-EdDSA","x":{"kid":"y"}}`), []byte(valid+" "))
	f.Add([]byte(`[]`), []byte(`{"`))
	v := started(f, newService(k))
	f.Fuzz(func(t *testing.T, header, claims []byte) {
		got, err := v.Verify(t.Context(), k.sign(string(header), string(claims)))
		if err != nil {
			return
		}
		var h, c map[string]json.RawMessage
		if json.Unmarshal(header, &h) != nil || json.Unmarshal(claims, &c) != nil {
			t.Fatalf("accepted what encoding/json refuses: %q, %q", header, claims)
		}
		for name, value := range map[string]string{
			"iss": got.Issuer, "sub": got.Subject, "sid": got.SessionID, "applicationId": got.ApplicationID, "jti": got.ID,
			"tid": got.TenantID,
		} {
			var want string
			if c[name] != nil && json.Unmarshal(c[name], &want) != nil || want != value {
				t.Errorf("%s is %q, and encoding/json reads %q in %q", name, value, want, claims)
			}
		}
		if acted := c["act"] != nil; acted != (len(got.Actors) > 0) {
			t.Errorf("accepted %q with the actors %v", claims, got.Actors)
		}
		_, bound := c["cnf"]
		if bound || got.Issuer != issuer || got.Subject == "" || got.SessionID == "" ||
			time.Since(got.ExpiresAt) > time.Minute { // the leeway is half of it
			t.Errorf("accepted %q", claims)
		}
		if _, critical := h["crit"]; critical || string(h["alg"]) != `"EdDSA"` && !strings.Contains(string(h["alg"]), `\`) {
			t.Errorf("accepted the header %q", header)
		}
	})
}

// Whatever headers are sent, a request without proof of possession is not accepted.
func FuzzVerifyRequest(f *testing.F) {
	keys := fixedKeys(f)
	k, holder := keys["EdDSA"], keys["ES256"]
	bound := maps.Clone(always)
	bound["cnf"] = map[string]string{"jkt": holder.thumbprint()}
	token := k.token(bound)
	proof := holder.proofOf(token, "POST", thingsURL, nil) // for another method
	f.Add("DPoP "+token, proof)
	f.Add("Bearer "+token, proof)
	f.Add("DPoP "+token, keys["RS256"].proofOf(token, "GET", thingsURL, nil))
	f.Add("dpop  "+token, holder.sign(`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":"","y":""}}`, `{}`))
	f.Add("DPoP\x00", "..")
	v := started(f, newService(k))
	f.Fuzz(func(t *testing.T, authorization, proof string) {
		r := httptest.NewRequest(http.MethodGet, "/things", nil)
		r.Header["Authorization"], r.Header["Dpop"] = []string{authorization}, []string{proof}
		if got, err := v.VerifyRequest(r); err == nil {
			t.Fatalf("accepted %q with %q: %+v", authorization, proof, got)
		}
	})
}
