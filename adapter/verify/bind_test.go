package verify_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/refreshd/refreshd/adapter/verify"
)

// cause returns the cause of ctx if it is cancelled by now.
func cause(ctx context.Context) error {
	synctest.Wait()
	if ctx.Err() == nil {
		return nil
	}
	return context.Cause(ctx)
}

// A response that lasts must end with its session, and no other one.
func TestABindingEndsWithItsSession(t *testing.T) {
	k := testKeys()["ES256"]
	s := newService(k)
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		mine, stopMine := v.Bind(t.Context(), k.token(nil))
		defer stopMine()
		child, stopChild := v.Bind(t.Context(), k.token(with{"sid": other, "rsid": session}))
		defer stopChild()
		others, stopOthers := v.Bind(t.Context(), k.token(with{"sid": other}))
		defer stopOthers()
		pass(10 * time.Second)
		for name, ctx := range map[string]context.Context{"mine": mine, "the child": child, "another": others} {
			if err := cause(ctx); err != nil {
				t.Fatalf("%s ended: %v", name, err)
			}
		}
		s.revoke(session) // returns when the facts are applied; no time passes
		for name, ctx := range map[string]context.Context{"mine": mine, "the child": child} {
			if err := cause(ctx); !errors.Is(err, verify.ErrRevoked) {
				t.Errorf("%s: got %v, want ErrRevoked", name, err)
			}
		}
		if err := cause(others); err != nil {
			t.Errorf("another session's ended: %v", err)
		}
		s.endKey(k.kid)
		if err := cause(others); !errors.Is(err, verify.ErrRevoked) {
			t.Errorf("its key has ended: got %v, want ErrRevoked", err)
		}
	})
}

func TestABindingEndsWhenItsTokenExpires(t *testing.T) {
	k := testKeys()["ES256"]
	inBubble(t, newService(k), nil, func(t *testing.T, v *verify.Verifier) {
		ctx, stop := v.Bind(t.Context(), k.token(with{"exp": time.Now().Add(time.Minute).Unix()}))
		defer stop()
		pass(89 * time.Second) // with the leeway of 30 s
		if err := cause(ctx); err != nil {
			t.Errorf("before: %v", err)
		}
		pass(2 * time.Second)
		if err := cause(ctx); !errors.Is(err, verify.ErrExpired) {
			t.Errorf("after: got %v, want ErrExpired", err)
		}
	})
}

// While a server is cut off it cannot see a session end. Each route's own limit counts.
func TestABindingEndsWhenTheViewStaysStale(t *testing.T) {
	k := testKeys()["ES256"]
	s := newService(k)
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		token := k.token(nil)
		loose, stopLoose := v.Bind(t.Context(), token)
		defer stopLoose()
		strict, stopStrict := v.Require(5*time.Second).Bind(t.Context(), token)
		defer stopStrict()
		s.cut()
		pass(4 * time.Second)
		if err := cause(strict); err != nil {
			t.Errorf("strict, after 4 s: %v", err)
		}
		pass(2 * time.Second)
		if err := cause(strict); !errors.Is(err, verify.ErrStale) {
			t.Errorf("strict, after 6 s: got %v, want ErrStale", err)
		}
		pass(52 * time.Second)
		if err := cause(loose); err != nil {
			t.Errorf("after 58 s: %v", err)
		}
		pass(4 * time.Second)
		if err := cause(loose); !errors.Is(err, verify.ErrStale) {
			t.Errorf("after 62 s: got %v, want ErrStale", err)
		}
	})
}

func TestBindOfARefusedTokenIsCancelled(t *testing.T) {
	k := testKeys()["ES256"]
	s := newService(k)
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		s.revoke(other)
		for token, want := range map[string]error{
			"x": verify.ErrInvalid, k.token(with{"exp": 1}): verify.ErrExpired, k.token(with{"sid": other}): verify.ErrRevoked,
			k.token(with{"cnf": map[string]string{"jkt": k.thumbprint()}}): verify.ErrInvalid,
		} {
			ctx, stop := v.Bind(t.Context(), token)
			if err := cause(ctx); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
			stop()
		}
		v.Close()
		ctx, stop := v.Bind(t.Context(), k.token(nil))
		defer stop()
		if err := cause(ctx); !errors.Is(err, verify.ErrStale) {
			t.Errorf("after Close: got %v, want ErrStale", err)
		}
	})
}

