package verify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/refreshd/refreshd/adapter/verify"
)

// A wrong configuration is told at the start, with its field and a remedy: it must not show as refused requests.
func TestNewFailsForAWrongConfigurationOnly(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*verify.Config)
		want   []string // in the error; nil: there is none
	}{
		{"nothing listens", func(c *verify.Config) {
			c.Issuer = "https://127.0.0.1:1/t/acme"
		}, nil},
		{"loopback address", func(c *verify.Config) { c.Issuer = "http://127.0.0.1:1/t/acme" }, nil},
		{"loopback address of IPv6", func(c *verify.Config) { c.Issuer = "http://[::1]:1/t/acme" }, nil},
		{"loopback name", func(c *verify.Config) { c.Issuer = "http://localhost:1/t/acme" }, nil},
		{"a state file", func(c *verify.Config) { c.StateFile = t.TempDir() + "/state" }, nil},
		{"a state file in a folder that does not exist", func(c *verify.Config) { c.StateFile = t.TempDir() + "/a/state" },
			[]string{"Config.StateFile", "/a", "set a file"}},
		{"a state file in a file", func(c *verify.Config) { c.StateFile = "verify_test.go/state" },
			[]string{"Config.StateFile", "verify_test.go is not a folder"}},
		{"a state file that is a folder", func(c *verify.Config) { c.StateFile = t.TempDir() },
			[]string{"Config.StateFile", "is a folder"}},
		{"no issuer", func(c *verify.Config) { c.Issuer = "" }, []string{"Config.Issuer", "empty", "set the issuer"}},
		{"http", func(c *verify.Config) { c.Issuer = "http://id.example/t/acme" }, []string{"Config.Issuer", "https"}},
		{"a name that looks like loopback", func(c *verify.Config) { c.Issuer = "http://localhost.example/t/acme" },
			[]string{"Config.Issuer", "https"}},
		{"no URL", func(c *verify.Config) { c.Issuer = "acme" }, []string{"Config.Issuer", "absolute URL"}},
		{"a password", func(c *verify.Config) { c.Issuer = "https://a:b@id.example/t/acme" },
			[]string{"Config.Issuer", "user information"}},
		{"a query", func(c *verify.Config) { c.Issuer = issuer + "?" }, []string{"Config.Issuer", "query"}},
		{"a fragment", func(c *verify.Config) { c.Issuer = issuer + "#" }, []string{"Config.Issuer", "fragment"}},
		{"a feed of http", func(c *verify.Config) { c.FeedURL = "http://id.example/r" }, []string{"Config.FeedURL", "https"}},
		{"keys of http", func(c *verify.Config) { c.KeysURL = "http://id.example/k" }, []string{"Config.KeysURL", "https"}},
		{"no audience", func(c *verify.Config) { c.Audience = "" }, []string{"Config.Audience", "set the id"}},
		{"no key", func(c *verify.Config) { c.APIKey = "" }, []string{"Config.APIKey", "ak_", "GET on /revocations"}},
		{"another secret", func(c *verify.Config) { c.APIKey = "sk_top-secret" }, []string{"Config.APIKey", "ak_"}},
		{"a line break", func(c *verify.Config) { c.APIKey = "ak_top-secret\n" }, []string{"Config.APIKey", "ak_"}},
		{"a short age", func(c *verify.Config) { c.MaxAge = 1999 * time.Millisecond }, []string{"Config.MaxAge", "2s"}},
		{"an unknown policy", func(c *verify.Config) { c.OnStale = 7 }, []string{"Config.OnStale", "7", "verify.Refuse"}},
		{"no facts", func(c *verify.Config) { c.MaxFacts = -1 }, []string{"Config.MaxFacts", "-1"}},
		{"a long leeway", func(c *verify.Config) { c.Leeway = time.Hour }, []string{"Config.Leeway", "1m"}},
		{"two URLs", func(c *verify.Config) {
			c.PublicURL, c.RequestURL = "https://api.example", func(*http.Request) string { return "" }
		}, []string{"Config.PublicURL", "RequestURL"}},
		{"a public URL with a query", func(c *verify.Config) { c.PublicURL = "https://api.example?x" },
			[]string{"Config.PublicURL", "query"}},
		{"introspection", asking(nil), nil},
		{"introspection by a client", asking(func(i *verify.Introspection) {
			i.APIKey, i.Authorize = "", func(r *http.Request) { r.SetBasicAuth(audience, "x") }
		}), nil},
		{"introspection without a credential", asking(func(i *verify.Introspection) { i.APIKey = "" }),
			[]string{"Config.Introspection.APIKey", "POST on /oauth2/introspect", "Authorize"}},
		{"introspection with another secret", asking(func(i *verify.Introspection) { i.APIKey = "sk_top-secret" }),
			[]string{"Config.Introspection.APIKey", "ak_"}},
		{"introspection with two credentials", asking(func(i *verify.Introspection) {
			i.Authorize = func(*http.Request) {}
		}), []string{"Config.Introspection.APIKey", "Authorize"}},
		{"introspection by http", asking(func(i *verify.Introspection) { i.URL = "http://id.example/introspect" }),
			[]string{"Config.Introspection.URL", "https"}},
		{"a long time-out", asking(func(i *verify.Introspection) { i.Timeout = 11 * time.Second }),
			[]string{"Config.Introspection.Timeout", "10s"}},
		{"a time-out below zero", asking(func(i *verify.Introspection) { i.Timeout = -1 }),
			[]string{"Config.Introspection.Timeout"}},
		{"fewer than no requests", asking(func(i *verify.Introspection) { i.Concurrent = -1 }),
			[]string{"Config.Introspection.Concurrent"}},
		{"a rate below zero", asking(func(i *verify.Introspection) { i.Rate = -1 }),
			[]string{"Config.Introspection.Rate"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			c := verify.Config{Issuer: issuer, Audience: audience, APIKey: apiKey, Client: &http.Client{Transport: newService()}}
			tc.change(&c)
			v, err := verify.New(ctx, c)
			if (err == nil) != (tc.want == nil) {
				t.Fatalf("got %v, want an error with %q", err, tc.want)
			}
			if err == nil {
				v.Close()
				return
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error has the API key: %v", err)
			}
		})
	}
}

