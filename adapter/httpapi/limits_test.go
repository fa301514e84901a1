package httpapi_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/refreshd/refreshd/adapter/web"
	"github.com/refreshd/refreshd/port"
)

// limit adds a guard to s that uses the clock of the test.
func (s *service) limit(t *testing.T, l web.RateLimits) {
	t.Helper()
	s.options.Guard = web.NewGuard(l, s.options.TrustedProxies, s.clock, nil)
	s.mount(t)
}

// guess sends an API key that does not exist.
func guess(s *service, r *request) {
	header("Authorization", "ak_"+rand.Text())(s, r)
	tenant(aTenant)(s, r)
}

// forged returns a token string with the right checksum and a wrong MAC.
func forged(tokenString string) string {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(tokenString, "rt_"))
	if err != nil {
		panic(err)
	}
	b[30] ^= 1
	binary.BigEndian.PutUint32(b[44:], crc32.ChecksumIEEE(b[:44]))
	return "rt_" + base64.RawURLEncoding.EncodeToString(b)
}

// refusedFor checks that the response is a complete 429, and returns the seconds of its Retry-After.
func (a *answer) refusedFor(t *testing.T, reason string) time.Duration {
	t.Helper()
	a.want(t, 429, "[tooMany]"+reason).keepsCookies(t)
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || seconds < 1 || a.Success || a.outcome() != "" {
		t.Errorf("got Retry-After %q, outcome %q and %s; want whole seconds, none and a refusal",
			a.header.Get("Retry-After"), a.outcome(), a.body)
	}
	return time.Duration(seconds) * time.Second
}

// useUp sends a request until it is refused because of its client address, which must be after that number.
func (h *household) useUp(t *testing.T, n int, method, target string, options ...option) {
	t.Helper()
	for range n {
		if got := h.do(t, method, target, options...); got.status == 429 {
			t.Fatalf("%s %s: refused before %d requests", method, target, n)
		}
	}
	h.do(t, method, target, options...).refusedFor(t, "clientAddress")
}

// takeSlots sends guesses of API keys from one address until the last thousand were all refused: no slot for a
// look-up is free then.
func (h *household) takeSlots(t *testing.T) {
	t.Helper()
	for refused := 0; refused < 1000; {
		if refused++; h.do(t, "GET", "/jwt/refresh?userId=ada", guess).status != 429 {
			refused = 0
		}
	}
}

// Every request, also a 404 or 405, is charged to a budget of the client address, and queries the store no more than
// that. The budgets of the kinds of requests are independent: invalid requests do not starve verifiers or
// orchestrators.
func TestEveryRouteIsInABudgetOfItsAddress(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{Address: 1})
	for _, nothing := range [][2]string{{"GET", "/jwt/nothing"}, {"PUT", "/jwt/refresh"}, {"OPTIONS", "/jwt/refresh"}} {
		h.useUp(t, 10, nothing[0], nothing[1], tenant(aTenant))
		h.wait(10 * time.Second)
	}
	h.useUp(t, 10, "GET", "/jwt/nothing")
	h.takeSlots(t)
	h.useUp(t, 10, "GET", "/t/acme/.well-known/jwks.json")
	h.useUp(t, 10, "GET", "/healthz")

	before, calls := h.dump(t), h.store.callCount()
	huge := text(strings.Repeat(" ", 33<<10))
	for _, p := range h.probes() {
		genuine := p.operation == "exchange" && p.public
		if !genuine {
			wait := h.do(t, p.method, p.target, p.options...).refusedFor(t, "clientAddress")
			if wait != time.Second && p.public {
				t.Errorf("%s %s: got a wait of %s, want 1s", p.method, p.target, wait)
			}
		}
		if p.target != "/jwt/refresh" {
			h.do(t, p.method, p.target, append(p.options, huge)...).refusedFor(t, "clientAddress")
		}
	}
	h.do(t, "POST", "/jwt/refresh", huge).refusedFor(t, "clientAddress")
	h.do(t, "PUT", "/jwt/refresh").refusedFor(t, "clientAddress")
	h.do(t, "GET", "/jwt/nothing").refusedFor(t, "clientAddress")
	if got := h.store.callCount() - calls; got != 0 {
		t.Errorf("the store was called %d times for refused requests, want 0", got)
	}
	if diff := cmp.Diff(before, h.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
	h.exchange(t, h.adaShop.RefreshToken, from("192.0.2.2:1")).want(t, 200)
	h.wait(time.Second)
	h.do(t, "GET", "/jwt/nothing").want(t, 404)
	h.do(t, "GET", "/jwt/nothing").refusedFor(t, "clientAddress")
}

