package verify_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refreshd/refreshd/adapter/verify"
)

const askKey = "ak_the-other-secret-of-the-tests-of-this-package"

// oracle is an introspection endpoint. It says of each token that it is active, unless a test changes that. It needs
// askKey.
type oracle struct {
	mu       sync.Mutex
	count    int
	inactive bool
	hold     chan struct{}                                // a response waits until it is closed; nil: for nothing
	reply    func(w http.ResponseWriter, r *http.Request) // instead of the response
	change   func(answer map[string]any, r *http.Request) // of the response
}

func (o *oracle) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.count++
	inactive, hold, reply, change := o.inactive, o.hold, o.reply, o.change
	o.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			return
		}
	}
	if reply != nil {
		reply(w, r)
		return
	}
	if r.Method != "POST" || r.Header.Get("Authorization") != "Bearer "+askKey || r.PostFormValue("token") == "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	answer := map[string]any{"active": false}
	if !inactive {
		var claims map[string]any
		payload := strings.Split(r.PostFormValue("token"), ".")[1]
		text, err := base64.RawURLEncoding.DecodeString(payload)
		if err == nil {
			err = json.Unmarshal(text, &claims)
		}
		if err != nil {
			panic(err)
		}
		answer = map[string]any{"active": true, "exp": claims["exp"]}
		for _, name := range []string{"iss", "sub", "sid", "tid"} {
			answer[name] = claims[name]
		}
	}
	if change != nil {
		change(answer, r)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}

// set changes what the endpoint does.
func (o *oracle) set(change func(*oracle)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

// wants checks how many requests there were.
func (o *oracle) wants(t *testing.T, what string, count int) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.count != count {
		t.Errorf("%s: %d requests, want %d", what, o.count, count)
	}
}

// asking returns a change of a configuration to one with Introspection.
func asking(change func(*verify.Introspection)) func(*verify.Config) {
	return func(c *verify.Config) {
		c.Introspection = &verify.Introspection{APIKey: askKey}
		if change != nil {
			change(c.Introspection)
		}
	}
}

// inStaleBubble runs f in a bubble with a Verifier of s whose view has become stale.
func inStaleBubble(
	t *testing.T, s *service, o *oracle, change func(*verify.Config), f func(*testing.T, *verify.Verifier),
) {
	t.Helper()
	s.asked = o
	inBubble(t, s, change, func(t *testing.T, v *verify.Verifier) {
		s.cutStream()
		pass(2 * time.Minute)
		f(t, v)
	})
}

// verified checks the result of Verify.
func verified(t *testing.T, v *verify.Verifier, what, token string, want error) *verify.Token {
	t.Helper()
	got, err := v.Verify(t.Context(), token)
	if !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
	if err != nil && strings.Contains(err.Error(), token) {
		t.Errorf("%s: the error has the token: %v", what, err)
	}
	return got
}

// A client without a token that the service signed for this API causes no request to it, nor does a token that is
// refused in any case.
func TestATokenThatIsRefusedAnywayIsNotAskedAbout(t *testing.T) {
	k, stranger := testKeys()["ES256"], newKey("key-ES256", "ES256")
	s, o := newService(k), &oracle{}
	s.asked = o
	inBubble(t, s, asking(nil), func(t *testing.T, v *verify.Verifier) {
		s.revoke(other)
		s.cutStream()
		pass(2 * time.Minute)
		for name, tc := range map[string]struct {
			token string
			want  error
		}{
			"no token":           {"x", verify.ErrInvalid},
			"a wrong signature":  {stranger.token(nil), verify.ErrInvalid},
			"an unknown key":     {newKey("unknown", "ES256").token(nil), verify.ErrInvalid},
			"another issuer":     {k.token(with{"iss": "https://id.example/t/globex"}), verify.ErrInvalid},
			"another tenant":     {k.token(with{"tid": "globex"}), verify.ErrInvalid},
			"another audience":   {k.token(with{"aud": "invoices"}), verify.ErrInvalid},
			"bound, not proved":  {k.token(with{"cnf": map[string]string{"jkt": k.thumbprint()}}), verify.ErrInvalid},
			"expired":            {k.token(with{"exp": 1}), verify.ErrExpired},
			"revoked beforehand": {k.token(with{"sid": other}), verify.ErrRevoked},
		} {
			verified(t, v, name, tc.token, tc.want)
		}
		o.wants(t, "refused tokens", 0)
		verified(t, v, "a valid one", k.token(nil), nil)
		o.wants(t, "a valid one", 1)
	})
}