// The API key opens the stream. A log, an error and a printed configuration must not hold it.
func TestTheAPIKeyIsNotShown(t *testing.T) {
	c := verify.Config{Issuer: issuer, Audience: audience, APIKey: apiKey}
	for _, shown := range []string{
		fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c, c), fmt.Sprintf("%+v", &c), fmt.Sprintf("%x", c),
	} {
		if strings.Contains(shown, "secret") || strings.Contains(shown, fmt.Sprintf("%x", "secret")) {
			t.Errorf("shown: %s", shown)
		}
	}
	var log lockedBuffer
	logTo(&log).Info("x", "config", c, slog.Any("pointer", &c))
	synctest.Test(t, func(t *testing.T) {
		s := newService(testKeys()["ES256"])
		v := start(t, s, func(c *verify.Config) { c.Log = logTo(&log) })
		time.Sleep(time.Minute)
		s.cut()
		time.Sleep(time.Minute)
		s.restore()
		s.serveKeys(http.StatusFound, "")
		time.Sleep(time.Hour)
		_, err := v.Verify(t.Context(), "x"+apiKey)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v, want an error without the key", err)
		}
		v.Close()
		for _, r := range s.sent() {
			sent := r.Header.Get("Authorization")
			if feed := r.URL.Path == "/t/acme/revocations"; feed != (sent == "Bearer "+apiKey) || !feed && sent != "" {
				t.Errorf("%s was sent %q", r.URL, sent)
			}
			if strings.Contains(r.URL.String(), "secret") {
				t.Errorf("the URL has the key: %s", r.URL)
			}
		}
	})
	if !strings.Contains(log.String(), "status 302") {
		t.Errorf("no failure was logged: %s", log.String())
	}
	if strings.Contains(log.String(), "secret") {
		t.Errorf("the log has the key: %s", log.String())
	}
}

// Before it knows the revocations, a process that has just started would accept tokens that ended long ago.
func TestNothingIsAcceptedBeforeTheFirstView(t *testing.T) {
	for _, policy := range []verify.OnStale{verify.Refuse, verify.AcceptUntilExpiry} {
		synctest.Test(t, func(t *testing.T) {
			key := testKeys()["ES256"]
			s := newService(key)
			s.cut()
			v := start(t, s, func(c *verify.Config) { c.OnStale = policy })
			for range 5 {
				time.Sleep(10 * time.Second)
				if _, err := v.Verify(t.Context(), key.token(nil)); !errors.Is(err, verify.ErrStale) {
					t.Fatalf("%v: got %v, want ErrStale", policy, err)
				}
				if v.State().Ready {
					t.Fatal("the state is ready")
				}
			}
			s.restore()
			time.Sleep(2 * time.Minute)
			if _, err := v.Verify(t.Context(), key.token(nil)); err != nil {
				t.Errorf("%v: got %v after the first view", policy, err)
			}
			if !v.State().Ready {
				t.Errorf("the state is not ready: %+v", v.State())
			}
		})
	}
}

