package domain_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/refreshd/refreshd/domain"
)

// A property draws a history, plays it against a rule and says what went wrong. The rule is an argument so that the same
// property can be shown to fail: TestPropertiesCatchMutants plays it against rules that are wrong in one way each.
type (
	property func(draw, rule) error
	rule     func(domain.Snapshot, domain.Call) domain.Decision
	draw     func(n int) int // one of 0 … n-1
)

var properties = map[string]property{
	"an honest client never loses its session":                      honestClient,
	"owner and thief do not both survive the third collision":       ownerAndThief,
	"recoveries stay within the budget":                             wander(withinBudget),
	"what left currency a grace period ago is only recovered":       wander(onlyRecovered),
	"revoked stays revoked":                                         wander(staysRevoked),
	"one live generation, and one string for each":                  wander(oneGeneration),
	"expiry never passes the maximum, and a retry does not move it": wander(expiryBounded),
}

func TestProperties(t *testing.T) {
	for name, holds := range properties {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				err := holds(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "of") }, domain.Snapshot.Decide)
				if err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

// Each mutant is the rule with one mistake that somebody could make. The property it is listed under must see it.
func TestPropertiesCatchMutants(t *testing.T) {
	for _, m := range []struct {
		property, mistake string
		mutant            rule
	}{
		{"an honest client never loses its session", "there is no recovery", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Policy.RecoveryBurst = 0
			return s.Decide(c)
		}},
		{"an honest client never loses its session", "the budget is one short", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Policy.RecoveryBurst = max(0, s.Policy.RecoveryBurst-1)
			return s.Decide(c)
		}},
		{"an honest client never loses its session", "a recovery is charged again at each repeat", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Token.RecoveredGeneration = 0
			return s.Decide(c)
		}},
		{"an honest client never loses its session", "the budget never comes back", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Policy.RecoveryInterval = 1_000
			return s.Decide(c)
		}},
		{"an honest client never loses its session", "every rotation begins the grace period anew", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Rotated {
				d.After.GraceGeneration, d.After.GraceSince = s.Token.Generation, c.Now
			}
			return d
		}},
		{"an honest client never loses its session", "the grace period is half as long", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Policy.GracePeriod /= 2
			return s.Decide(c)
		}},
		{"an honest client never loses its session", "a recovery does not slide the expiry", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Recovered {
				d.After.ExpiresAt = s.Token.ExpiresAt
			}
			return d
		}},
		{"owner and thief do not both survive the third collision", "a recovery is not charged", uncharged},
		{"owner and thief do not both survive the third collision", "what was recovered once is free for ever", func(s domain.Snapshot, c domain.Call) domain.Decision {
			if s.Token.RecoveredGeneration != 0 {
				s.Token.RecoveredGeneration = s.Token.Generation
			}
			return s.Decide(c)
		}},
		{"owner and thief do not both survive the third collision", "the budget is one too many", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Policy.RecoveryBurst++
			return s.Decide(c)
		}},
		{"owner and thief do not both survive the third collision", "a replay is refused, and not revoked", unrevoked},
		{"owner and thief do not both survive the third collision", "anything older is answered", func(s domain.Snapshot, c domain.Call) domain.Decision {
			if c.Generation > 0 && c.Generation < s.Token.Generation-1 {
				c.Generation = s.Token.Generation - 1
			}
			return s.Decide(c)
		}},
		{"recoveries stay within the budget", "a recovery is not charged", uncharged},
		{"recoveries stay within the budget", "unused recoveries pile up", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Recovered && s.Token.RecoveredGeneration != s.Token.Generation {
				d.After.RecoveryPaidUntil = s.Token.RecoveryPaidUntil + s.Policy.RecoveryInterval
			}
			return d
		}},
		{"what left currency a grace period ago is only recovered", "a retry prolongs the grace period", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Retried {
				d.After.RotatedAt, d.After.GraceSince, d.Write = c.Now, c.Now, true
			}
			return d
		}},
		{"what left currency a grace period ago is only recovered", "the grace period includes its end", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Policy.GracePeriod += µs
			return s.Decide(c)
		}},
		{"what left currency a grace period ago is only recovered", "graceGeneration stays behind", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Rotated && s.Token.GraceGeneration > 0 {
				d.After.GraceGeneration = s.Token.GraceGeneration
			}
			return d
		}},
		{"what left currency a grace period ago is only recovered", "anything may be recovered", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.RefusedReplayed {
				return domain.Decision{Outcome: domain.Recovered, After: s.Token}
			}
			return d
		}},
		{"revoked stays revoked", "a retry is answered before revocation is looked at", func(s domain.Snapshot, c domain.Call) domain.Decision {
			blind := s
			blind.Token.RevokedAt, blind.MarkEpoch, blind.Gone = time.Time{}, 0, false
			if d := blind.Decide(c); d.Outcome == domain.Retried {
				return d
			}
			return s.Decide(c)
		}},
		{"revoked stays revoked", "marks are not looked at", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.MarkEpoch = 0
			return s.Decide(c)
		}},
		{"revoked stays revoked", "a replay is refused, and not revoked", unrevoked},
		{"one live generation, and one string for each", "a retry gets a sibling", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Retried {
				d.After, d.Write = s.Token.Rotated(s.Policy, c.Now, c.ClientAddress), true
			}
			return d
		}},
		{"one live generation, and one string for each", "a retry is answered with what it presented", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Retried {
				d.After.Generation = c.Generation
			}
			return d
		}},
		{"one live generation, and one string for each", "a rotation is answered before it is stored", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			d.Write = d.Write && d.Outcome != domain.Rotated
			return d
		}},
		{"one live generation, and one string for each", "a recovery counts as a rotation for the token key", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Recovered {
				d.After.RotatedAt = c.Now
			}
			return d
		}},
		{"one live generation, and one string for each", "a retry gets a new access token", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Retried {
				d.AccessTokenFrom = c.Now
			}
			return d
		}},
		{"expiry never passes the maximum, and a retry does not move it", "a retry slides", func(s domain.Snapshot, c domain.Call) domain.Decision {
			d := s.Decide(c)
			if d.Outcome == domain.Retried {
				d.After.ExpiresAt, d.Write = c.Now.Add(s.Policy.TTL), true
			}
			return d
		}},
		{"expiry never passes the maximum, and a retry does not move it", "the maximum is forgotten", func(s domain.Snapshot, c domain.Call) domain.Decision {
			if s.Policy.Expiration == domain.SlidingWindowWithMaximumLifetime {
				s.Policy.Expiration = domain.SlidingWindow
			}
			return s.Decide(c)
		}},
		{"expiry never passes the maximum, and a retry does not move it", "Fixed slides", func(s domain.Snapshot, c domain.Call) domain.Decision {
			if s.Policy.Expiration == domain.Fixed {
				s.Policy.Expiration = domain.SlidingWindow
			}
			return s.Decide(c)
		}},
		{"expiry never passes the maximum, and a retry does not move it", "expiresAt itself is alive", func(s domain.Snapshot, c domain.Call) domain.Decision {
			s.Token.ExpiresAt = s.Token.ExpiresAt.Add(µs)
			return s.Decide(c)
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

func uncharged(s domain.Snapshot, c domain.Call) domain.Decision {
	d := s.Decide(c)
	if d.Outcome == domain.Recovered {
		d.After.RecoveryPaidUntil, d.After.RecoveredGeneration = s.Token.RecoveryPaidUntil, s.Token.RecoveredGeneration
	}
	return d
}

func unrevoked(s domain.Snapshot, c domain.Call) domain.Decision {
	d := s.Decide(c)
	d.Write = d.Write && d.Outcome != domain.RefusedReplayed
	return d
}

func seeded(seed uint64) draw { return rand.New(rand.NewPCG(seed, 0)).IntN }

// world is a server with one refresh token and the shortest store there is. What it remembers beside the record, it
// remembers by itself, so that the laws do not trust the fields that they judge.
type world struct {
	decide rule
	snap   domain.Snapshot
	keys   domain.TokenKeys

	left      map[uint32]time.Time          // when a generation left currency
	strings   map[uint32]string             // what was answered for a generation
	access    map[uint32]domain.AccessToken // what a rotation was answered with
	charged   []uint32                      // generations that recoveries were answered with, once each
	isRevoked bool
}

func newWorld(decide rule, p domain.Policy) *world {
	r, err := domain.NewRefreshToken(domain.RefreshToken{ID: tokenID, TenantID: "acme", ApplicationID: "shop", UserID: "ada", IssuedEpoch: 4}, p, issued)
	if err != nil {
		panic(err)
	}
	w := &world{
		decide: decide, snap: domain.Snapshot{Token: r, MarkEpoch: 4, Policy: p},
		keys: domain.TokenKeys{{Number: 1, Key: domain.NewSecret("first")}},
		left: map[uint32]time.Time{}, strings: map[uint32]string{}, access: map[uint32]domain.AccessToken{},
	}
	w.strings[1] = w.mint(r)
	return w
}

func (w *world) mint(r domain.RefreshToken) string {
	k, _ := w.keys.MintingAt(r.RotatedAt)
	return k.Mint(r.ID, r.Generation).Reveal()
}

// exchange decides and stores, then notes what happened.
func (w *world) exchange(c domain.Call) domain.Decision {
	before := w.snap.Token
	d := w.decide(w.snap, c)
	if d.Write {
		w.snap.Token = d.After
	}
	switch {
	case d.Outcome == domain.Rotated:
		// A generation leaves after the one before it did, also by a clock that is behind.
		w.left[before.Generation] = later(w.left[before.Generation-1], c.Now)
	case d.Outcome == domain.Recovered && !slices.Contains(w.charged, d.After.Generation):
		w.charged = append(w.charged, d.After.Generation)
	case d.Outcome == domain.RefusedReplayed && w.snap.Policy.RevokeOnReplay:
		w.isRevoked = true
	}
	return d
}

// law judges one exchange, after it was stored.
type law func(w *world, before domain.Snapshot, wasRevoked bool, c domain.Call, d domain.Decision) error

// wander plays a history in which anything may happen: any string that was ever answered is presented, at instants around
// every limit, by clocks that differ; policies change, keys are added, marks are written.
func wander(holds law) property {
	return func(draw draw, decide rule) error {
		w := newWorld(decide, drawPolicy(draw))
		now := issued
		for step := range 1 + draw(60) {
			switch draw(20) {
			case 0:
				w.keys = append(w.keys, domain.TokenKey{Number: uint32(len(w.keys) + 1), StartsAt: now.Add(2 * time.Minute),
					Key: domain.NewSecret(fmt.Sprintf("key %d", step))})
			case 1:
				if draw(5) == 0 {
					p := drawPolicy(draw)
					p.RecoveryBurst, p.RecoveryInterval = w.snap.Policy.RecoveryBurst, w.snap.Policy.RecoveryInterval
					p.Expiration, p.TTL, p.MaximumTTL = w.snap.Policy.Expiration, w.snap.Policy.TTL, w.snap.Policy.MaximumTTL
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
						w.snap.Gone = true
					}
				}
			}
			g := w.snap.Policy.GracePeriod
			now = now.Add(pick(draw, 0, 0, µs, time.Second, g/3, max(0, g-µs), g, g+µs, 10*time.Minute, 5*time.Hour, 3*day))
			if draw(30) == 0 && now.Before(w.snap.Token.ExpiresAt) {
				now = w.snap.Token.ExpiresAt.Add(pick(draw, -µs, 0, µs))
			}
			current := w.snap.Token.Generation
			c := domain.Call{Now: now, Generation: pick(draw, current, current, current, max(1, current-1), max(1, current-1),
				1+uint32(draw(int(current))), max(1, current-min(current-1, 2)), current+1)}
			if draw(10) == 0 {
				c.Now = now.Add(-time.Duration(draw(3)) * time.Second)
			}
			before, wasRevoked := w.snap, w.isRevoked
			d := w.exchange(c)
			if err := holds(w, before, wasRevoked, c, d); err != nil {
				return fmt.Errorf("step %d: generation %d presented while %d was current, %s after issue: %s: %w", step, c.Generation,
					current, c.Now.Sub(issued), d.Outcome, err)
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

// onlyRecovered: what left currency a grace period ago or longer is answered by recovery or not at all, and recovery is for
// the one just before.
func onlyRecovered(w *world, before domain.Snapshot, _ bool, c domain.Call, d domain.Decision) error {
	if d.Outcome.Refused() || c.Generation >= before.Token.Generation {
		return nil
	}
	if d.Outcome == domain.Recovered {
		if c.Generation != before.Token.Generation-1 {
			return fmt.Errorf("recovered, and not the one before")
		}
		return nil
	}
	if age := c.Now.Sub(w.left[c.Generation]); age >= before.Policy.GracePeriod {
		return fmt.Errorf("it left currency %s ago, the grace period is %s", age, before.Policy.GracePeriod)
	}
	return nil
}

// staysRevoked: after a revocation of any kind, or a replay, nothing is answered and nothing is written.
func staysRevoked(w *world, _ domain.Snapshot, wasRevoked bool, _ domain.Call, d domain.Decision) error {
	if wasRevoked && (!d.Outcome.Refused() || d.Write) {
		return fmt.Errorf("it is revoked")
	}
	return nil
}

// oneGeneration: every answer names the generation that the store holds afterwards; only the current string moves it, by one;
// every answer for one generation carries the same string; and a retry the same access token as the rotation.
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
	if d.Outcome == domain.Rotated || d.Outcome == domain.Retried {
		a := domain.NewAccessToken(d.After, "https://auth.example", d.AccessTokenFrom, 15*time.Minute)
		if first, again := w.access[is]; again && !cmp.Equal(first, a) {
			return fmt.Errorf("two access tokens for generation %d: %s", is, cmp.Diff(first, a))
		}
		w.access[is] = a
	}
	return nil
}

// expiryBounded: no answer at or past the expiry, no expiry past what the policy names, none moved by a retry or a refusal.
func expiryBounded(w *world, before domain.Snapshot, _ bool, c domain.Call, d domain.Decision) error {
	p, was, is := before.Policy, before.Token.ExpiresAt, w.snap.Token.ExpiresAt
	switch {
	case !d.Outcome.Refused() && !c.Now.Before(was):
		return fmt.Errorf("it expired at %s", was)
	case (d.Outcome == domain.Retried || d.Outcome.Refused()) && !is.Equal(was):
		return fmt.Errorf("expiry moved by %s", is.Sub(was))
	case p.Expiration == domain.Fixed && !is.Equal(issued.Add(p.TTL)):
		return fmt.Errorf("fixed, and moved by %s", is.Sub(was))
	case p.Expiration == domain.SlidingWindowWithMaximumLifetime && is.After(issued.Add(p.MaximumTTL)):
		return fmt.Errorf("expires %s past the maximum", is.Sub(issued.Add(p.MaximumTTL)))
	case is.After(was) && is.After(c.Now.Add(p.TTL)):
		return fmt.Errorf("expires %s after its last use", is.Sub(c.Now))
	}
	return nil
}

// withinBudget: of any run of generations, at most the burst was recovered and one more for each interval that passed.
func withinBudget(w *world, before domain.Snapshot, _ bool, _ domain.Call, d domain.Decision) error {
	p := before.Policy
	if d.Outcome == domain.Recovered && p.RecoveryBurst == 0 {
		return fmt.Errorf("recovery is off")
	}
	for i, first := range w.charged {
		last := w.charged[len(w.charged)-1]
		if n, most := int64(len(w.charged)-i), p.RecoveryBurst+int64(last-first)/p.RecoveryInterval; n > most {
			return fmt.Errorf("%d recoveries from generation %d to %d, the budget is %d", n, first, last, most)
		}
	}
	return nil
}

// ownerAndThief: the thief copies the string once, then both use what they hold, in any order, never within a grace period of
// each other. A collision is a late exchange of the string before the current one; a generation can be collided with once.
// With the default burst and an interval of 3 or more, two are answered; at the third, or at any older string, both are out.
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

// honestClient: up to six requests at a time from tabs or processes that share one storage. What it takes for the promise to
// hold, and so the advice for whoever writes a client:
//
//   - each request, a retry too, sends what the storage holds when it is sent;
//   - an answer is written only if the storage still holds what was sent, so that a late one does not put an old string back;
//   - requests that overlap reach the server within a grace period of the first one, and after a rest of a grace period;
//   - where the last answer was lost for good, the first request that comes back is alone until it is answered;
//   - the last answer of a burst is lost for good only while the budget pays for it.
//
// Any answer may be lost, requests overtake each other, tabs retry within the grace period or come back weeks later, and the
// servers' clocks differ by up to a second.
func honestClient(draw draw, decide rule) error {
	p := domain.DefaultPolicy()
	p.GracePeriod = pick(draw, 30*time.Second, 5*time.Second, 10*time.Minute)
	p.RecoveryBurst = int64(draw(4))
	p.RecoveryInterval = int64(2 + draw(19))
	w := newWorld(decide, p)
	storage, now := uint32(1), issued

	full := p.RecoveryBurst * p.RecoveryInterval
	credit := full // in generations: a recovery costs an interval, each generation earns one back
	paidFor := uint32(0)

	const skew = time.Second
	send := func(presented uint32, at time.Time) (uint32, error) {
		at = at.Add(time.Duration(draw(int(skew/time.Millisecond))) * time.Millisecond)
		if at.Sub(issued) > p.MaximumTTL-day {
			return presented, errOver
		}
		current := w.snap.Token.Generation
		d := w.exchange(domain.Call{Generation: presented, Now: at})
		switch {
		case d.Outcome.Refused():
			return 0, fmt.Errorf("%s: presented %d while %d was current, %s after its rotation, credit %d of %d", d.Outcome, presented, current,
				at.Sub(w.snap.Token.RotatedAt), credit, full)
		case d.Outcome == domain.Rotated:
			credit = min(full, credit+1)
		case d.Outcome == domain.Recovered && paidFor != current:
			credit, paidFor = credit-p.RecoveryInterval, current
		}
		return d.After.Generation, nil
	}

	for range 1 + draw(12) {
		now = now.Add(p.GracePeriod + 2*skew + pick(draw, 0, 15*time.Minute, 8*time.Hour, 3*day, 25*day))
		if storage != w.snap.Token.Generation {
			answer, err := send(storage, now)
			if err != nil {
				return ended(err)
			}
			if draw(3) == 0 {
				continue // lost again
			}
			storage = answer
		}
		type request struct {
			presented, answer     uint32
			sent, arrived, landed time.Time // landed: zero where the answer is lost
		}
		window := int((p.GracePeriod - 2*skew) / time.Millisecond)
		requests := make([]request, 1+draw(6))
		var instants []time.Time
		for i := range requests {
			within := []int{draw(window), draw(window), draw(window)}
			slices.Sort(within)
			r := &requests[i]
			r.sent, r.arrived = now.Add(time.Duration(within[0])*time.Millisecond), now.Add(time.Duration(within[1])*time.Millisecond)
			if draw(3) != 0 {
				r.landed = now.Add(time.Duration(within[2]) * time.Millisecond)
			}
			instants = append(instants, r.sent, r.arrived, r.landed)
		}
		slices.SortFunc(instants, time.Time.Compare)
		for _, at := range slices.Compact(instants) {
			for i := range requests {
				r := &requests[i]
				if r.sent.Equal(at) {
					r.presented = storage
				}
				if r.arrived.Equal(at) {
					var err error
					if r.answer, err = send(r.presented, at); err != nil {
						return ended(err)
					}
				}
				if r.landed.Equal(at) && !at.IsZero() && storage == r.presented {
					storage = r.answer
				}
			}
		}
		now = now.Add(p.GracePeriod - 2*skew)
		affordable := credit >= p.RecoveryInterval && p.RecoveryBurst > 0
		if storage != w.snap.Token.Generation && (!affordable || draw(2) == 0) {
			answer, err := send(storage, w.snap.Token.RotatedAt.Add(p.GracePeriod-skew-time.Millisecond))
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
	if err == errOver {
		return nil
	}
	return err
}

// Where the promise to an honest client ends: histories of a few exchanges in which nobody stole anything, and the rules see a
// replay all the same, because the record holds one run of rotations and no list of instants. A client keeps clear of them by the
// advice at honestClient.
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
		{"the third of three rotations within a grace period outlives it: what the second one left is old 20 s after it was current", []exchange{
			{1, 0, domain.Rotated}, {2, 10 * time.Second, domain.Rotated}, {3, 20 * time.Second, domain.Rotated},
			{2, 30*time.Second - µs, domain.Retried}, {2, 30 * time.Second, domain.RefusedReplayed},
		}},
		{"two tabs come back late with the same string, a third one rotates before the second arrives", []exchange{
			{1, 0, domain.Rotated}, // the answer is lost
			{1, time.Hour, domain.Recovered}, {2, time.Hour + time.Second, domain.Rotated},
			{1, time.Hour + 2*time.Second, domain.RefusedReplayed},
		}},
		{"a late answer puts an old string back into the storage after two more rotations", []exchange{
			{1, 0, domain.Rotated}, {2, time.Second, domain.Rotated}, {3, 2 * time.Second, domain.Rotated},
			{2, time.Hour, domain.RefusedReplayed},
		}},
		{"a thief who shadows the owner within the grace period may collide once in each interval", []exchange{
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