// The guard recognizes an API key in every form that the handlers accept. Otherwise a form would be a way around the
// limit of the key, or guesses in that form would use up the budget of the users behind the same address.
func TestAKeyHasOneLimitInAllItsForms(t *testing.T) {
	forms := map[string]func(string) string{
		"raw": func(key string) string { return key }, "Bearer": func(key string) string { return "Bearer " + key },
		"raw by Basic": func(key string) string { return "Basic " + key },
		"by Basic":     func(key string) string { return basic(key + ":") },
	}
	list := func(h *household, form, key string) *answer {
		return h.do(t, "GET", "/jwt/refresh?userId=ada", header("Authorization", forms[form](key)), tenant(aTenant))
	}
	h := newHousehold(t)
	h.limit(t, web.RateLimits{APIKey: 1})
	for i := 0; i < 10; {
		for form := range forms {
			if i++; i <= 10 {
				list(h, form, h.keys["backend"]).want(t, 200)
			}
		}
	}
	for form := range forms {
		list(h, form, h.keys["backend"]).refusedFor(t, "apiKey")
	}
	forms["by Basic, with a password"] = func(key string) string { return basic(key + ":x") }
	for form := range forms {
		h := newHousehold(t)
		h.limit(t, web.RateLimits{Address: 10})
		for i := 0; ; i++ {
			got := list(h, form, "ak_"+rand.Text())
			if got.status == 429 {
				break
			}
			if got.want(t, 401); i == 1_000 {
				t.Fatalf("%s: no guess was refused", form)
			}
		}
		// The budget for unknown keys is used up. The one for requests without a key is full.
		for range 100 {
			h.do(t, "GET", "/jwt/nothing").want(t, 404)
		}
		h.do(t, "GET", "/jwt/nothing").refusedFor(t, "clientAddress")
	}
	// A key that is sent with an exchange must be valid, in every form.
	for form, write := range forms {
		h.exchange(t, h.adaShop.RefreshToken, header("Authorization", write("ak_"+rand.Text()))).want(t, 401)
		want := 200
		if form == "by Basic, with a password" {
			want = 401
		}
		h.exchange(t, h.adaShop.RefreshToken, header("Authorization", write(h.keys["exchanger"]))).want(t, want)
	}
	h.exchange(t, h.adaShop.RefreshToken, header("Authorization", basic("user:pass"))).want(t, 200)
}

// Behind the address of a flood a verifier still gets its keys, and a probe and a preflight their responses. None of
// them uses up the budget of another.
func TestNoBudgetOfAnAddressIsAnothers(t *testing.T) {
	for name, used := range map[string]func(*testing.T, *household){
		"garbage": func(t *testing.T, h *household) {
			for h.exchange(t, "rt_x").status != 429 {
			}
		},
		"unknown paths": func(t *testing.T, h *household) { h.useUp(t, 10, "GET", "/jwt/nothing") },
		"key sets":      func(t *testing.T, h *household) { h.useUp(t, 10, "GET", "/.well-known/jwks.json") },
		"health":        func(t *testing.T, h *household) { h.useUp(t, 10, "GET", "/readyz") },
		"guesses of API keys": func(t *testing.T, h *household) {
			h.takeSlots(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHousehold(t)
			h.limit(t, web.RateLimits{Address: 1})
			used(t, h)
			refused := map[string]bool{}
			for of, target := range map[string]string{
				"ordinary": "/jwt/nothing", "key sets": "/t/acme/.well-known/jwks.json", "health": "/healthz",
			} {
				refused[of] = h.do(t, "GET", target).status == 429
			}
			want := map[string]bool{
				"ordinary": name == "garbage" || name == "unknown paths",
				"key sets": name == "key sets", "health": name == "health",
			}
			if diff := cmp.Diff(want, refused); diff != "" {
				t.Errorf("refused (-want +got):\n%s", diff)
			}
			preflight := h.do(t, "OPTIONS", "/jwt/refresh", asksForPOST)
			if got := preflight.status == 429; got != (name == "key sets") {
				t.Errorf("a preflight: got %d", preflight.status)
			}
			h.exchange(t, h.adaShop.RefreshToken).want(t, 200)
		})
	}
}