func TestAVerifiedTokenHasItsClaims(t *testing.T) {
	key := testKeys()["EdDSA"]
	inBubble(t, newService(key), nil, func(t *testing.T, v *verify.Verifier) {
		before := time.Now()
		text := payload(with{"aud": []string{"other", audience}, "own": map[string]int{"a": 1},
			"act": json.RawMessage(`{"sub":"agent","client_id":"console","act":{"sub":"robot","iss":"x"}}`)})
		got, err := v.Verify(t.Context(), key.sign(key.header(), text))
		if err != nil {
			t.Fatal(err)
		}
		want := &verify.Token{
			Issuer: issuer, Subject: "user-1", Audience: []string{"other", audience}, SessionID: session, TenantID: "acme",
			ApplicationID: audience, Roles: []string{"admin"}, Scopes: []string{"read", "write"}, ID: "id-1",
			IssuedAt: before, ExpiresAt: before.Add(5 * time.Minute), Claims: []byte(text), AsOf: got.AsOf,
			Actors: []verify.Actor{{Subject: "agent", ClientID: "console"}, {Subject: "robot"}},
		}
		roughly := cmp.Options{cmpopts.IgnoreUnexported(verify.Token{}), cmpopts.EquateApproxTime(time.Second)}
		if diff := cmp.Diff(want, got, roughly); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if age := before.Sub(got.AsOf); age < 0 || age > time.Second {
			t.Errorf("AsOf is %v, %v ago", got.AsOf, age)
		}
		if !got.HasScope("write") || got.HasScope("writ") || !got.HasRole("admin") || got.HasRole("") {
			t.Error("wrong scopes or roles")
		}
	})
}

// The promise of the package: a token of a session that was revoked is refused while the stream is up.
func TestARevokedTokenIsRefused(t *testing.T) {
	key, next := testKeys()["ES256"], testKeys()["EdDSA"]
	s := newService(key, next)
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		mine, child, others := key.token(nil), key.token(with{"sid": other, "rsid": session}), key.token(with{"sid": other})
		for _, token := range []string{mine, child, others} {
			if _, err := v.Verify(t.Context(), token); err != nil {
				t.Fatal(err)
			}
		}
		s.revoke(session)
		for name, token := range map[string]string{"its own": mine, "a child's": child} {
			if _, err := v.Verify(t.Context(), token); !errors.Is(err, verify.ErrRevoked) {
				t.Errorf("%s: got %v, want ErrRevoked", name, err)
			}
		}
		if _, err := v.Verify(t.Context(), others); err != nil {
			t.Errorf("another session: %v", err)
		}
		// A key that ended is refused although the key set still has it.
		s.endKey(key.kid)
		if _, err := v.Verify(t.Context(), others); !errors.Is(err, verify.ErrRevoked) {
			t.Errorf("a key that ended: got %v, want ErrRevoked", err)
		}
		if _, err := v.Verify(t.Context(), next.token(with{"sid": other})); err != nil {
			t.Errorf("another key: %v", err)
		}
	})
}

// A wide revocation covers tokens by the application, the user and the epoch that they name.
func TestATokenThatAMarkCoversIsRefused(t *testing.T) {
	key := testKeys()["ES256"]
	for mark, want := range map[string]map[string]error{
		`["orders",null,8,null]`:     {"as it is": verify.ErrRevoked, "another user": verify.ErrRevoked},
		`[null,"user-1",8,null]`:     {"as it is": verify.ErrRevoked, "another application": verify.ErrRevoked},
		`["orders","user-1",8,null]`: {"as it is": verify.ErrRevoked},
		`[null,null,8,null]`: {
			"as it is": verify.ErrRevoked, "another user": verify.ErrRevoked, "another application": verify.ErrRevoked,
		},
	} {
		s := newService(key)
		inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
			s.tell(`"keep":1200,"m":[` + mark + `]`)
			for name, change := range map[string]with{
				"as it is": nil, "another user": {"sub": "user-2"}, "another application": {"applicationId": "invoices"},
				"a later session": {"rve": 8},
			} {
				if _, err := v.Verify(t.Context(), key.token(change)); !errors.Is(err, want[name]) {
					t.Errorf("%s, %s: got %v, want %v", mark, name, err, want[name])
				}
			}
		})
	}
}

