package domain_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/refreshd/refreshd/domain"
)

// TestAllReachableStates searches every state that one refresh token can reach, in a small model of the rule: time
// passes in ticks, and any string may be presented at any tick, any number of times, to replicas whose clocks differ.
// Generations are shifted and ages capped, so that the states are finite and the search covers histories of any length.
// The exchange itself is not modelled: it is domain.Snapshot.Decide, or a mutant of it.
func TestAllReachableStates(t *testing.T) {
	out := printed()
	fmt.Fprint(out, "\nEvery state that one refresh token can reach, any string at any moment:\n\n"+
		"| grace period, ticks | clocks apart | recovery burst | reachable states | exchanges tried | "+
		"youngest string refused, ticks since it left currency |\n|---|---|---|---|---|---|\n")
	for _, grace := range []int16{4, 6} {
		for apart := range int16(3) {
			for _, burst := range []int64{0, 2} {
				m := model{decide: domain.Snapshot.Decide, grace: grace, apart: apart, burst: burst}
				got := m.search()
				fmt.Fprintf(out, "| %d | %d | %d | %d | %d | %d |\n", grace, apart, burst, got.states, got.exchanges,
					got.youngest)
				if want := (verdict{youngest: grace - apart}); got.verdict != want {
					t.Errorf("grace %d, clocks %d apart, burst %d: got %+v, want %+v", grace, apart, burst, got.verdict,
						want)
				}
			}
		}
	}
}

// A replica whose clock is off does one exchange. Two things are checked. After a grace period, and the difference of
// the other clocks, no string is refused that is younger than those refused without it. And the rotation of the current
// string is delayed, if that clock is far off, for no longer than without it. If it is off by a few grace periods, the
// grace period applies once more around its instant, so that a delay may take up to a tick less than two grace periods,
// and the difference. Other effects of that exchange are not checked.
func TestOneClockFarOff(t *testing.T) {
	out := printed()
	fmt.Fprint(out, "\nThe same, where one more clock, which is far off, answers once:\n\n"+
		"| grace period, ticks | clocks apart | recovery burst | one clock off by, ticks | reachable states | "+
		"youngest string refused later than a grace period after | longest hold, ticks |\n"+
		"|---|---|---|---|---|---|---|\n")
	for _, grace := range []int16{4, 6} {
		for apart := range int16(2) {
			for _, burst := range []int64{0, 2} {
				for _, off := range [][]int16{{far, -far},
					{-3 * grace, -2 * grace, -grace, grace, 2 * grace, 3 * grace}} {
					m := model{decide: domain.Snapshot.Decide, grace: grace, apart: apart, burst: burst, off: off}
					got := m.search()
					name, longest := "far ahead or behind", grace+apart
					if off[0] != far {
						name, longest = "1, 2 or 3 grace periods", 2*grace-1+apart
					}
					fmt.Fprintf(out, "| %d | %d | %d | %s | %d | %d | %d |\n", grace, apart, burst, name, got.states,
						got.youngest,
						got.longestHold)
					// pinned: the grace period applies once more
					want := verdict{youngest: grace - apart, pinned: off[0] != far}
					if got.verdict != want || got.longestHold != longest {
						t.Errorf("grace %d, clocks %d apart, burst %d, off by %v: "+
							"got %+v, longest hold %d; want %+v, %d",
							grace, apart, burst, off, got.verdict, got.longestHold, want, longest)
					}
				}
			}
		}
	}
}