// asksForPOST makes the request a preflight of a page of a configured origin.
func asksForPOST(s *service, r *request) {
	header("Origin", ourOrigin)(s, r)
	header("Access-Control-Request-Method", "POST")(s, r)
}

// A preflight is a request like those of routes: it is logged, and must have a limit.
func TestPreflightsAreInABudget(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{Address: 1})
	h.useUp(t, 10, "OPTIONS", "/jwt/refresh", asksForPOST)
	h.do(t, "GET", "/t/acme/.well-known/jwks.json").refusedFor(t, "clientAddress")
	h.do(t, "GET", "/jwt/nothing").want(t, 404)
}

func TestAFailedProofCountsAsTenCalls(t *testing.T) {
	for name, fails := range map[string]func(*testing.T, *household) *answer{
		"an access token": func(t *testing.T, h *household) *answer {
			return h.do(t, "DELETE", "/jwt/refresh?userId=ada", bearer("a.b.c"), tenant(aTenant))
		},
		"a token string": func(t *testing.T, h *household) *answer { return h.exchange(t, forged(h.adaShop.RefreshToken)) },
		"garbage":        func(t *testing.T, h *household) *answer { return h.exchange(t, "rt_x") },
		"a cookie": func(t *testing.T, h *household) *answer {
			return h.do(t, "POST", "/jwt/refresh", cookie("refresh_token", forged(h.adaShop.RefreshToken)))
		},
		"a logout": func(t *testing.T, h *household) *answer {
			got := h.do(t, "DELETE", "/jwt/refresh", tenant(aTenant), cookie("refresh_token", forged(h.adaShop.RefreshToken)))
			if got.status == 404 { // which deletes the cookie
				return &answer{status: 400}
			}
			return got
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHousehold(t)
			h.limit(t, web.RateLimits{Address: 10})
			for i := range 10 {
				if got := fails(t, h); got.status != 401 && got.status != 400 {
					t.Fatalf("guess %d: got %d", i, got.status)
				}
			}
			wait := fails(t, h).refusedFor(t, "clientAddress")
			for range 3 {
				h.wait(wait)
				if got := fails(t, h); got.status != 401 && got.status != 400 {
					t.Fatalf("after the wait of Retry-After: got %d", got.status)
				}
				wait = fails(t, h).refusedFor(t, "clientAddress")
			}
			if wait != time.Second { // a tenth of a second for a call, and a second for a guess, in whole ones
				t.Errorf("got a wait of %s, want 1s", wait)
			}
		})
	}
}

