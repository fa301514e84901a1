package e2e_test

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

// one returns the only response of all n requests, which has to be a 200.
func one(t *testing.T, answers map[string]int, n int) string {
	t.Helper()
	if len(answers) != 1 {
		t.Fatalf("%d distinct answers, want one: %.3000q", len(answers), fmt.Sprint(answers))
	}
	only := keysOf(answers)[0]
	if answers[only] != n || !strings.HasPrefix(only, "200 ") {
		t.Fatalf("%d answers %s; want %d of 200", answers[only], only, n)
	}
	return strings.TrimPrefix(only, "200 ")
}

// A browser that restores fifty tabs simultaneously is one user, who must not be logged out.
func TestParallelExchangesOfOneStringAreAnsweredAlike(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		t.Parallel()
		s := start(t, d, settings{})
		issued := s.issue(t, "alice", "shop")
		first := exchangeCall(issued.RefreshToken)
		body := one(t, s.concurrently(t, 50, first), 50)
		if got, _ := strings.CutPrefix(s.want(t, first, http.StatusOK).steady(), "200 "); got != body {
			t.Errorf("within the grace period: %s\nwant %s", got, body)
		}
		if got := one(t, s.concurrently(t, 50, first), 50); got != body {
			t.Errorf("fifty concurrent exchanges within the grace period: %s\nwant %s", got, body)
		}
		m := s.metrics()
		if m[`refreshd_exchanges_total{outcome="rotated"}`] != "1" ||
			m[`refreshd_exchanges_total{outcome="retried"}`] != "100" {
			t.Errorf("outcomes: rotated %s, retried %s; want 1, 100", m[`refreshd_exchanges_total{outcome="rotated"}`],
				m[`refreshd_exchanges_total{outcome="retried"}`])
		}

		// A tab that continues with the new string within the grace period gets that response too.
		second, _ := answer{body: body}.grant()
		if got := one(t, s.concurrently(t, 50, exchangeCall(second.RefreshToken)), 50); got != body {
			t.Errorf("the new string within the grace period: %s\nwant %s", got, body)
		}
		if outcome, _ := s.outcome(t, second.RefreshToken); outcome != "retried" {
			t.Errorf("the new string within the grace period: %s, want retried", outcome)
		}
		if got := s.metrics()[`refreshd_exchanges_total{outcome="rotated"}`]; got != "1" {
			t.Errorf("%s rotations in one grace period, want 1", got)
		}
	})
}

func TestALateStringLeadsToTheSuccessorWhileThatIsCurrent(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		t.Parallel()
		s, clock := startStopped(t, d, settings{})
		issued := s.issue(t, "alice", "quick")
		successor := s.exchange(t, issued.RefreshToken).RefreshToken
		clock.afterGrace()
		// The first recovery is charged, and its answer stands for a grace period. Later ones are free, and their
		// answers do not stand.
		for n, want := range []string{"recovered", "retried", "retried", "", "recovered", "recovered", "recovered"} {
			if want == "" {
				clock.afterGrace()
				continue
			}
			if outcome, got := s.outcome(t, issued.RefreshToken); outcome != want || got.RefreshToken != successor {
				t.Fatalf("late, %d: %s, the successor: %t; want %s, true", n, outcome,
					got.RefreshToken == successor, want)
			}
		}
		distinct := map[string]bool{}
		for text, n := range s.concurrently(t, 50, exchangeCall(issued.RefreshToken)) {
			g, err := answer{body: strings.TrimPrefix(text, "200 ")}.grant()
			if err != nil {
				t.Fatalf("%d times: %s", n, text)
			}
			distinct[g.RefreshToken] = true
		}
		if len(distinct) != 1 || !distinct[successor] {
			t.Errorf("fifty concurrent exchanges: %d distinct token strings, the successor among them: %t", len(distinct),
				distinct[successor])
		}
		if outcome, _ := s.outcome(t, successor); outcome != "rotated" {
			t.Errorf("the successor: %s, want rotated", outcome)
		}
	})
}

// Owner and thief who alternate look like a client that loses every response. The third exchange revokes the session.
func TestRecoveryBeyondTheBudgetIsAReplay(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		t.Parallel()
		s, clock := startStopped(t, d, settings{})
		g := s.issue(t, "alice", "quick")
		for collision := range 3 {
			next := s.exchange(t, g.RefreshToken)
			clock.afterGrace()
			if collision == 2 {
				s.refused(t, g.RefreshToken, "[reused]refreshToken")
				s.refused(t, next.RefreshToken, "[revoked]refreshToken")
				s.refused(t, g.RefreshToken, "[revoked]refreshToken")
				s.want(t, acme(call{method: "GET", path: "/jwt/refresh/" + g.RefreshTokenID}), http.StatusNotFound)
				break
			}
			if outcome, got := s.outcome(t, g.RefreshToken); outcome != "recovered" || got.RefreshToken != next.RefreshToken {
				t.Fatalf("collision %d: %s, the successor: %t", collision+1, outcome, got.RefreshToken == next.RefreshToken)
			}
			clock.afterGrace()
			g = next
		}
	})
}

