package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/refreshd/refreshd/domain"
	"github.com/refreshd/refreshd/port"
)

var advancing = append([]clause{
	{"RefreshTokens/Advance/moves generation, instants and address, clears RecoveredAt, and no more", func(e *env) {
		e.shop(domain.Settings{})
		before := e.issue(activeToken())[0]
		now := before.RotatedAt.Add(time.Hour + tick)
		_, p, err := e.store.Advance(e.Context(), before.ID,
			domain.Call{Generation: before.Generation, Now: now, Binding: before.Binding, ClientAddress: "192.0.2.7"})
		e.must(err)
		want := before
		want.Generation++
		want.RotatedAt, want.LastUsedAt, want.MetaData.ClientAddress = now, now, "192.0.2.7"
		want.RecoveredAt = time.Time{}
		want.ExpiresAt = now.Add(p.TTL).Truncate(time.Second)
		e.wantStored("stored", want)
	}},

	{"RefreshTokens/Advance/returns the record as it is stored", func(e *env) {
		e.shop(domain.Settings{})
		before := e.issue(activeToken())[0]
		got, _, err := e.store.Advance(e.Context(), before.ID, domain.Call{
			Generation: before.Generation, Now: t0.Add(time.Hour), Binding: before.Binding, ClientAddress: "192.0.2.7",
		})
		e.must(err)
		e.wantStored("stored", got)
		if got.Generation != before.Generation+1 {
			e.Errorf("Generation = %d, want %d", got.Generation, before.Generation+1)
		}
	}},

	{"RefreshTokens/Advance/returns the policy in force, in every field", func(e *env) {
		e.must(SaveTenant(e.Context(), e.store, fullTenant()))
		e.must(SaveApplication(e.Context(), e.store, fullApplication()))
		t := e.issue(token(1))[0]
		t, p, err := e.store.Advance(e.Context(), t.ID, domain.Call{Generation: 1, Now: t0, Authenticated: true})
		e.must(err)
		e.wantSame("the policy", p, combined(fullTenant(), fullApplication()))
		a := fullApplication()
		a.Settings, a.Client = zeroSettings(), domain.Client{}
		a.Settings.Active = new(true)
		e.must(SaveApplication(e.Context(), e.store, a))
		_, p, err = e.store.Advance(e.Context(), t.ID, domain.Call{Generation: 2, Now: t0})
		e.must(err)
		e.wantSame("the policy, changed", p, combined(fullTenant(), a))
	}},

	{"RefreshTokens/Advance/slides the expiry as the policy says, cut to the second", func(e *env) {
		const ttl, maximum = 10 * time.Minute, 25 * time.Minute
		toSecond := t0.Truncate(time.Second).Add(time.Second).Sub(t0)
		for i, c := range []struct {
			policy domain.ExpirationPolicy
			after  time.Duration // from issue to the exchange
			want   time.Duration // from issue to the new expiry, before it is cut
		}{
			{domain.SlidingWindow, 0, ttl},
			{domain.SlidingWindow, toSecond - tick, ttl},
			{domain.SlidingWindow, toSecond, toSecond + ttl},
			{domain.SlidingWindow, 3*time.Hour + tick, 3*time.Hour + ttl},
			{domain.SlidingWindowWithMaximumLifetime, tick, ttl},
			{domain.SlidingWindowWithMaximumLifetime, toSecond + time.Minute, toSecond + time.Minute + ttl},
			{domain.SlidingWindowWithMaximumLifetime, toSecond + maximum - ttl - time.Second, maximum},
			{domain.SlidingWindowWithMaximumLifetime, toSecond + maximum - ttl - time.Second - tick, maximum - time.Second},
			{domain.SlidingWindowWithMaximumLifetime, toSecond + maximum - ttl, maximum},
			{domain.SlidingWindowWithMaximumLifetime, maximum - time.Second, maximum},
		} {
			e.shop(domain.Settings{
				Expiration: new(c.policy), TTLMinutes: new(int64(ttl / time.Minute)),
				MaximumTTLMinutes: new(int64(maximum / time.Minute)),
			})
			t := e.advance(e.issue(token(i + 1))[0], t0.Add(c.after))
			e.wantSame(fmt.Sprintf("%s, used %v after issue: returned", c.policy, c.after),
				t.ExpiresAt, t0.Add(c.want).Truncate(time.Second))
			e.wantStored("and stored", t)
		}
	}},

	// The last reading of the clock counts, not the latest.
	{"RefreshTokens/Advance/by a clock that is behind, moves the expiry back, and on again by the next", func(e *env) {
		for i, expiration := range []domain.ExpirationPolicy{domain.SlidingWindow, domain.SlidingWindowWithMaximumLifetime} {
			e.shop(domain.Settings{Expiration: &expiration, TTLMinutes: new(int64(10))})
			t := e.issue(token(i + 1))[0]
			for _, after := range []time.Duration{8 * time.Minute, 3 * time.Minute, 9 * time.Minute} {
				t = e.advance(t, t0.Add(after))
				e.wantSame(fmt.Sprintf("%s, used %v after issue: returned", expiration, after),
					t.ExpiresAt, t0.Add(after+10*time.Minute).Truncate(time.Second))
				e.wantStored("and stored", t)
			}
		}
	}},

	{"RefreshTokens/Advance/does not change a fixed expiry", func(e *env) {
		e.shop(domain.Settings{Expiration: new(domain.Fixed), TTLMinutes: new(int64(10)), MaximumTTLMinutes: new(int64(10))})
		before := e.issue(token(1))[0]
		t := e.advance(before, t0.Add(3*time.Hour))
		e.wantSame("returned", t.ExpiresAt, before.ExpiresAt)
		e.wantStored("and stored", t)
	}},

	{"RefreshTokens/Advance/refuses while the rotation's answer stands, on either side of it", func(e *env) {
		holds(e, 0, func(t *domain.RefreshToken) { t.RotatedAt = t0 })
	}},

	{"RefreshTokens/Advance/refuses while the recovery's answer stands, whenever the rotation was", func(e *env) {
		holds(e, 0, func(t *domain.RefreshToken) { t.RotatedAt, t.RecoveredAt = t0.Add(-time.Hour), t0 })
		// The clock of the rotation was ahead of the clock of the recovery.
		holds(e, 100, func(t *domain.RefreshToken) { t.RotatedAt, t.RecoveredAt = t0.Add(holdGrace), t0 })
	}},

	{"RefreshTokens/Advance/without a grace period no answer stands", func(e *env) {
		e.shop(noGrace())
		t := e.advance(e.issue(token(1))[0], t0)
		t = e.advance(t, t0)
		after := t
		after.RecoveredAt = t0
		e.must(e.store.Swap(e.Context(), t, after, t0, NewEvent()))
		e.advance(after, t0)
	}},

	{"RefreshTokens/Advance/at generation 1 no answer stands", func(e *env) {
		e.shop(domain.Settings{})
		for i, now := range []time.Time{t0, t0.Add(tick), t0.Add(-tick)} {
			e.advance(e.issue(token(i + 1))[0], now)
		}
	}},

	{"RefreshTokens/Advance/refuses the last generation", func(e *env) {
		e.shop(noGrace())
		t := token(1)
		t.Generation = domain.MaxGeneration - 1
		t = e.advance(e.issue(t)[0], t0)
		if t.Generation != domain.MaxGeneration {
			e.Errorf("generation %d, want the last", t.Generation)
		}
		e.wantConflict("the last", t, t0)
	}},

	{"RefreshTokens/Advance/refuses where the expiry, moved and cut, would not be after now", func(e *env) {
		const maximum = 25 * time.Minute
		last := t0.Add(maximum).Truncate(time.Second)
		settings := domain.Settings{
			Expiration: new(domain.SlidingWindowWithMaximumLifetime), TTLMinutes: new(int64(10)),
			MaximumTTLMinutes: new(int64(maximum / time.Minute)),
		}
		for i, c := range []struct {
			now     time.Time
			refused bool
		}{
			{last.Add(-tick), false}, {last, true}, {last.Add(tick), true},
			{t0.Add(maximum - tick), true}, {t0.Add(maximum), true}, {t0.Add(3 * time.Hour), true},
		} {
			e.shop(settings)
			t := e.issue(token(i + 1))[0]
			if c.refused {
				e.wantConflict(fmt.Sprintf("at %v of a maximum of %v", c.now.Sub(t0), maximum), t, c.now)
			} else {
				e.advance(t, c.now)
			}
		}
		// The maximum does not apply to other policies.
		for i, expiration := range []domain.ExpirationPolicy{domain.Fixed, domain.SlidingWindow} {
			settings.Expiration = &expiration
			e.shop(settings)
			e.advance(e.issue(token(i + 50))[0], t0.Add(3*time.Hour))
		}
	}},

	{"RefreshTokens/Advance/counts the maximum of an import from the original issue", func(e *env) {
		e.shop(domain.Settings{
			Expiration: new(domain.SlidingWindowWithMaximumLifetime),
			TTLMinutes: new(int64(10)), MaximumTTLMinutes: new(int64(60)),
		})
		t := token(1)
		t.IssuedAt = t0.Add(-55 * time.Minute)
		t = e.advance(e.issue(t)[0], t0)
		e.wantSame("the expiry", t.ExpiresAt, t0.Add(5*time.Minute).Truncate(time.Second))
		t = token(2)
		t.IssuedAt = t0.Add(-60 * time.Minute)
		e.wantConflict("as old as the maximum", e.issue(t)[0], t0)
	}},

	{"RefreshTokens/Advance/stores exactly what Rotated makes of the record, whatever the policy", func(e *env) {
		n := 0
		for _, expiration := range []domain.ExpirationPolicy{domain.Fixed, domain.SlidingWindow,
			domain.SlidingWindowWithMaximumLifetime} {
			for _, grace := range []time.Duration{0, time.Second, time.Minute} {
				s := domain.Settings{
					Expiration: &expiration, GraceSeconds: new(int64(grace / time.Second)),
					TTLMinutes: new(int64(7)), MaximumTTLMinutes: new(int64(30)),
				}
				e.shop(s)
				n++
				t := activeToken()
				t.ID = tokenID(n)
				want := e.issue(t)[0]
				p := e.snapshot(t.ID).Policy
				now := t.RecoveredAt
				for _, wait := range []time.Duration{
					tick, 300 * time.Millisecond, 5 * time.Minute, -time.Second + tick, time.Second, 9 * time.Minute,
				} {
					if wait > 0 {
						now = now.Add(wait + grace)
					} else {
						now = now.Add(wait - grace)
					}
					if !now.Before(want.ExpiresAt) || !want.MayMove(p, now) {
						break
					}
					address := fmt.Sprintf("192.0.2.%d", n)
					got, _, err := e.store.Advance(e.Context(), t.ID,
						domain.Call{Generation: want.Generation, Now: now, Binding: t.Binding, ClientAddress: address})
					e.must(err)
					want = want.Rotated(p, now, address)
					e.wantSame(fmt.Sprintf("%s, grace period %s, %v later: returned", expiration, grace, wait), got, want)
					e.wantStored("and stored", want)
				}
			}
		}
	}},

	{"RefreshTokens/Advance/a change of application or tenant counts at the next call", func(e *env) {
		e.shop(domain.Settings{})
		t := e.issue(token(1))[0]
		for i := range 6 {
			s := noGrace()
			s.AccessTokenSeconds, s.TTLMinutes = new(int64(i+1)), new(int64(i+7))
			want := combined(domain.Tenant{}, domain.Application{Settings: s})
			if i%2 == 0 {
				e.application("acme", "shop", s)
			} else {
				e.application("acme", "shop", domain.Settings{})
				e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme", Settings: s}))
			}
			next, p, err := e.store.Advance(e.Context(), t.ID, domain.Call{Generation: t.Generation, Now: t0})
			e.must(err)
			e.wantSame("the policy", p, want)
			e.wantSame("the expiry", next.ExpiresAt, t0.Add(want.TTL).Truncate(time.Second))
			t = next
		}
	}},

	{"RefreshTokens/Advance/refuses an ended one", func(e *env) {
		eachEnding(e, func(how string, t domain.RefreshToken, now time.Time) {
			before := e.snapshot(t.ID).Token
			_, _, err := e.store.Advance(e.Context(), t.ID, domain.Call{Generation: t.Generation, Now: now})
			e.wantErr(how, err, domain.ErrConflict)
			e.wantStored(how+": afterwards", before)
		})
	}},

	{"RefreshTokens/Advance/refuses what is unknown", func(e *env) {
		e.shop(domain.Settings{})
		_, _, err := e.store.Advance(e.Context(), tokenID(1), domain.Call{Generation: 1, Now: t0})
		e.wantErr("unknown", err, domain.ErrConflict)
	}},

	{"RefreshTokens/Advance/asks for nothing more than its conditions", func(e *env) {
		settings := noGrace()
		settings.AccessTokenSeconds, settings.Expiration = new(int64(60)), new(domain.Fixed)
		e.shop(settings)
		t := e.issue(token(1))[0]
		for name, c := range map[string]domain.Call{
			"tenant named":                    {TenantID: "acme"},
			"authenticated without need":      {Authenticated: true},
			"a proof without need":            {Binding: "thumbprint"},
			"the longest access token":        {AccessTokenTTL: time.Minute},
			"a short access token":            {AccessTokenTTL: time.Second},
			"before it was issued, by clock":  {Now: t0.Add(-time.Hour)},
			"a microsecond before its expiry": {Now: t.ExpiresAt.Add(-tick)},
		} {
			c.Generation = t.Generation
			if c.Now.IsZero() {
				c.Now = t0
			}
			next, _, err := e.store.Advance(e.Context(), t.ID, c)
			if err != nil {
				e.Fatalf("%s: got error %v, want none", name, err)
			}
			t = next
		}
	}},

	{"RefreshTokens/Advance/of many concurrent calls with one generation exactly one succeeds", func(e *env) {
		e.shop(noGrace())
		hs := e.handles(3)
		t := e.issue(token(1))[0]
		for range 3 {
			errs := make([]error, 100)
			results := make([]domain.RefreshToken, len(errs))
			together(len(errs), func(i int) {
				results[i], _, errs[i] = hs[i%3].Advance(e.Context(), t.ID,
					domain.Call{Generation: t.Generation, Now: t0.Add(time.Duration(i) * time.Second),
						ClientAddress: fmt.Sprint("client ", i)})
			})
			t = results[e.wantOneWinner(errs, domain.ErrConflict)]
			e.wantStored("afterwards", t)
		}
	}},

	{"RefreshTokens/Advance/of many concurrent calls for different refresh tokens each has its own result", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		tokens := make([]domain.RefreshToken, 120)
		for i := range tokens {
			tokens[i] = token(i + 1)
			tokens[i].Binding = fmt.Sprintf("%03d", i)
		}
		tokens = e.issue(tokens...)
		for round := range uint32(3) {
			calls := make([]domain.Call, len(tokens))
			wins := make([]bool, len(tokens))
			for i, t := range tokens {
				calls[i] = domain.Call{
					Generation: t.Generation, Now: t0.Add(time.Duration(i)*time.Minute + time.Duration(round)*time.Hour),
					TenantID: "acme", Binding: t.Binding, ClientAddress: fmt.Sprint("client ", i),
				}
				// Every fourth call misses a condition, in each round another call.
				wins[i] = i%4 != int(round)
				switch {
				case wins[i]:
				case i%3 == 0:
					calls[i].Generation += 7
				case i%3 == 1:
					calls[i].TenantID = "other"
				default:
					calls[i].Binding = tokens[(i+1)%len(tokens)].Binding
				}
			}
			got, errs := make([]domain.RefreshToken, len(tokens)), make([]error, len(tokens))
			together(len(tokens), func(i int) { got[i], _, errs[i] = hs[i%3].Advance(e.Context(), tokens[i].ID, calls[i]) })
			for i, t := range tokens {
				if !wins[i] {
					e.wantErr(fmt.Sprintf("call %d", i), errs[i], domain.ErrConflict)
					e.wantStored("after a call that lacked something", t)
					continue
				}
				e.must(errs[i])
				want := t.Rotated(domain.DefaultPolicy(), calls[i].Now, calls[i].ClientAddress)
				e.wantSame(fmt.Sprintf("the answer to call %d", i), got[i], want)
				e.wantStored("after it", want)
				tokens[i] = want
			}
		}
	}},

	// Whatever string each of them presents, and whatever it reads: the first rotation's answer stands for all.
	{"RefreshTokens/Advance/many callers within a grace period move it by one generation", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		t := e.issue(token(1))[0]
		for round := range 3 {
			now := t0.Add(time.Duration(round) * time.Hour)
			moved := make([]int, 60)
			errs := make([]error, len(moved))
			together(len(moved), func(i int) {
				for range 3 {
					s, err := hs[i%3].Snapshot(e.Context(), t.ID)
					if err != nil {
						errs[i] = err
						return
					}
					_, _, err = hs[i%3].Advance(e.Context(), t.ID,
						domain.Call{Generation: s.Token.Generation, Now: now.Add(time.Duration(i%5-2) * time.Second)})
					switch {
					case err == nil:
						moved[i]++
					case !errors.Is(err, domain.ErrConflict):
						errs[i] = err
						return
					}
				}
			})
			total := 0
			for i, err := range errs {
				e.must(err)
				total += moved[i]
			}
			if total != 1 {
				e.Errorf("round %d: %d rotations within a grace period, want 1", round, total)
			}
			if got, want := e.snapshot(t.ID).Token.Generation, t.Generation+uint32(round)+1; got != want {
				e.Errorf("round %d: generation %d is stored, want %d", round, got, want)
			}
		}
	}},

	// Either order is correct: the recovery's answer then stands for the current string, or the rotation has made the
	// recovery's string too old.
	{"RefreshTokens/Advance/and a concurrent recovery: exactly one succeeds", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(2)
		for i := range 25 {
			before := token(i + 1)
			before.Generation = 2
			before = e.issue(before)[0]
			now := t0.Add(time.Hour)
			after := before
			after.RecoveredAt, after.RecoveryPaidUntil, after.LastUsedAt = now, 12, now
			errs := make([]error, 2)
			together(2, func(j int) {
				if j == i%2 { // alternately the first
					errs[0] = hs[0].Swap(e.Context(), before, after, now, NewEvent())
				} else {
					_, _, errs[1] = hs[1].Advance(e.Context(), before.ID, domain.Call{Generation: before.Generation, Now: now})
				}
			})
			if e.wantOneWinner(errs, domain.ErrConflict) == 1 {
				after = before.Rotated(domain.DefaultPolicy(), now, "")
			}
			e.wantStored("afterwards", after)
		}
	}},

	{"RefreshTokens/Advance/many callers in a chain leave no gap and make no double", func(e *env) {
		e.shop(noGrace())
		hs := e.handles(3)
		t := e.issue(token(1))[0]
		const callers = 100
		reached := make([]uint32, callers)
		errs := make([]error, callers)
		together(callers, func(i int) { reached[i], errs[i] = e.advanceOnce(hs[i%3], t.ID, t.Generation, 1000*callers) })
		want := make([]uint32, callers)
		for i := range want {
			want[i] = uint32(i + 2)
		}
		for _, err := range errs {
			e.must(err)
		}
		slices.Sort(reached)
		e.wantSame("the generations reached", reached, want)
		if got := e.snapshot(t.ID).Token.Generation; got != callers+1 {
			e.Errorf("stored generation %d, want %d", got, callers+1)
		}
	}},
}, advanceConditions...)