// Cut off, a resource server accepts nothing after MaxAge, and a route can ask for less.
func TestAStaleViewRefuses(t *testing.T) {
	key := testKeys()["ES256"]
	s := newService(key)
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		strict := v.Require(2 * time.Second)
		token := key.token(nil)
		want := func(after string, strictly, loosely error) {
			t.Helper()
			if _, err := strict.Verify(t.Context(), token); !errors.Is(err, strictly) {
				t.Errorf("%s, at most 2 s: got %v, want %v", after, err, strictly)
			}
			if _, err := v.Verify(t.Context(), token); !errors.Is(err, loosely) {
				t.Errorf("%s: got %v, want %v", after, err, loosely)
			}
		}
		want("up", nil, nil)
		s.cut()
		time.Sleep(1 * time.Second)
		want("after 1 s", nil, nil)
		time.Sleep(2 * time.Second)
		want("after 3 s", verify.ErrStale, nil)
		time.Sleep(55 * time.Second)
		want("after 58 s", verify.ErrStale, nil)
		time.Sleep(3 * time.Second)
		want("after 61 s", verify.ErrStale, verify.ErrStale)
		if v.State().Ready {
			t.Error("after 61 s: the state is ready")
		}
		s.restore()
		time.Sleep(time.Minute)
		want("up again", nil, nil)
	})
}

// Facts do not age: a stale view refuses the tokens that it knows to be revoked, and expired ones, for good.
func TestAStaleViewStillRefusesForGood(t *testing.T) {
	key := testKeys()["ES256"]
	for policy, want := range map[verify.OnStale]error{verify.Refuse: verify.ErrStale, verify.AcceptUntilExpiry: nil} {
		s := newService(key)
		inBubble(t, s, func(c *verify.Config) { c.OnStale = policy }, func(t *testing.T, v *verify.Verifier) {
			s.revoke(session)
			s.cut()
			revoked, valid := key.token(nil), key.token(with{"sid": other})
			time.Sleep(2 * time.Minute)
			if _, err := v.Verify(t.Context(), revoked); !errors.Is(err, verify.ErrRevoked) {
				t.Errorf("revoked: got %v, want ErrRevoked", err)
			}
			if _, err := v.Verify(t.Context(), valid); !errors.Is(err, want) {
				t.Errorf("valid: got %v, want %v", err, want)
			}
			time.Sleep(4 * time.Minute)
			if _, err := v.Verify(t.Context(), valid); !errors.Is(err, verify.ErrExpired) {
				t.Errorf("expired: got %v, want ErrExpired", err)
			}
		})
	}
}

func TestRequireRefusesAnAgeThatNoViewHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := start(t, newService(), nil)
		defer func() {
			if recover() == nil {
				t.Error("1 s was accepted")
			}
		}()
		v.Require(time.Second)
	})
}

// What New starts ends with the context or with Close: in a bubble, a goroutine that is left fails the test.
func TestTheGoroutinesEnd(t *testing.T) {
	for name, end := range map[string]func(context.CancelFunc, *verify.Verifier){
		"by the context": func(cancel context.CancelFunc, _ *verify.Verifier) { cancel() },
		"by Close":       func(_ context.CancelFunc, v *verify.Verifier) { v.Close(); v.Close() },
		"by several calls while it is used": func(cancel context.CancelFunc, v *verify.Verifier) {
			var running sync.WaitGroup
			token := testKeys()["ES256"].token(nil)
			for range 8 {
				running.Go(func() {
					_, _ = v.Verify(context.Background(), token)
					ctx, stop := v.Require(2*time.Second).Bind(context.Background(), token)
					defer stop()
					v.Close()
					<-ctx.Done()
					_ = v.State()
				})
			}
			cancel()
			running.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				v, err := verify.New(ctx, verify.Config{
					Issuer: issuer, Audience: audience, APIKey: apiKey,
					Client: &http.Client{Transport: newService(testKeys()["ES256"])},
				})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Second)
				end(cancel, v)
			})
		})
	}
}

