package storagetest

import (
	"fmt"
	"time"

	"github.com/refreshd/refreshd/domain"
)

const (
	useStores  = "RefreshTokens/Use/stores the last use and the expiry and nothing else"
	useRefuses = "RefreshTokens/Use/refuses an ended one, an unknown one, and one that was read otherwise"
	useMany    = "RefreshTokens/Use/of many concurrent ones all succeed"
)

var swapping = []clause{
	{"RefreshTokens/Swap/stores its nine fields and nothing else", func(e *env) {
		e.shop(domain.Settings{})
		before := e.issue(activeToken())[0]
		after := before
		after.Generation += 5 // as after a restore
		after.RotatedAt, after.LastUsedAt = t0.Add(10*time.Hour+tick), t0.Add(11*time.Hour+2*tick)
		after.ExpiresAt = t0.Add(12*time.Hour + 3*tick)
		after.RecoveredAt, after.RecoveryPaidUntil = t0.Add(9*time.Hour+4*tick), 1<<41+3
		after.RevokedAt, after.RevokedReason = t0.Add(13*time.Hour+5*tick), domain.RevokedByReplay
		after.MetaData.ClientAddress = "192.0.2.7"
		want := after
		after.TenantID, after.ApplicationID, after.UserID = "other", "bar", "bob"
		after.IssuedAt, after.Ordinal = t0.Add(time.Second), 98
		after.IssuedEpoch, after.Binding = 99, "another"
		after.Roles, after.Scopes, after.Claims = []string{"thief"}, nil, `{"x":1}`
		after.MetaData.Device, after.MetaData.Data = domain.Device{Name: "another"}, `{"y":1}`
		e.must(e.store.Swap(e.Context(), before, after, t0, NewEvent()))
		e.wantStored("stored", want)
	}},

	{"RefreshTokens/Swap/moves an expiry back as well as on, and clears what it is told to clear", func(e *env) {
		e.shop(domain.Settings{})
		t := e.issue(activeToken())[0]
		for _, expiry := range []time.Duration{48 * time.Hour, time.Hour, 2 * time.Hour} {
			before := t
			t.ExpiresAt, t.RecoveredAt, t.RecoveryPaidUntil, t.MetaData.ClientAddress = t0.Add(expiry), time.Time{}, 0, ""
			e.must(e.store.Swap(e.Context(), before, t, t0, NewEvent()))
			e.wantStored("stored", t)
		}
	}},

	{"RefreshTokens/Swap/refuses another generation", swapRefuses(
		func(t *domain.RefreshToken) { t.Generation-- }, func(t *domain.RefreshToken) { t.Generation++ })},
	{"RefreshTokens/Swap/refuses another instant of the recovery", swapRefuses(
		func(t *domain.RefreshToken) { t.RecoveredAt = t.RecoveredAt.Add(tick) },
		func(t *domain.RefreshToken) { t.RecoveredAt = t.RecoveredAt.Add(-tick) },
		func(t *domain.RefreshToken) { t.RecoveredAt = time.Time{} })},
	{"RefreshTokens/Swap/refuses another state of the budget", swapRefuses(
		func(t *domain.RefreshToken) { t.RecoveryPaidUntil-- }, func(t *domain.RefreshToken) { t.RecoveryPaidUntil = 0 })},

	{"RefreshTokens/Swap/compares nothing else", func(e *env) {
		e.shop(domain.Settings{})
		before := e.issue(activeToken())[0]
		after := before
		after.LastUsedAt = t0.Add(time.Hour)
		before.RotatedAt, before.LastUsedAt, before.ExpiresAt, before.MetaData = t0, t0, t0, domain.MetaData{}
		e.must(e.store.Swap(e.Context(), before, after, t0, NewEvent()))
		e.wantStored("stored", after)
	}},

	{"RefreshTokens/Swap/refuses an ended one and an unknown one", func(e *env) {
		eachEnding(e, func(how string, t domain.RefreshToken, now time.Time) {
			before := e.snapshot(t.ID).Token
			after := before
			after.ExpiresAt, after.RevokedAt = now.Add(time.Hour), time.Time{}
			e.wantErr(how, e.store.Swap(e.Context(), before, after, now, NewEvent()), domain.ErrConflict)
			e.wantStored(how+": afterwards", before)
		})
		e.wantErr("unknown", e.store.Swap(e.Context(), token(99), token(99), t0, NewEvent()), domain.ErrConflict)
	}},

	{"RefreshTokens/Swap/of many concurrent calls that charge one recovery exactly one succeeds", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		before := e.issue(token(1))[0]
		errs := make([]error, 50)
		together(len(errs), func(i int) {
			after := before
			after.RecoveredAt, after.RecoveryPaidUntil = t0.Add(time.Duration(i)*time.Second), 11
			after.LastUsedAt = after.RecoveredAt
			errs[i] = hs[i%3].Swap(e.Context(), before, after, t0, NewEvent())
		})
		winner := e.wantOneWinner(errs, domain.ErrConflict)
		e.wantSame("LastUsedAt", e.snapshot(before.ID).Token.LastUsedAt, t0.Add(time.Duration(winner)*time.Second))
	}},

	{useStores, func(e *env) {
		e.shop(domain.Settings{})
		before := e.issue(activeToken())[0]
		e.knownEvents()
		want := before
		for _, expiry := range []time.Duration{48 * time.Hour, time.Hour} {
			want.LastUsedAt, want.ExpiresAt = want.LastUsedAt.Add(time.Hour+tick), t0.Add(expiry)
			after := fullToken()
			after.ID, after.Generation, after.RotatedAt = before.ID, 7, t0.Add(9*time.Hour)
			after.RecoveredAt, after.RecoveryPaidUntil = t0.Add(8*time.Hour), 5
			after.MetaData, after.Roles, after.UserID = domain.MetaData{ClientAddress: "192.0.2.7"}, nil, "bob"
			after.LastUsedAt, after.ExpiresAt = want.LastUsedAt, want.ExpiresAt
			e.must(e.store.Use(e.Context(), before, after, t0))
			e.wantStored("stored", want)
		}
		e.wantEvents("of a use")
	}},

	{useRefuses, func(e *env) {
		eachEnding(e, func(how string, t domain.RefreshToken, now time.Time) {
			before := e.snapshot(t.ID).Token
			after := before
			after.ExpiresAt = now.Add(time.Hour)
			e.wantErr(how, e.store.Use(e.Context(), before, after, now), domain.ErrConflict)
			e.wantStored(how+": afterwards", before)
		})
		e.wantErr("unknown", e.store.Use(e.Context(), token(99), token(99), t0), domain.ErrConflict)
		e.shop(domain.Settings{})
		stored := activeToken()
		stored.ID = tokenID(98)
		stored = e.issue(stored)[0]
		for what, differ := range map[string]func(*domain.RefreshToken){
			"an earlier generation":     func(t *domain.RefreshToken) { t.Generation-- },
			"another recovery":          func(t *domain.RefreshToken) { t.RecoveredAt = t.RecoveredAt.Add(tick) },
			"no recovery":               func(t *domain.RefreshToken) { t.RecoveredAt = time.Time{} },
			"another state of a budget": func(t *domain.RefreshToken) { t.RecoveryPaidUntil-- },
		} {
			before := stored
			differ(&before)
			after := before
			after.LastUsedAt = t0.Add(time.Hour)
			e.wantErr("it read "+what, e.store.Use(e.Context(), before, after, t0), domain.ErrConflict)
			e.wantStored("after the refusal", stored)
		}
	}},

	// Writes that charge nothing may be concurrent: a repeated recovery, or a use of a reusable string.
	{useMany, func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		before := e.issue(activeToken())[0]
		errs := make([]error, 20)
		together(len(errs), func(i int) {
			after := before
			after.LastUsedAt = t0.Add(time.Duration(i) * time.Second)
			errs[i] = hs[i%3].Use(e.Context(), before, after, t0)
		})
		for _, err := range errs {
			e.must(err)
		}
	}},

	// A concurrent recovery and first rotation: either order is correct, a lost write is not.
	{"RefreshTokens/Swap/and a concurrent Advance are both stored", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(2)
		for i := range 25 {
			before := e.issue(token(i + 1))[0]
			after := before
			after.RecoveredAt, after.RecoveryPaidUntil = t0, 11
			var swapped, advanced error
			together(2, func(j int) {
				if j == i%2 { // alternately the first
					swapped = hs[0].Swap(e.Context(), before, after, t0, NewEvent())
				} else {
					_, _, advanced = hs[1].Advance(e.Context(), before.ID, domain.Call{Generation: 1, Now: t0})
				}
			})
			e.must(advanced)
			want := before
			if swapped == nil {
				want = after
			} else {
				e.wantErr("Swap", swapped, domain.ErrConflict)
			}
			e.wantStored("afterwards", want.Rotated(domain.DefaultPolicy(), t0, ""))
		}
	}},
}

// swapRefuses returns the clause that Swap writes nothing if its before differs from the stored record in one of these
// fields.
func swapRefuses(differences ...func(*domain.RefreshToken)) func(*env) {
	return func(e *env) {
		e.shop(domain.Settings{})
		stored := e.issue(activeToken())[0]
		after := stored
		after.LastUsedAt, after.RevokedAt = t0.Add(time.Hour), t0.Add(time.Hour)
		for _, differ := range differences {
			before := stored
			differ(&before)
			e.wantErr(fmt.Sprintf("generation %d, recovered at %v, paid until %d", before.Generation, before.RecoveredAt,
				before.RecoveryPaidUntil), e.store.Swap(e.Context(), before, after, t0, NewEvent()), domain.ErrConflict)
			e.wantStored("after the refusal", stored)
		}
		e.must(e.store.Swap(e.Context(), stored, after, t0, NewEvent()))
	}
}