// The view alone decides while it is fresh, and again when it is.
func TestAFreshViewIsNotAskedAbout(t *testing.T) {
	k := testKeys()["ES256"]
	s, o := newService(k), &oracle{}
	s.asked = o
	inBubble(t, s, asking(nil), func(t *testing.T, v *verify.Verifier) {
		verified(t, v, "fresh", k.token(nil), nil)
		s.cutStream()
		pass(59 * time.Second)
		verified(t, v, "after 59 s", k.token(nil), nil)
		o.wants(t, "until MaxAge", 0)
		pass(2 * time.Second)
		token := k.token(nil)
		verified(t, v, "after 61 s", token, nil)
		o.wants(t, "after MaxAge", 1)
		s.restore()
		pass(15 * time.Second)
		if got := verified(t, v, "fresh again", token, nil); got != nil && time.Since(got.AsOf) > 2*time.Second {
			t.Errorf("the view that counts is %v old", time.Since(got.AsOf))
		}
		o.set(func(o *oracle) { o.inactive = true })
		verified(t, v, "another one", k.token(with{"jti": "2"}), nil)
		o.wants(t, "fresh again", 1)
	})
}

// A process that starts while the stream is down has no view, and still serves.
func TestWithoutAFirstViewTheServiceIsAsked(t *testing.T) {
	k := testKeys()["ES256"]
	for _, policy := range []verify.OnStale{verify.Refuse, verify.AcceptUntilExpiry} {
		s, o := newService(k), &oracle{}
		s.asked, s.refuses = o, true
		change := func(c *verify.Config) {
			asking(nil)(c)
			c.OnStale = policy
		}
		inBubble(t, s, change, func(t *testing.T, v *verify.Verifier) {
			verified(t, v, "active", k.token(nil), nil)
			verified(t, v, "of another tenant", k.token(with{"tid": "globex"}), verify.ErrStale)
			verified(t, v, "of no tenant", k.token(with{"tid": nil}), verify.ErrStale)
			o.wants(t, "three tokens", 1)
			o.set(func(o *oracle) { o.inactive = true })
			verified(t, v, "not active", k.token(with{"sid": other}), verify.ErrRevoked)
			s.cut()
			verified(t, v, "no answer", k.token(with{"jti": "3"}), verify.ErrStale)
			if v.State().Ready {
				t.Error("the state is ready")
			}
		})
	}
	// The tenant is not known before the stream has named it. A token of none is not asked about.
	s, o := newService(k), &oracle{}
	s.asked = o
	change := func(c *verify.Config) {
		asking(nil)(c)
		c.FeedURL = "https://id.example/feed"
	}
	inBubble(t, s, change, func(t *testing.T, v *verify.Verifier) {
		verified(t, v, "of no tenant", k.token(with{"tid": nil}), verify.ErrStale)
		o.wants(t, "of no tenant", 0)
		verified(t, v, "of a tenant", k.token(nil), nil)
	})
}

