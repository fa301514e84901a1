package domain_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/domain"
)

// A property draws a history, plays it against a rule and reports what went wrong. The rule is an argument so that the
// same property can be shown to fail: TestPropertiesCatchMutants plays it against rules that each have one mistake.
type (
	property func(draw, rule) error
	rule     func(domain.Snapshot, domain.Call) domain.Decision
	draw     func(n int) int // one of 0 … n-1
)

var properties = map[string]property{
	honest:   honestClient,
	caught:   ownerAndThief,
	budget:   wander(withinBudget),
	late:     wander(onlyRecovered),
	final:    wander(staysRevoked),
	oneEach:  wander(oneGeneration),
	expiry:   wander(expiryBounded),
	unpinned: wander(rotatesInTime),
	unproved: wander(unchangedByOthers),
}

const (
	honest   = "an honest client never loses its session"
	caught   = "owner and thief do not both survive the third collision"
	budget   = "recoveries stay within the budget"
	late     = "what left currency a grace period ago is only recovered, or answered again within one of its recovery"
	final    = "revoked stays revoked"
	oneEach  = "one current generation, one string for it, one access token for each half lifetime since the response"
	expiry   = "expiry never passes the maximum, and a retry does not move it"
	unpinned = "the current string, a grace period from the rotation and from the first recovery, rotates"
	unproved = "a call for another tenant or client, or without its proof, is refused as invalid and changes nothing"
)

func TestProperties(t *testing.T) {
	for name, holds := range properties {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				err := holds(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "of") }, domain.Snapshot.Decide)
				if err != nil {
					t.Fatal(err)
				}
			})
			for seed := range uint64(1_000) {
				if err := holds(seeded(seed), domain.Snapshot.Decide); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		})
	}
}

