package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/refreshd/refreshd/test/support/rig"
)

// tabsGrace is the grace period of the application tabs.
const tabsGrace = 2 * time.Second

// cookieCall returns an exchange of the token string in the cookie, by a page of the service's own origin.
func cookieCall(tokenString string) call {
	return call{method: "POST", path: "/jwt/refresh", header: map[string]string{
		"Cookie": "refresh_token=" + tokenString, "Sec-Fetch-Site": "same-origin",
	}}
}

// renewed returns the token string of an exchange's response, from its cookie or its body, and the access token.
func (a answer) renewed() (tokenString, accessToken string) {
	g, _ := a.grant()
	if c := cookieOf(a, "refresh_token"); c != nil {
		return c.Value, g.Token
	}
	return g.RefreshToken, g.Token
}

func (v *service) generationOf(t *testing.T, id string) uint32 {
	t.Helper()
	return v.want(t, acme(call{method: "GET", path: "/jwt/refresh/" + id}), http.StatusOK).record(t).Generation
}

// browser is the state that the tabs of one user share, and what they saw.
type browser struct {
	clock      *clock
	mu         sync.Mutex
	newest     string
	currentAt  map[string]time.Time // the last instant at which a token string was certainly current
	calls      int
	old        int                        // exchanges with the previous string
	strings    map[uint32]map[string]bool // by generation
	accesses   map[uint32]map[string]bool
	recovered  map[uint32]bool
	violations []string
}

func newBrowser(issued grant, clock *clock) *browser {
	b := &browser{
		clock: clock, newest: issued.RefreshToken, currentAt: map[string]time.Time{issued.RefreshToken: clock.now()},
		strings: map[uint32]map[string]bool{}, accesses: map[uint32]map[string]bool{}, recovered: map[uint32]bool{},
	}
	return b
}

func (b *browser) violate(format string, args ...any) {
	b.violations = append(b.violations, fmt.Sprintf(format, args...))
}

// exchange sends a token string that was current until a moment ago. The service must accept it, and must not respond
// with an older string than anyone had received before it was sent.
func (b *browser) exchange(c *client, sent string, byCookie bool) (got string) {
	b.mu.Lock()
	floor := generation(b.newest)
	b.calls++
	if generation(sent) < floor {
		b.old++
	}
	b.mu.Unlock()
	call := exchangeCall(sent)
	if byCookie {
		call = cookieCall(sent)
	}
	begin := b.clock.now()
	a, err := c.do(call)
	b.mu.Lock()
	defer b.mu.Unlock()
	got, access := a.renewed()
	if err != nil || a.status != http.StatusOK || got == "" || access == "" {
		b.violate("generation %d, certainly current %s ago, while %d is the newest: %v %s", generation(sent),
			b.clock.now().Sub(b.currentAt[sent]), generation(b.newest), err, a)
		return ""
	}
	g := generation(got)
	if g < floor {
		b.violate("generation %d is answered after %d was", g, floor)
	}
	if g > generation(b.newest) {
		b.newest = got
	}
	if begin.After(b.currentAt[got]) {
		b.currentAt[got] = begin
	}
	if a.header.Get("Refreshd-Outcome") == "recovered" {
		b.recovered[g] = true
	}
	add(b.strings, g, got)
	add(b.accesses, g, access)
	return got
}

func add(m map[uint32]map[string]bool, g uint32, s string) {
	if m[g] == nil {
		m[g] = map[string]bool{}
	}
	m[g][s] = true
}

// distinct returns how many token strings there are, and the most of one generation but those.
func distinct(m map[uint32]map[string]bool, but map[uint32]bool) (all, most int) {
	for g, s := range m {
		all += len(s)
		if !but[g] {
			most = max(most, len(s))
		}
	}
	return all, most
}

// late returns a token string that a slow tab may still have: the previous one, if it was current a short while ago.
func (b *browser) late(within time.Duration) (tokenString string, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for s, at := range b.currentAt {
		if generation(s)+1 == generation(b.newest) && b.clock.now().Sub(at) < within {
			return s, true
		}
	}
	return "", false
}

// holds checks the promises to a session whose exchanges were all made by tabs, and which ended with the last of them.
func (b *browser) holds(t *testing.T, s *service, id string, began time.Time, grace time.Duration) (generation uint32) {
	t.Helper()
	took := b.clock.now().Sub(began)
	for _, violation := range b.violations[:min(5, len(b.violations))] {
		t.Error(violation)
	}
	generation = s.generationOf(t, id)
	// The first exchange rotates, and each later rotation is at least a grace period after the previous one.
	if most := uint32(2 + took/grace); generation > most {
		t.Errorf("generation %d is stored after %s, want at most %d: one rotation in a grace period of %s", generation,
			took, most, grace)
	}
	if _, most := distinct(b.strings, nil); most != 1 {
		t.Errorf("%d token strings of one generation, want 1", most)
	}
	if _, most := distinct(b.accesses, b.recovered); most != 1 {
		t.Errorf("%d access tokens within one grace period, want 1", most)
	}
	return generation
}