// An answer counts as of the instant at which its request was sent. A route that wants a view of at most two seconds
// gets no older one.
func TestAnAnswerIsNoOlderThanTheRouteAllows(t *testing.T) {
	k := testKeys()["ES256"]
	s, o := newService(k), &oracle{}
	inStaleBubble(t, s, o, asking(nil), func(t *testing.T, v *verify.Verifier) {
		strict := v.Require(2 * time.Second)
		token := k.token(nil)
		began := time.Now()
		hold := make(chan struct{})
		o.set(func(o *oracle) { o.hold = hold })
		time.AfterFunc(1500*time.Millisecond, func() { close(hold) })
		got := verified(t, strict, "slowly", token, nil)
		if got != nil && !got.AsOf.Equal(began) {
			t.Errorf("the answer counts %v after its request", got.AsOf.Sub(began))
		}
		pass(500 * time.Millisecond)
		verified(t, strict, "2 s after the request", token, nil)
		o.wants(t, "within 2 s", 1)
		pass(time.Millisecond)
		verified(t, v, "without Require", token, nil)
		o.wants(t, "without Require", 1)
		verified(t, strict, "above 2 s", token, nil)
		o.wants(t, "above 2 s", 2)
		pass(time.Minute)
		verified(t, v, "60 s after the second request", token, nil)
		o.wants(t, "within 60 s", 2)
		pass(time.Millisecond)
		verified(t, v, "above 60 s", token, nil)
		o.wants(t, "above 60 s", 3)
	})
}

// The answer to another caller's request may be too old for a route, however recently it came.
func TestAnAnswerThatCameTooLateForARouteRefuses(t *testing.T) {
	k := testKeys()["ES256"]
	s, o := newService(k), &oracle{}
	inStaleBubble(t, s, o, asking(func(i *verify.Introspection) { i.Timeout = 5 * time.Second }),
		func(t *testing.T, v *verify.Verifier) {
			hold := make(chan struct{})
			o.set(func(o *oracle) { o.hold = hold })
			time.AfterFunc(3*time.Second, func() { close(hold) })
			token := k.token(nil)
			verified(t, v.Require(2*time.Second), "after 3 s, at most 2 s", token, verify.ErrStale)
			verified(t, v, "after 3 s", token, nil)
			o.wants(t, "one token", 1)
		})
}

// A token that has ended stays ended: there is one request for it.
func TestATokenThatIsNotActiveIsAskedAboutOnce(t *testing.T) {
	k := testKeys()["ES256"]
	s, o := newService(k), &oracle{inactive: true}
	inStaleBubble(t, s, o, asking(nil), func(t *testing.T, v *verify.Verifier) {
		token := k.token(nil)
		for range 4 {
			verified(t, v, "not active", token, verify.ErrRevoked)
			pass(time.Minute)
		}
		o.set(func(o *oracle) { o.inactive = false })
		verified(t, v.Require(2*time.Second), "not active", token, verify.ErrRevoked)
		o.wants(t, "until it expires", 1)
		late := k.token(with{"exp": time.Now().Add(-time.Second).Unix()})
		o.set(func(o *oracle) { o.inactive = true })
		verified(t, v, "expired a second ago", late, verify.ErrExpired) // not revoked
	})
}

// Many requests with one token are one request to the service. A caller who leaves does not end it.
func TestOneRequestServesAllWhoWaitForIt(t *testing.T) {
	k := testKeys()["ES256"]
	s, o := newService(k), &oracle{}
	inStaleBubble(t, s, o, asking(nil), func(t *testing.T, v *verify.Verifier) {
		hold := make(chan struct{})
		o.set(func(o *oracle) { o.hold = hold })
		token := k.token(nil)
		leaving, leave := context.WithCancel(t.Context())
		left := make(chan error)
		go func() { // the first one: its request is everyone's
			_, err := v.Verify(leaving, token)
			left <- err
		}()
		synctest.Wait()
		var waiting sync.WaitGroup
		for range 20 {
			waiting.Go(func() {
				if _, err := v.Verify(t.Context(), token); err != nil {
					t.Errorf("who waits: %v", err)
				}
			})
		}
		synctest.Wait()
		leave()
		if err := <-left; !errors.Is(err, verify.ErrStale) || !errors.Is(err, context.Canceled) {
			t.Errorf("who leaves: got %v, want ErrStale and Canceled", err)
		}
		synctest.Wait()
		close(hold)
		waiting.Wait()
		o.wants(t, "22 callers", 1)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := v.Verify(gone, k.token(with{"jti": "2"})); !errors.Is(err, verify.ErrStale) {
			t.Errorf("who has left: got %v, want ErrStale", err)
		}
		synctest.Wait()
		o.wants(t, "who has left", 1)
	})
}