// Each mutant is the rule with one plausible mistake. The property that it is listed under must detect it.
func TestPropertiesCatchMutants(t *testing.T) {
	for _, m := range []struct {
		property, mistake string
		mutant            rule
	}{
		{honest, "there is no recovery", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Policy.RecoveryBurst = 0
			return s.Decide(c)
		}},
		{honest, "the budget is one short", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Policy.RecoveryBurst = max(0, s.Policy.RecoveryBurst-1)
			return s.Decide(c)
		}},
		{honest, "a recovery is charged again at each repeat", func(s domain.Snapshot, c domain.Call) domain.Decision {
			if !s.Token.InGracePeriod(s.Policy, c.Now) {
				s.Token.RecoveredAt = time.Time{}
			}
			return s.Decide(c)
		}},
		{honest, "the budget never comes back", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Policy.RecoveryInterval = 1_000
			return s.Decide(c)
		}},
		{honest, "the hold is forgotten", holdForgotten},
		{honest, "the first recovery does not stand", recoveryForgotten},
		{honest, "the grace period is half as long", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Policy.GracePeriod /= 2
			return s.Decide(c)
		}},
		{honest, "a recovery does not slide the expiry", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Recovered {
				d.After.ExpiresAt = s.Token.ExpiresAt
			}
			return d
		}},
		{caught, "a recovery is not charged", uncharged},
		{caught, "a rotation does not clear recoveredAt", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Rotated {
				d.After.RecoveredAt = s.Token.RecoveredAt
			}
			return d
		}},
		{caught, "the budget is one too many", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Policy.RecoveryBurst++
			return s.Decide(c)
		}},
		{caught, "a replay is refused, and not revoked", unrevoked},
		{caught, "anything older is answered", func(s domain.Snapshot, c domain.Call) domain.Decision {
			if c.Generation > 0 && c.Generation < s.Token.Generation-1 {
				c.Generation = s.Token.Generation - 1
			}
			return s.Decide(c)
		}},
		{budget, "a recovery is not charged", uncharged},
		{budget, "unused recoveries pile up", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Recovered && s.Token.RecoveredAt.IsZero() {
				d.After.RecoveryPaidUntil = s.Token.RecoveryPaidUntil + s.Policy.RecoveryInterval
			}
			return d
		}},
		{late, "a retry moves the last answer", retryMoves},
		{late, "the grace period includes its end", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Policy.GracePeriod += µs
			return s.Decide(c)
		}},
		{late, "two before is retried as well", func(s domain.Snapshot, c domain.Call) domain.Decision {
			if g := s.Token.Generation; g > 2 && c.Generation == g-2 && s.Token.InGracePeriod(s.Policy, c.Now) {
				c.Generation++
			}
			return s.Decide(c)
		}},
		{late, "anything may be recovered", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.RefusedReplayed {
				return domain.Decision{Outcome: domain.Recovered, After: s.Token}
			}
			return d
		}},
		{final, "a retry is answered before revocation is looked at",
			func(s domain.Snapshot, c domain.Call) domain.Decision {
				blind := s
				blind.Token.RevokedAt, blind.MarkEpoch, blind.Deleted = time.Time{}, 0, false
				if d := blind.Decide(c); d.Outcome == domain.Retried {
					return d
				}
				return s.Decide(c)
			}},
		{final, "marks are not looked at", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.MarkEpoch = 0
			return s.Decide(c)
		}},
		{final, "a replay is refused, and not revoked", unrevoked},
		{oneEach, "a retry gets a sibling", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Retried {
				d.After, d.Write = s.Token.Rotated(s.Policy, c.Now, c.ClientAddress), true
			}
			return d
		}},
		{oneEach, "a retry is answered with what it presented", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Retried {
				d.After.Generation = c.Generation
			}
			return d
		}},
		{oneEach, "a rotation is answered before it is stored", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			d.Write = d.Write && d.Outcome != domain.Rotated
			return d
		}},
		{oneEach, "a recovery counts as a rotation for the token key", func(s domain.Snapshot,
			c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Recovered {
				d.After.RotatedAt = c.Now
			}
			return d
		}},
		{oneEach, "a retry gets a new access token", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Retried {
				d.AnsweredAt = c.Now
			}
			return d
		}},
		{oneEach, "a retry after a recovery counts from the rotation", func(s domain.Snapshot,
			c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Retried {
				d.AnsweredAt = s.Token.RotatedAt
			}
			return d
		}},
		{oneEach, "a recovery counts from the rotation", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Recovered {
				d.AnsweredAt = s.Token.RotatedAt
			}
			return d
		}},
		{expiry, "a retry slides", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Retried {
				d.After.ExpiresAt, d.Write = c.Now.Add(s.Policy.TTL), true
			}
			return d
		}},
		{expiry, "the maximum is forgotten", func(s domain.Snapshot, c domain.Call) domain.Decision {
			if s.Policy.Expiration == domain.SlidingWindowWithMaximumLifetime {
				s.Policy.Expiration = domain.SlidingWindow
			}
			return s.Decide(c)
		}},
		{expiry, "Fixed slides", func(s domain.Snapshot, c domain.Call) domain.Decision {
			if s.Policy.Expiration == domain.Fixed {
				s.Policy.Expiration = domain.SlidingWindow
			}
			return s.Decide(c)
		}},
		{expiry, "active at expiresAt itself", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Token.ExpiresAt = s.Token.ExpiresAt.Add(µs)
			return s.Decide(c)
		}},
		{expiry, "the expiry is not cut to the second", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if window, maximum := s.Policy.Slide(); window > 0 && d.Write && !d.Outcome.Refused() {
				d.After.ExpiresAt = c.Now.Add(window)
				if last := s.Token.IssuedAt.Add(maximum); last.Before(d.After.ExpiresAt) {
					d.After.ExpiresAt = last
				}
			}
			return d
		}},
		{expiry, "a shortened policy is ignored", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.RefusedExpired && c.Now.Before(s.Token.ExpiresAt) {
				s.Policy.Expiration = domain.Fixed
				return s.Decide(c)
			}
			return d
		}},
		{expiry, "a recovery again does not slide", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Recovered && !s.Token.RecoveredAt.IsZero() {
				d.After.ExpiresAt = s.Token.ExpiresAt
			}
			return d
		}},
		{unpinned, "a repeated recovery moves the last answer", pins},
		{unpinned, "a retry moves the last answer", retryMoves},
		{unpinned, "grace 0 holds", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Policy.GracePeriod = max(µs, s.Policy.GracePeriod)
			return s.Decide(c)
		}},
		{unpinned, "generation 1 holds", firstHeld},
		{unpinned, "a clock ahead holds", negativeAgeIsZero},
		{unproved, "another client is not looked at", forgetting(func(_ *domain.Snapshot, c *domain.Call) {
			c.ApplicationID = ""
		})},
		{unproved, "another tenant is not looked at", forgetting(func(_ *domain.Snapshot, c *domain.Call) {
			c.TenantID = ""
		})},
		{unproved, "the binding is not looked at", forgetting(func(s *domain.Snapshot, c *domain.Call) {
			c.Binding = s.Token.Binding
		})},
		{unproved, "a call without a key needs none", forgetting(func(s *domain.Snapshot, c *domain.Call) {
			if c.Binding == "" {
				c.Binding = s.Token.Binding
			}
		})},
		{unproved, "authentication is not looked at", forgetting(func(_ *domain.Snapshot, c *domain.Call) {
			c.Authenticated = true
		})},
		{unproved, "revocation is looked at before the client", func(s domain.Snapshot,
			c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.RefusedInvalid && !s.Token.RevokedAt.IsZero() {
				d.Outcome = domain.RefusedRevoked
			}
			return d
		}},
		{unproved, "a replay by another client revokes", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			c.ApplicationID = ""
			if replay := s.Decide(c); replay.Outcome == domain.RefusedReplayed {
				d.After, d.Write = replay.After, replay.Write
			}
			return d
		}},
	} {
		t.Run(m.property+"/"+m.mistake, func(t *testing.T) {
			holds, known := properties[m.property]
			if !known {
				t.Fatal("no such property")
			}
			for seed := range uint64(5_000) {
				if holds(seeded(seed), m.mutant) != nil {
					return
				}
			}
			t.Error("the property holds for this mistake: it checks nothing")
		})
	}
}

