package storagetest

import (
	"fmt"
	"time"

	"github.com/refreshd/refreshd/domain"
)

var swapping = []clause{
	{"RefreshTokens/Swap/stores its six fields and nothing else", func(e *env) {
		e.shop(domain.Settings{})
		before := e.issue(livingToken())[0]
		after := before
		after.LastUsedAt, after.ExpiresAt = t0.Add(11*time.Hour+tick), t0.Add(12*time.Hour+2*tick)
		after.RecoveredGeneration, after.RecoveryPaidUntil = before.Generation, 1<<41+3
		after.RevokedAt, after.RevokedReason = t0.Add(13*time.Hour+3*tick), domain.RevokedByReplay
		want := after
		after.TenantID, after.ApplicationID, after.UserID = "other", "bar", "bob"
		after.Generation++
		after.IssuedAt, after.RotatedAt = t0.Add(time.Second), t0.Add(2*time.Second)
		after.GraceGeneration++
		after.GraceSince = t0.Add(3 * time.Second)
		after.IssuedEpoch, after.Binding = 99, "another"
		after.Roles, after.Scopes, after.Claims = []string{"thief"}, nil, `{"x":1}`
		after.MetaData = domain.MetaData{ClientAddress: "192.0.2.7"}
		e.must(e.store.Swap(e.Context(), before, after, t0))
		e.wantStored("stored", want)
	}},

	{"RefreshTokens/Swap/moves an expiry back as well as on, and clears what it is told to clear", func(e *env) {
		e.shop(domain.Settings{})
		t := e.issue(livingToken())[0]
		for _, expiry := range []time.Duration{48 * time.Hour, time.Hour, 2 * time.Hour} {
			before := t
			t.ExpiresAt, t.RecoveredGeneration, t.RecoveryPaidUntil = t0.Add(expiry), 0, 0
			e.must(e.store.Swap(e.Context(), before, t, t0))
			e.wantStored("stored", t)
		}
	}},

	{"RefreshTokens/Swap/refuses another generation", swapRefuses(func(t *domain.RefreshToken) { t.Generation-- })},
	{"RefreshTokens/Swap/refuses another recovered generation", swapRefuses(func(t *domain.RefreshToken) { t.RecoveredGeneration-- })},
	{"RefreshTokens/Swap/refuses another state of the budget", swapRefuses(func(t *domain.RefreshToken) { t.RecoveryPaidUntil-- })},

	{"RefreshTokens/Swap/compares nothing else", func(e *env) {
		e.shop(domain.Settings{})
		before := e.issue(livingToken())[0]
		after := before
		after.LastUsedAt = t0.Add(time.Hour)
		before.LastUsedAt, before.ExpiresAt, before.MetaData = t0, t0, domain.MetaData{}
		e.must(e.store.Swap(e.Context(), before, after, t0))
		e.wantStored("stored", after)
	}},

	{"RefreshTokens/Swap/refuses the dead and the unknown", func(e *env) {
		eachDeath(e, func(how string, t domain.RefreshToken, now time.Time) {
			before := e.snapshot(t.ID).Token
			after := before
			after.ExpiresAt, after.RevokedAt = now.Add(time.Hour), time.Time{}
			e.wantErr(how, e.store.Swap(e.Context(), before, after, now), domain.ErrConflict)
			e.wantStored(how+": afterwards", before)
		})
		e.wantErr("unknown", e.store.Swap(e.Context(), token(99), token(99), t0), domain.ErrConflict)
	}},

	{"RefreshTokens/Swap/of many at once that charge one recovery exactly one succeeds", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(3)
		before := e.issue(token(1))[0]
		errs := make([]error, 50)
		together(len(errs), func(i int) {
			after := before
			after.RecoveredGeneration, after.RecoveryPaidUntil = 1, 11
			after.LastUsedAt = t0.Add(time.Duration(i) * time.Second)
			errs[i] = hs[i%3].Swap(e.Context(), before, after, t0)
		})
		winner := e.wantOneWinner(errs, domain.ErrConflict)
		e.wantSame("LastUsedAt", e.snapshot(before.ID).Token.LastUsedAt, t0.Add(time.Duration(winner)*time.Second))
	}},

	// A recovery and a rotation that meet: either order is fine, a lost write is not.
	{"RefreshTokens/Swap/and Advance at once lose neither's write", func(e *env) {
		e.shop(domain.Settings{})
		hs := e.handles(2)
		for i := range 25 {
			before := e.issue(token(i + 1))[0]
			after := before
			after.RecoveredGeneration, after.RecoveryPaidUntil = 1, 11
			var swapped, advanced error
			together(2, func(i int) {
				if i == 0 {
					swapped = hs[0].Swap(e.Context(), before, after, t0)
				} else {
					_, _, advanced = hs[1].Advance(e.Context(), before.ID, domain.Call{Generation: 1, Now: t0})
				}
			})
			e.must(advanced)
			t := e.snapshot(before.ID).Token
			if t.Generation != 2 {
				e.Errorf("Advance succeeded, and the generation is %d, want 2", t.Generation)
			}
			if swapped == nil && t.RecoveredGeneration != 1 {
				e.Errorf("Swap succeeded, and its write is lost")
			}
			if swapped != nil {
				e.wantErr("Swap", swapped, domain.ErrConflict)
				e.wantSame("RecoveredGeneration after a conflict", t.RecoveredGeneration, uint32(0))
			}
		}
	}},
}

// swapRefuses is the clause that a Swap whose before differs from what is stored in this one thing changes nothing.
func swapRefuses(differ func(*domain.RefreshToken)) func(*env) {
	return func(e *env) {
		e.shop(domain.Settings{})
		stored := e.issue(livingToken())[0]
		before, after := stored, stored
		differ(&before)
		after.LastUsedAt, after.RevokedAt = t0.Add(time.Hour), t0.Add(time.Hour)
		e.wantErr(fmt.Sprintf("generation %d, recovered %d, paid until %d", before.Generation, before.RecoveredGeneration,
			before.RecoveryPaidUntil), e.store.Swap(e.Context(), before, after, t0), domain.ErrConflict)
		e.wantStored("after the refusal", stored)
		e.must(e.store.Swap(e.Context(), stored, after, t0))
	}
}