// Above the bounds there is no request, and no caller waits.
func TestRequestsAboutTokensAreBounded(t *testing.T) {
	k := testKeys()["EdDSA"] // its signature of the same claims is the same
	token := func(n int) string { return k.token(with{"jti": fmt.Sprint(n)}) }
	s, o := newService(k), &oracle{}
	inStaleBubble(t, s, o, asking(func(i *verify.Introspection) { i.Concurrent = 2 }),
		func(t *testing.T, v *verify.Verifier) {
			hold := make(chan struct{})
			o.set(func(o *oracle) { o.hold = hold })
			var waiting sync.WaitGroup
			for n := range 2 {
				first := token(n)
				waiting.Go(func() { verified(t, v, "within the bound", first, nil) })
			}
			synctest.Wait()
			began, third := time.Now(), token(2)
			verified(t, v, "above Concurrent", third, verify.ErrStale)
			if time.Since(began) > 0 {
				t.Errorf("refused after %v, want immediately", time.Since(began))
			}
			o.wants(t, "above Concurrent", 2)
			close(hold)
			waiting.Wait()
			verified(t, v, "when one has ended", third, nil)
		})
	s, o = newService(k), &oracle{}
	inStaleBubble(t, s, o, asking(func(i *verify.Introspection) { i.Rate = 5 }),
		func(t *testing.T, v *verify.Verifier) {
			for n := range 5 {
				verified(t, v, "within the rate", token(n), nil)
			}
			verified(t, v, "above Rate", token(5), verify.ErrStale)
			verified(t, v, "a known one", token(0), nil)
			o.wants(t, "in one moment", 5)
			pass(200 * time.Millisecond)
			verified(t, v, "after a fifth of a second", token(6), nil)
			verified(t, v, "again above Rate", token(7), verify.ErrStale)
		})
}

// A token that nothing is known of is refused as without Introspection. The next request for it comes a second later,
// and a failure takes no answer away.
func TestAFailureRefusesForASecond(t *testing.T) {
	k := testKeys()["EdDSA"]
	s, o := newService(k), &oracle{}
	inStaleBubble(t, s, o, asking(nil), func(t *testing.T, v *verify.Verifier) {
		token, known := k.token(with{"jti": "1"}), k.token(with{"jti": "2"})
		verified(t, v, "answered", known, nil)
		pass(3 * time.Second)
		o.set(func(o *oracle) { o.hold = make(chan struct{}) })
		began := time.Now()
		verified(t, v, "no response", token, verify.ErrStale)
		if got := time.Since(began); got != 2*time.Second {
			t.Errorf("refused after %v, want 2 s", got)
		}
		verified(t, v.Require(2*time.Second), "no new response", known, verify.ErrStale)
		verified(t, v, "the answer of 7 s ago", known, nil)
		o.wants(t, "three requests", 3)
		o.set(func(o *oracle) { o.hold = nil })
		pass(500 * time.Millisecond)
		verified(t, v.Require(2*time.Second), "half a second after the failure", known, verify.ErrStale)
		o.wants(t, "half a second after the failure", 3)
		pass(500 * time.Millisecond)
		verified(t, v, "a second after the failure", token, nil)
		verified(t, v.Require(2*time.Second), "a second after the failure", known, nil)
		o.wants(t, "a second after the failure", 5)
	})
}