// The search detects mistakes, each in the property that it breaks.
func TestAllReachableStatesCatchMutants(t *testing.T) {
	farOff, near := []int16{far, -far}, []int16{-12, -8, -4, 4, 8, 12}
	for _, tt := range []struct {
		mistake     string
		mutant      rule
		off         []int16
		want        verdict
		longestHold int16
	}{
		{"none", domain.Snapshot.Decide, nil, verdict{youngest: 4}, 4},
		{"none, a clock far off", domain.Snapshot.Decide, farOff, verdict{youngest: 4}, 4},
		{"none, a clock off", domain.Snapshot.Decide, near, verdict{youngest: 4, pinned: true}, 7},
		{"a clock far ahead holds", negativeAgeIsZero, farOff, verdict{youngest: 4, pinned: true}, 40},
		{"a clock ahead holds", negativeAgeIsZero, near, verdict{youngest: 4, pinned: true}, 16},
		{"a clock ahead holds a tick longer", func(s domain.Snapshot, c domain.Call) domain.Decision {
			if s.Token.RotatedAt.After(c.Now) {
				s.Policy.GracePeriod += tick
			}
			return s.Decide(c)
		}, near, verdict{youngest: 4, pinned: true}, 8},
		{"a repeated recovery moves the last answer", pins, nil, verdict{youngest: 4, pinned: true}, 4},
		{"a retry moves the last answer", retryMoves, nil, verdict{youngest: 4, pinned: true}, 4},
		{"the hold is forgotten", holdForgotten, nil, verdict{youngest: 0}, 0},
		{"the grace period is a tick shorter", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Policy.GracePeriod -= tick
			return s.Decide(c)
		}, nil, verdict{youngest: 3}, 3},
		{"the grace period is a tick longer", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Policy.GracePeriod += tick
			return s.Decide(c)
		}, nil, verdict{youngest: 5, pinned: true}, 5},
		{"the first string is held", firstHeld, nil, verdict{youngest: 4, aborted: true}, 4},
	} {
		t.Run(tt.mistake, func(t *testing.T) {
			m := model{decide: tt.mutant, grace: 4, burst: 2, off: tt.off}
			if got := m.search(); got.verdict != tt.want || got.longestHold != tt.longestHold {
				t.Errorf("got %+v, longest hold %d, want %+v, %d", got.verdict, got.longestHold, tt.want,
					tt.longestHold)
			}
		})
	}
}

// Every response has an access token that expires after now, at least half a lifetime after it unless the session ends
// sooner, and not after the refresh token: whenever the last response was, on either side, at each lifetime of a few
// seconds, at the end of the session, and under a policy whose maximum was moved to around now. Otherwise a client that
// exchanges whenever its access token has expired would do so repeatedly.
func TestEveryAccessTokenExpiresAfterNow(t *testing.T) {
	const last = 12 // seconds; above the longest lifetime
	answers := map[domain.Outcome]int{}
	check := func(what string, a domain.AccessToken, refreshTokenExpiresAt, now time.Time, lifetime time.Duration) {
		left, half := a.ExpiresAt.Sub(now), (lifetime / 2).Truncate(time.Second)
		ok := left > 0 && !a.ExpiresAt.After(refreshTokenExpiresAt) && a.ExpiresAt.Sub(a.IssuedAt) <= lifetime &&
			a.IssuedAt.Equal(a.IssuedAt.Truncate(time.Second)) &&
			a.ExpiresAt.Equal(a.ExpiresAt.Truncate(time.Second)) &&
			(left >= half || a.ExpiresAt.Equal(refreshTokenExpiresAt))
		if !ok {
			t.Fatalf("%s at %s, lifetime %s, session until %s: the access token is from %s to %s", what, now, lifetime,
				refreshTokenExpiresAt, a.IssuedAt, a.ExpiresAt)
		}
	}
	for _, offset := range []time.Duration{0, µs, 500 * time.Millisecond, time.Second - µs} {
		answered := issued.Truncate(time.Second).Add(offset)
		for ends := range last + 1 {
			for _, expiration := range []domain.ExpirationPolicy{domain.Fixed,
				domain.SlidingWindowWithMaximumLifetime} {
				s := stored()
				s.Token.RotatedAt, s.Token.IssuedAt, s.Policy.Expiration = answered, answered.Add(-day), expiration
				s.Token.ExpiresAt = answered.Add(time.Hour).Truncate(time.Second)
				end := answered.Add(time.Duration(ends) * time.Second).Truncate(time.Second)
				if expiration == domain.Fixed {
					s.Token.ExpiresAt = end
				} else {
					s.Policy.MaximumTTL = end.Sub(s.Token.IssuedAt)
				}
				s.Policy.GracePeriod = last * time.Second / 2
				for step := -8 * last; step <= 8*last; step++ {
					now := answered.Add(time.Duration(step) * 125 * time.Millisecond)
					for _, usage := range []domain.UsagePolicy{domain.OneTimeUse, domain.Reusable} {
						s.Policy.Usage = usage
						for _, present := range []uint32{7, 6} {
							d := s.Decide(domain.Call{Generation: present, Now: now})
							end := s.Token.ExpiresAt
							if expiration != domain.Fixed {
								end = s.Token.IssuedAt.Add(s.Policy.MaximumTTL).Truncate(time.Second)
							}
							if isOver := !now.Before(end); isOver != (d.Outcome == domain.RefusedExpired) ||
								isOver != d.Outcome.Refused() {
								t.Fatalf("%s at %s, the session ends at %s", d.Outcome, now, end)
							}
							answers[d.Outcome]++
							for lifetime := time.Second; lifetime <= 10*time.Second &&
								!d.Outcome.Refused(); lifetime += time.Second {
								a := domain.NewAccessToken(d.After, s.Policy, "https://auth.example", d.AnsweredAt, now,
									lifetime)
								check(string(d.Outcome), a, d.After.ExpiresAt, now, lifetime)
							}
						}
					}
				}
			}
		}
		// An issue, and the same one repeated until the session ends.
		for ends := 1; ends <= last; ends++ {
			in := asked()
			in.ExpiresAt = answered.Add(time.Duration(ends) * time.Second)
			r, err := domain.NewRefreshToken(in, domain.DefaultPolicy(), answered)
			if err != nil {
				t.Fatal(err)
			}
			for now := answered; now.Before(r.ExpiresAt); now = now.Add(125 * time.Millisecond) {
				for lifetime := time.Second; lifetime <= 10*time.Second; lifetime += time.Second {
					a := domain.NewAccessToken(r, domain.DefaultPolicy(), "https://auth.example", r.RotatedAt, now,
						lifetime)
					check("issued", a, r.ExpiresAt, now, lifetime)
				}
			}
		}
	}
	for _, o := range []domain.Outcome{
		domain.Rotated, domain.Retried, domain.Recovered, domain.Unchanged, domain.RefusedExpired,
	} {
		if answers[o] == 0 {
			t.Errorf("%s was never tried", o)
		}
	}
}