// A genuine token string is no guess, whatever happened to its session, and a request without a credential is none
// either. An office whose sessions were all purged, a page whose access token has expired, or an invalid body must not
// keep the office out.
func TestARefusalThatIsNoGuessCountsOnce(t *testing.T) {
	var purged string
	for name, refused := range map[string]func(*testing.T, *household) *answer{
		"a revoked session": func(t *testing.T, h *household) *answer {
			return h.exchange(t, h.adaShop.RefreshToken).want(t, 400, "[revoked]refreshToken")
		},
		"a purged session": func(t *testing.T, h *household) *answer {
			return h.exchange(t, purged).want(t, 400, "[invalid]refreshToken")
		},
		"another tenant's": func(t *testing.T, h *household) *answer {
			return h.exchange(t, h.bobShop.RefreshToken, tenant(bTenant)).want(t, 400, "[invalid]refreshToken")
		},
		"a tenant that is none": func(t *testing.T, h *household) *answer {
			return h.exchange(t, h.bobShop.RefreshToken, tenant("no tenant")).want(t, 400, "[invalid]refreshToken")
		},
		"beside another session's access token": func(t *testing.T, h *household) *answer {
			b := object{"refreshToken": h.bobShop.RefreshToken, "token": h.adaShop2.Token}
			return h.do(t, "POST", "/jwt/refresh", body(b)).want(t, 400, "[invalid]refreshToken")
		},
		"a logout of a session that has ended": func(t *testing.T, h *household) *answer {
			return h.do(t, "DELETE", "/jwt/refresh", tenant(aTenant), byCookie(h.adaShop)).want(t, 404)
		},
		"cookies of too many sessions": func(t *testing.T, h *household) *answer {
			options := []option{byCookie(h.adaShop), byCookie(h.adaShop2), byCookie(h.bobShop), byCookie(h.bobBlog)}
			options = append(options, cookie("refresh_token", purged))
			return h.do(t, "POST", "/jwt/refresh", options...).want(t, 400, "[conflict]refreshToken")
		},
		"a mistake": func(t *testing.T, h *household) *answer {
			return h.do(t, "POST", "/jwt/refresh", text("{")).want(t, 400, "[invalid]")
		},
		"no credential": func(t *testing.T, h *household) *answer {
			return h.do(t, "GET", "/jwt/refresh?userId=ada").want(t, 401)
		},
		"an expired access token": func(t *testing.T, h *household) *answer {
			target := "/jwt/refresh/" + h.bobShop.RefreshTokenID
			return h.do(t, "DELETE", target, bearer(h.bobShop.Token), tenant(aTenant)).want(t, 401)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHousehold(t)
			purged = h.issue(t, "short", "bob").RefreshToken
			h.wait(time.Hour) // access tokens have expired, and that session
			now := h.clock()
			step := port.PurgeStep{
				LeaseHolder: "test", Now: now, LeaseUntil: now.Add(time.Minute), Before: now, Limit: 1000,
			}
			if done, err := h.store.Purge(t.Context(), step); err != nil || done.Deleted == 0 {
				t.Fatalf("purged %+v, %v", done, err)
			}
			h.do(t, "DELETE", "/jwt/refresh?userId=ada", backend).want(t, 200)
			h.limit(t, web.RateLimits{Address: 10})
			for range 99 {
				refused(t, h)
			}
			h.do(t, "GET", "/jwt/nothing").want(t, 404)
			h.do(t, "GET", "/jwt/nothing").refusedFor(t, "clientAddress")
		})
	}
}

// Whatever an address sends, a genuine token string from it is exchanged: its MAC is verified before it is refused. A
// client with many logins still has a limit.
func TestGuessesNeverShutOutAGenuineString(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{Address: 10})
	flood := func(n int) {
		for i := range n {
			var got *answer
			switch i % 3 {
			case 0:
				got = h.exchange(t, forged(h.adaShop.RefreshToken))
			case 1:
				got = h.do(t, "POST", "/jwt/refresh", text(`{"refreshToken": `))
			case 2:
				got = h.do(t, "POST", "/jwt/refresh", cookie("refresh_token", "rt_x"))
			}
			if got.status != 400 {
				got.refusedFor(t, "clientAddress")
			}
		}
	}
	flood(500)
	calls := h.store.callCount()
	flood(500)
	if got := h.store.callCount() - calls; got != 0 {
		t.Errorf("the store was called %d times for guesses", got)
	}
	const granted = 1000 // ten times the limit, and ten seconds of it
	for i := range granted {
		switch i {
		case 0:
			h.do(t, "POST", "/jwt/refresh", byCookie(h.bobShop)).want(t, 200)
		default:
			h.exchange(t, h.adaShop2.RefreshToken).want(t, 200)
		}
		if i%100 == 0 {
			flood(10)
		}
	}
	calls = h.store.callCount()
	h.exchange(t, h.bobShop.RefreshToken).refusedFor(t, "clientAddress")
	if got := h.store.callCount() - calls; got != 0 {
		t.Errorf("the store was called %d times for an exchange above the limit of genuine ones", got)
	}
	h.exchange(t, h.bobShop.RefreshToken, from("192.0.2.2:1")).want(t, 200)

	// Only an exchange is admitted this way, and only a short one.
	h.wait(10 * time.Second)
	flood(500)
	h.do(t, "POST", "/jwt/refresh", body(object{"userId": "ada"}), tenant(aTenant)).refusedFor(t, "clientAddress")
	long := strings.Repeat("x", 13<<10)
	h.do(t, "POST", "/jwt/refresh", body(object{"refreshToken": h.bobShop.RefreshToken, "token": long})).
		refusedFor(t, "clientAddress")
	h.do(t, "POST", "/jwt/refresh", byCookie(h.bobShop), cookie("x", long)).refusedFor(t, "clientAddress")
	h.do(t, "POST", "/jwt/refresh").refusedFor(t, "clientAddress")
}