// Only what RFC 7662 calls a response, about this token, is one. Everything else is no answer, and refuses.
func TestWhatIsNoAnswerRefuses(t *testing.T) {
	k := testKeys()["ES256"]
	says := func(status int, mediaType, body string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	ok := func(body string) func(http.ResponseWriter, *http.Request) { return says(200, "application/json", body) }
	about := fmt.Sprintf(`"iss":%q,"sub":"user-1","sid":%q,"tid":"acme"`, issuer, session)
	for name, tc := range map[string]struct {
		reply func(http.ResponseWriter, *http.Request)
		want  error
	}{
		"active":                   {ok(`{"active":true,` + about + `}`), nil},
		"active, with a charset":   {says(200, "application/json; charset=utf-8", `{"active":true,`+about+`}`), nil},
		"not active":               {ok(`{"active":false}`), verify.ErrRevoked},
		"a string":                 {ok(`{"active":"true",` + about + `}`), verify.ErrStale},
		"a string, not active":     {ok(`{"active":"false"}`), verify.ErrStale},
		"a number":                 {ok(`{"active":1,` + about + `}`), verify.ErrStale},
		"null":                     {ok(`{"active":null,` + about + `}`), verify.ErrStale},
		"an array":                 {ok(`{"active":[true],` + about + `}`), verify.ErrStale},
		"no active":                {ok(`{` + about + `}`), verify.ErrStale},
		"another case":             {ok(`{"Active":true,` + about + `}`), verify.ErrStale},
		"both":                     {ok(`{"active":false,"active":true,` + about + `}`), verify.ErrStale},
		"nothing else":             {ok(`{"active":true}`), verify.ErrStale},
		"a wrong type":             {ok(`{"active":true,"sub":7}`), verify.ErrStale},
		"not JSON":                 {ok(`active`), verify.ErrStale},
		"more than JSON":           {ok(`{"active":true,` + about + `}{}`), verify.ErrStale},
		"JSON, not an object":      {ok(`true`), verify.ErrStale},
		"empty":                    {ok(``), verify.ErrStale},
		"a page":                   {says(200, "text/html", `{"active":true,`+about+`}`), verify.ErrStale},
		"a JWT (RFC 9701)":         {says(200, "application/token-introspection+jwt", `e30.e30.AAAA`), verify.ErrStale},
		"accepted":                 {says(202, "application/json", `{"active":true,`+about+`}`), verify.ErrStale},
		"unauthorized, not active": {says(401, "application/json", `{"active":false}`), verify.ErrStale},
		"not found":                {says(404, "application/json", `{"active":false}`), verify.ErrStale},
		"unavailable":              {says(503, "application/json", `{"active":true,`+about+`}`), verify.ErrStale},
		"large": {ok(`{"active":true,` + about + `,"x":"` + strings.Repeat("x", 64<<10) + `"}`),
			verify.ErrStale},
		"large, and then complete": {ok(`{"active":true,` + about + `}` + strings.Repeat(" ", 64<<10)), verify.ErrStale},
		"as large as allowed": {ok(`{"active":true,` + about + `,"x":"` + strings.Repeat("x", 63<<10) + `"}`),
			nil},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/oauth2/introspect", http.StatusTemporaryRedirect)
		}, verify.ErrStale},
	} {
		s, o := newService(k), &oracle{reply: tc.reply}
		inStaleBubble(t, s, o, asking(nil), func(t *testing.T, v *verify.Verifier) {
			verified(t, v, name, k.token(nil), tc.want)
			o.wants(t, name, 1)
			for _, r := range s.sent() {
				if r.URL.Host != "id.example" {
					t.Errorf("%s: a request to %s", name, r.URL)
				}
			}
		})
	}
	for member, value := range map[string]any{
		"iss": "https://id.example/t/globex", "sub": "user-2", "sid": other, "tid": "globex",
	} {
		for _, value := range []any{value, "", nil} {
			s, o := newService(k), &oracle{change: func(answer map[string]any, _ *http.Request) {
				if answer[member] = value; value == nil {
					delete(answer, member)
				}
			}}
			inStaleBubble(t, s, o, asking(nil), func(t *testing.T, v *verify.Verifier) {
				verified(t, v, fmt.Sprintf("%s is %v", member, value), k.token(nil), verify.ErrStale)
			})
		}
	}
}

