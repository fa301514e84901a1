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
)

// limit puts a guard before s, whose clock is the test's.
func (s *service) limit(t *testing.T, l web.RateLimits) {
	t.Helper()
	guard := web.NewGuard(l, s.api.TrustedProxies, s.clock, nil)
	s.api.Guard, s.api.Exchange.Limit = guard, guard.Exchange
	var err error
	if s.handler, err = s.api.Handler(); err != nil {
		t.Fatal(err)
	}
}

// guess sends an API key that nobody has.
func guess(s *service, r *request) {
	header("Authorization", "ak_"+rand.Text())(s, r)
	tenant(aTenant)(s, r)
}

// forged is a token string whose checksum is right, and whose MAC is not.
func forged(tokenString string) string {
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(tokenString, "rt_"))
	if err != nil {
		panic(err)
	}
	b[30] ^= 1
	binary.BigEndian.PutUint32(b[44:], crc32.ChecksumIEEE(b[:44]))
	return "rt_" + base64.RawURLEncoding.EncodeToString(b)
}

// refusedFor wants a 429 that is complete, and gives the seconds that it says to wait.
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

func TestAnAddressThatCallsTooOftenIsRefusedEverywhereButWhereItCostsNothing(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{Address: 1})
	for range 10 {
		h.do(t, "GET", "/t/acme/.well-known/jwks.json").want(t, 200)
	}
	h.do(t, "GET", "/jwt/refresh?userId=ada", guess).want(t, 401) // calls with an API key that nobody knows are counted apart
	before, calls := h.dump(t), h.store.callCount()
	huge := text(strings.Repeat(" ", 33<<10))
	for _, p := range h.probes() {
		if p.alone || p.operation == "ready" {
			h.do(t, p.method, p.target, p.options...).want(t, 200)
			continue
		}
		wait := h.do(t, p.method, p.target, p.options...).refusedFor(t, "clientAddress")
		if wait != time.Second {
			t.Errorf("%s %s: told to wait %s, want 1s", p.method, p.target, wait)
		}
		h.do(t, p.method, p.target, append(p.options, huge)...).refusedFor(t, "clientAddress")
	}
	h.do(t, "PUT", "/jwt/refresh").want(t, 405)
	h.do(t, "GET", "/jwt/nothing").want(t, 404)
	if got := h.store.callCount() - calls; got != 1 { // readiness asks
		t.Errorf("the store was called %d times for refused calls, want 0", got-1)
	}
	if diff := cmp.Diff(before, h.dump(t)); diff != "" {
		t.Errorf("the store changed: %s", diff)
	}
	h.exchange(t, h.adaShop.RefreshToken, from("192.0.2.2:1")).want(t, 200)
	h.wait(time.Second)
	h.exchange(t, h.bobShop.RefreshToken).want(t, 200)
	h.exchange(t, h.bobShop.RefreshToken).refusedFor(t, "clientAddress")
}

func TestAFailedProofCountsAsTenCalls(t *testing.T) {
	for name, fails := range map[string]func(*testing.T, *household) *answer{
		"an API key": func(t *testing.T, h *household) *answer { return h.do(t, "GET", "/jwt/refresh?userId=ada", guess) },
		"no API key": func(t *testing.T, h *household) *answer { return h.do(t, "GET", "/jwt/refresh?userId=ada") },
		"an API key, exchange": func(t *testing.T, h *household) *answer {
			return h.exchange(t, h.adaShop.RefreshToken, guess)
		},
		"an access token": func(t *testing.T, h *household) *answer {
			return h.do(t, "DELETE", "/jwt/refresh?userId=ada", bearer("a.b.c"), tenant(aTenant))
		},
		"a token string": func(t *testing.T, h *household) *answer { return h.exchange(t, forged(h.adaShop.RefreshToken)) },
		"garbage":        func(t *testing.T, h *household) *answer { return h.exchange(t, "rt_x") },
		"a cookie": func(t *testing.T, h *household) *answer {
			return h.do(t, "POST", "/jwt/refresh", cookie("refresh_token", forged(h.adaShop.RefreshToken)))
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
					t.Fatalf("after the wait that it was told: got %d", got.status)
				}
				wait = fails(t, h).refusedFor(t, "clientAddress")
			}
			if wait != time.Second { // a tenth of a second for a call, and a second for a guess, in whole ones
				t.Errorf("told to wait %s, want 1s", wait)
			}
		})
	}
}