// One rejected token string that is sent repeatedly must not use up the budget that its address has for genuine token
// strings, nor cause load.
func TestACopyThatIsWorthNothingIsNoWayAroundTheLimits(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{Address: 10, RefreshToken: 1})
	asked := 0
	for range 2000 {
		got := h.exchange(t, h.bobShop.RefreshToken, tenant(bTenant))
		if got.status == 400 {
			asked++
			continue
		}
		got.refusedFor(t, "clientAddress")
	}
	if asked > 110 {
		t.Errorf("%d requests were admitted, want the 100 of the address and the 10 of the string", asked)
	}
	h.exchange(t, h.adaShop.RefreshToken).want(t, 200)
}

// If a replay does not end the session, a replayed copy is useless. Its holder must not keep the owner out with it, at
// any rate, nor with any other exchange that is refused and does not change the session.
func TestACopyThatIsWorthNothingUsesUpNothingOfTheOwners(t *testing.T) {
	h := newHousehold(t)
	k := standard(h.keys)
	k.Tenants[0].Applications[1].Settings.RevokeOnReplay = new(false)
	h.apply(t, k)
	first := h.bobBlog.RefreshToken
	current := first
	exchange := func() { current = h.exchange(t, current).want(t, 200).grant(t).RefreshToken }
	exchange()
	exchange()
	h.limit(t, web.RateLimits{RefreshToken: 1})
	for range 30 {
		h.exchange(t, first).want(t, 400, "[reused]refreshToken")
		h.exchange(t, current, tenant(bTenant)).want(t, 400, "[invalid]refreshToken")
		h.do(t, "POST", "/jwt/refresh", body(object{"refreshToken": current, "timeToLiveInSeconds": 86400})).
			want(t, 400, "[invalid]timeToLiveInSeconds")
		h.do(t, "POST", "/jwt/refresh", body(object{"refreshToken": current, "token": h.adaShop2.Token})).
			want(t, 400, "[invalid]refreshToken")
	}
	for range 10 {
		exchange()
	}
	h.exchange(t, current).refusedFor(t, "refreshToken")
	h.wait(10 * time.Second)
	h.do(t, "DELETE", "/jwt/refresh?userId=bob", backend).want(t, 200)
	for range 10 {
		h.exchange(t, first).want(t, 400, "[revoked]refreshToken")
	}
	h.exchange(t, first).refusedFor(t, "refreshToken") // the session has ended, so this keeps no user out
}

// After a restart no API key is verified, and guesses of others behind the same address keep the bucket for look-ups
// empty. A valid key is still admitted, and guesses do not cause load.
func TestGuessesNeverShutOutAGoodKeyAfterARestart(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{Address: 10})
	const guesses = 1000 // a second
	h.takeSlots(t)
	attempts := 0
	for got := 429; got != 200; attempts++ {
		if attempts == 60 {
			t.Fatalf("refused %d times", attempts)
		}
		h.wait(time.Second)
		calls := h.store.callCount()
		for range guesses {
			h.do(t, "GET", "/jwt/refresh?userId=ada", guess)
		}
		if looked := h.store.callCount() - calls; looked > 512+2 {
			t.Errorf("%d guesses were looked up in a second, want 512 at most, and what the address has", looked)
		}
		got = h.do(t, "GET", "/jwt/refresh?userId=ada", as("backend"), tenant(aTenant)).status
	}
	for range 100 { // it is known
		h.do(t, "GET", "/jwt/refresh?userId=ada", as("backend"), tenant(aTenant)).want(t, 200)
	}
}

// A backend may have the same address as a thousand devices, or as an attacker who guesses.
func TestABackendAtWorkIsNotShutOutByItsNeighbours(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{Address: 1})
	list := func(who option) *answer { return h.do(t, "GET", "/jwt/refresh?userId=ada", who, tenant(aTenant)) }
	for range 100 {
		list(as("backend")).want(t, 200) // and costs the address nothing
	}
	for range 9 {
		h.do(t, "GET", "/.well-known/jwks.json").want(t, 200)
	}
	h.do(t, "GET", "/jwt/refresh?userId=ada", guess).want(t, 401)
	list(as("backend")).want(t, 200)
	list(as("reader")).want(t, 200) // though it is not verified yet

	// A key that is no longer valid is a guess.
	expired := standard(h.keys)
	for i := range expired.APIKeys {
		expired.APIKeys[i].APIKey.ExpiresAt = h.clock()
	}
	h.apply(t, expired)
	list(as("backend")).want(t, 401)
	list(as("backend")).want(t, 401)
	list(as("backend")).refusedFor(t, "clientAddress")
}