// After Close no goroutine watches the sessions, so no response may continue.
func TestCloseEndsBindings(t *testing.T) {
	k := testKeys()["ES256"]
	inBubble(t, newService(k), nil, func(t *testing.T, v *verify.Verifier) {
		ctx, stop := v.Bind(t.Context(), k.token(nil))
		defer stop()
		v.Close()
		if err := cause(ctx); !errors.Is(err, verify.ErrStale) {
			t.Errorf("got %v, want ErrStale", err)
		}
	})
}

// A context also ends with its parent, and when its caller stops it. The cause then is not that the session ended.
func TestABindingEndsWithItsParentAndItsCaller(t *testing.T) {
	k := testKeys()["ES256"]
	s := newService(k)
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		type name struct{}
		parent, cancel := context.WithCancel(context.WithValue(t.Context(), name{}, "value"))
		child, stop := v.Bind(parent, k.token(nil))
		defer stop()
		if child.Value(name{}) != "value" {
			t.Error("the values of the parent are lost")
		}
		cancel()
		if err := cause(child); !errors.Is(err, context.Canceled) || errors.Is(err, verify.ErrRevoked) {
			t.Errorf("by the parent: got %v", err)
		}
		pass(time.Second)
		if n := v.Bindings(); n != 0 {
			t.Errorf("%d contexts are watched after the parent has ended, want 0", n)
		}
		own, stopOwn := v.Bind(t.Context(), k.token(nil))
		stopOwn()
		stopOwn()
		if n := v.Bindings(); n != 0 {
			t.Errorf("%d contexts are watched after the caller has stopped, want 0", n)
		}
		s.revoke(session)
		if err := cause(own); !errors.Is(err, context.Canceled) || errors.Is(err, verify.ErrRevoked) {
			t.Errorf("by the caller: got %v", err)
		}
	})
}

// Behind the middleware, the proof of possession of the request serves for its binding too: a second one would be a
// replay. The token of another Verifier, with another view, does not serve.
func TestBindBehindTheMiddleware(t *testing.T) {
	k, holder := testKeys()["ES256"], newKey("", "EdDSA")
	s := newService(k)
	inBubble(t, s, nil, func(t *testing.T, v *verify.Verifier) {
		another := start(t, newService(k), func(c *verify.Config) { c.Audience = "other" })
		pass(time.Second)
		token := k.boundTo(holder)
		h := v.Require(2 * time.Second).Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, stop := v.Bind(r.Context(), token)
			defer stop()
			if err := cause(ctx); err != nil {
				t.Errorf("the token of the request: %v", err)
			}
			elsewhere, stopElsewhere := another.Bind(r.Context(), token)
			defer stopElsewhere()
			if err := cause(elsewhere); !errors.Is(err, verify.ErrInvalid) {
				t.Errorf("another Verifier: got %v, want ErrInvalid", err)
			}
			changed, stopChanged := v.Bind(r.Context(), k.token(with{"aud": "x"}))
			defer stopChanged()
			if err := cause(changed); !errors.Is(err, verify.ErrInvalid) {
				t.Errorf("another token: got %v, want ErrInvalid", err)
			}
			s.revoke(session)
			if err := cause(ctx); !errors.Is(err, verify.ErrRevoked) {
				t.Errorf("revoked: got %v, want ErrRevoked", err)
			}
		}))
		got := serve(h, withProof("GET", "/things", token, holder.proofOf(token, "GET", thingsURL, nil)))
		if got.StatusCode != 200 {
			t.Errorf("got %d", got.StatusCode)
		}
	})
}