// A user with many tabs, some of them slow, is one user: every exchange within a grace period gets the same response.
func TestFiftyTabsRotateOnceInAGracePeriodAndAreAnsweredAlike(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		t.Parallel()
		if !storms {
			tabStorm(t, d, "tabs", tabsGrace, 5*time.Second)
			return
		}
		for application, grace := range map[string]time.Duration{"tabs": tabsGrace, "shop": 30 * time.Second} {
			t.Run(application, func(t *testing.T) {
				t.Parallel()
				tabStorm(t, d, application, grace, 32*time.Second)
			})
		}
	})
}

// tabStorm makes fifty tabs exchange, half of them by cookie.
func tabStorm(t *testing.T, d database, application string, grace, lasts time.Duration) {
	const tabs, step = 50, 100 * time.Millisecond
	s, clock := startStopped(t, d, settings{env: []string{"REFRESHD_RATE_LIMIT_REFRESH_TOKEN=1000000"}})
	issued := s.issue(t, "alice", application)
	b, began := newBrowser(issued, clock), clock.now()
	type tab struct {
		mine string
		seen time.Time
	}
	browserTabs := slices.Repeat([]tab{{issued.RefreshToken, began}}, tabs)
	for clock.now().Sub(began) < lasts && len(b.violations) == 0 {
		var group sync.WaitGroup
		for i := range browserTabs {
			if rand.N(2) == 0 { // it is idle now
				continue
			}
			group.Go(func() {
				my := &browserTabs[i]
				at := clock.now()
				sent := my.mine
				if at.Sub(my.seen) > grace/2 { // this tab was suspended: it reads what the others stored
					b.mu.Lock()
					sent = b.newest
					b.mu.Unlock()
				} else if old, ok := b.late(grace / 2); ok && rand.N(3) == 0 {
					sent = old
				}
				got := b.exchange(s.client, sent, i%2 == 0)
				if got != "" && generation(got) >= generation(my.mine) {
					my.mine, my.seen = got, at
				}
			})
		}
		clock.advance(step) // while they are running
		group.Wait()
	}
	g := b.holds(t, s, issued.RefreshTokenID, began, grace)
	if least := uint32(2 + (lasts-step)/(grace+2*step)); g < least {
		t.Errorf("generation %d after %s, want at least %d: nothing holds a rotation back for longer than a grace "+
			"period", g, lasts, least)
	}
	if b.old == 0 {
		t.Error("no tab was late")
	}
	m := s.metrics()
	if got, want := m[`refreshd_exchanges_total{outcome="rotated"}`], fmt.Sprint(g-1); got != want {
		t.Errorf("%s rotations are counted, want %s", got, want)
	}
	if outcome, _ := s.outcome(t, b.newest); outcome != "rotated" && outcome != "retried" {
		t.Errorf("afterwards the newest string: %s", outcome)
	}
	all, _ := distinct(b.strings, nil)
	accesses, _ := distinct(b.accesses, nil)
	note([]string{"50 tabs, " + lasts.String(), "grace period", "calls", "with an old string", "rotations",
		"generation", "distinct strings",
		"distinct access tokens", "recoveries", "violations"},
		d.engine, grace.String(), fmt.Sprint(b.calls), fmt.Sprint(b.old),
		m[`refreshd_exchanges_total{outcome="rotated"}`],
		fmt.Sprint(g), fmt.Sprint(all), fmt.Sprint(accesses), m[`refreshd_exchanges_total{outcome="recovered"}`],
		fmt.Sprint(len(b.violations)))
	t.Logf("%d tabs in %s: %d exchanges, %d of them with an old string, generation %d, %d distinct token strings, %d "+
		"distinct access tokens",
		tabs, lasts, b.calls, b.old, g, all, accesses)
}