// After Close no request is made, so a token with an unknown key must not wait for one.
func TestNothingWaitsAfterClose(t *testing.T) {
	k := testKeys()["ES256"]
	inBubble(t, newService(k), nil, func(t *testing.T, v *verify.Verifier) {
		time.Sleep(20 * time.Second)
		unknown := newKey("unknown", "EdDSA").token(nil)
		waited := make(chan time.Duration)
		go func() {
			began := time.Now()
			_, _ = v.Verify(context.Background(), unknown)
			waited <- time.Since(began)
		}()
		v.Close()
		if got := <-waited; got > 0 {
			t.Errorf("a token that was being verified waited %v", got)
		}
		began := time.Now()
		if _, err := v.Verify(t.Context(), unknown); !errors.Is(err, verify.ErrStale) || time.Since(began) > 0 {
			t.Errorf("afterwards: got %v after %v, want ErrStale immediately", err, time.Since(began))
		}
		if _, err := v.Verify(t.Context(), k.token(nil)); err != nil {
			t.Errorf("a known key: %v", err)
		}
	})
}

// The counters are what an alarm is made of.
func TestDecisionsAreCounted(t *testing.T) {
	key := testKeys()["ES256"]
	s := newService(key)
	m := &metrics{decided: map[verify.Result]int{}}
	inBubble(t, s, func(c *verify.Config) { c.Metrics = m }, func(t *testing.T, v *verify.Verifier) {
		request := func(authorization ...string) {
			_, _ = v.VerifyRequest(&http.Request{Header: http.Header{"Authorization": authorization}})
		}
		request()
		request("Bearer x", "Bearer y")
		request("Bearer x")
		request("Bearer " + key.token(nil))
		request("Bearer " + key.token(with{"exp": 1}))
		_, _ = v.Verify(t.Context(), key.token(nil))
		s.revoke(session)
		request("Bearer " + key.token(nil))
		s.cut()
		time.Sleep(2 * time.Minute)
		request("Bearer " + key.token(with{"sid": other}))
		want := map[verify.Result]int{
			verify.Missing: 1, verify.Malformed: 1, verify.Invalid: 1, verify.Accepted: 2, verify.Expired: 1,
			verify.Revoked: 1, verify.Stale: 1,
		}
		if diff := cmp.Diff(want, m.decided); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if m.keys == 0 {
			t.Error("no request for keys was counted")
		}
	})
}

type metrics struct {
	mu      sync.Mutex
	decided map[verify.Result]int
	keys    int
	viewed  int
	asked   []error // the results of introspections
}

func (m *metrics) Decided(r verify.Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.decided[r]++
}

func (m *metrics) Viewed(time.Duration, int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.viewed++
}

func (m *metrics) FetchedKeys(error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys++
}

func (m *metrics) Introspected(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, err)
}

// A signature is verified once. Everything that can end a token is checked each time, and what a caller does with a
// token does not reach the next one.
func TestATokenThatWasVerifiedBeforeIsCheckedAgain(t *testing.T) {
	withdrawn, ended, stays := testKeys()["ES256"], testKeys()["EdDSA"], newKey("stays", "EdDSA")
	s := newService(withdrawn, ended, stays)
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		later := time.Now().Add(time.Hour).Unix()
		tokens := map[string]string{
			"its key is withdrawn":  withdrawn.token(with{"exp": later}),
			"its key has ended":     ended.token(with{"exp": later}),
			"its session has ended": stays.token(with{"exp": later, "sid": other}),
			"it has expired":        stays.token(with{"exp": time.Now().Add(time.Minute).Unix()}),
			"":                      stays.token(with{"exp": later}),
		}
		for range 3 { // what the second one receives is in the cache
			for _, token := range tokens {
				got, err := v.Verify(t.Context(), token)
				if err != nil || got.Roles[0] != "admin" || got.Scopes[0] != "read" || got.Audience[0] != audience ||
					got.Claims[0] != '{' || got.AsOf.IsZero() {
					t.Fatalf("got %+v, %v", got, err)
				}
				got.Roles[0], got.Scopes[0], got.Audience[0], got.Claims[0], got.Subject = "", "", "", 0, ""
			}
		}
		s.endKey(ended.kid)
		s.revoke(other)
		s.publish(ended, stays)
		time.Sleep(10 * time.Minute)
		for name, want := range map[string]error{
			"its key is withdrawn": verify.ErrInvalid, "its key has ended": verify.ErrRevoked,
			"its session has ended": verify.ErrRevoked, "it has expired": verify.ErrExpired, "": nil,
		} {
			if _, err := v.Verify(t.Context(), tokens[name]); !errors.Is(err, want) {
				t.Errorf("%q: got %v, want %v", name, err, want)
			}
		}
		s.cut()
		time.Sleep(2 * time.Minute)
		if _, err := v.Verify(t.Context(), tokens[""]); !errors.Is(err, verify.ErrStale) {
			t.Errorf("a stale view: got %v, want ErrStale", err)
		}
	})
}