// forgetting is the rule without something that it has to look at.
func forgetting(forget func(*domain.Snapshot, *domain.Call)) rule {
	return func(s domain.Snapshot, c domain.Call) domain.Decision {
		forget(&s, &c)
		return s.Decide(c)
	}
}

func uncharged(s domain.Snapshot, c domain.Call) domain.Decision {
	d := s.Decide(c)
	if d.Outcome == domain.Recovered {
		d.After.RecoveryPaidUntil = s.Token.RecoveryPaidUntil
	}
	return d
}

func unrevoked(s domain.Snapshot, c domain.Call) domain.Decision {
	d := s.Decide(c)
	d.Write = d.Write && d.Outcome != domain.RefusedReplayed
	return d
}

func retryMoves(s domain.Snapshot, c domain.Call) domain.Decision {
	d := s.Decide(c)
	if d.Outcome == domain.Retried {
		d.Write = true
		if d.After.RotatedAt = c.Now; !d.After.RecoveredAt.IsZero() {
			d.After.RecoveredAt = c.Now
		}
	}
	return d
}

func holdForgotten(s domain.Snapshot, c domain.Call) domain.Decision {
	d := s.Decide(c)
	if d.Outcome == domain.Retried && c.Generation == s.Token.Generation {
		after := s.Token.Rotated(s.Policy, c.Now, "")
		return domain.Decision{Outcome: domain.Rotated, After: after, Write: true, AnsweredAt: c.Now}
	}
	return d
}

func recoveryForgotten(s domain.Snapshot, c domain.Call) domain.Decision {
	if s.Token.RecoveredAt.IsZero() {
		return s.Decide(c)
	}
	return holdForgotten(s, c)
}

func firstHeld(s domain.Snapshot, c domain.Call) domain.Decision {
	if s.Token.Generation == 1 && c.Generation == 1 && c.Now.Sub(s.Token.RotatedAt).Abs() < s.Policy.GracePeriod {
		return domain.Decision{Outcome: domain.Retried, After: s.Token, AnsweredAt: s.Token.RotatedAt}
	}
	return s.Decide(c)
}

// pins is the mistake with which a thief who sends the previous string is not detected for a month.
func pins(s domain.Snapshot, c domain.Call) domain.Decision {
	d := s.Decide(c)
	if d.Outcome == domain.Recovered {
		d.After.RecoveredAt = c.Now
	}
	return d
}

// negativeAgeIsZero is the mistake with which a clock that was once an hour ahead delays the rotation for an hour.
func negativeAgeIsZero(s domain.Snapshot, c domain.Call) domain.Decision {
	aged := s
	if aged.Token.RotatedAt.After(c.Now) {
		aged.Token.RotatedAt = c.Now
	}
	if aged.Token.RecoveredAt.After(c.Now) {
		aged.Token.RecoveredAt = c.Now
	}
	if d := aged.Decide(c); d.Outcome == domain.Retried {
		return domain.Decision{Outcome: domain.Retried, After: s.Token, AnsweredAt: c.Now}
	}
	return s.Decide(c)
}

func seeded(seed uint64) draw { return rand.New(rand.NewPCG(seed, 0)).IntN }

// world is a server with one refresh token and a minimal store. It keeps its own records besides, so that the laws do
// not depend on the fields that they check.
type world struct {
	decide rule
	snap   domain.Snapshot
	keys   domain.TokenKeys

	left      map[uint32]time.Time // when a generation left currency
	rotated   map[uint32]time.Time // when a rotation made a generation, by the clock that did; none for the first
	recovered map[uint32]time.Time // when a generation was first recovered
	strings   map[uint32]string    // the token string of a generation
	access    map[answer]domain.AccessToken
	charged   []uint32 // generations whose recovery the budget paid for
	isRevoked bool
}

// answer holds what the access tokens of all retries have in common.
type answer struct {
	generation uint32
	from       time.Time // the last answer
	lifetime   time.Duration
	half       int64     // whole halves of the lifetime since then
	expiresAt  time.Time // of the refresh token
}

func newWorld(decide rule, p domain.Policy) *world {
	in := domain.RefreshToken{ID: tokenID, TenantID: "acme", ApplicationID: "shop", UserID: "ada", IssuedEpoch: 4}
	r, err := domain.NewRefreshToken(in, p, issued)
	if err != nil {
		panic(err)
	}
	w := &world{
		decide: decide, snap: domain.Snapshot{Token: r, MarkEpoch: 4, Policy: p},
		keys: domain.TokenKeys{{Number: 1, Key: domain.NewSecret("first")}},
		left: map[uint32]time.Time{}, rotated: map[uint32]time.Time{}, recovered: map[uint32]time.Time{},
		strings: map[uint32]string{}, access: map[answer]domain.AccessToken{},
	}
	w.strings[1] = w.mint(r)
	return w
}