// Responses arrive out of order, and the browser keeps the last cookie, which may be the older one.
func TestCookiesThatLandInAnyOrderAreAnswered(t *testing.T) {
	const lasts, slowest, every = 5 * time.Second, tabsGrace * 2 / 5, 25 * time.Millisecond
	eachStore(t, func(t *testing.T, d database) {
		t.Parallel()
		s, clock := startStopped(t, d, settings{})
		issued := s.issue(t, "alice", "tabs")
		b, began := newBrowser(issued, clock), clock.now()
		type response struct {
			tokenString string
			lands       time.Time
		}
		var (
			mu        sync.Mutex
			jar       = issued.RefreshToken
			under     []response // on their way to the browser
			backwards int
		)
		for clock.now().Sub(began) < lasts && len(b.violations) == 0 {
			under = slices.DeleteFunc(under, func(r response) bool {
				if r.lands.After(clock.now()) {
					return false
				}
				if generation(r.tokenString) < generation(jar) {
					backwards++
				}
				jar = r.tokenString
				return true
			})
			var group sync.WaitGroup
			for range 2 {
				group.Go(func() {
					got, lands := b.exchange(s.client, jar, true), clock.now().Add(rand.N(slowest))
					mu.Lock()
					defer mu.Unlock()
					if got != "" {
						under = append(under, response{got, lands})
					}
				})
			}
			clock.advance(every) // while they are running
			group.Wait()
		}
		if backwards == 0 || b.old == 0 {
			t.Errorf("%d cookies landed on newer ones, and %d exchanges sent an old one: that shows nothing", backwards,
				b.old)
		}

		// The worst order: a response that was sent before a rotation arrives after the rotation's.
		old := b.exchange(s.client, b.newest, true)
		for began := clock.now(); b.newest == old; clock.advance(every) {
			if b.exchange(s.client, old, true); clock.now().Sub(began) > 3*tabsGrace {
				t.Fatal("nothing rotates any more")
			}
		}
		b.holds(t, s, issued.RefreshTokenID, began, tabsGrace)
		for _, tt := range []struct {
			wait time.Duration
			want string
		}{{0, "retried"}, {tabsGrace + 200*time.Millisecond, "recovered"}} {
			clock.advance(tt.wait)
			a := s.want(t, cookieCall(old), http.StatusOK)
			if got, _ := a.renewed(); got != b.newest || a.header.Get("Refreshd-Outcome") != tt.want {
				t.Errorf("the jar ends with the old cookie, %s later: %s, the current string: %t; want %s",
					tt.wait,
					a.header.Get("Refreshd-Outcome"), got == b.newest, tt.want)
			}
		}
		t.Logf("%d exchanges, %d cookies landed on newer ones, %d exchanges sent an old one: all were answered",
			b.calls, backwards, b.old)
	})
}

// Two tabs were suspended while a third rotated. Both resume late, and the third continues: the first to resume must
// not log the second out.
func TestTwoLateTabsAreAnsweredAfterARecoveryWhileAThirdGoesOn(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		t.Parallel()
		s, clock := startStopped(t, d, settings{})
		before := s.issue(t, "alice", "quick").RefreshToken
		current := s.exchange(t, before).RefreshToken
		want := func(sent, outcome, answered string) {
			t.Helper()
			if got, g := s.outcome(t, sent); got != outcome || g.RefreshToken != answered {
				t.Fatalf("generation %d: %s, leads to generation %d; want %s, %d", generation(sent), got,
					generation(g.RefreshToken), outcome,
					generation(answered))
			}
		}
		for range 2 { // the budget allows two
			clock.afterGrace()
			want(before, "recovered", current) // the first tab
			want(current, "retried", current)  // the third
			want(before, "retried", current)   // the second
			for sent, answers := range map[string]map[string]int{
				"before":  s.concurrently(t, 20, exchangeCall(before)),
				"current": s.concurrently(t, 20, exchangeCall(current)),
			} {
				g, _ := answer{body: one(t, answers, 20)}.grant()
				if g.RefreshToken != current {
					t.Errorf("the string %s: generation %d, want %d", sent, generation(g.RefreshToken),
						generation(current))
				}
			}
			clock.afterGrace()
			_, next := s.outcome(t, current)
			before, current = current, next.RefreshToken
			want(before, "retried", current)
		}
		if got := s.metrics()[`refreshd_exchanges_total{outcome="rotated"}`]; got != "3" {
			t.Errorf("%s rotations, want 3", got)
		}
	})
}