func TestAnOldStringIsAReplayAndEndsTheRefreshToken(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		t.Parallel()
		s, clock := startStopped(t, d, settings{})
		first := s.issue(t, "alice", "quick")
		bystander := s.issue(t, "alice", "quick")
		second := s.exchange(t, first.RefreshToken)
		clock.afterGrace()
		current := s.exchange(t, second.RefreshToken)
		clock.afterGrace()
		answers := s.concurrently(t, 50, exchangeCall(first.RefreshToken))
		reused := 0
		for text, n := range answers {
			switch {
			case strings.Contains(text, "[reused]refreshToken"):
				reused += n
			case !strings.Contains(text, "[revoked]refreshToken"):
				t.Errorf("%d answers %s", n, text)
			}
		}
		if reused == 0 {
			t.Error("none of fifty replays was called [reused]")
		}
		s.refused(t, current.RefreshToken, "[revoked]refreshToken")
		s.exchange(t, bystander.RefreshToken)
	})
}

// Otherwise anyone who finds an old string in a backup could log its owner out.
func TestAStrangerCannotHarmWhatNeedsAuthentication(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		t.Parallel()
		s, clock := startStopped(t, d, settings{})
		backend := func(g grant) call { return acme(exchangeCall(g.RefreshToken)) }
		first := s.issue(t, "alice", "guarded")
		second := s.granted(t, backend(first))
		clock.afterGrace()
		current := s.granted(t, backend(second))
		clock.afterGrace()
		one := acme(call{method: "GET", path: "/jwt/refresh/" + first.RefreshTokenID})
		before, dump := s.want(t, one, http.StatusOK).body, d.dump(t)
		for name, g := range map[string]grant{"first": first, "second": second, "current": current} {
			a := s.want(t, exchangeCall(g.RefreshToken), http.StatusUnauthorized)
			if a.header.Get("WWW-Authenticate") != `Bearer realm="refreshd"` || a.body != "" {
				t.Errorf("%s string of an attacker: %q %s", name, a.header.Get("WWW-Authenticate"), a)
			}
			s.want(t, call{method: "POST", path: "/jwt/refresh", body: form("refreshToken", g.RefreshToken), media: asForm},
				http.StatusUnauthorized)
			s.want(t, call{method: "POST", path: "/jwt/refresh",
				header: map[string]string{"Cookie": "refresh_token=" + g.RefreshToken}}, http.StatusUnauthorized)
			s.want(t, as(exchangeCall(g.RefreshToken), newAPIKey(), "acme"), http.StatusUnauthorized)
			s.want(t, as(exchangeCall(g.RefreshToken), readerKey, "acme"), http.StatusUnauthorized)
			s.want(t, as(exchangeCall(g.RefreshToken), expiredKey, "acme"), http.StatusUnauthorized)
			s.want(t, as(exchangeCall(g.RefreshToken), acmeKey, ""), http.StatusUnauthorized)
			s.want(t, as(exchangeCall(g.RefreshToken), acmeKey, "rival"), http.StatusUnauthorized)
			s.want(t, rival(exchangeCall(g.RefreshToken)), http.StatusBadRequest, "[invalid]refreshToken")
		}
		if diff := cmp.Diff(before, s.want(t, one, http.StatusOK).body); diff != "" {
			t.Errorf("an attacker changed the record (-before +after):\n%s", diff)
		}
		if diff := cmp.Diff(dump, d.dump(t)); diff != "" {
			t.Errorf("an attacker changed the store (-before +after):\n%s", diff)
		}
		next := s.granted(t, backend(current))
		if got := generation(next.RefreshToken); got != 4 {
			t.Errorf("the owner continues at generation %d, want 4", got)
		}
		// With the key, an old string is a replay.
		s.want(t, backend(first), http.StatusBadRequest, "[reused]refreshToken")
	})
}