// Whatever users send through a backend, it continues to work for the others: its key is charged.
func TestWhatUsersSendThroughABackendIsNoGuessOfTheBackends(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{Address: 1, APIKey: 1000})
	for range 50 {
		h.exchange(t, "rt_x", as("exchanger"), tenant(aTenant)).want(t, 400, "[invalid]refreshToken")
		h.exchange(t, h.bobShop.RefreshToken, as("exchanger"), tenant(bTenant)).want(t, 401)
	}
	h.exchange(t, h.bobShop.RefreshToken, as("exchanger"), tenant(aTenant)).want(t, 200)
	h.do(t, "GET", "/.well-known/jwks.json").want(t, 200) // nor did its address pay
}

// A refusal for a missing permission is charged to a valid key as any other request is. Otherwise such a request would
// fill the bucket of the key again.
func TestAKeyWithoutThePermissionPaysToo(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{APIKey: 1})
	for i := range 10 {
		if i%2 == 0 {
			h.do(t, "DELETE", "/jwt/refresh?userId=ada", as("reader"), tenant(aTenant)).want(t, 401)
		} else {
			h.do(t, "GET", "/jwt/refresh?userId=ada", as("reader"), tenant(aTenant)).want(t, 200)
		}
	}
	h.do(t, "GET", "/jwt/refresh?userId=ada", as("reader"), tenant(aTenant)).refusedFor(t, "apiKey")
}

// After a restart no key is verified. Devices behind the backend's address must not prevent that its key is.
func TestCallsWithoutAKeyDoNotKeepAGoodOneFromBecomingKnown(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{Address: 1})
	for range 10 {
		h.do(t, "GET", "/.well-known/jwks.json").want(t, 200)
	}
	h.do(t, "GET", "/.well-known/jwks.json").refusedFor(t, "clientAddress")
	h.do(t, "DELETE", "/jwt/refresh?userId=ada", as("backend"), tenant(aTenant)).want(t, 200)
}

// A copy that is refused for lack of another credential must not use up the budget of its owner.
func TestWhoLacksAProofUsesUpNothingOfTheOwners(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{RefreshToken: 1})
	for range 50 {
		h.exchange(t, h.bobShop.RefreshToken, tenant(bTenant)).want(t, 400, "[invalid]refreshToken")
		h.do(t, "POST", "/jwt/refresh", text(`{"refreshToken": "`+h.bobShop.RefreshToken+`", "timeToLiveInSeconds": 86400}`)).
			want(t, 400, "[invalid]timeToLiveInSeconds")
	}
	h.exchange(t, h.bobShop.RefreshToken).want(t, 200)
}

func TestAnAPIKeyThatCallsTooOftenIsRefusedBeforeItIsLookedUp(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{APIKey: 1})
	list := func(who option) *answer { return h.do(t, "GET", "/jwt/refresh?userId=ada", who, tenant(aTenant)) }
	for i := range 10 {
		if got := list(from(fmt.Sprintf("192.0.2.%d:1", i))); got.status != 401 { // no key: no limit of its own
			t.Errorf("got %d", got.status)
		}
		list(as("backend")).want(t, 200)
	}
	calls := h.store.callCount()
	wait := list(as("backend")).refusedFor(t, "apiKey")
	h.exchange(t, h.adaShop.RefreshToken, as("backend")).refusedFor(t, "apiKey")
	if got := h.store.callCount(); got != calls {
		t.Errorf("the store was called %d times for a refused request", got-calls)
	}
	list(as("reader")).want(t, 200)
	h.exchange(t, h.adaShop.RefreshToken).want(t, 200)
	h.wait(wait)
	list(as("backend")).want(t, 200)
}

