package verify_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/verify"
)

// protected is a handler behind v that says whose request it was.
func protected(v *verify.Verifier) http.Handler {
	return v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t, ok := verify.FromContext(r.Context())
		if !ok {
			http.Error(w, "no token", http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, t.Subject)
	}))
}

func serve(h http.Handler, r *http.Request) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func request(authorization ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/things", nil)
	r.Header["Authorization"] = authorization
	return r
}

// RFC 6750, section 3: a client reads from the challenge whether it must obtain a token, or mend its request. It must
// keep its token while the server cannot decide.
func TestTheResponseToARefusedRequest(t *testing.T) {
	const (
		bearer = `Bearer realm="orders"`
		dpop   = `DPoP algs="ES256 EdDSA RS256 PS256"`
	)
	k := testKeys()["ES256"]
	s := newService(k)
	failed := func(scheme, code, description string) string {
		return scheme + `, error="` + code + `", error_description="` + description + `"`
	}
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		s.revoke(other)
		valid := k.token(nil)
		inQuery := request()
		inQuery.URL.RawQuery = "access_token=" + valid
		inBody := httptest.NewRequest(http.MethodPost, "/things", strings.NewReader("access_token="+valid))
		inBody.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		inCookie := request()
		inCookie.Header.Set("Cookie", "access_token="+valid)
		for _, tc := range []struct {
			name      string
			r         *http.Request
			status    int
			code      string
			challenge []string
		}{
			{"none", request(), 401, "", []string{bearer, dpop}},
			{"in the query", inQuery, 401, "", []string{bearer, dpop}},
			{"in the body", inBody, 401, "", []string{bearer, dpop}},
			{"in a cookie", inCookie, 401, "", []string{bearer, dpop}},
			{"another scheme", request("Basic " + valid), 401, "", []string{bearer, dpop}},
			{"no scheme", request(valid), 401, "", []string{bearer, dpop}},
			{"two", request("Bearer "+valid, "Bearer "+valid), 400, "invalid_request",
				[]string{failed(bearer, "invalid_request", "more than one Authorization header"), dpop}},
			{"the scheme alone", request("Bearer"), 400, "invalid_request", []string{
				failed(bearer, "invalid_request", "the Authorization header has no access token that can be read"), dpop}},
			{"two in one", request("Bearer " + valid + ", Bearer " + valid), 400, "invalid_request", []string{
				failed(bearer, "invalid_request", "the Authorization header has no access token that can be read"), dpop}},
			{"another token", request("Bearer abc"), 401, "invalid_token",
				[]string{failed(bearer, "invalid_token", "not a JWS in compact form"), dpop}},
			{"for another audience", request("Bearer " + k.token(with{"aud": "x"})), 401, "invalid_token",
				[]string{failed(bearer, "invalid_token", "for another audience"), dpop}},
			{"expired", request("Bearer " + k.token(with{"exp": 1})), 401, "invalid_token",
				[]string{failed(bearer, "invalid_token", "the access token is expired"), dpop}},
			{"revoked", request("Bearer " + k.token(with{"sid": other})), 401, "invalid_token",
				[]string{failed(bearer, "invalid_token", "the access token is revoked"), dpop}},
			{"not bound", request("DPoP " + valid), 401, "invalid_token",
				[]string{bearer, failed(dpop, "invalid_token", "not bound to a key, so it needs the scheme Bearer")}},
			{"bound", request("Bearer " + k.token(with{"cnf": map[string]string{"jkt": k.thumbprint()}})), 401, "invalid_token",
				[]string{failed(bearer, "invalid_token", "bound to a key, so it needs the scheme DPoP and a proof"), dpop}},
		} {
			got := serve(protected(v), tc.r)
			if got.StatusCode != tc.status {
				t.Errorf("%s: status %d, want %d", tc.name, got.StatusCode, tc.status)
			}
			if diff := cmp.Diff(tc.challenge, got.Header.Values("WWW-Authenticate")); diff != "" {
				t.Errorf("%s: WWW-Authenticate (-want +got):\n%s", tc.name, diff)
			}
			var body struct{ Error string }
			if err := json.NewDecoder(got.Body).Decode(&body); err != nil || body.Error != tc.code ||
				got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: got %+v, %v, %v", tc.name, body, err, got.Header)
			}
			if got.Header.Get("Retry-After") != "" {
				t.Errorf("%s: Retry-After without 503", tc.name)
			}
		}
		for _, scheme := range []string{"Bearer ", "bearer ", "BEARER   "} {
			got := serve(protected(v), request(scheme+valid))
			if text, err := io.ReadAll(got.Body); err != nil || got.StatusCode != 200 || string(text) != "user-1" {
				t.Errorf("%q: got %d, %s, %v", scheme, got.StatusCode, text, err)
			}
		}
		s.cut()
		pass(61 * time.Second)
		got := serve(protected(v), request("Bearer "+valid))
		if got.StatusCode != 503 || got.Header.Get("Retry-After") != "5" || got.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("stale: got %d, %v", got.StatusCode, got.Header)
		}
		if got := serve(protected(v), request()); got.StatusCode != 401 {
			t.Errorf("stale, without a token: got %d", got.StatusCode)
		}
	})
}

// A client must not try DPoP where the API does not support it. The audience may hold any text, and is in a header.
func TestTheChallengeOffersWhatTheAPISupports(t *testing.T) {
	inBubble(t, newService(), func(c *verify.Config) {
		c.PublicURL, c.Audience = "", "a\"b\\c\r\n\u00e9 d"
	}, func(t *testing.T, v *verify.Verifier) {
		got := serve(protected(v), request()).Header.Values("WWW-Authenticate")
		if diff := cmp.Diff([]string{`Bearer realm="a\"b\\c??? d"`}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// With RequestURL, as with PublicURL, the API takes proofs.
func TestTheChallengeOffersDPoPWithARequestURL(t *testing.T) {
	inBubble(t, newService(), func(c *verify.Config) {
		c.PublicURL, c.RequestURL = "", func(*http.Request) string { return "https://api.example/things" }
	}, func(t *testing.T, v *verify.Verifier) {
		got := serve(protected(v), request()).Header.Values("WWW-Authenticate")
		if len(got) != 2 || !strings.HasPrefix(got[1], "DPoP ") {
			t.Errorf("got %q, want a challenge of DPoP beside that of Bearer", got)
		}
	})
}

// Without the middleware, a context has no token.
func TestAContextWithoutToken(t *testing.T) {
	if got, ok := verify.FromContext(t.Context()); ok || got != nil {
		t.Errorf("got %+v", got)
	}
	want := &verify.Token{Subject: "user-1"}
	if got, ok := verify.FromContext(verify.NewContext(t.Context(), want)); !ok || got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
