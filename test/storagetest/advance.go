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
	{"RefreshTokens/Advance/moves generation, instants and client address, and nothing else", func(e *env) {
		e.shop(domain.Settings{})
		before := e.issue(livingToken())[0]
		now := before.RotatedAt.Add(time.Hour + tick)
		_, p, err := e.store.Advance(e.Context(), before.ID,
			domain.Call{Generation: before.Generation, Now: now, Binding: before.Binding, ClientAddress: "192.0.2.7"})
		e.must(err)
		want := before
		want.Generation++
		want.RotatedAt, want.LastUsedAt, want.MetaData.ClientAddress = now, now, "192.0.2.7"
		want.GraceGeneration, want.GraceSince = before.Generation, now
		want.ExpiresAt = now.Add(p.TTL)
		e.wantStored("stored", want)
	}},

	{"RefreshTokens/Advance/returns the record as it is stored", func(e *env) {
		e.shop(domain.Settings{})
		before := e.issue(livingToken())[0]
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
		e.must(e.store.SaveTenant(e.Context(), fullTenant()))
		e.must(e.store.SaveApplication(e.Context(), fullApplication()))
		t := e.issue(token(1))[0]
		t, p, err := e.store.Advance(e.Context(), t.ID, domain.Call{Generation: 1, Now: t0, Authenticated: true})
		e.must(err)
		e.wantSame("the policy", p, domain.Effective(fullTenant(), fullApplication()))
		a := fullApplication()
		a.Settings = zeroSettings()
		a.Settings.Active = new(true)
		e.must(e.store.SaveApplication(e.Context(), a))
		_, p, err = e.store.Advance(e.Context(), t.ID, domain.Call{Generation: 2, Now: t0})
		e.must(err)
		e.wantSame("the policy, changed", p, domain.Effective(fullTenant(), a))
	}},

	{"RefreshTokens/Advance/slides the expiry as the policy says, to the microsecond", func(e *env) {
		const ttl, maximum = 10 * time.Minute, 25 * time.Minute
		for i, c := range []struct {
			policy domain.ExpirationPolicy
			after  time.Duration // from issue to the exchange
			want   time.Duration // from issue to the new expiry
		}{
			{domain.Fixed, time.Minute, 24 * time.Hour},
			{domain.SlidingWindow, 0, ttl},
			{domain.SlidingWindow, 3*time.Hour + tick, 3*time.Hour + tick + ttl},
			{domain.SlidingWindowWithMaximumLifetime, tick, ttl + tick},
			{domain.SlidingWindowWithMaximumLifetime, maximum - ttl - tick, maximum - tick},
			{domain.SlidingWindowWithMaximumLifetime, maximum - ttl, maximum},
			{domain.SlidingWindowWithMaximumLifetime, maximum - ttl + tick, maximum},
			{domain.SlidingWindowWithMaximumLifetime, 3 * time.Hour, maximum}, // the maximum was lowered: the expiry moves back
		} {
			e.shop(domain.Settings{
				Expiration: new(c.policy), TTLMinutes: new(int64(ttl / time.Minute)), MaximumTTLMinutes: new(int64(maximum / time.Minute)),
			})
			t := e.advance(e.issue(token(i + 1))[0], t0.Add(c.after))
			e.wantSame(fmt.Sprintf("%s, used %v after issue: returned", c.policy, c.after), t.ExpiresAt, t0.Add(c.want))
			e.wantStored("and stored", t)
		}
	}},

	{"RefreshTokens/Advance/moves the grace generation when GraceSince is zero or a grace period old", func(e *env) {
		const grace = 30 * time.Second
		e.shop(domain.Settings{GraceSeconds: new(int64(grace / time.Second))})
		t := e.issue(token(1))[0]
		now := t0
		for _, step := range []struct {
			wait  time.Duration
			moves bool
		}{
			{time.Hour, true}, // zero until now
			{0, false},
			{tick, false},
			{grace - 2*tick, false}, // a microsecond short
			{tick, true},            // the very microsecond
			{-time.Hour, false},     // a clock that is behind: no age
			{time.Hour + grace, true},
			{5 * grace, true},
		} {
			now = now.Add(step.wait)
			generation, since := t.GraceGeneration, t.GraceSince
			if step.moves {
				generation, since = t.Generation, now
			}
			t = e.advance(t, now)
			if t.GraceGeneration != generation || !t.GraceSince.Equal(since) {
				e.Errorf("generation %d: grace generation %d since %v, want %d since %v",
					t.Generation, t.GraceGeneration, t.GraceSince, generation, since)
			}
			e.wantStored("stored", t)
		}
		e.shop(domain.Settings{GraceSeconds: new(int64(0))})
		for range 2 { // without a grace period it moves each time, also within one instant
			want := t.Generation
			if t = e.advance(t, now); t.GraceGeneration != want {
				e.Errorf("no grace period: grace generation %d, want %d", t.GraceGeneration, want)
			}
		}
	}},

	{"RefreshTokens/Advance/stores exactly what Rotated makes of the record, whatever the policy", func(e *env) {
		n := 0
		for _, expiration := range []domain.ExpirationPolicy{domain.Fixed, domain.SlidingWindow, domain.SlidingWindowWithMaximumLifetime} {
			for _, grace := range []int64{0, 1, 86_400} {
				s := domain.Settings{
					Expiration: &expiration, GraceSeconds: &grace, TTLMinutes: new(int64(7)), MaximumTTLMinutes: new(int64(30)),
				}
				e.shop(s)
				p := domain.Effective(domain.Tenant{}, domain.Application{Settings: s})
				n++
				t := livingToken()
				t.ID = tokenID(n)
				want := e.issue(t)[0]
				now := t.RotatedAt
				for _, wait := range []time.Duration{tick, 300 * time.Millisecond, 20 * time.Minute, time.Second - tick, time.Second, -time.Minute} {
					now = now.Add(wait)
					if !now.Before(want.ExpiresAt) {
						break
					}
					address := fmt.Sprintf("192.0.2.%d", n)
					got, _, err := e.store.Advance(e.Context(), t.ID,
						domain.Call{Generation: want.Generation, Now: now, Binding: t.Binding, ClientAddress: address})
					e.must(err)
					want = want.Rotated(p, now, address)
					e.wantSame(fmt.Sprintf("%s, grace period %d s, %v later: returned", expiration, grace, wait), got, want)
					e.wantStored("and stored", want)
				}
			}
		}
	}},

	{"RefreshTokens/Advance/a change of application or tenant counts at the next call", func(e *env) {
		e.shop(domain.Settings{})
		t := e.issue(token(1))[0]
		for i := range 6 {
			s := domain.Settings{AccessTokenSeconds: new(int64(i + 1)), TTLMinutes: new(int64(i + 7))}
			want := domain.Effective(domain.Tenant{}, domain.Application{Settings: s})
			if i%2 == 0 {
				e.application("acme", "shop", s)
			} else {
				e.application("acme", "shop", domain.Settings{})
				e.must(e.store.SaveTenant(e.Context(), domain.Tenant{ID: "acme", Settings: s}))
			}
			next, p, err := e.store.Advance(e.Context(), t.ID, domain.Call{Generation: t.Generation, Now: t0})
			e.must(err)
			e.wantSame("the policy", p, want)
			e.wantSame("the expiry", next.ExpiresAt, t0.Add(want.TTL))
			t = next
		}
	}},

	{"RefreshTokens/Advance/refuses the dead", func(e *env) {
		eachDeath(e, func(how string, t domain.RefreshToken, now time.Time) {
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
		e.shop(domain.Settings{AccessTokenSeconds: new(int64(60))})
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
			e.application("acme", "shop", domain.Settings{AccessTokenSeconds: new(int64(60)), Expiration: new(domain.Fixed)})
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

	{"RefreshTokens/Advance/of many at once with one generation exactly one succeeds", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		t := e.issue(token(1))[0]
		for range 3 {
			errs := make([]error, 100)
			results := make([]domain.RefreshToken, len(errs))
			together(len(errs), func(i int) {
				results[i], _, errs[i] = hs[i%3].Advance(e.Context(), t.ID,
					domain.Call{Generation: t.Generation, Now: t0.Add(time.Duration(i) * time.Second), ClientAddress: fmt.Sprint("client ", i)})
			})
			t = results[e.wantOneWinner(errs, domain.ErrConflict)]
			e.wantStored("afterwards", t)
		}
	}},

	{"RefreshTokens/Advance/of many at once with a refresh token each, each has its own answer and no other's fault", func(e *env) {
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
					Generation: t.Generation, Now: t0.Add(time.Duration(i) * time.Minute), TenantID: "acme", Binding: t.Binding,
					ClientAddress: fmt.Sprint("client ", i),
				}
				// Every fourth call lacks something, another one in each round.
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

	{"RefreshTokens/Advance/many callers in a chain leave no gap and make no double", func(e *env) {
		e.shop(domain.Settings{})
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

// advanceOnce advances the token by one generation, whichever it is at: after a conflict it reads and tries again.
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

// advanceConditions have one clause for each condition that a call can miss: that one alone fails, nothing is written, and
// the same call with that one put right succeeds.
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
			e.must(e.store.SaveTenant(e.Context(), domain.Tenant{ID: "acme", Settings: s.tenant}))
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
			e.must(e.store.SaveTenant(e.Context(), domain.Tenant{ID: "acme"}))
			repaired := s.settings
			repaired.Active, repaired.Usage = nil, nil
			e.application("acme", "shop", repaired)
			_, _, err = e.store.Advance(e.Context(), t.ID, right)
			e.must(err)
		}})
	}
	condition("a generation that is past", setup{}, domain.Call{Generation: 1}, domain.Call{})
	condition("a generation that is yet to come", setup{}, domain.Call{Generation: 3}, domain.Call{})
	condition("another tenant", setup{}, domain.Call{TenantID: "other"}, domain.Call{TenantID: "acme"})
	condition("a call without the binding", setup{binding: "thumbprint"}, domain.Call{}, domain.Call{Binding: "thumbprint"})
	condition("a call with another binding", setup{binding: "thumbprint"},
		domain.Call{Binding: "Thumbprint"}, domain.Call{Binding: "thumbprint"})
	condition("a call without the authentication that is asked for", setup{settings: domain.Settings{RequireAuthentication: new(true)}},
		domain.Call{}, domain.Call{Authenticated: true})
	condition("a longer access token than the policy allows", setup{settings: domain.Settings{AccessTokenSeconds: new(int64(60))}},
		domain.Call{AccessTokenTTL: time.Minute + tick}, domain.Call{AccessTokenTTL: time.Minute})
	condition("a reusable token", setup{settings: domain.Settings{Usage: new(domain.Reusable)}}, domain.Call{}, domain.Call{})
	condition("an inactive application", setup{settings: domain.Settings{Active: new(false)}}, domain.Call{}, domain.Call{})
	condition("an inactive tenant", setup{tenant: domain.Settings{Active: new(false)}}, domain.Call{}, domain.Call{})
	return out
}()