// If a recovery delayed the owner's next rotation, a thief who sends the previous string again and again would always
// get a response, and never be detected.
func TestAPinnedGenerationRotatesAndItsThiefIsCaught(t *testing.T) {
	const (
		grace  = time.Second
		period = grace + 100*time.Millisecond
		owner  = 2500 * time.Millisecond
		within = 20 * time.Second
	)
	for name, tt := range map[string]struct {
		follows bool // the thief gets each string that the owner has replaced
		within  time.Duration
	}{
		"with the string that was stolen":        {false, 2 * owner},
		"with the string before the current one": {true, within},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachStore(t, func(t *testing.T, d database) {
				t.Parallel()
				s, clock := startStopped(t, d, settings{})
				issued := s.issue(t, "alice", "quick")
				var (
					began   = clock.now()
					stolen  = issued.RefreshToken
					current = s.exchange(t, stolen).RefreshToken
					last    = began // the owner's last rotation
					longest time.Duration
					words   []string // the outcomes of the thief, in their order
				)
				ownerNext, thiefNext := began.Add(owner), began.Add(period)
				for caught := false; !caught; {
					if clock.now().Sub(began) > tt.within {
						t.Fatalf("the thief is not caught after %s: he got %v", tt.within, words)
					}
					if thiefNext.Before(ownerNext) {
						clock.stop(thiefNext)
						thiefNext = thiefNext.Add(period)
						word, g := s.outcome(t, stolen)
						words = append(words, word)
						switch {
						case word == "replayed":
							caught = true
						case g.RefreshToken != current:
							t.Fatalf("the thief is %s, at generation %d; the owner's is %d", word,
								generation(g.RefreshToken), generation(current))
						}
						continue
					}
					clock.stop(ownerNext)
					ownerNext = ownerNext.Add(owner)
					word, g := s.outcome(t, current)
					switch word {
					case "rotated":
						if tt.follows {
							stolen = current
						}
						current, longest, last = g.RefreshToken, max(longest, clock.now().Sub(last)), clock.now()
					case "retried": // within a grace period of the thief's first recovery
					default:
						t.Fatalf("the owner, before the thief is caught: %s", word)
					}
				}
				s.refused(t, current, "[revoked]refreshToken")
				s.refused(t, stolen, "[revoked]refreshToken")
				if generation(current) < 3 || longest > 2*owner+grace {
					t.Errorf("the owner ended at generation %d, and waited %s for a rotation", generation(current),
						longest)
				}
				if !slices.Contains(words, "recovered") {
					t.Errorf("the thief never pinned anything: %v", words)
				}
				t.Logf("caught after %s, the owner at generation %d; the thief got %v",
					clock.now().Sub(began),
					generation(current), words)
			})
		})
	}
}

// Without a grace period there are no retries: the current string rotates each time, and the previous one is recovered,
// within the budget.
func TestWithoutAGracePeriodTheTableHoldsToTheLetter(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{})
		// session issues a refresh token of an application with the default budget, burst 2 and interval 10.
		session := func() (before, current string) {
			before = s.issue(t, "alice", "zero").RefreshToken
			return before, s.exchange(t, before).RefreshToken
		}
		var before, current string
		rotate := func(n int) {
			t.Helper()
			for range n {
				word, g := s.outcome(t, current)
				if word != "rotated" || generation(g.RefreshToken) != generation(current)+1 {
					t.Fatalf("the current string: %s, generation %d follows %d", word, generation(g.RefreshToken),
						generation(current))
				}
				before, current = current, g.RefreshToken
			}
		}
		recovers := func(n int) {
			t.Helper()
			for range n {
				if word, g := s.outcome(t, before); word != "recovered" || g.RefreshToken != current {
					t.Fatalf("the string before: %s, the current one: %t; want recovered, true", word,
						g.RefreshToken == current)
				}
			}
		}
		replay := func() {
			t.Helper()
			s.refused(t, before, "[reused]refreshToken")
			s.refused(t, current, "[revoked]refreshToken")
		}

		before, current = session()
		rotate(20)
		recovers(3) // charged once
		rotate(1)
		recovers(2)
		rotate(1)
		replay()

		// The budget allows the third recovery at the tenth generation after the first, and not before.
		for _, tt := range []struct {
			rotations int
			then      func()
		}{{9, func() { recovers(1) }}, {8, replay}} {
			before, current = session()
			rotate(1)
			recovers(1)
			rotate(1)
			recovers(1)
			rotate(tt.rotations)
			tt.then()
		}

		// The string before the previous one is a replay, whatever the budget.
		before, current = session()
		oldest := before
		rotate(1)
		s.refused(t, oldest, "[reused]refreshToken")
		s.refused(t, current, "[revoked]refreshToken")

		// Of fifty concurrent exchanges one rotates; the others are one recovery.
		_, current = session()
		rotated := s.metrics()[`refreshd_exchanges_total{outcome="rotated"}`]
		answered := map[string]bool{}
		for text, n := range s.concurrently(t, 50, exchangeCall(current)) {
			g, err := answer{body: text[len("200 "):]}.grant()
			if err != nil || g.RefreshToken == "" {
				t.Fatalf("%d answers %s", n, text)
			}
			answered[g.RefreshToken] = true
		}
		if len(answered) != 1 {
			t.Errorf("fifty concurrent exchanges: %d token strings, want 1", len(answered))
		}
		if got := s.metrics()[`refreshd_exchanges_total{outcome="rotated"}`]; atoi(t, got) != atoi(t, rotated)+1 {
			t.Errorf("%s rotations after %s, want one more", got, rotated)
		}
	})
}

func atoi(t *testing.T, text string) (n int) {
	t.Helper()
	if _, err := fmt.Sscan(text, &n); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return n
}