// A forged stream can claim that a view is fresh; with a signing key that was stolen it could prove it.
func TestRequireProofNeedsAKeyThatHasNotEnded(t *testing.T) {
	key, stolen := testKeys()["ES256"], testKeys()["EdDSA"]
	s := newService(key, stolen)
	s.prover = stolen
	inBubble(t, s, func(c *verify.Config) { c.RequireProof = true }, func(t *testing.T, v *verify.Verifier) {
		token := key.token(nil)
		if _, err := v.Verify(t.Context(), token); err != nil || v.State().LastProof.IsZero() {
			t.Fatalf("got %v, with a proof at %v", err, v.State().LastProof)
		}
		s.endKey(stolen.kid)
		time.Sleep(90 * time.Second)
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, verify.ErrStale) {
			t.Errorf("proved by a key that has ended: got %v, want ErrStale", err)
		}
	})
	unproved := newService(key)
	inBubble(t, unproved, func(c *verify.Config) { c.RequireProof = true }, func(t *testing.T, v *verify.Verifier) {
		time.Sleep(time.Minute)
		if _, err := v.Verify(t.Context(), key.token(nil)); !errors.Is(err, verify.ErrStale) {
			t.Errorf("no proof: got %v, want ErrStale", err)
		}
	})
}

// No acceptance of a token with a view that is complete as of an instant after the token's session was revoked: the
// promise that an API builds on, with everything used concurrently.
func TestNoAcceptanceWithAViewOfAfterTheRevocation(t *testing.T) {
	key := newKey("key", "EdDSA")
	s := newService(key)
	v := started(t, s)
	const sessions = 60
	var revokedAt [sessions]atomic.Pointer[time.Time] // when the revocation had returned
	tokens := make([]string, sessions)
	ids := make([]string, sessions)
	for i := range sessions {
		ids[i] = fmt.Sprintf("0197a2b3-4c5d-766e-877f-%012x", i+1)
		tokens[i] = key.token(with{"sid": ids[i]})
	}
	var running sync.WaitGroup
	accepted := make(chan struct{})
	first := sync.OnceFunc(func() { close(accepted) })
	for worker := range 4 {
		running.Go(func() {
			strict := v.Require(2 * time.Second)
			for left := sessions; left > 0; {
				left = 0
				for i, token := range tokens {
					r := request("Bearer " + token)
					got, err := v.VerifyRequest(r)
					if worker%2 == 1 {
						got, err = strict.Verify(r.Context(), token)
					}
					switch at := revokedAt[i].Load(); {
					case err == nil:
						left++
						first()
						if at != nil && !got.AsOf.Before(*at) {
							t.Errorf("session %d was accepted as of %v after its revocation", i, got.AsOf.Sub(*at))
						}
					case errors.Is(err, verify.ErrStale):
						left++ // a busy machine: this is no acceptance
					case !errors.Is(err, verify.ErrRevoked):
						t.Errorf("session %d: %v", i, err)
						return
					}
				}
				ctx, stop := v.Bind(context.Background(), tokens[0])
				if err := ctx.Err(); err != nil && !errors.Is(context.Cause(ctx), verify.ErrRevoked) {
					t.Errorf("bound: %v", context.Cause(ctx))
				}
				stop()
				_ = v.State()
			}
		})
	}
	<-accepted // A machine may be so busy that all is revoked before the first check. A test that is stuck times out.
	for i := range sessions {
		s.tellAll(revocationOf(ids[i]))
		now := time.Now()
		revokedAt[i].Store(&now)
	}
	running.Wait()
}