// A fact that arrives while the service is asked counts, whatever the service says.
func TestAFactThatArrivesBeforeTheAnswerRefuses(t *testing.T) {
	k := testKeys()["ES256"]
	s, o := newService(k), &oracle{}
	inStaleBubble(t, s, o, asking(func(i *verify.Introspection) { i.Timeout = 10 * time.Second }),
		func(t *testing.T, v *verify.Verifier) {
			pass(12 * time.Second) // the last attempt for a stream was refused
			result, release := held(t, v, o, k.token(nil))
			s.restore()
			for !v.State().Ready {
				pass(100 * time.Millisecond)
			}
			s.revoke(session)
			s.cutStream()
			synctest.Wait()
			release()
			if got := <-result; !errors.Is(got.err, verify.ErrRevoked) {
				t.Errorf("got %v, want ErrRevoked", got.err)
			}
			o.wants(t, "one token", 1)
		})
}

// A view that is fresh again is later than the answer, and decides.
func TestAViewThatIsFreshBeforeTheAnswerDecides(t *testing.T) {
	k := testKeys()["ES256"]
	for _, inactive := range []bool{false, true} {
		s, o := newService(k), &oracle{inactive: inactive}
		inStaleBubble(t, s, o, asking(func(i *verify.Introspection) { i.Timeout = 10 * time.Second }),
			func(t *testing.T, v *verify.Verifier) {
				result, release := held(t, v, o, k.token(nil))
				sent := time.Now()
				s.restore()
				for !v.State().Ready {
					pass(100 * time.Millisecond)
				}
				release()
				got := <-result
				if got.err != nil || !got.token.AsOf.After(sent) {
					t.Errorf("not active %t: got %+v", inactive, got)
				}
			})
	}
}

type verification struct {
	token *verify.Token
	err   error
}

// held verifies a token while the service does not respond to the request about it. It returns when that was sent;
// release ends the wait.
func held(t *testing.T, v *verify.Verifier, o *oracle, token string) (result <-chan verification, release func()) {
	t.Helper()
	hold, results := make(chan struct{}), make(chan verification, 1)
	o.set(func(o *oracle) { o.hold = hold })
	go func() {
		got, err := v.Verify(t.Context(), token)
		results <- verification{got, err}
	}()
	synctest.Wait()
	return results, func() { close(hold) }
}

// A key may be withdrawn while the service is asked, as at any other time.
func TestAKeyThatIsWithdrawnBeforeTheAnswerVerifiesNothing(t *testing.T) {
	k, next := testKeys()["ES256"], newKey("next", "ES256")
	s, o := newService(k), &oracle{}
	inStaleBubble(t, s, o, asking(func(i *verify.Introspection) { i.Timeout = 10 * time.Second }),
		func(t *testing.T, v *verify.Verifier) {
			result, release := held(t, v, o, k.token(nil))
			s.publish(next)
			another := make(chan error)
			go func() { // its key is not known, so the key set is read
				_, err := v.Verify(t.Context(), next.token(nil))
				another <- err
			}()
			synctest.Wait()
			release()
			if err := <-another; err != nil {
				t.Errorf("the next key: %v", err)
			}
			if got := <-result; !errors.Is(got.err, verify.ErrInvalid) {
				t.Errorf("the key that was withdrawn: got %v, want ErrInvalid", got.err)
			}
			verified(t, v, "afterwards", k.token(nil), verify.ErrInvalid)
			o.wants(t, "one token of each key", 2)
		})
}