const (
	tick = time.Second
	far  = int16(1_000) // ticks; an instant so far ahead does not come
	none = int16(-30_000)
)

// model holds the parameters of the search.
type model struct {
	decide       rule
	grace, apart int16 // in ticks; two readings of clocks differ by at most apart
	burst        int64
	off          []int16 // by how much one clock, which answers at most one exchange, may be off
}

// state is the record, in ticks before now, and what really happened.
type state struct {
	isFirst            bool  // of generation 1; all later ones are alike
	rotated, recovered int16 // by the clocks that wrote them; below zero: ahead
	paid               int16 // generations beyond the current one that recoveries have used up

	left          [4]int16 // when the last generations left currency, the newest first
	recoveredReal int16    // when the current generation was first recovered
	wasOff        int16    // when the clock that is far off was used
}

// verdict is the result of the search.
type verdict struct {
	youngest int16 // the age of the youngest string that was ever refused, since it left currency
	pinned   bool  // the current string was not rotated, a grace period after the rotation and after the first recovery
	aborted  bool  // a first string was not rotated
}

type found struct {
	verdict
	states, exchanges int
	longestHold       int16 // ticks in which the current string was answered with the last answer, one after another
}

const interval = 3

var origin = issued.Truncate(time.Second)

func (m model) cap() int16 { return m.grace + m.apart + 2 }

// older returns the age one tick later.
func (m model) older(age int16) int16 {
	if age == none || age < -far/2 { // far ahead stays so
		return age
	}
	return min(age+1, m.cap())
}

func (m model) tick(s state) state {
	s.rotated, s.recovered = m.older(s.rotated), m.older(s.recovered)
	s.recoveredReal, s.wasOff = m.older(s.recoveredReal), m.older(s.wasOff)
	for i := range s.left {
		s.left[i] = m.older(s.left[i])
	}
	return s
}

// generation returns a generation that stands for the current one of every state.
func (s state) generation() uint32 {
	if s.isFirst {
		return 1
	}
	return 1_000
}