// A redirect would take the API key, or the trust in the keys, to another place.
func TestARedirectIsNotFollowed(t *testing.T) {
	for _, to := range []string{
		"https://evil.example/", "https://evil.id.example/", "http://id.example/", issuer + "/other",
	} {
		s := newService(testKeys()["ES256"])
		s.redirect = to
		inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
			time.Sleep(time.Minute)
			requests := s.sent()
			if len(requests) < 4 {
				t.Errorf("%d requests", len(requests))
			}
			for _, r := range requests {
				if u := r.URL.String(); u != issuer+"/.well-known/jwks.json" && r.URL.Path != "/t/acme/revocations" ||
					!strings.HasPrefix(u, issuer+"/") {
					t.Errorf("a request to %s", u)
				}
			}
		})
	}
}

// A configuration that differs from what the service writes refuses every token. The log says so once, with both
// values, and only for tokens that the service signed: others can send what they like.
func TestTokensUnlikeTheConfigurationAreLoggedOnce(t *testing.T) {
	for _, tc := range []struct{ claim, value, want string }{
		{"iss", issuer + "/", issuer},
		{"iss", strings.Replace(issuer, "https", "http", 1), issuer},
		{"aud", "another-application", audience},
		{"tid", "another-tenant", "acme"},
	} {
		t.Run(tc.claim+" "+tc.value, func(t *testing.T) {
			k := testKeys()["ES256"]
			var log lockedBuffer
			inBubble(t, newService(k), func(c *verify.Config) { c.Log = logTo(&log) }, func(t *testing.T, v *verify.Verifier) {
				for i := range 3 {
					token := k.token(with{tc.claim: tc.value, "jti": fmt.Sprint(i)})
					if _, err := v.Verify(t.Context(), token); !errors.Is(err, verify.ErrInvalid) {
						t.Errorf("got %v, want %v", err, verify.ErrInvalid)
					}
				}
			})
			want := fmt.Sprintf(`"claim":%q,"token":%q,"want":%q`, tc.claim, tc.value, tc.want)
			if strings.Count(log.String(), want) != 1 || strings.Count(log.String(), `"claim":`) != 1 {
				t.Errorf("got the log %s, want once %s", &log, want)
			}
		})
	}
}

func TestATokenThatTheServiceDidNotSignIsNotLogged(t *testing.T) {
	var log lockedBuffer
	inBubble(t, newService(testKeys()["ES256"]), func(c *verify.Config) { c.Log = logTo(&log) },
		func(t *testing.T, v *verify.Verifier) {
			token := testKeys()["ES256"].token(with{"iss": "https://evil.example"})
			forged := token[:strings.LastIndexByte(token, '.')+1] + encode(make([]byte, 64))
			if _, err := v.Verify(t.Context(), forged); !errors.Is(err, verify.ErrInvalid) {
				t.Errorf("got %v, want %v", err, verify.ErrInvalid)
			}
		})
	if strings.Contains(log.String(), "evil.example") {
		t.Errorf("got the log %s", &log)
	}
}

// A set that has a key of an unknown type is read again and again, and logged once.
func TestKeysThatCannotBeUsedAreLoggedOnce(t *testing.T) {
	s := newService(testKeys()["ES256"])
	s.serveKeys(http.StatusOK, `{"keys":[`+testKeys()["ES256"].jwk(true)+`,{"kty":"AKP","kid":"x"}]}`)
	var log lockedBuffer
	inBubble(t, s, func(c *verify.Config) { c.Log = logTo(&log) }, func(*testing.T, *verify.Verifier) {
		pass(3 * time.Hour)
	})
	if n := s.keyRequests(); n < 3 || strings.Count(log.String(), `"ignored":1`) != 1 {
		t.Errorf("got, after %d requests, the log %s", n, &log)
	}
}

// The key set cannot be read for an hour, twice: the log says when that begins and when it ends.
func TestFailuresToReadTheKeysAreLoggedOnce(t *testing.T) {
	k := testKeys()["ES256"]
	s := newService(k)
	var log lockedBuffer
	inBubble(t, s, func(c *verify.Config) { c.Log = logTo(&log) }, func(t *testing.T, _ *verify.Verifier) {
		for range 2 {
			s.serveKeys(http.StatusInternalServerError, "")
			pass(time.Hour)
			s.publish(k)
			pass(time.Hour)
		}
	})
	for _, want := range []string{"could not be read", "are read again"} {
		if n := strings.Count(log.String(), "the signing keys "+want); n != 2 {
			t.Errorf("got the log %s, want %q twice", &log, want)
		}
	}
}