func (w *world) mint(r domain.RefreshToken) string {
	k, _ := w.keys.MintingAt(r.RotatedAt)
	return k.Mint(r.ID, r.Generation).Reveal()
}

// exchange decides and stores, then records what happened.
func (w *world) exchange(c domain.Call) domain.Decision {
	before := w.snap.Token
	d := w.decide(w.snap, c)
	if d.Write {
		w.snap.Token = d.After
	}
	_, again := w.recovered[before.Generation]
	switch {
	case d.Outcome == domain.Rotated:
		// A generation is replaced after the one before it, also by a clock that is behind.
		w.left[before.Generation] = later(w.left[before.Generation-1], c.Now)
		w.rotated[before.Generation+1] = c.Now
	case d.Outcome == domain.Recovered && !again:
		w.recovered[before.Generation] = c.Now
		if w.snap.Policy.Usage != domain.Reusable {
			w.charged = append(w.charged, before.Generation)
		}
	case d.Outcome == domain.RefusedReplayed && w.snap.Policy.RevokeOnReplay:
		w.isRevoked = true
	}
	return d
}

// lastAnswer returns the instant of the first recovery of a generation, or otherwise of its rotation; false for
// neither.
func (w *world) lastAnswer(generation uint32) (time.Time, bool) {
	if at, recovered := w.recovered[generation]; recovered {
		return at, true
	}
	at, rotated := w.rotated[generation]
	return at, rotated
}

// law checks one exchange after it was stored.
type law func(w *world, before domain.Snapshot, wasRevoked bool, c domain.Call, d domain.Decision) error

// wander plays a history in which anything may happen: any string that was ever returned is presented, at instants
// around every limit, by clocks that differ; policies change, keys are added, marks are written.
func wander(holds law) property {
	return func(draw draw, decide rule) error {
		w := newWorld(decide, drawPolicy(draw))
		w.snap.Token.Binding = pick(draw, "", "", "", "thumbprint")
		w.snap.Policy.RequireAuthentication = draw(4) == 0
		now := issued
		for step := range 1 + draw(60) {
			switch draw(20) {
			case 0:
				w.keys = append(w.keys, domain.TokenKey{Number: uint32(len(w.keys) + 1),
					StartsAt: now.Add(2 * time.Minute),
					Key:      domain.NewSecret(fmt.Sprintf("key %d", step))})
			case 1:
				if draw(5) == 0 {
					p := drawPolicy(draw)
					p.RecoveryBurst, p.RecoveryInterval = w.snap.Policy.RecoveryBurst, w.snap.Policy.RecoveryInterval
					p.RequireAuthentication = draw(4) == 0
					w.snap.Policy = p
				}
			case 2:
				if draw(10) == 0 {
					w.isRevoked = true
					switch draw(3) {
					case 0:
						w.snap.Token.RevokedAt = now
					case 1:
						w.snap.MarkEpoch = 5
					case 2:
						w.snap.Deleted = true
					}
				}
			}
			g := w.snap.Policy.GracePeriod
			now = now.Add(pick(draw, 0, 0, µs, time.Second, g/3, max(0, g-µs), g, g+µs, 10*time.Minute, 5*time.Hour,
				3*day))
			if draw(30) == 0 && now.Before(w.snap.Token.ExpiresAt) {
				now = w.snap.Token.ExpiresAt.Add(pick(draw, -µs, 0, µs))
			}
			current := w.snap.Token.Generation
			c := domain.Call{Now: now, Generation: pick(draw, current, current, current, max(1, current-1),
				max(1, current-1),
				1+uint32(draw(int(current))), max(1, current-min(current-1, 2)), current+1)}
			if draw(10) == 0 {
				c.Now = now.Add(-time.Duration(draw(3)) * time.Second)
			}
			if draw(40) == 0 {
				c.Now = now.Add(domain.MaxClockSkew)
			}
			c.TenantID, c.ApplicationID = pick(draw, "acme", ""), pick(draw, "shop", "")
			c.Authenticated, c.Binding = true, w.snap.Token.Binding
			switch draw(40) {
			case 0:
				c.TenantID = "other"
			case 1:
				c.ApplicationID = "bar"
			case 2:
				c.Binding = pick(draw, "", "another")
			case 3:
				c.Authenticated = false
			}
			before, wasRevoked := w.snap, w.isRevoked
			d := w.exchange(c)
			if err := holds(w, before, wasRevoked, c, d); err != nil {
				return fmt.Errorf("step %d: generation %d presented while %d was current, %s after issue: %s: %w", step,
					c.Generation, current, c.Now.Sub(issued), d.Outcome, err)
			}
		}
		return nil
	}
}