// copyFiles replaces the regular files of one directory by those of another.
func copyFiles(t *testing.T, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// A replica whose clock is wrong by more than a grace period neither delays a rotation nor is delayed by the other
// replicas.
func TestAClockThatIsFarOffHoldsNoRotationBack(t *testing.T) {
	eachDatabase(t, func(t *testing.T, d database) {
		together := settings{env: []string{"REFRESHD_PUBLIC_URL=https://auth.example.com",
			"REFRESHD_PURGE_INTERVAL=0s"}}
		right := start(t, d, together)
		for _, off := range []time.Duration{time.Hour, -time.Hour} {
			told := together
			newClock(t, &told, off)
			wrong := start(t, d, told)
			g := right.issue(t, "alice", "shop")
			var before string
			rotated := func(s *service, ahead time.Duration) {
				t.Helper()
				sent := time.Now().Add(ahead)
				word, next := s.outcome(t, g.RefreshToken)
				if word != "rotated" {
					t.Fatalf("a clock is off by %s: %s, want rotated", off, word)
				}
				came := time.Now().Add(ahead)
				if c := claimsOf(t, next.Token); c.Iat > came.Unix() || c.Exp <= sent.Unix() {
					t.Errorf("a clock is off by %s: iat %d, exp %d at %d", off, c.Iat, c.Exp, came.Unix())
				}
				if word, again := s.outcome(t, g.RefreshToken); word != "retried" ||
					again.RefreshToken != next.RefreshToken {
					t.Errorf("a clock is off by %s: a retry at the same process: %s, the same string: %t", off, word,
						again.RefreshToken == next.RefreshToken)
				}
				before, g = g.RefreshToken, next
			}
			for range 2 {
				rotated(right, 0)
				rotated(wrong, off)
			}
			// The answer of the wrong clock does not stand by the right one: the previous string is late, and charged.
			if word, again := right.outcome(t, before); word != "recovered" || again.RefreshToken != g.RefreshToken {
				t.Errorf("a clock is off by %s: the string before: %s, the current one: %t; want recovered, true", off,
					word,
					again.RefreshToken == g.RefreshToken)
			}
			wrong.Stop()
		}
	})
}

// After a restore, the owner's string is newer than the store. An operator who allows it accepts that string, and no
// other.
func TestARestoredBackupTakesNewerStringsOnlyWhenItIsToldTo(t *testing.T) {
	d := newDatabase(t, sqlite)
	s := start(t, d, settings{expectsErrors: true})
	issued := s.issue(t, "alice", "chain")
	other := s.issue(t, "bob", "chain")
	backedUp := s.exchange(t, issued.RefreshToken)
	s.Stop()
	data, backup := filepath.Dir(d.path()), filepath.Join(t.TempDir(), "backup")
	copyFiles(t, data, backup)
	s.run()
	lost := s.exchange(t, backedUp.RefreshToken)
	newest := s.exchange(t, lost.RefreshToken)
	s.Stop()
	copyFiles(t, backup, data)

	s.run()
	before := d.dump(t)
	s.refused(t, newest.RefreshToken, "[invalid]refreshToken")
	s.refused(t, lost.RefreshToken, "[invalid]refreshToken")
	if after := d.dump(t); after != before {
		t.Errorf("a refusal changed the store from\n%s\nto\n%s", before, after)
	}
	if g := s.generationOf(t, issued.RefreshTokenID); g != 2 {
		t.Errorf("generation %d is stored, want that of the backup, 2", g)
	}
	s.await("saying at level error that the store went back in time", func() bool {
		return says(t, s, "ERROR", "invalid", "the store went back in time")
	})
	s.Stop()

	s.settings.env = append(s.settings.env, "REFRESHD_RESTORED=true")
	s.settings.expectsErrors = false
	s.run()
	s.await("reminding the operator that REFRESHD_RESTORED is set", func() bool {
		return strings.Contains(s.process.Log(), "unset REFRESHD_RESTORED")
	})
	word, next := s.outcome(t, newest.RefreshToken)
	if word != "rotated" || generation(next.RefreshToken) != 5 {
		t.Fatalf("the newer string: %s, generation %d; want rotated, 5", word, generation(next.RefreshToken))
	}
	if g := s.generationOf(t, issued.RefreshTokenID); g != 5 {
		t.Errorf("generation %d is stored, want 5", g)
	}
	s.await("saying at level warn that a newer string was rotated", func() bool {
		return says(t, s, "WARN", "rotated", "restored")
	})
	if word, g := s.outcome(t, newest.RefreshToken); word != "recovered" || g.RefreshToken != next.RefreshToken {
		t.Errorf("the same again: %s, the same string: %t; want recovered, true", word,
			g.RefreshToken == next.RefreshToken)
	}
	if word, _ := s.outcome(t, next.RefreshToken); word != "rotated" {
		t.Errorf("the session continues: %s, want rotated", word)
	}
	s.refused(t, lost.RefreshToken, "[reused]refreshToken") // an old string is a replay, restored or not
	if word, _ := s.outcome(t, other.RefreshToken); word != "rotated" {
		t.Errorf("a session that is current in the backup: %s, want rotated", word)
	}
}

// says reports whether the service's log has a line with that level, outcome and reason.
func says(t *testing.T, s *service, level, outcome, why string) bool {
	t.Helper()
	for line := range strings.Lines(s.process.Log()) {
		var l struct{ Level, Outcome, Why string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Level == level && l.Outcome == outcome &&
			strings.Contains(l.Why, why) {
			return true
		}
	}
	return false
}

// accessClaims are the claims that identify an access token and its lifetime.
type accessClaims struct {
	Iat, Exp int64
	Jti      string
	Sid      string
	Rve      *int64
}

// rve is the session's epoch; -1 if absent.
func (c accessClaims) rve() int64 {
	if c.Rve == nil {
		return -1
	}
	return *c.Rve
}

func claimsOf(t *testing.T, accessToken string) (c accessClaims) {
	t.Helper()
	readClaims(t, accessToken, &c)
	return c
}

// readClaims reads the claims that the fields of `to` name.
func readClaims(t *testing.T, accessToken string, to any) {
	t.Helper()
	if err := rig.ReadClaims(accessToken, to); err != nil {
		t.Fatal(err)
	}
}

// accessTokens checks the access token of each response.
type accessTokens struct {
	t       *testing.T
	byToken map[string]string // its jti
	byJTI   map[string]string
}

// check checks a response at now, by the service's clock, to a request for a lifetime in seconds. end is the end of the
// session in Unix seconds, or 0 if it is far in the future.
func (a *accessTokens) check(where string, g grant, now time.Time, lifetime, end int64) accessClaims {
	a.t.Helper()
	c := claimsOf(a.t, g.Token)
	half := max(1, lifetime/2)
	left := time.Unix(c.Exp, 0).Sub(now)
	switch {
	case left <= 0:
		a.t.Errorf("%s: exp %d is not after now, %s", where, c.Exp, now.UTC())
	case end == 0 && left <= time.Duration(lifetime-half)*time.Second:
		a.t.Errorf("%s: %s remain of %d s, want more than %d s", where, left, lifetime, lifetime-half)
	case end == 0 && c.Exp != c.Iat+lifetime, end != 0 && c.Exp != min(c.Iat+lifetime, end):
		a.t.Errorf("%s: iat %d, exp %d; want a lifetime of %d s, the end of the session being %d", where, c.Iat, c.Exp,
			lifetime, end)
	case c.Iat > now.Unix():
		a.t.Errorf("%s: iat %d is ahead of now, %d", where, c.Iat, now.Unix())
	case c.Rve == nil:
		a.t.Errorf("%s: no claim rve", where)
	case c.Sid != g.RefreshTokenID:
		a.t.Errorf("%s: sid %s, want %s", where, c.Sid, g.RefreshTokenID)
	}
	if want := int64((left + time.Second - 1) / time.Second); g.ExpiresIn != want || want > lifetime {
		a.t.Errorf("%s: expiresIn is %d, want %d, and at most %d", where, g.ExpiresIn, want, lifetime)
	}
	if was, seen := a.byToken[g.Token]; seen && was != c.Jti {
		a.t.Errorf("%s: one access token has two jti", where)
	}
	if was, seen := a.byJTI[c.Jti]; c.Jti == "" || seen && was != g.Token {
		a.t.Errorf("%s: two access tokens have the jti %q", where, c.Jti)
	}
	a.byToken[g.Token], a.byJTI[c.Jti] = c.Jti, g.Token
	return c
}

// An access token is valid when it arrives, to the second, in a retry as well: for every requested lifetime, and every
// fraction of the second.
func TestAnAccessTokenIsNeverExpiredWhenItIsAnswered(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		t.Parallel()
		var told settings
		told.env = []string{"REFRESHD_PURGE_INTERVAL=0s"}
		clock := newClock(t, &told, 0)
		s := start(t, d, told)
		now := time.Now().Truncate(time.Second).Add(2 * time.Second) // the keys of its start sign by then
		at := func(next time.Time) time.Time {
			now = next
			clock.stop(now)
			return now
		}
		ask := func(tokenString string, lifetime int64) call {
			c := call{method: "POST", path: "/jwt/refresh"}
			c.body = fmt.Sprintf(`{"refreshToken": %q, "timeToLiveInSeconds": %d}`, tokenString, lifetime)
			return c
		}
		tokens := &accessTokens{t, map[string]string{}, map[string]string{}}
		answers := 0
		for _, lifetime := range []int64{1, 2, 3, 7, 900} {
			half := time.Duration(max(1, lifetime/2)) * time.Second
			for _, phase := range []time.Duration{0, time.Microsecond, 499_999 * time.Microsecond,
				999_999 * time.Microsecond} {
				began := at(now.Truncate(time.Second).Add(time.Second + phase))
				g := s.issue(t, "alice", "shop")
				tokens.check("issue", g, now, 900, 0)
				a := s.want(t, ask(g.RefreshToken, lifetime), http.StatusOK)
				first, _ := a.grant()
				tokens.check("rotated", first, now, lifetime, 0)
				byHalf := map[time.Duration]string{0: first.Token}
				for _, later := range []time.Duration{0, 1, 250_000, 500_000, 999_999, 1_000_000, 1_000_001, 1_500_000,
					1_999_999, 2_000_000,
					2_999_999, 3_000_000, 3_500_001, 6_999_999, 7_000_000, 29_999_999} {
					at(began.Add(later * time.Microsecond))
					where := fmt.Sprintf("lifetime %d s, asked %s after a rotation at %s after the second", lifetime,
						later*time.Microsecond, phase)
					for _, sent := range []string{g.RefreshToken, first.RefreshToken} {
						a := s.want(t, ask(sent, lifetime), http.StatusOK)
						again, _ := a.grant()
						if word := a.header.Get("Refreshd-Outcome"); word != "retried" ||
							again.RefreshToken != first.RefreshToken {
							t.Fatalf("%s: %s, the same string: %t; want retried, true", where, word,
								again.RefreshToken == first.RefreshToken)
						}
						tokens.check(where, again, now, lifetime, 0)
						k := now.Sub(began.Truncate(time.Second)) / half
						if was, seen := byHalf[k]; seen && was != again.Token {
							t.Errorf("%s: another access token in the same half of its lifetime", where)
						}
						byHalf[k] = again.Token
						answers++
					}
				}
				if distinct := slices.Compact(slices.Sorted(maps.Values(byHalf))); len(distinct) != len(byHalf) {
					t.Errorf("lifetime %d s: %d halves of it, %d access tokens", lifetime, len(byHalf), len(distinct))
				}
				// The lifetime of a recovery's access token counts from the recovery, also in the retries after it.
				at(began.Add(time.Hour + phase))
				for _, want := range []string{"recovered", "retried"} {
					a := s.want(t, ask(g.RefreshToken, lifetime), http.StatusOK)
					again, _ := a.grant()
					if word := a.header.Get("Refreshd-Outcome"); word != want {
						t.Fatalf("an hour later: %s, want %s", word, want)
					}
					if c := tokens.check(want, again, now, lifetime, 0); c.Iat != now.Unix() {
						t.Errorf("%s: iat %d, want %d", want, c.Iat, now.Unix())
					}
				}
			}
		}

		// At the end of a session.
		at(now.Truncate(time.Second).Add(1300 * time.Millisecond))
		g := s.issue(t, "alice", "fixed")
		end := now.Truncate(time.Second).Add(time.Minute)
		for _, left := range []time.Duration{5 * time.Second, 1500 * time.Millisecond, time.Second,
			999_999 * time.Microsecond, time.Microsecond} {
			at(end.Add(-left))
			for _, lifetime := range []int64{1, 2, 3, 900} {
				again := s.granted(t, ask(g.RefreshToken, lifetime))
				tokens.check(fmt.Sprintf("%s before the end, lifetime %d s", left, lifetime), again, now, lifetime,
					end.Unix())
				if again.RefreshTokenExpiresIn != int64((left+time.Second-1)/time.Second) {
					t.Errorf("%s before the end: refreshTokenExpiresIn is %d", left, again.RefreshTokenExpiresIn)
				}
			}
		}
		at(end)
		s.refused(t, g.RefreshToken, "[expired]refreshToken")

		// The epoch in which a session was issued.
		rve := func(g grant) int64 { return tokens.check("rve", g, now, 900, 0).rve() }
		old := s.issue(t, "alice", "shop")
		s.want(t, acme(call{method: "DELETE", path: "/jwt/refresh?userId=carol"}), http.StatusOK)
		fresh := s.issue(t, "alice", "shop")
		if was, is, after := rve(old), rve(s.exchange(t, old.RefreshToken)), rve(fresh); was != is || after != was+1 {
			t.Errorf("rve: %d at issue, %d at its exchange, %d of a session after a revocation; want n, n, n+1", was,
				is, after)
		}
		t.Logf("%d retries, %d distinct access tokens, and none was expired or had another one's jti", answers,
			len(tokens.byToken))
	})
}