const holdGrace = 30 * time.Second

// holds checks that a refresh token whose last answer was at t0 is advanced a grace period away from it, and not
// closer. It uses refresh tokens above n.
func holds(e *env, n int, answered func(*domain.RefreshToken)) {
	e.Helper()
	e.shop(domain.Settings{GraceSeconds: new(int64(holdGrace / time.Second))})
	for _, distance := range []time.Duration{
		0, tick, time.Second, holdGrace - tick, holdGrace, holdGrace + tick, time.Hour,
	} {
		for _, now := range []time.Time{t0.Add(distance), t0.Add(-distance)} {
			n++
			t := token(n)
			t.Generation = 7
			answered(&t)
			t = e.issue(t)[0]
			if distance < holdGrace {
				e.wantConflict(fmt.Sprintf("%v from the last answer", now.Sub(t0)), t, now)
			} else {
				e.advance(t, now)
			}
		}
	}
}

// wantConflict checks that Advance with the current generation is refused and writes nothing.
func (e *env) wantConflict(what string, t domain.RefreshToken, now time.Time) {
	e.Helper()
	_, _, err := e.store.Advance(e.Context(), t.ID, domain.Call{Generation: t.Generation, Now: now})
	e.wantErr(what, err, domain.ErrConflict)
	e.wantStored(what+": afterwards", t)
}