func TestARefreshTokenThatIsExchangedTooOftenIsRefused(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{RefreshToken: 1})
	for range 100 { // forgeries use up nothing of its owner's
		h.exchange(t, forged(h.bobShop.RefreshToken)).want(t, 400, "[invalid]refreshToken")
	}
	for range 10 {
		h.exchange(t, h.bobShop.RefreshToken).want(t, 200)
	}
	before, calls := h.dump(t), h.store.callCount()
	wait := h.exchange(t, h.bobShop.RefreshToken).refusedFor(t, "refreshToken")
	h.do(t, "POST", "/jwt/refresh", byCookie(h.bobShop)).refusedFor(t, "refreshToken")
	if diff := cmp.Diff(before, h.dump(t)); diff != "" || h.store.callCount() != calls {
		t.Errorf("the store was called, or changed: %s", diff)
	}
	h.exchange(t, h.adaShop.RefreshToken).want(t, 200)
	h.wait(wait)
	h.exchange(t, h.bobShop.RefreshToken).want(t, 200)
}

// A host can send requests from 2^64 addresses of its own.
func TestAHostOfIPv6IsOneAddress(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{Address: 1})
	call := func(address string) *answer { return h.do(t, "GET", "/.well-known/jwks.json", from(address)) }
	for i := range 10 {
		call(fmt.Sprintf("[2001:db8::%x]:1", i+1)).want(t, 200)
	}
	call("[2001:db8::ffff:1]:1").refusedFor(t, "clientAddress")
	call("[2001:db8:0:1::1]:1").want(t, 200)
	for i := range 20 {
		call(fmt.Sprintf("198.51.100.%d:1", i)).want(t, 200)
	}
}

// Behind a balancer that is not configured as a proxy all clients have one address. Only the log says why they are
// refused.
func TestAFloodOfRefusalsIsOneWarningASecondWhichSaysWhatToSet(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{Address: 1})
	call := func(peer string) *answer {
		return h.do(t, "GET", "/.well-known/jwks.json", from(peer), header("X-Forwarded-For", "203.0.113.9"))
	}
	for range 10 {
		call("192.0.2.77:1").want(t, 200)
	}
	loud, began := 0, time.Now()
	for range 20 {
		refused := call("192.0.2.77:1")
		refused.refusedFor(t, "clientAddress")
		line := logLine(t, refused.header.Get("X-Request-Id"))
		if hint, _ := line["hint"].(string); !strings.Contains(hint, "REFRESHD_TRUSTED_PROXIES") {
			t.Errorf("got %v, want a hint", line)
		}
		switch line["level"] {
		case "WARN":
			loud++
		case "DEBUG":
		default:
			t.Errorf("got %v, want a warning or a line for debugging", line)
		}
	}
	// The log takes a warning a second, so how many it takes depends on how long the refusals took.
	if most := 2 + int(time.Since(began)/time.Second); loud < 1 || loud > most {
		t.Errorf("got %d warnings of 20 refusals, want one a second, at most %d", loud, most)
	}
	for range 10 {
		call("10.1.2.3:1").want(t, 200)
	}
	refused := call("10.1.2.3:1")
	refused.refusedFor(t, "clientAddress")
	if line := logLine(t, refused.header.Get("X-Request-Id")); line["hint"] != nil || line["client"] != "203.0.113.9" {
		t.Errorf("got %v, want no hint where the proxy is trusted", line)
	}
}

// A request with cookies of several sessions makes the store read each, and is charged for each.
func TestCookiesOfSeveralSessionsPayForEach(t *testing.T) {
	h := newHousehold(t)
	h.do(t, "DELETE", "/jwt/refresh?userId=ada", backend).want(t, 200)
	h.limit(t, web.RateLimits{Address: 10})
	three := []option{byCookie(h.adaShop), byCookie(h.adaShop2), byCookie(h.bobShop)}
	for range 25 { // three reads and an exchange each, of a hundred
		h.do(t, "POST", "/jwt/refresh", three...).want(t, 200)
	}
	h.do(t, "GET", "/jwt/nothing").refusedFor(t, "clientAddress")

	// Genuine token strings continue on the budget of the address for them, and are charged to it.
	calls, served := h.store.callCount(), 0
	for h.do(t, "POST", "/jwt/refresh", three...).status == 200 {
		served++
	}
	if reads := h.store.callCount() - calls; served < 200 || served > 250 || reads > 1300 {
		t.Errorf("%d requests were served by %d calls of the store, want a quarter of a thousand", served, reads)
	}
}