func (m model) snapshot(s state) domain.Snapshot {
	p := domain.DefaultPolicy()
	p.GracePeriod, p.RecoveryBurst, p.RecoveryInterval = time.Duration(m.grace)*tick, m.burst, interval
	p.Expiration = domain.Fixed
	r := domain.RefreshToken{
		ID: tokenID, TenantID: "acme", ApplicationID: "shop", UserID: "ada",
		Generation: s.generation(), IssuedAt: origin.Add(-day),
		RotatedAt: origin.Add(-time.Duration(s.rotated) * tick), ExpiresAt: origin.Add(day),
		RecoveryPaidUntil: int64(s.generation()) + int64(s.paid),
	}
	if s.recovered != none {
		r.RecoveredAt = origin.Add(-time.Duration(s.recovered) * tick)
	}
	return domain.Snapshot{Token: r, Policy: p}
}

// exchange presents the string that is that many generations before the current one, to a clock that is that many ticks
// ahead.
func (m model) exchange(s state, before uint32, ahead int16) (domain.Decision, state) {
	snap := m.snapshot(s)
	now := origin.Add(time.Duration(ahead) * tick)
	d := m.decide(snap, domain.Call{Generation: snap.Token.Generation - before, Now: now})
	if !d.Write || d.Outcome.Refused() {
		return d, s
	}
	age := func(at time.Time) int16 { return min(int16(origin.Sub(at)/tick), m.cap()) }
	moved := d.After.Generation - snap.Token.Generation
	if moved > 0 {
		s.isFirst = false
		copy(s.left[1:], s.left[:])
		s.left[0], s.recoveredReal = 0, none
	} else if d.Outcome == domain.Recovered && s.recoveredReal == none {
		s.recoveredReal = 0
	}
	s.rotated, s.recovered = age(d.After.RotatedAt), none
	if !d.After.RecoveredAt.IsZero() {
		s.recovered = age(d.After.RecoveredAt)
	}
	s.paid = int16(max(0, d.After.RecoveryPaidUntil-int64(d.After.Generation)))
	return d, s
}

func (m model) search() found {
	start := state{isFirst: true, recovered: none, recoveredReal: none, wasOff: none}
	for i := range start.left {
		start.left[i] = none
	}
	got := found{verdict: verdict{youngest: m.cap()}}
	seen := map[state]bool{start: true}
	queue := []state{start}
	visit := func(s state) {
		if !seen[s] {
			seen[s] = true
			queue = append(queue, s)
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		s := queue[0]
		visit(m.tick(s))
		got.longestHold = max(got.longestHold, m.hold(s))
		settled := s.wasOff == none || s.wasOff >= m.grace+m.apart
		overdue := func(age int16) bool { return age == none || age >= m.grace+m.apart }
		for before := range uint32(len(s.left) + 1) {
			if before >= s.generation() || before > 0 && s.left[before-1] == none {
				break
			}
			for ahead := range m.apart + 1 {
				d, next := m.exchange(s, before, ahead)
				got.exchanges++
				switch {
				case before > 0 && d.Outcome.Refused() && settled:
					got.youngest = min(got.youngest, s.left[before-1])
				case before == 0 && d.Outcome != domain.Rotated && s.isFirst:
					got.aborted = true
				case before == 0 && d.Outcome != domain.Rotated && overdue(s.left[0]) && overdue(s.recoveredReal):
					got.pinned = true
				}
				if d.Outcome != domain.RefusedReplayed { // which ends it
					visit(next)
				}
			}
			if s.wasOff == none {
				for _, off := range m.off {
					if d, next := m.exchange(s, before, off); d.Outcome != domain.RefusedReplayed {
						next.wasOff = 0
						visit(next)
					}
				}
			}
		}
	}
	got.states = len(seen)
	return got
}

// hold returns the number of ticks, from s on, until the current string is rotated by any of the clocks.
func (m model) hold(s state) int16 {
	held := func() bool {
		for ahead := range m.apart + 1 {
			if d, _ := m.exchange(s, 0, ahead); d.Outcome != domain.Rotated {
				return true
			}
		}
		return false
	}
	n := int16(0)
	for ; n < 10*m.grace && held(); n++ {
		s = m.tick(s)
	}
	return n
}