func drawPolicy(draw draw) domain.Policy {
	p := domain.DefaultPolicy()
	p.GracePeriod = pick(draw, 30*time.Second, 0, time.Second, time.Hour)
	p.RecoveryBurst = int64(draw(4))
	p.RecoveryInterval = pick[int64](draw, 10, 2, 3)
	p.Expiration = pick(draw, domain.SlidingWindowWithMaximumLifetime, domain.SlidingWindow, domain.Fixed)
	p.TTL = pick(draw, 30*day, time.Hour)
	p.MaximumTTL = p.TTL * pick[time.Duration](draw, 12, 1, 2)
	p.RevokeOnReplay = draw(4) != 0
	if draw(10) == 0 {
		p.Usage = domain.Reusable
	}
	return p
}

func pick[T any](draw draw, from ...T) T { return from[draw(len(from))] }

// onlyRecovered: a string that was replaced a grace period ago or longer gets a response by recovery, the same response
// within a grace period of the first one, or none. Both are for the previous string only.
func onlyRecovered(w *world, before domain.Snapshot, _ bool, c domain.Call, d domain.Decision) error {
	current := before.Token.Generation
	if d.Outcome.Refused() || c.Generation >= current {
		return nil
	}
	if c.Generation != current-1 {
		return fmt.Errorf("answered, and not the one before")
	}
	if d.Outcome == domain.Recovered {
		return nil
	}
	age := c.Now.Sub(w.left[c.Generation])
	again, recovered := w.recovered[current]
	if age >= before.Policy.GracePeriod && !(recovered && c.Now.Sub(again).Abs() < before.Policy.GracePeriod) {
		return fmt.Errorf("it left currency %s ago, the grace period is %s", age, before.Policy.GracePeriod)
	}
	return nil
}

// staysRevoked: after a revocation of any kind, or a replay, every exchange is refused and nothing is written.
func staysRevoked(w *world, _ domain.Snapshot, wasRevoked bool, _ domain.Call, d domain.Decision) error {
	if wasRevoked && (!d.Outcome.Refused() || d.Write) {
		return fmt.Errorf("it is revoked")
	}
	return nil
}

// oneGeneration: every response has the generation that the store holds afterwards. Only the current string moves it,
// by one. Every response of one generation has the same string. Every retry, in each half of a lifetime since the last
// response, has the same claims of the access token, from which all its bytes but the signature follow.
func oneGeneration(w *world, before domain.Snapshot, _ bool, c domain.Call, d domain.Decision) error {
	is, was := w.snap.Token.Generation, before.Token.Generation
	if is != was && (is != was+1 || c.Generation != was || d.Outcome != domain.Rotated) {
		return fmt.Errorf("the store moved from generation %d to %d", was, is)
	}
	if d.Outcome.Refused() {
		return nil
	}
	if d.After.Generation != is {
		return fmt.Errorf("answered with generation %d, the store holds %d", d.After.Generation, is)
	}
	s := w.mint(d.After)
	if first, again := w.strings[is]; again && first != s {
		return fmt.Errorf("two strings for generation %d", is)
	}
	w.strings[is] = s
	for _, lifetime := range []time.Duration{15 * time.Minute, 7 * time.Second} {
		a := domain.NewAccessToken(d.After, before.Policy, "https://auth.example", d.AnsweredAt, c.Now, lifetime)
		last, _ := w.lastAnswer(is)
		if d.Outcome == domain.Unchanged || d.Outcome == domain.Recovered && !last.Equal(c.Now) { // a repeated one
			if !a.IssuedAt.Equal(c.Now.Truncate(time.Second)) {
				return fmt.Errorf("neither from the last answer nor from now: %s", a.IssuedAt)
			}
			continue
		}
		half := (lifetime / 2).Truncate(time.Second)
		k := answer{is, last, lifetime, int64(max(0, c.Now.Sub(last.Truncate(time.Second))) / half), d.After.ExpiresAt}
		if first, again := w.access[k]; again && !cmp.Equal(first, a) {
			return fmt.Errorf("two access tokens for %+v: %s", k, cmp.Diff(first, a))
		}
		w.access[k] = a
	}
	return nil
}

// mayBe reports whether a call may be the owner's: of his tenant and client, with the proofs that are asked for.
func mayBe(owner domain.Snapshot, c domain.Call) bool {
	t := owner.Token
	return (c.TenantID == "" || c.TenantID == t.TenantID) &&
		(c.ApplicationID == "" || c.ApplicationID == t.ApplicationID) &&
		(t.Binding == "" || c.Binding == t.Binding) && (!owner.Policy.RequireAuthentication || c.Authenticated)
}