// A page can always log out. Guesses of its neighbours and its own exchanges do not prevent the end of its session.
func TestNothingShutsOutALogout(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{Address: 10, RefreshToken: 1})
	for range 30 {
		h.do(t, "DELETE", "/jwt/refresh", tenant(aTenant), cookie("refresh_token", forged(h.adaShop.RefreshToken)))
	}
	h.do(t, "GET", "/jwt/nothing").refusedFor(t, "clientAddress")
	h.do(t, "DELETE", "/jwt/refresh", tenant(aTenant), byCookie(h.bobShop)).want(t, 200)
	calls := h.store.callCount()
	h.do(t, "DELETE", "/jwt/refresh", tenant(aTenant), cookie("refresh_token", forged(h.adaShop.RefreshToken))).
		refusedFor(t, "clientAddress")
	h.do(t, "DELETE", "/jwt/refresh?userId=ada", tenant(aTenant), byCookie(h.adaShop)).refusedFor(t, "clientAddress")
	h.do(t, "DELETE", "/jwt/refresh", tenant(aTenant)).refusedFor(t, "clientAddress")
	if n := h.store.callCount() - calls; n != 0 {
		t.Errorf("the store was called %d times for a request that is not a logout", n)
	}

	h.wait(time.Minute)
	for range 10 {
		h.exchange(t, h.adaShop.RefreshToken).want(t, 200)
	}
	h.exchange(t, h.adaShop.RefreshToken).refusedFor(t, "refreshToken")
	h.do(t, "DELETE", "/jwt/refresh", tenant(aTenant), byCookie(h.adaShop)).want(t, 200)
}

// A logout without a token string presents no credential. So it is neither an invalid credential nor a way around the
// limit. A request that is refused deletes no cookie.
func TestALogoutWithoutASessionCountsOnce(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{Address: 1})
	page := []option{tenant(aTenant), header("Sec-Fetch-Site", "same-origin"), cookie("access_token", "x")}
	h.useUp(t, 10, "DELETE", "/jwt/refresh", page...)
	h.do(t, "DELETE", "/jwt/refresh", page...).refusedFor(t, "clientAddress")
}

// Token strings of more sessions than are looked up are refused, and are charged as other genuine ones are. They are
// refused for this reason even if guesses have used up the budget of the address.
func TestCookiesOfTooManySessionsPay(t *testing.T) {
	h := newHousehold(t)
	var five []option
	for range 5 {
		five = append(five, byCookie(h.issue(t, "shop", "ada")))
	}
	for method, options := range map[string][]option{"POST": five, "DELETE": append(five, tenant(aTenant))} {
		h.limit(t, web.RateLimits{Address: 1})
		h.useUp(t, 10, "GET", "/jwt/nothing")
		answered, calls := 0, h.store.callCount()
		for range 300 {
			got := h.do(t, method, "/jwt/refresh", options...)
			if got.status == 429 {
				got.refusedFor(t, "clientAddress")
				continue
			}
			got.want(t, 400, "[conflict]refreshToken")
			answered++
		}
		if n := h.store.callCount() - calls; answered != 100 || n != 0 {
			t.Errorf("%s: %d requests were served by %d calls of the store, want 100 and none", method, answered, n)
		}
	}
	// They do not use up the budget on which the genuine token string of a neighbour continues.
	h.limit(t, web.RateLimits{Address: 1, RefreshToken: 1})
	h.useUp(t, 10, "GET", "/jwt/nothing")
	for range 300 {
		h.do(t, "POST", "/jwt/refresh", five...)
	}
	h.exchange(t, h.bobShop.RefreshToken).want(t, 200)
}

// A copy of an ended session's token string can use up that session's limit. A browser that still has that string
// beside an active one must not be affected.
func TestTheLimitOfAnEndedSessionKeepsNoOtherOut(t *testing.T) {
	h := newHousehold(t)
	h.do(t, "DELETE", "/jwt/refresh?userId=ada", backend).want(t, 200)
	h.limit(t, web.RateLimits{RefreshToken: 1})
	for range 10 {
		h.exchange(t, h.adaShop.RefreshToken).want(t, 400, "[revoked]refreshToken")
	}
	h.exchange(t, h.adaShop.RefreshToken).refusedFor(t, "refreshToken")
	h.do(t, "POST", "/jwt/refresh", byCookie(h.adaShop), byCookie(h.bobShop)).want(t, 200)
	h.do(t, "POST", "/jwt/refresh", byCookie(h.bobShop), byCookie(h.adaShop)).want(t, 200)
}