// An import of another system's session continues it.
func TestAnImportKeepsItsInstants(t *testing.T) {
	eachStore(t, func(t *testing.T, d database) {
		s := start(t, d, settings{})
		const day = 24 * time.Hour
		begin := time.Now()
		ago := func(age time.Duration) int64 { return begin.Add(-age).UnixMilli() }
		imported := func(application string, instants map[string]int64, more ...string) call {
			body := map[string]any{"userId": "alice", "applicationsId": application}
			for name, ms := range instants {
				body[name] = ms
			}
			for i := 0; i < len(more); i += 2 {
				body[more[i]] = more[i+1]
			}
			text, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			return acme(call{method: "POST", path: "/jwt/issue", body: string(text)})
		}
		type instants struct{ InsertInstant, ExpirationInstant int64 }
		stored := func(id string) (i instants) {
			t.Helper()
			a := s.want(t, acme(call{method: "GET", path: "/jwt/refresh/" + id}), http.StatusOK)
			if err := json.Unmarshal([]byte(a.body), &struct{ Data *instants }{&i}); err != nil {
				t.Fatal(err)
			}
			return i
		}
		const aYear, aMonth = 365 * day, 30 * day
		// near reports whether an instant is the beginning of the test plus after, less the duration of the calls.
		near := func(ms int64, after time.Duration) bool {
			off := time.UnixMilli(ms).Sub(begin.Add(after))
			return off > -time.Second && off < time.Minute
		}

		// A session of 340 days ago ends after a year, and not in a month.
		old := s.granted(t, imported("shop", map[string]int64{"insertInstant": ago(340 * day)}))
		got := stored(old.RefreshTokenID)
		if got.InsertInstant != ago(340*day) || !near(got.ExpirationInstant, aYear-340*day) {
			t.Errorf("imported 340 days after its issue: %+v", got)
		}
		// Now, and not 340 days ago; a minute allows for a busy machine.
		if c := claimsOf(t, old.Token); time.Since(time.Unix(c.Iat, 0)) > time.Minute {
			t.Errorf("the first access token of an import: iat %d, want now", c.Iat)
		}
		if left := old.RefreshTokenExpiresIn; left < int64((25*day-time.Minute).Seconds()) ||
			left > int64((25*day).Seconds()) {
			t.Errorf("the import of a session with 25 days left: refreshTokenExpiresIn %d", left)
		}
		next := s.exchange(t, old.RefreshToken)
		got = stored(next.RefreshTokenID)
		if got.InsertInstant != ago(340*day) || !near(got.ExpirationInstant, aYear-340*day) {
			t.Errorf("after an exchange: %+v", got)
		}

		// An expiry of its own holds until an exchange moves it.
		wanted := begin.Add(3 * day).UnixMilli()
		ending := s.granted(t, imported("shop", map[string]int64{"insertInstant": ago(10 * day),
			"expirationInstant": wanted}))
		if got := stored(ending.RefreshTokenID); got.ExpirationInstant != wanted/1000*1000 {
			t.Errorf("expirationInstant %d, want %d cut to the second", got.ExpirationInstant, wanted)
		}
		s.exchange(t, ending.RefreshToken)
		if got := stored(ending.RefreshTokenID); !near(got.ExpirationInstant, aMonth) {
			t.Errorf("after an exchange: %+v, want a month from now", got)
		}

		for name, tt := range map[string]struct {
			field string
			ms    int64
		}{
			"issued ahead of now":           {"insertInstant", ago(-2 * time.Minute)},
			"expired since":                 {"insertInstant", ago(aYear)},
			"expired long since":            {"insertInstant", ago(4000 * day)},
			"ends before now":               {"expirationInstant", ago(time.Second)},
			"ends later than policy allows": {"expirationInstant", ago(-aMonth - time.Hour)},
		} {
			a := s.mustDo(t, imported("shop", map[string]int64{tt.field: tt.ms}))
			want := []string{"[invalid]" + tt.field}
			if a.status != http.StatusBadRequest || !slices.Equal(a.codes(), want) {
				t.Errorf("%s: %s; want 400 %s", name, a, want)
			}
		}

		// A repeated request is the same import, until its first exchange.
		twice := imported("shop", map[string]int64{"insertInstant": ago(day)}, "refreshTokenId",
			uuid.Must(uuid.NewV7()).String())
		once := s.want(t, twice, http.StatusOK)
		if again := s.want(t, twice, http.StatusOK); again.steady() != once.steady() {
			t.Errorf("sent again: %s\nwant %s", again, once)
		}
		g, _ := once.grant()
		s.exchange(t, g.RefreshToken)
		s.want(t, twice, http.StatusBadRequest, "[duplicate]refreshTokenId")

		// For the limit an import is new, whatever the age of its session.
		first := s.granted(t, issueCall("bob", "one"))
		call := imported("one", map[string]int64{"insertInstant": ago(100 * day)})
		call.body = strings.Replace(call.body, "alice", "bob", 1)
		kept := s.granted(t, call)
		s.refused(t, first.RefreshToken, "[revoked]refreshToken")
		if word, _ := s.outcome(t, kept.RefreshToken); word != "rotated" {
			t.Errorf("the import: %s, want rotated", word)
		}
	})
}