// unchangedByOthers: a call that cannot be the owner's is refused as invalid, whatever the state is, and writes
// nothing. Any other is refused for no lack of proof.
func unchangedByOthers(w *world, before domain.Snapshot, _ bool, c domain.Call, d domain.Decision) error {
	asked := errors.Is(d.Why, domain.ErrAuthenticationRequired) || errors.Is(d.Why, domain.ErrProofRequired)
	switch {
	case mayBe(before, c) && asked:
		return fmt.Errorf("refused with %v, and it proved all", d.Why)
	case mayBe(before, c):
		return nil
	case d.Outcome != domain.RefusedInvalid || d.Write || !cmp.Equal(w.snap.Token, before.Token):
		return fmt.Errorf("it is not the owner's")
	}
	return nil
}

// rotatesInTime: if an exchange of the current string succeeds, it rotates, unless the generation was rotated to or
// first recovered within a grace period. No client can delay a rotation by requests, and no clock by an earlier
// reading.
func rotatesInTime(w *world, before domain.Snapshot, _ bool, c domain.Call, d domain.Decision) error {
	g, p := before.Token.Generation, before.Policy
	if c.Generation != g || p.Usage == domain.Reusable || !mayBe(before, c) ||
		d.Outcome == domain.Rotated || d.Outcome == domain.RefusedRevoked || d.Outcome == domain.RefusedExpired {
		return nil
	}
	if at, answered := w.lastAnswer(g); !answered || c.Now.Sub(at).Abs() >= p.GracePeriod {
		return fmt.Errorf("the last answer is %s away, the grace period is %s", c.Now.Sub(at), p.GracePeriod)
	}
	return nil
}

// expiryBounded: no exchange succeeds at or after the expiry, or after the maximum of the policy in force. Each one
// that writes moves the expiry to where the policy says, to the second; a retry and a refusal do not.
func expiryBounded(w *world, before domain.Snapshot, _ bool, c domain.Call, d domain.Decision) error {
	p, was, is := before.Policy, before.Token.ExpiresAt, w.snap.Token.ExpiresAt
	want := was
	if p.Expiration != domain.Fixed && !d.Outcome.Refused() {
		want = c.Now.Add(p.TTL).Truncate(time.Second)
		if last := issued.Add(p.MaximumTTL).Truncate(time.Second); p.Expiration != domain.SlidingWindow &&
			last.Before(want) {
			want = last
		}
		if !want.After(c.Now) {
			return fmt.Errorf("the policy in force ended it at %s", want)
		}
		if d.Outcome == domain.Retried {
			want = was
		}
	}
	switch {
	case !d.Outcome.Refused() && !c.Now.Before(was):
		return fmt.Errorf("it expired at %s", was)
	case !is.Equal(want):
		return fmt.Errorf("expiry moved by %s to %s, want %s", is.Sub(was), is, want)
	}
	return nil
}

// withinBudget: in any run of generations, at most the burst was recovered and one more for each interval that passed.
func withinBudget(w *world, before domain.Snapshot, _ bool, _ domain.Call, _ domain.Decision) error {
	p := before.Policy
	for i, first := range w.charged {
		last := w.charged[len(w.charged)-1]
		if n, most := int64(len(w.charged)-i), p.RecoveryBurst+int64(last-first)/p.RecoveryInterval; n > most {
			return fmt.Errorf("%d recoveries from generation %d to %d, the budget is %d", n, first, last, most)
		}
	}
	return nil
}

// ownerAndThief: the thief copies the string once, then both use what they hold, in any order, never within a grace
// period of each other. A collision is an exchange of the previous string after the grace period; each generation can
// have one. With the default burst and an interval of 3 or more, two succeed; the third, or any older string, ends the
// session for both.
func ownerAndThief(draw draw, decide rule) error {
	p := domain.DefaultPolicy()
	p.GracePeriod = pick(draw, 30*time.Second, 0, 5*time.Second)
	p.RecoveryInterval = int64(3 + draw(18))
	w := newWorld(decide, p)
	now := issued
	holds := [2]uint32{1, 1} // owner, thief
	for range draw(4) {      // the owner alone
		now = now.Add(15 * time.Minute)
		holds[0] = w.exchange(domain.Call{Generation: holds[0], Now: now}).After.Generation
	}
	holds[1] = max(1, holds[0]-uint32(draw(2)))
	var collided []uint32
	drifted := false
	for range 40 {
		who := draw(2)
		now = now.Add(p.GracePeriod + pick(draw, 0, µs, time.Minute, time.Hour, 2*day))
		presented, current := holds[who], w.snap.Token.Generation
		d := w.exchange(domain.Call{Generation: presented, Now: now})
		if !d.Outcome.Refused() && (drifted || len(collided) >= 3) {
			return fmt.Errorf("%s after collisions at %v, drifted %t", d.Outcome, collided, drifted)
		}
		if presented < current-1 {
			drifted = true
		}
		if presented == current-1 && !slices.Contains(collided, current) {
			collided = append(collided, current)
		}
		if (drifted || len(collided) >= 3) && !d.Outcome.Refused() {
			return fmt.Errorf("%s at the collisions %v, drifted %t", d.Outcome, collided, drifted)
		}
		if !d.Outcome.Refused() {
			holds[who] = d.After.Generation
		}
	}
	return nil
}