// A token that is bound to a key is asked about when possession is proved, and a proof that did not help is not used.
func TestABoundTokenIsAskedAboutAfterItsProof(t *testing.T) {
	k, holder := testKeys()["ES256"], newKey("", "EdDSA")
	s, o := newService(k), &oracle{reply: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }}
	inStaleBubble(t, s, o, asking(nil), func(t *testing.T, v *verify.Verifier) {
		token := k.boundTo(holder)
		check := func(what, proof string, want error) {
			t.Helper()
			if _, err := v.VerifyRequest(withProof("GET", thingsURL, token, proof)); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", what, err, want)
			}
		}
		check("another key", newKey("", "EdDSA").proofOf(token, "GET", thingsURL, nil), verify.ErrInvalid)
		o.wants(t, "another key", 0)
		proof := holder.proofOf(token, "GET", thingsURL, nil)
		check("no answer", proof, verify.ErrStale)
		pass(time.Second)
		o.set(func(o *oracle) { o.reply = nil })
		check("active", proof, nil)
		check("a proof that was used", proof, verify.ErrInvalid)
		o.wants(t, "the holder", 2)
	})
}

// An answer does not tell when a session ends, so a binding needs a view that is fresh.
func TestABindingIsNotKeptByIntrospection(t *testing.T) {
	k := testKeys()["ES256"]
	s, o := newService(k), &oracle{}
	s.asked = o
	inBubble(t, s, asking(nil), func(t *testing.T, v *verify.Verifier) {
		before, stop := v.Bind(t.Context(), k.token(nil))
		defer stop()
		s.cutStream()
		pass(2 * time.Minute)
		if err := cause(before); !errors.Is(err, verify.ErrStale) {
			t.Errorf("since before: got %v, want ErrStale", err)
		}
		token := k.token(nil)
		bound, stop := v.Bind(t.Context(), token)
		defer stop()
		if err := cause(bound); !errors.Is(err, verify.ErrStale) {
			t.Errorf("a new one: got %v, want ErrStale", err)
		}
		o.wants(t, "Bind", 0)
		got := serve(v.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			ctx, stop := v.Bind(r.Context(), token)
			defer stop()
			if err := cause(ctx); !errors.Is(err, verify.ErrStale) {
				t.Errorf("behind the middleware: got %v, want ErrStale", err)
			}
		})), request("Bearer "+token))
		if got.StatusCode != 200 {
			t.Errorf("the middleware: got %d", got.StatusCode)
		}
		o.wants(t, "the middleware", 1)
	})
}

// With AcceptUntilExpiry an answer counts, and the last view decides where there is none.
func TestAcceptUntilExpiryIsForTokensWithoutAnAnswer(t *testing.T) {
	k := testKeys()["ES256"]
	s, o := newService(k), &oracle{inactive: true}
	change := func(c *verify.Config) {
		asking(nil)(c)
		c.OnStale = verify.AcceptUntilExpiry
	}
	inStaleBubble(t, s, o, change, func(t *testing.T, v *verify.Verifier) {
		asOf := v.State().AsOf
		token := k.token(nil)
		verified(t, v, "not active", token, verify.ErrRevoked)
		o.set(func(o *oracle) { o.inactive = false })
		began, active := time.Now(), k.token(nil)
		if got := verified(t, v, "active", active, nil); got != nil && !got.AsOf.Equal(began) {
			t.Errorf("active: as of %v, want %v", got.AsOf, began)
		}
		s.cut()
		if got := verified(t, v, "no answer", k.token(nil), nil); got != nil && !got.AsOf.Equal(asOf) {
			t.Errorf("no answer: as of %v, want %v", got.AsOf, asOf)
		}
		verified(t, v, "no answer, but one before", token, verify.ErrRevoked)
	})
}