// advanceOnce advances the token by one generation, whatever its generation: after a conflict it reads and tries again.
func (e *env) advanceOnce(s port.RefreshTokens, id domain.ID, generation uint32, attempts int) (uint32, error) {
	for range attempts {
		next, _, err := s.Advance(e.Context(), id, domain.Call{Generation: generation, Now: t0})
		if err == nil {
			return next.Generation, nil
		}
		if !errors.Is(err, domain.ErrConflict) {
			return 0, fmt.Errorf("advance from generation %d: %w", generation, err)
		}
		snapshot, err := s.Snapshot(e.Context(), id)
		if err != nil {
			return 0, fmt.Errorf("snapshot: %w", err)
		}
		generation = snapshot.Token.Generation
	}
	return 0, fmt.Errorf("no success in %d attempts", attempts)
}

// advanceConditions has one clause for each condition of a call. If only that one fails, nothing is written; with that
// condition met, the same call succeeds.
var advanceConditions = func() []clause {
	type setup struct {
		settings domain.Settings
		tenant   domain.Settings
		binding  string
	}
	var out []clause
	condition := func(name string, s setup, refused, right domain.Call) {
		out = append(out, clause{"RefreshTokens/Advance/refuses " + name, func(e *env) {
			e.shop(domain.Settings{})
			t := token(1)
			t.Binding = s.binding
			t = e.issue(t)[0]
			t, _, err := e.store.Advance(e.Context(), t.ID, domain.Call{Generation: 1, Now: t0, Binding: s.binding})
			e.must(err)
			e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme", Settings: s.tenant}))
			e.application("acme", "shop", s.settings)
			refused, right := refused, right
			for _, c := range []*domain.Call{&refused, &right} {
				c.Now, c.ClientAddress = t0.Add(time.Hour), "192.0.2.7"
				if c.Generation == 0 {
					c.Generation = t.Generation
				}
			}
			_, _, err = e.store.Advance(e.Context(), t.ID, refused)
			e.wantErr("missing one condition", err, domain.ErrConflict)
			e.wantStored("after the refusal", t)
			e.must(SaveTenant(e.Context(), e.store, domain.Tenant{ID: "acme"}))
			repaired := s.settings
			repaired.Active, repaired.Usage = nil, nil
			e.application("acme", "shop", repaired)
			_, _, err = e.store.Advance(e.Context(), t.ID, right)
			e.must(err)
		}})
	}
	condition("a generation that is past", setup{}, domain.Call{Generation: 1}, domain.Call{})
	condition("a generation that is yet to come", setup{}, domain.Call{Generation: 3}, domain.Call{})
	condition("another application", setup{}, domain.Call{ApplicationID: "other"}, domain.Call{ApplicationID: "shop"})
	condition("another tenant", setup{}, domain.Call{TenantID: "other"}, domain.Call{TenantID: "acme"})
	condition("a call without the binding", setup{binding: "thumbprint"}, domain.Call{},
		domain.Call{Binding: "thumbprint"})
	condition("a call with another binding", setup{binding: "thumbprint"},
		domain.Call{Binding: "Thumbprint"}, domain.Call{Binding: "thumbprint"})
	condition("a call without the authentication that is asked for",
		setup{settings: domain.Settings{RequireAuthentication: new(true)}},
		domain.Call{}, domain.Call{Authenticated: true})
	condition("a longer access token than the policy allows",
		setup{settings: domain.Settings{AccessTokenSeconds: new(int64(60))}},
		domain.Call{AccessTokenTTL: time.Minute + tick}, domain.Call{AccessTokenTTL: time.Minute})
	condition("a reusable token", setup{settings: domain.Settings{Usage: new(domain.Reusable)}}, domain.Call{},
		domain.Call{})
	condition("an inactive application", setup{settings: domain.Settings{Active: new(false)}}, domain.Call{},
		domain.Call{})
	condition("an inactive tenant", setup{tenant: domain.Settings{Active: new(false)}}, domain.Call{}, domain.Call{})
	return out
}()