// What one string allows is not a guess: an expired session or a mistake in a body must not shut an office out.
func TestARefusalThatIsNoGuessCountsOnce(t *testing.T) {
	h := newHousehold(t)
	h.do(t, "DELETE", "/jwt/refresh?userId=ada", backend).want(t, 200)
	h.limit(t, web.RateLimits{Address: 10})
	for range 50 {
		h.exchange(t, h.adaShop.RefreshToken).want(t, 400, "[revoked]refreshToken")
		h.do(t, "POST", "/jwt/refresh", text("{")).want(t, 400, "[invalid]")
	}
	h.exchange(t, h.adaShop.RefreshToken).refusedFor(t, "clientAddress")
}

// A backend may stand behind the same address as a thousand devices, or as whoever guesses.
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
	list(as("reader")).refusedFor(t, "clientAddress") // nobody knows yet that it is good
	h.wait(time.Minute)
	list(as("reader")).want(t, 200)

	// A key that was good is a guess once it is not.
	expired := standard(h.keys)
	for i := range expired.APIKeys {
		expired.APIKeys[i].APIKey.ExpiresAt = h.clock()
	}
	h.apply(t, expired)
	list(as("backend")).want(t, 401)
	list(as("backend")).refusedFor(t, "clientAddress")
}

// Whatever users send through a backend, the backend goes on for the others: it has paid with a good key.
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

// A good key that may not do something pays as for anything else: or a mistake now and then would fill its bucket again.
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

// After a restart no key is known to be good. Devices behind the backend's address must not keep it so.
func TestCallsWithoutAKeyDoNotKeepAGoodOneFromBecomingKnown(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{Address: 1})
	for range 10 {
		h.do(t, "GET", "/.well-known/jwks.json").want(t, 200)
	}
	h.do(t, "GET", "/.well-known/jwks.json").refusedFor(t, "clientAddress")
	h.do(t, "DELETE", "/jwt/refresh?userId=ada", as("backend"), tenant(aTenant)).want(t, 200)
}

// A copy that is worth nothing, because another proof is asked for, must not use up what its owner may do.
func TestWhoLacksAProofUsesUpNothingOfTheOwners(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{RefreshToken: 1})
	for range 50 {
		h.exchange(t, h.bobShop.RefreshToken, tenant(bTenant)).want(t, 400, "[invalid]refreshToken")
		h.do(t, "POST", "/jwt/refresh", text(`{"refreshToken": "`+h.bobShop.RefreshToken+`", "timeToLiveInSeconds": 86400}`)).want(t, 400, "[invalid]timeToLiveInSeconds")
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
		t.Errorf("the store was called %d times for a refused call", got-calls)
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

// A host has 2^64 addresses of its own to call from.
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

// Behind a balancer that is not named all clients are one, and only the log can tell why they are refused.
func TestAFloodOfRefusalsIsOneWarningASecondWhichSaysWhatToSet(t *testing.T) {
	h := newHousehold(t)
	h.limit(t, web.RateLimits{Address: 1})
	call := func(peer string) *answer {
		return h.do(t, "GET", "/.well-known/jwks.json", from(peer), header("X-Forwarded-For", "203.0.113.9"))
	}
	for range 10 {
		call("192.0.2.77:1").want(t, 200)
	}
	loud := 0
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
	if loud < 1 || loud > 3 {
		t.Errorf("got %d warnings of 20 refusals, want one a second", loud)
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