// That requests succeed must not hide that the stream is down.
func TestIntrospectionDoesNotHideTheInterruption(t *testing.T) {
	k := testKeys()["ES256"]
	s, o := newService(k), &oracle{}
	m := &metrics{decided: map[verify.Result]int{}}
	var log lockedBuffer
	change := func(c *verify.Config) {
		asking(nil)(c)
		c.Metrics, c.Log = m, logTo(&log)
	}
	inStaleBubble(t, s, o, change, func(t *testing.T, v *verify.Verifier) {
		views := m.viewed
		sent := time.Now()
		for range 100 {
			verified(t, v, "active", k.token(nil), nil)
			pass(100 * time.Millisecond)
		}
		if st := v.State(); st.Ready || st.Age < 2*time.Minute || !st.Introspected.After(sent) {
			t.Errorf("the state is %+v", st)
		}
		if m.viewed != views || m.decided[verify.Accepted] != 100 || len(m.asked) != 100 || errors.Join(m.asked...) != nil {
			t.Errorf("got %d new views, %v, and %d requests: %v", m.viewed-views, m.decided, len(m.asked), m.asked)
		}
		o.set(func(o *oracle) { o.reply = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) } })
		for range 50 {
			verified(t, v, "refused", k.token(nil), verify.ErrStale)
		}
		if len(m.asked) != 150 || m.asked[149] == nil || m.decided[verify.Stale] != 50 {
			t.Errorf("got %v, and %d requests", m.decided, len(m.asked))
		}
		pass(time.Second)
		o.set(func(o *oracle) { o.reply = nil })
		verified(t, v, "active again", k.token(nil), nil)
		v.Close()
	})
	for line, count := range map[string]int{
		"the revocation stream is refused": 1, "is asked about access tokens one by one": 1,
		"cannot be asked about access tokens": 1, "POST on /oauth2/introspect": 1, "answers about access tokens again": 1,
	} {
		if got := strings.Count(log.String(), line); got != count {
			t.Errorf("the log has %q %d times, want %d: %s", line, got, count, log.String())
		}
	}
}

// Close does not wait for an answer, and after it no request is made.
func TestCloseEndsRequestsAboutTokens(t *testing.T) {
	k := testKeys()["ES256"]
	s, o := newService(k), &oracle{}
	var log lockedBuffer
	change := func(c *verify.Config) {
		asking(nil)(c)
		c.Log = logTo(&log)
	}
	inStaleBubble(t, s, o, change, func(t *testing.T, v *verify.Verifier) {
		token := k.token(nil)
		o.set(func(o *oracle) { o.hold = make(chan struct{}) })
		result := make(chan error)
		go func() {
			_, err := v.Verify(context.Background(), token)
			result <- err
		}()
		synctest.Wait()
		began := time.Now()
		v.Close()
		if err := <-result; !errors.Is(err, verify.ErrStale) || time.Since(began) > 0 {
			t.Errorf("got %v after %v, want ErrStale immediately", err, time.Since(began))
		}
		verified(t, v, "afterwards", k.token(nil), verify.ErrStale)
		o.wants(t, "one before", 1)
	})
	if strings.Contains(log.String(), "cannot be asked") {
		t.Errorf("the end is logged as a failure: %s", log.String())
	}
}

// The credentials of both requests are of different strength. Neither shows, and neither is sent to the other place.
func TestTheCredentialsOfIntrospectionAreNotShown(t *testing.T) {
	c := verify.Introspection{APIKey: askKey}
	whole := verify.Config{APIKey: apiKey, Introspection: &c}
	var log lockedBuffer
	logTo(&log).Info("x", "introspection", c, "pointer", &c, "config", whole)
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s %q %x", c, c, c, c, c, c), fmt.Sprintf("%+v %v", &c, []any{c}),
		fmt.Sprintf("%v %+v %#v", whole, whole, whole), log.String(), string(asJSON),
	} {
		if strings.Contains(shown, "secret") || strings.Contains(shown, fmt.Sprintf("%x", "secret")) {
			t.Errorf("shown: %s", shown)
		}
	}
	k := testKeys()["ES256"]
	s, o := newService(k), &oracle{}
	inStaleBubble(t, s, o, asking(nil), func(t *testing.T, v *verify.Verifier) {
		verified(t, v, "active", k.token(nil), nil)
		for _, r := range s.sent() {
			got, want := r.Header.Get("Authorization"), "Bearer "+apiKey
			if r.Method == "POST" {
				want = "Bearer " + askKey
			}
			if strings.HasSuffix(r.URL.Path, "jwks.json") {
				want = ""
			}
			if got != want || strings.Contains(r.URL.String(), "ey") {
				t.Errorf("%s was sent %q", r.URL, got)
			}
		}
	})
}