// honestClient: requests from tabs or processes that share one storage, up to six concurrently, any number one after
// another. In some runs the last response to arrive is stored, in any order, as browsers treat cookies. The promise
// holds under these conditions, which are therefore the advice for authors of clients:
//
//   - each request, a retry too, sends the string that the storage holds when it is sent;
//   - time out, retry and store within half a grace period, less the difference of the servers' clocks;
//   - a storage that still holds an old string, because every response was lost or an older one arrived last, is used
//     again within that half or after the grace period: in between, a rotation could overtake one of two requests;
//   - the latter only while the budget pays for it;
//   - if the response of a recovery was lost as well, the first request that returns is the only one until its response
//     arrives.
//
// Any request or response may be lost, requests overtake each other, clients return weeks later, and the servers'
// clocks differ by up to a second.
func honestClient(draw draw, decide rule) error {
	const skew = time.Second
	p := domain.DefaultPolicy()
	p.GracePeriod = pick(draw, 30*time.Second, 5*time.Second, 10*time.Minute)
	p.RecoveryBurst = int64(draw(4))
	p.RecoveryInterval = int64(2 + draw(19))
	half := (p.GracePeriod-skew)/2 - time.Millisecond
	lastWins := draw(2) == 0
	w := newWorld(decide, p)
	storage, now := uint32(1), issued

	full := p.RecoveryBurst * p.RecoveryInterval
	credit := full // in generations: a recovery costs an interval, each generation earns one back
	paidFor := uint32(0)
	var rotated time.Time // the last rotation, by a clock that is right

	send := func(presented uint32, at time.Time) (uint32, error) {
		read := at.Add(time.Duration(draw(int(skew/time.Millisecond))) * time.Millisecond)
		if read.Sub(issued) > p.MaximumTTL-day {
			return presented, errOver
		}
		current := w.snap.Token.Generation
		d := w.exchange(domain.Call{Generation: presented, Now: read})
		switch {
		case d.Outcome.Refused():
			return 0, fmt.Errorf("%s: presented %d while %d was current, %s after its rotation, credit %d of %d",
				d.Outcome,
				presented,
				current, at.Sub(rotated), credit, full)
		case d.Outcome == domain.Rotated:
			credit, rotated = min(full, credit+1), at
		case d.Outcome == domain.Recovered && paidFor != current:
			credit, paidFor = credit-p.RecoveryInterval, current
		}
		return d.After.Generation, nil
	}
	isOld := func() bool { return storage != w.snap.Token.Generation }
	isPaid := func() bool { return paidFor == w.snap.Token.Generation || credit >= p.RecoveryInterval }
	mayUse := func(at time.Time) bool {
		age := at.Sub(rotated)
		return !isOld() || age <= half || age >= p.GracePeriod+skew && isPaid()
	}
	type request struct {
		sent, arrived, landed time.Time // arrived, landed: zero where the request or the answer is lost
		isSent                bool
		presented, answer     uint32
	}
	instant := func(from time.Time, within time.Duration) time.Time {
		return from.Add(time.Duration(draw(int(within/time.Millisecond))) * time.Millisecond)
	}

	for range 1 + draw(12) {
		now = now.Add(pick(draw, 0, skew, p.GracePeriod/2, p.GracePeriod, 15*time.Minute, 8*time.Hour, 3*day, 25*day))
		if isOld() {
			now = later(now, rotated.Add(p.GracePeriod+skew))
		}
		dark := !isOld() && credit >= p.RecoveryInterval && draw(4) == 0
		again := isOld() && paidFor == w.snap.Token.Generation
		// one request alone, whose response may be lost for good if it sends an old string
		if dark || again || draw(4) == 0 {
			isLost := dark || isOld() && draw(3) == 0
			answer, err := send(storage, now)
			if err != nil {
				return ended(err)
			}
			if !isLost {
				storage = answer
			}
			continue
		}
		var requests []*request
		window := pick(draw, time.Second, half, 3*p.GracePeriod)
		for range 1 + draw(6) {
			begun := instant(now, window)
			instants := []time.Time{begun, instant(begun, half), instant(begun, half), instant(begun, half),
				instant(begun,
					half)}
			slices.SortFunc(instants, time.Time.Compare)
			switch draw(4) {
			case 0:
				requests = append(requests, &request{sent: begun}) // the request is lost, and sent again in time
			case 1:
				requests = append(requests, &request{sent: begun, arrived: instants[1]}) // the answer
			default:
				requests = append(requests, &request{sent: begun, arrived: instants[1], landed: instants[2]})
				continue
			}
			requests = append(requests, &request{sent: instants[2], arrived: instants[3], landed: instants[4]})
		}
		var instants []time.Time
		for _, r := range requests {
			instants = append(instants, r.sent, r.arrived, r.landed)
		}
		slices.SortFunc(instants, time.Time.Compare)
		for _, at := range slices.Compact(instants) {
			for _, r := range requests {
				if r.sent.Equal(at) && mayUse(at) {
					r.presented, r.isSent = storage, true
				}
				if r.arrived.Equal(at) && r.isSent {
					var err error
					if r.answer, err = send(r.presented, at); err != nil {
						return ended(err)
					}
				}
				if r.landed.Equal(at) && r.isSent && (lastWins || storage == r.presented) {
					storage = r.answer
				}
			}
			now = later(now, at)
		}
		isLate := now.Sub(rotated) >= p.GracePeriod-skew
		if isOld() && isLate && !isPaid() {
			return nil
		}
		if isOld() && (!isPaid() || draw(2) == 0) { // alone
			answer, err := send(storage, now)
			if err != nil {
				return ended(err)
			}
			storage = answer
		}
	}
	return nil
}