func TestAStringWithOneBitChangedNeverReachesTheStore(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{})
		g := s.issue(t, "alice", "shop")
		genuine, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(g.RefreshToken, "rt_"))
		if err != nil || len(genuine) != 48 {
			t.Fatalf("a token string has %d bytes, want 48: %v", len(genuine), err)
		}
		before := s.storeCalls()
		if len(before) == 0 {
			t.Fatal("no call of the store is counted")
		}
		for bit := range 8 * len(genuine) {
			forged := append([]byte{}, genuine...)
			forged[bit/8] ^= 1 << (bit % 8)
			s.refused(t, "rt_"+base64.RawURLEncoding.EncodeToString(forged), "[invalid]refreshToken")
		}
		// The same holds for a string whose checksum was corrected. An unknown number of a token key reads the keys
		// again, at most once a second, and no refresh token.
		ofKeyNumber := func(bit int) bool { return bit/8 >= 1 && bit/8 <= 3 }
		rightChecksum := func(bit int) string {
			forged := append([]byte{}, genuine...)
			forged[bit/8] ^= 1 << (bit % 8)
			binary.BigEndian.PutUint32(forged[44:], crc32.ChecksumIEEE(forged[:44]))
			return "rt_" + base64.RawURLEncoding.EncodeToString(forged)
		}
		for bit := range 8 * 44 {
			if !ofKeyNumber(bit) {
				s.refused(t, rightChecksum(bit), "[invalid]refreshToken")
			}
		}
		for _, text := range []string{
			g.RefreshToken + "A", g.RefreshToken[:66], g.RefreshToken + "\n", " " + g.RefreshToken,
			strings.ToLower(g.RefreshToken),
			"RT_" + g.RefreshToken[3:], g.RefreshToken[3:], g.RefreshToken + "=", g.RefreshToken[:30] + "\r\n" +
				g.RefreshToken[30:],
			"rt_" + strings.Repeat("A", 64), strings.Repeat("x", 4096), g.Token, "null",
		} {
			s.refused(t, text, "[invalid]refreshToken")
		}
		if diff := cmp.Diff(before, s.storeCalls()); diff != "" {
			t.Errorf("the store was asked (-before +after):\n%s", diff)
		}
		for bit := range 8 * 44 {
			if ofKeyNumber(bit) {
				s.refused(t, rightChecksum(bit), "[invalid]refreshToken")
			}
		}
		if diff := cmp.Diff(before, s.storeCalls()); diff != "" {
			t.Errorf("the store was asked for more than keys (-before +after):\n%s", diff)
		}
		s.exchange(t, g.RefreshToken)
		if cmp.Equal(before, s.storeCalls()) {
			t.Error("an exchange did not count as a call of the store: the counter proves nothing")
		}
	})
}

func TestAnOldAccessTokenOfAnotherSessionRefusesTheExchange(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{})
		mine, other := s.issue(t, "alice", "shop"), s.issue(t, "alice", "shop")
		with := func(token string) call {
			return call{method: "POST", path: "/jwt/refresh", body: object("refreshToken", mine.RefreshToken, "token", token)}
		}
		s.want(t, with(other.Token), http.StatusBadRequest, "[invalid]refreshToken")
		if got := s.want(t, acme(call{method: "GET", path: "/jwt/refresh/" + mine.RefreshTokenID}),
			http.StatusOK).record(t).Generation; got != 1 {
			t.Errorf("generation after the refusal = %d, want 1", got)
		}
		s.granted(t, with(mine.Token))
		s.granted(t, with("not.a.token"))
	})
}

func TestARacingLimitLeavesNoMoreAliveThanItSays(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{})
		answers := s.concurrently(t, 200, issueCall("alice", "five"))
		alive := 0
		for text, n := range answers {
			g, err := answer{body: strings.TrimPrefix(text, "200 ")}.grant()
			if err != nil || n != 1 {
				t.Fatalf("%d times: %s", n, text)
			}
			switch outcome, _ := s.outcome(t, g.RefreshToken); outcome {
			case "rotated":
				alive++
			case "revoked":
			default:
				t.Errorf("a token beyond the limit: %s", outcome)
			}
		}
		if listed := s.want(t, acme(call{method: "GET", path: "/jwt/refresh?userId=alice"}),
			http.StatusOK).records(t); alive != 5 || len(listed) != 5 {
			t.Errorf("after 200 concurrent issues %d exchange and %d are listed, want 5", alive, len(listed))
		}
		s.issue(t, "bob", "five")
		if got := len(s.want(t, acme(call{method: "GET", path: "/jwt/refresh?userId=alice"}),
			http.StatusOK).records(t)); got != 5 {
			t.Errorf("another user's issue left %d, want 5", got)
		}
	})
}

func TestIssueWithTheCallersIdIsIdempotent(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{})
		id := uuid.Must(uuid.NewV7()).String()
		issue := acme(call{method: "POST", path: "/jwt/issue",
			body: object("userId", "alice", "applicationsId", "shop", "refreshTokenId", id)})
		body := one(t, s.concurrently(t, 50, issue), 50)
		g, _ := answer{body: body}.grant()
		if g.RefreshTokenID != id {
			t.Errorf("id = %s, want the caller's", g.RefreshTokenID)
		}
		s.exchange(t, g.RefreshToken)
		if got, _ := strings.CutPrefix(s.want(t, issue, http.StatusOK).steady(), "200 "); got != body {
			t.Errorf("after an exchange: %s\nwant %s", got, body)
		}
		theirs := rival(call{method: "POST", path: "/jwt/issue", body: issue.body})
		s.want(t, theirs, http.StatusBadRequest, "[duplicate]refreshTokenId")
	})
}