var errOver = fmt.Errorf("the maximum lifetime ends the session")

func ended(err error) error {
	if errors.Is(err, errOver) {
		return nil
	}
	return err
}

// The limits of the promise to an honest client: histories of a few exchanges in which nothing was stolen, and the
// rules still detect a replay, or in which something was stolen, and they detect none. The advice at
// honestClient avoids the former.
func TestLimitsOfWhatARetryCanBe(t *testing.T) {
	type exchange struct {
		present uint32
		at      time.Duration
		want    domain.Outcome
	}
	for _, tt := range []struct {
		limit     string
		exchanges []exchange
	}{
		{"the storage stays old for nearly a grace period, and a request is on its way while another one rotates",
			[]exchange{
				{1, 0, domain.Rotated}, // the answer is lost
				{1, 30*time.Second - µs, domain.Retried}, {2, 30 * time.Second, domain.Rotated},
				{1, 30*time.Second + µs, domain.RefusedReplayed},
			}},
		{"the response of a recovery is lost too, and two requests return with the same string while a third rotates",
			[]exchange{
				{1, 0, domain.Rotated}, {1, time.Hour, domain.Recovered}, // both answers are lost
				{1, 2 * time.Hour, domain.Recovered}, {2, 2*time.Hour + time.Second, domain.Rotated},
				{1, 2*time.Hour + 2*time.Second, domain.RefusedReplayed},
			}},
		{"an answer that lands hours late puts an old string back", []exchange{
			{1, 0, domain.Rotated}, {2, time.Hour, domain.Rotated}, {3, 2 * time.Hour, domain.Rotated},
			{2, 3 * time.Hour, domain.RefusedReplayed},
		}},
		{"a copy that is kept apart is as old as a thief's", []exchange{
			{1, 0, domain.Rotated}, {2, time.Hour, domain.Rotated}, {1, 2 * time.Hour, domain.RefusedReplayed},
		}},
		{"a thief who comes within a grace period of each of the owner's exchanges is a second tab", []exchange{
			{1, 0, domain.Rotated}, {2, time.Hour, domain.Rotated}, {2, time.Hour + 29*time.Second, domain.Retried},
			{3, 2 * time.Hour, domain.Rotated}, {3, 2*time.Hour + 29*time.Second, domain.Retried},
			{4, 3 * time.Hour, domain.Rotated}, {4, 3*time.Hour + 29*time.Second, domain.Retried},
		}},
		{"one who does so most of the time may collide once in each interval", []exchange{
			{1, 0, domain.Rotated}, {1, time.Hour, domain.Recovered},
			{2, 2 * time.Hour, domain.Rotated}, {2, 3 * time.Hour, domain.Recovered},
			{3, 4 * time.Hour, domain.Rotated}, {3, 4*time.Hour + time.Second, domain.Retried},
			{4, 5 * time.Hour, domain.Rotated}, {5, 6 * time.Hour, domain.Rotated}, {6, 7 * time.Hour, domain.Rotated},
			{7, 8 * time.Hour, domain.Rotated}, {8, 9 * time.Hour, domain.Rotated}, {9, 10 * time.Hour, domain.Rotated},
			{10, 11 * time.Hour, domain.Rotated}, {11, 12 * time.Hour, domain.Rotated},
			{11, 13 * time.Hour, domain.Recovered},
		}},
	} {
		t.Run(tt.limit, func(t *testing.T) {
			w := newWorld(domain.Snapshot.Decide, domain.DefaultPolicy())
			for _, e := range tt.exchanges {
				if d := w.exchange(domain.Call{Generation: e.present, Now: issued.Add(e.at)}); d.Outcome != e.want {
					t.Errorf("generation %d after %s: got %s, want %s", e.present, e.at, d.Outcome, e.want)
				}
			}
		})
	}
}
